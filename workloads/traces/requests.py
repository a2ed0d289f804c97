"""Request traces: when each request arrives, how long its prompt and its answer are, and which prefix it shares."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workloads.errors import InputError

__all__ = ["LONGEST_S", "RequestTrace"]

LONGEST_S = 1e9
"""Thirty years: that far from 0, seconds in double precision still tell 0.1 microseconds apart."""


@dataclass(frozen=True, eq=False)
class RequestTrace:
    """Requests in the order of arrival, a column each; row ``i`` of every column is request ``i``.

    ``arrival_s`` counts from the first request and does not fall. ``output_tokens`` is at least 1. Where prefixes are
    known, ``blocks[i]`` lists the ids of the prompt's blocks of ``block_tokens`` tokens (the last may be partial): two
    prompts that begin with the same ids share that prefix. ``priority`` orders requests for schedulers that ask for it:
    lower goes first. ``name`` says where the trace is from.
    """

    name: str
    arrival_s: NDArray[np.float64]
    prompt_tokens: NDArray[np.int64]
    output_tokens: NDArray[np.int64]
    priority: NDArray[np.int64] | None = None
    blocks: tuple[Sequence[int], ...] | None = None
    block_tokens: int | None = None

    def __post_init__(self) -> None:
        lengths = {len(self.arrival_s), len(self.prompt_tokens), len(self.output_tokens)}
        lengths |= {len(column) for column in (self.priority, self.blocks) if column is not None}
        if len(lengths) > 1:
            raise InputError(f"columns of {sorted(lengths)} requests", "columns of one length")
        if not len(self):
            raise InputError("no requests", "at least one")
        if not np.all(np.isfinite(self.arrival_s)) or np.any(np.diff(self.arrival_s) < 0) or self.arrival_s[0] < 0:
            raise InputError("arrivals that fall, or are before 0", "seconds that do not fall", "arrival_s")
        if self.arrival_s[-1] > LONGEST_S:
            raise InputError(f"arrivals over {self.arrival_s[-1]:.3g} s", f"at most {LONGEST_S:.0e} s", "arrival_s")
        for column in ("prompt_tokens", "output_tokens"):
            smallest = int(getattr(self, column).min())
            if smallest < 1:
                raise InputError(f"{smallest} tokens", "at least 1", column)
        if (self.blocks is None) != (self.block_tokens is None):
            raise InputError("blocks without their size, or a size without blocks", "both or neither", "block_tokens")

    def __len__(self) -> int:
        return len(self.arrival_s)

    def rows(self) -> Iterator[tuple[float, int, int, int, Sequence[int]]]:
        """Arrival, prompt and output tokens, priority (0 without) and blocks (none without) of each request."""
        priority = [0] * len(self) if self.priority is None else self.priority.tolist()
        blocks: Sequence[Sequence[int]] = [()] * len(self) if self.blocks is None else self.blocks
        columns = (self.arrival_s.tolist(), self.prompt_tokens.tolist(), self.output_tokens.tolist(), priority, blocks)
        yield from zip(*columns, strict=True)
