"""How fast a request trace is served: requests, steps and events per second of processor time, beside the slow twin.

Run with ``uv run python benchmarks/serving.py [--trace FILE] [--json FILE] [--report reports/performance.md]``. Without
a trace, requests like those of the Azure conversation trace of 2023 are drawn, as many as it has (19,366). Llama-2-70B
on four A100, tensor parallel. Costs of steps are worked out anew in every run; reading the trace and the machine is
left out.
"""

from __future__ import annotations

import argparse
import json
import platform
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from dse.reports.sections import with_part
from hw.spec.load import load_system
from simulator.serving.cost import step_cost
from simulator.serving.engine import first_requests, serve
from simulator.serving.golden import golden_serve
from simulator.serving.kv.choice import kv_capacity_bytes, kv_memory
from simulator.serving.kv.memory import KvMemory
from simulator.serving.kv.sizes import kv_sizes
from simulator.serving.parallel import Parallel
from simulator.serving.scheduler import Scheduler
from simulator.serving.step import StepCost
from workloads.models.catalogue import model
from workloads.traces.named import requests_of
from workloads.traces.requests import RequestTrace

_TWIN_REQUESTS = 1000
CASES = (
    ("chunked", "roofline", 1.0),
    ("chunked", "kernel", 1.0),
    ("prefill-first", "roofline", 1.0),
    ("static", "roofline", 1.0),
    ("chunked", "roofline", 0.5),
)
"""Scheduler, fidelity, and the arrivals' rate over the trace's own, which is more than such a machine can serve."""


def _machine() -> tuple[Callable[[str], StepCost], Callable[[], KvMemory]]:
    llama = model("llama-2-70b")
    system = load_system("a100-80gb-sxm").model_copy(update={"devices": 4})
    sizes, room = kv_sizes(llama, devices=4), kv_capacity_bytes(llama, system)
    return (
        lambda fidelity: step_cost(llama, system, parallel=Parallel(tensor=4), fidelity=fidelity),
        lambda: kv_memory("paged:16", sizes, system, room),
    )


def _slower(trace: RequestTrace, rate: float) -> RequestTrace:
    return replace(trace, arrival_s=trace.arrival_s / rate)


def _measure(run: Callable[[], tuple[int, int]], requests: int) -> dict[str, float]:
    """``run`` returns steps and events."""
    begun_s = time.process_time()
    steps, events = run()
    cpu_s = time.process_time() - begun_s
    return {
        "cpu_s": cpu_s,
        "requests": requests,
        "requests_per_s": requests / cpu_s,
        "steps_per_s": steps / cpu_s,
        "events_per_s": events / cpu_s,
    }


def _measured(trace: RequestTrace) -> dict[str, dict[str, float]]:
    costs, memory = _machine()
    found = {}
    for batching, fidelity, rate in CASES:
        arrivals = _slower(trace, rate)

        def whole(
            batching: str = batching, fidelity: str = fidelity, arrivals: RequestTrace = arrivals
        ) -> tuple[int, int]:
            result = serve(arrivals, costs(fidelity), memory(), Scheduler(batching))
            return result.steps, result.events

        found[f"{batching}, {fidelity}, {rate:g} of the rate"] = _measure(whole, len(trace))
    few = _slower(first_requests(trace, _TWIN_REQUESTS), 0.5)

    def fast() -> tuple[int, int]:
        result = serve(few, costs("roofline"), memory(), Scheduler())
        return result.steps, result.events

    def slow() -> tuple[int, int]:
        run = golden_serve(few, costs("roofline"), memory(), Scheduler())
        return run.steps, run.steps

    for name, run in (("engine", fast), ("twin", slow)):
        found[f"{name}, the first {len(few)} requests"] = _measure(run, len(few))
    return found


def _part(name: str, found: dict[str, dict[str, float]]) -> str:
    rows = [
        f"| {case} | {row['cpu_s']:.1f} | {row['requests_per_s']:,.0f} | {row['steps_per_s']:,.0f} "
        f"| {row['events_per_s']:,.0f} |"
        for case, row in found.items()
    ]
    lines = [
        "# Speed of serving",
        "",
        f"{name} on Llama-2-70B, four A100, tensor parallel, 128 sequences at most: seconds of processor time",
        "on one core with all costs of steps; 10 were aimed at for the whole trace. At the trace's own rate the queue",
        "grows to the end; at half of it the machine keeps up. The twin runs every step by itself and looks through",
        f"all requests each time. Python {platform.python_version()} on two shared cores: figures vary by a quarter.",
        "Regenerate with `uv run python benchmarks/serving.py --report reports/performance.md`.",
        "",
        "| case | CPU s | requests per s | steps per s | events per s |",
        "| --- | --: | --: | --: | --: |",
        *rows,
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trace", default="azure-conversation-like", help="a file, or NAME-like[:N][@RATE]")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--report", type=Path, help="put the report's part into this Markdown file")
    given = parser.parse_args()
    trace = requests_of(given.trace)
    found = _measured(trace)
    for case, row in found.items():
        rates = ", ".join(f"{row[f'{what}_per_s']:,.0f} {what}/s" for what in ("requests", "steps", "events"))
        print(f"{case:45s} {row['cpu_s']:6.2f} CPU s  {rates}")
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")
    if given.report:
        before = given.report.read_text(encoding="utf-8") if given.report.exists() else ""
        given.report.write_text(with_part(before, _part(trace.name, found)), encoding="utf-8")


if __name__ == "__main__":
    main()
