"""Times between one token and the next of the same sequence, over all sequences: what a reader of a stream sees."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["TokenGaps"]


class TokenGaps:
    """Gaps and how many tokens had to wait so long.

    All that decode wait for the same steps, so that a step is one gap for all of them but those whose last token was
    not the step before's. Steps of one stretch are taken to be equally long.
    """

    def __init__(self) -> None:
        self._gaps: list[tuple[float, int]] = []
        self._since: dict[int, float] = {}  # sequences that have not decoded since they began, with their last token
        self._last_s = 0.0

    def begin(self, number: int, last_token_s: float) -> None:
        """The sequence decodes from the next decode step on."""
        self._since[number] = last_token_s

    def leave(self, number: int) -> float:
        """The sequence gives way; returns when its last token came."""
        return self._since.pop(number, self._last_s)

    def decoded(self, now_s: float, seconds: float, steps: int, members: int) -> None:
        """``members`` have decoded for ``steps`` steps, which took ``seconds`` and have just ended."""
        first_s = now_s - seconds + seconds / steps
        for last_token_s in self._since.values():
            self._gaps.append((first_s - last_token_s, 1))
        others = members - len(self._since)
        if others:
            self._gaps.append((first_s - self._last_s, others))
        if steps > 1:
            self._gaps.append((seconds / steps, members * (steps - 1)))
        self._since.clear()
        self._last_s = now_s

    def waited(self, gap_s: float) -> None:
        """One token came so long after the one before it."""
        self._gaps.append((gap_s, 1))

    def columns(self) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Gaps in seconds and the number of tokens of each."""
        if not self._gaps:
            return np.zeros(0), np.zeros(0, np.int64)
        gaps, counts = zip(*self._gaps, strict=True)
        return np.array(gaps, np.float64), np.array(counts, np.int64)
