"""Bytes in each memory tier over time, and whether they fit."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from simulator.engine.execution import Execution
from simulator.engine.graph import Buffer, Segment
from workloads.errors import InfeasibleError

__all__ = ["occupancy", "peak_bytes", "require_capacity"]

# Times of skipped repetitions carry roundings, so that a buffer handed over at one instant may seem to be taken before
# it is given back. Instants closer than this fraction of the makespan count as one, at which giving back comes first.
_SAME_INSTANT = 1e-12

_Change = tuple[float, int, float]  # the time that decides the order, the bytes more or fewer, the time itself


def occupancy(execution: Execution) -> dict[str, list[tuple[float, int]]]:
    """For each tier its occupied bytes as steps (time in s, bytes from then on), residents included.

    Every list starts at time 0. Skipped repetitions count like simulated ones: their allocation and release times
    follow from the steady span, so the curve is that of the unrolled run.
    """
    graph = execution.graph
    instant = _SAME_INSTANT * execution.latency_s
    steady = {resource.name: 0 for resource in graph.resources if resource.kind == "tier"}
    for resident in graph.residents:
        steady[resident.tier] += resident.bytes
    changes: dict[str, list[_Change]] = {tier: [] for tier in steady}
    for segment in graph.segments:
        if segment.buffers:
            begins, finishes = _times(execution, segment)
            for buffer in segment.buffers:
                for taken, given_back in _lifetimes(buffer, segment, begins, finishes):
                    if given_back is None:
                        changes[buffer.tier].append((taken, buffer.bytes, taken))
                    elif given_back - taken > 2 * instant:
                        changes[buffer.tier].append((taken, buffer.bytes, taken))
                        changes[buffer.tier].append((given_back - instant, -buffer.bytes, given_back))
    return {tier: _steps(steady[tier], sorted(changed), instant) for tier, changed in changes.items()}


def peak_bytes(execution: Execution) -> dict[str, int]:
    """The most bytes each tier holds at any time."""
    return {tier: max(bytes for _, bytes in steps) for tier, steps in occupancy(execution).items()}


def require_capacity(execution: Execution, capacity_bytes: Mapping[str, float]) -> dict[str, int]:
    """`peak_bytes`, once every tier named in ``capacity_bytes`` has been found to hold its peak.

    Raises InfeasibleError for the first tier that does not, naming it and the bytes missing; ValueError for a name
    that is no tier of the graph.
    """
    peaks = peak_bytes(execution)
    for tier, capacity in capacity_bytes.items():
        if tier not in peaks:
            raise ValueError(f"capacity given for {tier!r}, which is no tier of the graph")
        if peaks[tier] > capacity:
            raise InfeasibleError(f"capacity of tier {tier!r}", peaks[tier], capacity, "B")
    return peaks


def _times(execution: Execution, segment: Segment) -> tuple[dict[str, list[float]], dict[str, list[float]]]:
    """Per task that a buffer of ``segment`` names: its begins and its finishes in s, by repetition."""
    begins: dict[str, list[float]] = {buffer.allocated_by: [] for buffer in segment.buffers}
    finishes: dict[str, list[float]] = {name: [] for buffer in segment.buffers for name in buffer.freed_by}
    for run in execution.all_runs(segment.name):
        if run.name in begins:
            begins[run.name].append(run.begin_s)
        if run.name in finishes:
            finishes[run.name].append(run.finish_s)
    return begins, finishes


def _lifetimes(
    buffer: Buffer, segment: Segment, begins: Mapping[str, list[float]], finishes: Mapping[str, list[float]]
) -> Iterator[tuple[float, float | None]]:
    """When each repetition's buffer is taken and given back, None for never, in s."""
    for repetition, taken in enumerate(begins[buffer.allocated_by]):
        last = repetition + buffer.lag
        if buffer.freed_by and last < segment.repeat:
            yield taken, max(finishes[name][last] for name in buffer.freed_by)
        else:
            yield taken, None


def _steps(at_start: int, changes: list[_Change], instant: float) -> list[tuple[float, int]]:
    """The curve through ``changes`` in order, with one step per instant and none where nothing changes."""
    steps = []
    since, time, bytes = 0.0, 0.0, at_start
    for order, change, at in changes:
        if order - since > 2 * instant:
            steps.append((time, bytes))
            since, time = order, at
        bytes += change
    steps.append((time, bytes))
    return [step for step, before in zip(steps, [None, *steps], strict=False) if before is None or step[1] != before[1]]
