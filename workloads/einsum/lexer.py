"""Characters to tokens, each with its line and column.

A statement ends with its line, unless a bracket is open, the line ends in an operator, or the next one starts with one
(``::``, ``where``, ``else``, ``+`` ...). ``#`` starts a comment.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from workloads.einsum.errors import CascadeError

__all__ = ["KEYWORDS", "Token", "tokenize"]

KEYWORDS = ("cascade", "doc", "source", "rank", "split", "const", "op", "reduce", "input", "output", "tensor", "bits")
"""The words that start a statement."""

_RESERVED = frozenset((*KEYWORDS, "where", "else", "and", "or", "density", "format", "from", "inf"))

_PATTERN = re.compile(
    r"""(?P<space>[ \t\r\f]+|\#[^\n]*)
    |(?P<newline>\n)
    |(?P<number>(?:\d+\.\d*|\.\d+|\d+)(?:[eE][+-]?\d+)?)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<string>"(?:[^"\\\n]|\\.)*")
    |(?P<symbol>::|->|<=|>=|==|!=|[-+*/<>=|,\[\]()])""",
    re.VERBOSE,
)
_CONTINUES = frozenset(
    (
        "::",
        "where",
        "else",
        "+",
        "-",
        "*",
        "/",
        "and",
        "or",
        "<",
        "<=",
        ">",
        ">=",
        "==",
        "!=",
        "->",
        "density",
        "format",
    )
)
_EXPECTS_MORE = _CONTINUES | {"=", ",", "from"}
_OPEN = {"[": "]", "(": ")"}


@dataclass(frozen=True, slots=True)
class Token:
    """One token: ``kind`` is name, word (reserved), number, string, symbol, newline, title or end."""

    kind: str
    text: str
    line: int
    column: int

    def describe(self) -> str:
        """The token as an error message shows it."""
        return {"newline": "the end of the line", "end": "the end of the text"}.get(self.kind, repr(self.text))


def tokenize(text: str, file: str | None = None) -> list[Token]:
    """The tokens of a cascade text, ending in one of kind ``end``. Raises CascadeError at an unknown character."""
    return _join_lines(_raw_tokens(text, file))


def _raw_tokens(text: str, file: str | None) -> list[Token]:
    tokens: list[Token] = []
    position, line, line_start = 0, 1, 0
    while position < len(text):
        column = position - line_start + 1
        if tokens and tokens[-1].text == "cascade" and tokens[-1].line == line and tokens[-1].kind == "word":
            # A cascade's name may hold hyphens and digits (attention-1pass), so it is read as a word of its own.
            match = re.compile(r"[ \t]*([A-Za-z0-9_.-]+)").match(text, position)
            if match:
                tokens.append(Token("title", match[1], line, match.start(1) - line_start + 1))
                position = match.end()
                continue
        found = _PATTERN.match(text, position)
        if found is None:
            character = text[position]
            if character == '"':
                raise CascadeError(
                    "a text in quotes does not end on its line", 'a closing "', file=file, line=line, column=column
                )
            raise CascadeError(
                f"unexpected character {character!r}", "names, numbers, texts in quotes and operators",
                file=file, line=line, column=column,
            )  # fmt: skip
        kind, word = str(found.lastgroup), found[0]
        position = found.end()
        if kind == "newline":
            tokens.append(Token(kind, word, line, column))
            line, line_start = line + 1, position
        elif kind != "space":
            tokens.append(Token("word" if word in _RESERVED else kind, word, line, column))
    tokens.append(Token("newline", "\n", line, position - line_start + 1))
    tokens.append(Token("end", "", line, position - line_start + 1))
    return tokens


def _join_lines(tokens: list[Token]) -> list[Token]:
    """Drops the line ends that do not end a statement."""
    kept: list[Token] = []
    closers: list[str] = []
    for place, token in enumerate(tokens):
        if token.kind != "newline":
            kept.append(token)
            if token.kind == "symbol" and token.text in _OPEN:
                closers.append(_OPEN[token.text])
            elif closers and token.text == closers[-1]:
                closers.pop()
            continue
        following = next((later for later in tokens[place + 1 :] if later.kind != "newline"), token)
        # A statement keyword ends an unclosed bracket, so that the error is shown where the bracket was left open.
        starts_statement = following.kind == "word" and following.text in KEYWORDS
        if (closers and not starts_statement and following.kind != "end") or following.text in _CONTINUES:
            continue
        if not kept or kept[-1].kind == "newline":
            continue
        if (
            kept[-1].kind in ("symbol", "word")
            and kept[-1].text in _EXPECTS_MORE
            and not starts_statement
            and following.kind != "end"
        ):
            continue
        closers.clear()
        kept.append(token)
    return kept
