"""All units' campaigns: which to run, on how many processes, and the command that runs one of them again."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from hw.rtl.drive.campaign import CampaignResult, contract_jobs, run_campaign, run_jobs
from hw.rtl.drive.cocotb_sim import job_runner
from hw.rtl.units import parameters_of, unit

__all__ = ["Case", "cases_of", "replay_command", "run_case", "run_cases"]


@dataclass(frozen=True)
class Case:
    """One campaign: ``beats`` random beats, or, with ``contracts``, so many runs that only look at time."""

    unit: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 1
    beats: int = 2000
    contracts: int = 0
    simulator: str = "amaranth"
    waves: Path | None = None


def cases_of(
    names: Sequence[str],
    settings: Mapping[str, Any] | None,
    *,
    seed: int,
    beats: int,
    simulator: str,
    contracts: int = 0,
    waves: Path | None = None,
) -> list[Case]:
    """A case for each parameter set of each unit, which share ``beats`` and ``contracts``; or for ``settings`` alone.

    Raises `InputError` for parameters that a unit cannot have.
    """
    cases = []
    for name in names:
        chosen = unit(name)
        sets: list[Mapping[str, Any]] = [{}, *chosen.variants] if settings is None else [settings]
        for one in sets:
            parameters_of(chosen, dict(one))
            some, few = (-(-total // len(sets)) for total in (beats, contracts))
            cases.append(Case(name, dict(one), seed, some, few, simulator, waves))
    return cases


def run_case(case: Case) -> CampaignResult:
    """The result of one campaign."""
    chosen = unit(case.unit)
    p = parameters_of(chosen, dict(case.settings))
    runner = job_runner(case.simulator, case.waves)
    if case.contracts:
        result = CampaignResult(case.unit, dict(case.settings), case.seed, case.simulator)
        run_jobs(chosen, p, contract_jobs(chosen, p, case.seed, case.contracts), result, runner)
        result.coverage = {}
        return result
    return run_campaign(
        chosen, p, dict(case.settings), seed=case.seed, beats=case.beats, simulator=case.simulator, runner=runner
    )


def run_cases(cases: Sequence[Case], workers: int = 1) -> Iterator[CampaignResult]:
    """Results in the order of ``cases``, which does not depend on ``workers``."""
    if workers == 1:
        yield from map(run_case, cases)
        return
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        yield from pool.map(run_case, cases)


def replay_command(case: Case) -> str:
    """The command line that runs ``case`` once more and keeps its waves."""
    words = ["tiercade", "rtl", "contract" if case.contracts else "test", case.unit]
    for name, value in case.settings.items():
        words += ["--set", f"{name}={value}"]
    amount = ["--cases", str(case.contracts)] if case.contracts else ["--beats", str(case.beats)]
    words += [*amount, "--seed", str(case.seed), "--simulator", case.simulator, "--waves", "waves"]
    return shlex.join(words)
