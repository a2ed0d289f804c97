"""Binary floating point of any split: sign, exponent field, mantissa field, bias, and a rule for NaN and infinity.

Bits from high to low: sign, exponent, mantissa. Exponent field 0 is zero and subnormals; -0 exists and is kept.
``specials`` says what the highest exponent field holds:

- ``"ieee"``: mantissa 0 is infinity, others NaN (IEEE 754-2019 binary32 and binary16; BF16; OCP 8-bit Floating Point
  1.0, E5M2);
- ``"nan"``: numbers, but for all mantissa bits set, which is NaN; no infinity (OCP 8-bit Floating Point 1.0, E4M3);
- ``"none"``: numbers only (OCP Microscaling Formats 1.0: E2M3, E3M2, E2M1; and the 3- to 8-bit splits of Tilus,
  arXiv 2504.12984).

Rounding is to nearest, ties to the even mantissa; with no mantissa bits at all no digit is even and the tie goes to
the larger magnitude (IEEE 754-2019, 4.3.1). What rounds beyond the largest number overflows: to infinity, or to NaN
where there is no infinity, or, on request, to the largest number (the OCP standard wants both conversions to exist).
A format with neither always saturates.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from workloads.errors import InputError, unknown_name
from workloads.formats.golden.arrays import Floats, Integers, as_floats, floor_log2, refuse

__all__ = [
    "BF16",
    "E2M1",
    "E2M3",
    "E3M2",
    "E4M3",
    "E5M2",
    "FLOAT_FORMATS",
    "FP16",
    "FP32",
    "FloatFormat",
    "Specials",
    "decode",
    "encode",
    "float_format",
    "round_to",
    "steps",
]

Specials = Literal["ieee", "nan", "none"]


@dataclass(frozen=True)
class FloatFormat:
    """A split of a word; ``bias`` None is the usual 2^(exponent_bits - 1) - 1.

    At most 8 exponent and 23 mantissa bits, so that float64 holds every value exactly; else `InputError`.

    >>> E4M3.maximum, E4M3.smallest_normal, E4M3.smallest
    (448.0, 0.015625, 0.001953125)
    """

    name: str
    exponent_bits: int
    mantissa_bits: int
    specials: Specials = "none"
    bias: int | None = None

    def __post_init__(self) -> None:
        limits = (("exponent_bits", self.exponent_bits, 1, 8), ("mantissa_bits", self.mantissa_bits, 0, 23))
        for field, value, low, high in limits:
            refuse(not low <= value <= high, f"{field} is {value}", f"{low} to {high}", field)
        refuse(
            self.specials == "nan" and self.mantissa_bits == 0 and self.exponent_bits == 1,
            "a two-bit float has no code to spare for NaN",
            "specials 'none'",
            "specials",
        )
        refuse(
            self.specials == "ieee" and (self.mantissa_bits == 0 or self.exponent_bits == 1),
            f"E{self.exponent_bits}M{self.mantissa_bits} cannot hold both infinity and NaN beside numbers",
            "specials 'nan' or 'none'",
            "specials",
        )
        if self.bias is None:
            object.__setattr__(self, "bias", (1 << (self.exponent_bits - 1)) - 1)

    @property
    def bits(self) -> int:
        """Bits of a word, the sign included."""
        return 1 + self.exponent_bits + self.mantissa_bits

    @property
    def minimum_exponent(self) -> int:
        """Exponent of the smallest normal number and of all subnormals."""
        assert self.bias is not None
        return 1 - self.bias

    @property
    def largest_code(self) -> int:
        """Code of the largest finite number."""
        top = (1 << (self.bits - 1)) - 1
        return top - {"none": 0, "nan": 1, "ieee": 1 << self.mantissa_bits}[self.specials]

    @property
    def nan_code(self) -> int | None:
        """The code a NaN is given (positive, quiet, no payload), or None when the format has none."""
        top = (1 << (self.bits - 1)) - 1
        if self.specials == "ieee":
            return top - (1 << (self.mantissa_bits - 1)) + 1
        return top if self.specials == "nan" else None

    @property
    def maximum(self) -> float:
        """The largest finite number."""
        return float(decode(self.largest_code, self))

    @property
    def maximum_exponent(self) -> int:
        """floor(log2 maximum): emax of the OCP Microscaling rule."""
        return int(floor_log2(as_floats(self.maximum)))

    @property
    def smallest_normal(self) -> float:
        """The smallest positive number with a hidden one."""
        return float(np.ldexp(1.0, self.minimum_exponent))

    @property
    def smallest(self) -> float:
        """The smallest positive number: subnormal, or normal when there are no mantissa bits."""
        return float(np.ldexp(1.0, self.minimum_exponent - self.mantissa_bits))


def decode(codes: ArrayLike, fmt: FloatFormat) -> Floats:
    """Values of ``codes`` (integers of ``fmt.bits`` bits), any shape, exact in float64."""
    words = np.asarray(codes, dtype=np.int64)
    refuse(
        (words < 0) | (words >> fmt.bits != 0), f"a code has more than {fmt.bits} bits", f"{fmt.name} codes", "codes"
    )
    magnitude = words & ((1 << (fmt.bits - 1)) - 1)
    mantissa = magnitude & ((1 << fmt.mantissa_bits) - 1)
    field = magnitude >> fmt.mantissa_bits
    significand = mantissa + np.where(field > 0, 1 << fmt.mantissa_bits, 0)
    exponent = np.maximum(field, 1) - 1 + fmt.minimum_exponent - fmt.mantissa_bits
    values = np.ldexp(significand.astype(np.float64), exponent.astype(np.int32))
    if fmt.specials == "ieee":
        values = np.where(magnitude == fmt.largest_code + 1, np.inf, values)
        values = np.where(magnitude > fmt.largest_code + 1, np.nan, values)
    elif fmt.specials == "nan":
        values = np.where(magnitude > fmt.largest_code, np.nan, values)
    signed: Floats = np.where(words >> (fmt.bits - 1) == 1, -values, values)
    return signed


def encode(values: ArrayLike, fmt: FloatFormat, *, saturate: bool = False, nan_code: int | None = None) -> Integers:
    """Codes of ``values`` rounded to nearest even; ``saturate`` turns overflow and infinity into the largest number.

    The sign of a NaN and of a zero is kept. Where the format has no NaN, one becomes ``nan_code``, or an `InputError`
    when that is None (the OCP standard leaves it open).

    >>> [hex(code) for code in encode([448.0, 464.0, 465.0, -0.0], E4M3)]
    ['0x7e', '0x7e', '0x7f', '0x80']
    """
    array = as_floats(values)
    nan = np.isnan(array)
    nan_word = fmt.nan_code if fmt.nan_code is not None else nan_code
    if nan_word is None:
        refuse(nan, f"a value is NaN, and {fmt.name} has none", "numbers, or a `nan_code`", "values")
        nan_word = 0
    refuse(not 0 <= nan_word < 1 << fmt.bits, f"code {nan_word} for NaN", f"{fmt.bits} bits", "nan_code")
    # A binade beyond the highest only has to overflow; bounding it keeps the codes in 64 bits.
    beyond_all = float(np.ldexp(1.0, fmt.minimum_exponent + (1 << fmt.exponent_bits)))
    magnitude = np.minimum(np.where(nan, 0.0, np.abs(array)), beyond_all)
    exponent = np.maximum(floor_log2(magnitude), fmt.minimum_exponent)
    significand = np.rint(np.ldexp(magnitude, (fmt.mantissa_bits - exponent).astype(np.int32)))
    # The hidden one adds a whole exponent step, so subnormals, normals and carries need no cases.
    code = ((exponent - fmt.minimum_exponent) << fmt.mantissa_bits) + significand.astype(np.int64)
    beyond = fmt.largest_code + (0 if saturate or fmt.specials == "none" else 1)
    code = np.where((code > fmt.largest_code) | np.isinf(array), beyond, code)
    sign = np.signbit(array).astype(np.int64) << (fmt.bits - 1)
    # A format without NaN stores the caller's code as it stands, sign included.
    codes: Integers = np.where(nan, nan_word, code).astype(np.int64)
    return codes | np.where(nan & (fmt.nan_code is None), 0, sign)


def round_to(values: ArrayLike, fmt: FloatFormat, *, saturate: bool = False) -> Floats:
    """The value of ``fmt`` nearest to each of ``values``."""
    return decode(encode(values, fmt, saturate=saturate), fmt)


def steps(values: ArrayLike, fmt: FloatFormat) -> Floats:
    """Distance between neighbouring numbers of ``fmt`` around each value (the binade that holds it)."""
    exponent = np.clip(floor_log2(np.abs(as_floats(values))), fmt.minimum_exponent, fmt.maximum_exponent)
    return np.ldexp(1.0, (exponent - fmt.mantissa_bits).astype(np.int32))


FP32 = FloatFormat("fp32", 8, 23, "ieee")
BF16 = FloatFormat("bf16", 8, 7, "ieee")
FP16 = FloatFormat("fp16", 5, 10, "ieee")
E4M3 = FloatFormat("fp8_e4m3", 4, 3, "nan")
E5M2 = FloatFormat("fp8_e5m2", 5, 2, "ieee")
E2M3 = FloatFormat("fp6_e2m3", 2, 3)
E3M2 = FloatFormat("fp6_e3m2", 3, 2)
E2M1 = FloatFormat("fp4_e2m1", 2, 1)

FLOAT_FORMATS: dict[str, FloatFormat] = {fmt.name: fmt for fmt in (FP32, BF16, FP16, E4M3, E5M2, E2M3, E3M2, E2M1)}


def float_format(name: str) -> FloatFormat:
    """A named format, or ``"e<x>m<y>"`` for a 3- to 8-bit split without NaN and infinity; else `InputError`.

    >>> float_format("e3m1").maximum
    24.0
    """
    if name in FLOAT_FORMATS:
        return FLOAT_FORMATS[name]
    exponent, _, mantissa = name.removeprefix("e").partition("m")
    if name.startswith("e") and exponent.isdecimal() and mantissa.isdecimal():
        bits = 1 + int(exponent) + int(mantissa)
        if not 3 <= bits <= 8:
            raise InputError(f"{name} has {bits} bits", "3 to 8 bits", "name")
        return FloatFormat(name, int(exponent), int(mantissa))
    raise unknown_name("element float", name, FLOAT_FORMATS, field="name")
