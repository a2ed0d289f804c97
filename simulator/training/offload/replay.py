"""A planned training step, executed: one compute stream and one copy stream in each direction, buffers by parity.

The planner states times in closed form and peaks by allocation; here every layer's pass, offload and fetch is a task,
and every activation, rounding buffer and transient block occupies its memory from when it is taken to when it is given
back. The two must agree.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mappers.planner.swap import PlannedStep
from simulator.engine import (
    Buffer,
    Demand,
    Execution,
    Resident,
    Resource,
    Segment,
    Task,
    TaskGraph,
    execute,
    peak_bytes,
)
from workloads.errors import InputError

__all__ = ["ReplayedStep", "Transfer", "replay_step", "step_graph"]

_COMPUTE, _OUT, _IN = "compute", "device-to-host", "host-to-device"


@dataclass(frozen=True)
class Transfer:
    """One layer's offload or fetch. ``deadline_s`` is when the computation that waits for it would begin without it;
    below 0, ``slack_s`` is how long that computation stalls."""

    name: str
    begin_s: float
    finish_s: float
    deadline_s: float

    @property
    def slack_s(self) -> float:
        return self.deadline_s - self.finish_s


@dataclass(frozen=True)
class ReplayedStep:
    """What the engine found: the step's time, peaks by memory (one device's bytes), and every transfer's slack."""

    execution: Execution
    step_s: float
    peak_bytes: dict[str, int]
    transfers: tuple[Transfer, ...]

    @property
    def stall_s(self) -> float:
        """Seconds the compute stream waits."""
        return self.step_s - self.execution.uses[_COMPUTE].busy_s


def replay_step(plan: PlannedStep) -> ReplayedStep:
    """Execute ``plan``. Raises `InputError` where there is no plan to execute."""
    if plan.shares is None:
        raise InputError(f"the plan is {plan.status}", "a plan that was found", "policy")
    execution = execute(step_graph(plan), unroll=True)
    return ReplayedStep(execution, execution.latency_s, peak_bytes(execution), _transfers(execution))


def step_graph(plan: PlannedStep) -> TaskGraph:
    """The plan as tasks: blocks in their order, transfers where the plan has them, and what each holds in memory."""
    setting = plan.setting
    memory = setting.machine.memory_name
    resources = [Resource(_COMPUTE, "engine"), Resource(_OUT, "link"), Resource(_IN, "link"), Resource(memory, "tier")]
    resources += [Resource(name, "tier") for name in plan.tier_bytes]
    segment = Segment("step", tuple(_tasks(plan)), buffers=tuple(_buffers(plan)))
    residents = [Resident("states", memory, setting.state_bytes)]
    if setting.host_state_bytes:
        residents.append(Resident("host_states", setting.machine.tiers[0].name, setting.host_state_bytes))
    return TaskGraph(tuple(resources), (segment,), tuple(residents))


def _sends(plan: PlannedStep) -> bool:
    return any(plan.sent_bytes.values())


def _moved(plan: PlannedStep) -> range:
    return range(plan.times.moved_layers)


def _tasks(plan: PlannedStep) -> Iterator[Task]:
    machine = plan.setting.machine
    sends, moved = _sends(plan), _moved(plan)
    for block in plan.step.blocks:
        kind, _, number = block.name.partition(".")
        layer = int(number) if number else -1
        waits: list[str] = []
        if sends and kind == "forward" and layer - 2 in moved:
            waits.append(f"offload.{layer - 2}")
        if sends and layer in moved and kind == "backward" and plan.times.recompute_s == 0:
            waits.append(f"fetch.{layer}")
        if sends and layer in moved and kind == "recompute":
            waits.append(f"fetch.{layer}")
        seconds = sum(machine.seconds(op) for op in block.ops)
        work = sum(op.gemm_flops + op.attention_flops for op in block.ops)
        yield Task(
            block.name, "compute", (Demand(_COMPUTE, seconds, work, "FLOP"),), held=(_COMPUTE,), after=tuple(waits)
        )
        if sends and kind == "forward" and layer in moved:
            yield _transfer(plan, f"offload.{layer}", _OUT, block.name)
        if sends and kind == "backward" and layer - 2 in moved:
            yield _transfer(plan, f"fetch.{layer - 2}", _IN, block.name)
    update = Demand(_COMPUTE, plan.setting.update_s, 0.0, "FLOP")
    yield Task("update", "compute", (update,), held=(_COMPUTE,))


def _transfer(plan: PlannedStep, name: str, link: str, after: str) -> Task:
    machine = plan.setting.machine
    together = sum(plan.sent_bytes.values())
    demands = [Demand(link, together / machine.link_bytes_per_s, together)]
    for tier in machine.tiers:
        size = plan.sent_bytes[tier.name]
        if size:
            rate = tier.write_bytes_per_s if link == _OUT else tier.read_bytes_per_s
            demands.append(Demand(tier.name, size / rate, size))
    return Task(name, "transfer", tuple(demands), after=(after,))


def _buffers(plan: PlannedStep) -> Iterator[Buffer]:
    memory = plan.setting.machine.memory_name
    sends, moved = _sends(plan), _moved(plan)
    for layer in range(plan.setting.layers):
        forward, backward = f"forward.{layer}", f"backward.{layer}"
        if plan.kept_bytes:
            yield Buffer(f"kept.{layer}", memory, plan.kept_bytes, forward, (backward,))
        if not plan.buffer_bytes:
            continue
        if layer not in moved:
            yield Buffer(f"buffer.{layer}", memory, plan.buffer_bytes, forward, (backward,))
            continue
        done = f"offload.{layer}" if sends else forward
        begun = f"fetch.{layer}" if sends else f"recompute.{layer}"
        yield Buffer(f"buffer.{layer}", memory, plan.buffer_bytes, forward, (done,))
        yield Buffer(f"buffer_again.{layer}", memory, plan.buffer_bytes, begun, (backward,))
        for name, size in plan.sent_bytes.items():
            if size:
                yield Buffer(f"{name}.{layer}", name, size, f"offload.{layer}", (f"fetch.{layer}",))
    blocks = plan.step.blocks
    for buffer in plan.arena.problem.buffers:
        first, last = blocks[buffer.lower].name, blocks[buffer.upper - 1].name
        yield Buffer(f"transient.{buffer.id}", memory, buffer.size, first, (last,))


def _transfers(execution: Execution) -> tuple[Transfer, ...]:
    """Each transfer beside the end of the computation before the one that waits for it."""
    runs = {run.name: run for run in execution.all_runs()}
    waiting = {dep.task: run.name for run in runs.values() for dep in run.task.dependencies if run.task.held}
    before: dict[str, float] = {}
    ready = 0.0
    for run in runs.values():
        if run.task.held:
            before[run.name] = ready
            ready = run.finish_s
    return tuple(
        Transfer(name, run.begin_s, run.finish_s, before[waiting[name]])
        for name, run in runs.items()
        if name in waiting
    )
