"""What the processing element of BitMoD is tried on: random sums, corners, and the situations that must occur.

BitMoD is subject to a patent application by Cornell University, as its authors state: see `bitmod_pe_model`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from hw.rtl.ports import Beats, Streams

if TYPE_CHECKING:
    from hw.rtl.dequant.bitmod_pe_model import BitmodPe

__all__ = ["coverage", "directed", "drawn"]


def _beats(p: BitmodPe, activation: NDArray[Any], weight: NDArray[Any], **others: Any) -> Streams:
    """The stream of (beats, lanes) codes; other fields are 0, of which integer weights have no selector."""
    count = len(activation)
    beats: Beats = {"activation": activation.astype(np.int64), "weight": weight.astype(np.int64)}
    for name in ("selector", "scale", "end", "last") if p.is_float else ("scale", "end", "last"):
        beats[name] = np.broadcast_to(np.asarray(others.get(name, 0)), count).astype(np.int64)
    beats["last"][-1] = 1
    return {"i": beats}


def _activations(p: BitmodPe, rng: np.random.Generator, shape: tuple[int, int]) -> NDArray[np.int64]:
    """Every code alike, or small exponents only, or few different ones, so that sums cancel."""
    fmt = p.activation
    kind = rng.integers(3)
    if kind == 0:
        codes = rng.integers(0, fmt.largest_code + 1, shape)
    elif kind == 1:
        codes = rng.integers(0, 2 << p.mantissa_bits, shape)
    else:
        codes = rng.choice([0, 1, 1 << p.mantissa_bits, fmt.largest_code], shape)
    codes = np.where(rng.random(shape) < 0.001, rng.choice([fmt.largest_code + 1, fmt.largest_code + 2]), codes)
    signed: NDArray[np.int64] = codes | (rng.integers(0, 2, shape) << (fmt.bits - 1))
    return signed


def _ends(rng: np.random.Generator, count: int, longest: int) -> NDArray[np.bool_]:
    """Where sequences of at most ``longest`` end: all of that length, or of random length, or of one."""
    kind = rng.integers(3)
    if kind == 0:
        return np.asarray(np.arange(count) % longest == longest - 1)
    if kind == 1:
        return np.ones(count, np.bool_)
    lengths = rng.integers(1, longest + 1, count)
    ends = np.zeros(count + longest, np.bool_)
    ends[np.minimum(np.cumsum(lengths) - 1, count)] = True
    return ends[:count]


def drawn(p: BitmodPe, rng: np.random.Generator, beats: int) -> Streams:
    """Runs of a hundred beats and more, each of one kind of activations, groups and sums."""
    parts = []
    left = beats
    while left > 0:
        count = min(left, int(rng.integers(60, 200)))
        left -= count
        end = _ends(rng, count, p.beats)
        end[-1] = True
        closed = np.flatnonzero(end)
        last = np.zeros(count, np.bool_)
        last[closed[_ends(rng, len(closed), p.groups)]] = True
        group: NDArray[np.int64] = np.cumsum(end) - end
        scales = rng.choice([0, 1, (1 << p.scale_bits) - 1, *rng.integers(0, 1 << p.scale_bits, 5)], count)
        shape = (count, p.lanes)
        weights = rng.integers(0, 1 << p.weight_bits, shape)
        # A sum's end closes a group whether or not the beat says so.
        said = end & (~last | (rng.random(count) < 0.5))
        selectors = rng.integers(0, 4, count)[group]
        part = _beats(
            p, _activations(p, rng, shape), weights, selector=selectors, scale=scales[group], end=said, last=last
        )
        parts.append(part["i"])
    return {"i": {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}}


def directed(p: BitmodPe) -> list[Streams]:
    """Each weight and selector times one, zero, subnormal and largest activations; the largest sum of either sign;
    a sum that cancels; infinite and NaN activations between finite sums; groups too short for the scale to hide."""
    fmt, top = p.activation, (1 << p.scale_bits) - 1
    one = ((1 << (p.exponent_bits - 1)) - 1) << p.mantissa_bits
    negative = 1 << (fmt.bits - 1)
    codes, selectors = np.arange(1 << p.weight_bits), np.arange(4 if p.is_float else 1)
    specials = np.array([one, negative | 1, fmt.largest_code, 0, negative, negative | fmt.largest_code])
    specials = specials if p.weight_bits < 6 else specials[:2]
    grid = [part.ravel() for part in np.meshgrid(selectors, codes, specials, indexing="ij")]
    lanes = np.zeros((len(grid[0]), p.lanes), np.int64)
    weights, values = lanes.copy(), lanes.copy()
    weights[:, -1], values[:, -1] = grid[1], grid[2]
    cases = [_beats(p, values, weights, selector=grid[0], scale=top, last=1)]
    largest, selector = 1 << (p.weight_bits - 1), 2
    longest = min(p.groups, 2) * p.beats
    for code in (fmt.largest_code, negative | fmt.largest_code):
        end = np.arange(longest) % p.beats == p.beats - 1
        shape = (longest, p.lanes)
        cases.append(_beats(p, np.full(shape, code), np.full(shape, largest), selector=selector, scale=top, end=end))
    signs = np.resize([one, negative | one], (2 * p.lanes, p.lanes)) if p.lanes % 2 == 0 else np.zeros((1, p.lanes))
    cases.append(_beats(p, signs, np.full(signs.shape, 1), scale=top, end=1, last=np.arange(len(signs)) % 2))
    values = np.full((5, p.lanes), one)
    values[1, 0], values[3, -1] = fmt.largest_code + 1, negative | (fmt.largest_code + 2)
    cases.append(_beats(p, values, np.full((5, p.lanes), 1), scale=1, last=1))
    count = min(p.groups, 9)
    cases.append(_beats(p, np.full((count, p.lanes), one), np.full((count, p.lanes), 1), scale=top, end=1))
    return cases


def coverage(p: BitmodPe, inputs: Streams, outputs: Streams) -> dict[str, bool]:
    """Situations of one run."""
    beats, sums = inputs["i"], outputs["o"]["sum"]
    fmt = p.activation
    magnitudes = beats["activation"] & ((1 << (fmt.bits - 1)) - 1)
    closes = beats["end"] | beats["last"]
    groups = np.diff(np.flatnonzero(closes), prepend=-1)
    per_sum = np.diff(np.cumsum(closes)[np.flatnonzero(beats["last"])], prepend=0)
    scales = beats["scale"][closes == 1]
    if p.is_float:
        codes = {f"weight {c}" for c in range(1 << p.weight_bits)}
        seen = {f"weight {c}" for c in np.unique(beats["weight"])}
        special = beats["weight"] == 1 << (p.weight_bits - 1)
        chosen = np.unique(np.broadcast_to(beats["selector"][:, None], special.shape)[special])
        goals = {name: name in seen for name in sorted(codes)}
        goals |= {f"special value {selector}": selector in chosen for selector in range(4)}
    else:
        goals = {
            "lowest weight": bool((beats["weight"] == 1 << (p.weight_bits - 1)).any()),
            "highest weight": bool((beats["weight"] == (1 << (p.weight_bits - 1)) - 1).any()),
        }
    return goals | {
        "zero activation": bool((magnitudes == 0).any()),
        "subnormal activation": bool(((magnitudes > 0) & (magnitudes < 1 << p.mantissa_bits)).any()),
        "largest activation": bool((magnitudes == fmt.largest_code).any()),
        "infinite activation": bool((magnitudes == fmt.largest_code + 1).any()),
        "NaN activation": bool((magnitudes > fmt.largest_code + 1).any()),
        "scale of zero": bool((scales == 0).any()),
        "largest scale": bool((scales == (1 << p.scale_bits) - 1).any()),
        "group of one beat": bool((groups == 1).any()),
        "full group": bool((groups == p.beats).any()),
        "sum of one group": bool((per_sum == 1).any()),
        "sum of several groups": bool((per_sum > 1).any()) or p.groups == 1,
        "zero sum": bool((sums == 0).any()),
        "positive sum": bool(((sums > 0) & (sums < 0x7F80_0000)).any()),
        "negative sum": bool((sums >> 31 == 1).any()),
        "NaN sum": bool((sums == 0x7FC0_0000).any()),
        "group too short for the scale": bool((groups * p.terms < p.scale_bits).any()),
    }
