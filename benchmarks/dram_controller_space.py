"""The DRAM-controller space, all of it: ground truth and what engines miss of it, written into a report.

Run with ``python benchmarks/dram_controller_space.py --report reports/exploration.md [--workers 2]``. It sweeps 442,368
designs on each trace (some three minutes of processor time in all), keeps the ground truth in
`dse.dram_controller.truth`, and then runs every engine from every seed (some fifteen). ``--kept`` takes the ground
truth as it is kept; ``--quick`` does too, and has two seeds and at most 1,000 designs. ``--long`` names the traces on
which engines propose up to 10,000 designs, by default all; on others they propose 1,000.
"""

from __future__ import annotations

import argparse
import platform
import sys
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from dse.dram_controller.published import compared
from dse.dram_controller.regret import ENGINES, OBJECTIVES, Known, RegretRow, encoded_codec, regrets
from dse.dram_controller.sweep import Swept, sweep
from dse.dram_controller.truth import front_rows, ground_truth, space_of, write_front, write_quantiles, write_truth
from dse.reports.figures.dram_regret import dram_regret_figure, dram_space_figure
from dse.reports.figures.style import svg_bytes
from simulator.memory.dram.queued_traces import TRACES

_BUDGETS = (100, 1_000, 10_000)
_POINTS = 13
_OBJECTIVE_NAMES = {"power": "power", "latency": "latency", "both": "power × latency"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", type=Path, help="Markdown file to write; figures go into figures/ beside it")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--long", default=",".join(TRACES))
    parser.add_argument("--kept", action="store_true")
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    seeds = min(options.seeds, 2) if options.quick else options.seeds
    known = _truths(options.workers, kept=options.kept or options.quick)
    long = [] if options.quick else options.long.split(",")
    with ProcessPoolExecutor(options.workers, mp_context=get_context("spawn")) as pool:
        found = {trace: pool.submit(_regrets, trace, seeds, 10_000 if trace in long else 1_000) for trace in known}
        rows = {trace: future.result() for trace, future in found.items()}
    command = " ".join(["python benchmarks/dram_controller_space.py", *sys.argv[1:]])
    lines = list(_report(known, rows, seeds, command))
    if options.report is None:
        print("\n".join(lines))
        return
    figures = options.report.parent / "figures"
    figures.mkdir(parents=True, exist_ok=True)
    (figures / "dram-space.svg").write_bytes(svg_bytes(dram_space_figure(known)))
    for trace, own in rows.items():
        (figures / f"dram-regret-{trace}.svg").write_bytes(svg_bytes(dram_regret_figure(own, trace)))
    options.report.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _truths(workers: int, *, kept: bool) -> dict[str, Known]:
    known = {}
    for trace in TRACES:
        if not kept:
            swept: Swept = sweep(space_of(trace), workers=workers, progress=_progress(trace))
            write_truth(trace, swept)
            write_front(trace, Known(swept))
        known[trace] = ground_truth(trace)
    if not kept:
        write_quantiles(known)
    return known


def _progress(trace: str) -> Callable[[int, int], None]:
    def told(done: int, total: int) -> None:
        print(f"\r{trace}: {done} of {total} groups", end="" if done < total else "\n", file=sys.stderr, flush=True)

    return told


def _regrets(trace: str, seeds: int, most: int) -> list[RegretRow]:
    between = np.geomspace(10, most, _POINTS).round().astype(int).tolist()
    budgets = sorted({*between, *(budget for budget in _BUDGETS if budget <= most)})

    def told(engine: str, objective: str, seed: int) -> None:
        if seed == seeds - 1:
            print(f"{trace}: {engine}, {objective}", file=sys.stderr, flush=True)

    return regrets(ground_truth(trace), list(ENGINES), OBJECTIVES, budgets, range(seeds), progress=told)


def _report(known: dict[str, Known], rows: dict[str, list[RegretRow]], seeds: int, command: str) -> Iterable[str]:
    codec = next(iter(known.values())).swept.codec
    yield f"""\
# Exploration: the DRAM-controller space, all of it

Made by `{command}`: Python
{platform.python_version()} on two shared cores. The space is that of ArchGym (arXiv 2306.08888) and of multi-agent
design-space exploration (arXiv 2211.16385): ten settings of DRAMSys's controller, {codec.product:,} combinations,
{codec.size:,} of them different designs (limits of refresh without refresh, and of active transactions with the arbiter
that has none, play no part). The controller is our own, with DRAMSys's rules (`simulator/memory/dram/queued.py`), on
the same DDR3-1600 module. *Latency* is what these papers call so: the total time of the trace.
"""
    yield from _published()
    yield from _truth(known)
    yield from _regret(known, rows, seeds)


def _published() -> Iterable[str]:
    found = compared()
    times = [ours / row.total_s - 1 for row, ours, _ in found]
    energies = [ours / row.energy_j - 1 for row, _, ours in found]
    exact = sum(abs(off) < 5e-8 for off in times)
    worst = 100 * max(map(abs, times))
    yield f"""\
## Beside DRAMSys

ArchGym's example data has {len(found)} different outcomes of DRAMSys on a stream of 10,000 reads
(`dse/dram_controller/published.py`). Our total time is the same, to the digits given, in {exact} of them and at most
{worst:.6f} % away; energy at most {100 * max(map(abs, energies)):.3f} %. No constant is fitted. One rule was looked for
because of four of these rows, which were up to 0.024 % away, and found in DRAMSys's history: in its versions of then, a
command that is due in the very tick in which a refresh is forced still goes.
"""
    yield "| page | scheduler | buffer | responses | refresh | arbiter | DRAMSys µs | ours | DRAMSys µJ | ours |"
    yield "|---|---|---|---|---|---|---|---|---|---|"
    for row, total_s, energy_j in found:
        c = row.controller
        refresh = c.refresh if c.refresh == "NoRefresh" else f"{c.refresh} {c.max_postponed}/{c.max_pulled_in}"
        arbiter = c.arbiter if c.arbiter == "Simple" else f"{c.arbiter} {c.max_active}"
        yield (
            f"| {c.page} | {c.scheduler} | {c.buffer} {c.buffer_size} | {c.responses} | {refresh} | {arbiter} | "
            f"{row.total_s * 1e6:.5f} | {total_s * 1e6:.5f} | {row.energy_j * 1e6:.3f} | {energy_j * 1e6:.3f} |"
        )
    yield ""


def _truth(known: dict[str, Known]) -> Iterable[str]:
    yield """\
## The ground truth

Traces of 10,000 requests, one a clock (`simulator/memory/dram/queued_traces.py`; synthetic, of the kinds of ArchGym's).
Designs whose runs must come out the same are run once: a run tells with which smaller limits it would have gone the
same way. Kept whole in `dse/dram_controller/ground_truth/`, with fronts and quantiles as CSV.

| trace | runs | different outcomes | front | power W | latency µs | best reward: power | latency | both |
|---|---|---|---|---|---|---|---|---|"""
    for trace, one in known.items():
        swept = one.swept
        different = len(np.unique(np.stack([swept.total_s, swept.energy_j], axis=1), axis=0))
        best = " | ".join(f"{one.rewards[name].max():.4g}" for name in OBJECTIVES)
        yield (
            f"| {trace} | {swept.runs:,} | {different:,} | {len(front_rows(one))} | "
            f"{swept.power_w.min():.3f} – {swept.power_w.max():.3f} | "
            f"{swept.total_s.min() * 1e6:.1f} – {swept.total_s.max() * 1e6:.1f} | {best} |"
        )
    yield ""
    yield "![All designs by power and total time](figures/dram-space.svg)"
    yield ""


def _regret(known: dict[str, Known], rows: dict[str, list[RegretRow]], seeds: int) -> Iterable[str]:
    codec = next(iter(known.values())).swept.codec
    encoded = encoded_codec(codec)
    yield f"""\
## True regret of engines

Rewards are ArchGym's: target / |observed − target|, 1 W and 0.1 ms, at most 1,000, and the product for both; they are
highest *at* the targets. Regret is 1 − best reward found / best there is: mean ± deviation over {seeds} seeds. Engines
are ours (`tiercade explore --engine`), told the reward in batches of 50, and propose no design twice: *random*; *ga*,
genetic search told the one reward; *nsga2*, told power and latency apart; *agent*, one cross-entropy agent for all
settings; *agents*, one policy-gradient agent for each.

ArchGym's encoder of continuous actions, used by its single agent and its continuous multi-agent formulation but not by
the discrete one, reaches {encoded.product:,} of {codec.product:,} combinations ({encoded.size:,} designs). *Reach* is
the regret of the best of them, which no engine behind it goes below.
"""
    for trace, own in rows.items():
        yield f"### {trace}"
        yield ""
        yield from _table(own)
        yield ""
        yield f"![Regret on {trace}](figures/dram-regret-{trace}.svg)"
        yield ""


def _table(rows: Sequence[RegretRow]) -> Iterable[str]:
    budgets = [budget for budget in _BUDGETS if any(row.budget == budget for row in rows)]
    found = {(row.engine, row.objective, row.budget): row for row in rows}
    heads = [f"{_OBJECTIVE_NAMES[name]}, {budget:,}" for name in OBJECTIVES for budget in budgets]
    yield f"| engine | {' | '.join(heads)} |"
    yield "|---" * (len(heads) + 1) + "|"
    for engine in ENGINES:
        cells = []
        for objective in OBJECTIVES:
            for budget in budgets:
                row = found[engine, objective, budget]
                cells.append(f"{row.regret:.3f} ± {row.deviation:.3f}")
        yield f"| {engine} | {' | '.join(cells)} |"
    reach = []
    for objective in OBJECTIVES:
        floor = next(row.floor for row in rows if row.engine.endswith("faulty encoder") and row.objective == objective)
        reach += [f"{floor:.3f}", *[""] * (len(budgets) - 1)]
    yield f"| *reach* | {' | '.join(reach)} |"


if __name__ == "__main__":
    main()
