"""How long a whole-model estimate takes, and what skipping the steady state saves.

Run with ``uv run python benchmarks/whole_model.py``. Prints milliseconds per estimate after import, and for each model
the ratio of unrolled execution to execution with the steady state skipped, in the same process.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from hw.spec.load import load_system
from mappers.planner.placement import plan_memory
from mappers.roofline import roofline_workload
from simulator.engine import execute
from simulator.road import simulate
from simulator.schedule import schedule
from workloads.models.catalogue import model
from workloads.models.lower import lower
from workloads.phases import Decode

CASES = (
    ("Llama-3.1-8B", "h100-sxm"),
    ("Llama-3.1-70B", "rtx-4090"),
    ("Llama-3.1-405B", "rtx-4090"),
    ("DeepSeek-V3", "laptop-nvme"),
    ("gpt-oss-120b", "rtx-4090"),
)
ROUNDS = 5


def fastest_s(action: Callable[[], object]) -> float:
    """Least time of a few rounds: the others were disturbed."""
    times = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        action()
        times.append(time.perf_counter() - begin)
    return min(times)


def main() -> None:
    print(f"{'model':16} {'machine':12} {'estimate ms':>12} {'execute ms':>11} {'unrolled / skipped':>19}")
    for name, machine in CASES:
        loaded, system, phase = model(name), load_system(machine), Decode(1, 2048)
        mapped = roofline_workload(lower(loaded, phase), system)
        graph = schedule(mapped, plan_memory(mapped, system), system).graph
        whole = fastest_s(lambda: simulate(loaded, phase, system))  # noqa: B023 - called at once
        skipped = fastest_s(lambda: execute(graph))  # noqa: B023
        unrolled = fastest_s(lambda: execute(graph, unroll=True))  # noqa: B023
        ratio = unrolled / skipped
        print(f"{name:16} {machine:12} {whole * 1e3:12.1f} {skipped * 1e3:11.1f} {ratio:19.1f}")


if __name__ == "__main__":
    main()
