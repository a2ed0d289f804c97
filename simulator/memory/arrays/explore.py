"""Error against energy of a crossbar: its cells, converters and noise swept together, the best marked."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from hw.cost.converters import survey_adc
from hw.cost.crossbar import ISAAC_PIECES, CrossbarPieces, crossbar_cost
from simulator.memory.arrays.crossbar import Cells, Crossbar, error_statistics, multiply
from workloads.errors import InputError

__all__ = ["CrossbarPoint", "explore_crossbar"]


@dataclass(frozen=True)
class CrossbarPoint:
    """One crossbar and what a product on it came to.

    ``mac_j`` is the energy of one multiply-add, ``vector_s`` the time of one vector with what bounds it, ``mm2`` the
    area of the arrays. ``pareto``: no other point has less error and no more energy, or the reverse.
    """

    cell_bits: int
    adc_bits: int
    adc_range: float
    write_sigma: float
    relative_rms: float
    clipped: float
    mac_j: float
    vector_s: float
    bound: Literal["array", "converter"]
    mm2: float
    pareto: bool = False


def explore_crossbar(
    inputs: NDArray[np.integer[Any]],
    weights: NDArray[np.integer[Any]],
    *,
    cell_bits: Sequence[int] = (1, 2, 4),
    adc_bits: Sequence[int] = (4, 5, 6, 7, 8, 9, 10),
    adc_ranges: Sequence[float] = (1.0, 0.25),
    write_sigmas: Sequence[float] = (0.0, 0.02, 0.05),
    base: Crossbar | None = None,
    pieces: CrossbarPieces = ISAAC_PIECES,
    node_nm: float = 32.0,
    seed: int = 0,
) -> tuple[CrossbarPoint, ...]:
    """A point for each combination, of the product ``inputs @ weights`` on crossbars that are otherwise ``base``.

    Converters are the survey's bound at ``node_nm`` and the rate of those of ``pieces``, one to an array; the energy in
    the cells is worked out from the values. A greater spread costs nothing here, so Pareto points are marked within
    each ``write_sigma``: it is what the cells are, not a choice. `InputError` for ranges without values and values that
    do not fit.
    """
    ranges: dict[str, Sequence[float]] = {
        "cell_bits": cell_bits,
        "adc_bits": adc_bits,
        "adc_ranges": adc_ranges,
        "write_sigmas": write_sigmas,
    }
    for field, values in ranges.items():
        if not values:
            raise InputError(f"no {field}", "at least one", field)
    template = base if base is not None else Crossbar()
    exact = inputs @ weights
    macs = inputs.shape[0] * weights.shape[0] * weights.shape[1]
    points = []
    for sigma, cell, adc, part in itertools.product(write_sigmas, cell_bits, adc_bits, adc_ranges):
        cells: Cells = replace(template.cells, write_sigma=sigma)
        crossbar = replace(template, cell_bits=cell, adc_bits=adc, adc_range=part, cells=cells)
        result = multiply(crossbar, inputs, weights, seed=seed)
        converter = survey_adc(bits=adc, rate_per_s=pieces.adc.rate_per_s, node_nm=node_nm)
        cost = crossbar_cost(result.use, replace(pieces, adc=converter))
        error = error_statistics(result.output, exact)["relative_rms"]
        points.append(
            CrossbarPoint(
                cell_bits=cell,
                adc_bits=adc,
                adc_range=part,
                write_sigma=sigma,
                relative_rms=error,
                clipped=result.clipped,
                mac_j=cost.energy_j / macs,
                vector_s=cost.latency_s / inputs.shape[0],
                bound=cost.bound,
                mm2=cost.area_mm2,
            )
        )
    return tuple(replace(point, pareto=_is_best(point, points)) for point in points)


def _is_best(point: CrossbarPoint, points: list[CrossbarPoint]) -> bool:
    """Whether no point of the same cells is at least as good in both and better in one."""
    mine = (point.relative_rms, point.mac_j)
    others = ((p.relative_rms, p.mac_j) for p in points if p.write_sigma == point.write_sigma)
    return not any(error <= mine[0] and energy <= mine[1] and (error, energy) != mine for error, energy in others)
