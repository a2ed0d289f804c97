"""A unit under every kind of neighbour: jobs drawn from a seed, run, and held against golden model and contract."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from hw.rtl.drive.job import Job, Packed, Trace, play_contract
from hw.rtl.ports import Streams, beat_count, inputs_of, outputs_of
from hw.rtl.unit import Unit

__all__ = ["CampaignResult", "JobRunner", "contract_jobs", "draw_jobs", "packed", "run_campaign"]
__all__ += ["run_jobs", "run_jobs_in_amaranth"]

JobRunner = Callable[[Unit[Any], Any, Sequence[Packed]], list[Trace]]
"""Runs packed jobs on the unit with those parameters in some simulator."""

_LONG_PATTERN = 997
_PATIENCE = 64
_FLOWS = ((1.0, 1.0), (1.0, 0.5), (0.5, 1.0), (0.6, 0.6), (0.1, 1.0), (1.0, 0.1))
"""Shares of cycles in which a source offers and a consumer takes."""


@dataclass
class CampaignResult:
    """``beats`` accepted at inputs and given at outputs; ``failures`` are the first few, in words; the cycle
    differences compare RTL and contract in every cycle of ``cases`` jobs."""

    unit: str
    settings: dict[str, Any]
    seed: int
    simulator: str
    cases: int = 0
    beats: int = 0
    cycles: int = 0
    mismatches: int = 0
    max_cycle_difference: int = 0
    closed_form_cases: int = 0
    coverage: dict[str, bool] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)
    wall_s: float = 0.0

    @property
    def missed_goals(self) -> list[str]:
        return [name for name, hit in self.coverage.items() if not hit]

    @property
    def passed(self) -> bool:
        return not self.failures and not self.mismatches and not self.max_cycle_difference and not self.missed_goals


def _pattern(rng: np.random.Generator, share: float) -> np.ndarray[Any, np.dtype[np.bool_]]:
    if share == 1.0:
        return np.ones(1, np.bool_)
    drawn = rng.random(_LONG_PATTERN) < share
    drawn[rng.integers(_LONG_PATTERN)] = True  # never shut for good
    return drawn


def _job(
    unit: Unit[Any], p: Any, name: str, inputs: Streams, rng: np.random.Generator, flow: tuple[float, float]
) -> Job:
    streams = unit.streams(p)
    offers = {s.name: _pattern(rng, flow[0]) for s in inputs_of(streams)}
    takes = {s.name: _pattern(rng, flow[1]) for s in outputs_of(streams)}
    return Job(name, inputs, offers, takes)


def draw_jobs(unit: Unit[Any], p: Any, seed: int, beats: int) -> list[Job]:
    """Directed corners (flowing freely, then among random neighbours), the least packet, about ``beats`` random beats
    over all mixes of idle sources and blocking consumers, and a reset in mid-stream."""
    rng = np.random.default_rng(seed)
    jobs = []
    for number, inputs in enumerate(unit.directed(p)):
        jobs.append(_job(unit, p, f"corner {number}", inputs, rng, (1.0, 1.0)))
        jobs.append(_job(unit, p, f"corner {number} among others", inputs, rng, (0.6, 0.6)))
    jobs.append(_job(unit, p, "least", unit.stimulus(p, rng, 1), rng, (1.0, 1.0)))
    for flow in _FLOWS:
        inputs = unit.stimulus(p, rng, max(1, beats // len(_FLOWS)))
        jobs.append(_job(unit, p, f"offered {flow[0]:.0%}, taken {flow[1]:.0%}", inputs, rng, flow))
    inputs = unit.stimulus(p, rng, 24)
    cut = _job(unit, p, "reset in mid-stream", inputs, rng, (0.8, 0.8))
    return jobs + [Job(f"{cut.name} at {at}", inputs, cut.offers, cut.takes, at) for at in (3, 11, 29)]


def contract_jobs(unit: Unit[Any], p: Any, seed: int, cases: int) -> list[Job]:
    """``cases`` runs of random length among random neighbours; every fourth flows freely, for the closed form."""
    rng = np.random.default_rng(seed)
    jobs = []
    for case in range(cases):
        inputs = unit.stimulus(p, rng, int(2 ** rng.uniform(0, 6.5)))
        flow = (1.0, 1.0) if case % 4 == 0 else (float(rng.uniform(0.05, 1.0)), float(rng.uniform(0.05, 1.0)))
        jobs.append(_job(unit, p, f"case {case}", inputs, rng, flow))
    return jobs


def packed(unit: Unit[Any], p: Any, job: Job, expected: Streams) -> Packed:
    """``job`` in words."""
    streams = unit.streams(p)
    return Packed(
        words={s.name: s.pack(job.inputs[s.name]) for s in inputs_of(streams)},
        offers={name: pattern.tolist() for name, pattern in job.offers.items()},
        takes={name: pattern.tolist() for name, pattern in job.takes.items()},
        expected={s.name: beat_count(expected[s.name]) for s in outputs_of(streams)},
        reset_at=job.reset_at,
        limit=job.limit,
    )


def run_jobs_in_amaranth(unit: Unit[Any], p: Any, jobs: Sequence[Packed], *, waves: Path | None = None) -> list[Trace]:
    """`JobRunner` of Amaranth's own simulator; waves go into the folder ``waves``."""
    from hw.rtl.drive.amaranth_sim import run_in_amaranth  # the hardware library is optional

    streams = unit.streams(p)
    ins, outs = ([s.name for s in side(streams)] for side in (inputs_of, outputs_of))
    if waves is not None:
        waves.mkdir(parents=True, exist_ok=True)
    return run_in_amaranth(unit.build(p), ins, outs, jobs, waves and waves / f"{unit.name}.vcd")


def run_campaign(
    unit: Unit[Any],
    p: Any,
    settings: dict[str, Any],
    *,
    seed: int = 1,
    beats: int = 2000,
    simulator: str = "amaranth",
    runner: JobRunner = run_jobs_in_amaranth,
) -> CampaignResult:
    """Draw jobs, run and check them; nothing is raised for what fails: it is in the result."""
    result = CampaignResult(unit.name, settings, seed, simulator)
    run_jobs(unit, p, draw_jobs(unit, p, seed, beats), result, runner)
    return result


def run_jobs(unit: Unit[Any], p: Any, jobs: Sequence[Job], result: CampaignResult, runner: JobRunner) -> None:
    """Run ``jobs`` and add what is found of them to ``result``."""
    golden = [unit.golden(p, job.inputs) for job in jobs]
    work = [packed(unit, p, job, expected) for job, expected in zip(jobs, golden, strict=True)]
    contract = unit.contract(p)
    promises = [play_contract(contract, job.inputs, words) for job, words in zip(jobs, work, strict=True)]
    # A unit that hangs is given up soon after it should have been done.
    work = [replace(words, limit=known.cycles + _PATIENCE) for words, known in zip(work, promises, strict=True)]
    begun = time.perf_counter()
    traces = runner(unit, p, work)
    result.wall_s = time.perf_counter() - begun
    for job, expected, promised, trace in zip(jobs, golden, promises, traces, strict=True):
        _check(unit, p, job, expected, trace, promised, result)
        free = job.reset_at is None and all(pattern.all() for pattern in (*job.offers.values(), *job.takes.values()))
        if free and any(promised.given.values()):
            _check_closed_form(contract.cycles(**contract.shape(job.inputs)), job, trace, result)
        for name, hit in unit.coverage(p, job.inputs, expected).items():
            result.coverage[name] = result.coverage.get(name, False) or hit


def _check(
    unit: Unit[Any], p: Any, job: Job, expected: Streams, trace: Trace, promised: Trace, result: CampaignResult
) -> None:
    result.cases += 1
    result.cycles += trace.cycles
    failures = [f"{job.name}: {fault}" for fault in trace.faults]
    before = expected
    if unit.in_order is not None:
        expected = unit.in_order(p, job.inputs, promised.accepted)
        before = unit.in_order(p, job.inputs, promised.accepted_before_reset or promised.accepted)
    for stream in outputs_of(unit.streams(p)):
        runs = ((trace.outputs, expected, True), (trace.before_reset, before, False))
        for words, right_beats, whole in runs:
            got, wanted = words.get(stream.name, []), stream.pack(right_beats[stream.name])
            result.beats += len(got)
            pairs = zip(got, wanted, strict=False)
            wrong = [number for number, (a, b) in enumerate(pairs) if a != b]
            missing = abs(len(got) - len(wanted)) if whole else max(0, len(got) - len(wanted))
            result.mismatches += len(wrong) + missing
            if wrong:
                seen, right = (stream.unpack([side[wrong[0]]]) for side in (got, wanted))
                failures.append(f"{job.name}: beat {wrong[0]} of {stream.name} is {seen}, expected {right}")
            elif missing:
                failures.append(f"{job.name}: {len(got)} beats of {stream.name}, expected {len(wanted)}")
    result.beats += sum(len(cycles) for cycles in trace.accepted.values())
    late = 0
    for found, asked in ((trace.accepted, promised.accepted), (trace.given, promised.given)):
        for name in asked:
            late = max([late, *(abs(a - b) for a, b in zip(found[name], asked[name], strict=False))])
    if trace.handshakes != promised.handshakes:
        late = max(late, 1)
        pairs = zip(trace.handshakes, promised.handshakes, strict=False)
        at = next((n for n, (a, b) in enumerate(pairs) if a != b), min(trace.cycles, promised.cycles))
        failures.append(f"{job.name}: handshakes of RTL and contract part in cycle {at}")
    result.max_cycle_difference = max(result.max_cycle_difference, late)
    result.failures += failures[: max(0, 5 - len(result.failures))]


def _check_closed_form(promised: int, job: Job, trace: Trace, result: CampaignResult) -> None:
    first = min(cycles[0] for cycles in trace.accepted.values() if cycles)
    last = max(cycles[-1] for cycles in trace.given.values() if cycles)
    result.closed_form_cases += 1
    difference = abs(last - first + 1 - promised)
    if difference:
        result.max_cycle_difference = max(result.max_cycle_difference, difference)
        result.failures.append(f"{job.name}: {last - first + 1} cycles, closed form {promised}")
