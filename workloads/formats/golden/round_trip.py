"""Values through any golden format by name, with the bits they took: the common door for errors and bounds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from numpy.typing import ArrayLike

from workloads.errors import unknown_name
from workloads.formats.golden.arrays import Floats, as_floats
from workloads.formats.golden.bitmod import decode_bitmod, encode_bitmod
from workloads.formats.golden.floats import FLOAT_FORMATS, FloatFormat, round_to
from workloads.formats.golden.gguf import decode_q4_0, decode_q4_k, decode_q8_0, encode_q4_0, encode_q4_k, encode_q8_0
from workloads.formats.golden.integers import decode_integers, encode_integers
from workloads.formats.golden.metrics import QuantizationError, quantization_error
from workloads.formats.golden.microscaling import MX_ELEMENTS, decode_mx, encode_mx
from workloads.formats.golden.normal_float import decode_nf4, decode_nf4_double, encode_nf4, encode_nf4_double
from workloads.formats.golden.nvfp4 import decode_nvfp4, encode_nvfp4
from workloads.formats.golden.shared_exponent import decode_shared_exponent, encode_shared_exponent

__all__ = ["GOLDEN_NAMES", "RoundTrip", "round_trip"]


@dataclass(frozen=True)
class RoundTrip:
    """``decoded`` has the shape of the values; ``bits_per_element`` counts scales and selectors."""

    name: str
    decoded: Floats
    bits_per_element: float
    error: QuantizationError


_Result = tuple[Floats, float]


def _element(fmt: FloatFormat) -> Callable[[Floats], _Result]:
    return lambda values: (round_to(values, fmt), fmt.bits * values.size)


def _mx(element: str) -> Callable[[Floats], _Result]:
    def through(values: Floats) -> _Result:
        tensor = encode_mx(values, element)
        return decode_mx(tensor), tensor.storage_bits

    return through


def _nvfp4(values: Floats) -> _Result:
    tensor = encode_nvfp4(values)
    return decode_nvfp4(tensor), tensor.storage_bits


def _integers(bits: int, group: int, symmetric: bool) -> Callable[[Floats], _Result]:
    def through(values: Floats) -> _Result:
        tensor = encode_integers(values, bits, group, symmetric=symmetric)
        return decode_integers(tensor), tensor.storage_bits

    return through


def _shared_exponent(mantissa_bits: int) -> Callable[[Floats], _Result]:
    def through(values: Floats) -> _Result:
        tensor = encode_shared_exponent(values, mantissa_bits)
        return decode_shared_exponent(tensor), tensor.storage_bits

    return through


def _nf4(values: Floats) -> _Result:
    tensor = encode_nf4(values)
    return decode_nf4(tensor), tensor.storage_bits


def _nf4_double(values: Floats) -> _Result:
    tensor = encode_nf4_double(values)
    return decode_nf4_double(tensor), tensor.storage_bits


def _q8_0(values: Floats) -> _Result:
    data = encode_q8_0(values)
    return decode_q8_0(data), data.size * 8


def _q4_0(values: Floats) -> _Result:
    data = encode_q4_0(values)
    return decode_q4_0(data), data.size * 8


def _q4_k(values: Floats) -> _Result:
    data = encode_q4_k(values)
    return decode_q4_k(data), data.size * 8


def _bitmod(bits: int) -> Callable[[Floats], _Result]:
    def through(values: Floats) -> _Result:
        tensor = encode_bitmod(values, bits)
        return decode_bitmod(tensor), tensor.storage_bits()

    return through


_THROUGH: dict[str, Callable[[Floats], _Result]] = {
    **{name: _element(fmt) for name, fmt in FLOAT_FORMATS.items()},
    **{name: _mx(name) for name in MX_ELEMENTS},
    # The storage table's names leave the element open; these are the more precise of the standard's two.
    "mxfp8": _mx("mxfp8_e4m3"),
    "mxfp6": _mx("mxfp6_e2m3"),
    "nvfp4": _nvfp4,
    "int8_g128": _integers(8, 128, symmetric=True),
    "int4_g128": _integers(4, 128, symmetric=False),
    "int3_g128": _integers(3, 128, symmetric=False),
    "int2_g64": _integers(2, 64, symmetric=False),
    "bfp4": _shared_exponent(4),
    "bfp6": _shared_exponent(6),
    "nf4": _nf4,
    "nf4_double": _nf4_double,
    "q8_0": _q8_0,
    "q4_0": _q4_0,
    "q4_k": _q4_k,
    "bitmod_fp3": _bitmod(3),
    "bitmod_fp4": _bitmod(4),
}

GOLDEN_NAMES: tuple[str, ...] = tuple(_THROUGH)


def round_trip(name: str, values: ArrayLike) -> RoundTrip:
    """``values`` (..., n) stored in the format ``name`` and read back; `InputError` for an unknown name or a bad shape.

    >>> round_trip("fp4_e2m1", [0.4, 2.4]).decoded.tolist()
    [0.5, 2.0]
    """
    if name not in _THROUGH:
        raise unknown_name("golden format", name, _THROUGH, field="name")
    array = as_floats(values)
    decoded, bits = _THROUGH[name](array)
    return RoundTrip(name, decoded, bits / array.size, quantization_error(array, decoded))
