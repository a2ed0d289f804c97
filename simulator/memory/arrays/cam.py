"""Content-addressable memory: which rows match a key, bits left out, and associative recall."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.errors import InputError

__all__ = ["AssociativeMemory", "distances", "first_match", "matches", "nearest"]

Bits = NDArray[np.bool_]


def _check(stored: Bits, key: Bits) -> None:
    if stored.ndim != 2 or key.shape != stored.shape[1:]:
        problem = f"stored words have shape {stored.shape}, the key {key.shape}"
        raise InputError(problem, "(rows, bits) and (bits,)", "key")


def distances(stored: Bits, key: Bits, *, care: Bits | None = None) -> NDArray[np.int64]:
    """How many bits of each row differ from ``key``; where ``care`` (bits, or rows by bits) is unset, none does."""
    _check(stored, key)
    differ = stored ^ key
    if care is not None:
        if care.shape not in (stored.shape, key.shape):
            raise InputError(f"care has shape {care.shape}", f"{key.shape} or {stored.shape}", "care")
        differ = differ & care
    return np.asarray(differ.sum(axis=1), dtype=np.int64)


def matches(stored: Bits, key: Bits, *, care: Bits | None = None, within: int = 0) -> Bits:
    """Rows that differ from ``key`` in at most ``within`` bits; ``care`` unset matches anything (a ternary memory)."""
    if within < 0:
        raise InputError(f"within is {within}", "at least 0", "within")
    return distances(stored, key, care=care) <= within


def first_match(stored: Bits, key: Bits, *, care: Bits | None = None) -> int | None:
    """The lowest row that matches, as a priority encoder gives it; None where none does."""
    rows = np.flatnonzero(matches(stored, key, care=care))
    return int(rows[0]) if rows.size else None


def nearest(stored: Bits, key: Bits) -> int:
    """The row that differs least, the lowest of equals: the last match line to fall."""
    return int(np.argmin(distances(stored, key)))


class AssociativeMemory:
    """Two binary matrices between cues and content, as in the hippocampal memory of arXiv 2310.05868.

    A cue recalls the content it was learnt with; content recalls every cue that shares a bit with it, unranked.
    ``events`` counts synaptic events: connections that a spike went over.
    """

    def __init__(self, cues: int, content_bits: int) -> None:
        if cues < 1 or content_bits < 1:
            raise InputError(f"{cues} cues, {content_bits} content bits", "at least one of each", "cues")
        self._learnt = np.zeros((cues, content_bits), dtype=np.bool_)
        self.events = 0

    def learn(self, cue: int, content: NDArray[Any]) -> None:
        """Store ``content`` under ``cue``; what the cue held before is erased. `InputError` for a cue it has not."""
        cues, bits = self._learnt.shape
        if not 0 <= cue < cues:
            raise InputError(f"cue is {cue}", f"between 0 and {cues - 1}", "cue")
        if content.shape != (bits,):
            raise InputError(f"content has shape {content.shape}", f"({bits},)", "content")
        self._learnt[cue] = content
        self.events += int(self._learnt[cue].sum())

    def recall_content(self, cue: int) -> Bits:
        """The content learnt with ``cue``."""
        self.events += int(self._learnt[cue].sum())
        return np.array(self._learnt[cue], dtype=np.bool_)

    def recall_cues(self, content: NDArray[Any]) -> Bits:
        """The cues whose content shares a set bit with ``content``."""
        shared = self._learnt & content.astype(np.bool_)
        self.events += int(shared.sum())
        return np.asarray(shared.any(axis=1), dtype=np.bool_)
