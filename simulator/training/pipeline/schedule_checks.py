"""What must hold of a pipeline schedule, and how many micro-batches it makes each stage hold."""

from __future__ import annotations

from collections import Counter, deque

import numpy as np
from numpy.typing import NDArray

from simulator.training.pipeline.schedules import Pass, Schedule
from workloads.errors import InputError

__all__ = ["check_schedule", "in_flight", "pass_sequence"]


def in_flight(schedule: Schedule) -> NDArray[np.float64]:
    """Micro-batches whose activations each stage holds at most, [stages], in units of all its chunks: from the start of
    a forward to the end of its last backward."""
    last = Pass.W if schedule.split else Pass.B
    change = np.where(schedule.kind == Pass.F, 1, 0) - np.where(schedule.kind == last, 1, 0)
    peaks: NDArray[np.float64] = np.cumsum(change, axis=1).max(axis=1) / schedule.chunks
    return peaks


def check_schedule(schedule: Schedule) -> None:
    """See that every stage does every pass once, forward before backward before weights' part, and that the stages'
    orders can be kept to: no pass waits for one that waits for it. Raises `InputError` naming stage and pass."""
    kinds = {Pass.F, Pass.B} | ({Pass.W} if schedule.split else set())
    expected = {(k, c, m) for k in kinds for c in range(schedule.chunks) for m in range(schedule.micro_batches)}
    if schedule.waits_for is not None:
        expected |= {(kind, 0, micro) for kind in (Pass.S, Pass.T) for micro in range(schedule.micro_batches)}
    for stage in range(schedule.stages):
        order = schedule.order(stage)
        for each, count in Counter(order).items():
            if count > 1 or each not in expected:
                raise _wrong(schedule, stage, each, "no such pass" if each not in expected else "done twice")
        if missing := expected - set(order):
            raise _wrong(schedule, stage, min(missing), "never done")
        where = {each: index for index, each in enumerate(order)}
        for (kind, chunk, micro), index in where.items():
            before = {Pass.B: Pass.F, Pass.W: Pass.B, Pass.T: Pass.S}.get(kind)
            if before is not None and where[before, chunk, micro] > index:
                raise _wrong(schedule, stage, (kind, chunk, micro), f"before its {before.name}")
    pass_sequence(schedule)


def _wrong(schedule: Schedule, stage: int, each: tuple[Pass, int, int], problem: str) -> InputError:
    kind, chunk, micro = each
    return InputError(f"stage {stage}, {Pass(kind).name}{micro} of chunk {chunk}: {problem}", field=schedule.name)


def pass_sequence(schedule: Schedule) -> list[tuple[int, int]]:
    """All passes as (stage, index in its order), each after those it waits for. Raises `InputError` where the stages
    wait for each other for ever."""
    done: set[tuple[Pass, int, int]] = set()  # pass, position (stage for S and T), micro-batch
    counts: Counter[tuple[Pass, int]] = Counter()
    orders = [schedule.order(stage) for stage in range(schedule.stages)]
    at = [0] * schedule.stages
    found: list[tuple[int, int]] = []
    waiting = deque(range(schedule.stages))
    idle = 0
    while waiting and idle < len(waiting):
        stage = waiting.popleft()
        begun = len(found)
        while at[stage] < len(orders[stage]) and _ready(schedule, stage, orders[stage], at[stage], done, counts):
            kind, chunk, micro = orders[stage][at[stage]]
            done.add((kind, stage if kind in (Pass.S, Pass.T) else schedule.position(stage, chunk), micro))
            counts[kind, micro] += 1
            found.append((stage, at[stage]))
            at[stage] += 1
        idle = 0 if len(found) > begun else idle + 1
        if at[stage] < len(orders[stage]):
            waiting.append(stage)
    if waiting:
        stage = waiting[0]
        raise _wrong(schedule, stage, orders[stage][at[stage]], "waits for ever")
    return found


def _ready(
    schedule: Schedule,
    stage: int,
    order: list[tuple[Pass, int, int]],
    index: int,
    done: set[tuple[Pass, int, int]],
    counts: Counter[tuple[Pass, int]],
) -> bool:
    kind, chunk, micro = order[index]
    position, last = schedule.position(stage, chunk), schedule.positions - 1
    if schedule.blocking and index:
        kind_before, _, micro_before = order[index - 1]
        if kind_before == Pass.T and counts[Pass.T, micro_before] < schedule.stages:
            return False
    if kind == Pass.F:
        return position == 0 or (Pass.F, position - 1, micro) in done
    if kind == Pass.B:
        if position < last:
            return (Pass.B, position + 1, micro) in done
        return schedule.waits_for is None or counts[schedule.waits_for, micro] == schedule.stages
    if kind == Pass.S:
        return (Pass.F, last, micro) in done
    if kind == Pass.T:
        return counts[Pass.S, micro] == schedule.stages
    return (Pass.B, position, micro) in done
