"""Attention of one query after another over rows of keys and values, in integers, in one pass.

Numerics are those of `workloads.formats.arith.integer_attention`: octaves as running maximum, so that rescaling is an
exact number of places. A query comes first; keys stream in and meet it; each position's weight then meets its value,
which streams beside, some cycles behind; sum and accumulators follow the highest octave. The row's ``last`` key starts
the divider, and the output leaves while the next row is under way. Keys and values flow at one beat a cycle each,
from row to row. `last` counts in the last beat of a key. A row has at most ``length`` positions: that is what sum and
accumulator are wide enough for.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np

from hw.rtl.attention.integer_attention_contract import AttentionRowContract
from hw.rtl.ports import Field, Stream, Streams
from hw.rtl.unit import ReducedWidths, Unit
from workloads.errors import InputError
from workloads.formats.arith.integer_attention import AttentionNumerics, integer_attention, requantised
from workloads.formats.golden.arrays import Integers

__all__ = ["UNIT", "IntegerAttention"]


@dataclass(frozen=True)
class IntegerAttention:
    """Vectors of ``head`` elements, ``lanes`` of them a beat; the rest as in
    `workloads.formats.arith.integer_attention.AttentionNumerics`."""

    head: int = 8
    lanes: int = 2
    length: int = 32
    width: int = 8
    fraction: int = 4
    weight: int = 12
    multiplier: int = 164
    shift: int = 16
    output_multiplier: int = 181
    output_shift: int = 7

    def __post_init__(self) -> None:
        limits = (
            ("head", 1, 256),
            ("lanes", 1, self.head),
            ("length", 1, 4096),
            ("width", 3, 8),
            ("fraction", 0, self.width - 2),
            ("weight", self.fraction + 2, 16),
            ("multiplier", 1, 65535),
            ("shift", 1, 32),
            ("output_multiplier", 1, 255),
            ("output_shift", 0, 16),
        )
        for name, low, high in limits:
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"{value} {name}", f"from {low} to {high}", name)
        if self.head % self.lanes:
            raise InputError(f"{self.lanes} lanes", f"a divisor of the head's {self.head} elements", "lanes")

    @property
    def beats(self) -> int:
        """Beats of a vector."""
        return self.head // self.lanes

    @property
    def numerics(self) -> AttentionNumerics:
        return AttentionNumerics(**{field.name: getattr(self, field.name) for field in fields(AttentionNumerics)})

    @property
    def contract(self) -> AttentionRowContract:
        return AttentionRowContract(self.beats, self.numerics.digits)

    @property
    def octave_bits(self) -> int:
        """Bits of a score's octave, and of the distance between two."""
        return self.width - self.fraction

    @property
    def product_bits(self) -> int:
        """Bits of a dot product: ``head`` products of at most 2^(2 width - 2)."""
        return (self.head << (2 * self.width - 2)).bit_length() + 1


def _streams(p: IntegerAttention) -> tuple[Stream, ...]:
    def vector(name: str) -> Field:
        return Field(name, p.width, True, p.lanes)

    return (
        Stream("q", "in", (vector("q"),)),
        Stream("k", "in", (vector("k"), Field("last", 1))),
        Stream("v", "in", (vector("v"),)),
        Stream("o", "out", (vector("o"),)),
    )


def _rows(p: IntegerAttention, inputs: Streams) -> list[tuple[Integers, Integers, Integers]]:
    """Query, keys and values of each row."""
    queries, keys, values = (inputs[name][name].reshape(-1, p.head) for name in "qkv")
    ends = np.flatnonzero(inputs["k"]["last"][p.beats - 1 :: p.beats]) + 1
    return [(queries[n], keys[a:b], values[a:b]) for n, (a, b) in enumerate(zip([0, *ends[:-1]], ends, strict=True))]


def _golden(p: IntegerAttention, inputs: Streams) -> Streams:
    outputs = [integer_attention(*row, p.numerics) for row in _rows(p, inputs)]
    return {"o": {"o": np.concatenate(outputs).reshape(-1, p.lanes)}}


def _inputs(p: IntegerAttention, rows: list[tuple[Integers, Integers, Integers]]) -> Streams:
    last = [np.repeat([0] * (len(k) - 1) + [1], p.beats) for _, k, _ in rows]
    shaped = [np.concatenate([np.reshape(row[n], (-1, p.head)) for row in rows]).reshape(-1, p.lanes) for n in range(3)]
    return {"q": {"q": shaped[0]}, "k": {"k": shaped[1], "last": np.concatenate(last)}, "v": {"v": shaped[2]}}


def _drawn(p: IntegerAttention, rng: np.random.Generator, beats: int) -> Streams:
    low, high = -(1 << (p.width - 1)), (1 << (p.width - 1)) - 1
    rows, left = [], max(1, beats // p.beats)
    while left > 0:
        positions = min(left, int(rng.choice([1, int(rng.integers(1, p.length + 1)), p.length], p=[0.3, 0.5, 0.2])))
        query = rng.integers(low, high + 1, p.head)
        keys = rng.integers(low, high + 1, (positions, p.head))
        kind = rng.integers(5)
        if kind == 0:  # scores rise along the row
            keys = np.rint(np.linspace(-0.7, 0.7, positions)[:, None] * query + rng.integers(-9, 10, keys.shape))
        elif kind == 1:  # all alike
            keys = np.broadcast_to(keys[:1], keys.shape)
        elif kind == 2:  # one far above the others
            keys[rng.integers(positions)] = query
        elif kind == 3:
            keys = keys // 8
        values = rng.integers(low, high + 1, keys.shape)
        if rng.random() < 0.3:
            values = np.broadcast_to(rng.choice([low, high], p.head), keys.shape)
        rows.append((query, np.clip(keys, low, high).astype(np.int64), values))
        left -= positions
    inputs = _inputs(p, rows)
    other = np.arange(len(inputs["k"]["last"])) % p.beats != p.beats - 1
    inputs["k"]["last"] ^= other & (rng.random(len(other)) < 0.5)  # counts in the last beat of a key alone
    return inputs


def _directed(p: IntegerAttention) -> list[Streams]:
    """The largest sum and accumulators of either sign, the widest rise and fall, rows of one position."""
    low, high = -(1 << (p.width - 1)), (1 << (p.width - 1)) - 1
    one = np.ones(p.head, np.int64)
    rows = []
    for query, first, rest, value in ((low, low, low, low), (low, high, low, high), (low, low, high, low)):
        keys = np.full((p.length, p.head), rest)
        keys[0] = first
        rows.append((query * one, keys, np.full((p.length, p.head), value)))
    rows += [(high * one, (high * one)[None], (value * one)[None]) for value in (low, -1, 0, 1, high)]
    return [_inputs(p, rows)]


def _coverage(p: IntegerAttention, inputs: Streams, outputs: Streams) -> dict[str, bool]:
    low, high = -(1 << (p.width - 1)), (1 << (p.width - 1)) - 1
    rows = _rows(p, inputs)
    rises, falls, far, clipped, lengths = 0, 0, 0, 0, set()
    for query, keys, _ in rows:
        products = keys @ query
        scores = requantised(products, p.multiplier, p.shift, p.width)
        octaves = scores >> p.fraction
        highest = np.maximum.accumulate(octaves)
        rises += int((np.diff(highest) > 0).any())
        falls += int((octaves < highest).any())
        far += int((highest - octaves >= p.weight).any())
        clipped += int((np.abs(products * p.multiplier >> p.shift) > high + 1).any())
        lengths.add(len(keys))
    given = outputs["o"]["o"]
    steps = (high - low) >> p.fraction
    goals = {
        "row of one position": 1 in lengths,
        "longest row": p.length in lengths,
        "least output": bool((given == low).any()),
        "greatest output": bool((given == high).any()),
        "output zero": bool((given == 0).any()),
    }
    if p.length > 1:
        goals |= {"maximum rose": rises > 0, "weight shifted down": falls > 0}
        if steps >= p.weight:
            goals["weight shifted out"] = far > 0
    if (p.head << (2 * p.width - 2)) * p.multiplier >> p.shift > 2 * high:
        goals["score clipped"] = clipped > 0
    return goals


UNIT = Unit(
    name="integer-attention",
    family="attention",
    summary="attention of a query over keys and values in integers, one pass, softmax to base 2 in whole octaves",
    parameters=IntegerAttention,
    streams=_streams,
    golden=_golden,
    stimulus=_drawn,
    directed=_directed,
    coverage=_coverage,
    contract=lambda p: p.contract,
    component="hw.rtl.attention.integer_attention:IntegerAttentionUnit",
    numerics="exact dot products; requantising rounds half up and clips; weights and rescaling by octaves are floored",
    variants=(
        {"head": 8, "lanes": 8, "length": 16, "multiplier": 300, "weight": 8},
        {
            "head": 6,
            "lanes": 2,
            "length": 20,
            "fraction": 2,
            "multiplier": 500,
            "output_multiplier": 1,
            "output_shift": 0,
        },
        {"head": 4, "lanes": 1, "length": 1, "width": 4, "fraction": 0, "multiplier": 3, "shift": 6, "weight": 4},
    ),
    formal=ReducedWidths(
        {"head": 2, "lanes": 1, "length": 2, "width": 3, "fraction": 0, "weight": 2, "multiplier": 1, "shift": 2},
        "control does not depend on data",
    ),
    formal_depth=14,
    synthesis=({}, {"lanes": 1}, {"lanes": 4}, {"weight": 8}),
)
