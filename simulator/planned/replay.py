"""Executes a plan over tiers: its moves as transfers in their intervals, the operations as soon as theirs have come.

A move may begin when the interval before its own has ended; an operation waits for the moves that complete what it
reads. Nothing else holds anything back, so that a stall is what the resources make of it and not what the plan says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from mappers.planner.tiers import Move, Stay, TierPlan
from simulator.engine import (
    Buffer,
    Demand,
    Dependency,
    Execution,
    Resident,
    Segment,
    Task,
    TaskGraph,
    execute,
    require_capacity,
)
from simulator.planned.problem import PlannedInterval, PosedPlacement
from simulator.transport import collective_cost, resources_of, transfer_demands, transfer_latency_s
from workloads.workload import Collective

__all__ = ["Replay", "replay"]

_PASSES = 4


@dataclass(frozen=True)
class Replay:
    """What came of a plan: ``latency_s`` of a pass among passes, ``first_pass_s`` with nothing brought in before.

    ``peak_bytes`` by tier over all passes; ``interval_ends_s`` of the last pass, from its beginning.
    """

    latency_s: float
    first_pass_s: float
    peak_bytes: dict[str, int]
    interval_ends_s: tuple[float, ...]
    execution: Execution


def replay(posed: PosedPlacement, plan: TierPlan) -> Replay:
    """Run the plan for some passes; raises `InfeasibleError` when a tier does not hold what comes together in it."""
    builder = _Builder(posed, plan)
    tasks = builder.tasks()
    segments = [Segment("pass", tuple(tasks), _PASSES, entry=(), exit=(), buffers=tuple(builder.buffers()))]
    early = builder.early()
    if early:
        segments.insert(0, Segment("before", tuple(early), exit=()))
    residents = [
        Resident(f"{tier} tensors", tier, round(size)) for tier, size in builder.resident_bytes().items() if size
    ]
    execution = execute(TaskGraph(resources_of(posed.system), tuple(segments), tuple(residents)))
    capacities = {tier.name: tier.capacity_bytes + posed.fixed_bytes[tier.name] for tier in posed.problem.tiers}
    peaks = require_capacity(execution, capacities)
    ends: dict[int, list[float]] = {}
    markers = {_end(at): at for at in range(len(posed.intervals))}
    for run in execution.all_runs("pass"):
        if run.name in markers:
            ends.setdefault(run.repetition, []).append(run.finish_s)
    last, before = ends[_PASSES - 1], ends[_PASSES - 2]
    return Replay(last[-1] - before[-1], ends[0][-1], peaks, tuple(end - before[-1] for end in last), execution)


def _end(interval: int) -> str:
    return f"end of {interval}"


class _Builder:
    def __init__(self, posed: PosedPlacement, plan: TierPlan) -> None:
        self.posed, self.plan, self.problem, self.system = posed, plan, posed.problem, posed.system
        self.length = len(posed.intervals)
        self.filled: dict[tuple[str, str, int], Stay] = {}
        for stay in plan.stays:
            for step in range(stay.arriving):
                self.filled[stay.tensor, stay.tier, (stay.first + step) % self.length] = stay
        self.moves: list[list[Move]] = [[] for _ in posed.intervals]
        self.arriving: dict[Stay, list[Move]] = {}
        for move in plan.moves:
            self.moves[move.interval].append(move)
            self.arriving.setdefault(self.filled[move.tensor, move.target, move.interval], []).append(move)
        self.coming: dict[tuple[str, str], list[Stay]] = {}
        for stay in self.arriving:
            self.coming.setdefault((stay.tensor, stay.tier), []).append(stay)
        self.reads: list[list[Stay]] = [[] for _ in posed.intervals]
        wanted = {tensor.name: set(tensor.reads) for tensor in self.problem.tensors}
        for stay in self.arriving:
            if stay.tier == self.problem.compute:
                for at in stay.whole(self.length):
                    if at in wanted[stay.tensor]:
                        self.reads[at].append(stay)

    def deadline(self, move: Move) -> int:
        """Intervals from the move to that of its deadline."""
        stay = self.filled[move.tensor, move.target, move.interval]
        return (stay.first + stay.arriving - move.interval) % self.length or self.length

    def name(self, move: Move) -> str:
        return f"{move.tensor} {move.source} to {move.target} in {move.interval}"

    def waits(self, stay: Stay, at: int) -> list[Dependency]:
        """The moves of a stay, as something in interval ``at`` waits for them: those after it came a pass before."""
        return [Dependency(self.name(move), 0 if move.interval < at else 1) for move in self.arriving[stay]]

    def transfer(self, move: Move, after: tuple[str | Dependency, ...]) -> Task:
        size = move.share * self.problem.tensor[move.tensor].bytes
        demands = transfer_demands(self.system, move.source, move.target, size)
        latency = transfer_latency_s(self.system, move.source, move.target)
        return Task(self.name(move), "transfer", demands, (), latency, after)

    def early(self) -> list[Task]:
        """What comes for the first pass's beginning during the pass before it, which there is not: it comes first."""
        wrapped = [
            move
            for stay, moves in self.arriving.items()
            for move in moves
            if stay.first + stay.count > self.length and move.interval >= stay.first
        ]
        wrapped.sort(key=lambda move: (move.interval, self.deadline(move)))
        return [self.transfer(move, ()) for move in wrapped]

    def tasks(self) -> list[Task]:
        tasks: list[Task] = []
        layer_end: tuple[str | Dependency, ...] = ()
        for at, interval in enumerate(self.posed.intervals):
            start: Dependency = Dependency(_end(at - 1)) if at else Dependency(_end(self.length - 1), 1)
            begins = at == 0 or interval.instance != self.posed.intervals[at - 1].instance
            if begins:
                layer_end = (start,)
            for move in sorted(self.moves[at], key=self.deadline):
                source = [
                    wait
                    for stay in self.coming.get((move.tensor, move.source), ())
                    if at in set(stay.whole(self.length))
                    for wait in self.waits(stay, at)
                ]
                tasks.append(self.transfer(move, (start, *source)))
            tasks += self.steps(at, interval, layer_end)
            done = tuple(_step(interval, step.name) for step in interval.steps)
            tasks.append(Task(_end(at), "compute", after=(*done, *(() if at == 0 else (start,)))))
        return tasks

    def steps(self, at: int, interval: PlannedInterval, layer_end: tuple[str | Dependency, ...]) -> Iterator[Task]:
        home = self.problem.compute
        arrived = [wait for stay in self.reads[at] for wait in self.waits(stay, at)]
        for step in interval.steps:
            after: tuple[str | Dependency, ...] = tuple(_step(interval, name) for name in step.after) or layer_end
            if isinstance(step, Collective):
                sent, seconds, latency = collective_cost(self.system, step, self.posed.mapped.workload.devices)
                tier = self.system.tiers[home]
                port_s = sent / tier.read_bandwidth_bytes_per_s + sent / tier.write_bandwidth_bytes_per_s
                demands = (Demand("fabric", seconds, sent), Demand(home, port_s, 2 * sent))
                yield Task(_step(interval, step.name), "collective", demands, (), latency, after)
                continue
            waits = list(after)
            for source, size, tensor in self.posed.on_demand.get((interval.instance, step.name), ()):
                name = f"{_step(interval, step.name)} fetches {tensor}"
                route = transfer_demands(self.system, source, home, size)
                yield Task(name, "transfer", route, (), transfer_latency_s(self.system, source, home), tuple(waits))
                waits.append(name)
            op = self.posed.mapped.layers[interval.layer.name].ops[step.name]
            work = [Demand(share.engine, share.seconds, share.operations, "op") for share in op.shares]
            work.append(Demand(home, op.port_s, op.read_bytes + op.write_bytes))
            held = tuple(share.engine for share in op.shares)
            waits += arrived
            yield Task(_step(interval, step.name), "compute", tuple(work), held, op.overhead_s, tuple(waits))
            yield from self.write_back(at, interval, step.name)

    def write_back(self, at: int, interval: PlannedInterval, step: str) -> Iterator[Task]:
        """Bring the copies elsewhere up to date with what this operation has written."""
        home, layer = self.problem.compute, interval.layer
        op = self.posed.mapped.layers[layer.name].ops[step].op
        for operand in op.operands:
            if operand.access == "read" or operand.stored is None or not operand.bytes:
                continue
            tensor = f"{interval.instance}.{layer.name}.{operand.stored}"
            for tier in self.copies.get(tensor, ()):
                if at in self.copies[tensor][tier]:
                    demands = transfer_demands(self.system, home, tier, operand.bytes)
                    name = f"{_step(interval, step)} updates {tensor}.{operand.symbol} in {tier}"
                    latency = transfer_latency_s(self.system, home, tier)
                    yield Task(name, "transfer", demands, (), latency, (_step(interval, step),))

    @cached_property
    def copies(self) -> dict[str, dict[str, set[int]]]:
        """By tensor and tier other than the compute tier: the intervals in which a copy of a written tensor is kept."""
        found: dict[str, dict[str, set[int]]] = {}
        for stay in self.plan.stays:
            if stay.tier != self.problem.compute and self.problem.tensor[stay.tensor].written:
                found.setdefault(stay.tensor, {}).setdefault(stay.tier, set()).update(stay.covered(self.length))
        return found

    def resident_bytes(self) -> dict[str, float]:
        """What stays throughout, with the tensors that have their homes by another rule."""
        sizes = dict(self.posed.fixed_bytes)
        for stay in self.plan.stays:
            if not stay.arriving:
                sizes[stay.tier] += self.problem.tensor[stay.tensor].bytes
        return sizes

    def buffers(self) -> Iterator[Buffer]:
        for stay, moves in self.arriving.items():
            size = round(self.problem.tensor[stay.tensor].bytes)
            first = min(moves, key=lambda move: (move.interval - stay.first) % self.length)
            end = (stay.first + stay.count - 1) % self.length
            lag = 0 if end >= first.interval else 1
            yield Buffer(
                f"{stay.tensor} in {stay.tier} from {stay.first}", stay.tier, size, self.name(first), (_end(end),), lag
            )
        for at, interval in enumerate(self.posed.intervals):
            arena = round(self.problem.intervals[at].arena_bytes)
            if arena:
                first_step = _step(interval, interval.steps[0].name)
                yield Buffer(f"activations in {at}", self.problem.compute, arena, first_step, (_end(at),))


def _step(interval: PlannedInterval, name: str) -> str:
    return f"{interval.instance}.{name}"
