"""The slow and obvious twin of `mappers.search.join.join`: every combination in turn, nothing dropped on the way."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from mappers.mapspace.problem import CascadeProblem
from mappers.search.einsum import Candidate
from mappers.search.join import Frame, Joined, _extend

__all__ = ["plain_join"]


def plain_join(
    problem: CascadeProblem,
    candidates: Sequence[Sequence[Candidate]],
    capacity_bits: float,
    admissible: Callable[[float, float, int], bool],
    rank: Callable[[float, float], tuple[float, float]],
    span: tuple[int, int] | None = None,
) -> tuple[float, float]:
    """The least rank of all combinations that fit; infinite where none does."""
    first, end = span or (0, len(problem.einsums))
    inside = [problem.einsums[place].output.tensor for place in range(first, end)]
    last_use = {
        tensor: max((place for place in problem.consumers(tensor) if place < end), default=-1)
        for tensor in problem.intermediates
    }
    states = [Joined(0.0, 0.0, (Frame(()),), (), ())]
    for place in range(first, end):
        einsum = problem.einsums[place]
        names = {use.tensor for use in einsum.operands if use.intermediate}
        grown = []
        for state in states:
            alive = dict(state.alive)
            used = [(name, alive[name]) for name in names if name in alive]
            if any(what.pending for _, what in used):
                continue
            here = sorted((name, state.frames[what.frame].tile, what.deal) for name, what in used)
            for candidate in candidates[place]:
                known = [s for s in candidate.stores if s.tensor in candidate.on_chip and s.tensor in inside]
                operands = [s for s in known if s.tensor != einsum.output.tensor and s in candidate.head]
                deals = [(s.tensor, s.tile, candidate.deal(einsum.by_tensor[s.tensor])) for s in operands]
                energy, latency = state.energy_j + candidate.energy_j, state.latency_s + candidate.latency_s
                if sorted(deals) != here or not admissible(energy, latency, place + 1):
                    continue
                new = _extend(state, candidate, place, problem, last_use, capacity_bits)
                if new is not None:
                    grown.append(new)
        states = grown
    return min((rank(state.energy_j, state.latency_s) for state in states), default=(math.inf, math.inf))
