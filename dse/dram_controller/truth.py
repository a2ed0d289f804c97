"""The ground truth of the DRAM-controller space as it is kept: every design on each trace, fronts and quantiles.

``ground_truth/`` holds, for each trace, all 442,368 designs (``TRACE.npz.xz``: the different outcomes, and the number
of the outcome of each design), the front of power and total time (``TRACE-front.csv``), and the quantiles of all traces
(``quantiles.csv``). `python benchmarks/dram_controller_space.py` makes them.
"""

from __future__ import annotations

import csv
import io
import lzma
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.dram_controller.regret import OBJECTIVES, Known
from dse.dram_controller.sweep import Swept
from dse.explore.front import front_places
from dse.space.space import Space, load_space
from simulator.memory.dram.queued_traces import TRACES
from workloads.errors import unknown_name

__all__ = ["QUANTILES", "front_rows", "front_table", "ground_truth", "quantile_rows", "quantile_table", "space_of"]
__all__ += ["write_front", "write_quantiles", "write_truth"]

_FOLDER = Path(__file__).parent / "ground_truth"
_SPACE = "dram-controller"
QUANTILES = (0.0, 0.01, 0.05, 0.1, 0.25, 0.5, 0.75, 0.9, 0.95, 0.99, 1.0)

Row = dict[str, Any]


def space_of(trace: str) -> Space:
    """The bundled space on that trace. Raises `InputError` for an unknown one."""
    if trace not in TRACES:
        raise unknown_name("trace", trace, TRACES, field="trace")
    space = load_space(_SPACE)
    return space.model_copy(update={"base": space.base.model_copy(update={"trace": trace})})


@lru_cache(maxsize=len(TRACES))
def ground_truth(trace: str) -> Known:
    """Every design of the space on that trace, as it is kept. Raises `InputError` for an unknown one."""
    space = space_of(trace)
    with np.load(io.BytesIO(lzma.decompress((_FOLDER / f"{trace}.npz.xz").read_bytes()))) as file:
        outcomes, outcome, runs = file["outcomes"], file["outcome"], int(file["runs"])
    total_s, latency_s, energy_j = (np.ascontiguousarray(outcomes[outcome, at]) for at in range(3))
    return Known(Swept(space.codec, total_s, latency_s, energy_j, runs))


def write_truth(trace: str, swept: Swept, folder: Path = _FOLDER) -> Path:
    """Keep a sweep; equal sweeps make equal files."""
    table = np.stack([swept.total_s, swept.latency_s, swept.energy_j], axis=1)
    outcomes, outcome = np.unique(table, axis=0, return_inverse=True)
    held = io.BytesIO()
    np.savez(held, outcomes=outcomes, outcome=outcome.reshape(-1).astype(np.uint16), runs=np.array(swept.runs))
    file = folder / f"{trace}.npz.xz"
    file.write_bytes(lzma.compress(held.getvalue(), preset=9))
    return file


def front_rows(known: Known) -> list[Row]:
    """The designs that no other beats in both power and total time, by power; ``designs`` have the very outcome of
    each, of which the one with the lowest ordinal stands here with its parameters."""
    swept = known.swept
    points = np.stack([swept.power_w, swept.total_s], axis=1)
    rows = []
    for place in front_places(points).tolist():
        same = (swept.total_s == swept.total_s[place]) & (swept.energy_j == swept.energy_j[place])
        first = int(np.flatnonzero(same)[0])
        named = swept.codec.named(swept.codec.decode(np.array([first]))[0])
        numbers = {"ordinal": first, "designs": int(same.sum()), **_numbers(known, first)}
        rows.append({**numbers, **named})
    return rows


def _numbers(known: Known, place: int) -> Row:
    swept = known.swept
    return {
        "power_w": float(f"{swept.power_w[place]:.6g}"),
        "total_us": float(f"{swept.total_s[place] * 1e6:.8g}"),
        "latency_ns": float(f"{swept.latency_s[place] * 1e9:.6g}"),
        "energy_uj": float(f"{swept.energy_j[place] * 1e6:.8g}"),
    }


def quantile_rows(trace: str, known: Known) -> list[Row]:
    """Of power, total time, mean latency, energy and each reward over all 442,368 combinations: `QUANTILES`."""
    swept = known.swept
    columns: dict[str, NDArray[np.float64]] = {
        "power_w": swept.power_w,
        "total_us": swept.total_s * 1e6,
        "latency_ns": swept.latency_s * 1e9,
        "energy_uj": swept.energy_j * 1e6,
        **{f"reward_{name}": known.rewards[name] for name in OBJECTIVES},
    }
    rows = []
    for name, values in columns.items():
        found = np.quantile(values, QUANTILES)
        pairs = {f"q{100 * q:g}": float(f"{v:.8g}") for q, v in zip(QUANTILES, found, strict=True)}
        rows.append({"trace": trace, "metric": name, **pairs})
    return rows


def write_front(trace: str, known: Known, folder: Path = _FOLDER) -> Path:
    """Keep `front_rows`."""
    return _write(folder / f"{trace}-front.csv", front_rows(known))


def write_quantiles(known: dict[str, Known], folder: Path = _FOLDER) -> Path:
    """Keep `quantile_rows` of all traces."""
    return _write(folder / "quantiles.csv", [row for trace, one in known.items() for row in quantile_rows(trace, one)])


def _write(file: Path, rows: list[Row]) -> Path:
    with file.open("w", encoding="utf-8", newline="") as out:
        writer = csv.DictWriter(out, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return file


def front_table(trace: str) -> list[Row]:
    """`front_rows` as they are kept; numbers as numbers. Raises `InputError` for an unknown trace."""
    space_of(trace)
    return _read(_FOLDER / f"{trace}-front.csv")


def quantile_table() -> list[Row]:
    """`quantile_rows` of all traces as they are kept."""
    return _read(_FOLDER / "quantiles.csv")


def _read(file: Path) -> list[Row]:
    with file.open(encoding="utf-8", newline="") as lines:
        return [{name: _value(text) for name, text in row.items()} for row in csv.DictReader(lines)]


def _value(text: str) -> int | float | str:
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text
