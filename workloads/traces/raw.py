"""What a reader finds in a file, before it becomes a trace: the rules that hold for every format."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workloads.errors import InputError
from workloads.traces.requests import LONGEST_S, RequestTrace

__all__ = ["PRIORITY", "RawRequests", "TraceFile", "finished"]

PRIORITY = "priority"
"""The column or key of priorities, which the public formats do not have: a user adds it."""


@dataclass(frozen=True, eq=False)
class RawRequests:
    """Columns as the file has them: arrivals on any clock and in any order, lengths that may be 0.

    ``arrival_s`` is None where the file has no arrivals, ``priority`` where it has no priorities. ``notes`` say what
    the format's reader assumed.
    """

    prompt_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    arrival_s: NDArray[np.float64] | None = None
    priority: NDArray[np.int64] | None = None
    blocks: Sequence[Sequence[int]] | None = None
    block_tokens: int | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class TraceFile:
    """A trace, the ``format`` it was found in, and ``notes``: sentences on what reading it changed or assumed."""

    trace: RequestTrace
    format: str
    notes: tuple[str, ...] = ()


def finished(raw: RawRequests, file: Path, format_name: str) -> TraceFile:
    """The trace of what was found in a file, and notes on what was changed.

    Requests without a prompt or without an answer are dropped: BurstGPT says that its answers of 0 tokens are
    failures, and other traces have none. What does not stand in the order of arrival is sorted, equal arrivals in
    the order of the file. The first arrival becomes 0.
    """
    notes = list(raw.notes)
    arrival_s, order = raw.arrival_s, np.flatnonzero((raw.prompt_tokens > 0) & (raw.output_tokens > 0))
    dropped = len(raw.prompt_tokens) - len(order)
    if not len(order):
        raise InputError("no request has both a prompt and an answer", "at least one", file=str(file))
    if dropped:
        notes.append(f"{dropped} of {len(raw.prompt_tokens)} requests dropped: no prompt or no answer tokens")
    if arrival_s is None:
        notes.append("the file has no arrivals: all requests arrive at 0")
        arrival_s = np.zeros(len(raw.prompt_tokens))
    kept_s = arrival_s[order]
    if float(np.ptp(kept_s)) > LONGEST_S:
        problem = f"arrivals over {float(np.ptp(kept_s)):.3g} s"
        raise InputError(problem, f"at most {LONGEST_S:.0e} s from the first to the last", "arrivals", file=str(file))
    if np.any(np.diff(kept_s) < 0):
        notes.append("requests sorted by arrival: the file has them in another order")
        order = order[np.argsort(kept_s, kind="stable")]
        kept_s = arrival_s[order]
    distinct = len(np.unique(kept_s))
    if raw.arrival_s is not None and 1 < 2 * distinct <= len(kept_s):
        notes.append(
            f"arrivals are quantised: {distinct} values for {len(kept_s)} requests; spread_bins spreads them, and "
            "before that their inter-arrival CV and short-term dispersion are artefacts"
        )
    trace = RequestTrace(
        name=file.name,
        arrival_s=kept_s - kept_s[0],
        prompt_tokens=raw.prompt_tokens[order],
        output_tokens=raw.output_tokens[order],
        priority=None if raw.priority is None else raw.priority[order],
        blocks=None if raw.blocks is None else tuple(raw.blocks[index] for index in order.tolist()),
        block_tokens=raw.block_tokens,
    )
    return TraceFile(trace, format_name, tuple(notes))
