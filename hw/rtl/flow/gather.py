"""Everything that can be found of a unit, gathered: campaigns over all its parameter sets, lint, proof and mutants.

What was found is kept in the user's cache folder under the design's own text and what was asked, so that a gathering
that was stopped goes on, and a design that has not changed is not run again.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hw.cost.rtl_units import baseline
from hw.rtl.drive.campaign import CampaignResult
from hw.rtl.drive.regression import cases_of, run_case
from hw.rtl.flow.formal import prove
from hw.rtl.flow.lint import lint
from hw.rtl.flow.mutants import mutate_unit
from hw.rtl.flow.report import UnitResults
from hw.rtl.flow.tools import ToolError
from hw.rtl.flow.verilog import module_name, parameters_as_settings, rtlil_of
from hw.rtl.units import parameters_of, unit
from workloads.errors import InputError

__all__ = ["Asked", "gather", "known"]


@dataclass(frozen=True)
class Asked:
    """``beats`` of each unit over all its parameter sets; ``mutants`` of its defaults."""

    beats: int = 100_000
    seed: int = 1
    simulator: str = "icarus"
    mutants: int = 10
    limit_s: float = 300.0


def gather(name: str, asked: Asked) -> UnitResults:
    """Results of one unit. A program of the flow that is missing or fails leaves its column empty."""
    chosen = unit(name)
    p = chosen.parameters()
    key = f"{name} {asked.seed} {asked.simulator} {_designs(chosen)}"
    return replace(
        known(name),
        campaign=_kept(f"campaign {asked.beats} {key}", lambda: _campaign(name, asked)),
        lint=_kept(f"lint {key}", lambda: _or_none(lambda: lint(chosen, p))),
        formal=_kept(f"formal {asked.limit_s} {key}", lambda: _or_none(lambda: prove(chosen, limit_s=asked.limit_s))),
        mutants=_kept(
            f"mutants {asked.mutants} {asked.limit_s} {key}",
            lambda: _or_none(
                lambda: mutate_unit(
                    chosen, p, {}, mutants=asked.mutants, seed=asked.seed, beats=300, limit_s=asked.limit_s
                )
            ),
        ),
    )


def known(name: str) -> UnitResults:
    """What of one unit is known without running anything: its contract's cycles, and the synthesis that is kept."""
    chosen = unit(name)
    p = chosen.parameters()
    contract = chosen.contract(p)
    of_unit = [point for point in baseline() if point.unit == name]
    synthesised = [point for point in of_unit if point.settings == parameters_as_settings(p)] or of_unit
    return UnitResults(
        unit=name,
        settings={},
        latency_cycles=contract.latency_cycles,
        interval_cycles=contract.interval_cycles,
        synthesis=synthesised[0] if synthesised else None,
    )


def _designs(chosen: Any) -> str:
    """A digest of the RTL at all parameter sets."""
    texts = [
        rtlil_of(chosen.build(parameters_of(chosen, dict(settings))), module_name(chosen))
        for settings in ({}, *chosen.variants)
    ]
    return hashlib.sha256("".join(texts).encode()).hexdigest()


def _campaign(name: str, asked: Asked) -> CampaignResult:
    """All parameter sets as one: beats and cycles added, goals met anywhere met."""
    cases = cases_of([name], None, seed=asked.seed, beats=asked.beats, simulator=asked.simulator)
    results = [run_case(case) for case in cases]
    total = replace(results[0], settings={}, coverage={}, failures=[])
    total.cases = sum(result.cases for result in results)
    total.beats = sum(result.beats for result in results)
    total.cycles = sum(result.cycles for result in results)
    total.mismatches = sum(result.mismatches for result in results)
    total.max_cycle_difference = max(result.max_cycle_difference for result in results)
    total.closed_form_cases = sum(result.closed_form_cases for result in results)
    total.wall_s = sum(result.wall_s for result in results)
    for result in results:
        total.failures += result.failures
        # Each parameter set has goals of its own: a goal of one is not met by another.
        where = " ".join(f"{key}={value}" for key, value in result.settings.items())
        total.coverage |= {f"{goal} ({where})" if where else goal: hit for goal, hit in result.coverage.items()}
    return total


def _or_none(work: Any) -> Any:
    try:
        return work()
    except (ToolError, InputError):
        return None


def _kept(key: str, work: Any) -> Any:
    base = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(base) if base else Path.home() / ".cache") / "tiercade" / "rtl-results"
    path = folder / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.pickle"
    if path.exists():
        return pickle.loads(path.read_bytes())
    found = work()
    if found is None:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".part", delete=False) as aside:
        aside.write(pickle.dumps(found))
    Path(aside.name).replace(path)
    return found
