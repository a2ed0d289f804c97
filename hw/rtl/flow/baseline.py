"""The committed synthesis of every unit: written, renewed where a design has changed, and checked.

A design is known by the digest of its RTLIL, so that only what changed is synthesised again.
"""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import Any

import yaml

from hw.cost.rtl_units import BASELINE, baseline
from hw.rtl.flow.synthesis import synthesise
from hw.rtl.flow.tools import ToolError
from hw.rtl.flow.verilog import module_name, parameters_as_settings, rtlil_of
from hw.rtl.unit import Unit
from hw.rtl.units import parameters_of, unit, unit_names

__all__ = ["TOLERANCE", "Drift", "check_baseline", "stale_designs", "write_baseline"]

TOLERANCE = 0.02
"""How far numbers may move before it is called a change, with the Yosys of the entry (0.23 gives 9 % fewer cells)."""

_HEAD = """\
# Synthesis of the hardware units, written by hw.rtl.flow.baseline.write_baseline; areas of cells alone, path_ns the
# shortest clock period, energies of a cycle of the unit's random stimulus without glitches, wires or clock tree.
"""
_COMPARED = ("cells", "flip_flops", "area_um2", "path_ns")


@dataclass(frozen=True)
class Drift:
    """A number of one design that is not what the baseline has."""

    unit: str
    settings: dict[str, Any]
    quantity: str
    kept: float
    found: float

    @property
    def relative(self) -> float:
        return self.found / self.kept - 1 if self.kept else float(self.found != self.kept)


def _digest(chosen: Unit[Any], p: Any) -> str:
    return hashlib.sha256(rtlil_of(chosen.build(p), module_name(chosen)).encode()).hexdigest()[:16]


def _read(path: Path) -> dict[str, list[dict[str, Any]]]:
    return dict(yaml.safe_load(path.read_text())["units"]) if path.exists() else {}


def _designs(names: Sequence[str]) -> Iterator[tuple[Unit[Any], Any]]:
    """The first design of every unit, then the second of each, and so on: an unfinished run has something of all."""
    for designs in zip_longest(*([(unit(name), settings) for settings in unit(name).synthesis] for name in names)):
        for chosen, settings in filter(None, designs):
            yield chosen, parameters_of(chosen, dict(settings))


def stale_designs(names: Sequence[str] | None = None, path: Path = BASELINE) -> list[tuple[str, dict[str, Any]]]:
    """Unit and settings of the designs that the baseline lacks, or has of another RTL; needs amaranth only."""
    kept = _read(path)
    stale = []
    for chosen, p in _designs(names or unit_names()):
        settings = parameters_as_settings(p)
        entries = kept.get(chosen.name, [])
        if not any(e["settings"] == settings and e["design"] == _digest(chosen, p) for e in entries):
            stale.append((chosen.name, settings))
    return stale


def write_baseline(
    names: Sequence[str] | None = None, path: Path = BASELINE, *, limit_s: float = 300.0
) -> list[tuple[str, dict[str, Any]]]:
    """Synthesise the stale designs of ``names`` (all units) one after another, and write after each.

    Designs over ``limit_s`` are kept as not synthesised. Returns what was done.
    """
    done = stale_designs(names, path)
    for name, settings in done:
        chosen = unit(name)
        p = chosen.parameters(**settings)
        entry = {"settings": settings, "design": _digest(chosen, p), **_synthesised(chosen, p, limit_s)}
        kept = _read(path)
        order = [parameters_as_settings(parameters_of(chosen, dict(some))) for some in chosen.synthesis]
        others = [e for e in kept.get(name, []) if e["settings"] != settings and e["settings"] in order]
        kept[name] = sorted([*others, entry], key=lambda e: order.index(e["settings"]))
        _write(path, {known: kept[known] for known in unit_names() if known in kept})
    baseline.cache_clear()
    return done


def _synthesised(chosen: Unit[Any], p: Any, limit_s: float) -> dict[str, Any]:
    try:
        found = synthesise(chosen, p, limit_s=limit_s)
    except ToolError as failure:
        return {"not_synthesised": str(failure)}
    entry: dict[str, Any] = {
        "cells": found.cells.cells,
        "flip_flops": found.cells.flip_flops,
        "area_um2": round(found.cells.area_um2, 1),
        "path_ns": found.timing.path_ns,
    }
    if found.timing.energy_per_cycle_j is not None:
        entry["energy_per_cycle_j"] = float(f"{found.timing.energy_per_cycle_j:.4g}")
    if found.fpga is not None:
        fpga = found.fpga
        entry["ecp5"] = {"lut4": fpga.lut4, "flip_flops": fpga.flip_flops, "multipliers": fpga.multipliers,
                         "memories": fpga.memories}  # fmt: skip
    return {**entry, "library": found.library, "tools": f"{found.yosys}, {found.timing.tool}"}


def _write(path: Path, units: dict[str, Any]) -> None:
    """Written aside and renamed."""
    text = _HEAD + yaml.safe_dump({"units": units}, sort_keys=False, width=160, default_flow_style=None)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, suffix=".part", delete=False) as aside:
        aside.write(text)
    Path(aside.name).chmod(0o644)
    Path(aside.name).replace(path)


def check_baseline(name: str, path: Path = BASELINE, *, tolerance: float = TOLERANCE) -> list[Drift]:
    """Synthesise the designs of one unit again: what moved by more than ``tolerance``."""
    chosen = unit(name)
    drifts = []
    for entry in _read(path).get(name, []):
        if "cells" not in entry:
            continue
        found = _synthesised(chosen, chosen.parameters(**entry["settings"]), 600.0)
        moved = (Drift(name, entry["settings"], key, entry[key], found.get(key, 0)) for key in _COMPARED)
        drifts += [drift for drift in moved if abs(drift.relative) > tolerance]
    return drifts
