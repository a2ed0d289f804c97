"""Constants of kernels from measured rows: fitted to two thirds of them, tried on the rest.

Rows of each operation, phase, GPU and framework stand in the order of their ids; every third is held out
(`held_out`) and never fitted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.validation.kernel_rows import TYPES, KernelRows, estimate
from dse.validation.measurements import Measurement
from mappers.kernels.constants import Entry, typed
from mappers.kernels.fitting import fit, spread_of
from mappers.kernels.gemm import GemmConstants
from mappers.kernels.grouped import GroupedConstants
from mappers.kernels.rows import RowConstants

__all__ = ["BOUNDS", "COLLECTIVE_OPS", "Calibrated", "calibrated", "fitted_constants", "held_out", "mape"]

Numbers = NDArray[np.float64]

_ROWS = {"memory_efficiency": (0.1, 1.0), "launch_s": (0.5e-6, 1e-4), "host_s": (0.5e-6, 1e-4)}

BOUNDS: Mapping[str, Mapping[str, tuple[float, float]]] = {
    "gemm": {
        "compute_efficiency": (0.3, 1.0),
        "memory_efficiency": (0.3, 1.0),
        "launch_s": (0.5e-6, 1e-4),
        "wave_overlap": (0.01, 1.0),
        "exposed_share": (0.01, 1.0),
        "sustained_loss": (0.001, 1.0),
    },
    "grouped": {
        "compute_efficiency": (0.2, 1.0),
        "memory_efficiency": (0.3, 1.0),
        "launch_s": (0.5e-6, 5e-5),
        "exposed_share": (0.01, 1.0),
    },
    "attention": {
        "compute_efficiency": (0.2, 1.0),
        "prologue_clocks_per_row": (1.0, 500.0),
        "tail_share": (0.01, 2.0),
        "prompt_memory_efficiency": (0.2, 1.0),
        "prompt_overhead_clocks": (100.0, 1e5),
        "decode_memory_efficiency": (0.2, 1.0),
        "decode_overhead_clocks": (100.0, 1e5),
        "split_clocks": (1.0, 2000.0),
        "last_wave_share": (0.01, 1.0),
    },
    "norm": {**_ROWS, "wide_row_factor": (1.0, 4.0)},
    "softmax": {**_ROWS, "wide_row_factor": (1.0, 4.0)},
    "elementwise": _ROWS,
}
"""What is fitted of each family, and between which values."""

BOUNDS_NARROW = {"gemm": {"narrow_compute_share": (0.3, 1.0), "narrow_launch_s": (1e-8, 1e-5)}}
"""What rows in formats of one byte fit, after the rows in wider ones."""

COLLECTIVE_OPS = frozenset({"all_reduce", "all_gather", "alltoall"})
"""Measured operations between GPUs."""

_FOLDS = 5

STARTS: Mapping[str, Any] = {
    "gemm": GemmConstants(0.8, 0.82, 5e-6, 0.3, 0.1, 0.05, 0.65, 1.6e-6),
    "grouped": GroupedConstants(0.55, 0.9, 8e-6, 0.3, 0.3),
    "norm": RowConstants(0.8, 1.5, 2e-5, 4e-5),
    "softmax": RowConstants(0.5, 1.1, 1e-5, 1e-5),
    "elementwise": RowConstants(0.8, 1.0, 2e-5, 4e-5),
}
"""Where fits begin, other families at the bundled constants nearest to them; values that are not fitted stay."""


@dataclass(frozen=True)
class Calibrated:
    """A fitted entry with its mean absolute relative errors on the rows fitted and on those held out."""

    entry: Entry
    rows: int
    fitted_mape: float
    held_out_rows: int
    held_out_mape: float


def held_out(rows: Sequence[Measurement]) -> NDArray[np.bool_]:
    """Which rows are held out, in the order of their ids.

    Of kernels and phases every third of each operation, phase, GPU and framework; of collectives every second of each
    GPU, as their libraries were fitted (`simulator.interconnect.libraries`).
    """
    places: dict[tuple[str, ...], int] = {}
    out = np.zeros(len(rows), bool)
    for index in sorted(range(len(rows)), key=lambda index: _by_id(rows[index])):
        row = rows[index]
        collective = row.op in COLLECTIVE_OPS
        key = (row.gpu,) if collective else (row.op, row.phase, row.gpu, row.framework)
        place = places[key] = places.get(key, -1) + 1
        out[index] = place % 2 == 1 if collective else place % 3 == 2
    return out


def _by_id(row: Measurement) -> tuple[int, str]:
    """Numbers in their order, other ids behind them."""
    return (int(row.id), "") if row.id.isdecimal() else (2**63, row.id)


def calibrated(groups: Sequence[KernelRows]) -> Calibrated:
    """Constants of one family fitted to groups of rows on any machines, two thirds of each.

    The spread is that of rows which the fit did not see: each fifth of the fitted rows, by constants of the others.
    """
    family, first = groups[0].family, groups[0]
    kept = [_part(group, ~held_out(group.rows)) for group in groups]
    out = [_part(group, held_out(group.rows)) for group in groups]
    found = _rounded(fitted_constants(kept))
    unseen, measured = [], []
    for fold in range(_FOLDS):
        mine = [np.arange(len(group.rows)) % _FOLDS == fold for group in kept]
        constants = fitted_constants([_part(group, ~which) for group, which in zip(kept, mine, strict=True)])
        for group, which in zip(kept, mine, strict=True):
            if which.any():
                tried = _part(group, which)
                unseen.append(estimate(tried, constants)[0])
                measured.append(tried.measured_s)
    entry = Entry(
        family,
        first.machine.architecture,
        first.software,
        first.machine.name,
        asdict(found),
        spread_of(np.concatenate(unseen), np.concatenate(measured)),
        "fitted",
    )
    return Calibrated(entry, _count(kept), mape(kept, found), _count(out), mape(out, found))


def mape(groups: Sequence[KernelRows], constants: Any) -> float:
    """Mean absolute relative error of ``constants`` on all rows; NaN where there are none."""
    errors = [np.abs(estimate(group, constants)[0] / group.measured_s - 1) for group in groups if group.rows]
    return float(np.concatenate(errors).mean()) if errors else float("nan")


def _count(groups: Sequence[KernelRows]) -> int:
    return sum(len(group.rows) for group in groups)


def _part(group: KernelRows, which: NDArray[np.bool_]) -> KernelRows:
    return replace(group, rows=[row for row, taken in zip(group.rows, which, strict=True) if taken])


def fitted_constants(groups: Sequence[KernelRows]) -> Any:
    """The constants of one family nearest to all rows of ``groups``, which may be of several machines.

    Rows in formats of one byte fit their own constants, after the rows in wider ones.
    """
    family = groups[0].family
    found = STARTS.get(family) or typed(TYPES[family], groups[0].choice(family).entry)
    for narrow, bounds in ((False, BOUNDS[family]), (True, BOUNDS_NARROW.get(family))):
        mine = [group for group in groups if group.narrow == narrow and group.rows]
        if mine and bounds:
            measured = np.concatenate([group.measured_s for group in mine])
            found = fit(found, bounds, _predictor(mine), measured)
    return found


def _predictor(groups: Sequence[KernelRows]) -> Callable[[Any], Numbers]:
    return lambda constants: np.concatenate([estimate(group, constants)[0] for group in groups])


def _rounded(constants: Any) -> Any:
    """Three digits: more than the data tells."""
    return type(constants)(**{name: float(f"{value:.3g}") for name, value in asdict(constants).items()})
