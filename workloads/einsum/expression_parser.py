"""The part of the grammar below statements: indices and expressions, by recursive descent over the tokens."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NoReturn

from workloads.einsum.errors import CascadeError
from workloads.einsum.expressions import Access, Call, Constant, Coordinate, Expression, Index, Number, Size, Term
from workloads.einsum.ir import ConstantDefinition, Rank
from workloads.einsum.lexer import Token
from workloads.einsum.operators import INFIX
from workloads.errors import nearest_name

__all__ = ["ExpressionParser"]

_LEVELS = {symbol: (name, strength) for name, (symbol, strength) in INFIX.items()}
_COMPARISON = 3
_DEEPEST = 100


class ExpressionParser:
    """Reads tokens in order; knows the ranks and constants declared so far, which give bare names their meaning."""

    def __init__(self, tokens: list[Token], file: str | None) -> None:
        self.tokens = tokens
        self.place = 0
        self.depth = 0
        self.file = file
        self.ranks: dict[str, Rank] = {}
        self.constants: dict[str, ConstantDefinition] = {}
        self.parameters: tuple[str, ...] = ()

    # --- tokens

    @property
    def token(self) -> Token:
        return self.tokens[self.place]

    def next(self) -> Token:
        token = self.token
        if token.kind != "end":
            self.place += 1
        return token

    def fail(
        self, problem: str, expected: str | None = None, at: Token | None = None, nearest: str | None = None
    ) -> NoReturn:
        token = at or self.token
        raise CascadeError(problem, expected, file=self.file, line=token.line, column=token.column, nearest=nearest)

    def accept(self, text: str) -> Token | None:
        return self.next() if self.token.text == text and self.token.kind in ("symbol", "word") else None

    def expect(self, text: str, rule: str) -> Token:
        token = self.accept(text)
        if token is None:
            self.fail(f"found {self.token.describe()}", f"{text!r} {rule}")
        return token

    def name(self, what: str) -> Token:
        if self.token.kind != "name":
            self.fail(f"found {self.token.describe()}", f"the name of {what}")
        return self.next()

    # --- names

    def known_rank(self) -> str:
        token = self.name("a rank")
        if token.text not in self.ranks:
            self.unknown(token, "rank", self.ranks)
        return token.text

    def unknown(self, token: Token, kind: str, valid: Iterable[str]) -> NoReturn:
        names = sorted(valid)
        self.fail(
            f"unknown {kind} {token.text!r}", f"one of {', '.join(names)}", token, nearest_name(token.text, names)
        )

    # --- indices

    def access(self) -> Access:
        token = self.name("a tensor")
        self.expect("[", "and an index for each of the tensor's ranks")
        self.enter()
        indices: list[Index] = []
        if not self.accept("]"):
            indices.append(self.index())
            while self.accept(","):
                indices.append(self.index())
            self.expect("]", "after the indices")
        self.depth -= 1
        return Access(token.text, tuple(indices), (token.line, token.column))

    def index(self) -> Index:
        start = self.token
        terms = [self.term(-1 if self.accept("-") else 1)]
        while self.token.kind == "symbol" and self.token.text in "+-":
            terms.append(self.term(1 if self.next().text == "+" else -1))
        return Index(tuple(terms), (start.line, start.column))

    def term(self, coefficient: int) -> Term:
        base: str | Access | None = None
        factors: list[Size | Constant] = []
        while True:
            token = self.token
            if token.kind == "number":
                coefficient *= self.integer()
            elif token.text == "|":
                factors.append(self.size())
            elif token.kind == "name" and self.tokens[self.place + 1].text == "[":
                if base is not None:
                    self.fail("a product of two coordinates", "an affine index", at=token)
                base = self.access()
            elif token.kind == "name" and token.text in self.constants:
                self.next()
                factors.append(Constant(token.text, (token.line, token.column)))
            elif token.kind == "name":
                if base is not None:
                    self.fail("a product of two coordinates", "an affine index", at=token)
                base = self.known_rank()
            else:
                self.fail(f"found {token.describe()}", "an index: a rank, an integer, a size |m|, a constant or T[...]")
            if not self.accept("*"):
                return Term(coefficient, base, tuple(factors))

    def integer(self) -> int:
        token = self.next()
        if not token.text.isdigit() or len(token.text) > 15:
            self.fail(f"{token.text} in an index", "an integer", at=token)
        return int(token.text)

    def size(self) -> Size:
        bar = self.expect("|", "before a rank")
        token = self.name("a rank")
        self.expect("|", "after the rank")
        return Size(token.text, (bar.line, bar.column))

    # --- expressions

    def enter(self) -> None:
        self.depth += 1
        if self.depth > _DEEPEST:
            self.fail("nested too deeply", f"at most {_DEEPEST} levels")

    def expression(self, weakest: int = 1) -> Expression:
        self.enter()
        left = self.unary()
        length = 0
        while self.token.kind in ("symbol", "word") and self.token.text in _LEVELS:
            operator, strength = _LEVELS[self.token.text]
            if strength < weakest:
                break
            token = self.next()
            length += 1
            if length > _DEEPEST:
                self.fail("the expression is too long", f"at most {_DEEPEST} operators in a row", at=token)
            right = self.expression(strength + 1)
            left = Call(operator, (left, right), (token.line, token.column))
            if strength == _COMPARISON and _LEVELS.get(self.token.text, ("", 0))[1] == _COMPARISON:
                self.fail("two comparisons in a row", "parentheses, or 'and' between two comparisons")
        self.depth -= 1
        return left

    def unary(self) -> Expression:
        token = self.token
        if not self.accept("-"):
            return self.atom()
        self.enter()
        value = self.unary()
        self.depth -= 1
        if isinstance(value, Number) and self.tokens[self.place - 1].text != ")":
            return Number(-value.value)
        return Call("neg", (value,), (token.line, token.column))

    def atom(self) -> Expression:
        token = self.token
        if token.kind == "number":
            return Number(float(self.next().text))
        if self.accept("inf"):
            return Number(float("inf"))
        if token.text == "|":
            return self.size()
        if self.accept("("):
            inner = self.expression()
            self.expect(")", "after the expression")
            return inner
        if token.kind != "name":
            self.fail(f"found {token.describe()}", "a value: a number, a name, T[...], f(...), |m| or (...)")
        following = self.tokens[self.place + 1].text
        if following == "[":
            return self.access()
        if following == "(":
            return self.call()
        return self.bare_name()

    def call(self) -> Call:
        token = self.next()
        self.next()
        arguments = [self.expression()]
        while self.accept(","):
            arguments.append(self.expression())
        self.expect(")", f"after the arguments of {token.text}")
        return Call(token.text, tuple(arguments), (token.line, token.column))

    def bare_name(self) -> Expression:
        token = self.next()
        at = (token.line, token.column)
        if token.text in self.parameters or token.text in self.constants or token.text == "lowest":
            return Constant(token.text, at)
        if token.text in self.ranks and not self.parameters:
            return Coordinate(token.text, at)
        return self.unknown(
            token, "name", [*self.parameters, *self.constants, *([] if self.parameters else self.ranks)]
        )
