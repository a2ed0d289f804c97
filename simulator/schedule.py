"""From a mapped workload and a memory plan to the task graph that is executed.

Each placed run becomes one segment. Its operations become compute tasks; operands that live outside the tier an
operation computes in become transfers before it (or after it, where it writes them). The marker task ``done`` ends
every layer: the next layer starts after it, and a buffer of a streamed layer is free again after it. Where steps have
lanes, each lane has such a marker too (``done/0``), and its steps in the next layer start after that one.
Where a training step writes tensors back to slower tiers, each layer has a marker ``written`` too, and the layer that
needs the room starts after it, as do its transfers: what is fetched again for the backward pass has arrived by then.

Within a layer the transfers ahead stand before the operations, so on a shared port a layer's incoming bytes are served
after the operations of the layer before and ahead of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from hw.spec.system import System
from mappers.mapped import MappedOp, MappedWorkload
from mappers.planner.liveness import activation_peak_bytes
from mappers.planner.placement import LayerPlan, MemoryPlan, PlannedRun
from simulator import dispatch
from simulator.engine import Buffer, Demand, Dependency, Resident, Segment, Task, TaskGraph
from simulator.transport import (
    Slowness,
    as_stated,
    collective_cost,
    resources_of,
    transfer_demands,
    transfer_energy_j,
    transfer_latency_s,
)
from workloads.workload import Collective, Op, Operand

__all__ = ["OperandSlowness", "Schedule", "TaskOrigin", "schedule"]

OperandSlowness = Callable[[Op, Operand], Slowness]
"""How much slower than stated tiers and links move an operand of an operation, by the pieces it lies in."""


def _operands_as_stated(op: Op, operand: Operand) -> Slowness:  # noqa: ARG001 - the same for all
    return as_stated


@dataclass(frozen=True)
class TaskOrigin:
    """Where a task of a segment comes from: the layer, and the step or the moved tensor."""

    layer: str
    label: str
    kind: str


@dataclass(frozen=True)
class Schedule:
    """The graph, what each task stands for (by segment and task name), and the dynamic energy per component in J.

    ``written_bytes`` count what is stored in each tier: activations that pass through do not count.
    """

    graph: TaskGraph
    origins: dict[tuple[str, str], TaskOrigin]
    energy_j: dict[str, float]
    written_bytes: dict[str, float]


def schedule(
    mapped: MappedWorkload,
    plan: MemoryPlan,
    system: System,
    slowness: OperandSlowness = _operands_as_stated,
    *,
    send_along: bool = False,
) -> Schedule:
    """Lay the planned workload out as tasks on the system's resources; ``slowness`` is that of streamed operands.

    With ``send_along`` what an operation away from home makes for one at home travels while it is made.
    """
    written: dict[str, float] = {}
    origins: dict[tuple[str, str], TaskOrigin] = {}
    energy: dict[str, float] = {}
    segments = []
    previous_length = 1
    for number, run in enumerate(dispatch.with_firsts_apart(plan.runs)):
        segment = _SegmentBuilder(mapped, plan, system, run, previous_length, slowness, send_along)
        name = f"{number} {run.pattern[0].layer.name}"
        segments.append(segment.build(name))
        origins.update({(name, task): origin for task, origin in segment.origins.items()})
        for component, joules in segment.energy_j.items():
            energy[component] = energy.get(component, 0.0) + joules * run.count
        for tier, size in segment.written_bytes.items():
            written[tier] = written.get(tier, 0.0) + size * run.count
        previous_length = len(run.pattern)
    residents = [Resident(f"{tier} tensors", tier, round(size)) for tier, size in plan.resident_bytes.items() if size]
    if plan.cache_bytes:
        residents.append(Resident("caches", plan.home, round(plan.cache_bytes)))
    return Schedule(TaskGraph(resources_of(system), tuple(segments), tuple(residents)), origins, energy, written)


class _SegmentBuilder:
    """Tasks, buffers and energy of one repetition of a placed run."""

    def __init__(
        self,
        mapped: MappedWorkload,
        plan: MemoryPlan,
        system: System,
        run: PlannedRun,
        previous_length: int,
        slowness: OperandSlowness,
        send_along: bool,
    ) -> None:
        self.mapped, self.plan, self.system, self.run, self.slowness = mapped, plan, system, run, slowness
        self.send_along = send_along
        self.lanes = max(layer.lanes for layer, _ in mapped.workload.layers())
        self.same_length = previous_length == len(run.pattern)
        self.gated, self.backs = dispatch.writes_tensors_back(mapped, plan), list[str]()
        self.tasks: list[Task] = []
        self.arrivals: dict[str, str] = {}
        self.buffers: list[Buffer] = []
        self.origins: dict[str, TaskOrigin] = {}
        self.energy_j: dict[str, float] = {}
        self.written_bytes: dict[str, float] = {}

    def build(self, name: str) -> Segment:
        for position, placed in enumerate(self.run.pattern):
            self._add_layer(position, placed)
        return Segment(name, tuple(self.tasks), self.run.count, entry=(), exit=(), buffers=tuple(self.buffers))

    # Names of tasks: positions are told apart only where a pattern has more than one.

    def _name(self, position: int, step: str) -> str:
        return step if len(self.run.pattern) == 1 else f"{position}.{step}"

    def _names(self, position: int, steps: Iterable[str]) -> tuple[str, ...]:
        return tuple(self._name(position, step) for step in steps)

    def _done(self, position: int) -> str:
        return "done" if position == len(self.run.pattern) - 1 else f"{position}.done"

    def _lane_done(self, position: int, lane: int) -> str:
        return f"{self._done(position)}/{lane}" if self.lanes > 1 else self._done(position)

    def _layers_before(self, position: int, back: int, lane: int | None = None) -> Dependency:
        """The end of the layer ``back`` layers before the one at ``position``, or of one lane of it."""
        at, lag = self._position_before(position, back)
        return Dependency(self._done(at) if lane is None else self._lane_done(at, lane), lag)

    def _position_before(self, position: int, back: int) -> tuple[int, int]:
        length = len(self.run.pattern)
        lag = max(0, -((position - back) // length))
        return position - back + lag * length, lag

    def _written_before(self, position: int) -> tuple[Dependency, ...]:
        """When all that the layer ``ahead + 1`` layers ago wrote has left the home tier."""
        at, lag = self._position_before(position, self.plan.ahead + 1)
        wait = Dependency(self._done(at).replace("done", "written"), lag)
        whole = (Dependency("written", 1),) if lag and not self.same_length else ()
        return (wait, *whole) if self.gated else ()

    # Layers

    def _add_layer(self, position: int, placed: LayerPlan) -> None:
        layer = self.mapped.layers[placed.layer.name]
        where: dict[str, str] = {}
        self.arrivals, self.backs = {}, []
        fetched: set[str] = set()
        if self.plan.ahead:
            for op in layer.layer.ops:
                if dispatch.chosen_at_run_time(op, placed):
                    continue
                for operand in self._streamed(op, layer.ops[op.name], placed):
                    self._fetch(position, placed, op, operand, layer.ops[op.name].home, self._buffer_free(position))
        first_task = len(self.tasks)
        for step in placed.layer.steps:
            start = (self._layers_before(position, 1, step.lane), *self._written_before(position))
            after: list[str | Dependency] = [*(self._names(position, step.after) or start)]
            if isinstance(step, Collective):
                self._add_collective(position, placed, step, after)
            else:
                self._add_op(position, placed, step, layer.ops[step.name], after, where, fetched)
        self._end_layer(position, placed, where)
        done = self._done(position)
        workspace = round(activation_peak_bytes(placed.layer))
        if workspace:
            first = next(task.name for task in self.tasks[first_task:])
            self.buffers.append(Buffer(self._name(position, "activations"), self.plan.home, workspace, first, (done,)))

    def _end_layer(self, position: int, placed: LayerPlan, where: dict[str, str]) -> None:
        """The layer's marker, after those of its lanes where it has several."""
        name, last = placed.layer.name, set(placed.layer.last_steps)
        ends: list[list[str | Dependency]] = [[] for _ in range(self.lanes)]
        for step in placed.layer.steps:
            if step.name in last:
                ends[step.lane].append(self._name(position, step.name))
        for lane, end in enumerate(ends):
            end += [] if end else [self._layers_before(position, 1, lane)]
            end += self._bring_home(position, placed, where, lane)
            marker = self._lane_done(position, lane)
            self._add_task(Task(marker, "compute", after=tuple(end)), TaskOrigin(name, "done", "marker"))
        if self.lanes > 1:
            markers = tuple(self._lane_done(position, lane) for lane in range(self.lanes))
            self._add_task(Task(self._done(position), "compute", after=markers), TaskOrigin(name, "done", "marker"))
        if self.gated:
            marker = self._done(position).replace("done", "written")
            written = Task(marker, "compute", after=(self._done(position), *self.backs))
            self._add_task(written, TaskOrigin(name, "written", "marker"))

    def _buffer_free(self, position: int) -> tuple[Dependency, ...]:
        """When the buffer of the layer ``ahead + 1`` layers ago is free again."""
        wait = self._layers_before(position, self.plan.ahead + 1)
        # Patterns of unequal length count layers differently: then wait for the whole pattern before.
        whole = (Dependency("done", 1),) if wait.lag and not self.same_length else ()
        return (wait, *whole, *self._written_before(position))

    def _streamed(self, op: Op, mapped: MappedOp, placed: LayerPlan) -> Iterator[Operand]:
        cached = {tensor for tensor, _ in placed.missed_bytes}
        for operand in placed.layer.from_storage(op):
            if (
                operand.stored is not None
                and operand.stored not in cached
                and placed.tier(operand.stored) != mapped.home
            ):
                yield operand

    def _fetch_misses(
        self, position: int, placed: LayerPlan, op: Op, home: str, after: tuple[str | Dependency, ...], met: set[str]
    ) -> list[str]:
        """Bring in what the caches of this operation's operands miss, once per tensor and layer."""
        names = []
        for tensor, size in placed.missed_bytes:
            name = self._name(position, f"fetch missing {tensor}")
            if any(operand.stored == tensor for operand in op.operands) and tensor not in met and size:
                met.add(tensor)
                self._transfer(name, placed.tier(tensor), home, size, after, placed, tensor, "fetch missing")
                names.append(name)
        return names

    def _fetch(
        self, position: int, placed: LayerPlan, op: Op, operand: Operand, home: str, after: tuple[str | Dependency, ...]
    ) -> str:
        assert operand.stored is not None
        name = self._name(position, f"fetch {dispatch.operand_name(op, operand)}")
        slowness = self.slowness(op, operand)
        source, size = placed.tier(operand.stored), operand.bytes
        self._transfer(name, source, home, size, after, placed, operand.stored, "fetch", slowness)
        readers = self._names(position, placed.layer.readers(op, operand))
        if self.gated:
            readers += self._names(position, [f"write back {back}" for back in dispatch.backs_in_place(op, operand)])
        self.buffers.append(Buffer(f"buffer for {name}", home, round(operand.bytes), name, readers))
        return name

    def _add_op(
        self,
        position: int,
        placed: LayerPlan,
        op: Op,
        mapped: MappedOp,
        after: list[str | Dependency],
        where: dict[str, str],
        fetched: set[str],
    ) -> None:
        waits = list(after)
        for operand in self._streamed(op, mapped, placed):
            if self.plan.ahead and not dispatch.chosen_at_run_time(op, placed):
                waits.append(self._name(position, f"fetch {dispatch.operand_name(op, operand)}"))
            else:
                waits.append(self._fetch(position, placed, op, operand, mapped.home, tuple(after)))
        waits += self._fetch_misses(position, placed, op, mapped.home, tuple(after), fetched)
        waits += self._bring_activations(position, placed, op, mapped.home, tuple(after), where)
        name = self._name(position, op.name)
        demands = [Demand(share.engine, share.seconds, share.operations, "op") for share in mapped.shares]
        demands.append(Demand(mapped.home, mapped.port_s, mapped.read_bytes + mapped.write_bytes))
        held = tuple(share.engine for share in mapped.shares)
        sent = dispatch.sent_along(self.mapped, placed.layer, op, self.plan.home) if self.send_along else ()
        if sent:
            size = sum(operand.bytes for operand in sent)
            demands = dispatch.joined_demands(demands, transfer_demands(self.system, mapped.home, self.plan.home, size))
            for component, joules in transfer_energy_j(self.system, mapped.home, self.plan.home, size).items():
                self._spend(component, joules)
        task = Task(name, "compute", tuple(demands), held, mapped.overhead_s, tuple(waits))
        self._add_task(task, TaskOrigin(placed.layer.name, op.name, op.kind))
        if sent:
            arrival = self._name(position, f"arrival of {op.name}")
            latency_s = transfer_latency_s(self.system, mapped.home, self.plan.home)
            origin = TaskOrigin(placed.layer.name, f"move {op.name}", "move")
            self._add_task(Task(arrival, "transfer", (), (), latency_s, (name,)), origin)
            self.arrivals.update({operand.activation: arrival for operand in sent if operand.activation})
        self._spend_on_op(mapped)
        for operand in op.operands:
            if operand.access != "write":
                continue
            if operand.activation is not None:
                where[operand.activation] = self.plan.home if operand in sent else mapped.home
            elif operand.stored is not None and placed.tier(operand.stored) != mapped.home and operand.bytes:
                back = self._name(position, f"write back {dispatch.operand_name(op, operand)}")
                target = placed.tier(operand.stored)
                slowness, size = self.slowness(op, operand), operand.bytes
                self._transfer(back, mapped.home, target, size, (name,), placed, operand.stored, "write back", slowness)
                self.backs.append(back)
                if self.gated and not dispatch.in_place(op, operand):
                    readers = self._names(position, dispatch.later_readers(placed.layer, op, operand))
                    self.buffers.append(Buffer(f"leaving by {back}", mapped.home, round(size), name, (back, *readers)))

    def _bring_activations(
        self,
        position: int,
        placed: LayerPlan,
        op: Op,
        home: str,
        after: tuple[str | Dependency, ...],
        where: dict[str, str],
    ) -> list[str]:
        """Move the activations an operation reads to its home; one that several operands read travels once."""
        sizes: dict[str, float] = {}
        for operand in op.operands:
            if operand.activation is not None and operand.access == "read":
                sizes[operand.activation] = sizes.get(operand.activation, 0.0) + operand.bytes
        moves = []
        for activation, size in sizes.items():
            if activation in self.arrivals and home == self.plan.home:
                moves.append(self.arrivals[activation])
            source = where.get(activation, self.plan.home)
            if source != home and size:
                name = self._name(position, f"move {activation} for {op.name}")
                self._transfer(name, source, home, size, after, placed, activation, "move")
                moves.append(name)
        return moves

    def _bring_home(self, position: int, placed: LayerPlan, where: dict[str, str], lane: int) -> list[str | Dependency]:
        """Move what the lane reads in the next layer to where it expects it; returns what its end must wait for."""
        moves: list[str | Dependency] = []
        for activation, (op, operand, leaves) in dispatch.last_writes(placed.layer, lane).items():
            if where[activation] != self.plan.home and leaves:
                name = self._name(position, f"bring {activation} home")
                after = (self._name(position, op.name),)
                self._transfer(
                    name, where[activation], self.plan.home, operand.bytes, after, placed, activation, "move"
                )
                moves.append(name)
            elif activation in self.arrivals:
                moves.append(self.arrivals[activation])
        return moves

    def _add_collective(
        self, position: int, placed: LayerPlan, step: Collective, after: list[str | Dependency]
    ) -> None:
        sent, seconds, latency = collective_cost(self.system, step, self.mapped.workload.devices)
        home = self.system.tiers[self.plan.home]
        port_s = sent / home.read_bandwidth_bytes_per_s + sent / home.write_bandwidth_bytes_per_s
        demands = (Demand("fabric", seconds, sent), Demand(self.plan.home, port_s, 2 * sent))
        task = Task(self._name(position, step.name), "collective", demands, (), latency, tuple(after))
        self._add_task(task, TaskOrigin(placed.layer.name, step.name, step.kind))
        assert self.system.fabric is not None
        self._spend("fabric", 8 * sent * self.system.fabric.energy_j_per_bit)
        self._spend(self.plan.home, 8 * sent * (home.read_energy_j_per_bit + home.write_energy_j_per_bit))

    # Tasks and energy

    def _transfer(
        self,
        name: str,
        source: str,
        target: str,
        size: float,
        after: tuple[str | Dependency, ...],
        placed: LayerPlan,
        tensor: str,
        kind: str,
        slowness: Slowness = as_stated,
    ) -> None:
        demands = transfer_demands(self.system, source, target, size, slowness)
        latency = transfer_latency_s(self.system, source, target)
        origin = TaskOrigin(placed.layer.name, f"{kind} {tensor}", kind)
        if kind != "move":  # activations pass through
            self._count_written(target, size)
        self._add_task(Task(name, "transfer", demands, (), latency, after), origin)
        for component, joules in transfer_energy_j(self.system, source, target, size).items():
            self._spend(component, joules)

    def _add_task(self, task: Task, origin: TaskOrigin) -> None:
        self.tasks.append(task)
        self.origins[task.name] = origin

    def _count_written(self, tier: str, size: float) -> None:
        self.written_bytes[tier] = self.written_bytes.get(tier, 0.0) + size

    def _spend_on_op(self, mapped: MappedOp) -> None:
        stored = (o.bytes for o in mapped.op.operands if o.stored is not None and o.access == "write")
        self._count_written(mapped.home, sum(stored))
        for share in mapped.shares:
            self._spend(share.engine, share.energy_j)
        tier = self.system.tiers[mapped.home]
        joules = mapped.read_bytes * tier.read_energy_j_per_bit + mapped.write_bytes * tier.write_energy_j_per_bit
        self._spend(mapped.home, 8 * joules)

    def _spend(self, component: str, joules: float) -> None:
        self.energy_j[component] = self.energy_j.get(component, 0.0) + joules
