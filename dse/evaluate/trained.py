"""Workloads of a space that are training steps, divided over all devices of the design.

Designs that share a micro-batch's operations (the model's part on a device, and the engines and tiers it runs on)
lower and map it once in a process; what devices exchange is worked out for each.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from dse.evaluate.design import Design, DesignWorkload
from dse.space.space import Space
from mappers.planner.placement import tier_capacity
from simulator.policies import named_policy
from simulator.policies.attention import main_home
from simulator.policy import Policy
from simulator.training.step.costs import piece_costs
from simulator.training.step.inventory import lacking, stage_memories
from simulator.training.step.layout import Parallel
from simulator.training.step.pieces import Pieces
from simulator.training.step.result import StepResult
from simulator.training.step.setup import Setup, check_setup, check_values
from simulator.training.step.simulate import Prepared, prepare_step, simulate_step
from workloads.errors import ImpossibleError, InfeasibleError, InputError, unknown_name

__all__ = ["FIDELITIES", "check_fidelity", "check_training", "setup_of", "trained"]

FIDELITIES = ("roofline", "mapped", "kernel")
"""Those of training steps."""

_MOST_KEPT = 256

_FIELDS = {
    "parallel.tp": "parallel.tensor", "parallel.pp": "parallel.pipeline", "parallel.dp": "parallel.data",
    "parallel.cp": "parallel.context", "parallel.ep": "parallel.expert",
}  # fmt: skip


def check_fidelity(fidelity: str) -> None:
    """Raise `InputError` where training steps are not simulated at ``fidelity``."""
    if fidelity not in FIDELITIES:
        raise unknown_name("fidelity of a training step", fidelity, FIDELITIES, field="--fidelity")


def check_training(space: Space, design: Design) -> None:
    """Raise `InputError` for tiers, schedules and policies that a training step cannot have, whatever its layout."""
    for name, workload in design.workloads.items():
        if workload.spec.phase != "train":
            continue
        try:
            check_values(setup_of(space, design, workload), design.system)
        except InputError as error:
            if error.field != "base.policy":
                error = replace(error, field=f"workloads.{name}.{error.field}")
            raise error from None


def setup_of(space: Space, design: Design, workload: DesignWorkload) -> Setup:
    """The step as the simulator has it."""
    spec = workload.spec
    home = main_home(design.system)
    away = {role: tier for role, tier in spec.place.model_dump().items() if tier != home}
    return Setup(
        workload.model,
        workload.training,
        spec.global_batch or 1,
        Parallel(**spec.parallel.model_dump()),
        spec.schedule,
        exchange=spec.context_exchange,
        formats=workload.formats,
        prefetch=spec.prefetch,
        from_master=spec.from_master,
        transform=_policy(space, design).transform,
        **away,
    )


def trained(space: Space, design: Design, name: str, fidelity: str) -> tuple[dict[str, float], dict[str, float]]:
    """Metrics of the training step ``name``, and the seconds charged to each part: to engines and tiers what kernels
    are bound by, and to exchanges, waiting and the update what shows of them (`StepResult.time_s`).

    Raises `ImpossibleError` for layouts that do not divide, about the workload's field, and `InfeasibleError` for those
    that do not fit.
    """
    try:
        result, bound_by = _result(space, design, design.workloads[name], fidelity)
    except ImpossibleError as error:
        field = _FIELDS.get(error.field or "", error.field)
        raise replace(error, field=f"workloads.{name}.{field}") from None
    found = {
        "latency_s": result.latency_s,
        "tokens_per_s": result.tokens_per_s,
        "energy_j": result.total_energy_j,
        "power_w": result.total_energy_j / result.latency_s,
        "peak_bytes": result.peak_bytes,
        "mfu": result.mfu,
        "bubble_share": result.bubble_share,
    }
    charged = {name: seconds for name, seconds in result.time_s.items() if name != "kernels"}
    whole = sum(bound_by.values())
    for part, seconds in bound_by.items():
        charged[part] = charged.get(part, 0.0) + result.time_s["kernels"] * seconds / whole
    return found, charged


def _result(
    space: Space, design: Design, workload: DesignWorkload, fidelity: str
) -> tuple[StepResult, Mapping[str, float]]:
    setup, system = setup_of(space, design, workload), design.system
    try:
        check_setup(setup, system)
    except InfeasibleError as error:
        # Too many devices, or passes, for the machine: the layout's doing, not that of memory.
        problem = f"{error.constraint}: {error.needed:,.6g} of {error.available:,.6g} {error.unit}"
        raise ImpossibleError(problem, error.hint, error.unit) from None
    shared, bound_by = _shared(space, design, workload, setup, fidelity)
    lacks = lacking(stage_memories(setup, shared.pieces), shared.mapped.home, lambda tier: tier_capacity(system, tier))
    if lacks is not None:
        raise InfeasibleError(f"memory {lacks[0]!r} of a device", lacks[1], lacks[2], "B")
    costs = piece_costs(shared.pieces, shared.mapped, system)
    assign = _policy(space, design).assign
    prepared = Prepared(shared.pieces, shared.mapped, costs)
    return simulate_step(setup, system, fidelity=fidelity, assign=assign, prepared=prepared), bound_by


def _policy(space: Space, design: Design) -> Policy:
    """The space's policies, as far as they change operations and their engines. Raises `InputError` for others."""
    policy = before = Policy()
    for text in space.base.policy:
        try:
            policy = named_policy(policy, design.system, text.format(**design.values))
        except InputError as error:
            raise replace(error, field="base.policy") from None
        if any(getattr(policy, name) != getattr(before, name) for name in ("lanes", "place", "move", "collections")):
            expected = "one that changes operations or their engines alone"
            raise InputError(f"{text!r} of a training step", expected, "base.policy")
    return policy


# What designs share

_kept: dict[tuple[Any, ...], tuple[Prepared, Mapping[str, float]]] = {}


def _shared(
    space: Space, design: Design, workload: DesignWorkload, setup: Setup, fidelity: str
) -> tuple[Prepared, Mapping[str, float]]:
    """One micro-batch's share, lowered and mapped, and the seconds of its kernels by what they are bound by.

    Mapping looks at engines, at tiers but for the capacity of those that hold tensors, and at how many devices take
    turns at what a node shares.
    """
    parallel, system = setup.parallel, design.system
    tiers = tuple(
        tier.model_copy(update={"capacity_bytes": 0.0}) if tier.holds == "tensors" else tier
        for tier in system.tiers.values()
    )
    key = (
        workload.model, setup.phase, setup.formats, setup.exchange, fidelity, system.node_devices,
        parallel.tensor, parallel.context, parallel.expert, parallel.sequence,
        tuple(text.format(**design.values) for text in space.base.policy),
        repr((system.engines, list(system.tiers), tiers, system.links)),
    )  # fmt: skip
    if key not in _kept:
        if len(_kept) >= _MOST_KEPT:
            _kept.clear()
        prepared = prepare_step(setup, system, fidelity=fidelity, assign=_policy(space, design).assign)
        _kept[key] = prepared, _bounds(prepared)
    return _kept[key]


def _bounds(prepared: Prepared) -> dict[str, float]:
    pieces: Pieces = prepared.pieces
    found: dict[str, float] = {}
    for piece, many in Counter((pieces.embedding, *pieces.layers, pieces.head)).items():
        for layer in dict.fromkeys((piece.forward, piece.backward)):
            for op in prepared.mapped.layers[layer.name].ops.values():
                found[op.bound] = found.get(op.bound, 0.0) + many * op.time_s
    return found
