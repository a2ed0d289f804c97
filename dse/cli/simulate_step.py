"""``tiercade simulate --phase train`` over many devices: words to a setup, through the step simulator, to a report."""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass, fields, replace
from math import isfinite
from pathlib import Path
from typing import Any

from dse.cli.output import check_figure, check_file, print_document, write_figure, write_text
from dse.cli.simulate import (
    OPTIONS,
    Request,
    choose_assign,
    choose_constants,
    choose_formats,
    choose_model,
    choose_phase,
    choose_place,
    choose_system,
    pair,
)
from dse.reports.units_text import bytes_text
from hw.spec.load import override
from hw.spec.system import System
from simulator.policies import named_policy
from simulator.policies.attention import main_home
from simulator.policy import Policy
from simulator.training.layouts.fit import Change, lacks, smallest_changes
from simulator.training.step.layout import Parallel, read_parallel
from simulator.training.step.memory_trace import trace_memory
from simulator.training.step.pieces import pieces_of
from simulator.training.step.result import StepResult
from simulator.training.step.setup import Setup, check_setup, lowered
from simulator.training.step.simulate import simulate_step
from workloads.errors import InfeasibleError, InputError, unknown_name
from workloads.phases import Train

__all__ = ["StepRun", "change_options", "run_step", "step_request"]

FIDELITIES = ("roofline", "mapped", "kernel")
_TAKEN = {
    "model", "system", "phase", "batch", "context", "devices", "changes", "weights", "kv_cache", "activations",
    "compute", "place", "assign", "policy", "fidelity", "software", "constants", "checkpoint", "checkpoint_every",
    "loss", "gradients", "global_batch", "parallel", "schedule", "context_exchange", "prefetch", "from_master",
    "expert_imbalance", "straggler", "past",
}  # fmt: skip
"""Options that a divided step looks at; ``past`` is refused with the phase."""
_SET_BY = OPTIONS | {
    "micro_batch": "batch",
    "exchange": "context_exchange",
    "imbalance": "expert_imbalance",
    "stragglers": "straggler",
    "chunks": "parallel",
    "micro_batches": "global_batch",
}
_DEGREES = {"tensor": "tp", "pipeline": "pp", "data": "dp", "context": "cp", "expert": "ep", "zero": "zero"}
_AWAY = ("activations", "optimizer")


@dataclass(frozen=True)
class StepRun:
    """A finished step with the values its inputs resolved to."""

    request: Request
    setup: Setup
    system: System
    result: StepResult

    def resolved_inputs(self) -> dict[str, Any]:
        """Everything that determines the result, as plain values."""
        return {
            "request": asdict(self.request),
            "model": asdict(self.setup.model),
            "system": self.system.model_dump(mode="json", by_alias=True, exclude_defaults=True),
        }


def step_request(request: Request) -> StepRun:
    """Resolve a request's names and simulate its step. Errors name the option whose value they are about.

    Raises `InputError` for words that are wrong, `ImpossibleError` for layouts that cannot be, and `InfeasibleError`
    where devices are too few or their memory too small, with the smallest changes that would do.
    """
    try:
        return _step_request(request)
    except InputError as error:
        raise replace(error, field=_option(error)) from None


def _option(error: InputError) -> str | None:
    field = error.field or ""
    if error.file is not None or not field or field.startswith("--"):
        return error.field
    if field.startswith("parallel."):
        return f"--parallel {field.removeprefix('parallel.')}"
    if field.startswith("place."):
        return "--place"
    name = _SET_BY.get(field, field)
    return f"--{name.replace('_', '-')}" if name in {part.name for part in fields(Request)} else error.field


def _step_request(request: Request) -> StepRun:
    _check_options(request)
    model, phase, parallel = choose_model(request.model), _phase(request), _parallel(request.parallel)
    system = _system(request, parallel)
    policy, away = _policy(request, system), _away(request.place, system)
    setup = Setup(
        model,
        phase,
        _global_batch(request, parallel),
        parallel,
        request.schedule or "1f1b",
        exchange=request.context_exchange or "ring",  # type: ignore[arg-type]  # check_setup looks at the name
        formats=choose_formats(request, model, phase),
        prefetch=1 if request.prefetch is None else request.prefetch,
        from_master=request.from_master,
        imbalance=1.0 if request.expert_imbalance is None else request.expert_imbalance,
        stragglers=_stragglers(request.straggler),
        transform=policy.transform,
        activations=away.get("activations"),
        optimizer=away.get("optimizer"),
    )
    check_setup(setup, system)
    _require_fit(setup, system)
    result = simulate_step(
        setup,
        system,
        fidelity=request.fidelity,
        software=request.software,
        constants=choose_constants(request.constants),
        assign=policy.assign,
    )
    result.require_fit()  # operations that are assigned elsewhere may be at home in another tier
    return StepRun(request, setup, system, result)


def _check_options(request: Request) -> None:
    if request.phase != "train":
        option = "--parallel" if request.parallel is not None else "--global-batch"
        raise InputError(f"{option} of {request.phase}", "--phase train", option)
    plain = Request(request.model, request.system, request.phase, request.batch, request.context)
    for field in fields(Request):
        if field.name not in _TAKEN and getattr(request, field.name) != getattr(plain, field.name):
            option = f"--{field.name.replace('_', '-')}"
            raise InputError(f"{option} of a step over many devices", "it left out", option)
    if request.fidelity not in FIDELITIES:
        raise unknown_name("fidelity of a step over many devices", request.fidelity, FIDELITIES, field="--fidelity")


def _phase(request: Request) -> Train:
    phase = choose_phase(request)
    assert isinstance(phase, Train)
    return phase


def _parallel(text: str | None) -> Parallel:
    try:
        return read_parallel(text or "")
    except InputError as error:
        # A degree by its name in the layout; keys that are none come as "parallel" or "parallel.KEY".
        known = _DEGREES.get(error.field or "")
        raise error if known is None else replace(error, field=f"parallel.{known}") from None


def _system(request: Request, parallel: Parallel) -> System:
    """The machine with its devices: those asked for, or as many as the layout takes, in whole nodes."""
    system = choose_system(request.system, request.changes, request.devices)
    named = any(change.replace(" ", "").startswith("devices=") for change in request.changes)
    if request.devices is not None or named or (system.network is not None and system.network.islands):
        return system
    devices, network = parallel.devices, system.network
    if network is not None and devices > network.devices_per_node:
        devices += -devices % network.devices_per_node
    return override(system, (f"devices={devices}",))


def _global_batch(request: Request, parallel: Parallel) -> int:
    """Left out: one micro-batch for each stage of each replica."""
    if request.global_batch is not None:
        return request.global_batch
    return request.batch * parallel.data * parallel.pipeline


def _policy(request: Request, system: System) -> Policy:
    policy = before = Policy(assign=choose_assign(request.assign, system))
    for text in request.policy:
        policy = named_policy(policy, system, text)
        same = ("lanes", "place", "move", "collections")
        if any(getattr(policy, name) != getattr(before, name) for name in same):
            expected = "one that changes operations or their engines alone"
            raise InputError(f"{text!r} of a step over many devices", expected, "--policy")
    return policy


def _away(words: tuple[str, ...], system: System) -> dict[str, str | None]:
    """Tiers of what leaves the device; the device's own is where everything else is."""
    pinned = choose_place(words).pinned
    home = main_home(system)
    for role, tier in pinned.items():
        if role not in _AWAY and tier != home:
            raise InputError(f"{role} of a step over many devices", "activations or optimizer", "--place")
        if role not in _AWAY and tier not in system.tiers:
            raise unknown_name("tier", tier, system.tiers, field="--place")
    return {role: tier if tier != home else None for role, tier in pinned.items() if role in _AWAY}


def _stragglers(words: tuple[str, ...]) -> tuple[tuple[int, float], ...]:
    found = []
    for word in words:
        stage, factor = pair("--straggler", word, "STAGE", "FACTOR")
        try:
            found.append((int(stage), float(factor)))
        except ValueError:
            raise InputError(f"found {word!r}", "a stage's number and a factor, such as 2=1.3", "--straggler") from None
        if not isfinite(found[-1][1]):
            raise InputError(f"found {word!r}", "a factor above 0", "--straggler")
    return tuple(found)


# What does not fit


def _require_fit(setup: Setup, system: System) -> None:
    found = lacks(setup, system)
    if found is None:
        return
    tier, needed, available = found
    changes = smallest_changes(setup, system)
    hint = "no two changes of layout, checkpoints or what leaves the device are enough"
    if changes:
        hint = f"smallest change: {_said(changes[0], setup)}"
    documents = tuple(change.to_json() | {"options": change_options(change.setup, setup)} for change in changes)
    raise InfeasibleError(f"memory {tier!r} of a device", needed / 1e9, available / 1e9, "GB", hint, documents)


def _said(change: Change, setup: Setup) -> str:
    costs = [f"{bytes_text(change.peak_bytes)} a device"]
    if change.more_devices:
        costs.append(f"{change.more_devices:,} devices more")
    if round(100 * change.more_time) > 0:
        costs.append(f"about {100 * change.more_time:.0f} % more time")
    if change.more_operations > 0.005 and not change.more_devices:
        costs.append(f"{100 * change.more_operations:.0f} % more operations")
    if change.more_moved_bytes > 0:
        costs.append(f"{bytes_text(change.more_moved_bytes)} to and from the tier")
    elif change.more_sent_bytes > 0:
        costs.append(f"{bytes_text(change.more_sent_bytes)} more sent by a device")
    return f"{change.words}, {' '.join(change_options(change.setup, setup))} ({', '.join(costs)})"


def change_options(changed: Setup, setup: Setup) -> list[str]:
    """The options that make ``setup`` what was ``changed``."""
    found = []
    if changed.parallel != setup.parallel:
        found += ["--parallel", str(changed.parallel)]
    if changed.parallel.devices != setup.parallel.devices:
        found += ["--devices", str(changed.parallel.devices)]
    if changed.schedule != setup.schedule:
        found += ["--schedule", changed.schedule]
    before, after = setup.phase, changed.phase
    if after.batch != before.batch:
        found += ["--batch", str(after.batch)]
    if (after.checkpoint, after.every) != (before.checkpoint, before.every):
        found += ["--checkpoint", after.checkpoint]
        found += ["--checkpoint-every", str(after.every)] if after.every > 1 or before.every > 1 else []
    if after.loss != before.loss:
        found += ["--loss", after.loss]
    for role in _AWAY:
        if getattr(changed, role) != getattr(setup, role):
            found += ["--place", f"{role}={getattr(changed, role)}"]
    if changed.prefetch != setup.prefetch:
        found += ["--prefetch", str(changed.prefetch)]
    if changed.from_master != setup.from_master:
        found += ["--from-master"]
    return found


# Reports


def _draw_memory(run: StepRun, path: Path) -> str:
    """Draw the first stage's device and the fullest one's over the step; says what an allocator reserves."""
    from dse.reports.figures.memory_over_time import MemoryPanel, memory_over_time_figure

    pieces, stages = pieces_of(lowered(run.setup)), run.result.run.schedule.stages
    panels = []
    for stage in sorted({0, run.result.fullest}):
        trace = trace_memory(run.setup, pieces, run.result.run, stage)
        title = f"{run.result.layout}, stage {stage}" if stages > 1 else run.result.layout
        panels.append(MemoryPanel(title, trace, run.result.memory[stage], trace.cached().reserved_bytes))
    write_figure(memory_over_time_figure(panels), path)
    fullest = max(panels, key=lambda panel: panel.memory.total)
    held, reserved = bytes_text(fullest.trace.peak_bytes), bytes_text(fullest.reserved_bytes)
    return f"memory: {path} (held at most {held}; a caching allocator reserves {reserved})"


def run_step(
    request: Request,
    *,
    trace_out: Path | None,
    memory_out: Path | None,
    out: Path | None,
    as_json: bool,
    what_ifs: tuple[str, ...] = (),
) -> None:
    """Simulate the step, write what was asked for, and print the report."""
    if what_ifs:
        raise InputError("--what-if of a step over many devices", "it left out", "--what-if")
    if trace_out is not None:
        check_file(trace_out)
    if memory_out is not None:
        check_figure(memory_out, "--memory-out")
    run = step_request(request)
    if memory_out is not None and run.setup.activations is not None:
        raise InputError("--memory-out of activations that leave", "activations that stay", "--memory-out")
    notes = []
    if memory_out is not None:
        notes.append(_draw_memory(run, memory_out))
    if trace_out is not None:
        from dse.reports.step_folder import step_trace

        text, shown = step_trace(run.setup, run.system, run.result)
        write_text(trace_out, text)
        whole = run.result.micro_batches
        part = "" if shown == whole else f", the first {shown} of {whole:,} micro-batches"
        notes.append(f"trace: {trace_out} (open it at ui.perfetto.dev{part})")
    if out is not None:
        from dse.reports.step_folder import write_step

        folder = write_step(out, run.setup, run.system, run.result, resolved_inputs=run.resolved_inputs())
        notes.append(f"run folder: {folder}")
    if as_json:
        print_document(run.result.to_json())
    else:
        from dse.reports.step_table import print_step

        print_step(run.result)
    for note in notes:
        print(note, file=sys.stderr)  # noqa: T201
