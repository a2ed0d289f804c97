"""Equal shapes are searched once: Einsums with their tensors and ranks numbered, and the way back to names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

from mappers.mapspace.constraints import Constraints
from mappers.mapspace.problem import Axis, EinsumProblem
from mappers.search.einsum import Candidate, StoreAt
from mappers.search.spreading import Lane

__all__ = ["Key", "Shape", "named", "namer", "numbered"]

Key: TypeAlias = tuple[EinsumProblem, Constraints]


@dataclass(frozen=True)
class Shape:
    """An Einsum with its tensors and ranks numbered, and the names that a candidate gets back."""

    problem: EinsumProblem
    tensors: tuple[str, ...]
    ranks: tuple[str, ...]
    constraints: Constraints

    @property
    def key(self) -> Key:
        """What equal shapes have in common: all that a search of theirs depends on."""
        return self.problem, self.constraints


def numbered(problem: EinsumProblem, constraints: Constraints) -> Shape:
    """``problem`` with its ranks and tensors numbered in order of appearance, and the constraints that touch it."""
    tensors = tuple(use.tensor for use in problem.uses)
    rank_of = {rank: f"r{index}" for index, rank in enumerate(problem.ranks)}
    tensor_of = {tensor: f"T{index}" for index, tensor in enumerate(tensors)}
    uses = tuple(
        replace(
            use,
            tensor=tensor_of[use.tensor],
            axes=tuple(Axis(tuple((rank_of[rank], step) for rank, step in axis.terms)) for axis in use.axes),
        )
        for use in problem.uses
    )
    plain = EinsumProblem(
        "T", tuple((rank_of[rank], size) for rank, size in problem.sizes), uses, problem.operations, problem.contraction
    )
    mine = replace(
        constraints,
        unfused=frozenset(tensor_of[name] for name in constraints.unfused if name in tensor_of),
        keep=frozenset((level, tensor_of[name]) for level, name in constraints.keep if name in tensor_of),
        bypass=frozenset((level, tensor_of[name]) for level, name in constraints.bypass if name in tensor_of),
        tiles=tuple(
            (level, tensor_of[name], rank_of[rank], tile)
            for level, name, rank, tile in constraints.tiles
            if name in tensor_of and rank in rank_of
        ),
    )
    return Shape(plain, tensors, problem.ranks, mine)


def namer(shape: Shape) -> Callable[[Candidate], Candidate]:
    """What gives candidates of the numbered problem the names of the Einsum. Heads that are one tuple stay one."""
    rank = {f"r{index}": name for index, name in enumerate(shape.ranks)}
    tensor = {f"T{index}": name for index, name in enumerate(shape.tensors)}
    stores: dict[StoreAt, StoreAt] = {}
    heads: dict[int, tuple[StoreAt, ...]] = {}
    lanes: dict[tuple[Lane, ...], tuple[Lane, ...]] = {}
    on_chip: dict[frozenset[str], frozenset[str]] = {}

    def store(s: StoreAt) -> StoreAt:
        if s not in stores:
            tile = sorted([(rank[r], size) for r, size in s.tile])
            stores[s] = StoreAt(s.level, tensor[s.tensor], tuple(tile), s.bits)
        return stores[s]

    def candidate(c: Candidate) -> Candidate:
        if id(c.head) not in heads:
            heads[id(c.head)] = tuple(map(store, c.head))
        if c.lanes not in lanes:
            lanes[c.lanes] = tuple(replace(lane, rank=rank[lane.rank]) for lane in c.lanes)
        if c.on_chip not in on_chip:
            on_chip[c.on_chip] = frozenset(tensor[name] for name in c.on_chip)
        head, resident = heads[id(c.head)], on_chip[c.on_chip]
        return Candidate(
            c.energy_j, c.latency_s, c.own_bits, head, c.placement, lanes[c.lanes], resident, c.origin, store
        )

    return candidate


def named(candidate: Candidate, shape: Shape) -> Candidate:
    """A candidate of the numbered problem in the names of the Einsum."""
    return namer(shape)(candidate)
