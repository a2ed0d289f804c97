"""Weights of group-wise integers: (code - zero) * scale, out of the 32-bit words of checkpoints.

Stream ``g`` brings what a group shares, FP16 scales and zero points; ``w`` the words of its codes, as many beats as a
group has. What words hold is `workloads.formats.golden.packing`'s and `integers`':

- "gptq": a word holds eight rows of one column (4 bits, the first row lowest), so that each word has one scale and
  zero; zeros are stored less one, as in the first version of the layout. "gptq-v2": zeros stored as they are.
- "awq": a word holds columns 0, 2, 4, 6, 1, 3, 5, 7 of one row, each with its scale and zero; zeros are in words of the
  same order, scales in the order of the columns.
- "unsigned": a little-endian stream of codes along the group, which has one scale and one zero; "signed": codes in
  two's complement, no zero.

Numerics: the difference has bits + 1 bits and its product with a significand of 11 bits bits + 12, so it is exact; it
is rounded once, to nearest even. Beyond the target's largest number lies infinity. A NaN scale gives NaN, an infinite
one infinity of the product's sign, or NaN where code = zero; NaN is the positive quiet one. Where code = zero the
weight is a zero with the scale's sign. FP16 kernels that multiply in half precision do the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from hw.rtl.contract import Automaton, Handshake
from hw.rtl.ports import Field, Stream, Streams, beat_count
from hw.rtl.unit import ReducedWidths, Unit
from workloads.errors import InputError, unknown_name
from workloads.formats.arith.floating import canonical_nan
from workloads.formats.golden.arrays import Integers
from workloads.formats.golden.floats import BF16, FP16, FloatFormat, decode, encode
from workloads.formats.golden.packing import AWQ_ORDER, unpack_awq, unpack_bits, unpack_gptq_weights

__all__ = ["PACKINGS", "UNIT", "GroupedDequantise", "GroupsContract"]

PACKINGS = ("gptq", "gptq-v2", "awq", "unsigned", "signed")
_TARGETS = {"fp16": FP16, "bf16": BF16}
_STAGES = 3


@dataclass(frozen=True)
class GroupedDequantise:
    """``words`` of 32 bits a beat, of codes of ``bits`` bits in groups of ``group`` along the input channels."""

    packing: str = "gptq"
    bits: int = 4
    words: int = 1
    group: int = 128
    target: str = "fp16"

    def __post_init__(self) -> None:
        if self.packing not in PACKINGS:
            raise unknown_name("packing", self.packing, PACKINGS, field="packing")
        if self.target not in _TARGETS:
            raise unknown_name("target", self.target, _TARGETS, field="target")
        for name, low, high in (("bits", 2, 8), ("words", 1, 8), ("group", 1, 4096)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"{value} {name}", f"from {low} to {high}", name)
        if not self.plain and self.bits != 4:
            raise InputError(f"{self.bits} bits", f"4, which is what {self.packing} holds", "bits")
        if 32 * self.words % self.bits:
            raise InputError(f"{self.words} words", f"words that hold a whole number of {self.bits}-bit codes", "words")
        if self.group % self.along:
            raise InputError(f"a group of {self.group}", f"a multiple of the {self.along} of a beat", "group")

    @property
    def plain(self) -> bool:
        """Whether codes follow each other along the group without a checkpoint's order."""
        return self.packing in ("unsigned", "signed")

    @property
    def lanes(self) -> int:
        """Weights a beat."""
        return 32 * self.words // self.bits

    @property
    def columns(self) -> int:
        """Scales that a beat's weights have."""
        return {"awq": self.lanes, "gptq": self.words, "gptq-v2": self.words}.get(self.packing, 1)

    @property
    def along(self) -> int:
        """Members of one group in a beat."""
        return self.lanes // self.columns

    @property
    def beats(self) -> int:
        """Beats of words in a group."""
        return self.group // self.along

    @property
    def into(self) -> FloatFormat:
        return _TARGETS[self.target]

    def place(self, lane: int) -> tuple[int, int, int]:
        """Where lane ``lane`` of the output comes from: its code's place among a beat's, its zero's, its scale's."""
        if self.plain:
            return lane, 0, 0
        word, within = divmod(lane, 8)
        if self.packing == "awq":
            place = 8 * word + AWQ_ORDER.index(within)
            return place, place, lane
        return lane, word, word


@dataclass(frozen=True)
class GroupsContract:
    """A pipeline behind the words, which are taken while a group's scales are held; ``beats`` a group.

    The next group is taken with the last word of the one before, so words never wait for it once they flow.
    """

    beats: int
    latency_cycles: int = _STAGES

    @property
    def interval_cycles(self) -> int:
        return 1

    def shape(self, inputs: Streams) -> dict[str, int]:
        return {"beats": beat_count(inputs["w"])}

    def cycles(self, *, beats: int) -> int:
        """The first group, ``beats`` of words, and the pipeline."""
        return 1 + beats + self.latency_cycles

    def automaton(self, inputs: Streams) -> Automaton:
        return _Groups(self.beats, self.latency_cycles)


class _Groups:
    def __init__(self, beats: int, stages: int) -> None:
        self.beats, self.held, self.number = beats, False, 0
        self.full = [False] * stages

    def step(self, offered: Mapping[str, int | None], willing: Mapping[str, bool]) -> Handshake:
        valid = self.full[-1]
        moves = willing["o"] or not valid
        takes = moves and self.held and offered["w"] is not None
        ready = {"g": not self.held or (takes and self.number == self.beats - 1), "w": moves and self.held}
        if moves:
            self.full = [takes, *self.full[:-1]]
        self.number = (self.number + takes) % self.beats
        if ready["g"]:
            self.held = offered["g"] is not None
        return Handshake(ready=ready, valid={"o": valid})


def _streams(p: GroupedDequantise) -> tuple[Stream, ...]:
    zeros = () if p.packing == "signed" else (Field("zeros", p.bits, lanes=p.columns),)
    return (
        Stream("g", "in", (Field("scales", 16, lanes=p.columns), *zeros)),
        Stream("w", "in", (Field("words", 32, lanes=p.words),)),
        Stream("o", "out", (Field("weights", 16, lanes=p.lanes),)),
    )


def _codes(p: GroupedDequantise, words: NDArray[np.int64]) -> Integers:
    """Codes (beats, lanes) of words (beats, words), in the order of the output."""
    if p.packing == "awq":
        return unpack_awq(words)
    if not p.plain:
        return unpack_gptq_weights(words).reshape(-1, 8, p.words).transpose(0, 2, 1).reshape(len(words), -1)
    data = np.ascontiguousarray(words.astype("<u4")).view(np.uint8)
    codes = unpack_bits(data, p.bits, len(words) * p.lanes).reshape(len(words), -1)
    return (codes ^ (1 << (p.bits - 1))) - (1 << (p.bits - 1)) if p.packing == "signed" else codes


def _zeros(p: GroupedDequantise, stored: NDArray[np.int64]) -> Integers:
    """Zero points (groups, columns) as they are subtracted."""
    if p.packing == "awq":
        words = (stored.reshape(len(stored), -1, 8) << np.arange(0, 32, 4)).sum(axis=2)
        return unpack_awq(words)
    return stored.astype(np.int64) + (1 if p.packing == "gptq" else 0)


def _golden(p: GroupedDequantise, inputs: Streams) -> Streams:
    steps = _codes(p, inputs["w"]["words"].astype(np.int64))
    group = np.arange(len(steps)) // p.beats
    scales = np.repeat(decode(inputs["g"]["scales"], FP16)[group], p.along, axis=1)
    if "zeros" in inputs["g"]:
        steps = steps - np.repeat(_zeros(p, inputs["g"]["zeros"])[group], p.along, axis=1)
    with np.errstate(invalid="ignore"):
        exact = steps * scales
    # The sign of a NaN that arises is the processor's affair.
    codes = np.where(np.isnan(exact), canonical_nan(p.into), encode(exact, p.into))
    return {"o": {"weights": codes}}


_CORNERS = (0x0000, 0x8000, 0x0001, 0x83FF, 0x0400, 0x3C00, 0xBC01, 0x7BFF, 0xFBFF, 0x7C00, 0xFC00, 0x7E00, 0xFC01)
"""FP16: zeros, subnormals, least normal, 1, -1 and a bit, largest, infinities, NaNs."""


def _drawn(p: GroupedDequantise, rng: np.random.Generator, beats: int) -> Streams:
    groups = max(1, beats // p.beats)
    odd = rng.choice(_CORNERS, (groups, p.columns))
    usual = encode(rng.standard_normal((groups, p.columns)) * np.exp2(rng.integers(-22, 14, (groups, 1))), FP16)
    shared = {"scales": np.where(rng.random((groups, p.columns)) < 0.3, odd, usual)}
    words = rng.integers(0, 1 << 32, (groups * p.beats, p.words))
    if p.packing != "signed":
        shared["zeros"] = rng.integers(0, 1 << p.bits, (groups, p.columns))
    return {"g": shared, "w": {"words": words}}


def _directed(p: GroupedDequantise) -> list[Streams]:
    """Every zero point with every corner of scales, beats of one code each; one group alone."""
    zeros = np.arange(1 << p.bits)[:: max(1, (1 << p.bits) // 16)]
    pairs = np.stack(np.meshgrid(zeros, _CORNERS), axis=-1).reshape(-1, 2)
    pairs = pairs[:: len(pairs) * p.beats // 256 | 1]  # of long groups fewer; an odd step meets all
    beats = np.arange(len(pairs) * p.beats)
    ones = sum(1 << (p.bits * n) for n in range(p.lanes))
    number = [(int(beat) % (1 << p.bits)) * ones for beat in beats]
    words = np.array([[value >> (32 * n) & 0xFFFFFFFF for n in range(p.words)] for value in number])
    shared = {"scales": np.repeat(pairs[:, 1:], p.columns, axis=1)}
    if p.packing != "signed":
        shared["zeros"] = np.repeat(pairs[:, :1], p.columns, axis=1)
    one = {name: values[:1] for name, values in shared.items()}
    return [{"g": shared, "w": {"words": words}}, {"g": one, "w": {"words": words[: p.beats]}}]


def _coverage(p: GroupedDequantise, inputs: Streams, outputs: Streams) -> dict[str, bool]:
    scales, found = inputs["g"]["scales"] & 0x7FFF, outputs["o"]["weights"]
    magnitudes, top = found & 0x7FFF, p.into.largest_code
    hidden = 1 << p.into.mantissa_bits
    bins = {
        "zero scale": bool((scales == 0).any()),
        "subnormal scale": bool(((scales > 0) & (scales < 0x400)).any()),
        "infinite scale": bool((scales == 0x7C00).any()),
        "NaN scale": bool((scales > 0x7C00).any()),
        "weight +0": bool((found == 0).any()),
        "weight -0": bool((found == 0x8000).any()),
        "infinite weight": bool((magnitudes == top + 1).any()),
        "NaN weight": bool((magnitudes > top + 1).any()),
        "several groups": len(scales) > 1,
    }
    if p.into is FP16:
        bins["subnormal weight"] = bool(((magnitudes > 0) & (magnitudes < hidden)).any())
    if p.bits <= 4:
        codes = _codes(p, inputs["w"]["words"].astype(np.int64))
        bins |= {f"code {code}": bool((codes == code).any()) for code in np.unique(codes_of(p)).tolist()}
    return bins


def codes_of(p: GroupedDequantise) -> Integers:
    """All codes there are."""
    codes = np.arange(1 << p.bits)
    return codes - (1 << (p.bits - 1)) if p.packing == "signed" else codes


UNIT = Unit(
    name="grouped-dequantise",
    family="dequant",
    summary="group-wise integers of 2 to 8 bits to FP16 or BF16, out of words as GPTQ and AWQ pack them",
    parameters=GroupedDequantise,
    streams=_streams,
    golden=_golden,
    stimulus=_drawn,
    directed=_directed,
    coverage=_coverage,
    contract=lambda p: GroupsContract(p.beats),
    component="hw.rtl.dequant.grouped_dequantise:GroupedDequantiseUnit",
    numerics="(code - zero) * scale rounded once to nearest even; overflow to infinity, NaN positive and quiet",
    variants=(
        {"packing": "awq", "group": 4, "target": "bf16"},
        {"packing": "unsigned", "bits": 3, "words": 3, "group": 64},
        {"packing": "signed", "bits": 8, "group": 8, "target": "bf16"},
        {"packing": "unsigned", "bits": 2, "group": 32},
        {"packing": "gptq-v2", "words": 2, "group": 16},
    ),
    formal=ReducedWidths(
        {"packing": "signed", "bits": 8, "group": 8, "target": "bf16"}, "control counts beats, whatever they hold"
    ),
    synthesis=(
        {},
        {"packing": "awq"},
        {"words": 2},
        {"target": "bf16"},
        {"packing": "signed", "bits": 8, "group": 128},
        {"packing": "unsigned", "bits": 2},
    ),
)
