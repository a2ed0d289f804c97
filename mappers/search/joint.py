"""Looking for a whole cascade's mapping within a bound: enumerate each Einsum's nests, then join them."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

from hw.spec.hierarchy import Hierarchy
from mappers.mapspace.problem import CascadeProblem
from mappers.search.einsum import Candidate, Tile
from mappers.search.goal import Floor, Goal, total
from mappers.search.join import join
from mappers.search.kernel import ANY
from mappers.search.placement import units_for
from mappers.search.shapes import Shape, namer
from mappers.search.spreading import spreadings
from mappers.search.work import Run, shared_of

__all__ = ["Joint", "sums", "total_of"]


def sums(chosen: Iterable[Candidate]) -> tuple[float, float]:
    """Joules and seconds of nests that run one after the other."""
    nests = list(chosen)
    return math.fsum(c.energy_j for c in nests), math.fsum(c.latency_s for c in nests)


def total_of(goal: Goal, chosen: Iterable[Candidate]) -> float:
    """What nests come to by ``goal`` when they are the whole."""
    return replace(goal, rest=Floor()).measure(*sums(chosen))[0]


@dataclass
class Joint:
    """The joint search of one cascade: enumerate each Einsum's nests within a bound, then join them."""

    problem: CascadeProblem
    hierarchy: Hierarchy
    machine: str
    goal: Goal
    imperfect: bool
    shapes: list[Shape]
    least: list[Floor]
    floor: float
    run: Run
    stop: Callable[[], bool]
    evaluated: int = 0
    runs: dict[tuple[int, int], Floor] = field(default_factory=dict)

    def search(self, bound: float, cuts: tuple[int, ...]) -> list[Candidate] | None:
        """The best combination of at most ``bound``, None when there is none.

        With limits on ``cuts``, and one tile for batch ranks at a time, it is the best of those that the limits leave,
        and the first that reaches the floor ends the search. With no limit all combinations are joined.
        """
        best: list[Candidate] | None = None
        for limit in cuts:
            self.runs = {}
            gathered: list[list[Candidate]] = [[] for _ in self.shapes]
            for batch in self._batches:
                lists = self._enumerate(bound, batch, limit)
                if limit == ANY:
                    self.runs = self.runs if len(self._batches) == 1 else {}
                    for mine, new in zip(gathered, lists, strict=True):
                        mine += new
                    continue
                found = self._join(lists, bound)
                if found is not None:
                    best, bound = found, total_of(self.goal, found)
                if (best is not None and bound <= self.floor * (1.0 + 1e-9)) or self.stop():
                    return best
            if limit == ANY:
                best = self._join(gathered, bound) or best
        return best

    @cached_property
    def _batches(self) -> list[dict[str, int]]:
        """Tiles at the top of the ranks that every tensor has: what the Einsums' lanes take at once.

        Cutting such a rank costs nothing, so nothing is gained by larger tiles than lanes need; Einsums that share
        loops but spread differently need a common multiple.
        """
        uses = [use for einsum in self.problem.einsums for use in einsum.uses]
        common = [rank for rank in self.problem.einsums[0].ranks if all(rank in use.ranks for use in uses)]
        found = {tuple(1 for _ in common)}
        for einsum in self.problem.einsums:
            for unit in units_for(einsum, self.hierarchy):
                path = self.hierarchy.path(unit)
                for lanes in spreadings(einsum, self.hierarchy, unit, path, self.imperfect):
                    found.add(tuple(math.prod(x.factor for x in lanes if x.rank == rank) for rank in common))
        new = found
        while new:
            new = {tuple(map(math.lcm, one, two)) for one in new for two in found} - found
            found |= new
        size = self.problem.einsums[0].size
        chosen = {tuple(min(tile, size[rank]) for tile, rank in zip(each, common, strict=True)) for each in found}
        # The smallest that suit full lanes come first: they are likeliest to reach the floor.
        ordered = sorted(chosen, key=lambda each: (abs(math.log(self._lanes() / math.prod(each))), each))
        return [dict(zip(common, each, strict=True)) for each in ordered]

    def _lanes(self) -> int:
        """Instances of the machine that each move their own copies."""
        fanouts = [level.fanout for level in self.hierarchy.levels.values()]
        fanouts += [unit.fanout for unit in self.hierarchy.units.values()]
        return math.prod(d.size for fanout in fanouts for d in fanout.values() if d.reuse is None)

    def _enumerate(self, bound: float, batch: dict[str, int], cuts: int) -> list[list[Candidate]]:
        """Each Einsum's nests, only for tiles that the Einsums beside it can use as far as these are known.

        Those with few intermediates come first, and contractions before what only passes values on: the less an
        Einsum has to move, the more tiles are all the same to it.
        """
        einsums = self.problem.einsums
        found: dict[int, list[Candidate]] = {}
        freedom = [(not e.contraction, sum(use.intermediate for use in e.uses)) for e in einsums]
        for most in sorted(set(freedom)):
            round_ = [place for place, mine in enumerate(freedom) if mine == most]
            runs = self._runs(found, bound)
            if runs is None:
                return [[] for _ in einsums]
            self.runs = runs
            jobs: dict[tuple[Any, ...], list[int]] = {}
            for place in round_:
                jobs.setdefault(self._job(place, self._rest(place, place + 1), bound, batch, cuts, found), []).append(
                    place
                )
            for places, (candidates, count) in zip(jobs.values(), self.run(shared_of, list(jobs)), strict=True):
                self.evaluated += count
                for place in places:
                    found[place] = [*map(namer(self.shapes[place]), candidates)]
        for place, candidates in found.items():
            goal = replace(self.goal, rest=self._rest(place, place + 1))
            found[place] = [c for c in candidates if goal.measure(c.energy_j, c.latency_s)[0] <= bound * (1 + 1e-12)]
        return [found[place] for place in range(len(einsums))]

    def _rest(self, first: int, end: int) -> Floor:
        """The floor of all Einsums but those from ``first`` up to ``end``; runs that lie outside count as joined."""
        outside = set(range(len(self.shapes))) - set(range(first, end))
        floors = []
        for (begin, stop), floor in self.runs.items():
            if outside.issuperset(range(begin, stop)):
                floors.append(floor)
                outside -= set(range(begin, stop))
        return total((*floors, *(self.least[place] for place in sorted(outside))))

    def _runs(self, found: dict[int, list[Candidate]], bound: float) -> dict[tuple[int, int], Floor] | None:
        """Floors of the runs of neighbours whose nests are known: joined, they need more than each by itself.

        None when some run cannot be joined within the bound.
        """
        floors: dict[tuple[int, int], Floor] = {}
        first = 0
        while first < len(self.shapes):
            if first not in found:
                first += 1
                continue
            end = first
            while end in found:
                end += 1
            rest = total(self.least[:first] + self.least[end:])
            lists = [found.get(place, []) for place in range(len(self.shapes))]
            least = []
            for objective in ("energy", "latency", "mix"):
                goal = replace(self.goal, objective=objective)
                joined = self._join(lists, bound, (first, end), rest, goal)
                if joined is None:
                    return None
                least.append(replace(goal, rest=Floor()).measure(*sums(joined))[0])
            floors[first, end] = Floor(*least)
            first = end
        return floors

    def _job(
        self, place: int, rest: Floor, bound: float, batch: dict[str, int], cuts: int, found: dict[int, list[Candidate]]
    ) -> tuple[Any, ...]:
        shape = self.shapes[place]
        goal = replace(self.goal, rest=rest)
        number = {rank: f"r{index}" for index, rank in enumerate(shape.ranks)}
        top = tuple((number[rank], tile) for rank, tile in batch.items())
        limits = []
        for index, use in enumerate(self.problem.einsums[place].uses):
            beside = (self.problem.producer(use.tensor), *self.problem.consumers(use.tensor))
            known = [found[other] for other in beside if other is not None and other in found]
            if not use.intermediate or not known:
                continue
            tiles = frozenset.intersection(*(_tiles_of(candidates, use.tensor) for candidates in known))
            renamed = (
                tuple(sorted((number[rank], size) for rank, size in tile))
                for tile in tiles
                if all(rank in number for rank, _ in tile)
            )
            limits.append((f"T{index}", frozenset(renamed)))
        return (
            shape.problem, self.machine, shape.constraints, self.imperfect, goal, bound, top, cuts,
            tuple(limits),
        )  # fmt: skip

    def _join(
        self,
        lists: list[list[Candidate]],
        bound: float,
        span: tuple[int, int] | None = None,
        rest: Floor | None = None,
        goal: Goal | None = None,
    ) -> list[Candidate] | None:
        """The best combination, by ``goal`` or the search's own, among those that the search's goal admits."""
        first, end = span or (0, len(lists))
        if not all(lists[first:end]):
            return None
        order = goal or self.goal
        if span is None:
            later = {done: replace(self.goal, rest=self._rest(0, done)) for done in range(end + 1)}
        else:
            later = {
                done: replace(self.goal, rest=total((*self.least[done:end], rest or Floor())))
                for done in range(first, end + 1)
            }

        def admissible(energy_j: float, latency_s: float, done: int) -> bool:
            return later[done].measure(energy_j, latency_s)[0] <= bound * (1 + 1e-12)

        path = self.hierarchy.path(lists[first][0].placement.unit)
        capacity = self.hierarchy.levels[path[1]].capacity_bytes if len(path) > 1 else None
        found = join(
            self.problem, lists, math.inf if capacity is None else capacity * 8.0, admissible,
            replace(order, rest=Floor()).measure, order.objective != "edp", self.stop, span,
        )  # fmt: skip
        return None if found is None else list(found.chosen)


def _tiles_of(candidates: list[Candidate], tensor: str) -> frozenset[Tile]:
    """The tiles at which some candidate keeps ``tensor`` on chip."""
    return frozenset(
        store.tile
        for head in {id(candidate.head): candidate.head for candidate in candidates}.values()
        for store in head
        if store.tensor == tensor
    )
