"""How long the mapper's search takes, beside AccelForge's times for the same problems, and how that grows with size.

Run with ``uv run python benchmarks/mapper.py [--quick] [--json FILE] [--report reports/performance.md]``. Every case
runs in a process of its own, on one core: after one small search, which loads the compiled code, the CPU time of one
search is taken. Nothing found for one case serves another. ``--report`` also draws the figures beside it.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Literal

import performance_report
from performance_report import Timing

from hw.spec.load import load_system
from hw.spec.load_hierarchy import load_hierarchy
from mappers.map_workload import OpMapper
from mappers.mapspace.constraints import Constraints
from mappers.mapspace.problem import cascade_problem
from mappers.search import search
from workloads.cascades.families import cascade_and_sizes
from workloads.models.catalogue import model
from workloads.models.lower import lower
from workloads.phases import Decode, Prefill

Tiles = Literal["divisor", "imperfect"]
OBJECTIVES = {"mapping-simple": "energy", "mapping-tpu-v4i": "edp"}


@dataclass(frozen=True, slots=True)
class Case:
    """A problem on a machine. ``peer_s``: CPU seconds of AccelForge at 1c1929c2 on two shared cores."""

    label: str
    cascade: str
    sizes: tuple[tuple[str, int], ...]
    machine: str
    tiles: Tiles = "divisor"
    fuse: bool = True
    peer_s: float | None = None
    long: bool = False


@dataclass(frozen=True, slots=True)
class ModelCase:
    """Every operation of a model, batch 1, on one H100."""

    label: str
    model: str
    phase: Literal["prefill", "decode"]
    context: int
    long: bool = False


def gemm(size: int) -> tuple[tuple[str, int], ...]:
    return (("m", size), ("n0", size), ("n1", size))


def chain(length: int) -> tuple[tuple[str, int], ...]:
    return (("m", 1024), ("n", 1024), ("length", length))


def attention(tokens: int) -> tuple[tuple[str, int], ...]:
    return (("b", 64), ("h", 12), ("e", 64), ("m", tokens), ("p", tokens))


PREFILL = (("b", 1), ("h", 96), ("e", 128), ("m", 2048))
DECODE = (("b", 1), ("h", 96), ("e", 128), ("p", 2047))
SIMPLE, TPU, ATTENTION, LAYER = "mapping-simple", "mapping-tpu-v4i", "attention-elementwise", "gpt-layer-10"
CASES = (
    Case("GEMM 1024³", "gemm", gemm(1024), SIMPLE, peer_s=0.3),
    Case("GEMM 1024³", "gemm", gemm(1024), SIMPLE, "imperfect", peer_s=1.2),
    Case("2 chained GEMMs 1024", "gemm-chain", chain(2), SIMPLE, peer_s=1.17),
    Case("2 chained GEMMs 1024", "gemm-chain", chain(2), SIMPLE, "imperfect"),
    Case("3 chained GEMMs 1024", "gemm-chain", chain(3), SIMPLE, peer_s=2.1),
    Case("3 chained GEMMs 1024", "gemm-chain", chain(3), SIMPLE, "imperfect"),
    Case("GEMM 4096³", "gemm", gemm(4096), TPU, peer_s=4.3),
    Case("GEMM 4096³", "gemm", gemm(4096), TPU, "imperfect", peer_s=10.7),
    Case("attention 1024, unfused", ATTENTION, attention(1024), TPU, fuse=False, peer_s=10.0),
    Case("attention 1024, fused", ATTENTION, attention(1024), TPU, peer_s=32.9),
    Case("attention 1024, fused", ATTENTION, attention(1024), TPU, "imperfect"),
    Case("attention 4096, unfused", ATTENTION, attention(4096), TPU, fuse=False, peer_s=9.1),
    Case("attention 4096, fused", ATTENTION, attention(4096), TPU, peer_s=32.7),
    Case("attention 4096, fused", ATTENTION, attention(4096), TPU, "imperfect", long=True),
    Case("GPT-3 layer, prefill 2048, unfused", LAYER, PREFILL, TPU, fuse=False, peer_s=76.0),
    Case("GPT-3 layer, prefill 2048, fused", LAYER, PREFILL, TPU, peer_s=307.0, long=True),
    Case("GPT-3 layer, prefill 2048, fused", LAYER, PREFILL, TPU, "imperfect", long=True),
    Case("GPT-3 layer, decode 2048, fused", f"{LAYER}-decode", DECODE, TPU, peer_s=120.0),
    Case("GPT-3 layer, decode 2048, fused", f"{LAYER}-decode", DECODE, TPU, "imperfect"),
)
MODELS = (
    ModelCase("Llama-3.1-70B, decode 2048", "Llama-3.1-70B", "decode", 2048),
    ModelCase("Llama-3.1-70B, prefill 8192", "Llama-3.1-70B", "prefill", 8192),
    ModelCase("Mixtral-8x7B, decode 2048", "Mixtral-8x7B", "decode", 2048),
    ModelCase("Mixtral-8x7B, prefill 8192", "Mixtral-8x7B", "prefill", 8192, long=True),
)
GROWTH: dict[str, tuple[tuple[int, Case], ...]] = {
    "GEMM n³, imperfect tiles, mapping-tpu-v4i": tuple(
        (n, Case(f"GEMM {n}³", "gemm", gemm(n), TPU, "imperfect", long=n > 2048))
        for n in (256, 512, 1024, 2048, 4096, 8192)
    ),
    "attention over n tokens, fused, divisors, mapping-tpu-v4i": tuple(
        (n, Case(f"attention {n}", ATTENTION, attention(n), TPU, long=n > 4096)) for n in (256, 1024, 4096, 16384)
    ),
    "chain of n GEMMs 1024, imperfect tiles, mapping-simple": tuple(
        (n, Case(f"{n} chained", "gemm-chain", chain(n), SIMPLE, "imperfect", long=n > 4)) for n in range(1, 7)
    ),
}  # fmt: skip


def load() -> float:
    """Seconds of a small search of another shape: compiled code is loaded, or made where it is not stored yet."""
    begin = time.process_time()
    cascade, sizes = cascade_and_sizes("gemm-chain", {"m": 24, "n": 24, "length": 2})
    search(cascade_problem(cascade, sizes), load_hierarchy(SIMPLE), objective="energy")
    return time.process_time() - begin


def timed(case: Case) -> Timing:
    loaded = load()
    cascade, sizes = cascade_and_sizes(case.cascade, dict(case.sizes))
    problem, machine = cascade_problem(cascade, sizes), load_hierarchy(case.machine)
    begin = time.process_time()
    found = search(
        problem, machine, objective=OBJECTIVES[case.machine], constraints=Constraints(fuse=case.fuse), tiles=case.tiles
    )
    seconds = time.process_time() - begin
    return Timing(
        case.label, case.machine, case.tiles, seconds, found.candidates, found.gap, loaded, case.peer_s
    )  # fmt: skip


def timed_model(case: ModelCase) -> Timing:
    """Least latency of each distinct shape, then least energy x delay among the equally fast: as ``map --model``."""
    loaded = load()
    system = load_system("h100-sxm")
    phase = (Prefill if case.phase == "prefill" else Decode)(1, case.context)
    workload, mapper = lower(model(case.model), phase, devices=system.devices), OpMapper(system)
    begin = time.process_time()
    results = [mapper(op).result for layer, _ in workload.layers() for op in layer.ops]
    seconds = time.process_time() - begin
    candidates = sum(found.candidates for found in mapper.results.values())
    gap = max((found.gap for found in results if found is not None), default=0.0)
    return Timing(case.label, system.name, "imperfect", seconds, candidates, gap, loaded)


def run(action: partial[Timing]) -> Timing:
    """``action`` in a fresh process; prints its row."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as alone:
        found = alone.submit(action).result()
    print(performance_report.line(found), flush=True)
    return found


def chosen(cases: Iterable[Case], quick: bool) -> list[Case]:
    return [case for case in cases if not (quick and case.long)]


def main() -> None:
    parser = argparse.ArgumentParser(description="Time the mapper's search.")
    parser.add_argument("--quick", action="store_true", help="leave out what takes more than a few seconds")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all timings")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write the report, figures beside it")
    options = parser.parse_args()
    print(performance_report.HEADING)
    cases = [run(partial(timed, case)) for case in chosen(CASES, options.quick)]
    models = [run(partial(timed_model, case)) for case in MODELS if not (options.quick and case.long)]
    growth = {
        name: [(n, run(partial(timed, case))) for n, case in points if not (options.quick and case.long)]
        for name, points in GROWTH.items()
    }
    if options.json is not None:
        document = {
            "cases": [asdict(found) for found in cases],
            "models": [asdict(found) for found in models],
            "growth": {name: [{"n": n, **asdict(found)} for n, found in points] for name, points in growth.items()},
        }
        options.json.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    if options.report is not None:
        performance_report.write(options.report, cases, models, growth, quick=options.quick)


if __name__ == "__main__":
    main()
