"""What was found of every unit, as tables in Markdown: a pure function of the results of the flow."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from hw.cost.rtl_units import SynthesisedUnit
from hw.rtl.drive.campaign import CampaignResult
from hw.rtl.flow.formal import FormalResult
from hw.rtl.flow.lint import LintResult
from hw.rtl.flow.mutants import MutationResult
from hw.rtl.units import unit

__all__ = ["UnitResults", "rtl_report"]

_NONE = "-"


@dataclass(frozen=True)
class UnitResults:
    """Everything found of a unit at one set of parameters; None where a step was not run."""

    unit: str
    settings: Mapping[str, Any]
    latency_cycles: int
    interval_cycles: int
    campaign: CampaignResult | None = None
    lint: LintResult | None = None
    formal: FormalResult | None = None
    mutants: MutationResult | None = None
    synthesis: SynthesisedUnit | None = None


def rtl_report(results: Sequence[UnitResults]) -> str:
    """Three tables (behaviour, proofs and defects, synthesis) and a list of everything that does not pass."""
    parts = [
        "## Behaviour\n",
        "Every output beat against the golden model, every handshake of every cycle against the contract.\n",
        _table(_BEHAVIOUR, results),
        "\n## Rules of streams, lint and seeded defects\n",
        "Proved: for all neighbours and data, at reduced widths; 'always' by induction, else for so many cycles after "
        "reset. Defects: mutants of the netlist found by the campaign, of those not shown to change nothing.\n",
        _table(_PROOFS, results),
        "\n## Synthesis\n",
        _library(results),
        _table(_SYNTHESIS, results),
        "\n## What does not pass\n",
        *(_failures(results) or ["Nothing."]),
    ]
    return "\n".join(parts) + "\n"


Column = tuple[str, Callable[[UnitResults], str]]


def _settings(row: UnitResults) -> str:
    return ", ".join(f"{name}={value}" for name, value in row.settings.items()) or "defaults"


def _of_campaign(value: Callable[[CampaignResult], str]) -> Callable[[UnitResults], str]:
    return lambda row: value(row.campaign) if row.campaign else _NONE


def _of_synthesis(value: Callable[[SynthesisedUnit], str]) -> Callable[[UnitResults], str]:
    return lambda row: value(row.synthesis) if row.synthesis else _NONE


def _coverage(campaign: CampaignResult) -> str:
    return f"{sum(campaign.coverage.values())}/{len(campaign.coverage)}"


def _speed(campaign: CampaignResult) -> str:
    return f"{campaign.cycles / campaign.wall_s:,.0f} ({campaign.simulator})" if campaign.wall_s else _NONE


def _proved(row: UnitResults) -> str:
    if row.formal is None:
        return _NONE
    if not row.formal.passed:
        return "**no**"
    depth = row.formal.proved_depth
    return "always" if depth is None else f"{depth} cycles"


def _linted(row: UnitResults) -> str:
    return _NONE if row.lint is None else f"{len(row.lint.standing)} ({len(row.lint.findings)} with waived)"


def _killed(row: UnitResults) -> str:
    if row.mutants is None:
        return _NONE
    return f"{row.mutants.killed}/{row.mutants.killed + len(row.mutants.alive)}"


def _unlike_defaults(point: SynthesisedUnit) -> str:
    """The parameters at which a unit was synthesised, where these are not its defaults."""
    defaults = asdict(unit(point.unit).parameters())
    return ", ".join(f"{n}={v}" for n, v in point.settings.items() if defaults.get(n) != v) or "defaults"


def _energy(point: SynthesisedUnit) -> str:
    return _NONE if point.energy_per_cycle_j is None else f"{point.energy_per_cycle_j * 1e12:,.1f}"


_NAMES: tuple[Column, ...] = (("unit", lambda row: row.unit), ("parameters", _settings))
_BEHAVIOUR: tuple[Column, ...] = (
    *_NAMES,
    ("latency", lambda row: str(row.latency_cycles)),
    ("interval", lambda row: str(row.interval_cycles)),
    ("beats", _of_campaign(lambda c: f"{c.beats:,}")),
    ("mismatches", _of_campaign(lambda c: str(c.mismatches))),
    ("cycles off", _of_campaign(lambda c: str(c.max_cycle_difference))),
    ("coverage", _of_campaign(_coverage)),
    ("cycles/s", _of_campaign(_speed)),
)
_PROOFS: tuple[Column, ...] = (
    *_NAMES,
    ("lint", _linted),
    ("proved", _proved),
    ("defects found", _killed),
)
_SYNTHESIS: tuple[Column, ...] = (
    ("unit", lambda row: row.unit),
    ("parameters", _of_synthesis(_unlike_defaults)),
    ("cells", _of_synthesis(lambda s: f"{s.cells:,}")),
    ("flip-flops", _of_synthesis(lambda s: f"{s.flip_flops:,}")),
    ("area, um2", _of_synthesis(lambda s: f"{s.area_um2:,.0f}")),
    ("path, ns", _of_synthesis(lambda s: f"{s.path_ns:.2f}")),
    ("energy, pJ per cycle", _of_synthesis(_energy)),
)


def _table(columns: Sequence[Column], results: Sequence[UnitResults]) -> str:
    rows = [[name for name, _ in columns], ["---"] * len(columns)]
    rows += [[value(row) for _, value in columns] for row in results]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _library(results: Sequence[UnitResults]) -> str:
    libraries = sorted({row.synthesis.library for row in results if row.synthesis})
    return (
        f"Cells of {', '.join(libraries) or 'no library'}: area of cells alone, path without wires, energy of the "
        "unit's random stimulus without glitches, wires or clock tree.\n"
    )


def _failures(results: Sequence[UnitResults]) -> list[str]:
    found = []
    for row in results:
        where = f"- {row.unit} ({_settings(row)}): "
        if row.campaign is not None:
            found += [where + failure for failure in row.campaign.failures]
            found += [f"{where}goal not met: {goal}" for goal in row.campaign.missed_goals]
        if row.lint is not None:
            found += [f"{where}lint {finding.rule}: {finding.text}" for finding in row.lint.standing]
        if row.formal is not None and not row.formal.passed:
            found += [f"{where}{proof.name} {proof.outcome}, cycle {proof.cycles}" for proof in row.formal.unproved]
            found += [f"{where}{port} waits for its own ready" for port in row.formal.waiting]
            found += [f"{where}{name} is never valid" for name, at in row.formal.reached.items() if at is None]
        if row.mutants is not None:
            found += [f"{where}defect not found: {mutant.change}" for mutant in row.mutants.alive]
    return found
