"""A cascade with sizes as a mapper sees it: which tensors each Einsum touches, along which ranks, in how many bits."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from workloads.einsum import Cascade, Einsum, operation_counts, resolve_sizes
from workloads.einsum.expressions import Access, Call, Constant, Index, Number, Size
from workloads.errors import InputError, unknown_name

__all__ = ["Axis", "CascadeProblem", "EinsumProblem", "TensorUse", "cascade_problem"]

DEFAULT_BITS = 16
"""Bits of an element where neither the caller nor the cascade says otherwise: the half-precision formats."""

LARGEST_SIZE = 2**32
"""The most coordinates of a rank. A search lists about two square roots of it as tiles; beyond, the lists alone outlast
any patience. No tensor of a known model comes near."""


@dataclass(frozen=True, slots=True)
class Axis:
    """One axis of a tensor as an Einsum walks it: the sum of ``coefficient * rank`` over its terms."""

    terms: tuple[tuple[str, int], ...]

    def extent(self, tile: Mapping[str, int]) -> int:
        """Coordinates touched by a tile of the iteration space."""
        return 1 + sum(abs(coefficient) * (tile[rank] - 1) for rank, coefficient in self.terms)


@dataclass(frozen=True)
class TensorUse:
    """A tensor in one Einsum. ``role``: its first operand is the input, the second the weight, the result the output.

    ``intermediate`` tensors are made and used inside the cascade and need never leave the chip.
    """

    tensor: str
    role: Literal["input", "weight", "output"]
    bits: int
    axes: tuple[Axis, ...]
    intermediate: bool

    @cached_property
    def ranks(self) -> frozenset[str]:
        """The ranks the tensor depends on."""
        return frozenset(rank for axis in self.axes for rank, _ in axis.terms)

    def elements(self, tile: Mapping[str, int]) -> int:
        """Elements touched by a tile of the iteration space."""
        return math.prod(axis.extent(tile) for axis in self.axes)


@dataclass(frozen=True)
class EinsumProblem:
    """One Einsum: rank sizes, tensors (operands, then the output) and how often each operator is applied.

    ``carried`` holds the ranks along which the output is a running state: what is written is the next coordinate.
    """

    name: str
    sizes: tuple[tuple[str, int], ...]
    uses: tuple[TensorUse, ...]
    operations: tuple[tuple[str, float], ...]
    contraction: bool
    carried: tuple[str, ...] = ()

    @cached_property
    def size(self) -> dict[str, int]:
        """Rank sizes by name."""
        return dict(self.sizes)

    @cached_property
    def ranks(self) -> tuple[str, ...]:
        """The ranks of the iteration space."""
        return tuple(rank for rank, _ in self.sizes)

    @property
    def points(self) -> int:
        """Points of the iteration space: multiply-accumulates of a contraction."""
        return math.prod(size for _, size in self.sizes)

    @property
    def output(self) -> TensorUse:
        """The tensor that is written."""
        return self.uses[-1]

    @property
    def operands(self) -> tuple[TensorUse, ...]:
        """The tensors that are read."""
        return self.uses[:-1]

    @cached_property
    def by_tensor(self) -> dict[str, TensorUse]:
        """Tensor name -> its use."""
        return {use.tensor: use for use in self.uses}


@dataclass(frozen=True)
class CascadeProblem:
    """A cascade's Einsums in order, with the tensors that pass between them."""

    name: str
    einsums: tuple[EinsumProblem, ...]
    intermediates: tuple[str, ...]
    bits: tuple[tuple[str, int], ...]

    def consumers(self, tensor: str) -> tuple[int, ...]:
        """Places of the Einsums that read ``tensor``."""
        return tuple(
            place for place, einsum in enumerate(self.einsums) if any(use.tensor == tensor for use in einsum.operands)
        )

    def producer(self, tensor: str) -> int | None:
        """Place of the last Einsum that writes ``tensor``; None for an input."""
        places = [place for place, einsum in enumerate(self.einsums) if einsum.output.tensor == tensor]
        return places[-1] if places else None


def cascade_problem(
    cascade: Cascade, sizes: Mapping[str, float], bits: int | Mapping[str, int] | None = None
) -> CascadeProblem:
    """The mapping problem of ``cascade`` with these rank sizes.

    ``bits`` is the width of an element of every tensor, or of each named one. Initialisations of running states and
    the scaling of an input by a constant are left out: the first cost nothing that recurs, the second is folded into
    whatever wrote the input. Masked points are mapped like all others. Raises `InputError` for missing, unknown,
    fractional or zero sizes and for widths that are not positive.
    """
    values = resolve_sizes(cascade, sizes)
    numbers = {name: _whole(cascade, name, values[name]) for name in cascade.rank_names}
    widths = _widths(cascade, bits)
    counts = operation_counts(cascade, sizes)
    aliases, einsums = _without_scales(cascade)
    inner = tuple(name for name in cascade.intermediates if name not in aliases)
    problems = []
    for einsum in einsums:
        if not einsum.operands:
            continue
        problems.append(_einsum_problem(einsum, numbers, widths, aliases, inner, counts[einsum.label]))
    return CascadeProblem(cascade.name, tuple(problems), inner, tuple(widths.items()))


def _einsum_problem(
    einsum: Einsum,
    numbers: Mapping[str, int],
    widths: Mapping[str, int],
    aliases: Mapping[str, str],
    inner: tuple[str, ...],
    counts: Mapping[str, float],
) -> EinsumProblem:
    sizes = tuple((rank, numbers[rank]) for rank in einsum.ranks)
    roles: tuple[Literal["input", "weight", "output"], ...] = ("input", "weight")
    uses: dict[str, TensorUse] = {}
    for access in einsum.operands:
        tensor = aliases.get(access.tensor, access.tensor)
        role = roles[min(len(uses), 1)]
        axes = _axes(access.indices, numbers)
        if tensor in uses:  # the same tensor twice (a running state and its square): one copy serves both
            role = uses[tensor].role
            known = uses[tensor]
            axes = known.axes if len(known.ranks) >= len({r for a in axes for r, _ in a.terms}) else axes
        uses[tensor] = TensorUse(tensor, role, widths[tensor], axes, tensor in inner)
    name = einsum.output.tensor
    output = TensorUse(name, "output", widths[name], _axes(einsum.output.indices, numbers), name in inner)
    operands = tuple(use for use in uses.values() if use.tensor != name)
    if einsum.is_contraction:
        operations: tuple[tuple[str, float], ...] = (("mac", float(counts["mul"])),)
    else:
        operations = tuple((operator, float(count)) for operator, count in counts.items() if count)
    carried = tuple(
        rank
        for index in einsum.output.indices
        if not index.is_constant and any(term.base is None for term in index.terms)
        for rank in index.ranks
    )
    return EinsumProblem(name, sizes, (*operands, output), operations, einsum.is_contraction, carried)


def _axes(indices: tuple[Index, ...], numbers: Mapping[str, int]) -> tuple[Axis, ...]:
    axes: list[Axis] = []
    for index in indices:
        terms: dict[str, int] = {}
        for term in index.terms:
            if term.base is None:
                continue
            if isinstance(term.base, Access):  # gathered: at most one coordinate for each index value
                axes.extend(Axis(((rank, 1),)) for rank in term.base.ranks)
                continue
            factor = term.coefficient
            for part in term.factors:
                factor *= numbers[part.rank] if isinstance(part, Size) else 1
            terms[term.base] = terms.get(term.base, 0) + factor
        if index.joined is not None:  # two pieces of a split rank are two axes of one matrix
            axes.extend(Axis(((rank, 1),)) for rank in index.joined)
        elif terms:
            axes.append(Axis(tuple(terms.items())))
    return tuple(axes)


def _without_scales(cascade: Cascade) -> tuple[dict[str, str], tuple[Einsum, ...]]:
    """The Einsums but those that multiply an input by a constant, and the input that stands for each one's result."""
    aliases: dict[str, str] = {}
    kept = []
    for einsum in cascade.einsums:
        scaled = _scaled_input(cascade, einsum)
        if scaled is not None and len(cascade.writers(einsum.label)) == 1 and einsum.label not in cascade.outputs:
            aliases[einsum.label] = scaled
        else:
            kept.append(einsum)
    return aliases, tuple(kept)


def _scaled_input(cascade: Cascade, einsum: Einsum) -> str | None:
    expression = einsum.expression
    if einsum.reduction is not None or einsum.condition is not None or not isinstance(expression, Call):
        return None
    if expression.operator != "mul":
        return None
    tensors = [part for part in expression.arguments if isinstance(part, Access)]
    others = [part for part in expression.arguments if not isinstance(part, Access)]
    if len(tensors) != 1 or not all(isinstance(part, Number | Constant) for part in others):
        return None
    source = tensors[0]
    return source.tensor if source.tensor in cascade.inputs and source.indices == einsum.output.indices else None


def _widths(cascade: Cascade, bits: int | Mapping[str, int] | None) -> dict[str, int]:
    names = tuple(cascade.tensors)
    default = cascade.bits or DEFAULT_BITS
    if isinstance(bits, int):
        default = bits
    widths = dict.fromkeys(names, default)
    for name, width in (bits or {}).items() if isinstance(bits, Mapping) else ():
        if name not in widths:
            raise unknown_name("tensor", name, names, field=f"{cascade.name}.bits")
        widths[name] = width
    for name, width in widths.items():
        if width < 1:
            raise InputError(f"an element of {width} bits", "a whole number of bits, at least 1", f"bits.{name}")
    return widths


def _whole(cascade: Cascade, name: str, value: float) -> int:
    if not 1 <= value <= LARGEST_SIZE or value != int(value):
        expected = "a whole number of at least 1" if value <= LARGEST_SIZE else f"at most {LARGEST_SIZE:,}"
        raise InputError(f"size {value:g}", expected, f"{cascade.name}.sizes.{name}")
    return int(value)
