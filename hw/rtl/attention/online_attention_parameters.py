"""Parameters of the online-softmax attention engine, and the widths and constants that follow from them."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from hw.rtl.ports import Field, Stream
from workloads.errors import InputError, unknown_name
from workloads.formats.golden.arrays import Integers
from workloads.formats.golden.floats import BF16, E4M3, E5M2, FLOAT_FORMATS, FP16, FP32, FloatFormat

__all__ = ["OPERANDS", "RESULTS", "SCALE_BITS", "OnlineAttention"]

OPERANDS = (BF16.name, FP16.name, E4M3.name, E5M2.name)
"""Formats that queries, keys and values may have."""
RESULTS = (BF16.name, FP16.name, FP32.name)
"""Formats that attention rows may have."""

SCALE_BITS = 16
"""Significant bits of the constant log2(e) / sqrt(head)."""
_TABLE_GUARD = 3


@dataclass(frozen=True)
class OnlineAttention:
    """``group`` queries of ``head`` elements share keys and values, of which ``lanes`` elements come in a beat.

    ``block`` positions share one step of the running maximum (1: the plain online form). Contexts have at most
    ``positions`` positions. ``queries``, ``cache`` (keys and values) and ``result`` are number formats. Scores in
    powers of two and softmax weights have ``precision`` bits after the point; scores saturate at
    2^(``range_bits`` - 1). With ``causal``, a query sees no position beyond its own.
    """

    head: int = 4
    lanes: int = 2
    group: int = 1
    block: int = 1
    positions: int = 4096
    queries: str = "bf16"
    cache: str = "bf16"
    result: str = "bf16"
    precision: int = 12
    range_bits: int = 16
    causal: bool = False

    def __post_init__(self) -> None:
        limits = (
            ("head", 1, 512),
            ("lanes", 1, 512),
            ("group", 1, 64),
            ("block", 1, 64),
            ("positions", 1, 1 << 20),
            ("precision", 6, 16),
            ("range_bits", 4, 24),
        )
        for name, low, high in limits:
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"{value} {name}", f"from {low} to {high}", name)
        if self.head % self.lanes:
            raise InputError(f"{self.lanes} lanes for a head of {self.head}", "a divisor of the head", "lanes")
        for name, known in (("queries", OPERANDS), ("cache", OPERANDS), ("result", RESULTS)):
            if getattr(self, name) not in known:
                raise unknown_name("number format", getattr(self, name), known, field=name)

    @property
    def parts(self) -> int:
        """Beats that one vector takes."""
        return self.head // self.lanes

    @property
    def query_format(self) -> FloatFormat:
        return FLOAT_FORMATS[self.queries]

    @property
    def cache_format(self) -> FloatFormat:
        return FLOAT_FORMATS[self.cache]

    @property
    def result_format(self) -> FloatFormat:
        return FLOAT_FORMATS[self.result]

    # --- scores

    @property
    def score_fraction(self) -> int:
        """Bits kept below the exponent of the largest product of a score."""
        return max(self.precision + 12, self.query_format.mantissa_bits + self.cache_format.mantissa_bits)

    @property
    def product_shift(self) -> int:
        """Zeros put below a product before it is aligned."""
        return self.score_fraction - self.query_format.mantissa_bits - self.cache_format.mantissa_bits

    @property
    def score_width(self) -> int:
        """Bits of a signed score: each of ``head`` products lies below 2^(score_fraction + 2)."""
        return self.score_fraction + 2 + (self.head - 1).bit_length() + 1

    @cached_property
    def scale(self) -> tuple[int, int]:
        """(c, s) with c * 2^-s next to log2(e) / sqrt(head) and 2^15 <= c < 2^16."""
        exact = math.log2(math.e) / math.sqrt(self.head)
        shift = SCALE_BITS - 1 - math.floor(math.log2(exact))
        return round(math.ldexp(exact, shift)), shift

    @property
    def score_anchor(self) -> int:
        """The sum of two exponent fields at which a scaled score has just its lowest bit on the grid of 2^-precision;
        above it only the sign of a score counts."""
        assert self.query_format.bias is not None
        assert self.cache_format.bias is not None
        return self.query_format.bias + self.cache_format.bias + self.score_fraction + self.scale[1] - self.precision

    # --- weights

    @property
    def segment_bits(self) -> int:
        """2^f is interpolated between 2^segment_bits + 1 points."""
        return (self.precision + 1) // 2

    @cached_property
    def power_table(self) -> tuple[Integers, Integers]:
        """(values, rises) of 2^f at the beginning of each segment and over it, in 2^-(precision + guard)."""
        points = np.exp2(np.arange((1 << self.segment_bits) + 1) / (1 << self.segment_bits))
        values = np.rint(np.ldexp(points, self.precision + self.table_guard)).astype(np.int64)
        return values[:-1], np.diff(values)

    @property
    def table_guard(self) -> int:
        """Bits of the table beyond those of a weight."""
        return _TABLE_GUARD

    # --- sums

    @property
    def fraction(self) -> int:
        """Bits of the running sums below the frame: ``positions`` of their last bits stay below 2^-precision."""
        exact_product = self.precision + self.cache_format.mantissa_bits
        return max(self.precision + (self.positions - 1).bit_length(), exact_product)

    @property
    def weight_sum_width(self) -> int:
        """Unsigned bits of the sum of weights: each weight lies below 2."""
        return self.fraction + 1 + (self.positions - 1).bit_length()

    @property
    def value_sum_width(self) -> int:
        """Signed bits of a sum of weighted values: weight and significand of a value lie below 2."""
        return self.fraction + 2 + (self.positions - 1).bit_length() + 1

    @property
    def quotient_bits(self) -> int:
        """Bits that numerator and denominator keep before they are divided."""
        return self.precision + 4

    # --- ports

    @property
    def streams(self) -> tuple[Stream, ...]:
        count = Field("length", self.positions.bit_length())
        place = (Field("position", max(1, (self.positions - 1).bit_length())),) if self.causal else ()
        wide = self.cache_format.bits
        return (
            Stream("q", "in", (Field("data", self.query_format.bits, lanes=self.lanes), count, *place)),
            Stream("k", "in", (Field("data", wide, lanes=self.lanes), Field("last", 1))),
            Stream("v", "in", (Field("data", wide, lanes=self.lanes),)),
            Stream("o", "out", (Field("data", self.result_format.bits, lanes=self.lanes),)),
        )
