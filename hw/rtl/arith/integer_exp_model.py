"""Integer exp of I-BERT (i-exp), lane by lane, of distances below a row's maximum.

Numerics and the bound of the error are those of `workloads.formats.arith.integer_exp`. The quotient d / q_ln2 is a
product with ceil(2^k / q_ln2), k = width + bits(q_ln2), cut by k bits: the constant is too large by less than 1, which
moves the product by less than 2^width <= 2^k / q_ln2, so it never reaches the next whole number. The stages hold:
quotient; rest below one octave; square plus constant, shifted.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from hw.rtl.contract import PipelineContract
from hw.rtl.ports import Field, Stream, Streams
from hw.rtl.unit import ReducedWidths, Unit
from workloads.errors import InputError
from workloads.formats.arith.integer_exp import (
    IntegerExponential,
    integer_exponential,
    integer_exponential_constants,
)

__all__ = ["UNIT", "IntegerExp"]


@dataclass(frozen=True)
class IntegerExp:
    """``lanes`` distances of ``width`` unsigned bits a beat, each step of them worth ``scale``; results keep
    ``extra`` bits beyond I-BERT's."""

    width: int = 8
    scale: float = 1 / 32
    extra: int = 8
    lanes: int = 4

    def __post_init__(self) -> None:
        for name, low, high in (("width", 2, 16), ("lanes", 1, 256)):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"{value} {name}", f"from {low} to {high}", name)
        integer_exponential_constants(self.scale, self.extra)

    @property
    def constants(self) -> IntegerExponential:
        return integer_exponential_constants(self.scale, self.extra)

    @property
    def result_width(self) -> int:
        """Bits of the largest result, that of distance 0."""
        return self.constants.largest.bit_length()


def _streams(p: IntegerExp) -> tuple[Stream, ...]:
    return (
        Stream("i", "in", (Field("d", p.width, False, p.lanes),)),
        Stream("o", "out", (Field("y", p.result_width, False, p.lanes),)),
    )


def _golden(p: IntegerExp, inputs: Streams) -> Streams:
    return {"o": {"y": integer_exponential(inputs["i"]["d"], p.scale, p.extra)}}


def _drawn(p: IntegerExp, rng: np.random.Generator, beats: int) -> Streams:
    shape = (beats, p.lanes)
    anywhere = rng.integers(0, 1 << p.width, shape)
    # Softmax's arguments crowd near the maximum.
    near = np.minimum(rng.geometric(1 / (2 * p.constants.octave), shape) - 1, (1 << p.width) - 1)
    return {"i": {"d": np.where(rng.random(shape) < 0.5, anywhere, near)}}


def _directed(p: IntegerExp) -> list[Streams]:
    """Both sides of every octave (the first 64), and both ends."""
    top = (1 << p.width) - 1
    edges = np.arange(0, min(top, 64 * p.constants.octave), p.constants.octave)
    codes = np.clip(np.concatenate([edges - 1, edges, edges + 1, [top - 1, top]]), 0, top)
    return [{"i": {"d": np.resize(codes, (-(-len(codes) // p.lanes), p.lanes))}}]


def _coverage(p: IntegerExp, inputs: Streams, outputs: Streams) -> dict[str, bool]:
    d, y = inputs["i"]["d"], outputs["o"]["y"]
    top = (1 << p.width) - 1
    goals = {"distance zero": bool((d == 0).any()), "farthest": bool((d == top).any())}
    if top >= p.constants.octave:
        goals["first of an octave"] = bool(((d > 0) & (d % p.constants.octave == 0)).any())
        goals["last of an octave"] = bool((d % p.constants.octave == p.constants.octave - 1).any())
    if p.constants.largest >> min(62, top // p.constants.octave) == 0:
        goals["result zero"] = bool((y == 0).any())
    return goals


UNIT = Unit(
    name="integer-exp",
    family="arith",
    summary="exp of integers below zero in integers alone: I-BERT's quadratic over one octave, and shifts",
    parameters=IntegerExp,
    streams=_streams,
    golden=_golden,
    stimulus=_drawn,
    directed=_directed,
    coverage=_coverage,
    contract=lambda p: PipelineContract(latency_cycles=3),
    component="hw.rtl.arith.integer_exp:IntegerExpUnit",
    numerics="I-BERT's constants, floored; absolute error at most integer_exponential_error(scale, extra)",
    variants=(
        {"width": 16, "scale": 1 / 1024, "extra": 0, "lanes": 2},
        {"width": 8, "scale": 1 / 16, "extra": 0, "lanes": 1},
        {"width": 4, "scale": 0.5, "extra": 4, "lanes": 3},
    ),
    formal=ReducedWidths({"width": 4, "scale": 0.5, "extra": 2, "lanes": 1}, "control does not depend on data"),
    synthesis=({}, {"lanes": 1}, {"lanes": 8}, {"width": 16, "scale": 1 / 1024, "extra": 0}),
)
