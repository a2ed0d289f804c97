"""A fused part of a cascade: which ranks its loops may cut, in how many passes, and what must be kept across them.

A *pass* over a rank begins where something is needed that is complete only after every coordinate was visited. A rank
that takes one pass may be cut by a loop around all Einsums; one that takes more is walked anew in every pass, and what
an earlier pass leaves for a later one is kept, or goes through the root.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property

from mappers.mapspace.problem import CascadeProblem, EinsumProblem, TensorUse

__all__ = ["Region", "private_ranks", "region_of"]


@dataclass(frozen=True)
class Region:
    """Einsums that run interleaved. ``loaded`` tensors come from the root, ``sent`` ones go there.

    ``last`` are the running states among the sent of which only the last step is needed elsewhere.
    ``private`` ranks are those that a single Einsum of the whole cascade walks: they stay whole inside it.
    """

    einsums: tuple[EinsumProblem, ...]
    loaded: tuple[str, ...]
    sent: tuple[str, ...]
    last: frozenset[str]
    private: frozenset[str]

    @cached_property
    def size(self) -> dict[str, int]:
        """Rank sizes."""
        return {rank: size for einsum in self.einsums for rank, size in einsum.sizes}

    @cached_property
    def uses(self) -> dict[str, TensorUse]:
        """Each tensor as the Einsum sees it that walks most of its ranks."""
        found: dict[str, TensorUse] = {}
        for einsum in self.einsums:
            for use in einsum.uses:
                if use.tensor not in found or len(use.ranks) > len(found[use.tensor].ranks):
                    found[use.tensor] = use
        return found

    @cached_property
    def writers(self) -> dict[str, tuple[int, ...]]:
        """Tensor -> places of the Einsums that write it."""
        return _places(self.einsums, lambda einsum: (einsum.output,))

    @cached_property
    def readers(self) -> dict[str, tuple[int, ...]]:
        """Tensor -> places of the Einsums that read it."""
        return _places(self.einsums, lambda einsum: einsum.operands)

    @cached_property
    def carried(self) -> dict[str, frozenset[str]]:
        """Tensor written here -> ranks along which it is a running state."""
        found: dict[str, frozenset[str]] = {}
        for einsum in self.einsums:
            name = einsum.output.tensor
            found[name] = found.get(name, frozenset()) | frozenset(einsum.carried)
        return found

    @cached_property
    def walked(self) -> dict[str, frozenset[str]]:
        """Tensor -> ranks of all Einsums that touch it."""
        found: dict[str, frozenset[str]] = {}
        for einsum in self.einsums:
            for use in einsum.uses:
                found[use.tensor] = found.get(use.tensor, frozenset()) | frozenset(einsum.ranks)
        return found

    @cached_property
    def batch(self) -> tuple[str, ...]:
        """Ranks of every tensor: their coordinates share nothing."""
        shared = [rank for rank in self.size if all(rank in use.ranks for e in self.einsums for use in e.uses)]
        return tuple(rank for rank in shared if not any(rank in ranks for ranks in self.carried.values()))

    @cached_property
    def levels(self) -> dict[str, tuple[float, ...]]:
        """Rank -> the pass in which each Einsum runs; halves stand after a pass, 0 before the first."""
        return {rank: self._levels(rank) for rank in self.size}

    def _levels(self, rank: str) -> tuple[float, ...]:
        levels: list[float] = []
        for place, einsum in enumerate(self.einsums):
            inside = rank in einsum.ranks
            level = 1.0 if inside else 0.0
            for use in einsum.operands:
                for writer in self.writers.get(use.tensor, ()):
                    if writer >= place:  # a running state of the step before
                        continue
                    base = levels[writer]
                    done = base != int(base)
                    completes = rank in self.einsums[writer].ranks and rank not in use.ranks
                    if inside:
                        base = math.floor(base) + 1 if completes or done else base
                    elif completes:
                        base = math.floor(base) + 0.5
                    level = max(level, base)
            levels.append(level)
        return tuple(levels)

    def passes(self, rank: str) -> int:
        """How often the region walks ``rank``."""
        return int(max(level for level, e in zip(self.levels[rank], self.einsums, strict=True) if rank in e.ranks))

    @cached_property
    def cuttable(self) -> tuple[str, ...]:
        """Ranks that a loop around the whole region may cut: one pass, and nothing before it."""
        return tuple(rank for rank in self._shared if self.passes(rank) == 1 and not self._has_prologue(rank))

    @cached_property
    def streamed(self) -> tuple[str, ...]:
        """Ranks that each pass walks anew."""
        return tuple(rank for rank in self._shared if self.passes(rank) > 1)

    @property
    def _shared(self) -> tuple[str, ...]:
        return tuple(
            rank for rank, size in self.size.items() if size > 1 and rank not in self.private and rank not in self.batch
        )

    def _has_prologue(self, rank: str) -> bool:
        for einsum in self.einsums:
            if rank not in einsum.ranks:
                continue
            for use in einsum.operands:
                for writer in self.writers.get(use.tensor, ()):
                    if rank not in self.einsums[writer].ranks:
                        return True
        return False

    def crosses(self, tensor: str, rank: str) -> bool:
        """True when one pass over ``rank`` leaves ``tensor`` for a later one."""
        if rank not in self.uses[tensor].ranks:
            return False
        levels = self.levels[rank]
        made = [levels[place] for place in self.writers.get(tensor, ())]
        used = [levels[place] for place in self.readers.get(tensor, ())]
        return bool(made and used) and max(used) >= math.floor(min(made)) + 1

    def accumulates(self, tensor: str, rank: str) -> bool:
        """True when steps along ``rank`` update the same elements of ``tensor``."""
        writers = [self.einsums[place] for place in self.writers.get(tensor, ())]
        if rank in self.carried.get(tensor, frozenset()):
            return True
        return rank not in self.uses[tensor].ranks and any(rank in einsum.ranks for einsum in writers)

    def elements(self, tensor: str, tile: Mapping[str, int], live: bool = False) -> int:
        """Elements of ``tensor`` in ``tile``; ``live``: of a running state only the current step."""
        plain = self._plain[tensor]
        if plain is not None:
            steps: Collection[str] = self.carried.get(tensor, ()) if live else ()
            return math.prod(tile[rank] for rank in plain if rank not in steps)
        if live and self.carried.get(tensor):
            tile = {**tile, **dict.fromkeys(self.carried[tensor], 1)}
        return self.uses[tensor].elements(tile)

    @cached_property
    def _plain(self) -> dict[str, tuple[str, ...] | None]:
        """The ranks of tensors whose every axis is one rank."""
        found: dict[str, tuple[str, ...] | None] = {}
        for tensor, use in self.uses.items():
            simple = all(len(axis.terms) == 1 and abs(axis.terms[0][1]) == 1 for axis in use.axes)
            found[tensor] = tuple(axis.terms[0][0] for axis in use.axes) if simple else None
        return found

    @cached_property
    def own_ranks(self) -> dict[str, frozenset[str]]:
        """Tensor -> ranks along which it differs from step to step; those of a running state do not count."""
        return {tensor: use.ranks - self.carried.get(tensor, frozenset()) for tensor, use in self.uses.items()}

    @cached_property
    def compulsory_bits(self) -> tuple[float, float]:
        """Bits that the region reads from the root and writes there at least."""
        read = sum(self.uses[t].bits * self.elements(t, self.size) for t in self.loaded)
        write = sum(self.uses[t].bits * self.sent_elements(t) for t in self.sent)
        return float(read), float(write)

    def sent_elements(self, tensor: str) -> int:
        """Elements of ``tensor`` that leave: all steps of a running state, or its last."""
        return self.elements(tensor, self.size, live=tensor in self.last)


def _places(
    einsums: tuple[EinsumProblem, ...], part: Callable[[EinsumProblem], tuple[TensorUse, ...]]
) -> dict[str, tuple[int, ...]]:
    found: dict[str, tuple[int, ...]] = {}
    for place, einsum in enumerate(einsums):
        for use in part(einsum):
            found[use.tensor] = (*found.get(use.tensor, ()), place)
    return found


def private_ranks(problem: CascadeProblem) -> frozenset[str]:
    """Ranks that one Einsum walks alone, where the cascade has several Einsums."""
    if len(problem.einsums) == 1:
        return frozenset()
    counts: dict[str, int] = {}
    for einsum in problem.einsums:
        for rank in einsum.ranks:
            counts[rank] = counts.get(rank, 0) + 1
    return frozenset(rank for rank, count in counts.items() if count == 1)


def region_of(problem: CascadeProblem, places: Iterable[int], spilled: Collection[str] = ()) -> Region | None:
    """The Einsums at ``places`` as one region; ``spilled`` tensors go through the root even between its own Einsums.

    None when an Einsum needs, of the step before, what a later region makes.
    """
    chosen = tuple(places)
    einsums = tuple(problem.einsums[place] for place in chosen)
    made = dict.fromkeys(einsum.output.tensor for einsum in einsums)
    loaded: dict[str, None] = {}
    for place in chosen:
        for use in problem.einsums[place].operands:
            if use.tensor in made and use.tensor not in spilled:
                continue
            producer = problem.producer(use.tensor)
            if use.tensor not in made and producer is not None and producer >= place:
                return None
            loaded[use.tensor] = None
    inside = set(chosen)
    sent = tuple(
        tensor
        for tensor in made
        if tensor in spilled
        or tensor not in problem.intermediates
        or any(reader not in inside for reader in problem.consumers(tensor))
    )
    last = frozenset(
        problem.einsums[place].output.tensor
        for place in chosen
        if problem.einsums[place].carried and not _steps_needed(problem, place, inside)
    )
    return Region(einsums, tuple(loaded), sent, last, private_ranks(problem))


def _steps_needed(problem: CascadeProblem, place: int, inside: Collection[int]) -> bool:
    einsum = problem.einsums[place]
    outside = [reader for reader in problem.consumers(einsum.output.tensor) if reader not in inside]
    uses = [problem.einsums[reader].by_tensor[einsum.output.tensor] for reader in outside]
    return any(rank in use.ranks for use in uses for rank in einsum.carried)
