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
from dataclasses import dataclass, replace

from hw.spec.hierarchy import Hierarchy
from mappers.bounds import problem_bounds
from mappers.mapspace.constraints import Constraints
from mappers.mapspace.cost import evaluate
from mappers.mapspace.problem import CascadeProblem
from mappers.mapspace.report import SearchResult
from mappers.search.assemble import assemble
from mappers.search.einsum import Candidate
from mappers.search.goal import Floor, Goal, total
from mappers.search.joint import Joint, sums, total_of
from mappers.search.kernel import ANY
from mappers.search.shapes import Key, Shape, named, numbered
from mappers.search.work import Pool, Run, best_of, shared_of
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
    shapes = [numbered(einsum, constraints) for einsum in problem.einsums]
    machine = hierarchy.model_dump_json(by_alias=True)
    goal = Goal(objective)
    with Pool(workers, len(shapes), stop) as run:
        task = _Task(problem, hierarchy, machine, constraints, imperfect, shapes, run, stop, tell)
        nests, proven, evaluated = _least(task, goal)
        energy_j, latency_s = sums(nests)
        if objective == "latency" and energy_j > 0.0 and not stop():
            others, _, more = _least(task, Goal("mix", TIE * latency_s / energy_j))
            evaluated += more
            if sums(others)[1] <= latency_s * (1.0 + 1e-9) and sums(others)[0] < energy_j:
                nests = others
    mapping = assemble(problem, nests, hierarchy)
    cost = evaluate(mapping, problem, hierarchy)
    bounds = problem_bounds(problem, hierarchy, fuse=constraints.fuse, constraints=constraints)
    independent = {"energy": bounds.energy_j, "latency": bounds.latency_s, "edp": bounds.edp}[objective]
    value, _ = goal.measure(cost.energy_j, cost.latency_s)
    return SearchResult(
        objective, mapping, cost, min(max(proven, independent), value), bounds.as_dict(), evaluated,
        time.perf_counter() - started,
    )  # fmt: skip


@dataclass(frozen=True)
class _Task:
    """What stays the same when the goal changes. ``machine`` is the hierarchy as JSON, for other processes."""

    problem: CascadeProblem
    hierarchy: Hierarchy
    machine: str
    constraints: Constraints
    imperfect: bool
    shapes: list[Shape]
    run: Run
    stop: Callable[[], bool]
    tell: Progress


def _least(task: _Task, goal: Goal) -> tuple[list[Candidate], float, int]:
    """The nests of least ``goal``, what no others go below, and how many partial nests were judged."""
    task.tell("bounds of each Einsum", 0.0)
    try:
        least, goal, evaluated = _floors(task, goal)
    except (InfeasibleError, InputError):
        for einsum in task.problem.einsums:  # the same complaint, with the names the user knows
            best_of(einsum, task.machine, task.constraints, task.imperfect, goal, task.stop)
        raise
    floors_known = not task.stop()
    best, count = _unfused(task, least, goal)
    evaluated += count
    reached = total_of(goal, best)
    if not floors_known or task.stop():
        return best, 0.0, evaluated
    if not task.problem.intermediates or not task.constraints.fuse:
        return best, reached, evaluated
    floor, _ = replace(goal, rest=total(least)).measure(0.0, 0.0)
    joint = Joint(
        task.problem, task.hierarchy, task.machine, goal, task.imperfect, task.shapes, least, floor, task.run, task.stop
    )
    for index, step in enumerate(STEPS):  # look just above the floor first: what is found there needs no further proof
        bound = min(floor * (1.0 + step), reached)
        task.tell(f"mappings within {step:.2g} of the bound", (1 + index) / (len(STEPS) + 1))
        found = joint.search(bound, CUTS)
        if found is not None and goal.measure(*sums(found)) < goal.measure(*sums(best)):
            best, reached = found, total_of(goal, found)
        if found is not None or bound >= reached or task.stop():
            break
    proven = floor
    if reached > floor * (1.0 + 1e-9) and not task.stop():
        task.tell("the proof", 1.0)
        found = joint.search(reached, (ANY,))
        if found is not None and goal.measure(*sums(found)) < goal.measure(*sums(best)):
            best, reached = found, total_of(goal, found)
        proven = floor if task.stop() else reached
    return best, proven, evaluated + joint.evaluated


def _floors(task: _Task, goal: Goal) -> tuple[list[Floor], Goal, int]:
    """What each Einsum needs at least; for products also by the exchange of seconds for joules at those.

    When ``task.stop`` turned true on the way they are no floors.
    """
    distinct = list(dict.fromkeys(shape.key for shape in task.shapes))
    evaluated = 0

    def least(goal: Goal) -> dict[Key, Candidate]:
        nonlocal evaluated
        found = task.run(best_of, [(p, task.machine, c, task.imperfect, goal) for p, c in distinct])
        evaluated += sum(count for _, count in found)
        return {key: nest for key, (nest, _) in zip(distinct, found, strict=True)}

    energy, latency = least(Goal("energy")), least(Goal("latency"))
    joules = math.fsum(energy[shape.key].energy_j for shape in task.shapes)
    seconds = math.fsum(latency[shape.key].latency_s for shape in task.shapes)
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
    return [floors[shape.key] for shape in task.shapes], goal, evaluated


def _unfused(task: _Task, least: list[Floor], goal: Goal) -> tuple[list[Candidate], int]:
    """The best mapping with every intermediate passed through the root: always there if anything is."""
    apart = [replace(shape, constraints=replace(shape.constraints, fuse=False)) for shape in task.shapes]
    everything = total(least)
    goals = {shape.key: replace(goal, rest=everything.without(mine)) for shape, mine in zip(apart, least, strict=True)}
    jobs = [(p, task.machine, c, task.imperfect, mine) for (p, c), mine in goals.items()]
    bests = dict(zip(goals, task.run(best_of, jobs), strict=True))
    evaluated = sum(count for _, count in bests.values())
    chosen = [named(bests[shape.key][0], shape) for shape in apart]
    if goal.objective != "edp":
        return chosen, evaluated
    # The least product of sums is not the sum of least products: look at each Einsum's energy-latency front.
    bound = total_of(goal, chosen)
    tasks = [(p, task.machine, c, task.imperfect, mine, bound, (), ANY, ()) for (p, c), mine in goals.items()]
    fronts = dict(zip(goals, task.run(shared_of, tasks), strict=True))
    evaluated += sum(count for _, count in fronts.values())
    totals: list[tuple[float, float, tuple[Candidate, ...]]] = [(0.0, 0.0, ())]
    for shape in apart:
        options = [named(c, shape) for c in fronts[shape.key][0]]
        grown = [(e + c.energy_j, t + c.latency_s, (*nests, c)) for e, t, nests in totals for c in options]
        grown.sort(key=lambda item: (item[0], item[1]))
        totals, fastest = [], math.inf
        for item in grown:
            if item[1] < fastest:
                totals.append(item)
                fastest = item[1]
    best = min(totals, key=lambda item: goal.measure(item[0], item[1]), default=None)
    return (chosen if best is None else list(best[2])), evaluated
