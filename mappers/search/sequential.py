"""The search on machines that run one Einsum after the other: exact, with a proof, and without repeated work.

Each Einsum's least energy and least latency, with its intermediates on chip wherever that suits it, sum to a floor that
no mapping of the cascade goes below. The search first looks just above the floor, a little further each time, among
mappings in which few loops are shared: what reaches the floor needs no further proof. Otherwise the best one found is
a bound: every nest that a better mapping could use is enumerated and all of them are joined, so the result is the
optimum.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from hw.spec.hierarchy import Hierarchy
from mappers.bounds import problem_bounds
from mappers.mapspace.constraints import Constraints
from mappers.mapspace.cost import evaluate
from mappers.mapspace.problem import CascadeProblem
from mappers.mapspace.report import SearchResult
from mappers.search.assemble import assemble
from mappers.search.einsum import Candidate
from mappers.search.goal import Floor, Goal, total
from mappers.search.joint import ANY, Joint, sums, total_of
from mappers.search.shapes import Shape, named, numbered
from mappers.search.work import Pool, best_of, shared_of
from workloads.errors import InfeasibleError, InputError

__all__ = ["search_sequential"]

TIE = 1e-7
"""Weight of energy beside latency where only latency counts and energy breaks ties."""

CUTS = (0, 1, 2)
"""How many loops Einsums may share, tried in this order where a mapping that reaches the floor needs no proof."""

Progress = Callable[[str, float], None]
STEPS = (1e-9, 1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0, 3.0, 10.0, 100.0)
"""How far above the bound to look, relative to it, before the search falls back on the best mapping known."""


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
    shapes = [numbered(einsum, constraints) for einsum in problem.einsums]
    distinct = list(dict.fromkeys((s.problem, s.constraints) for s in shapes))
    machine = hierarchy.model_dump_json(by_alias=True)
    with Pool(workers, len(distinct)) as run:
        tell("bounds of each Einsum", 0.0)
        try:
            least, goal, evaluated = _floors(shapes, goal, machine, imperfect, run, stop)
        except (InfeasibleError, InputError):
            for einsum in problem.einsums:  # the same complaint, with the names the user knows
                best_of(einsum, machine, constraints, imperfect, goal, stop)
            raise
        floor = replace(goal, rest=total(least)).measure(0.0, 0.0)[0]
        cut_short = stop()
        best, count = _unfused(shapes, least, goal, machine, imperfect, partial(_stoppable, run, stop))
        evaluated += count
        reached = total_of(goal, best)
        cut_short = cut_short or stop()
        proven = 0.0 if cut_short else reached
        if not cut_short and problem.intermediates and constraints.fuse:
            task = Joint(problem, hierarchy, machine, goal, imperfect, shapes, least, floor, run, stop)
            proven = floor
            for step in STEPS:  # look just above the floor first: what is found there needs no further proof
                bound = min(floor * (1.0 + step), reached)
                tell(f"mappings within {step:.2g} of the bound", (1 + STEPS.index(step)) / (len(STEPS) + 1))
                found = task.search(bound, CUTS)
                if found is not None and goal.measure(*sums(found)) < goal.measure(*sums(best)):
                    best, reached = found, total_of(goal, found)
                if found is not None or bound >= reached or stop():
                    break
            if reached > floor * (1.0 + 1e-9) and not stop():
                tell("the proof", 1.0)
                found = task.search(reached, (ANY,))
                if found is not None and goal.measure(*sums(found)) < goal.measure(*sums(best)):
                    best, reached = found, total_of(goal, found)
                proven = floor if stop() else reached
            evaluated += task.evaluated
    mapping = assemble(problem, best, hierarchy)
    cost = evaluate(mapping, problem, hierarchy)
    bounds = problem_bounds(problem, hierarchy, fuse=constraints.fuse, constraints=constraints)
    independent = {"energy": bounds.energy_j, "latency": bounds.latency_s, "edp": bounds.edp}.get(goal.objective, 0.0)
    value = goal.measure(cost.energy_j, cost.latency_s)[0]
    return SearchResult(
        goal.objective, mapping, cost, min(max(proven, independent), value), bounds.as_dict(), evaluated, 0.0
    )


def _stoppable(
    run: Callable[..., list[Any]], stop: Callable[[], bool], work: Callable[..., Any], arguments: list[Any]
) -> list[Any]:
    return run(partial(work, stop=stop), arguments)


def _floors(
    shapes: list[Shape],
    goal: Goal,
    machine: str,
    imperfect: bool,
    run: Callable[..., list[Any]],
    stop: Callable[[], bool],
) -> tuple[list[Floor], Goal, int]:
    """What each Einsum needs at least; for products also by the exchange of seconds for joules at those.

    When ``stop`` turned true on the way they are no floors.
    """
    distinct = list(dict.fromkeys((s.problem, s.constraints) for s in shapes))
    evaluated = 0

    def least(goal: Goal) -> dict[Any, Candidate]:
        nonlocal evaluated
        found = run(partial(best_of, stop=stop), [(p, machine, c, imperfect, goal) for p, c in distinct])
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


def _unfused(
    shapes: list[Shape],
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
    bests = dict(zip(goals, run(best_of, jobs), strict=True))
    evaluated = sum(count for _, count in bests.values())
    chosen = [named(bests[s.problem, s.constraints][0], s) for s in apart]
    if goal.objective != "edp":
        return chosen, evaluated
    # The least product of sums is not the sum of least products: look at each Einsum's energy-latency front.
    bound = total_of(goal, chosen)
    tasks = [(p, machine, c, imperfect, mine, bound, (), ANY, ()) for (p, c), mine in goals.items()]
    fronts = dict(zip(goals, run(shared_of, tasks), strict=True))
    evaluated += sum(count for _, count in fronts.values())
    totals: list[tuple[float, float, tuple[Candidate, ...]]] = [(0.0, 0.0, ())]
    for shape in apart:
        options = [named(c, shape) for c in fronts[shape.problem, shape.constraints][0]]
        grown = [(e + c.energy_j, t + c.latency_s, (*nests, c)) for e, t, nests in totals for c in options]
        grown.sort(key=lambda item: (item[0], item[1]))
        totals, fastest = [], math.inf
        for item in grown:
            if item[1] < fastest:
                totals.append(item)
                fastest = item[1]
    best = min(totals, key=lambda item: goal.measure(item[0], item[1]), default=None)
    return (chosen if best is None else list(best[2])), evaluated
