"""The whole road in one call: lower, map, plan, schedule, execute, and sum up."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING

from hw.spec.system import System
from mappers.map_workload import FIDELITIES as MAPPER_FIDELITIES
from mappers.map_workload import map_workload, op_mapper
from mappers.mapped import MappedOp, MappedWorkload
from mappers.planner.placement import LayerPlan, MemoryPlan, plan_memory
from mappers.roofline import roofline_op
from simulator.attribution import time_by_bound
from simulator.collections.elsewhere import assign_elsewhere
from simulator.collections.sequence import LaidOut, execute_sequence, lay_out
from simulator.collections.steps import Unrolled, cache_room, chunk_bytes, unroll_steps
from simulator.engine import execute, require_capacity
from simulator.policy import Policy
from simulator.result import Bounds, OpRow, Result
from simulator.schedule import Schedule, schedule
from simulator.transport import Slowness, as_stated, collective_cost, transfer_demands
from workloads.errors import InputError, unknown_name
from workloads.formats import FormatChoice
from workloads.models.architecture import Model
from workloads.models.flops import model_flops
from workloads.models.lower import lower
from workloads.models.stored_formats import phase_formats
from workloads.phases import Decode, Phase, Train
from workloads.workload import Collective, Op, Workload

if TYPE_CHECKING:
    from mappers.kernels.constants import Entry

__all__ = ["FIDELITIES", "simulate"]

FIDELITIES = (*MAPPER_FIDELITIES, "cycle")
"""How deep a simulation models: what mappers know, and at ``cycle`` the devices behind tiers, links and engines."""


def simulate(
    model: Model,
    phase: Phase,
    system: System,
    *,
    formats: FormatChoice | None = None,
    policy: Policy | None = None,
    fidelity: str = "roofline",
    software: str | None = None,
    constants: tuple[Entry, ...] = (),
) -> Result:
    """Run ``phase`` of ``model`` on ``system`` under ``policy`` at ``fidelity`` roofline, mapped, kernel or cycle.

    ``software`` is the epoch whose kernels run at kernel fidelity (`mappers.kernels.software`); ``constants`` of a
    calibrated machine stand before the bundled ones. Tensor parallelism over all of the system's devices. Raises
    `InputError` for a phase or split the model does not have, for an unknown fidelity or software and for devices that
    are unknown or do not fit, and `InfeasibleError` when the model does not fit.
    """
    if fidelity not in FIDELITIES:
        raise unknown_name("fidelity", fidelity, FIDELITIES, field="fidelity")
    formats = formats or phase_formats(model, phase)
    policy = policy or Policy()
    if policy.collections and policy.lanes.count > 1:
        raise InputError("a batch in lanes beside caches of pieces", expected="one of the two", field="lanes")

    def lane(part: Phase) -> Workload:
        return policy.transform(lower(model, part, formats, devices=system.devices))

    workload = policy.lanes.split(lane, phase)
    unrolled: Unrolled | None = None
    depth = "mapped" if fidelity == "cycle" else fidelity
    mapper = op_mapper(system, policy.assign, depth, software, constants)
    mapped = map_workload(workload, system, policy.assign, depth, mapper=mapper, software=software)
    steps = 1
    stated, cycle = system, None
    if fidelity == "cycle":
        from simulator.cycle import cycle_service  # compiled code: the other fidelities do without

        cycle = cycle_service(stated, workload, policy.assign)
        mapped, system = cycle.workload(mapped), cycle.system
    notes = mapped.notes()
    if policy.collections:
        if len(policy.collections) > 1 or not isinstance(phase, Decode):
            raise InputError("caches work on decode steps, one collection at a time", field="collections")
        collection = policy.collections[0]
        room = cache_room(workload, collection)
        role = collection.role(workload)
        if role in policy.place.pinned:
            raise InputError(f"cached {role} live where their cache says", expected=f"no pin for {role}", field="place")
        place = policy.place.pin(role, collection.home)
        caches = dict.fromkeys(collection.tensors, room / len(collection.tensors))
        plan = plan_memory(mapped, system, place, ahead=policy.move.ahead, caches=caches)
        placement = plan.bytes_by_role()

        assign = assign_elsewhere(policy.assign, collection.misses_on)
        if collection.misses_on is not None:
            mapper = op_mapper(stated, assign, depth, software, constants)

        def map_op(op: Op) -> MappedOp:
            if fidelity == "roofline":
                return roofline_op(op, stated, assign)
            found = mapper(op).mapped
            return found if cycle is None else cycle.op(found)

        unrolled = unroll_steps(mapped, plan, map_op, collection)
        mapped, plan = unrolled.mapped, unrolled.plan
        steps = len(unrolled.outcome.needs)
        notes.append(unrolled.note(collection))
    else:
        plan = plan_memory(mapped, system, policy.place, ahead=policy.move.ahead)
        placement = plan.bytes_by_role()
    if cycle is not None:
        notes += cycle.notes()
    notes += _caches_away(mapped, plan)
    slowness = {} if cycle is None else {"slowness": cycle.slowness}

    def lay(part: MemoryPlan) -> Schedule:
        return schedule(mapped, part, system, **slowness, send_along=policy.move.send_along)

    if unrolled is None:
        laid_out: Schedule | LaidOut = lay(plan)
        execution = execute(laid_out.graph)
    else:
        apart: Slowness = as_stated
        if cycle is not None and (chunk := chunk_bytes(workload, policy.collections[0])) is not None:
            from simulator.collections.pieces import piece_slowness

            apart = piece_slowness(cycle, chunk)
        laid_out = lay_out(unrolled, system, policy.collections[0].tensors, lay, apart)
        execution = execute_sequence(laid_out.graph, unrolled.order)
    latency_s = execution.latency_s / steps
    if cycle is not None:
        notes += cycle.wear_notes(laid_out.written_bytes, execution.latency_s)
    energy = {name: joules / steps * system.devices for name, joules in laid_out.energy_j.items() if joules}
    energy["static"] = system.idle_power_w * latency_s
    return Result(
        model=model.name,
        system=system.name,
        phase=phase.name,
        batch=phase.batch,
        context=phase.context,
        devices=system.devices,
        fidelity=mapped.fidelity,
        formats=asdict(formats),
        steps=steps,
        latency_s=latency_s,
        tokens=phase.tokens,
        energy_j=energy,
        utilisation={name: use.utilisation for name, use in execution.uses.items()},
        moved_bytes={name: use.amount / steps for name, use in execution.uses.items() if use.unit == "B"},
        peak_bytes=require_capacity(execution, plan.capacity_bytes),
        capacity_bytes=plan.capacity_bytes,
        placement_bytes=placement,
        time_by_bound_s={name: seconds / steps for name, seconds in sorted(time_by_bound(execution).items())},
        bounds=_bounds(mapped, plan, system, steps, unrolled.ahead() if unrolled else ()),
        ops=tuple(_op_rows(mapped, plan)),
        notes=tuple(notes),
        plan=plan,
        execution=execution,
        mfu=_utilisation(model, phase, system, formats, latency_s) if isinstance(phase, Train) else None,
    )


def _utilisation(model: Model, phase: Phase, system: System, formats: FormatChoice, latency_s: float) -> float:
    """The model's FLOPs over those that all devices could do meanwhile on their fastest engines."""
    peak = max(engine.throughput(formats.compute) for engine in system.engines.values())
    return model_flops(model, phase.batch, phase.context) / (latency_s * system.devices * peak)


def _op_rows(mapped: MappedWorkload, plan: MemoryPlan) -> Iterator[OpRow]:
    counts: dict[str, int] = {}
    for placed, count in plan.layers():
        counts[placed.layer.name] = counts.get(placed.layer.name, 0) + count
    for layer_name, count in counts.items():
        for name, op in mapped.layers[layer_name].ops.items():
            size = op.read_bytes + op.write_bytes + op.inside_bytes
            yield OpRow(layer_name, name, op.op.kind, count, op.time_s, op.bound, op.op.work.total, size)


def _bounds(
    mapped: MappedWorkload, plan: MemoryPlan, system: System, steps: int, ahead: Iterable[tuple[str, float]] = ()
) -> Bounds:
    """Per engine all its operations, per tier, link and fabric all its bytes, counted from the workload."""
    compute: dict[str, float] = {}
    moved: dict[str, float] = {}

    def travel(source: str, target: str, size: float) -> None:
        for hop in transfer_demands(system, source, target, size):
            moved[hop.resource] = moved.get(hop.resource, 0.0) + hop.seconds

    for placed, count in plan.layers():
        for op in mapped.layers[placed.layer.name].ops.values():
            for share in op.shares:
                compute[share.engine] = compute.get(share.engine, 0.0) + count * share.seconds
            moved[op.home] = moved.get(op.home, 0.0) + count * op.port_s
            for tier, size in _away(placed, op):
                travel(tier, op.home, count * size)
        for step in placed.layer.steps:
            if isinstance(step, Collective):
                _, seconds, _ = collective_cost(system, step, mapped.workload.devices)
                moved["fabric"] = moved.get("fabric", 0.0) + count * seconds
        for tensor, size in placed.missed_bytes:
            travel(placed.tier(tensor), plan.home, count * size)
    for tier, size in ahead:
        travel(tier, plan.home, size)
    return Bounds(max(compute.values()) / steps, max(moved.values()) / steps)


def _caches_away(mapped: MappedWorkload, plan: MemoryPlan) -> Iterator[str]:
    """What must be said of attention that is computed away from the plan's home and from its keys and values."""
    away: dict[tuple[str, str, str], float] = {}
    for placed, count in plan.layers():
        caches = {tensor.name for tensor in placed.layer.stored if tensor.role == "kv_cache"}
        for op in mapped.layers[placed.layer.name].ops.values():
            if op.op.kind != "attention" or op.home == plan.home:
                continue
            for operand in placed.layer.from_storage(op.op):
                if operand.stored in caches and placed.tier(operand.stored) != op.home:
                    at = (op.shares[0].engine, placed.tier(operand.stored), op.home)
                    away[at] = away.get(at, 0.0) + count * operand.bytes
    for (engine, tier, home), size in away.items():
        yield (
            f"attention on {engine} fetches {size / 1e9:,.3g} GB of keys and values out of {tier}; "
            f"--place kv_cache={home} keeps them where they are read"
        )


def _away(placed: LayerPlan, op: MappedOp) -> Iterator[tuple[str, float]]:
    """Tier and bytes of each operand that is read from outside the operation's home tier."""
    cached = {tensor for tensor, _ in placed.missed_bytes}
    for operand in placed.layer.from_storage(op.op):
        if operand.stored is not None and operand.stored not in cached and placed.tier(operand.stored) != op.home:
            yield placed.tier(operand.stored), operand.bytes
