"""The whole road in one call: lower, map, plan, schedule, execute, and sum up."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict

from hw.spec.system import System
from mappers.map_workload import FIDELITIES as MAPPER_FIDELITIES
from mappers.map_workload import OpMapper, map_workload
from mappers.mapped import MappedOp, MappedWorkload
from mappers.planner.placement import LayerPlan, MemoryPlan, plan_memory
from mappers.roofline import roofline_op
from simulator.attribution import time_by_bound
from simulator.collections.steps import cache_room, unroll_steps
from simulator.engine import execute, require_capacity
from simulator.policy import Policy
from simulator.result import Bounds, OpRow, Result
from simulator.schedule import schedule
from simulator.transport import collective_cost, transfer_demands
from workloads.errors import InputError, unknown_name
from workloads.formats import FormatChoice
from workloads.models.architecture import Model
from workloads.models.lower import lower
from workloads.models.stored_formats import stored_formats
from workloads.phases import Decode, Phase
from workloads.workload import Collective, Op

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
) -> Result:
    """Run ``phase`` of ``model`` on ``system`` under ``policy`` at ``fidelity`` roofline, mapped or cycle.

    Tensor parallelism over all of the system's devices. Raises `InputError` for a phase or split the model does not
    have, for an unknown fidelity and for devices that are unknown or do not fit, and `InfeasibleError` when the
    model does not fit.
    """
    if fidelity not in FIDELITIES:
        raise unknown_name("fidelity", fidelity, FIDELITIES, field="fidelity")
    formats = formats or stored_formats(model)
    policy = policy or Policy()
    workload = policy.transform(lower(model, phase, formats, devices=system.devices))
    mapper = OpMapper(system, policy.assign)
    depth = "mapped" if fidelity == "cycle" else fidelity
    mapped = map_workload(workload, system, policy.assign, depth, mapper=mapper)
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
        if "experts" in policy.place.pinned:
            raise InputError("cached experts live where their cache says", expected="no pin for experts", field="place")
        place = policy.place.pin("experts", collection.home)
        room = cache_room(workload, collection)
        plan = plan_memory(mapped, system, place, ahead=policy.move.ahead, caches={collection.tensor: room})
        placement = plan.bytes_by_role()

        def map_op(op: Op) -> MappedOp:
            if fidelity == "roofline":
                return roofline_op(op, stated, policy.assign)
            found = mapper(op).mapped
            return found if cycle is None else cycle.op(found)

        mapped, plan, outcome = unroll_steps(mapped, plan, map_op, collection)
        steps = outcome.touched.shape[0]
        notes.append(
            f"{collection.tensor}: {collection.slots} of {collection.stream.experts} pieces cached per layer, "
            f"hit rate {outcome.hit_rate:.4f} over {steps} steps after {collection.warmup} of warm-up"
        )
    else:
        plan = plan_memory(mapped, system, policy.place, ahead=policy.move.ahead)
        placement = plan.bytes_by_role()
    if cycle is not None:
        notes += cycle.notes()
    laid_out = schedule(mapped, plan, system) if cycle is None else schedule(mapped, plan, system, cycle.slowness)
    execution = execute(laid_out.graph)
    latency_s = execution.latency_s / steps
    if cycle is not None:
        notes += cycle.wear_notes(laid_out.written_bytes, execution.latency_s)
    energy = {name: joules / steps * system.devices for name, joules in laid_out.energy_j.items() if joules}
    energy["static"] = _static_power_w(system) * latency_s
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
        bounds=_bounds(mapped, plan, system, steps),
        ops=tuple(_op_rows(mapped, plan)),
        notes=tuple(notes),
        plan=plan,
        execution=execution,
    )


def _static_power_w(system: System) -> float:
    """Idle power of all devices; what is shared stands once."""
    tiers = sum(tier.static_power_w * (1 if tier.shared else system.devices) for tier in system.tiers.values())
    return system.devices * system.static_power_w + tiers


def _op_rows(mapped: MappedWorkload, plan: MemoryPlan) -> Iterator[OpRow]:
    counts: dict[str, int] = {}
    for placed, count in plan.layers():
        counts[placed.layer.name] = counts.get(placed.layer.name, 0) + count
    for layer_name, count in counts.items():
        for name, op in mapped.layers[layer_name].ops.items():
            size = op.read_bytes + op.write_bytes + op.inside_bytes
            yield OpRow(layer_name, name, op.op.kind, count, op.time_s, op.bound, op.op.work.total, size)


def _bounds(mapped: MappedWorkload, plan: MemoryPlan, system: System, steps: int) -> Bounds:
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
    return Bounds(max(compute.values()) / steps, max(moved.values()) / steps)


def _away(placed: LayerPlan, op: MappedOp) -> Iterator[tuple[str, float]]:
    """Tier and bytes of each operand that is read from outside the operation's home tier."""
    cached = {tensor for tensor, _ in placed.missed_bytes}
    for operand in placed.layer.from_storage(op.op):
        if operand.stored is not None and operand.stored not in cached and placed.tier(operand.stored) != op.home:
            yield placed.tier(operand.stored), operand.bytes
