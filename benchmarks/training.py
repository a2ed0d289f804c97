"""How long training steps and their search take, and constants of steps fitted to published ones.

Run with ``uv run python benchmarks/training.py [--quick] [--json FILE] [--report reports/performance.md]``. Times are
CPU seconds on one core. Factors on kernels and the contention of exchanges with them are fitted to every third of the
steps of `studies/published/mosaic_fsdp.py`, least mean of |ln(simulated / published)|, and held to the others.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import performance_report
from numpy.typing import NDArray
from scipy.optimize import minimize

from hw.spec.load import load_system, override
from simulator.interconnect.groups import fabric_rate
from simulator.training.layouts.search import best_layouts
from simulator.training.pipeline.execution import run_pipeline, stage_times
from simulator.training.pipeline.schedules import make_schedule
from simulator.training.step.exchange import piece_exchanges
from simulator.training.step.layout import Parallel, read_parallel
from simulator.training.step.setup import Setup
from simulator.training.step.simulate import simulate_step
from studies.mosaic_fsdp import STUDY, kernel_class, prepared_of, setup_of, stated_factors
from studies.published.mosaic_fsdp import CALIBRATES, ROWS
from workloads.models.catalogue import model
from workloads.models.flops import model_flops
from workloads.phases import Train

__all__ = ["CLASSES", "Fit", "Timing"]

CLASSES = ("gemm", "forward", "backward", "other")
ARCHITECTURES = {"ampere": ("a100-80gb-sxm", "a100-40gb-sxm"), "hopper": ("h100-sxm",)}
_PEAK = {"ampere": 312e12, "hopper": 989.4e12}
_PULL = 0.002
"""Of each factor's logarithm towards 1, where rows say nothing of it."""

Features = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Fit:
    """Fitted factors on kernels by class, contention, and errors on the rows fitted to and on the others."""

    architecture: str
    what: str
    factors: dict[str, float]
    contention: float
    fitted: int
    error: float
    held_out: int
    held_out_error: float


@dataclass(frozen=True, slots=True)
class Timing:
    """CPU seconds of ``what``, and how much of it there was."""

    what: str
    amount: str
    cpu_s: float


def features() -> tuple[list[str], Features]:
    """By row: its architecture; seconds of a step's kernels by class, with stated factors, of what it sends at the
    fabric's rate, of the update, and as published. Exchanges are taken to hide behind kernels."""
    names, rows = [], []
    for some, mfu in ROWS:
        config = STUDY.config(some)
        gpu, setup, passes = str(config["gpu"]), setup_of(config), prepared_of(config)
        architecture = next(name for name, gpus in ARCHITECTURES.items() if gpu in gpus)
        stated = stated_factors(gpu)
        count = setup.micro_batches
        sums = dict.fromkeys(CLASSES, 0.0)
        pieces = passes.pieces
        found = (pieces.embedding, *pieces.layers, pieces.head)
        for piece in found:
            for layer in {piece.forward.name, piece.backward.name}:
                for op in passes.mapped.layers[layer].ops.values():
                    kind = kernel_class(op)
                    sums[kind] += count * stated.get(kind, 1.0) * op.time_s
        system = override(load_system(gpu), (f"devices={setup.parallel.devices}",))
        exchanges = piece_exchanges(pieces, setup.parallel, system)
        sent = count * sum(2 * exchanges[p.name].gather_bytes + exchanges[p.name].scatter_bytes for p in found)
        update = sum(passes.costs[p.name].update_s for p in found) / setup.parallel.devices
        work = model_flops(setup.model, setup.global_batch, setup.phase.context) / setup.parallel.devices
        names.append(architecture)
        rows.append([*sums.values(), sent / fabric_rate(system), update, work / mfu / _PEAK[architecture]])
    return names, np.array(rows)


def fit(names: Sequence[str], rows: Features, architecture: str, *, kernels: bool) -> Fit:
    """Contention alone, or with factors on ``kernels``."""
    at = np.array([name == architecture for name in names])
    third = np.arange(len(rows)) % CALIBRATES == 0
    parts = len(CLASSES)

    def ratio(logs: NDArray[np.float64], some: Features) -> NDArray[np.float64]:
        powers = np.exp(np.array([*(logs[1:] if kernels else np.zeros(parts)), logs[0], 0.0]))
        return np.asarray(some[:, :-1] @ powers / some[:, -1])

    def loss(logs: NDArray[np.float64], some: Features) -> float:
        return float(np.abs(np.log(ratio(logs, some))).mean() + _PULL * np.abs(logs).mean())

    count = 1 + parts * kernels
    starts = np.random.default_rng(0).normal(size=(6, count)) * 0.3
    settings = {"maxiter": 20_000, "maxfev": 20_000, "xatol": 1e-4, "fatol": 1e-7}
    runs = [minimize(loss, start, (rows[at & third],), "Nelder-Mead", options=settings) for start in starts]
    best = min(runs, key=lambda run: run.fun).x
    errors = [np.abs(ratio(best, rows[at & some]) - 1).mean() for some in (third, ~third)]
    factors = np.exp(best[1:]) if kernels else np.ones(parts)
    return Fit(
        architecture,
        "kernels and contention" if kernels else "contention",
        {name: round(float(value), 3) for name, value in zip(CLASSES, factors, strict=True)},
        round(float(np.exp(best[0])), 3),
        int((at & third).sum()),
        float(errors[0]),
        int((at & ~third).sum()),
        float(errors[1]),
    )


def timed(what: str, amount: str, action: Callable[[], object]) -> Timing:
    """``action``: the least of three, after one that loads compiled code."""
    action()
    times = []
    for _ in range(3):
        begin = time.process_time()
        action()
        times.append(time.process_time() - begin)
    return Timing(what, amount, min(times))


def timings(*, quick: bool) -> list[Timing]:
    """A long step, schedules of many stages, a search."""
    large = model("llama-3.1-70b")
    setup = Setup(large, Train(1, 131_072, "full"), 16, read_parallel("tp=8,cp=8,zero=1,sp=1"), exchange="ring")
    system = override(load_system("h100-sxm"), ("devices=64",))
    amount = "131,072 tokens on 64 devices, 16 micro-batches"
    found = [
        timed(f"step of Llama-3.1-70B, {each}", amount, partial(simulate_step, setup, system, fidelity=each))
        for each in ("roofline", "kernel")
    ]
    stages = 100 if quick else 1000
    for name in ("1f1b", "zb-h1"):
        schedule = make_schedule(name, stages, 2 * stages)
        rows = [[1.0]] * stages
        if schedule.split:
            times = stage_times(stages, 1, forward_s=rows, backward_s=rows, weight_s=rows)
        else:
            times = stage_times(stages, 1, forward_s=rows, backward_s=[[2.0]] * stages)
        amount = f"{stages:,} stages, {2 * stages:,} micro-batches, {schedule.kind.size:,} passes"
        found.append(timed(f"schedule {name} run", amount, partial(run_pipeline, schedule, times)))
    asked = Setup(large, Train(1, 8192, "full"), 64, Parallel())
    begin = time.process_time()
    searched = best_layouts(asked, system)
    taken = time.process_time() - begin
    amount = f"64 devices: {searched.divided:,} layouts divide, {searched.fitting:,} with recomputation fit"
    found.append(Timing("search of layouts, Llama-3.1-70B", f"{amount}, {searched.executed:,} executed", taken))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--quick", action="store_true", help="shorter schedules")
    parser.add_argument("--json", type=Path, metavar="FILE")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the training part of this report")
    options = parser.parse_args()
    names, rows = features()
    fits = [fit(names, rows, each, kernels=kernels) for kernels in (False, True) for each in ARCHITECTURES]
    times = timings(quick=options.quick)
    print(performance_report.training_text(times, fits))
    if options.json:
        document = {"times": [asdict(each) for each in times], "fits": [asdict(each) for each in fits]}
        options.json.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
    if options.report:
        performance_report.write_training(options.report, times, fits)


if __name__ == "__main__":
    main()
