"""From replicas that have run to a result, in the order of the trace."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from simulator.serving.replica import Replica
from simulator.serving.result import ServingResult, Timeline

__all__ = ["collect", "counting", "raise_if_nothing_fits", "timeline_of"]


def counting(progress: Callable[[int, float], None] | None, *, ended: int = 0) -> Callable[[int, float], None]:
    """What replicas tell a request's number and time when it ends: ``progress`` is told how many have."""

    def on_finish(_number: int, now_s: float) -> None:
        nonlocal ended
        ended += 1
        if progress is not None:
            progress(ended, now_s)

    return on_finish


def collect(
    name: str,
    replicas: Sequence[Replica],
    placed: Sequence[tuple[int, int]],
    *,
    wall_seconds: float,
    interrupted: bool = False,
    end_s: float | None = None,
) -> ServingResult:
    """One result of all ``replicas``; ``placed`` says for each request its replica and its number there.

    Replicas idle from their own end to that of the last one, or to ``end_s``.
    """
    gap_s, gap_tokens = zip(*(replica.gaps.columns() for replica in replicas), strict=True)
    states = [replica.state for replica in replicas]
    parts: dict[str, float] = {}
    end_s = max(replica.now_s for replica in replicas) if end_s is None else end_s
    for replica in replicas:
        for part, seconds in replica.parts_s.items():
            parts[part] = parts.get(part, 0.0) + seconds
        for part, seconds in (("kv wait", replica.wait_s), ("idle", replica.idle_s + end_s - replica.now_s)):
            if seconds > 0:
                parts[part] = parts.get(part, 0.0) + seconds

    def floats(column: str) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        return np.array([getattr(states[where], column)[number] for where, number in placed], dtype=np.float64)

    def integers(column: str) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        return np.array([getattr(states[where], column)[number] for where, number in placed], dtype=np.int64)

    return ServingResult(
        name=name,
        arrival_s=floats("arrival_s"),
        prompt_tokens=integers("prompt"),
        output_tokens=integers("output"),
        start_s=floats("start_s"),
        first_s=floats("first_s"),
        last_s=floats("last_s"),
        produced=np.array([replicas[where].produced(number) for where, number in placed], dtype=np.int64),
        preempted=integers("preempted"),
        rejected=integers("rejected").astype(np.bool_),
        energy_j=sum(replica.energy_j for replica in replicas),
        parts_s=parts,
        gap_s=np.concatenate(gap_s),
        gap_tokens=np.concatenate(gap_tokens),
        steps=sum(replica.steps for replica in replicas),
        events=sum(replica.events for replica in replicas),
        computed_tokens=sum(replica.computed_tokens for replica in replicas),
        reused_tokens=sum(sum(state.reused) for state in states),
        timelines=tuple(timeline_of(replica, end_s) for replica in replicas),
        wall_seconds=wall_seconds,
        interrupted=interrupted,
        replica=np.array([where for where, _ in placed], dtype=np.int64),
    )


def timeline_of(replica: Replica, end_s: float) -> Timeline:
    """The samples of a replica as columns; after its own end nothing runs on it until ``end_s``."""
    columns = list(zip(*replica.samples, strict=True)) if replica.samples else [()] * 5
    time_s, running, waiting, used, held = columns
    return Timeline(
        np.array(time_s, np.float64),
        np.array(running, np.int64),
        np.array(waiting, np.int64),
        np.array(used, np.float64),
        np.array(held, np.float64),
        replica.memory.capacity_bytes,
        end_s,
    )


def raise_if_nothing_fits(replicas: Sequence[Replica]) -> None:
    """Raise the memory's refusal when it has refused every request there was."""
    refusals = [replica.refusal for replica in replicas if replica.refusal is not None]
    if refusals and all(all(replica.state.rejected) for replica in replicas):
        raise refusals[0]
