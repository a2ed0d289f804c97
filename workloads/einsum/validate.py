"""The rules a cascade must keep beyond its grammar; the first one broken is reported where it is broken."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import NoReturn

from workloads.einsum.errors import CascadeError
from workloads.einsum.expressions import Access, Call, Constant, Coordinate, Expression, Index, Position, Size, walk
from workloads.einsum.ir import Cascade, Einsum, OperatorDefinition, Reduction
from workloads.einsum.operators import MAPS, REDUCES, SELECTIONS
from workloads.einsum.schedule import schedule
from workloads.errors import nearest_name

__all__ = ["validate"]

_START: Position = (1, 1)


def validate(cascade: Cascade, file: str | None = None) -> None:
    """Checks names, arities, ranks, folds and running ranks. Raises CascadeError with line and column."""
    checker = _Checker(cascade, file)
    checker.definitions()
    for einsum in cascade.einsums:
        checker.einsum(einsum)
    checker.results()
    try:
        schedule(cascade)
    except CascadeError as error:
        error.file = file
        raise


class _Checker:
    def __init__(self, cascade: Cascade, file: str | None) -> None:
        self.cascade = cascade
        self.file = file
        self.ranks = set(cascade.rank_names)
        self.constants = {constant.name for constant in cascade.constants}
        self.operators = {operator.name: operator for operator in cascade.operators}
        self.written = {einsum.label: len(einsum.output.indices) for einsum in reversed(cascade.einsums)}

    def fail(self, problem: str, expected: str | None, at: Position, nearest: str | None = None) -> NoReturn:
        line, column = at if at[0] else _START
        raise CascadeError(problem, expected, file=self.file, line=line, column=column, nearest=nearest)

    def unknown(self, kind: str, name: str, valid: Iterable[str], at: Position) -> NoReturn:
        names = sorted(valid)
        self.fail(
            f"unknown {kind} {name!r}",
            f"one of {', '.join(names)}" if names else f"a {kind}",
            at,
            nearest_name(name, names),
        )

    # --- declarations

    def definitions(self) -> None:
        cascade = self.cascade
        for name in sorted(self.operators):
            if name in MAPS or name in REDUCES or name in SELECTIONS:
                self.fail(f"operator {name!r} exists already", "a new name", _START)
        bodies = [rank.size for rank in cascade.ranks] + [constant.value for constant in cascade.constants]
        for tensor in cascade.declared:
            bodies.append(tensor.density)
            if len(set(tensor.ranks)) < len(tensor.ranks):
                self.fail(f"tensor {tensor.name!r} names a rank twice", "one name for each axis", _START)
        for body in bodies:
            if body is not None:
                self.constant_expression(body)
        for operator in cascade.operators:
            self.expression(operator.body, set(operator.parameters))
            if any(isinstance(node, Access) for node in walk(operator.body)):
                self.fail(f"operator {operator.name!r} reads a tensor", "its parameters, constants and numbers", _START)
            if operator.identity is not None:
                self.constant_expression(operator.identity)
            if operator.name in _called(operator.body, self.operators):
                self.fail(f"operator {operator.name!r} calls itself", "operators defined from others", _START)
        self.splits()

    def splits(self) -> None:
        pieces = [piece for split in self.cascade.splits for piece in (split.outer, split.inner)]
        wholes = [split.rank for split in self.cascade.splits]
        for name in pieces:
            if pieces.count(name) > 1:
                self.fail(f"rank {name!r} is a piece of two splits", "pieces of one rank", _START)
        for name in wholes:
            if wholes.count(name) > 1 or name in pieces:
                self.fail(f"rank {name!r} is split twice", "one split of a rank", _START)

    def constant_expression(self, body: Expression) -> None:
        for node in walk(body):
            if isinstance(node, Access | Coordinate):
                self.fail("a value that changes from point to point", "numbers, constants and sizes |m|", node.at)
        self.expression(body, set())

    # --- Einsums

    def einsum(self, einsum: Einsum) -> None:
        self.access(einsum.output, writing=True)
        self.expression(einsum.expression, set())
        if einsum.condition is not None:
            self.expression(einsum.condition, set())
        if einsum.fill is not None:
            self.constant_expression(einsum.fill)
        self.fold(einsum, einsum.reduction)

    def fold(self, einsum: Einsum, reduction: Reduction | None) -> None:
        kept = set(einsum.kept_ranks)
        lacking = [rank for rank in einsum.ranks if rank not in kept]
        if reduction is None:
            return
        if len(set(reduction.ranks)) < len(reduction.ranks):
            self.fail("a rank is folded twice", "each rank once", einsum.at)
        for rank in reduction.ranks:
            if rank in kept:
                self.fail(f"rank {rank!r} is folded and written", "a rank that the output lacks", einsum.at)
            if rank not in lacking:
                self.fail(f"rank {rank!r} is folded but does not occur", "a rank of the expression", einsum.at)
        for rank in lacking:
            if rank not in reduction.ranks:
                self.fail(
                    f"rank {rank!r} is neither written nor folded",
                    f"it in the output or in {reduction.operator}(...)",
                    einsum.at,
                )
        self.fold_operator(einsum, reduction)

    def fold_operator(self, einsum: Einsum, reduction: Reduction) -> None:
        name = reduction.operator
        if name in SELECTIONS:
            if SELECTIONS[name] != (reduction.into is not None):
                form = f"{name}(x -> k)" if SELECTIONS[name] else f"{name}(x)"
                self.fail(f"{name} does not fit its ranks", form, einsum.at)
            if len(reduction.ranks) != 1:
                self.fail(f"{name} folds {len(reduction.ranks)} ranks", "one rank", einsum.at)
            if reduction.into is not None and reduction.into not in einsum.kept_ranks:
                self.fail(f"rank {reduction.into!r} is not written", "the new rank in the output", einsum.at)
            used = {rank for access in einsum.operands for rank in access.ranks}
            if reduction.into in used:
                self.fail(f"rank {reduction.into!r} is read and made", "a rank of the output only", einsum.at)
            return
        if reduction.into is not None:
            self.fail(f"{name} makes no new rank", f"{name}(x)", einsum.at)
        defined = self.operators.get(name)
        if name not in REDUCES and (defined is None or defined.identity is None):
            reducers = [operator.name for operator in self.cascade.operators if operator.identity is not None]
            self.unknown("reduce operator", name, [*REDUCES, *SELECTIONS, *reducers], einsum.at)

    def access(self, access: Access, writing: bool = False) -> None:
        tensor = next((tensor for tensor in self.cascade.declared if tensor.name == access.tensor), None)
        if tensor is None and access.tensor not in self.written:
            self.unknown("tensor", access.tensor, [*self.written, *self.cascade.inputs], access.at)
        if writing and access.tensor in self.cascade.inputs:
            self.fail(f"input {access.tensor!r} is written", "a tensor of its own for each result", access.at)
        if writing and (
            access.tensor in self.constants or access.tensor in self.ranks or access.tensor in self.operators
        ):
            self.fail(f"{access.tensor!r} has another meaning already", "a new tensor name", access.at)
        count = len(tensor.dims) if tensor is not None else self.written[access.tensor]
        if count != len(access.indices):
            self.fail(
                f"{access.tensor} has {len(access.indices)} indices", f"{count}, one for each of its ranks", access.at
            )
        for index in access.indices:
            self.index(index)

    def index(self, index: Index) -> None:
        for term in index.terms:
            if isinstance(term.base, str) and term.base not in self.ranks:
                self.unknown("rank", term.base, self.ranks, index.at)
            if isinstance(term.base, Access):
                self.access(term.base)
            for factor in term.factors:
                self.expression(factor, set())

    def expression(self, expression: Expression, parameters: set[str]) -> None:
        for node in walk(expression):
            match node:
                case Access():
                    self.access(node)
                case Size(rank) if rank not in self.ranks:
                    self.unknown("rank", rank, self.ranks, node.at)
                case Constant(name) if name not in self.constants and name not in parameters and name != "lowest":
                    self.unknown("constant", name, self.constants | parameters, node.at)
                case Call():
                    self.call(node)
                case _:
                    pass

    def call(self, call: Call) -> None:
        built_in = MAPS.get(call.operator)
        if built_in is not None:
            arity = built_in.arity
        elif call.operator in self.operators:
            arity = len(self.operators[call.operator].parameters)
        else:
            self.unknown("operator", call.operator, [*MAPS, *self.operators], call.at)
        if len(call.arguments) != arity:
            count = len(call.arguments)
            self.fail(f"{call.operator} is given {count} value{'s' * (count != 1)}", f"{arity}", call.at)

    # --- results

    def results(self) -> None:
        cascade = self.cascade
        if not cascade.einsums:
            self.fail("the cascade has no Einsum", "at least one (T[...] = ...)", _START)
        if not cascade.outputs:
            self.fail("the cascade names no result", "an output statement", _START)
        for name in cascade.outputs:
            if name not in self.written:
                self.unknown("result", name, self.written, _START)
        for tensor in cascade.declared:
            if tensor.name not in self.written and tensor.name not in cascade.inputs:
                self.fail(f"tensor {tensor.name!r} is declared and never written", "an Einsum that writes it", _START)
        read = {operand.tensor for einsum in cascade.einsums for operand in einsum.operands}
        for name in cascade.inputs:
            if name not in read:
                self.fail(f"input {name!r} is never read", "an Einsum that reads it", _START)
        self.writers()

    def writers(self) -> None:
        for name in self.written:
            writers = self.cascade.writers(name)
            if len(writers) == 1:
                continue
            steps = [einsum for einsum in writers if not any(index.is_constant for index in einsum.output.indices)]
            if len(steps) != 1:
                where = steps[1] if len(steps) > 1 else writers[1]
                self.fail(
                    f"{name} is written by {len(writers)} Einsums",
                    "one step, and initialisations at a fixed index",
                    where.at,
                )


def _called(body: Expression, operators: Mapping[str, OperatorDefinition]) -> set[str]:
    """User operators reachable from a body."""
    found: set[str] = set()
    todo = [body]
    while todo:
        for name in _user_calls(todo.pop(), operators):
            if name not in found:
                found.add(name)
                todo.append(operators[name].body)
    return found


def _user_calls(body: Expression, operators: Mapping[str, OperatorDefinition]) -> Iterator[str]:
    for node in walk(body):
        if isinstance(node, Call) and node.operator in operators:
            yield node.operator
