"""``tiercade plan layout``: the fastest layouts of a training step, and the words that simulate each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from dse.cli.output import print_document
from dse.cli.progress import Progress
from dse.cli.simulate import Request, choose_formats, choose_model, choose_phase, choose_place, choose_system
from dse.cli.simulate_step import change_options
from dse.cli.stopping import stoppable
from dse.reports.table import print_rows, print_text
from dse.reports.units_text import bytes_text, percent_text, seconds_text
from hw.spec.system import System
from simulator.policies.attention import main_home
from simulator.training.layouts.search import Ranked, Searched, best_layouts
from simulator.training.step.setup import Setup, check_values
from workloads.errors import InputError
from workloads.phases import Train

__all__ = ["LayoutOptions", "run_layout"]


_OPTIONS = {
    "context": "--context",
    "loss": "--loss",
    "gradient_format": "--gradients",
    "exchange": "--context-exchange",
    "place": "--place",
    "global_batch": "--global-batch",
}
"""The option that sets a field."""


@dataclass(frozen=True)
class LayoutOptions:
    """The words of the command as the user wrote them."""

    model: str
    system: str
    devices: int
    context: int
    global_batch: int
    loss: str
    gradients: str
    from_master: bool
    context_exchange: str
    place: tuple[str, ...]
    changes: tuple[str, ...]
    fidelity: str
    top: int
    time_limit_s: float | None


def run_layout(options: LayoutOptions, *, as_json: bool) -> int:
    """Search and print; the exit code."""
    if options.top < 1:
        raise InputError(f"found {options.top}", "1 or more", "--top")
    request = Request(
        options.model, options.system, "train", 1, options.context, devices=options.devices, changes=options.changes,
        place=options.place, fidelity=options.fidelity, loss=options.loss, gradients=options.gradients,
        global_batch=options.global_batch, context_exchange=options.context_exchange, from_master=options.from_master,
    )  # fmt: skip
    system = choose_system(request.system, request.changes, request.devices)
    setup = _setup(request, system)
    progress = Progress("layouts")
    with stoppable(options.time_limit_s) as stop:
        found = best_layouts(
            setup, system, keep=options.top, fidelity=options.fidelity, progress=progress, should_stop=stop
        )
    progress.done()
    if as_json:
        print_document(_document(found, setup))
    else:
        print_text(_head(found, setup, system.name))
        print_rows([_row(each) for each in found.best])
        words = " ".join(change_options(found.best[0].setup, setup)) if found.best else ""
        print_text(f"the first: tiercade simulate --phase train ... --global-batch {options.global_batch} {words}\n")
    return 130 if stop.why == "interrupt" else 0


def _setup(request: Request, system: System) -> Setup:
    """All but the layout. Errors name the option."""
    try:
        model, phase = choose_model(request.model), choose_phase(request)
        assert isinstance(phase, Train)
        away = {role: tier for role, tier in choose_place(request.place).pinned.items() if tier != main_home(system)}
        for role, tier in away.items():
            if role not in ("activations", "optimizer"):
                raise InputError(f"{role} in {tier}", "activations or optimizer", "place")
        setup = Setup(
            model, phase, request.global_batch or 1, formats=choose_formats(request, model, phase),
            exchange=request.context_exchange,  # type: ignore[arg-type]  # looked at by check_setup
            from_master=request.from_master, activations=away.get("activations"), optimizer=away.get("optimizer"),
        )  # fmt: skip
        check_values(setup, system)
    except InputError as error:
        name = _OPTIONS.get((error.field or "").partition(".")[0])
        raise error if name is None or error.file is not None else replace(error, field=name) from None
    return setup


def _head(found: Searched, setup: Setup, system: str) -> str:
    limit = "" if found.complete else "; the search ended early, and faster ones may exist"
    return (
        f"{setup.model.name}, train, {setup.global_batch:,} sequences of {setup.phase.context:,} tokens on "
        f"{system}: {found.divided:,} layouts divide, {found.fitting:,} fit by depths of recomputation, "
        f"{found.executed:,} executed{limit}\n"
    )


def _row(ranked: Ranked) -> dict[str, str]:
    result, phase = ranked.result, ranked.setup.phase
    again = {"none": "none"}.get(phase.checkpoint, "all" if phase.every == 1 else f"1 of {phase.every}")
    return {
        "layout": str(ranked.setup.parallel),
        "micro-batch": f"{phase.batch}",
        "recomputed": again,
        "step": seconds_text(result.latency_s),
        "MFU": f"{100 * result.mfu:.1f} %",
        "bubble": percent_text(result.bubble_share),
        "peak": bytes_text(result.peak_bytes),
    }


def _document(found: Searched, setup: Setup) -> dict[str, Any]:
    best = []
    for each in found.best:
        phase = each.setup.phase
        chosen = {"options": change_options(each.setup, setup), "checkpoint": phase.checkpoint, "every": phase.every}
        best.append(each.result.to_json() | chosen)
    return {
        "layouts": found.divided,
        "fitting": found.fitting,
        "executed": found.executed,
        "complete": found.complete,
        "best": best,
    }
