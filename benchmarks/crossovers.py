"""Where training's states and activations are worth moving: crossovers, best layouts, memory over time.

Run with ``uv run python benchmarks/crossovers.py [--quick] [--report reports/training.md]``; figures go beside the
report, into ``figures/``. ``--quick`` leaves the search for layouts out. Everything is at kernel fidelity.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from dse.reports.figures.crossovers import crossovers_figure
from dse.reports.figures.memory_over_time import MemoryPanel, memory_over_time_figure
from dse.reports.figures.style import svg_bytes
from hw.spec.load import load_system, override
from hw.spec.system import System
from simulator.training.layouts.search import Searched, best_layouts
from simulator.training.offload.crossover_curves import Answers, Question, Way, crossovers
from simulator.training.offload.update_crossovers import HOST_ADAM_SHARE
from simulator.training.step.layout import read_parallel
from simulator.training.step.memory_trace import trace_memory
from simulator.training.step.setup import Setup
from simulator.training.step.simulate import prepare_step, simulate_step
from workloads.models.catalogue import model
from workloads.models.counts import parameters
from workloads.models.flops import model_flops
from workloads.phases import Train

MODELS = ("Llama-2-7B", "Llama-2-13B", "Llama-2-70B")
MACHINES = ("a100-80gb-sxm", "h100-sxm")
SEARCHED = "Llama-3.1-70B"
TOKENS = 4 << 20
CONTEXTS = (8192, 131_072)
KEPT = 3
_DEPTHS = {1: "all layers", 2: "every second layer", 4: "every fourth layer"}
STEPS = (
    ("13B, tp=2, pp=4, dp=2, ZeRO 1: first stage", "tp=2,pp=4,dp=2,sp=1,zero=1", Train(1, 4096), 32),
    ("13B, dp=16, ZeRO 3, all recomputed", "dp=16,zero=3", Train(1, 4096, "full"), 64),
)
"""Title, layout, phase and sequences of the steps whose memory is drawn, on sixteen A100s."""


def main() -> None:
    """Print, or write report and figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="no search for layouts")
    parser.add_argument("--report", type=Path, help="write this Markdown file, and figures beside it")
    options = parser.parse_args()
    begin = time.perf_counter()
    found = {(name, machine): _answers(name, machine) for name in MODELS for machine in MACHINES}
    panels = list(_panels())
    best = {} if options.quick else {(m, c): _searched(m, c) for m in MACHINES for c in CONTEXTS}
    lines = [*_head(), *_crossovers(found), *_layouts(best), *_memory(panels)]
    lines += [f"All of it took {time.perf_counter() - begin:.0f} s."]
    if options.report is None:
        print("\n".join(lines))
        return
    options.report.write_text("\n".join(lines) + "\n")
    folder = options.report.parent / "figures"
    for (name, machine), answers in found.items():
        (folder / f"{_figure(name, machine)}.svg").write_bytes(svg_bytes(crossovers_figure(answers)))
    (folder / "training-memory.svg").write_bytes(svg_bytes(memory_over_time_figure(panels)))


def _answers(name: str, machine: str) -> Answers:
    return crossovers(Question(model(name), _devices(machine, 8), fidelity="kernel"))


def _devices(machine: str, count: int) -> System:
    return override(load_system(machine), (f"devices={count}",))


def _searched(machine: str, context: int) -> tuple[Searched, float]:
    setup = Setup(model(SEARCHED), Train(1, context), TOKENS // context)
    begin = time.perf_counter()
    return best_layouts(setup, _devices(machine, 64), fidelity="kernel", keep=KEPT), time.perf_counter() - begin


def _panels() -> Iterator[MemoryPanel]:
    system = _devices(MACHINES[0], 16)
    for title, layout, phase, batch in STEPS:
        setup = Setup(model("Llama-2-13B"), phase, batch, read_parallel(layout))
        ready = prepare_step(setup, system, fidelity="kernel")
        result = simulate_step(setup, system, fidelity="kernel", prepared=ready)
        trace = trace_memory(setup, ready.pieces, result.run, 0)
        yield MemoryPanel(title, trace, result.memory[0], trace.cached().reserved_bytes)


def _figure(name: str, machine: str) -> str:
    return f"training-crossovers-{name.split('-')[-1].lower()}-{machine.split('-')[0]}"


def _head() -> Iterable[str]:
    yield f"""\
# Training beyond a device's memory

Made by `python benchmarks/crossovers.py --report reports/training.md`: Python {platform.python_version()} on two shared
cores. Kernel fidelity: products and attention as they run on these machines alone. No number here was measured on
whole training steps; [studies.md](studies.md) has those that were.
"""


def _crossovers(found: dict[tuple[str, str], Answers]) -> Iterable[str]:
    yield """\
## When is moving worth it?

Eight devices of a node divide each layer by heads and columns, and what lies between by tokens; host memory and drives
are an eighth each. *Hides from*: the context from which all that layers keep leaves over the host's link during one
forward pass (MEMO's constraint, arXiv 2407.12117), one sequence at a time. Very short contexts, where kernels are held
up by launches and by weights, may hide as well: the context given is where hiding begins for good. Layers whose inputs
alone are kept (the rest is computed again) hide everywhere. *Full from*: the context at which a device's part of the
host's memory holds no more.

| model | machine | link GB/s | hides from | at the roofline | inputs alone | full from | drives hide from |
|---|---|---:|---:|---:|---:|---:|---:|"""
    for (name, machine), answers in found.items():
        host, drive = answers.host, answers.drive
        ways = Way("none", "kernel"), Way("none", "roofline"), Way("full", "kernel")
        cells = " | ".join(_tokens(host.hides_from[way]) for way in ways)
        drives = "none there" if drive is None else _tokens(drive.hides_from)
        full = _tokens(host.full_from[ways[0]], "never")
        yield f"| {name} | {machine} | {host.link_bytes_per_s / 1e9:.0f} | {cells} | {full} | {drives} |"
    yield """
Drives (eight PCI Express 4.0 ones of 3.8 GB/s of writes each) must take and return all in both passes (SSDTrain, arXiv
2408.10013). What they would need, at 8,192 tokens, by width (all else in proportion) and sequences at once; in brackets
the share that hides on the drives there are, empty where heads would not divide among eight:

| model | machine | sequences | half as wide | as it is | twice as wide | four times |
|---|---|---:|---:|---:|---:|---:|"""
    for (name, machine), answers in found.items():
        if answers.drive is None:
            continue
        hidden = answers.question.model.hidden
        for batch, points in answers.drive.by_width.items():
            needs = []
            for width in (hidden // 2, hidden, 2 * hidden, 4 * hidden):
                point = next((each for each in points if each.hidden == width), None)
                hides = 0.0 if point is None else min(1.0, 1 / point.ratio(answers.drive.write_bytes_per_s))
                needs.append("" if point is None else f"{point.needed_bytes_per_s() / 1e9:.1f} ({100 * hides:.0f} %)")
            yield f"| {name} | {machine} | {batch} | {' | '.join(needs)} |"
    yield f"""
The optimizer's states in host memory: who updates them? The host's processors use {100 * HOST_ADAM_SHARE:.0f} % of its
memory's rate (CPU-Adam, ZeRO-Offload, arXiv 2101.06840, table 4, as recalled; DeepSpeed's runs in the study of Deep
Optimizer States attain 44 % with four A100s and 33 % with four H100s). *Streamed* states go up, are updated by the
device and come back; interleaved ones go up every *stride*-th subgroup (arXiv 2410.21316; 1: the device does all).
Seconds of an update; the rate of a device's link from which streaming beats the processors, and of its part of the
host's memory from which processors beat streaming; tokens of a step from which the fastest way takes at most 5 % of
it. Where the host's memory is what holds all up, the device does all: a visit moves 24 bytes a parameter through it,
the host's update 30.

| model | machine | host | streamed | interleaved | stride | on the device | link GB/s | memory GB/s | tokens |
|---|---|---:|---:|---:|---:|---:|---:|---:|---:|"""
    for (name, machine), answers in found.items():
        update, times = answers.update, answers.update.times
        rates = [
            "never" if rate is None else f"{rate / 1e9:.1f}"
            for rate in (update.streaming_wins_from, update.host_wins_from)
        ]
        tokens = update.sequences["interleaved"] * answers.question.context
        yield (
            f"| {name} | {machine} | {times.host_s:.2f} | {times.streamed_s:.2f} | {times.interleaved_s:.2f} | "
            f"{times.stride or 'host alone'} | {times.resident_s:.3f} | {' | '.join(rates)} | {tokens:,} |"
        )
    yield ""
    yield "All curves, against context, width, batch, link and host memory (`tiercade plan crossover` draws them for"
    yield "any model and machine):"
    yield ""
    for name, machine in found:
        yield f"![Crossovers of {name} on {machine}](figures/{_figure(name, machine)}.svg)"
        yield ""


def _tokens(context: int | None, none: str = "not to 1 Mi") -> str:
    if context is None:
        return none
    return "everywhere" if context <= 1024 else f"{context:,}"


def _layouts(best: dict[tuple[str, int], tuple[Searched, float]]) -> Iterable[str]:
    if not best:
        return
    yield f"""\
## The best layouts of {SEARCHED} on 64 devices

Steps of {TOKENS:,} tokens. All degrees that divide are tried (`tiercade plan layout`), with every micro-batch, chunks
and depth of recomputation; these are the {KEPT} fastest that fit. *Bubble*: the share of the time in which the mean
stage waits. *MFU* counts attention without its causal mask, as is the custom: {_more(CONTEXTS[0])} more than is
computed at {CONTEXTS[0]:,} tokens and {_more(CONTEXTS[1])} at {CONTEXTS[1]:,}. Nothing of a device's memory is set
aside for a framework or for fragmentation.

| machine | context | layout | micro-batch | recomputed | step s | MFU % | bubble % | peak GiB |
|---|---:|---|---:|---|---:|---:|---:|---:|"""
    for (machine, context), (searched, _) in best.items():
        for ranked in searched.best:
            setup, result = ranked.setup, ranked.result
            depth = "nothing" if setup.phase.checkpoint == "none" else _DEPTHS[setup.phase.every]
            yield (
                f"| {machine} | {context:,} | {setup.parallel} | {setup.phase.batch} | {depth} | "
                f"{result.latency_s:.2f} | {100 * result.mfu:.1f} | {100 * result.bubble_share:.1f} | "
                f"{result.peak_bytes / 2**30:.1f} |"
            )
    yield """
| machine | context | layouts that divide | fit, by recomputation | executed | proved | s |
|---|---:|---:|---:|---:|---|---:|"""
    for (machine, context), (searched, seconds) in best.items():
        yield (
            f"| {machine} | {context:,} | {searched.divided:,} | {searched.fitting:,} | {searched.executed:,} | "
            f"{'yes' if searched.complete else 'no'} | {seconds:.0f} |"
        )
    yield ""


def _more(context: int) -> str:
    """By how much operations that are counted exceed those that a causal mask leaves."""
    counted = model_flops(model(SEARCHED), 1, context)
    attention = counted - 6 * context * parameters(model(SEARCHED)).active
    return f"{100 * (counted / (counted - attention / 2) - 1):.0f} %"


def _memory(panels: list[MemoryPanel]) -> Iterable[str]:
    yield """\
## Memory over time

What a device asks its allocator for, operation by operation (`simulator/training/step/memory_trace.py`), beside the
inventory by which layouts are said to fit, and what a caching allocator with PyTorch's rules reserves. The inventory
adds peaks that need not coincide and knows no fragmentation.

| step | held at most GB | inventory | caching allocator | unused of it |
|---|---:|---:|---:|---:|"""
    for panel in panels:
        peak, reserved = panel.trace.peak_bytes, panel.reserved_bytes
        yield (
            f"| {panel.title} | {peak / 1e9:.2f} | {panel.memory.total / 1e9:.2f} | {reserved / 1e9:.2f} | "
            f"{100 * (1 - peak / reserved):.1f} % |"
        )
    yield ""
    yield "![Memory of a device over a step](figures/training-memory.svg)"
    yield ""


if __name__ == "__main__":
    main()
