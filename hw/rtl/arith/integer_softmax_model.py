"""Integer softmax of ITA over rows of any length, at one beat a cycle.

Numerics are those of `workloads.formats.arith.integer_softmax` with a beat as block. A row comes once: its beats wait
in a ring while maximum and sum are taken, and leave as probabilities once a pipelined divider of one quotient bit a
stage has given the reciprocal. Meanwhile the next rows may come in: the ring holds a longest row and what arrives
during the latency, so that neighbours that never pause see one beat a cycle whatever the rows' lengths. A row of more
than ``row`` beats is the caller's fault and may never end.

The sum is 2^width * lanes * row at most, all scores of the longest row equal, and has the bits for it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw.rtl.contract import Automaton, Handshake
from hw.rtl.ports import Field, Stream, Streams, beat_count
from hw.rtl.unit import ReducedWidths, Unit
from workloads.errors import InputError
from workloads.formats.arith.integer_softmax import integer_softmax, integer_softmax_sum, integer_softmax_sum_bits

__all__ = ["UNIT", "IntegerSoftmax", "RowsContract"]


@dataclass(frozen=True)
class IntegerSoftmax:
    """``lanes`` signed scores of ``width`` bits a beat, 2^``fraction`` steps of them an octave; rows of at most ``row``
    beats; probabilities of ``width`` unsigned bits."""

    lanes: int = 4
    width: int = 8
    fraction: int = 3
    row: int = 16

    def __post_init__(self) -> None:
        limits = (("lanes", 1, 256), ("width", 2, 16), ("fraction", 0, self.width - 1), ("row", 1, 4096))
        for name, low, high in limits:
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"{value} {name}", f"from {low} to {high}", name)

    @property
    def sum_width(self) -> int:
        """Bits of a row's sum."""
        return integer_softmax_sum_bits(self.lanes * self.row, self.width)

    @property
    def latency_cycles(self) -> int:
        """Three stages to the row's terms, one sum, ``width`` quotient bits, the queue of rows, what is read from it
        and the ring, the output."""
        return self.width + 7

    @property
    def ring(self) -> int:
        """Beats that the ring holds."""
        return self.row + self.latency_cycles


@dataclass(frozen=True)
class RowsContract:
    """Rows that wait in a ring of ``ring`` beats until their last beat, and ``latency_cycles`` more, have passed."""

    latency_cycles: int
    ring: int

    @property
    def interval_cycles(self) -> int:
        return 1

    def shape(self, inputs: Streams) -> dict[str, int]:
        lengths = np.diff(np.flatnonzero(inputs["i"]["last"]), prepend=-1)
        return {"beats": beat_count(inputs["i"]), "longest": int(lengths.max())}

    def cycles(self, *, beats: int, longest: int) -> int:
        """A row's outputs wait for its last beat and then for those of the rows before: the longest decides."""
        return beats + longest + self.latency_cycles - 1

    def automaton(self, inputs: Streams) -> Automaton:
        return _Rows(self, inputs["i"]["last"])


class _Rows:
    def __init__(self, contract: RowsContract, last: NDArray[Any]) -> None:
        self.last, self.ring = last, contract.ring
        self.waiting: deque[bool] = deque()
        self.under_way: deque[bool] = deque([False] * (contract.latency_cycles - 3))
        self.rows = 0
        self.read = self.valid = False

    def step(self, offered: Mapping[str, int | None], willing: Mapping[str, bool]) -> Handshake:
        shown = Handshake(ready={"i": len(self.waiting) < self.ring}, valid={"o": self.valid})
        beat = offered["i"]
        accepted = beat is not None and shown.ready["i"]
        if willing["o"] or not self.valid:
            self.valid, self.read = self.read, self.rows > 0
            if self.read:
                self.rows -= self.waiting.popleft()
        ends = accepted and bool(self.last[beat])
        if accepted:
            self.waiting.append(ends)
        self.rows += self.under_way.pop()
        self.under_way.appendleft(ends)
        return shown


def _streams(p: IntegerSoftmax) -> tuple[Stream, ...]:
    scores = (Field("x", p.width, True, p.lanes), Field("counts", 1, False, p.lanes), Field("last", 1))
    return (
        Stream("i", "in", scores),
        Stream("o", "out", (Field("p", p.width, False, p.lanes), Field("last", 1))),
    )


def _row_slices(last: NDArray[Any]) -> list[slice]:
    ends = np.flatnonzero(last) + 1
    return [slice(int(a), int(b)) for a, b in zip([0, *ends[:-1]], ends, strict=True)]


def _golden(p: IntegerSoftmax, inputs: Streams) -> Streams:
    beats = inputs["i"]
    rows = [
        integer_softmax(
            beats["x"][part].ravel(), beats["counts"][part].ravel(), block=p.lanes, fraction=p.fraction, bits=p.width
        )
        for part in _row_slices(beats["last"])
    ]
    return {"o": {"p": np.concatenate(rows).reshape(-1, p.lanes), "last": beats["last"]}}


def _drawn(p: IntegerSoftmax, rng: np.random.Generator, beats: int) -> Streams:
    low, high = -(1 << (p.width - 1)), 1 << (p.width - 1)
    rows, counts, last = [], [], []
    left = beats
    while left > 0:
        length = min(left, int(rng.choice([1, int(rng.integers(1, p.row + 1)), p.row], p=[0.3, 0.5, 0.2])))
        shape = (length, p.lanes)
        level, wide = rng.integers(low, high), max(1, 3 << p.fraction)
        drawn = {
            "anything": rng.integers(low, high, shape),
            "near": level + rng.integers(-wide, wide + 1, shape),
            "rising": np.linspace(low, level, length).astype(np.int64)[:, None] + rng.integers(0, 4, shape),
            "equal": np.full(shape, level),
        }
        rows.append(np.clip(drawn[rng.choice(list(drawn))], low, high - 1))
        counts.append(rng.random(shape) < rng.choice([1.0, 1.0, 0.7, 0.1]))
        last += [0] * (length - 1) + [1]
        left -= length
    return {
        "i": {
            "x": np.concatenate(rows),
            "counts": np.concatenate(counts).astype(np.int64),
            "last": np.array(last, dtype=np.int64),
        }
    }


def _directed(p: IntegerSoftmax) -> list[Streams]:
    """The largest sum, the largest rise at the end and at the start, a row of which nothing counts, single beats."""
    low, high = -(1 << (p.width - 1)), (1 << (p.width - 1)) - 1
    rows = []
    for first, rest, final, counts in (
        (high, high, high, 1),
        (low, low, low, 1),
        (low, low, high, 1),
        (high, low, low, 1),
        (low, high, high, 0),
    ):
        x = np.full((p.row, p.lanes), rest)
        x[0], x[-1] = first, final
        rows.append((x, np.full_like(x, counts), [0] * (p.row - 1) + [1]))
    single = np.resize(np.arange(low, high + 1), (4, p.lanes))
    rows.append((single, np.ones_like(single), [1] * 4))
    return [
        {
            "i": {
                "x": np.concatenate([x for x, _, _ in rows]),
                "counts": np.concatenate([counts for _, counts, _ in rows]),
                "last": np.concatenate([last for _, _, last in rows]),
            }
        }
    ]


def _coverage(p: IntegerSoftmax, inputs: Streams, outputs: Streams) -> dict[str, bool]:
    beats, given = inputs["i"], outputs["o"]["p"]
    low, high = -(1 << (p.width - 1)), (1 << (p.width - 1)) - 1
    parts = _row_slices(beats["last"])
    sums = [
        integer_softmax_sum(
            beats["x"][part].ravel(), beats["counts"][part].ravel(), block=p.lanes, fraction=p.fraction, bits=p.width
        )
        for part in parts
    ]
    lengths = {part.stop - part.start for part in parts}
    counts = beats["counts"] > 0
    goals = {
        "lowest score": bool((beats["x"][counts] == low).any()),
        "highest score": bool((beats["x"][counts] == high).any()),
        "largest sum": any(total == p.lanes * p.row << p.width for total, _, _ in sums),
        "row of which nothing counts": any(total == 0 for total, _, _ in sums),
        "row of one beat": 1 in lengths,
        "longest row": p.row in lengths,
        "probability one": bool((given == (1 << p.width) - 1).any()),
        "counted probability zero": bool((given[counts] == 0).any()),
        "not counted": not counts.all(),
    }
    if p.row > 1:
        goals["maximum rose in a row"] = any(rises > 0 for _, _, rises in sums)
    return goals


UNIT = Unit(
    name="integer-softmax",
    family="arith",
    summary="softmax to base 2 of integers by shifts and one division a row, one beat a cycle",
    parameters=IntegerSoftmax,
    streams=_streams,
    golden=_golden,
    stimulus=_drawn,
    directed=_directed,
    coverage=_coverage,
    contract=lambda p: RowsContract(p.latency_cycles, p.ring),
    component="hw.rtl.arith.integer_softmax:IntegerSoftmaxUnit",
    numerics="ITA's streaming softmax: octaves rounded half up, each term, rise and quotient floored",
    variants=(
        {"lanes": 2, "fraction": 0, "row": 5},
        {"lanes": 8, "width": 4, "fraction": 2, "row": 32},
        {"lanes": 16, "fraction": 5, "row": 1},
    ),
    formal=ReducedWidths({"lanes": 1, "width": 2, "fraction": 0, "row": 1}, "control does not depend on data"),
    formal_depth=14,
    synthesis=({}, {"lanes": 2}, {"lanes": 8}, {"row": 4}),
)
