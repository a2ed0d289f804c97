"""YAML and JSON documents with the line of every field.

YAML is read by the core schema of YAML 1.2 (``yes`` and ``on`` are text, ``1e3`` is a number) and without anchors,
aliases and tags: a description stays what it looks like, and a small file cannot unfold into a large one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from workloads.errors import InputError

__all__ = [
    "Document",
    "FieldPath",
    "describe",
    "dotted",
    "parse_json",
    "parse_yaml",
    "parse_yaml_value",
    "read_document",
]

FieldPath = tuple[str | int, ...]

_LARGEST_BYTES = 16 * 2**20
_DEEPEST = 64
_LONGEST_NUMBER = 400  # digits; Python itself refuses to convert beyond 4300
_YAML_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_QUOTED = ("'", '"', "|", ">")
_INTEGER = re.compile(r"[-+]?[0-9]+")
_FLOAT = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_PLAIN_WORDS: dict[str, Any] = {"": None, "~": None, "null": None, "true": True, "false": False}
_PLAIN_WORDS |= {".nan": float("nan"), ".inf": float("inf"), "+.inf": float("inf"), "-.inf": float("-inf")}
_JSON_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[{}\[\],:]|[^\s{}\[\],:"]+')


def dotted(path: Sequence[str | int]) -> str:
    """``("links", "pcie", "between", 0)`` as users write it: ``links.pcie.between[0]``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else part
    return text


@dataclass(frozen=True)
class Document:
    """A mapping read from ``file``, with the 1-based line on which each field starts."""

    file: str
    value: dict[str, Any]
    lines: Mapping[FieldPath, int]

    def line(self, path: Sequence[str | int] = ()) -> int:
        """The line of the field at ``path``, or of the innermost part of it that the file has."""
        inner = tuple(path)
        while inner and inner not in self.lines:
            inner = inner[:-1]
        return self.lines.get(inner, 1)

    def error(
        self, problem: str, path: Sequence[str | int] = (), *, expected: str | None = None, nearest: str | None = None
    ) -> InputError:
        """The `InputError` about the field at ``path``, with this document's file and line."""
        return InputError(problem, expected, dotted(path) or None, self.file, self.line(path), nearest)

    def locate(self, error: InputError) -> InputError:
        """``error`` with this document's file and the line of its dotted field added."""
        field = error.field or ""
        best = max(
            (path for path in self.lines if _begins(field, dotted(path))), key=lambda path: len(path), default=()
        )
        return replace(error, file=self.file, line=self.line(best))


def _begins(field: str, start: str) -> bool:
    return field.startswith(start) and field[len(start) : len(start) + 1] in ("", ".", "[")


def read_document(path: str | Path) -> Document:
    """The document at ``path``: JSON when it ends in ``.json``, YAML otherwise. `InputError` when it cannot be read."""
    file = str(path)
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise InputError("no such file", file=file) from None
    except IsADirectoryError:
        raise InputError("is a directory", expected="a YAML or JSON file", file=file) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise InputError(f"cannot be read: {getattr(error, 'strerror', None) or error}", file=file) from None
    if len(data) > _LARGEST_BYTES:
        raise InputError(f"{len(data)} bytes are too many", expected=f"at most {_LARGEST_BYTES} bytes", file=file)
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(f"byte 0x{data[error.start]:02x} is not UTF-8 text", "UTF-8 text", None, file, line) from None
    return parse_json(text, file) if file.lower().endswith(".json") else parse_yaml(text, file)


def parse_yaml(text: str, file: str) -> Document:
    """The YAML mapping in ``text``; ``file`` is named in errors. Raises `InputError` with file and line."""
    lines: dict[FieldPath, int] = {}
    return _document(file, _parse_yaml(text, file, lines), lines)


def parse_yaml_value(text: str, file: str | None = None) -> Any:
    """Any YAML value (scalar, list or mapping) by the same rules; raises `InputError`."""
    return _parse_yaml(text, file, {})


def parse_json(text: str, file: str) -> Document:
    """The JSON object in ``text``; ``file`` is named in errors. Raises `InputError` with file and line."""
    if not text.strip():
        raise InputError("the file is empty", expected="a JSON object", file=file, line=1)
    try:
        value = json.loads(text)
    except json.JSONDecodeError as error:
        raise InputError(f"not JSON: {error.msg} at column {error.colno}", file=file, line=error.lineno) from None
    except RecursionError:
        raise InputError("nested too deeply", expected=f"at most {_DEEPEST} levels", file=file, line=1) from None
    except ValueError:
        problem = "a number has too many digits"
        raise InputError(problem, expected=f"at most {_LONGEST_NUMBER} digits", file=file, line=1) from None
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        raise InputError("a surrogate escape is not text", expected="Unicode text", file=file, line=1) from None
    return _document(file, value, _json_lines(text, file))


def _document(file: str, value: Any, lines: dict[FieldPath, int]) -> Document:
    if not isinstance(value, dict):
        raise InputError(f"found {describe(value)}", "a mapping of fields to values", None, file, lines.get((), 1))
    return Document(file, value, lines)


def _parse_yaml(text: str, file: str | None, lines: dict[FieldPath, int]) -> Any:
    if not text.strip():
        raise InputError("the file is empty" if file else "the value is empty", "a YAML value", None, file, 1)
    try:
        return _YamlReader(text, file, lines).document()
    except yaml.MarkedYAMLError as error:
        raise _yaml_syntax_error(error, text, file) from None
    except (yaml.YAMLError, UnicodeError) as error:
        problem = str(error).splitlines()[0]
        raise InputError(f"not YAML: {problem}", file=file, line=_control_character_line(text)) from None


def _yaml_syntax_error(error: yaml.MarkedYAMLError, text: str, file: str | None) -> InputError:
    mark = error.problem_mark or error.context_mark
    line = mark.line if mark else 0
    written = text.splitlines()
    if line < len(written) and "\t" in written[line][: len(written[line]) - len(written[line].lstrip())]:
        return InputError("a tab in the indentation", "spaces", None, file, line + 1)
    problem = error.problem or error.context or "syntax error"
    column = f" at column {mark.column + 1}" if mark else ""
    # A structure left open is reported where the parser gave up; where it began is what helps.
    begun = error.context_mark
    opened = f" ({error.context} from line {begun.line + 1})" if error.context and begun else ""
    return InputError(f"not YAML: {problem}{column}{opened}", None, None, file, line + 1)


def _control_character_line(text: str) -> int:
    found = re.search("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]", text)
    return text.count("\n", 0, found.start()) + 1 if found else 1


class _YamlReader:
    """Turns parser events into plain values, noting lines and refusing what a description should not contain.

    Events rather than composed nodes: the composer of libyaml recurses without a limit.
    """

    def __init__(self, text: str, file: str | None, lines: dict[FieldPath, int]) -> None:
        self._events: Iterator[yaml.Event] = iter(yaml.parse(text, Loader=_YAML_LOADER))
        self._file = file
        self._lines = lines

    def document(self) -> Any:
        """The value of the only document in the stream."""
        next(self._events)  # the stream's start
        event = next(self._events)
        if isinstance(event, yaml.StreamEndEvent):
            raise self._error("nothing but comments", event, (), "a mapping of fields to values")
        value = self._value(next(self._events), ())
        next(self._events)  # the document's end
        event = next(self._events)
        if not isinstance(event, yaml.StreamEndEvent):
            raise self._error("a second document begins", event, (), "one document in a file")
        return value

    def _value(self, event: yaml.Event, path: FieldPath) -> Any:
        if isinstance(event, yaml.AliasEvent):
            raise self._error(f"the alias *{event.anchor} is not allowed", event, path, "the value written out")
        if isinstance(event, yaml.NodeEvent) and (tag := getattr(event, "tag", None)):
            raise self._error(f"the tag {tag!r} is not allowed", event, path, "a value without a tag")
        if len(path) > _DEEPEST:
            raise self._error("nested too deeply", event, path[:1], f"at most {_DEEPEST} levels")
        self._lines.setdefault(path, _line(event))
        if isinstance(event, yaml.MappingStartEvent):
            return self._mapping(path)
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(path)
        assert isinstance(event, yaml.ScalarEvent)
        return self._scalar(event, path)

    def _mapping(self, path: FieldPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._scalar(event, path) if isinstance(event, yaml.ScalarEvent) else None
            if not isinstance(key, str):
                shown = f"key {event.value!r}" if isinstance(event, yaml.ScalarEvent) else "key (a list or mapping)"
                raise self._error(f"the {shown} is not text", event, path, "text as a key")
            inner = (*path, key)
            if key in result:
                problem = f"the key {key!r} appears twice (first on line {self._lines[inner]})"
                raise self._error(problem, event, inner, "each key once")
            self._lines[inner] = _line(event)
            result[key] = self._value(next(self._events), inner)
        return result

    def _sequence(self, path: FieldPath) -> list[Any]:
        result: list[Any] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            result.append(self._value(event, (*path, len(result))))
        return result

    def _scalar(self, event: yaml.ScalarEvent, path: FieldPath) -> Any:
        text: str = event.value
        if any("\ud800" <= character <= "\udfff" for character in text):
            raise self._error("a surrogate escape is not text", event, path, "Unicode text")
        if event.style in _QUOTED:
            return text
        if text.lower() in _PLAIN_WORDS and text in (text.lower(), text.upper(), text.capitalize()):
            return _PLAIN_WORDS[text.lower()]
        if not _FLOAT.fullmatch(text):
            return text
        if len(text) > _LONGEST_NUMBER:
            raise self._error("a number has too many digits", event, path, f"at most {_LONGEST_NUMBER} digits")
        return int(text) if _INTEGER.fullmatch(text) else float(text)

    def _error(self, problem: str, event: yaml.Event, path: FieldPath, expected: str) -> InputError:
        return InputError(problem, expected, dotted(path) or None, self._file, _line(event))


def _line(event: yaml.Event) -> int:
    return event.start_mark.line + 1 if event.start_mark else 1


def _json_lines(text: str, file: str) -> dict[FieldPath, int]:
    """The line of each field of valid JSON; refuses a key given twice, which ``json`` would take silently."""
    lines: dict[FieldPath, int] = {}
    for path, line in _json_fields(text):
        if path in lines:
            problem = f"the key {path[-1]!r} appears twice (first on line {lines[path]})"
            raise InputError(problem, "each key once", dotted(path), file, line)
        if len(path) > _DEEPEST:
            raise InputError("nested too deeply", f"at most {_DEEPEST} levels", dotted(path[:1]), file, line)
        lines[path] = line
    return lines


def _json_fields(text: str) -> Iterator[tuple[FieldPath, int]]:
    stack: list[str | int | None] = []  # per open bracket the key or index we are in; None where a key comes next
    line, position, begins_value = 1, 0, True
    for match in _JSON_TOKEN.finditer(text):
        line += text.count("\n", position, match.start())
        position = match.start()
        token = match.group()
        if token in "]}":
            stack.pop()
            begins_value = False
        elif token == ",":
            inside = stack[-1]
            stack[-1] = inside + 1 if isinstance(inside, int) else None
            begins_value = isinstance(inside, int)
        elif token == ":":
            begins_value = False  # the field was noted at its key
        elif stack and stack[-1] is None:
            stack[-1] = str(json.loads(token))
            yield tuple(part for part in stack if part is not None), line
        else:
            if begins_value:
                yield tuple(part for part in stack if part is not None), line
            begins_value = token == "["
            if token in "[{":
                stack.append(0 if token == "[" else None)


def describe(value: Any) -> str:
    """``value`` as an error message shows it: short, and in the document's own words."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, list | tuple):
        return "a list"
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."
