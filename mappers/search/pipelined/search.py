"""The best mapping of a fused cascade onto unlike arrays that work on it together, by exhaustive search with bounds.

Bindings are walked Einsum by Einsum, and a branch is left when the operations placed so far already take longer, or
more energy, than the best complete mapping. For each complete binding the tilings that no other one beats are known,
so nothing in the map space is better than what is returned. Equal runs return equal mappings.

Latency is that of a steady pipeline, the slowest of arrays, buffer and root over the whole region, plus what it takes
to fill: one granule's longest chain of dependences. Tiles of different batch coordinates and of the cut ranks
interleave, so a recurrence bounds the time only where its own steps take longer than all other work. A fused region
spans the cascade; without fusion each run of Einsums on one array is a region, and one follows the other.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import Literal

from hw.spec.hierarchy import Hierarchy
from mappers.mapspace.constraints import Constraints
from mappers.mapspace.problem import CascadeProblem
from mappers.mapspace.report import SearchResult
from mappers.search.pipelined.binding import Layouts, layouts, options
from mappers.search.pipelined.bound import Part, Parts
from mappers.search.pipelined.build import bounds_of, build
from mappers.search.pipelined.floor import Floor, floor_of
from mappers.search.pipelined.local import Placement
from mappers.search.pipelined.machine import Machine, check_actions, machine_of
from mappers.search.pipelined.region import Region, region_of
from mappers.search.pipelined.tiling import Tiling, tilings
from workloads.errors import InfeasibleError, InputError, unknown_name

__all__ = ["search_pipelined"]

Objective = Literal["energy", "latency", "edp"]


@dataclass(frozen=True)
class _Found:
    """A complete mapping: its parts with their tilings."""

    rank: tuple[float, float, float]
    chosen: tuple[tuple[Part, Tiling], ...]


def search_pipelined(
    problem: CascadeProblem, hierarchy: Hierarchy, objective: Objective, constraints: Constraints | None = None
) -> SearchResult:
    """The mapping of ``problem`` on a machine with ``execution: pipelined`` that is best in ``objective``.

    Among equals the latency objective takes the least energy, the others the least latency. Of the constraints it
    knows ``fuse`` and ``unfused``. Raises `InputError` for a machine of another shape, an action no unit has, or other
    constraints, and `InfeasibleError` when no binding or no tiling fits.
    """
    start = time.perf_counter()
    limits = constraints or Constraints()
    _check(problem, hierarchy, objective, limits)
    machine = machine_of(hierarchy)
    check_actions(machine, problem)
    whole = region_of(problem, range(len(problem.einsums)), limits.unfused)
    if whole is None:
        raise InputError("an Einsum needs what no Einsum makes in time", "a cascade in order", problem.name)
    search = _Search(problem, machine, whole, objective, limits)
    for group in layouts(problem, machine):
        search.run(group)
        if search.best is not None:
            break
    if search.best is None:
        raise _infeasible(problem, machine, search)
    mapping, cost = build(problem, machine, search.best.chosen)
    value = {"energy": cost.energy_j, "latency": cost.latency_s, "edp": cost.edp}[objective]
    bounds = bounds_of(machine, whole)
    return SearchResult(
        objective=objective,
        mapping=mapping,
        cost=cost,
        lower_bound=value,
        bounds=bounds,
        candidates=search.candidates,
        seconds=time.perf_counter() - start,
    )


def _check(problem: CascadeProblem, hierarchy: Hierarchy, objective: str, limits: Constraints) -> None:
    if objective not in ("energy", "latency", "edp"):
        raise unknown_name("objective", objective, ("energy", "latency", "edp"), field="objective")
    if hierarchy.execution != "pipelined":
        raise InputError(f"machine {hierarchy.name!r} is {hierarchy.execution}", "execution: pipelined", "execution")
    for name in ("keep", "bypass", "tiles", "stationary"):
        if getattr(limits, name):
            raise InputError(f"{name} is constrained", "fuse or unfused on a pipelined machine", f"constraints.{name}")
    for name in sorted(limits.unfused):
        if name not in problem.intermediates:
            raise unknown_name("intermediate", name, problem.intermediates, field="constraints.unfused")


def _infeasible(problem: CascadeProblem, machine: Machine, search: _Search) -> InfeasibleError:
    if search.smallest_bits < math.inf and search.deepest == len(problem.einsums):
        return InfeasibleError(
            f"no tiling of {problem.name} fits level {machine.buffer!r}",
            search.smallest_bits / 8,
            machine.capacity_bits / 8,
            "B",
            "a larger buffer, or smaller arrays",
        )
    name = problem.einsums[min(search.deepest, len(problem.einsums) - 1)].name
    return InfeasibleError(
        f"no array of {machine.hierarchy.name!r} takes Einsum {name} beside those before it",
        1,
        0,
        "unit",
        "its operands must fit the array's buses, its ranks the array's dimensions and their min_usage",
    )


class _Search:
    """Walks bindings depth first and keeps the best complete mapping."""

    def __init__(
        self, problem: CascadeProblem, machine: Machine, whole: Region, objective: Objective, limits: Constraints
    ) -> None:
        self.problem = problem
        self.machine = machine
        self.whole = whole
        self.objective = objective
        self.fused = limits.fuse
        self.spilled = limits.unfused
        self.parts = Parts(problem, machine, whole, limits.unfused)
        self.best: _Found | None = None
        self.candidates = 0
        self.deepest = 0
        self.smallest_bits = math.inf
        self._tilings: dict[tuple[object, ...], tuple[Tiling, ...]] = {}

    def run(self, group: tuple[Layouts, ...]) -> None:
        """Every binding under every layout of the group, those first whose first complete binding promises most."""
        floors = [(floor_of(self.problem, self.machine, chosen), chosen) for chosen in group]
        promising = [(self._dive(floor, chosen), floor, chosen) for floor, chosen in floors if floor.possible]
        for _, floor, chosen in sorted(promising, key=lambda triple: triple[0]):
            if not self._worse(*floor.least(())):
                self._walk(floor, chosen, ())

    def _dive(self, floor: Floor, chosen: Layouts) -> tuple[float, float, float]:
        """The rank of the binding that takes the best option at each Einsum, with compulsory traffic only."""
        before: tuple[Placement, ...] = ()
        while len(before) < len(self.problem.einsums):
            found = self._options(floor, chosen, before)
            if not found:
                return math.inf, math.inf, math.inf
            before = (*before, found[0][1])
        parts = self.parts.split(before, self.fused)
        return self._rank(*self._compulsory(parts)) if parts is not None else (math.inf, math.inf, math.inf)

    def _options(
        self, floor: Floor, chosen: Layouts, before: tuple[Placement, ...]
    ) -> list[tuple[tuple[float, float, float], Placement]]:
        """The next Einsum's placements with the least ranks they lead to, best first."""
        place = len(before)
        found = options(self.problem, self.machine, self.whole, chosen, place, before, self.fused, self.spilled)
        bounded = [(self._rank(*floor.least((*before, placement))), placement) for placement in found]
        return sorted(bounded, key=lambda pair: (pair[0], pair[1].array))

    def _compulsory(self, parts: tuple[tuple[Part, ...], ...]) -> tuple[float, float]:
        """Time and energy that no granules and no tiling go below."""
        least = [[part_cost(self.machine, part, *part.region.compulsory_bits) for part in ways] for ways in parts]
        return sum(min(s for s, _ in costs) for costs in least), sum(min(j for _, j in costs) for costs in least)

    def _walk(self, floor: Floor, chosen: Layouts, before: tuple[Placement, ...]) -> None:
        """Every binding that begins with ``before``."""
        place = len(before)
        self.deepest = max(self.deepest, place)
        if place == len(self.problem.einsums):
            self._complete(before)
            return
        for rank, placement in self._options(floor, chosen, before):
            if self.best is None or rank < self.best.rank:
                self._walk(floor, chosen, (*before, placement))

    def _worse(self, latency_s: float, energy_j: float) -> bool:
        """True when nothing with at least this latency and energy can replace the best."""
        return self.best is not None and self._rank(latency_s, energy_j) >= self.best.rank

    def _rank(self, latency_s: float, energy_j: float) -> tuple[float, float, float]:
        if self.objective == "latency":
            return latency_s, energy_j, 0.0
        if self.objective == "energy":
            return energy_j, latency_s, 0.0
        return latency_s * energy_j, latency_s, energy_j

    def _complete(self, placements: tuple[Placement, ...]) -> None:
        self.candidates += 1
        parts = self.parts.split(placements, self.fused)
        if parts is None:
            return
        if self._worse(*self._compulsory(parts)):
            return
        sums: list[tuple[float, float, tuple[tuple[Part, Tiling], ...]]] = [(0.0, 0.0, ())]
        for ways in parts:
            tiled = [(seconds, joules, (part, t)) for part in ways for seconds, joules, t in self._tiled(part)]
            grown = sorted(
                (
                    (latency + seconds, energy + joules, (*chosen, choice))
                    for latency, energy, chosen in sums
                    for seconds, joules, choice in tiled
                ),
                key=lambda total: total[:2],
            )
            sums = []
            for total in grown:
                if not sums or total[1] < sums[-1][1]:
                    sums.append(total)
        for latency, energy, chosen in sums:
            rank = self._rank(latency, energy)
            if self.best is None or rank < self.best.rank:
                self.best = _Found(rank, chosen)

    def _tiled(self, part: Part) -> list[tuple[float, float, Tiling]]:
        if part.key not in self._tilings:
            found, seen, least = tilings(
                part.region, part.granule, part.buffered, self.machine.capacity_bits, self.machine.prices
            )
            self._tilings[part.key] = found
            self.candidates += seen
            if not found:
                self.smallest_bits = min(self.smallest_bits, least)
        return [
            (*part_cost(self.machine, part, tiling.read_bits, tiling.write_bits), tiling)
            for tiling in self._tilings[part.key]
        ]


def part_cost(machine: Machine, part: Part, read: float, write: float) -> tuple[float, float]:
    """Seconds and joules of one region that moves these bits from and to the root, all of them through the buffer."""
    root, buffer = machine.root_level, machine.buffer_level
    seconds = max(
        part.steady_s,
        machine.root_seconds(read, write),
        machine.buffer_seconds(part.buffer_read_bits + write, part.buffer_write_bits + read),
    )
    energy_j = part.energy_j
    energy_j += read * (root.read_energy_j_per_bit + buffer.write_energy_j_per_bit)
    energy_j += write * (root.write_energy_j_per_bit + buffer.read_energy_j_per_bit)
    return seconds + part.fill_s, energy_j
