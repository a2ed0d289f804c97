"""The part of a kernel that a mapping decides: its contractions and the tensors between them.

Kernels apply element-wise Einsums to values as they pass: a bias, an activation, the running maximum and the
exponential of a one-pass softmax work on the tile that a contraction has just made or is about to read (FlashAttention,
arXiv 2205.14135, section 3.1; epilogue fusion of matrix products). They decide neither tiles nor traffic, so a kernel
is searched as its contractions alone. What they keep, a few values for each row, is not counted against the buffers.
"""

from __future__ import annotations

import math
from dataclasses import replace

from mappers.mapspace.problem import Axis, CascadeProblem, EinsumProblem, TensorUse

__all__ = ["kernel_problem", "with_joined_ranks", "without_batch"]


def kernel_problem(problem: CascadeProblem) -> CascadeProblem:
    """``problem`` reduced to its contractions.

    A contraction's result that element-wise Einsums turn into an operand of the next one stands for that operand, and
    one that they turn into a result of the cascade is that result. Where this is not possible without doubt, because
    the tensors differ in shape or a result has several heirs, ``problem`` comes back as it is. Only for cascades of one
    pass: with more, tensors between the contractions must wait for a whole fiber.
    """
    riders = [einsum for einsum in problem.einsums if not einsum.contraction]
    contractions = [einsum for einsum in problem.einsums if einsum.contraction]
    made = {einsum.output.tensor: einsum.output for einsum in problem.einsums}
    stands_for: dict[str, TensorUse] = {}
    results: dict[str, TensorUse] = {}
    between: list[str] = []
    for einsum in contractions:
        own = einsum.output
        heirs = _heirs(own.tensor, riders)
        readers = [(c, use) for c in contractions for use in c.operands if use.tensor in heirs]
        final = [made[name] for name in made if name in heirs and not made[name].intermediate]
        if readers:
            size = own.elements(einsum.size)
            if any(use.tensor in stands_for or use.elements(c.size) != size for c, use in readers):
                return problem
            stands_for |= {use.tensor: own for _, use in readers}
            results[own.tensor] = own
            between.append(own.tensor)
        elif len(final) == 1 and final[0].ranks <= own.ranks:
            results[own.tensor] = final[0]
        else:
            return problem
    return CascadeProblem(
        problem.name,
        tuple(_reduced(einsum, stands_for, results, between) for einsum in contractions),
        tuple(between),
        problem.bits,
    )


def _heirs(tensor: str, riders: list[EinsumProblem]) -> frozenset[str]:
    """``tensor`` and everything that element-wise Einsums make of it."""
    found = {tensor}
    while True:
        more = {r.output.tensor for r in riders if any(use.tensor in found for use in r.operands)} - found
        if not more:
            return frozenset(found)
        found |= more


def _reduced(
    einsum: EinsumProblem, stands_for: dict[str, TensorUse], results: dict[str, TensorUse], between: list[str]
) -> EinsumProblem:
    operands = []
    for use in einsum.operands:
        source = stands_for.get(use.tensor)
        if source is not None:
            operands.append(replace(use, tensor=source.tensor, bits=source.bits, intermediate=True))
        else:  # what element-wise Einsums make of the kernel's own inputs comes in like an input
            operands.append(replace(use, intermediate=False))
    output = replace(results[einsum.output.tensor], role="output")
    return replace(einsum, uses=(*operands, replace(output, intermediate=output.tensor in between)))


def without_batch(problem: CascadeProblem) -> tuple[CascadeProblem, int]:
    """``problem`` for one coordinate of the ranks that every tensor has, and how many coordinates they have together.

    Nothing is used again from one such coordinate to the next (sequences and key-value heads of attention), so they
    run one after the other.
    """
    uses = [use for einsum in problem.einsums for use in einsum.uses]
    batch = frozenset.intersection(*(use.ranks for use in uses)) & _plain_ranks(problem)
    times = math.prod(problem.einsums[0].size[rank] for rank in batch)
    if not batch:
        return problem, 1
    einsums = []
    for einsum in problem.einsums:
        sizes = tuple((rank, size) for rank, size in einsum.sizes if rank not in batch)
        kept = tuple(replace(use, axes=tuple(a for a in use.axes if a.terms[0][0] not in batch)) for use in einsum.uses)
        operations = tuple((operator, count / times) for operator, count in einsum.operations)
        einsums.append(replace(einsum, sizes=sizes, uses=kept, operations=operations))
    return replace(problem, einsums=tuple(einsums)), times


def with_joined_ranks(problem: CascadeProblem) -> CascadeProblem:
    """``problem`` with ranks that no tensor has apart joined to one: the pieces of a split rank, heads and queries.

    The joined rank is walked in tiles that need not end where an inner rank ends.
    """
    plain = _plain_ranks(problem)
    seen: dict[tuple[tuple[str, ...], ...], list[str]] = {}
    for rank in dict.fromkeys(rank for einsum in problem.einsums for rank in einsum.ranks):
        where = tuple(
            tuple(use.tensor for use in einsum.uses if rank in use.ranks) if rank in einsum.ranks else ("",)
            for einsum in problem.einsums
        )
        seen.setdefault(where if rank in plain else ((rank,),), []).append(rank)
    into = {rank: group[0] for group in seen.values() for rank in group}
    sizes = {rank: size for einsum in problem.einsums for rank, size in einsum.sizes}
    joined = {group[0]: math.prod(sizes[rank] for rank in group) for group in seen.values()}
    einsums = []
    for einsum in problem.einsums:
        ranks = tuple((rank, joined[rank]) for rank in einsum.ranks if into[rank] == rank)
        uses = tuple(replace(use, axes=_without(use.axes, into)) for use in einsum.uses)
        einsums.append(replace(einsum, sizes=ranks, uses=uses))
    return replace(problem, einsums=tuple(einsums))


def _plain_ranks(problem: CascadeProblem) -> frozenset[str]:
    """Ranks that are axes by themselves wherever they stand, not terms of a sum such as a window's."""
    axes = [axis for einsum in problem.einsums for use in einsum.uses for axis in use.axes]
    summed = {rank for axis in axes for rank, step in axis.terms if len(axis.terms) > 1 or step != 1}
    return frozenset(rank for einsum in problem.einsums for rank in einsum.ranks) - summed


def _without(axes: tuple[Axis, ...], into: dict[str, str]) -> tuple[Axis, ...]:
    return tuple(axis for axis in axes if len(axis.terms) > 1 or into[axis.terms[0][0]] == axis.terms[0][0])
