"""Constants of one machine's kernels from measured rows, beside what the bundled constants make of the same rows."""

from __future__ import annotations

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from dse.validation.calibration import Calibrated, calibrated, held_out
from dse.validation.kernel_rows import FAMILIES, TYPES, KernelRows, estimate
from dse.validation.machines import FORMATS, Skipped, preset_of
from dse.validation.measurements import Measurement
from hw.spec.system import System
from mappers.kernels.constants import Entry, typed
from mappers.kernels.software import measured_software, software
from workloads.errors import InputError

__all__ = ["LEAST_ROWS", "MachineFit", "calibrate_machine", "constants_text"]

LEAST_ROWS = 12
"""Rows of a family below which nothing is fitted: a third is held out, and the rest must outnumber the constants."""


@dataclass(frozen=True)
class MachineFit:
    """One family and software fitted; ``before`` is the error of the bundled constants on the held-out rows."""

    fitted: Calibrated
    before: float


def calibrate_machine(
    rows: Sequence[Measurement], system: System, software_name: str | None, said: str
) -> tuple[list[MachineFit], Counter[str]]:
    """Fit each family and software of the rows of ``system``; returns also how many rows no fit took, and why.

    Rows are the system's when their GPU's preset has its name; where no row's has, those of GPUs without a preset are,
    and in a file of one GPU all. Without ``software_name`` each row's framework tells its software. ``said`` names the
    rows in the sources of the entries. Raises `InputError` for an unknown software and for a system without units,
    clock and architecture.
    """
    passed_over = Counter[str]()
    architecture = next((engine.architecture for engine in system.engines.values() if engine.architecture), "")
    groups: dict[tuple[str, str], dict[tuple[str, str, str, str], list[Measurement]]] = {}
    gpus = _gpus_of(rows, system)
    for row in rows:
        if row.gpu not in gpus:
            passed_over[f"measured on {row.gpu}"] += 1
        elif row.op not in FAMILIES:
            passed_over[f"no kernel of operation {row.op}"] += 1
        elif row.dtype not in FORMATS:
            passed_over[f"dtype {row.dtype}"] += 1
        else:
            epoch = software(software_name).name if software_name else measured_software(row.framework, architecture)[0]
            key = (row.op, row.phase, row.framework, row.dtype)
            groups.setdefault((FAMILIES[row.op], epoch), {}).setdefault(key, []).append(row)
    found = []
    for (family, epoch), parts in sorted(groups.items()):
        count = sum(map(len, parts.values()))
        if count < LEAST_ROWS:
            passed_over[f"fewer than {LEAST_ROWS} rows of {family} with {epoch}"] += count
            continue
        mine = [KernelRows.of(members, system, epoch) for members in parts.values()]
        new = calibrated(mine)
        source = (
            f"fitted: {new.rows} of {new.rows + new.held_out_rows} rows of {said}, least soft-L1 of "
            f"ln(predicted/measured); {new.fitted_mape:.1%} on them, {new.held_out_mape:.1%} on the rest"
        )
        found.append(MachineFit(replace(new, entry=replace(new.entry, source=source)), _before(mine)))
    return found, passed_over


def _gpus_of(rows: Sequence[Measurement], system: System) -> frozenset[str]:
    presets = {row.gpu: preset_of(row.gpu) for row in rows}
    named = frozenset(gpu for gpu, preset in presets.items() if preset == system.name)
    if named or len(presets) == 1:
        return named or frozenset(presets)
    return frozenset(gpu for gpu, preset in presets.items() if isinstance(preset, Skipped))


def _before(groups: Sequence[KernelRows]) -> float:
    errors: list[float] = []
    for group in groups:
        out = held_out(group.rows)
        entry = group.choice(group.family).entry
        seconds, _ = estimate(group, typed(TYPES[group.family], entry))
        errors += abs(seconds / group.measured_s - 1)[out].tolist()
    return sum(errors) / len(errors) if errors else float("nan")


def constants_text(entries: Iterable[Entry]) -> str:
    """The entries as a YAML file that `mappers.kernels.constants.read_constants` reads."""
    by_family: dict[str, list[Entry]] = {}
    for entry in entries:
        by_family.setdefault(entry.family, []).append(entry)
    if not by_family:
        raise InputError("no constants to write", "fitted entries", "out")
    return "".join(f"{family}:\n{''.join(map(_entry_text, mine))}" for family, mine in by_family.items())


def _entry_text(entry: Entry) -> str:
    spread = ", ".join(f"{name}: [{factors.low:.4g}, {factors.high:.4g}]" for name, factors in entry.spread.items())
    source = textwrap.fill(
        entry.source, 112, initial_indent="      ", subsequent_indent="      ", break_on_hyphens=False
    )
    values = "".join(f"      {name}: {value!r}\n" for name, value in entry.values.items())
    return (
        f"  - architecture: {entry.architecture}\n    software: {entry.software}\n    gpu: {entry.gpu}\n"
        f"    values:\n{values}    spread: {{{spread}}}\n    source: >-\n{source}\n"
    )
