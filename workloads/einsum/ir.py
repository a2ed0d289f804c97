"""A cascade of extended Einsums as immutable values.

The vocabulary is that of TeAAL (MICRO 2023), EDGE (arXiv 2404.11591) and FuseMax (MICRO 2024): an Einsum walks an
iteration space spanned by its ranks, maps an expression over the points and folds the ranks that its output lacks.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property

from workloads.einsum.expressions import (
    NOWHERE,
    Access,
    Call,
    Coordinate,
    Expression,
    Index,
    Position,
    Size,
    accesses,
    walk,
)

__all__ = [
    "Cascade",
    "ConstantDefinition",
    "Dim",
    "Einsum",
    "OperatorDefinition",
    "Rank",
    "Reduction",
    "Split",
    "Tensor",
]


@dataclass(frozen=True, slots=True)
class Reduction:
    """How the ranks that the output lacks are folded; ``into`` is the rank along which a top-k writes."""

    operator: str
    ranks: tuple[str, ...]
    into: str | None = None


@dataclass(frozen=True)
class Einsum:
    """``output = expression :: reduction where condition else fill``.

    A point for which ``condition`` is 0 is not visited; an output element that no point reaches holds ``fill``
    (by default the reduction's identity, 0 without a reduction).
    """

    output: Access
    expression: Expression
    reduction: Reduction | None = None
    condition: Expression | None = None
    fill: Expression | None = None
    at: Position = field(default=NOWHERE, compare=False, repr=False)

    @property
    def label(self) -> str:
        """The name of the tensor that is written."""
        return self.output.tensor

    @cached_property
    def operands(self) -> tuple[Access, ...]:
        """Every tensor access that is read, gathered index tensors and condition included, first use first."""
        found = dict.fromkeys(accesses(self.expression))
        if self.condition is not None:
            found |= dict.fromkeys(accesses(self.condition))
        for index in self.output.indices:
            for gather in index.gathers:
                found |= dict.fromkeys(accesses(gather))
        return tuple(found)

    @cached_property
    def kept_ranks(self) -> tuple[str, ...]:
        """The ranks that the output keeps."""
        return tuple(dict.fromkeys(rank for index in self.output.indices for rank in index.kept))

    @cached_property
    def scatters(self) -> bool:
        """True when some output index is neither constant nor keeps its ranks: points may meet there."""
        return any(index.ranks and not index.kept for index in self.output.indices)

    @cached_property
    def ranks(self) -> tuple[str, ...]:
        """The ranks of the iteration space: those that the output keeps first, then those folded away."""
        found = dict.fromkeys((*self.kept_ranks, *self.output.ranks))
        for node in walk(self.expression):
            found |= dict.fromkeys(_direct_ranks(node))
        if self.condition is not None:
            for node in walk(self.condition):
                found |= dict.fromkeys(_direct_ranks(node))
        if self.reduction is not None and self.reduction.into is not None:
            found.pop(self.reduction.into, None)
        return tuple(found)

    @property
    def reduced_ranks(self) -> tuple[str, ...]:
        """The ranks folded away."""
        return self.reduction.ranks if self.reduction is not None else ()

    @cached_property
    def is_contraction(self) -> bool:
        """True when it multiplies at least two tensors and sums a rank away: what a matrix engine can run."""
        if self.reduction is None or self.reduction.operator != "add":
            return False
        return len({factor for factor in _factors(self.expression) if isinstance(factor, Access)}) >= 2


@dataclass(frozen=True, slots=True)
class Rank:
    """A rank; ``size`` is its default size as a constant expression, None where the caller must give it."""

    name: str
    size: Expression | None = None


@dataclass(frozen=True, slots=True)
class Split:
    """Rank ``rank`` is cut into ``|outer|`` pieces of ``|inner|`` coordinates; the last piece may be short."""

    rank: str
    outer: str
    inner: str


@dataclass(frozen=True, slots=True)
class ConstantDefinition:
    """A named constant and its default value; callers may override it beside the sizes."""

    name: str
    value: Expression


@dataclass(frozen=True, slots=True)
class OperatorDefinition:
    """A user's operator. With ``identity`` it is a reduce operator of two parameters, otherwise a map operator."""

    name: str
    parameters: tuple[str, ...]
    body: Expression
    identity: Expression | None = None


@dataclass(frozen=True, slots=True)
class Dim:
    """One axis of a tensor: its rank and how many coordinates it has beyond the rank's size (a running state: 1)."""

    rank: str
    extra: int = 0


@dataclass(frozen=True, slots=True)
class Tensor:
    """A tensor with its axes.

    ``density`` (0 to 1) is the share of its elements that is present, None for all; ``format`` names the number format
    that the interpreter rounds its elements to, None for float64.
    """

    name: str
    dims: tuple[Dim, ...]
    density: Expression | None = None
    format: str | None = None

    @property
    def ranks(self) -> tuple[str, ...]:
        """The ranks of the axes, in storage order."""
        return tuple(dim.rank for dim in self.dims)


@dataclass(frozen=True)
class Cascade:
    """Einsums that feed one another, with everything they refer to.

    ``bits`` is the storage width of every tensor's elements where a mapper is not told otherwise. ``declared`` holds
    the input tensors and any other tensor whose axes the text states; ``tensors`` has them all.
    """

    name: str
    doc: str
    source: str
    ranks: tuple[Rank, ...]
    splits: tuple[Split, ...]
    constants: tuple[ConstantDefinition, ...]
    operators: tuple[OperatorDefinition, ...]
    inputs: tuple[str, ...]
    declared: tuple[Tensor, ...]
    outputs: tuple[str, ...]
    einsums: tuple[Einsum, ...]
    bits: int | None = None

    @cached_property
    def _hash(self) -> int:
        return hash((self.name, self.ranks, self.splits, self.declared, self.einsums))

    def __hash__(self) -> int:
        # Kept, because analyses are cached by cascade and hashing the whole tree would cost more than they do.
        return self._hash

    @cached_property
    def tensors(self) -> dict[str, Tensor]:
        """Every tensor by name: inputs, then results in order of writing."""
        table = {tensor.name: tensor for tensor in self.declared}
        for einsum in self.einsums:
            known = table.get(einsum.label)
            if known is None:
                table[einsum.label] = Tensor(einsum.label, tuple(map(self._dim, einsum.output.indices)))
            elif einsum.label not in self._declared_names:
                dims = tuple(
                    _wider(old, self._dim(index)) for old, index in zip(known.dims, einsum.output.indices, strict=True)
                )
                table[einsum.label] = Tensor(einsum.label, dims)
        return table

    @cached_property
    def _declared_names(self) -> frozenset[str]:
        return frozenset(tensor.name for tensor in self.declared)

    def _dim(self, index: Index) -> Dim:
        split = self.split_of(index)
        if split is not None:
            return Dim(split.rank)
        ranks = [term.base for term in index.terms if isinstance(term.base, str)]
        extra = sum(term.coefficient for term in index.terms if term.base is None and not term.factors)
        if ranks:
            return Dim(ranks[0], max(extra, 0))
        sizes = [factor.rank for term in index.terms for factor in term.factors if isinstance(factor, Size)]
        return Dim(sizes[0], extra + 1) if sizes else Dim("", extra + 1)

    @cached_property
    def intermediates(self) -> tuple[str, ...]:
        """Tensors that are written and are not results of the cascade, in order of writing."""
        return tuple(name for name in self.tensors if name not in self.inputs and name not in self.outputs)

    @cached_property
    def rank_names(self) -> tuple[str, ...]:
        """All ranks, in order of declaration."""
        return tuple(rank.name for rank in self.ranks)

    @cached_property
    def splits_by_pieces(self) -> dict[tuple[str, str], Split]:
        """Splits by (outer, inner)."""
        return {(split.outer, split.inner): split for split in self.splits}

    def split_of(self, index: Index) -> Split | None:
        """The split whose pieces the index joins again (``m1*|m0| + m0``), if it does exactly that."""
        pieces = index.joined
        return self.splits_by_pieces.get(pieces) if pieces is not None else None

    def writers(self, tensor: str) -> tuple[Einsum, ...]:
        """The Einsums that write a tensor: one, or an initialisation and a step."""
        return tuple(einsum for einsum in self.einsums if einsum.label == tensor)


def _wider(old: Dim, new: Dim) -> Dim:
    """The axis that covers both: an initialisation's constant index takes the step's rank."""
    if not old.rank:
        return new
    return Dim(old.rank, max(old.extra, new.extra)) if new.rank in ("", old.rank) else old


def _direct_ranks(node: Expression) -> tuple[str, ...]:
    if isinstance(node, Access):
        return node.ranks
    return (node.rank,) if isinstance(node, Coordinate) else ()


def _factors(expression: Expression) -> Iterator[Expression]:
    if isinstance(expression, Call) and expression.operator == "mul":
        for argument in expression.arguments:
            yield from _factors(argument)
    else:
        yield expression
