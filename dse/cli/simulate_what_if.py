"""``tiercade simulate --what-if``: a machine changed, and what each of its numbers does to the run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import typer

from dse.cli.progress import Progress
from dse.reports.table import print_rows
from dse.reports.units_text import joules_text, seconds_text
from dse.sensitivity.elasticity import KINK, METRICS, STEP, Elasticities, Slope, elasticities
from dse.sensitivity.parameters import Change, Parameter, changed, parameters_of, read_change
from hw.spec.system import System
from simulator.result import Result
from workloads.errors import InfeasibleError, InputError

if TYPE_CHECKING:
    from dse.cli.simulate import Request, Run

__all__ = ["ALL", "WhatIf", "print_what_if", "read_changes", "what_if"]

ALL = "all"
"""The word that asks for elasticities alone."""

_SHOWN = 20
_LEAST = 0.0005
"""Slopes below are left out of the table: they are zero at its three digits."""

_CLOSE = 0.01
"""How near the sums come where nothing is missing: differences over a percent, some of them across a kink."""


@dataclass(frozen=True)
class WhatIf:
    """The run as it is, each change (what is said of it) with its result, and the elasticities."""

    base: Run
    changes: tuple[tuple[str, Result], ...]
    slopes: Elasticities

    def to_json(self) -> dict[str, Any]:
        """``what_if`` and ``elasticities`` as plain values."""
        return {
            "what_if": [
                {
                    "change": said,
                    "latency_s": result.latency_s,
                    "latency_ratio": result.latency_s / self.base.result.latency_s,
                    "total_energy_j": result.total_energy_j,
                    "energy_ratio": result.total_energy_j / self.base.result.total_energy_j,
                    "bottleneck": result.bottleneck,
                }
                for said, result in self.changes
            ],
            "elasticities": {
                "step": STEP,
                "parameters": [
                    {
                        "parameter": row.parameter.path,
                        "value": row.parameter.value,
                        "unit": row.parameter.dimension.base,
                        **{name: _slope_json(row.slopes[name]) for name in METRICS},
                    }
                    for row in self.slopes.rows
                ],
                "without_effect": list(self.slopes.without_effect),
                "latency_sum": self.slopes.latency_sum,
                "energy_sum": self.slopes.energy_sum,
                "runs": self.slopes.runs,
            },
        }


def _slope_json(slope: Slope) -> dict[str, Any]:
    return {"elasticity": slope.value, "below": slope.below, "above": slope.above, "kink": slope.kinked}


def read_changes(system: System, texts: Sequence[str]) -> list[Change]:
    """The changes asked for, each of ``system`` as it is, and at the end all of them in turn where they are several."""
    wanted = [text for text in texts if text.strip() != ALL]
    changes = [read_change(system, text) for text in wanted]
    if len(changes) > 1:
        made = system
        for text in wanted:
            made = read_change(made, text).system
        changes.append(Change(ALL, made, "all of these"))
    return changes


def what_if(request: Request, base: Run, changes: Sequence[Change]) -> WhatIf:
    """Run each of ``changes``, and what it takes to know the elasticities of ``base``."""
    from dse.cli.simulate import run_request

    # Policies and formats are asked for again on each machine: they may choose otherwise there.
    runs = tuple((each.said, run_request(request, each.system).result) for each in changes)

    def simulate(group: Sequence[Parameter], factor: float) -> dict[str, float] | None:
        try:
            return _metrics(run_request(request, changed(base.system, group, factor)).result)
        except (InputError, InfeasibleError):
            return None

    told = Progress("parameters")
    slopes = elasticities(
        parameters_of(base.system),
        simulate,
        _metrics(base.result),
        lambda parameter: _is_idle(parameter, base.result),
        lambda done, of: told("elasticities", done, of),
    )
    told.done()
    return WhatIf(base, runs, slopes)


def _metrics(result: Result) -> dict[str, float]:
    return {"latency_s": result.latency_s, "energy_j": result.total_energy_j}


def _is_idle(parameter: Parameter, result: Result) -> bool:
    """A guess: sizes, what belongs to parts that the run does not touch, and rates and energies of other formats."""
    if parameter.seconds and parameter.joules:
        return False
    names = parameter.path.split(".")
    touched = {name.split(":")[0] for name, share in result.utilisation.items() if share}
    touched |= {name for name, size in result.peak_bytes.items() if size}
    formats = result.formats.values()
    away = len(names) == 3 and names[1] not in touched
    return parameter.is_size or away or (len(names) == 4 and (names[1] not in touched or names[3] not in formats))


def print_what_if(found: WhatIf) -> None:
    """Tables of the changes and of the elasticities, and what these sum to."""
    base = found.base.result
    if found.changes:
        rows = [_change_row("as it is", base, base)]
        rows += [_change_row(said, result, base) for said, result in found.changes]
        typer.echo()
        print_rows(rows)
    typer.echo(f"\nElasticities: percent of latency and energy for each percent of a number, {STEP:.0%} either way")
    shown = [row for row in found.slopes.rows if row.size >= _LEAST][:_SHOWN]
    print_rows(
        [
            {
                "parameter": row.parameter.path,
                "value": row.parameter.text,
                "latency": _slope_text(row.slopes["latency_s"]),
                "energy": _slope_text(row.slopes["energy_j"]),
            }
            for row in shown
        ]
    )
    less = len(found.slopes.rows) - len(shown)
    rest = f"{less} more do less, " if less else ""
    typer.echo(f"{rest}{len(found.slopes.without_effect)} numbers of the machine do nothing to this run")
    if any(slope.kinked for row in shown for slope in row.slopes.values()):
        typer.echo(
            f"a / b: less of it gives a, more gives b (apart by more than {KINK:g}: what bounds the run changes)"
        )
    typer.echo(_sums_text(found.slopes))


def _change_row(said: str, result: Result, base: Result) -> dict[str, str]:
    energy = result.total_energy_j
    return {
        "what if": said,
        "latency": seconds_text(result.latency_s),
        "of it": _percent(result.latency_s / base.latency_s),
        "energy": joules_text(energy),
        "of that": _percent(energy / base.total_energy_j),
        "bound by": result.bottleneck,
    }


def _percent(ratio: float) -> str:
    return f"{100 * (ratio - 1):+.1f} %" if ratio != 1 else "-"


def _slope_text(slope: Slope) -> str:
    if slope.kinked and slope.below is not None and slope.above is not None:
        return f"{_signed(slope.below)} / {_signed(slope.above)}"
    return "-" if slope.value is None else _signed(slope.value)


def _signed(value: float) -> str:
    return "0" if abs(value) < _LEAST else f"{value:+.3f}"


def _sums_text(slopes: Elasticities) -> str:
    latency, energy = slopes.latency_sum, slopes.energy_sum
    text = f"latency: rates less times sum to {latency:.3f} (-1 is all of it)"
    text += f"; energy: energies and powers sum to {energy:.3f} (1 is all)"
    if abs(latency + 1) > _CLOSE or abs(energy - 1) > _CLOSE:
        rest = "timings of devices, constants of kernels and collectives"
        text += f"\nthe rest is in no number of the machine ({rest})"
        if any(slope.kinked for row in slopes.rows for slope in row.slopes.values()):
            text += ", or in bounds that change within the step"
    return text
