"""The search on machines that run one Einsum after the other: exact, with a proof, and without repeated work.

Each Einsum's least energy and least latency, alone and with its intermediates on chip for nothing, sum to a bound that
no mapping of the cascade goes below. The search then asks for mappings within a little of that bound: only nests that
can be part of one are enumerated, and joined. When some combination fits, the best of them is the optimum, because
every nest that a better one could use was there; when none does, the bound is raised and has become a proof.
"""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any

from hw.spec.hierarchy import Hierarchy
from mappers.bounds import problem_bounds
from mappers.mapspace.constraints import Constraints
from mappers.mapspace.cost import evaluate
from mappers.mapspace.problem import Axis, CascadeProblem, EinsumProblem
from mappers.mapspace.report import SearchResult
from mappers.search.assemble import assemble
from mappers.search.einsum import (
    Candidate,
    Configuration,
    Tile,
    best_nest,
    configurations,
    no_room,
    shared_nests,
)
from mappers.search.goal import Floor, Goal, total
from mappers.search.join import join
from mappers.search.spreading import divisors

__all__ = ["search_sequential"]

TIE = 1e-7
"""Weight of energy beside latency where only latency counts and energy breaks ties."""

ANY = 1_000_000
CUTS = (0, 1, 2)
"""How many loops Einsums may share, tried in this order where a mapping that reaches the floor needs no proof."""

Progress = Callable[[str, float], None]
STEPS = (1e-9, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0, 10.0, 100.0)
"""How far above the bound to look, relative to it, before the search falls back on the best mapping known."""


@dataclass(frozen=True)
class _Shape:
    """An Einsum with its tensors and ranks numbered, and the names that a candidate gets back."""

    problem: EinsumProblem
    tensors: tuple[str, ...]
    ranks: tuple[str, ...]
    constraints: Constraints


def search_sequential(
    problem: CascadeProblem,
    hierarchy: Hierarchy,
    objective: str,
    constraints: Constraints,
    imperfect: bool,
    workers: int = 1,
    should_stop: Callable[[], bool] | None = None,
    progress: Progress | None = None,
) -> SearchResult:
    """The best mapping of the cascade. Raises `InfeasibleError` when nothing fits.

    Many mappings are equally fast where one unit is the bottleneck; a second search then looks for the one of least
    energy, by a mix in which a second outweighs any energy that is to be had.
    """
    started = time.perf_counter()
    stop = should_stop or (lambda: False)
    tell = progress or (lambda _text, _share: None)
    best = _search(problem, hierarchy, Goal(objective), constraints, imperfect, workers, stop, tell)
    if objective == "latency" and best.cost.energy_j > 0.0 and not stop():
        mix = Goal("mix", TIE * best.cost.latency_s / best.cost.energy_j)
        other = _search(problem, hierarchy, mix, constraints, imperfect, workers, stop, tell)
        best = replace(best, candidates=best.candidates + other.candidates)
        if other.cost.latency_s <= best.cost.latency_s * (1.0 + 1e-9) and other.cost.energy_j < best.cost.energy_j:
            best = replace(best, mapping=other.mapping, cost=other.cost)
    return replace(best, seconds=time.perf_counter() - started)


def _search(
    problem: CascadeProblem,
    hierarchy: Hierarchy,
    goal: Goal,
    constraints: Constraints,
    imperfect: bool,
    workers: int,
    stop: Callable[[], bool],
    tell: Progress,
) -> SearchResult:
    shapes = [_shape(einsum, constraints) for einsum in problem.einsums]
    distinct = list(dict.fromkeys((s.problem, s.constraints) for s in shapes))
    machine = hierarchy.model_dump_json(by_alias=True)
    with _pool(workers, len(distinct)) as run:
        tell("bounds of each Einsum", 0.0)
        least, goal, evaluated = _floors(shapes, goal, machine, imperfect, run)
        floor = replace(goal, rest=total(least)).measure(0.0, 0.0)[0]
        best, count = _unfused(shapes, least, goal, machine, imperfect, run)
        evaluated += count
        reached = _total(goal, best)
        proven = reached
        if problem.intermediates and constraints.fuse:
            task = _Joint(problem, hierarchy, machine, goal, imperfect, shapes, least, floor, run, stop)
            proven = floor
            for step in STEPS:  # look just above the floor first: what is found there needs no further proof
                bound = min(floor * (1.0 + step), reached)
                tell(f"mappings within {step:.2g} of the bound", (1 + STEPS.index(step)) / (len(STEPS) + 1))
                found = task.search(bound, CUTS)
                if found is not None and goal.measure(*_sums(found)) < goal.measure(*_sums(best)):
                    best, reached = found, _total(goal, found)
                if found is not None or bound >= reached or stop():
                    break
            if reached > floor * (1.0 + 1e-9) and not stop():
                tell("the proof", 1.0)
                found = task.search(reached, (ANY,))
                if found is not None and goal.measure(*_sums(found)) < goal.measure(*_sums(best)):
                    best, reached = found, _total(goal, found)
                proven = floor if stop() else reached
            evaluated += task.evaluated
    mapping = assemble(problem, best, hierarchy)
    cost = evaluate(mapping, problem, hierarchy)
    bounds = problem_bounds(problem, hierarchy, fuse=constraints.fuse, constraints=constraints)
    return SearchResult(
        goal.objective, mapping, cost, min(proven, goal.measure(cost.energy_j, cost.latency_s)[0]), bounds.as_dict(),
        evaluated, 0.0,
    )  # fmt: skip


def _floors(
    shapes: list[_Shape], goal: Goal, machine: str, imperfect: bool, run: Callable[..., list[Any]]
) -> tuple[list[Floor], Goal, int]:
    """What each Einsum needs at least; for products also by the exchange of seconds for joules at those."""
    distinct = list(dict.fromkeys((s.problem, s.constraints) for s in shapes))
    evaluated = 0

    def least(goal: Goal) -> dict[Any, Candidate]:
        nonlocal evaluated
        found = run(_best, [(p, machine, c, imperfect, goal) for p, c in distinct])
        evaluated += sum(count for _, count in found)
        return {key: nest for key, (nest, _) in zip(distinct, found, strict=True)}

    energy, latency = least(Goal("energy")), least(Goal("latency"))
    joules = math.fsum(energy[s.problem, s.constraints].energy_j for s in shapes)
    seconds = math.fsum(latency[s.problem, s.constraints].latency_s for s in shapes)
    if goal.objective == "edp" and joules > 0.0:
        goal = replace(goal, exchange=seconds / joules)
    mix = least(Goal("mix", goal.exchange)) if goal.exchange else latency
    floors = {
        key: Floor(
            energy[key].energy_j,
            latency[key].latency_s,
            goal.exchange * mix[key].energy_j + mix[key].latency_s,
        )
        for key in distinct
    }
    return [floors[s.problem, s.constraints] for s in shapes], goal, evaluated


def _sums(chosen: Iterable[Candidate]) -> tuple[float, float]:
    nests = list(chosen)
    return math.fsum(c.energy_j for c in nests), math.fsum(c.latency_s for c in nests)


def _total(goal: Goal, chosen: Iterable[Candidate]) -> float:
    return replace(goal, rest=Floor()).measure(*_sums(chosen))[0]


@dataclass
class _Joint:
    """The joint search of one cascade: enumerate each Einsum's nests within a bound, then join them."""

    problem: CascadeProblem
    hierarchy: Hierarchy
    machine: str
    goal: Goal
    imperfect: bool
    shapes: list[_Shape]
    least: list[Floor]
    floor: float
    run: Callable[..., list[Any]]
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
            batches = self._batches()
            for batch in batches:
                lists = self._enumerate(bound, batch, limit)
                if limit == ANY:
                    self.runs = self.runs if len(batches) == 1 else {}
                    for mine, new in zip(gathered, lists, strict=True):
                        mine += new
                    continue
                found = self._join(lists, bound)
                if found is not None:
                    best, bound = found, _total(self.goal, found)
                if (best is not None and bound <= self.floor * (1.0 + 1e-9)) or self.stop():
                    return best
            if limit == ANY:
                best = self._join(gathered, bound) or best
        return best

    def _batches(self) -> list[dict[str, int]]:
        """Tiles of the ranks that every tensor has: divisors up to what the machine's lanes can take at once.

        Cutting such a rank costs nothing, so nothing is gained by larger tiles.
        """
        uses = [use for einsum in self.problem.einsums for use in einsum.uses]
        common = [rank for rank in self.problem.einsums[0].ranks if all(rank in use.ranks for use in uses)]
        fanouts = [level.fanout for level in self.hierarchy.levels.values()]
        fanouts += [unit.fanout for unit in self.hierarchy.units.values()]
        lanes = math.prod(d.size for fanout in fanouts for d in fanout.values() if d.reuse is None)
        size = self.problem.einsums[0].size
        tiles = [[d for d in divisors(size[rank]) if d <= lanes] for rank in common]
        chosen = [dict(zip(common, each, strict=True)) for each in itertools.product(*tiles)]
        return sorted(chosen, key=lambda batch: abs(math.log(lanes / math.prod(batch.values()))))

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
            for places, (candidates, count) in zip(jobs.values(), self.run(_shared, list(jobs)), strict=True):
                self.evaluated += count
                for place in places:
                    found[place] = [_named(c, self.shapes[place]) for c in candidates]
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
                least.append(replace(goal, rest=Floor()).measure(*_sums(joined))[0])
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
        for candidate in candidates
        for store in candidate.stores[: candidate.prefix]
        if store.tensor == tensor
    )


def _unfused(
    shapes: list[_Shape],
    least: list[Floor],
    goal: Goal,
    machine: str,
    imperfect: bool,
    run: Callable[..., list[Any]],
) -> tuple[list[Candidate], int]:
    """The best mapping with every intermediate passed through the root: always there if anything is."""
    apart = [replace(shape, constraints=replace(shape.constraints, fuse=False)) for shape in shapes]
    everything = total(least)
    goals = {
        (s.problem, s.constraints): replace(goal, rest=everything.without(mine))
        for s, mine in zip(apart, least, strict=True)
    }
    jobs = [(p, machine, c, imperfect, mine) for (p, c), mine in goals.items()]
    bests = dict(zip(goals, run(_best, jobs), strict=True))
    evaluated = sum(count for _, count in bests.values())
    chosen = [_named(bests[s.problem, s.constraints][0], s) for s in apart]
    if goal.objective != "edp":
        return chosen, evaluated
    # The least product of sums is not the sum of least products: look at each Einsum's energy-latency front.
    bound = _total(goal, chosen)
    tasks = [(p, machine, c, imperfect, mine, bound, (), ANY, ()) for (p, c), mine in goals.items()]
    fronts = dict(zip(goals, run(_shared, tasks), strict=True))
    evaluated += sum(count for _, count in fronts.values())
    totals: list[tuple[float, float, tuple[Candidate, ...]]] = [(0.0, 0.0, ())]
    for shape in apart:
        options = [_named(c, shape) for c in fronts[shape.problem, shape.constraints][0]]
        grown = [(e + c.energy_j, t + c.latency_s, (*nests, c)) for e, t, nests in totals for c in options]
        grown.sort(key=lambda item: (item[0], item[1]))
        totals, fastest = [], math.inf
        for item in grown:
            if item[1] < fastest:
                totals.append(item)
                fastest = item[1]
    best = min(totals, key=lambda item: goal.measure(item[0], item[1]), default=None)
    return (chosen if best is None else list(best[2])), evaluated


# ---- work that may run in other processes: plain arguments, plain results ----


@lru_cache(maxsize=512)
def _choices(
    problem: EinsumProblem, machine: str, constraints: Constraints, imperfect: bool
) -> tuple[Configuration, ...]:
    """Configurations on the machine of that JSON text, kept for the next bound."""
    return configurations(problem, Hierarchy.model_validate_json(machine), constraints, imperfect)


def _best(
    problem: EinsumProblem, machine: str, constraints: Constraints, imperfect: bool, goal: Goal
) -> tuple[Candidate, int]:
    choices = _choices(problem, machine, constraints, imperfect)
    best, count = best_nest(problem, choices, goal)
    if best is None:
        raise no_room(problem, choices)
    return best, count


def _shared(
    problem: EinsumProblem,
    machine: str,
    constraints: Constraints,
    imperfect: bool,
    goal: Goal,
    bound: float,
    batch: tuple[tuple[str, int], ...],
    cuts: int,
    tiles: tuple[tuple[str, frozenset[Tile]], ...],
) -> tuple[list[Candidate], int]:
    choices = _choices(problem, machine, constraints, imperfect)
    return shared_nests(problem, choices, goal, bound, dict(batch), cuts, dict(tiles))


class _pool:
    """Runs a function over argument tuples, in other processes when asked; results in the order of the arguments."""

    def __init__(self, workers: int, jobs: int) -> None:
        self.executor: Executor | None = ProcessPoolExecutor(workers) if workers > 1 and jobs > 1 else None

    def __enter__(self) -> Callable[..., list[Any]]:
        return self._run

    def __exit__(self, *_: object) -> None:
        if self.executor is not None:
            self.executor.shutdown()

    def _run(self, function: Callable[..., Any], arguments: list[tuple[Any, ...]]) -> list[Any]:
        if self.executor is None:
            return [function(*each) for each in arguments]
        return [future.result() for future in [self.executor.submit(function, *each) for each in arguments]]


# ---- equal shapes are searched once ----


def _shape(problem: EinsumProblem, constraints: Constraints) -> _Shape:
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
    return _Shape(plain, tensors, problem.ranks, mine)


def _named(candidate: Candidate, shape: _Shape) -> Candidate:
    """A candidate of the numbered problem in the names of the Einsum."""
    rank = {f"r{index}": name for index, name in enumerate(shape.ranks)}
    tensor = {f"T{index}": name for index, name in enumerate(shape.tensors)}
    return replace(
        candidate,
        stores=tuple(
            replace(s, tensor=tensor[s.tensor], tile=tuple(sorted((rank[r], size) for r, size in s.tile)))
            for s in candidate.stores
        ),
        lanes=tuple(replace(lane, rank=rank[lane.rank]) for lane in candidate.lanes),
    )
