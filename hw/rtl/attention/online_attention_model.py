"""Online-softmax attention: queries, keys and values in, rows of attention out, one beat of keys and values a cycle.

Row after row: ``group`` queries of ``head / lanes`` beats each (stream ``q``; length and position of the last beat
count); then the keys (``k``) of as many positions as there are, ``last`` set on the last beat of the last position;
and their values (``v``). The rows come out at ``o``, query by query. Positions from ``length`` on, and with ``causal``
those beyond ``position``, get no weight. A row of more than ``positions`` positions is the caller's fault: its sums may
wrap. Numerics, and the bound of their error, are those of `hw.rtl.attention.online_attention_golden`; widths follow
from it: no product of a score reaches 2^(score_fraction + 2), no weight 2, no weighted value 4, each in its frame.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from hw.rtl.attention.online_attention_contract import OnlineAttentionContract, position_slots
from hw.rtl.attention.online_attention_golden import attention_rows, row_limit, weight_logarithms
from hw.rtl.attention.online_attention_parameters import OnlineAttention
from hw.rtl.ports import Beats, Streams
from hw.rtl.unit import AttentionWork, ReducedWidths, Unit
from workloads.formats.golden.arrays import Integers
from workloads.formats.golden.floats import FloatFormat, encode

__all__ = ["UNIT", "Row", "beats_of", "rows_of"]


@dataclass(frozen=True)
class Row:
    """One group of queries: codes ``q`` (group, head), ``k`` and ``v`` (count, head)."""

    q: Integers
    k: Integers
    v: Integers
    length: int
    position: int = 0


def beats_of(p: OnlineAttention, rows: list[Row], rng: np.random.Generator | None = None) -> Streams:
    """The rows as beats; what does not count (sidebands of beats that are not the last) is drawn from ``rng``."""
    length, position, last = (_Sideband(rng, most) for most in (p.positions, p.positions - 1, 1))
    for row in rows:
        length.add(p.group * p.parts, [row.length])
        position.add(p.group * p.parts, [row.position])
        for at in range(len(row.k)):
            last.add(p.parts, [int(at == len(row.k) - 1)])
    q, k, v = (np.concatenate([getattr(row, name).reshape(-1, p.lanes) for row in rows]) for name in "qkv")
    queries: Beats = {"data": q, "length": length.all()}
    if p.causal:
        queries["position"] = position.all()
    return {"q": queries, "k": {"data": k, "last": last.all()}, "v": {"data": v}}


class _Sideband:
    def __init__(self, rng: np.random.Generator | None, most: int) -> None:
        self.rng, self.most, self.pieces = rng, most, list[Integers]()

    def add(self, beats: int, value: list[int]) -> None:
        size = beats - 1
        self.pieces.append(np.zeros(size, np.int64) if self.rng is None else self.rng.integers(0, self.most + 1, size))
        self.pieces.append(np.array(value, np.int64))

    def all(self) -> Integers:
        return np.concatenate(self.pieces)


def rows_of(p: OnlineAttention, inputs: Streams) -> Iterator[Row]:
    """The rows that `beats_of` put into beats."""
    q, k, v = (inputs[name]["data"].reshape(-1, p.head) for name in "qkv")
    last_beats = slice(p.group * p.parts - 1, None, p.group * p.parts)
    lengths = inputs["q"]["length"][last_beats]
    positions = inputs["q"]["position"][last_beats] if p.causal else np.zeros_like(lengths)
    ends = np.flatnonzero(inputs["k"]["last"][p.parts - 1 :: p.parts]) + 1
    begin = 0
    for at, end in enumerate(ends.tolist()):
        queries = q[at * p.group : (at + 1) * p.group]
        yield Row(queries, k[begin:end], v[begin:end], int(lengths[at]), int(positions[at]))
        begin = end


def _golden(p: OnlineAttention, inputs: Streams) -> Streams:
    rows = [attention_rows(p, r.q, r.k, r.v, row_limit(p, r.length, r.position)) for r in rows_of(p, inputs)]
    return {"o": {"data": np.concatenate(rows).reshape(-1, p.lanes)}}


_STYLES = ("normal", "peaked", "rising", "falling", "equal", "any", "tiny", "zeros", "huge")


def _codes(rng: np.random.Generator, fmt: FloatFormat, shape: tuple[int, int], style: str) -> Integers:
    """Codes of one tensor; "any" draws all finite codes alike, "tiny" subnormals and zeros."""
    if style == "any":
        magnitude = rng.integers(0, fmt.largest_code + 1, shape)
    elif style == "tiny":
        magnitude = rng.integers(0, 1 << (fmt.mantissa_bits + 1), shape)
    elif style == "zeros":
        magnitude = rng.integers(0, fmt.largest_code + 1, shape) * (rng.random(shape) < 0.1)
    else:
        size = {"peaked": 4.0, "huge": fmt.maximum**0.5}.get(style, 1.0)
        return encode(np.clip(rng.normal(size=shape) * size, -fmt.maximum, fmt.maximum), fmt)
    return magnitude + (rng.integers(0, 2, shape) << (fmt.bits - 1))


def _row(p: OnlineAttention, rng: np.random.Generator, count: int, style: str) -> Row:
    q = _codes(rng, p.query_format, (p.group, p.head), style)
    k = _codes(rng, p.cache_format, (count, p.head), style)
    v = _codes(rng, p.cache_format, (count, p.head), str(rng.choice(["normal", "any", style])))
    if style == "equal":
        k[:] = k[0]
    if style in ("rising", "falling"):
        slope = np.arange(count)[:: 1 if style == "rising" else -1, None] * rng.choice([0.1, 1.0, 8.0])
        q = encode(np.abs(rng.normal(size=q.shape)) + 0.25, p.query_format)
        top = p.cache_format.maximum
        k = encode(np.minimum(np.abs(rng.normal(size=k.shape)) * 0.1 + slope, top), p.cache_format)
    if rng.random() < 0.1:
        fmt, codes = ((p.query_format, q), (p.cache_format, k), (p.cache_format, v))[rng.integers(3)]
        broken = rng.integers(fmt.largest_code + 1, 1 << (fmt.bits - 1))
        codes[rng.integers(len(codes)), rng.integers(p.head)] = broken + (rng.integers(2) << (fmt.bits - 1))
    length = p.positions if rng.random() < 0.6 else int(rng.integers(0, count + 2))
    position = int(rng.integers(0, p.positions) if rng.random() < 0.5 else rng.integers(0, count))
    return Row(q, k, v, min(length, p.positions), min(position, p.positions - 1))


def _drawn(p: OnlineAttention, rng: np.random.Generator, beats: int) -> Streams:
    rows: list[Row] = []
    left = beats
    while left > 0:
        edges = [1, 2, p.block, p.block + 1, 2 * p.block, 2 * p.block + 1, int(rng.integers(3, 40))]
        count = max(1, min(int(rng.choice(edges)), p.positions, -(-left // p.parts)))
        rows.append(_row(p, rng, count, str(rng.choice(_STYLES))))
        left -= count * p.parts
    return beats_of(p, rows, rng)


def _directed(p: OnlineAttention) -> list[Streams]:
    """The largest sums; a maximum that rises, or falls, at every position; masked rows; no numbers."""
    rng = np.random.default_rng(7)
    count = min(p.positions, 16)
    q_top, top = p.query_format.largest_code, p.cache_format.largest_code
    q_minus, minus = (fmt.largest_code | (1 << (fmt.bits - 1)) for fmt in (p.query_format, p.cache_format))

    def full(q: int, k: int, v: int, length: int = p.positions, many: int = count) -> Row:
        shapes = ((p.group, p.head), (many, p.head), (many, p.head))
        queries, keys, values = (np.full(shape, code, np.int64) for shape, code in zip(shapes, (q, k, v), strict=True))
        return Row(queries, keys, values, length, p.positions - 1)

    extremes = [full(0, 0, top), full(0, top, minus), full(q_top, top, top), full(q_top, minus, minus, many=1)]
    alone = full(q_minus, top, top, many=3)
    alone.k[1] = 0  # a weight of 1 among weights of 0
    far = full(q_top, minus, top, many=3)
    far.k[2] = top
    ramps = [_row(p, rng, count, style) for style in ("rising", "falling", "huge", "tiny", "any")]
    hidden = [full(0, 0, top, length=0, many=2), full(0, 0, top, length=1, many=count), full(0, 0, top, length=0)]
    odd = []
    for name in "qkv":
        row = full(0, 0, 0, many=3)
        fmt = p.query_format if name == "q" else p.cache_format
        getattr(row, name)[0, -1] = fmt.largest_code + 1
        odd.append(row)
    late = full(0, 0, top, length=2, many=3)
    late.k[2] = late.v[2] = top + 1  # hidden, so it does not matter
    return [
        beats_of(p, rows) for rows in (extremes, [alone, far], ramps, hidden, [*odd, late], _cancelling(p) or [far])
    ]


def _cancelling(p: OnlineAttention) -> list[Row]:
    """Large products that leave next to nothing, or nothing, at exponents around the one beyond which only signs count:
    (2^m + 1)(2^m - 1) against 2^m * 2^m."""
    q_fmt, k_fmt = p.query_format, p.cache_format
    rows: list[Row] = []
    for frame in range(p.score_anchor - 1, p.score_anchor + 3):
        k_field = min(k_fmt.largest_code >> k_fmt.mantissa_bits, frame - 1)
        q_field = frame - k_field
        if p.head == 1 or k_field < 2 or q_field > q_fmt.largest_code >> q_fmt.mantissa_bits:
            continue
        q_one, k_one = q_field << q_fmt.mantissa_bits, k_field << k_fmt.mantissa_bits
        minus = 1 << (k_fmt.bits - 1)
        count = min(2, p.positions)
        v = np.array([[k_one], [k_one | minus]]).repeat(p.head, axis=1)[:count]
        near, equal = np.zeros((2, p.group, p.head), np.int64)
        near[:, :2], equal[:, :2] = (q_one + 1, q_one), q_one
        below, none = (k_one - 2, k_one | minus), (k_one, k_one | minus)
        above = ((k_one - 2) | minus, k_one)
        for q, first, second in ((near, below, k_one | minus), (near, above, k_one), (equal, none, 0)):
            k = np.zeros((count, p.head), np.int64)
            k[0, :2], k[1:, 1] = first, second  # beside it one that is beyond all doubt
            rows.append(Row(q, k, v, p.positions, p.positions - 1))
    return rows


def _coverage(p: OnlineAttention, inputs: Streams, outputs: Streams) -> dict[str, bool]:
    hits = dict.fromkeys(
        (
            "row of one position",
            "row longer than the queue",
            "row that ends inside a block",
            "row wholly hidden",
            "row partly hidden",
            "maximum rises at a block",
            "maximum kept at a block",
            "frame of values rises",
            "weight beyond the last bit",
            "equal scores",
            "score saturated high",
            "score saturated low",
        ),
        False,
    )
    top = 1 << (p.range_bits - 1 + p.precision)
    for row in rows_of(p, inputs):
        count, counts = len(row.k), min(len(row.k), row_limit(p, row.length, row.position))
        hits["row of one position"] |= count == 1
        hits["row longer than the queue"] |= count > position_slots(p)
        hits["row that ends inside a block"] |= p.block == 1 or count % p.block != 0
        hits["row wholly hidden"] |= counts == 0
        hits["row partly hidden"] |= 0 < counts < count
        if not counts:
            continue
        t = weight_logarithms(p, row.q, row.k[:counts])
        whole = t >> p.precision
        peaks = np.maximum.accumulate(whole, axis=1)[:, p.block - 1 :: p.block]
        hits["maximum rises at a block"] |= bool((np.diff(peaks, axis=1) > 0).any())
        hits["maximum kept at a block"] |= bool((np.diff(peaks, axis=1) == 0).any())
        hits["weight beyond the last bit"] |= bool((whole.max(axis=1, keepdims=True) - whole > p.fraction + 1).any())
        hits["equal scores"] |= bool(counts > 1 and (t == t[:, :1]).all())
        hits["score saturated high"] |= bool((t == top - 1).any())
        hits["score saturated low"] |= bool((t == -top).any())
        magnitude = row.v[:counts] & ((1 << (p.cache_format.bits - 1)) - 1)
        frames = (magnitude >> p.cache_format.mantissa_bits).reshape(counts, p.parts, p.lanes).max(axis=2)
        hits["frame of values rises"] |= bool((np.diff(np.maximum.accumulate(frames, axis=0), axis=0) > 0).any())
    data, fmt = outputs["o"]["data"], p.result_format
    sizes = data & ((1 << (fmt.bits - 1)) - 1)
    return hits | {
        "NaN": bool((data == fmt.nan_code).any()),
        "zero": bool((data == 0).any()),
        "negative": bool((data >> (fmt.bits - 1) == 1).any()),
        "largest number or nearly": bool(((sizes <= fmt.largest_code) & (sizes > fmt.largest_code >> 1)).any()),
    }


UNIT = Unit(
    name="online-attention",
    family="attention",
    summary="attention in one pass: online softmax with shifts for corrections, grouped queries, a beat a cycle",
    parameters=OnlineAttention,
    streams=lambda p: p.streams,
    golden=_golden,
    stimulus=_drawn,
    directed=_directed,
    coverage=_coverage,
    contract=OnlineAttentionContract,
    component="hw.rtl.attention.online_attention:OnlineAttentionUnit",
    numerics="exact products cut 24 bits below the largest, weights of 12 bits, sums cut 24 bits below a frame that "
    "follows the maximum, one rounding to nearest even at the end (widths of the defaults)",
    variants=(
        {"lanes": 4, "group": 2, "block": 4, "positions": 16, "causal": True},
        {"head": 6, "block": 3, "cache": "fp8_e4m3", "result": "fp16", "precision": 9},
        {"head": 1, "lanes": 1, "group": 3, "queries": "fp16", "cache": "fp16", "result": "fp32", "precision": 15},
    ),
    formal=ReducedWidths(
        {
            "head": 2,
            "lanes": 1,
            "group": 1,
            "positions": 4,
            "queries": "fp8_e5m2",
            "cache": "fp8_e5m2",
            "precision": 6,
            "range_bits": 4,
        },
        "handshake and order do not depend on widths, lanes or the number of queries",
    ),
    work=lambda p: AttentionWork(2 * p.lanes * p.group, p.queries, p.head, p.group),
    synthesis=({}, {"group": 2}, {"lanes": 4}, {"head": 8, "lanes": 4}, {"cache": "fp8_e4m3"}),
)
