"""Text to cascade. The grammar (``{}`` repeats, ``[]`` is optional):

    cascade    = "cascade" TITLE {statement}
    statement  = "doc" TEXT | "source" TEXT | "bits" INTEGER
               | "rank" rank {"," rank}                 rank = NAME ["=" expr]
               | "split" NAME "->" NAME "," NAME
               | "const" NAME "=" expr
               | "op" NAME "(" NAME {"," NAME} ")" "=" expr
               | "reduce" NAME "(" NAME "," NAME ")" "=" expr "from" expr
               | "input" shape {"," shape} | "tensor" shape {"," shape}
               | "output" (NAME | shape) {"," (NAME | shape)}
               | access "=" expr ["::" fold] ["where" expr] ["else" expr]
    shape      = NAME "[" [NAME {"," NAME}] "]" ["density" expr] ["format" NAME]
    fold       = NAME "(" NAME {"," NAME} ["->" NAME] ")"
    access     = NAME "[" [index {"," index}] "]"
    index      = ["-"] term {("+" | "-") term}          term = factor {"*" factor}
    factor     = INTEGER | "|" NAME "|" | NAME | access
    expr       = the infix operators or, and, < <= > >= == !=, + -, * /, unary -, over
                 NUMBER | "inf" | "|" NAME "|" | NAME | access | NAME "(" expr {"," expr} ")" | "(" expr ")"

A rank is declared by ``rank``, by an input's shape or by ``split``. A fold left out sums the ranks that the output
lacks.
"""

from __future__ import annotations

import json
from collections.abc import Callable

from workloads.einsum.expression_parser import ExpressionParser
from workloads.einsum.ir import (
    Cascade,
    ConstantDefinition,
    Dim,
    Einsum,
    OperatorDefinition,
    Rank,
    Reduction,
    Split,
    Tensor,
)
from workloads.einsum.lexer import KEYWORDS, Token, tokenize
from workloads.einsum.rounding import ROUNDINGS
from workloads.einsum.validate import validate

__all__ = ["parse_cascade"]


def parse_cascade(text: str, *, file: str | None = None) -> Cascade:
    """The cascade that a text describes; ``file`` names it in errors.

    Raises CascadeError (an InputError) with line and column for the first thing that is wrong.
    """
    parser = _Parser(tokenize(text, file), file)
    cascade = parser.cascade()
    validate(cascade, file)
    return cascade


class _Parser(ExpressionParser):
    """Reads statements and gathers what they declare."""

    def __init__(self, tokens: list[Token], file: str | None) -> None:
        super().__init__(tokens, file)
        self.doc: list[str] = []
        self.source: list[str] = []
        self.bits: int | None = None
        self.splits: list[Split] = []
        self.operators: dict[str, OperatorDefinition] = {}
        self.inputs: dict[str, None] = {}
        self.declared: dict[str, Tensor] = {}
        self.outputs: dict[str, None] = {}
        self.einsums: list[Einsum] = []

    def cascade(self) -> Cascade:
        while self.token.kind == "newline":
            self.next()
        self.expect("cascade", "and a name on the first line")
        if self.token.kind != "title":
            self.fail(f"found {self.token.describe()}", "the cascade's name")
        title = self.next().text
        self.end_of_statement()
        while self.token.kind != "end":
            self.statement()
            self.end_of_statement()
        return Cascade(
            title, "\n".join(self.doc), "\n".join(self.source), tuple(self.ranks.values()), tuple(self.splits),
            tuple(self.constants.values()), tuple(self.operators.values()), tuple(self.inputs),
            self.ordered_declarations(), tuple(self.outputs), tuple(self.einsums), self.bits,
        )  # fmt: skip

    def ordered_declarations(self) -> tuple[Tensor, ...]:
        """Inputs, tensors, outputs: one order whatever the text's, so that equal cascades print alike."""
        names = [name for name in self.declared if name not in self.inputs and name not in self.outputs]
        return tuple(self.declared[name] for name in (*self.inputs, *names, *self.outputs) if name in self.declared)

    def end_of_statement(self) -> None:
        if self.token.kind != "newline":
            self.fail(f"found {self.token.describe()}", "the end of the statement")
        self.next()

    def statement(self) -> None:
        token = self.token
        if token.kind == "name":
            self.einsum()
            return
        if token.kind != "word" or token.text not in KEYWORDS or token.text == "cascade":
            self.fail(
                f"found {token.describe()}",
                f"a statement: an Einsum (T[...] = ...) or one of {', '.join(KEYWORDS[1:])}",
            )
        self.next()
        match token.text:
            case "doc":
                self.doc.append(self.text())
            case "source":
                self.source.append(self.text())
            case "bits":
                self.bits_statement()
            case "rank":
                self.listed(self.rank_statement)
            case "split":
                self.split_statement()
            case "const":
                self.const_statement()
            case "op" | "reduce":
                self.operator_statement(token.text == "reduce")
            case "input":
                self.listed(self.input_item)
            case "tensor":
                self.listed(self.shape)
            case _:
                self.listed(self.output_item)

    def listed(self, item: Callable[[], object]) -> None:
        item()
        while self.accept(","):
            item()

    def text(self) -> str:
        if self.token.kind != "string":
            self.fail(f"found {self.token.describe()}", "a text in quotes")
        token = self.next()
        try:
            return str(json.loads(token.text, strict=False))
        except ValueError:
            self.fail("the text in quotes has a bad escape", r"\" or \\ or \n", at=token)

    def new_name(self, what: str) -> str:
        token = self.name(what)
        taken = {**self.ranks, **self.constants, **self.operators, **self.declared}
        if token.text in taken:
            self.fail(f"{token.text!r} is declared twice", "one declaration of each name", at=token)
        return token.text

    def rank_statement(self) -> None:
        name = self.new_name("a rank")
        self.ranks[name] = Rank(name, self.expression() if self.accept("=") else None)

    def bits_statement(self) -> None:
        token = self.next()
        if self.bits is not None:
            self.fail("the width of an element is stated twice", "one bits statement", at=token)
        if token.kind != "number" or not token.text.isdecimal() or not 1 <= int(token.text) <= 4096:
            self.fail(f"found {token.describe()}", "the bits of an element: a whole number from 1 to 4096", at=token)
        self.bits = int(token.text)

    def split_statement(self) -> None:
        rank = self.name("the rank to split")
        self.ranks.setdefault(rank.text, Rank(rank.text))
        self.expect("->", "between a rank and its pieces")
        outer = self.name("the outer piece")
        self.expect(",", "between the pieces")
        inner = self.name("the inner piece")
        if len({rank.text, outer.text, inner.text}) < 3:
            self.fail("a rank and its pieces need three names", at=outer)
        for token in (outer, inner):
            if token.text in self.constants:
                self.fail(f"{token.text!r} is declared twice", "one declaration of each name", at=token)
            self.ranks.setdefault(token.text, Rank(token.text))
        self.splits.append(Split(rank.text, outer.text, inner.text))

    def const_statement(self) -> None:
        name = self.new_name("a constant")
        self.expect("=", "and the constant's value")
        self.constants[name] = ConstantDefinition(name, self.expression())

    def operator_statement(self, is_reduce: bool) -> None:
        name = self.new_name("an operator")
        self.expect("(", "and the operator's parameters")
        parameters = [self.name("a parameter").text]
        while self.accept(","):
            parameters.append(self.name("a parameter").text)
        close = self.expect(")", "after the parameters")
        if is_reduce and len(parameters) != 2:
            self.fail(f"a reduce operator has {len(parameters)} parameters", "two", at=close)
        if len(set(parameters)) < len(parameters):
            self.fail("two parameters have one name", at=close)
        self.expect("=", "and the operator's body")
        self.parameters = tuple(parameters)
        body = self.expression()
        self.parameters = ()
        identity = None
        if is_reduce:
            self.expect("from", "and the value a reduction starts from")
            identity = self.expression()
        self.operators[name] = OperatorDefinition(name, tuple(parameters), body, identity)

    def shape(self) -> str:
        name = self.new_name("a tensor")
        self.expect("[", "and the tensor's ranks")
        dims: list[Dim] = []
        if not self.accept("]"):
            dims.append(self.shape_rank())
            while self.accept(","):
                dims.append(self.shape_rank())
            self.expect("]", "after the tensor's ranks")
        density = self.expression() if self.accept("density") else None
        number_format = self.number_format() if self.accept("format") else None
        self.declared[name] = Tensor(name, tuple(dims), density, number_format)
        return name

    def number_format(self) -> str:
        token = self.name("a number format")
        if token.text not in ROUNDINGS:
            self.unknown(token, "number format", ROUNDINGS)
        return token.text

    def shape_rank(self) -> Dim:
        token = self.name("a rank")
        if token.text in self.constants:
            self.fail(f"{token.text!r} is a constant", "a rank", at=token)
        self.ranks.setdefault(token.text, Rank(token.text))
        return Dim(token.text)

    def input_item(self) -> None:
        self.inputs[self.shape()] = None

    def output_item(self) -> None:
        if self.tokens[self.place + 1].text == "[":
            self.outputs[self.shape()] = None
        else:
            self.outputs[self.name("a result tensor").text] = None

    def einsum(self) -> None:
        start = self.token
        output = self.access()
        self.expect("=", "after the tensor that is written")
        expression = self.expression()
        reduction = self.fold() if self.accept("::") else None
        condition = self.expression() if self.accept("where") else None
        fill = self.expression() if self.accept("else") else None
        at = (start.line, start.column)
        bare = Einsum(output, expression, None, condition, fill, at)
        missing = tuple(rank for rank in bare.ranks if rank not in bare.kept_ranks)
        if reduction is None and missing:
            reduction = Reduction("add", missing)
        self.einsums.append(Einsum(output, expression, reduction, condition, fill, at))

    def fold(self) -> Reduction:
        operator = self.name("a reduce operator")
        self.expect("(", "and the ranks to fold")
        ranks = [self.known_rank()]
        while self.accept(","):
            ranks.append(self.known_rank())
        into = self.known_rank() if self.accept("->") else None
        self.expect(")", "after the ranks to fold")
        return Reduction(operator.text, tuple(ranks), into)
