"""What functions of one floating-point number have in common: parameters, ports, and codes that reach corners."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from hw.rtl.ports import Field, Stream
from workloads.errors import InputError
from workloads.formats.golden.arrays import Integers
from workloads.formats.golden.floats import FloatFormat, encode, float_format

__all__ = ["FloatFunction", "codes_among", "float_parameter", "function_streams", "special_codes", "splits"]


def float_parameter(name: str, field: str, *, needs_nan: bool = False) -> FloatFormat:
    """The format a parameter names; `InputError` naming the parameter."""
    try:
        fmt = float_format(name)
    except InputError as error:
        raise InputError(error.problem, error.expected, field, nearest=error.nearest) from None
    if needs_nan and fmt.nan_code is None:
        raise InputError(f"{name} has no NaN", "a format with NaN", field)
    return fmt


def special_codes(fmt: FloatFormat) -> Integers:
    """Zeros, ones, extremes and, where the format has them, infinities and a NaN with payload, of both signs."""
    codes = [0, 1, (1 << fmt.mantissa_bits) - 1, 1 << fmt.mantissa_bits, int(encode(1.0, fmt)), fmt.largest_code]
    if fmt.specials == "ieee":
        codes += [fmt.largest_code + 1, fmt.largest_code + 2]
    codes.append((1 << (fmt.bits - 1)) - 1)
    return np.array([code | sign << (fmt.bits - 1) for sign in (0, 1) for code in codes])


def codes_among(
    rng: np.random.Generator, shape: tuple[int, ...], fmt: FloatFormat, low: float, high: float
) -> Integers:
    """Codes of ``shape``: a quarter of them any code, half values in ``low`` to ``high``, an eighth of those scaled
    down by powers of two, an eighth specials."""
    values = rng.uniform(low, high, shape)
    values = np.where(rng.random(shape) < 0.2, np.ldexp(values, -rng.integers(1, 24, shape).astype(np.int32)), values)
    kind = rng.random(shape)
    near = encode(np.clip(values, -fmt.maximum, fmt.maximum), fmt)
    any_code = rng.integers(0, 1 << fmt.bits, shape)
    return np.where(kind < 0.25, any_code, np.where(kind < 0.875, near, rng.choice(special_codes(fmt), shape)))


def splits(fmt: FloatFormat, lanes: int, edges: ArrayLike) -> Integers:
    """Rows of ``lanes`` codes: `special_codes` and each of ``edges`` between its two neighbours."""
    inside = np.clip(np.asarray(edges, dtype=np.float64), -fmt.maximum, fmt.maximum)
    codes = encode(inside, fmt)
    magnitude = codes & ((1 << (fmt.bits - 1)) - 1)
    around = [np.clip(magnitude + step, 0, fmt.largest_code) | (codes - magnitude) for step in (-1, 0, 1)]
    row = np.concatenate([special_codes(fmt), *around])
    return np.resize(row, (-(-len(row) // lanes), lanes))


@dataclass(frozen=True)
class FloatFunction:
    """``lanes`` numbers of the format ``source`` a beat; results in the format ``result``, which has NaN."""

    source: str = "bf16"
    result: str = "bf16"
    lanes: int = 4

    def __post_init__(self) -> None:
        float_parameter(self.source, "source")
        float_parameter(self.result, "result", needs_nan=True)
        if not 1 <= self.lanes <= 256:
            raise InputError(f"{self.lanes} lanes", "from 1 to 256", "lanes")

    @property
    def formats(self) -> tuple[FloatFormat, FloatFormat]:
        return float_parameter(self.source, "source"), float_parameter(self.result, "result")


def function_streams(p: FloatFunction) -> tuple[Stream, ...]:
    """``x`` in, ``y`` out."""
    source, result = p.formats
    return (
        Stream("i", "in", (Field("x", source.bits, False, p.lanes),)),
        Stream("o", "out", (Field("y", result.bits, False, p.lanes),)),
    )
