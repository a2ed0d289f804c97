"""Attention on an array of multiply-add elements and a column of 1D elements, in one pass over the keys.

After FuseMax (MICRO 2024, arXiv 2406.10491): rows are queries, columns the keys of a block, and one action a cycle
(multiply-add or maximum) runs through the array. It moves from column to column, one a cycle, with Q, with what is
reduced over the keys (maximum, sum, products with V) and with RM, and ends in the row's 1D element, which does its own
part of the cascade with the same action: RM with LM, PRM with SLN, RD with SLD, RNV with SLNV. So 1D work costs no
cycle but for scaling Q, the reciprocal and AV. Queries (``q``) and heads of keys and values (``k``, ``v``) stream one
element of the head a beat, a lane for each row or column; ``k`` says in the beats of a block which of its keys are
live and whether it is the tile's last (as the block's last beat says). Results leave like queries.

One departure from the paper: an element of the 1D column multiplies and adds at once (RD, RNV), where FuseMax's cascade
counts a multiplication (SPD, SPNV) and an addition. Numerics: `hw.rtl.attention.fusemax_array_golden`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hw.rtl.attention.fusemax_array_contract import FuseMaxContract
from hw.rtl.attention.fusemax_array_golden import attention_tile, newton_steps
from hw.rtl.ports import Field, Stream, Streams
from hw.rtl.unit import ReducedWidths, Unit
from workloads.errors import InputError, unknown_name
from workloads.formats.golden.floats import BF16, FP16, FP32, FloatFormat, decode, encode

__all__ = ["UNIT", "FuseMaxArray"]

_FORMATS = {fmt.name: fmt for fmt in (BF16, FP16, FP32)}


@dataclass(frozen=True)
class FuseMaxArray:
    """``rows`` queries by ``columns`` keys; queries, keys and values of ``head`` elements in format ``operand``,
    everything else, results too, in ``working``, which holds all of ``operand``. Defaults are the artifact's 16 bits
    (its action tables name fp16 multiply-adds)."""

    rows: int = 2
    columns: int = 2
    head: int = 4
    operand: str = "fp16"
    working: str = "fp16"

    def __post_init__(self) -> None:
        for name, low, high in (("rows", 1, 256), ("columns", 1, 256), ("head", 2, 256)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"{value} {name}", f"from {low} to {high}", name)
        for name in ("operand", "working"):
            if getattr(self, name) not in _FORMATS:
                raise unknown_name(f"{name} format", getattr(self, name), _FORMATS, field=name)
        narrow, wide = self.operand_format, self.working_format
        if narrow.exponent_bits > wide.exponent_bits or narrow.mantissa_bits > wide.mantissa_bits:
            raise InputError(f"{wide.name} does not hold all of {narrow.name}", "a working format that does", "working")

    @property
    def operand_format(self) -> FloatFormat:
        return _FORMATS[self.operand]

    @property
    def working_format(self) -> FloatFormat:
        return _FORMATS[self.working]


def _streams(p: FuseMaxArray) -> tuple[Stream, ...]:
    bits, live = p.operand_format.bits, Field("live", 1, lanes=p.columns)
    keys = Field("values", bits, lanes=p.columns)
    return (
        Stream("q", "in", (Field("values", bits, lanes=p.rows),)),
        Stream("k", "in", (keys, live, Field("last", 1))),
        Stream("v", "in", (keys,)),
        Stream("o", "out", (Field("values", p.working_format.bits, lanes=p.rows),)),
    )


def _golden(p: FuseMaxArray, inputs: Streams) -> Streams:
    queries = inputs["q"]["values"].reshape(-1, p.head, p.rows).transpose(0, 2, 1)
    keys, values = (inputs[n]["values"].reshape(-1, p.head, p.columns).transpose(0, 2, 1) for n in "kv")
    live, last = inputs["k"]["live"][p.head - 1 :: p.head], inputs["k"]["last"][p.head - 1 :: p.head]
    results = []
    begin = 0
    for tile, end in zip(queries, (np.flatnonzero(last) + 1).tolist(), strict=True):
        its = slice(begin, end)
        results.append(attention_tile(tile, keys[its], values[its], live[its], p.operand_format, p.working_format).T)
        begin = end
    return {"o": {"values": np.concatenate(results)}}


def _inputs(
    p: FuseMaxArray,
    q: list[NDArray[np.int64]],
    k: list[NDArray[np.int64]],
    v: list[NDArray[np.int64]],
    live: list[NDArray[np.int64]],
) -> Streams:
    """Of tiles: codes of q [head, rows], k and v [blocks, head, columns], live [blocks, columns]."""
    last = [np.repeat(np.arange(len(blocks)) == len(blocks) - 1, p.head) for blocks in k]
    return {
        "q": {"values": np.concatenate(q)},
        "k": {
            "values": np.concatenate(k).reshape(-1, p.columns),
            "live": np.repeat(np.concatenate(live), p.head, axis=0),
            "last": np.concatenate(last).astype(np.int64),
        },
        "v": {"values": np.concatenate(v).reshape(-1, p.columns)},
    }


def _codes(fmt: FloatFormat, rng: np.random.Generator, shape: tuple[int, ...], size: float) -> NDArray[np.int64]:
    """Numbers of about ``size``, with zeros; or all codes; or numbers of all exponents; or few, which cancel."""
    kind = rng.choice(["numbers", "codes", "exponents", "few"], p=[0.6, 0.08, 0.16, 0.16])
    if kind == "codes":
        return rng.integers(0, 1 << fmt.bits, shape)
    if kind == "exponents":
        return rng.integers(0, fmt.largest_code + 1, shape) | (rng.integers(0, 2, shape) << (fmt.bits - 1))
    if kind == "few":
        return encode(rng.choice([-1.5, -1.0, 0.0, 1.0, 1.5], shape) * size, fmt)
    codes = encode(rng.normal(size=shape) * size, fmt)
    codes[rng.random(shape) < 0.1] = rng.choice([0, 1 << (fmt.bits - 1)])
    return codes


def _drawn(p: FuseMaxArray, rng: np.random.Generator, beats: int) -> Streams:
    """Scores alike, far apart, or all equal; a last block of fewer keys; codes as `_codes` draws them."""
    tiles: list[tuple[NDArray[np.int64], ...]] = []
    total = 0
    while total < beats:
        blocks = int(rng.choice([1, 1, 2, 3, 5]))
        shapes = ((p.head, p.rows), (blocks, p.head, p.columns), (blocks, p.head, p.columns))
        sizes = (float(rng.choice([0.0, 0.3, 1.0, 3.0, 12.0])), 1.0, 1.0)
        tile = [_codes(p.operand_format, rng, shape, size) for shape, size in zip(shapes, sizes, strict=True)]
        live = np.ones((blocks, p.columns), np.int64)
        live[-1, int(rng.integers(1, p.columns + 1)) :] = 0
        tiles.append((*tile, live))
        total += blocks * p.head
    return _inputs(p, *(list(part) for part in zip(*tiles, strict=True)))


def _directed(p: FuseMaxArray) -> list[Streams]:
    """Scores that rise a little and fall far from block to block, and a block that is not live between others; NaN in
    keys, infinity in values."""
    fmt = p.operand_format
    ramp = np.arange(3.0)[:, None, None] * np.ones((3, p.head, p.columns))
    shape, noise = ramp.shape, np.random.default_rng(5)
    all_live, few_live = np.ones((3, p.columns), np.int64), np.ones((3, p.columns), np.int64)
    few_live[1], few_live[0, :-1] = 0, 0
    values = encode(noise.normal(size=shape), fmt)
    queries = [encode(np.full((p.head, p.rows), slope), fmt) for slope in (0.25, -20.0, 1.0)]
    not_keys, not_values = (
        encode(np.where(noise.random(shape) < 0.1, special, ramp), fmt) for special in (np.nan, np.inf)
    )
    keys = encode(ramp, fmt)
    return [
        _inputs(p, queries, [keys] * 3, [values] * 3, [all_live, all_live, few_live]),
        _inputs(p, queries[:2], [not_keys, keys], [values, not_values], [all_live] * 2),
    ]


def _coverage(p: FuseMaxArray, inputs: Streams, outputs: Streams) -> dict[str, bool]:
    k, out = inputs["k"], decode(outputs["o"]["values"], p.working_format)
    q = decode(inputs["q"]["values"], p.operand_format)
    blocks = np.diff(np.flatnonzero(k["last"][p.head - 1 :: p.head]), prepend=-1)
    finite = np.isfinite(decode(inputs["v"]["values"], p.operand_format)).all()
    return {
        "one block": bool((blocks == 1).any()),
        "several blocks": bool((blocks > 2).any()),
        "several tiles": len(blocks) > 1,
        "keys that are not live": p.columns == 1 or bool((k["live"] == 0).any()),
        "a block without live keys": bool((k["live"].max(axis=1) == 0).any()),
        "queries of zero": bool((q == 0).all(axis=1).any()),
        "results that are NaN": bool(np.isnan(out).any()),
        "infinite results": bool(np.isinf(out).any()),
        "negative results": bool((out < 0).any()),
        "finite values, finite results": bool(finite and np.isfinite(out).all()),
    }


UNIT = Unit(
    name="fusemax-array",
    family="attention",
    summary="one-pass attention on a 2D array of multiply-add elements and a 1D column, after FuseMax",
    parameters=FuseMaxArray,
    streams=_streams,
    golden=_golden,
    stimulus=_drawn,
    directed=_directed,
    coverage=_coverage,
    contract=lambda p: FuseMaxContract(p.columns, p.head, 2 * newton_steps(p.working_format)),
    component="hw.rtl.attention.fusemax_array:FuseMaxUnit",
    numerics="every operation rounded once, to nearest even, in the working format; 2^x by degree six, 1/x by Newton",
    variants=(
        {"operand": "bf16", "working": "fp32", "rows": 1, "columns": 2, "head": 3},
        {"operand": "bf16", "working": "bf16", "rows": 1, "columns": 3, "head": 2},
    ),
    formal=ReducedWidths(
        {"rows": 1, "columns": 1, "head": 2, "operand": "bf16", "working": "bf16"},
        "the sequencer does not read operands: what is valid depends on rows and formats in nothing",
    ),
    formal_depth=28,
    synthesis=({}, {"rows": 1, "columns": 1}, {"rows": 1}, {"rows": 1, "head": 8}),
)
