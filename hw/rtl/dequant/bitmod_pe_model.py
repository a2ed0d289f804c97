"""Processing element of BitMoD: half-precision activations times 3- and 4-bit floats with a special value, by terms.

Chen et al., "BitMoD: Bit-serial Mixture-of-Datatype LLM Acceleration", HPCA 2025, arXiv 2411.11745. Its authors state
that the method is subject to a patent application by Cornell University; this is an independent implementation from
the published numerics (abdelfattah-lab/BitMoD-HPCA-25 at e445a5f), and grants no right to the method. The repository
has no hardware description: the circuits here are our own.

A weight is a sum of terms, each a sign and a power of two, and every lane adds one term times its activation a cycle:
two cycles for a beat of FP3 or FP4 weights, whose values all have at most two binary ones, and one cycle for each
digit of radix-4 Booth of an integer weight. Floats are coded as in `workloads.formats.golden.bitmod`: the code of -0
stands for the special value that ``selector`` names; a beat carries its own selector. A beat with ``end`` or ``last``
closes a group: the group's sum is multiplied by that beat's unsigned ``scale`` (the second-level scale of the group),
a bit of it a cycle, while the next group runs, and added to the sum over groups; ``last`` closes that too.

Numerics: exact until the end. Products aligned to the largest exponent of a beat lose what falls below; here every
activation is an integer of units of 2^-24 (5 exponent bits span 2^30), so a group is summed in fixed point without
any loss, as are the scaled groups, and the one rounding is that of the whole sum to binary32 (to nearest, ties to
even). An infinite or NaN activation makes its sum NaN; an exactly zero sum is +0; nothing underflows or overflows.

Widths: |activation| <= (2^(m+1) - 1) 2^(2^e - 3) units, |weight| <= 6, 16 or 2^(n-1), and each sum is bounded by the
product of that with lanes x beats, and (2^scale_bits - 1) x groups; partial sums of terms stay within the same bounds
(the terms of a float have one sign; Booth digits from the lowest up are the low bits as a signed number).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw.rtl.contract import Automaton, Handshake
from hw.rtl.dequant.bitmod_pe_cases import coverage, directed, drawn
from hw.rtl.dequant.exact import round_exact
from hw.rtl.ports import Field, Stream, Streams
from hw.rtl.unit import ReducedWidths, Unit, Work
from workloads.errors import InputError, unknown_name
from workloads.formats.golden.bitmod import bitmod_values
from workloads.formats.golden.floats import FP32, FloatFormat, decode

__all__ = ["UNIT", "BitmodPe", "BitmodPeContract"]

_WEIGHTS = {"fp3": 3, "fp4": 4, "int4": 4, "int6": 6, "int8": 8}
_LARGEST_FLOAT = {3: 6, 4: 16}
_OUTPUT_STAGES = 3
"""Registers behind the sum over groups: sign and magnitude, normalised, rounded."""


@dataclass(frozen=True)
class BitmodPe:
    """``lanes`` products a beat of ``weights`` ("fp3", "fp4", "int4", "int6", "int8"); at most ``beats`` beats in a
    group and ``groups`` groups in a sum. Activations are IEEE floats of ``exponent_bits`` and ``mantissa_bits``."""

    weights: str = "fp4"
    lanes: int = 4
    beats: int = 32
    groups: int = 128
    scale_bits: int = 8
    exponent_bits: int = 5
    mantissa_bits: int = 10

    def __post_init__(self) -> None:
        if self.weights not in _WEIGHTS:
            raise unknown_name("weight format", self.weights, _WEIGHTS, field="weights")
        limits = {
            "lanes": (1, 32),
            "beats": (1, 1024),
            "groups": (1, 4096),
            "scale_bits": (1, 16),
            "exponent_bits": (2, 5),
            "mantissa_bits": (1, 10),
        }
        for name, (low, high) in limits.items():
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"{value} {name}", f"from {low} to {high}", name)

    @property
    def weight_bits(self) -> int:
        return _WEIGHTS[self.weights]

    @property
    def is_float(self) -> bool:
        """Whether weights are floats with a special value, not integers."""
        return self.weights.startswith("fp")

    @property
    def terms(self) -> int:
        """Cycles that a beat takes."""
        return 2 if self.is_float else self.weight_bits // 2

    @property
    def activation(self) -> FloatFormat:
        return FloatFormat("activation", self.exponent_bits, self.mantissa_bits, "ieee")

    @property
    def unit_exponent(self) -> int:
        """All sums are integers of units of 2 to this: the smallest activation."""
        return self.activation.minimum_exponent - self.mantissa_bits

    @property
    def largest_activation(self) -> int:
        """In units."""
        return ((2 << self.mantissa_bits) - 1) << ((1 << self.exponent_bits) - 3)

    @property
    def largest_weight(self) -> int:
        return _LARGEST_FLOAT[self.weight_bits] if self.is_float else 1 << (self.weight_bits - 1)

    @property
    def product_width(self) -> int:
        """Bits of a signed term times an activation."""
        return (self.largest_activation * self.largest_weight).bit_length() + 1

    @property
    def group_width(self) -> int:
        """Bits of a signed sum over a group."""
        return (self.largest_activation * self.largest_weight * self.lanes * self.beats).bit_length() + 1

    @property
    def sum_width(self) -> int:
        """Bits of a signed sum over groups."""
        largest = self.largest_activation * self.largest_weight * self.lanes * self.beats
        return (largest * ((1 << self.scale_bits) - 1) * self.groups).bit_length() + 1


@dataclass(frozen=True)
class BitmodPeContract:
    """A beat is held for ``interval_cycles`` terms; a closed group is scaled in ``scale_cycles``, in which the next
    runs but may not close; then three stages that move as one."""

    interval_cycles: int
    scale_cycles: int

    @property
    def latency_cycles(self) -> int:
        return self.interval_cycles + self.scale_cycles + 1 + _OUTPUT_STAGES

    def shape(self, inputs: Streams) -> dict[str, int]:
        groups = np.diff(np.flatnonzero(inputs["i"]["end"] | inputs["i"]["last"]), prepend=-1)
        waits = np.maximum(0, self.scale_cycles - groups[1:] * self.interval_cycles)
        return {"beats": int(groups.sum()), "waits": int(waits.sum())}

    def cycles(self, *, beats: int, waits: int = 0) -> int:
        """``beats`` of whole groups, the last of which closes a sum. ``waits``: cycles that groups after the first are
        shorter than the scale, each of which waits for the group before it; 0 where groups are full."""
        return beats * self.interval_cycles + waits + self.scale_cycles + 2 + _OUTPUT_STAGES

    def automaton(self, inputs: Streams) -> Automaton:
        beats = inputs["i"]
        return _Terms(self.interval_cycles, self.scale_cycles, beats["end"] | beats["last"], beats["last"])


class _Terms:
    def __init__(self, terms: int, scale_cycles: int, closes: NDArray[Any], last: NDArray[Any]) -> None:
        self.terms, self.scale_cycles, self.closes, self.last = terms, scale_cycles, closes, last
        self.held: int | None = None
        self.term = 0
        self.adding: tuple[bool, bool] | None = None  # a term's products: does it close the group, and the sum
        self.scaling: tuple[int, bool] | None = None  # bits of the scale done, and whether the sum ends
        self.full = [False] * _OUTPUT_STAGES

    def step(self, offered: Mapping[str, int | None], willing: Mapping[str, bool]) -> Handshake:
        valid = self.full[-1]
        flows = willing["o"] or not valid
        final = self.scaling is not None and self.scaling[0] == self.scale_cycles - 1
        gives = final and self.scaling is not None and self.scaling[1]
        scaled = final and (flows or not gives)
        takes = self.scaling is None or scaled
        moves = self.adding is None or not self.adding[0] or takes
        ready = self.held is None or (moves and self.term == self.terms - 1)
        if flows:
            self.full = [gives, *self.full[:-1]]
        if self.adding is not None and self.adding[0] and takes:
            self.scaling = (0, self.adding[1])
        elif scaled:
            self.scaling = None
        elif self.scaling is not None and not final:
            self.scaling = (self.scaling[0] + 1, self.scaling[1])
        if moves:
            self.adding = None
            if self.held is not None:
                ends = self.term == self.terms - 1
                self.adding = (ends and bool(self.closes[self.held]), ends and bool(self.last[self.held]))
                self.term += 1
        if ready:
            self.held, self.term = offered["i"], 0
        return Handshake(ready={"i": ready}, valid={"o": valid})


def _streams(p: BitmodPe) -> tuple[Stream, ...]:
    selector = (Field("selector", 2),) if p.is_float else ()
    operands = (Field("activation", p.activation.bits, lanes=p.lanes), Field("weight", p.weight_bits, lanes=p.lanes))
    ends = (Field("scale", p.scale_bits), Field("end", 1), Field("last", 1))
    return Stream("i", "in", (*operands, *selector, *ends)), Stream("o", "out", (Field("sum", FP32.bits),))


def _weights(p: BitmodPe, beats: Mapping[str, NDArray[Any]]) -> NDArray[np.float64]:
    codes = beats["weight"].astype(np.int64)
    if not p.is_float:
        return (codes - ((codes >> (p.weight_bits - 1)) << p.weight_bits)).astype(np.float64)
    tables = np.stack([bitmod_values(p.weight_bits, selector) for selector in range(4)])
    values: NDArray[np.float64] = tables[beats["selector"].astype(np.int64)[:, None], codes]
    return values


def _golden(p: BitmodPe, inputs: Streams) -> Streams:
    """Each product is exact in float64 (11 and at most 8 significant bits); sums are Python's integers."""
    beats = inputs["i"]
    activations = decode(beats["activation"], p.activation)
    finite = np.isfinite(activations)
    products = np.ldexp(np.where(finite, activations, 0.0) * _weights(p, beats), -p.unit_exponent)
    sums, group, total, valid = [], 0, 0, True
    for at, row in enumerate(products.tolist()):
        group += sum(map(int, row))
        valid = valid and bool(finite[at].all())
        if beats["end"][at] or beats["last"][at]:
            total += group * int(beats["scale"][at])
            group = 0
        if beats["last"][at]:
            sums.append(round_exact(total, p.unit_exponent, FP32) if valid else FP32.nan_code)
            total, valid = 0, True
    return {"o": {"sum": np.array(sums, np.int64)}}


UNIT = Unit(
    name="bitmod-pe",
    family="dequant",
    summary="dot product of half-precision activations and BitMoD's 3- and 4-bit floats, weights term by term",
    parameters=BitmodPe,
    streams=_streams,
    golden=_golden,
    stimulus=drawn,
    directed=directed,
    coverage=coverage,
    contract=lambda p: BitmodPeContract(p.terms, p.scale_bits),
    component="hw.rtl.dequant.bitmod_pe:BitmodPeUnit",
    numerics="exact sums in fixed point, rounded once to binary32; NaN from an infinite or NaN activation",
    variants=(
        {"weights": "fp3", "beats": 8, "groups": 4},
        {"weights": "int6", "lanes": 2, "beats": 2, "groups": 5},
        {"weights": "int8", "lanes": 1, "beats": 4, "groups": 1},
    ),
    formal=ReducedWidths(
        {
            "weights": "fp3",
            "lanes": 1,
            "beats": 2,
            "groups": 2,
            "scale_bits": 2,
            "exponent_bits": 2,
            "mantissa_bits": 1,
        },
        "control counts terms and bits of the scale, whatever the widths of the operands",
    ),
    formal_depth=14,
    work=lambda p: Work(p.lanes, "fp16"),
    synthesis=({}, {"weights": "fp3"}, {"lanes": 2}, {"lanes": 8, "beats": 16}, {"weights": "int6"}, {"groups": 32}),
)
