"""How fast allocation is: instances with a capacity, each in a process of its own, and rectangles cut into buffers.

Run with ``uv run python benchmarks/allocation.py FOLDER [--minimise SECONDS] [--json FILE]``. FOLDER holds MiniMalloc's
files NAME.CAPACITY.csv (google/minimalloc, benchmarks/challenging). "Whole" is a process from its start to its end,
"search" what planning itself took. The first line compiles when nothing is kept on disk; with ``--cold`` a fresh cache
makes sure of it. With ``--minimise`` the lowest peak is looked for in files where the capacity is not the bound.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from dse.reports.sections import with_part
from mappers.planner.allocation import AllocationProblem, Buffer, allocate

SIZES = (50, 100, 200, 400, 1000)
HEIGHT = 1000
CUT_LIMIT_S = 10.0


def whole(
    files: Sequence[Path], capacity: str | None, limit_s: float, environment: dict[str, str]
) -> tuple[float, dict[str, Any]]:
    """Seconds of one command from start to end, and its document."""
    options = ["--json", "--time-limit", str(limit_s), *(["--capacity", capacity] if capacity else [])]
    program = "import sys; from dse.cli import main; main()"
    command = [
        sys.executable,
        "-c",
        program,
        "plan",
        "allocate",
        *map(str, files),
        "--json",
        "--time-limit",
        str(limit_s),
    ]
    started = time.perf_counter()
    done = subprocess.run([*command, *options], capture_output=True, text=True, env=environment, check=False)
    return time.perf_counter() - started, json.loads(done.stdout)


def rectangle(seed: int, count: int, span: int, waste: float) -> AllocationProblem:
    """A rectangle cut into ``count`` buffers; a share ``waste`` of them loses a tenth of its size.

    The lowest peak is HEIGHT without waste, and at most HEIGHT with it.
    """
    draw = random.Random(seed)
    pieces = [(0, span, HEIGHT)]
    while len(pieces) < count:
        pieces.sort(key=lambda piece: (piece[1] - piece[0]) * piece[2])
        lower, upper, size = pieces.pop(draw.randrange(len(pieces) // 2, len(pieces)))
        if draw.random() < 0.5 and upper - lower >= 2:
            cut = draw.randint(lower + 1, upper - 1)
            pieces += [(lower, cut, size), (cut, upper, size)]
        elif size >= 2:
            cut = draw.randint(1, size - 1)
            pieces += [(lower, upper, cut), (lower, upper, size - cut)]
        else:
            pieces.append((lower, upper, size))
    draw.shuffle(pieces)
    shrunk = [(a, b, size - size // 10 if draw.random() < waste else size) for a, b, size in pieces]
    return AllocationProblem(f"cut {seed}", tuple(Buffer(f"b{i}", *piece) for i, piece in enumerate(shrunk)))


def instances(folder: Path, cold: bool) -> list[dict[str, Any]]:
    """Each file at the capacity in its name."""
    found = []
    files = sorted(folder.glob("*.*.csv"))
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, **({"NUMBA_CACHE_DIR": cache} if cold else {})}
        for file in files:
            seconds, result = whole([file], _capacity(file), 60.0, environment)
            keys = ("status", "peak_bytes", "lower_bound_bytes", "nodes", "seconds")
            found.append({"file": file.name, "whole_s": seconds, **{key: result[key] for key in keys}})
            print(
                f"{file.name:20s} {result['status']:15s} peak {result['peak_bytes']:>9,} bound "
                f"{result['lower_bound_bytes']:>9,} {result['nodes']:>9,} nodes  search {result['seconds']:5.2f} s"
                f"  whole {seconds:5.2f} s"
            )
    searched, started = sum(row["seconds"] for row in found), sum(row["whole_s"] for row in found)
    print(f"{'one by one':20s} search {searched:.2f} s, whole {started:.2f} s")
    with tempfile.TemporaryDirectory() as cache:
        environment = {**os.environ, **({"NUMBA_CACHE_DIR": cache} if cold else {})}
        seconds, _ = whole(files, _capacity(files[0]), 60.0, environment)
    print(f"{'in one command':20s} whole {seconds:.2f} s")
    return found


def _capacity(file: Path) -> str:
    return file.name.split(".")[1]


def cuts() -> list[dict[str, Any]]:
    """Rectangles with a known lowest peak: how many of five are put together again, and what the others need."""
    found = []
    for waste in (0.0, 0.3):
        for span in (200, 1000):
            for count in SIZES:
                rows = [
                    allocate(rectangle(seed, count, span, waste), HEIGHT, time_limit_s=CUT_LIMIT_S) for seed in range(5)
                ]
                solved = [row for row in rows if row.fits]
                worst = max((row.peak_bytes or 0) / HEIGHT for row in rows)
                row = {
                    "buffers": count,
                    "span": span,
                    "waste": waste,
                    "solved": len(solved),
                    "of": len(rows),
                    "worst": worst,
                    "seconds": [row.seconds for row in rows],
                }
                found.append(row)
                print(
                    f"cut into {count:4d} over {span:4d}, {waste:.0%} shrunk: {len(solved)} of {len(rows)} fit, "
                    f"highest {worst:.3f} of the height, longest {max(row.seconds for row in rows):.2f} s"
                )
    return found


def _part(rows: list[dict[str, Any]]) -> str:
    """The report's part."""
    lines = [
        "# Speed of the allocation planner",
        "",
        "MiniMalloc's challenging instances, each fitted into its capacity by a process of its own: the search's",
        "seconds, and the whole process's, start-up and loading of compiled code included, on two shared cores. Plans",
        "are verified. Regenerate: `uv run python benchmarks/allocation.py FOLDER --report reports/performance.md`,",
        "FOLDER holding the instances of google/minimalloc 9f5cf81.",
        "",
        "| instance | status | peak | bound | nodes | search s | process s |",
        "| --- | --- | --: | --: | --: | --: | --: |",
        *(
            f"| {row['file']} | {row['status'].replace('_', ' ')} | {row['peak_bytes']:,} | "
            f"{row['lower_bound_bytes']:,} | {row['nodes']:,} | {row['seconds']:.2f} | {row['whole_s']:.2f} |"
            for row in rows
        ),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print, and write if asked."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--minimise", type=float)
    parser.add_argument("--cuts", action="store_true")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--report", type=Path, help="put the report's part into this Markdown file")
    given = parser.parse_args()
    found: dict[str, Any] = {"instances": instances(given.folder, given.cold)}
    if given.minimise:
        found["minimised"] = {}
        for row in found["instances"]:
            if row["peak_bytes"] > row["lower_bound_bytes"]:
                _, result = whole([given.folder / row["file"]], None, given.minimise, dict(os.environ))
                found["minimised"][row["file"]] = result["peak_bytes"]
                print(f"{row['file']:20s} lowest {result['peak_bytes']:,} ({result['gap']:.2%} above the bound)")
    if given.cuts:
        found["cuts"] = cuts()
    if given.json:
        given.json.write_text(json.dumps(found, indent=2) + "\n")
    if given.report:
        before = given.report.read_text(encoding="utf-8") if given.report.exists() else ""
        given.report.write_text(with_part(before, _part(found["instances"])), encoding="utf-8")


if __name__ == "__main__":
    main()
