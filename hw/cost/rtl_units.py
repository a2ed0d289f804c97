"""Area, path and energy of hardware units, from their synthesis kept in ``rtl_synthesis.yaml``.

Settings that were synthesised are looked up. Others are fitted over those of the same unit, either on logarithms (a
product of powers of the parameters) or linearly, whichever has the smaller largest error at the points themselves; the
error is given with the cost, and nothing is extrapolated over a parameter that the baseline does not vary. The library
is 180 nm; other nodes are the separate factor of `hw.cost.node_scaling`. Cells only: no wires, clock tree or glitches.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from hw.cost.node_scaling import NODE_SCALING_SOURCE, node_scale
from hw.spec.source import Source
from workloads.errors import InputError, unknown_name

__all__ = ["BASELINE", "Fit", "RtlUnitCost", "SynthesisedUnit", "baseline", "rtl_unit_cost"]

BASELINE = Path(__file__).parent / "rtl_synthesis.yaml"


@dataclass(frozen=True)
class SynthesisedUnit:
    """One design of the baseline; ``energy_per_cycle_j`` None where it was not measured."""

    unit: str
    settings: Mapping[str, Any]
    cells: int
    flip_flops: int
    area_um2: float
    path_ns: float
    energy_per_cycle_j: float | None
    library: str


@dataclass(frozen=True)
class Fit:
    """How one quantity was had: ``form`` "measured", "powers" or "linear"; ``residual`` the largest relative error at
    the ``points`` it was fitted to, ``free`` how many points there are beyond its coefficients (with none the residual
    says nothing)."""

    form: str
    points: int
    free: int
    residual: float


@dataclass(frozen=True)
class RtlUnitCost:
    """``energy_per_beat_j`` of a cycle in which a beat of the unit's random stimulus is accepted; None where the
    baseline has no power. The fits are of area, path and energy, before ``NODE_SCALING_SOURCE`` is applied."""

    area_mm2: float
    path_s: float
    energy_per_beat_j: float | None
    area_fit: Fit
    path_fit: Fit
    energy_fit: Fit | None
    sources: tuple[Source, ...]


@cache
def baseline(path: Path = BASELINE) -> tuple[SynthesisedUnit, ...]:
    """All designs of the baseline that could be synthesised."""
    if not path.exists():
        return ()
    document = yaml.safe_load(path.read_text())
    return tuple(
        SynthesisedUnit(
            unit, entry["settings"], entry["cells"], entry["flip_flops"], entry["area_um2"], entry["path_ns"],
            entry.get("energy_per_cycle_j"), entry["library"],
        )
        for unit, entries in document["units"].items()
        for entry in entries
        if "cells" in entry
    )  # fmt: skip


def rtl_unit_cost(
    name: str, settings: Mapping[str, Any], node_nm: float, *, points: Sequence[SynthesisedUnit] | None = None
) -> RtlUnitCost:
    """Cost of unit ``name`` at ``settings`` (those not named are as in its first design of the baseline).

    Raises `InputError` for a unit that was not synthesised, and for settings the baseline says nothing about.
    """
    known = baseline() if points is None else points
    own = [point for point in known if point.unit == name]
    if not own:
        raise unknown_name("synthesised unit", name, sorted({point.unit for point in known}))
    for setting in settings:
        if setting not in own[0].settings:
            raise unknown_name(f"parameter of {name}", setting, own[0].settings)
    asked = {**own[0].settings, **settings}
    scale = node_scale(node_nm)
    area, area_fit = _estimate(name, own, asked, [point.area_um2 for point in own])
    path, path_fit = _estimate(name, own, asked, [point.path_ns for point in own])
    energies = [point.energy_per_cycle_j for point in own]
    energy, energy_fit = None, None
    measured = [value for value in energies if value is not None]
    if len(measured) == len(own):
        energy, energy_fit = _estimate(name, own, asked, measured)
    made = "stated" if area_fit.form == "measured" else "fitted"
    sources = [Source(made, f"synthesis of {name} to {own[0].library}, {BASELINE.name}")]  # type: ignore[arg-type]
    if node_nm != 180:
        sources.append(NODE_SCALING_SOURCE)
    return RtlUnitCost(
        area_mm2=area * scale.area * 1e-6,
        path_s=path * scale.delay * 1e-9,
        energy_per_beat_j=None if energy is None else energy * scale.energy,
        area_fit=area_fit,
        path_fit=path_fit,
        energy_fit=energy_fit,
        sources=tuple(sources),
    )


def _estimate(
    name: str, own: Sequence[SynthesisedUnit], asked: Mapping[str, Any], values: Sequence[float]
) -> tuple[float, Fit]:
    for point, value in zip(own, values, strict=True):
        if dict(point.settings) == dict(asked):
            return value, Fit("measured", 1, 0, 0.0)
    numeric = [key for key, value in asked.items() if isinstance(value, int | float) and not isinstance(value, bool)]
    alike = [
        n for n, point in enumerate(own) if all(point.settings[k] == v for k, v in asked.items() if k not in numeric)
    ]
    if not alike:
        kinds = {key: value for key, value in asked.items() if key not in numeric}
        raise InputError(f"no synthesised {name} has {kinds}", "settings of the baseline", name)
    varied = [key for key in numeric if len({own[n].settings[key] for n in alike}) > 1]
    for key in numeric:
        held = own[alike[0]].settings[key]
        if key not in varied and asked[key] != held:
            raise InputError(f"{key} of {name} is {asked[key]}", f"{held}, the only one that was synthesised", key)
    rows = np.array([[float(own[n].settings[key]) for key in varied] for n in alike])
    seen = np.array([values[n] for n in alike])
    wanted = np.array([float(asked[key]) for key in varied])
    fits = [_linear(rows, seen, wanted)]
    if (rows > 0).all() and (wanted > 0).all():
        logarithmic, residuals = _least_squares(np.log(rows), np.log(seen), np.log(wanted))
        fits.append(("powers", float(np.exp(logarithmic)), float(np.abs(np.expm1(residuals)).max())))
    form, value, residual = min(fits, key=lambda fit: fit[2] if fit[1] > 0 else np.inf)
    if value <= 0:
        raise InputError(f"{dict(asked)} of {name} lies too far from what was synthesised", "nearer settings", name)
    return value, Fit(form, len(alike), len(alike) - len(varied) - 1, residual)


def _linear(rows: Any, seen: Any, wanted: Any) -> tuple[str, float, float]:
    value, residuals = _least_squares(rows, seen, wanted)
    return "linear", float(value), float(np.abs(residuals / seen).max())


def _least_squares(rows: Any, seen: Any, wanted: Any) -> tuple[Any, Any]:
    """The fit's value at ``wanted`` and its errors (fit less seen) at the points.

    Around the first point, so that of too few points the least change of parameters is taken.
    """
    origin = rows[0]
    design = np.hstack([np.ones((len(rows), 1)), rows - origin])
    coefficients = np.linalg.lstsq(design, seen, rcond=None)[0]
    return np.concatenate([[1.0], wanted - origin]) @ coefficients, design @ coefficients - seen
