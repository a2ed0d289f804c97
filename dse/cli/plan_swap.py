"""What ``tiercade plan swap`` does: plan a training step's activations, execute the plan, report both."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from dse.cli.amounts import count_of
from dse.cli.output import check_figure, check_file, print_document, write_figure, write_text
from dse.cli.plan_swap_text import report
from dse.cli.simulate import choose_model, choose_system
from hw.spec.quantity import BYTES, parse_quantity
from hw.spec.system import System
from mappers.planner.allocation.caching import CachingResult, replay_requests
from mappers.planner.swap import KERNELS, POLICIES, PlannedStep, machine_of, plan_step, setting_of
from mappers.planner.swap.bilevel import bilevel_plan, flat_plan
from mappers.planner.swap.curve import contexts_to, step_curve
from mappers.planner.swap.gpt_models import GPT_MODELS, gpt_model
from mappers.planner.swap.step_ops import step_requests
from simulator.training.offload.replay import ReplayedStep, replay_step
from workloads.errors import InputError, unknown_name
from workloads.models.architecture import Model

__all__ = ["SwapOptions", "run_swap"]

_YEAR_S = 365.25 * 86400
_PUBLISHED = ("published: MEMO, 7B at 1 Mi", 0.5230)
"""Abstract of arXiv 2407.12117: 8 A800 GPUs."""

_PUBLISHED_FRAGMENTATION = 1 - 65.7 / 73.5
"""The same, figure 1a: of 73.5 GB reserved at 512 K tokens 65.7 are allocated while a request of 4.0 GB fails."""

_STATES = ("device", "host")
_FIELDS = {"devices", "context", "policy", "model", "system", "head_chunks", "states"}


@dataclass(frozen=True)
class SwapOptions:
    """The arguments of ``plan swap`` as they were typed."""

    model: str
    system: str
    context: str
    devices: int | None = None
    policy: str = "best"
    changes: tuple[str, ...] = ()
    parts: int | None = None
    head_chunks: int | None = None
    states: str = "device"
    no_drives: bool = False
    drive_years: float | None = None
    drive_writes: str | None = None
    time_limit_s: float = 60.0
    trace: Path | None = None
    figure: Path | None = None


def run_swap(options: SwapOptions, *, as_json: bool) -> int:
    """Plan, execute, write what was asked for, print the report; 3 when nothing fits or nothing was found in time."""
    _check(options)
    try:
        plans = _plans(options)
    except InputError as error:
        if error.field in _FIELDS and error.file is None:
            raise replace(error, field=f"--{error.field.replace('_', '-')}") from None
        raise
    plan = plans["attained"]
    replayed = replay_step(plan) if plan.shares is not None else None
    if options.trace is not None:
        _write_trace(options.trace, plan)
    if options.figure is not None:
        _draw(options, plan)
    found = _document(options, plans, replayed)
    if as_json:
        print_document(found)
    else:
        print(report(plan, found))  # noqa: T201
    return 0 if plan.fits else 3


def _check(options: SwapOptions) -> None:
    if options.policy not in POLICIES:
        raise unknown_name("policy", options.policy, POLICIES, field="--policy")
    if options.states not in _STATES:
        raise unknown_name("place", options.states, _STATES, field="--states")
    if not 0 < options.time_limit_s < math.inf:
        raise InputError(f"{options.time_limit_s:g} seconds", "more than 0 seconds", "--time-limit")
    if options.parts is not None and not 1 <= options.parts <= 1000:
        raise InputError(f"found {options.parts}", "1 to 1000", "--parts")
    if options.drive_years is not None and not 0 < options.drive_years < math.inf:
        raise InputError(f"{options.drive_years:g} years", "more than 0 years", "--drive-years")
    if options.figure is not None:
        check_figure(options.figure)
    if options.trace is not None:
        check_file(options.trace)


def _model(name: str) -> Model:
    if name.casefold() in GPT_MODELS:
        return gpt_model(name.casefold())
    try:
        return choose_model(name)
    except InputError as error:
        if error.file is not None or not (error.expected or "").startswith("one of"):
            raise
        from workloads.models.catalogue import model_names

        raise unknown_name("model", name, [*GPT_MODELS, *model_names()], field="--model") from None


def _plans(options: SwapOptions) -> dict[str, PlannedStep]:
    """The plan with each set of kernels; both ends of what is known about them."""
    model = _model(options.model)
    context = count_of(options.context, "--context", "a number of tokens, such as 65536 or 64Ki")
    system = choose_system(options.system, options.changes, options.devices)
    plans = {}
    for name, kernels in KERNELS.items():
        machine = machine_of(system, kernels, wear_bytes_per_s=_wear(options, system), drives=not options.no_drives)
        setting = setting_of(model, machine, context, options.head_chunks, states_on_host=options.states == "host")
        plans[name] = plan_step(setting, options.policy, parts=options.parts, time_limit_s=options.time_limit_s)
    return plans


def _drive_bytes(options: SwapOptions, system: System) -> dict[str, float]:
    """What may be written to each tier of drives: as rated, else until the cells are worn; unknown ones left out."""
    from simulator.memory.flash.drives import tier_endurance_bytes

    rated = None if options.drive_writes is None else _rated(options.drive_writes)
    drives = {name: tier for name, tier in system.tiers.items() if tier.kind == "flash"}
    found = {name: rated or tier_endurance_bytes(tier) for name, tier in drives.items()}
    return {name: size for name, size in found.items() if size is not None}


def _rated(text: str) -> float:
    try:
        size = parse_quantity(text, BYTES)
    except InputError as error:
        error.field = "--drive-writes"
        raise
    if not 0 < size < math.inf:
        raise InputError(f"found {text}", "more than 0 bytes, such as '56 PB'", "--drive-writes")
    return size


def _wear(options: SwapOptions, system: System) -> float | None:
    if options.drive_years is None:
        return None
    lasting = _drive_bytes(options, system)
    if not lasting:
        problem = f"{system.name} has no drives of known endurance"
        raise InputError(problem, "--drive-writes, what all its drives together are rated for", "--drive-years")
    return min(lasting.values()) / (options.drive_years * _YEAR_S)


def _write_trace(path: Path, plan: PlannedStep) -> None:
    requests = step_requests(plan.step, with_skeletal=False)
    lines = [f"{'malloc' if request.wanted else 'free'} {request.id} {request.size}\n" for request in requests]
    write_text(path, "".join(lines))
    print(f"trace: {path} (tiercade plan allocate reads it)", file=sys.stderr)  # noqa: T201


def _draw(options: SwapOptions, plan: PlannedStep) -> None:
    from dse.reports.figures.training_step import training_step_figure

    assert options.figure is not None
    setting = plan.setting
    contexts = contexts_to(setting.graph.tokens)
    policies = ["recompute", "swap", "memo", "best"] if setting.machine.tiers else ["keep", "recompute", "best"]
    points = {
        name: list(
            step_curve(
                setting.model,
                replace(setting.machine, kernels=kernels),
                contexts,
                policies,
                time_limit_s=options.time_limit_s,
            )
        )
        for name, kernels in KERNELS.items()
    }
    headline = f"Training {setting.model.name} on {setting.machine.devices} × {setting.machine.name}"
    figure = training_step_figure(headline, points, _PUBLISHED if _is_published(plan) else None)
    write_figure(figure, options.figure)


def _is_published(plan: PlannedStep) -> bool:
    """Whether MEMO printed a number for this model and this many devices of the kind."""
    setting = plan.setting
    return setting.model.name == "gpt-7b" and setting.machine.devices == 8 and "a100" in setting.machine.name


def _document(options: SwapOptions, plans: dict[str, PlannedStep], replayed: ReplayedStep | None) -> dict[str, Any]:
    plan = plans["attained"]
    setting = plan.setting
    machine, times = setting.machine, plan.times
    two = bilevel_plan(plan.step, options.time_limit_s) if plan.passing_bytes else plan.arena
    flat = flat_plan(plan.step, min(10.0, options.time_limit_s))
    caching = replay_requests(step_requests(plan.step, with_skeletal=False))
    return {
        "model": setting.model.name,
        "system": machine.name,
        "devices": machine.devices,
        "context": setting.graph.tokens,
        "policy": plan.policy,
        "status": plan.status,
        "missing_bytes": plan.missing,
        "extra_bytes": plan.extra,
        "step_s": times.step_s,
        "mfu": plan.mfu,
        "mfu_by_kernels": {name: one.mfu for name, one in plans.items()},
        "step_s_by_kernels": {name: one.times.step_s for name, one in plans.items()},
        "status_by_kernels": {name: one.status for name, one in plans.items()},
        "published_mfu": _PUBLISHED[1] if _is_published(plan) and setting.graph.tokens == 1 << 20 else None,
        "alpha": None
        if plan.alpha is None
        else {
            "alpha": plan.alpha.alpha,
            "bound": plan.alpha.bound,
            "missing_bytes": plan.alpha.missing_bytes,
            "missing_bytes_per_s": plan.alpha.missing_bytes_per_s,
        },
        "tensors": _tensors(plan),
        "layer_s": {
            "forward": times.forward_s,
            "backward": times.backward_s,
            "recompute": times.recompute_s,
            "offload": times.offload_s,
            "fetch": times.fetch_s,
        },
        "stall_s": {"forward": times.forward_stall_s, "backward": times.backward_stall_s},
        "outside_layers_s": times.rest_s,
        "update": _update(plan),
        "moved_bytes": plan.moved_bytes,
        "memory": {
            "tier": machine.memory_name,
            "capacity_bytes": machine.memory_bytes,
            "peak_bytes": plan.device_bytes,
            "state_bytes": setting.state_bytes,
            "kept_bytes": setting.layers * plan.kept_bytes,
            "rounding_buffers": plan.buffers,
            "rounding_buffer_bytes": plan.buffer_bytes,
            "transient_bytes": plan.arena.peak_bytes,
            "made_again_bytes_among_them": plan.passing_bytes,
        },
        "tiers": _tiers(options, plan),
        "transients": {
            "bilevel_bytes": two.peak_bytes,
            "bilevel_proved": two.proved,
            "bilevel_seconds": two.seconds,
            "flat_bytes": flat.peak_bytes,
            "flat_status": flat.status,
            "flat_lower_bound_bytes": flat.lower_bound_bytes,
            "bilevel_less_flat_bytes": two.peak_bytes - (flat.peak_bytes or 0),
            "caching_allocator": _caching(caching),
        },
        "caching_allocator_for_all": _unplanned(plan),
        "head_chunks": setting.head_chunks,
        "simulated": None
        if replayed is None
        else {
            "step_s": replayed.step_s,
            "stall_s": replayed.stall_s,
            "peak_bytes": replayed.peak_bytes,
            "least_slack_s": min((transfer.slack_s for transfer in replayed.transfers), default=None),
        },
        "sources": {**machine.sources, **_SOURCES},
        "planning_s": plan.seconds,
    }


_SOURCES = {
    "head_chunks": "synthetic: the fewest at which the head holds no more than a layer's backward pass; --head-chunks",
    "states": "stated: 18 bytes a parameter, Megatron Core's guide, distributed optimizer, 16-bit parameters",
    "update": "derived: bytes of Adam through memory; the host's processors at their part of its memory's rate",
    "split": "synthetic: tensor and sequence parallelism over all devices, one sequence per step",
}


def _unplanned(plan: PlannedStep) -> dict[str, Any] | None:
    """The whole step, activations and states too, through a caching allocator; None where activations leave, which
    requests to one memory do not tell."""
    setting = plan.setting
    if plan.policy not in ("keep", "recompute"):
        return None
    requests = step_requests(plan.step, with_skeletal=True, resident={"states": setting.state_bytes})
    published = _is_published(plan) and plan.policy == "recompute" and setting.graph.tokens == 1 << 19
    return {
        **_caching(replay_requests(requests)),
        "published_fragmentation": _PUBLISHED_FRAGMENTATION if published else None,
    }


def _update(plan: PlannedStep) -> dict[str, Any]:
    setting, split = plan.setting, plan.setting.update
    found: dict[str, Any] = {"seconds": setting.update_s, "host_state_bytes": setting.host_state_bytes}
    if split is not None:
        found |= {
            "stride": split.stride,
            "subgroups": split.subgroups,
            "all_host_s": split.all_host_s,
            "bound_s": split.bound_s,
        }
    return found


def _tensors(plan: PlannedStep) -> list[dict[str, Any]]:
    graph = plan.setting.graph
    rows = []
    for name in graph.skeletal:
        row: dict[str, Any] = {"name": name, "bytes": graph.bytes_of[name]}
        row["bytes_per_token"] = graph.bytes_per_token(name)
        row["share"] = graph.bytes_of[name] / graph.skeletal_bytes
        if plan.shares is not None:
            share = plan.shares[name]
            row |= {"keep": share.keep, "swap": dict(share.swap), "recompute": share.recompute}
        rows.append(row)
    return rows


def _tiers(options: SwapOptions, plan: PlannedStep) -> dict[str, dict[str, Any]]:
    machine = plan.setting.machine
    system = choose_system(options.system, options.changes, options.devices)
    lasting = _drive_bytes(options, system)
    found = {}
    for tier in machine.tiers:
        held = plan.tier_bytes.get(tier.name, 0)
        found[tier.name] = {"capacity_bytes": tier.capacity_bytes, "peak_bytes": held, "lasts_years": None}
        if held and tier.name in lasting:
            rate = held * machine.devices / plan.times.step_s
            found[tier.name]["lasts_years"] = lasting[tier.name] / rate / _YEAR_S
    return found


def _caching(result: CachingResult) -> dict[str, Any]:
    return {
        "requests": result.requests,
        "reserved_bytes": result.reserved_bytes,
        "allocated_bytes": result.allocated_bytes,
        "fragmentation": result.fragmentation,
    }
