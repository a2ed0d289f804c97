"""OCP Microscaling (MX): 32 elements along the last axis share one power-of-two scale, an E8M0 byte.

OCP Microscaling Formats (MX) 1.0, 2023: value = 2^(scale - 127) * element; scale 255 is NaN and makes the whole block
NaN; E8M0 has no zero, no infinity and no sign. Conversion (section 6.3): scale exponent = floor(log2 of the largest
magnitude) - emax of the element format, kept within [-127, 127]; elements round to nearest even and saturate. Left
open by the standard and chosen here: a block of zeros gets the lowest scale (code 0); a NaN or an infinity in the
block makes the scale NaN and the elements 0.

MXINT8 elements are 8-bit two's complement with six fractional bits, emax 0; the code -128 (value -2) is decoded but
never produced, so that the range is symmetric, as the standard allows.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from workloads.errors import unknown_name
from workloads.formats.golden.arrays import Floats, Integers, as_floats, blocks, floor_log2, refuse
from workloads.formats.golden.floats import E2M1, E2M3, E3M2, E4M3, E5M2, FloatFormat, decode, encode

__all__ = [
    "E8M0_NAN",
    "MX_BLOCK",
    "MX_ELEMENTS",
    "MxTensor",
    "decode_e8m0",
    "decode_mx",
    "encode_e8m0",
    "encode_mx",
    "mx_scales",
]

MX_BLOCK = 32
E8M0_NAN = 255
_BIAS = 127

# None is the INT8 element, which is no float.
MX_ELEMENTS: dict[str, FloatFormat | None] = {
    "mxfp8_e4m3": E4M3,
    "mxfp8_e5m2": E5M2,
    "mxfp6_e2m3": E2M3,
    "mxfp6_e3m2": E3M2,
    "mxfp4": E2M1,
    "mxint8": None,
}


@dataclass(frozen=True)
class MxTensor:
    """``codes`` (..., n) are element codes (INT8: 0..255, two's complement); ``scales`` (..., n / 32) E8M0 codes."""

    element: str
    codes: Integers
    scales: Integers

    @property
    def storage_bits(self) -> int:
        """Bits of all elements and scales."""
        fmt = _element(self.element)
        return self.codes.size * (fmt.bits if fmt else 8) + self.scales.size * 8


def _element(name: str) -> FloatFormat | None:
    if name not in MX_ELEMENTS:
        raise unknown_name("MX format", name, MX_ELEMENTS, field="element")
    return MX_ELEMENTS[name]


def decode_e8m0(codes: ArrayLike) -> Floats:
    """2^(code - 127); code 255 is NaN.

    >>> decode_e8m0([0, 127, 130]).tolist() == [2.0**-127, 1.0, 8.0]
    True
    """
    words = np.asarray(codes, dtype=np.int64)
    refuse((words < 0) | (words > 255), "a scale code has more than 8 bits", "0 to 255", "codes")
    values = np.ldexp(1.0, (words - _BIAS).astype(np.int32))
    return np.where(words == E8M0_NAN, np.nan, values)


def encode_e8m0(values: ArrayLike) -> Integers:
    """The nearest power of two, ties to the larger; saturates at 2^-127 and 2^127; NaN, zero and below give NaN.

    This is a cast, as ml_dtypes' float8_e8m0fnu rounds; the scale of an MX block is a floor instead (`mx_scales`).

    >>> decode_e8m0(encode_e8m0([1.49, 1.5, 2.9, 3.0])).tolist()
    [1.0, 2.0, 2.0, 4.0]
    """
    array = as_floats(values)
    usable = array > 0.0
    magnitude = np.where(usable, np.minimum(np.where(np.isnan(array), 1.0, array), 2.0**128), 1.0)
    exponent = floor_log2(magnitude)
    exponent += np.ldexp(magnitude, (-exponent).astype(np.int32)) >= 1.5
    return np.where(usable, np.clip(exponent, -_BIAS, _BIAS) + _BIAS, E8M0_NAN)


def mx_scales(values: ArrayLike, element: str) -> Integers:
    """E8M0 codes (..., n / 32) of ``values`` (..., n) by the rule of the standard."""
    fmt = _element(element)
    cut = blocks(as_floats(values), MX_BLOCK)
    finite = np.isfinite(cut).all(axis=-1)
    largest = np.max(np.where(np.isfinite(cut), np.abs(cut), 0.0), axis=-1)
    exponent = floor_log2(largest) - (fmt.maximum_exponent if fmt else 0)
    return np.where(finite, np.clip(exponent, -_BIAS, _BIAS) + _BIAS, E8M0_NAN)


def encode_mx(values: ArrayLike, element: str, scales: ArrayLike | None = None) -> MxTensor:
    """``values`` (..., n), n a multiple of 32, in one of `MX_ELEMENTS`; ``scales`` replaces the standard's rule."""
    array = as_floats(values)
    fmt = _element(element)
    codes = mx_scales(array, element) if scales is None else np.asarray(scales, dtype=np.int64)
    cut = blocks(array, MX_BLOCK)
    wanted = cut.shape[:-1]
    refuse(codes.shape != wanted, f"scales have the shape {codes.shape}", f"{wanted}", "scales")
    nan = codes == E8M0_NAN
    scaled = np.where(nan[..., None], 0.0, cut) / decode_e8m0(np.where(nan, _BIAS, codes))[..., None]
    if fmt:
        words = encode(scaled, fmt, saturate=True)
    else:
        words = np.clip(np.rint(scaled * 64.0), -127, 127).astype(np.int64) & 0xFF
    return MxTensor(element, words.reshape(array.shape), codes)


def decode_mx(tensor: MxTensor) -> Floats:
    """Values (..., n) in float64, exact."""
    fmt = _element(tensor.element)
    elements = decode(tensor.codes, fmt) if fmt else ((tensor.codes ^ 0x80) - 0x80) / 64.0
    scaled = blocks(elements, MX_BLOCK) * decode_e8m0(tensor.scales)[..., None]
    return scaled.reshape(tensor.codes.shape)
