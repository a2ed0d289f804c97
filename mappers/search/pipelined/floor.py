"""What no binding under given layouts goes below: each Einsum's own time and energy, without any data moved."""

from __future__ import annotations

import math
from dataclasses import dataclass

from mappers.mapspace.problem import CascadeProblem
from mappers.search.pipelined.binding import Layouts, blocked
from mappers.search.pipelined.local import Placement
from mappers.search.pipelined.machine import Machine

__all__ = ["Floor", "floor_of"]


@dataclass(frozen=True)
class Floor:
    """``seconds`` and ``joules`` of each Einsum on each array, infinite where it cannot run there.

    ``later_s`` and ``later_j`` hold, for each place, what the Einsums from there on add whatever is chosen for them:
    to each array the time of those that run nowhere else, and everybody's least energy.
    """

    seconds: tuple[tuple[float, ...], ...]
    joules: tuple[tuple[float, ...], ...]
    later_s: tuple[tuple[float, ...], ...]
    later_j: tuple[float, ...]

    @property
    def possible(self) -> bool:
        """False when some Einsum runs nowhere."""
        return self.later_j[0] < math.inf

    def least(self, placements: tuple[Placement, ...]) -> tuple[float, float]:
        """The least time and energy of bindings that begin with ``placements``."""
        busy = list(self.later_s[len(placements)])
        energy_j = self.later_j[len(placements)]
        for place, placement in enumerate(placements):
            busy[placement.array] += self.seconds[place][placement.array]
            energy_j += self.joules[place][placement.array]
        return max(busy), energy_j


def floor_of(problem: CascadeProblem, machine: Machine, chosen: Layouts) -> Floor:
    """The floor under the layouts ``chosen``; an array without one is taken to use all its lanes."""
    seconds, joules = [], []
    for einsum in problem.einsums:
        row_s, row_j = [], []
        for index, array in enumerate(machine.arrays):
            layout = chosen[index]
            fixed = array.unit.one_layout
            if array.missing(einsum) is not None or (fixed and (layout is None or blocked(array, layout, einsum))):
                row_s.append(math.inf)
                row_j.append(math.inf)
                continue
            lanes = math.prod(dimension.size for dimension in array.dimensions)
            if fixed and layout is not None:
                lanes = math.prod(Placement(index, layout).factors(array, einsum).values())
            cycles, energy_j, _ = array.point_cost(einsum)
            row_s.append(cycles * einsum.points / (lanes * array.unit.width * array.unit.clock_hz))
            row_j.append(energy_j * einsum.points)
        seconds.append(tuple(row_s))
        joules.append(tuple(row_j))
    later_s = [tuple(0.0 for _ in machine.arrays)]
    later_j = [0.0]
    for times, energies in zip(reversed(seconds), reversed(joules), strict=True):
        able = [index for index, value in enumerate(times) if value < math.inf]
        alone = {able[0]: times[able[0]]} if len(able) == 1 else {}
        later_s.append(tuple(value + alone.get(index, 0.0) for index, value in enumerate(later_s[-1])))
        later_j.append(later_j[-1] + min(energies))
    return Floor(tuple(seconds), tuple(joules), tuple(reversed(later_s)), tuple(reversed(later_j)))
