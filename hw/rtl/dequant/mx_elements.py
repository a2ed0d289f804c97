"""Elements and blocks of the OCP Microscaling formats as the units see them: names, widths, numbers of fixed point.

Every finite element is an integer times a power of two of its format: E2M1 is n / 2 with |n| <= 12, E4M3 n / 2^9 with
|n| <= 448 * 2^9 (18 bits), E5M2 n / 2^16 with |n| <= 57,344 * 2^16 (32 bits), INT8 n / 64 with -128 <= n <= 127.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workloads.errors import InputError, unknown_name
from workloads.formats.arith.floating import canonical_nan
from workloads.formats.golden.arrays import Floats, Integers
from workloads.formats.golden.floats import FLOAT_FORMATS, FloatFormat, decode, encode
from workloads.formats.golden.microscaling import MX_ELEMENTS

__all__ = [
    "TARGETS",
    "check_element",
    "check_range",
    "check_target",
    "classes_seen",
    "drawn_elements",
    "element_bits",
    "element_values",
    "largest_integer",
    "one_exponent",
    "rounded_codes",
    "special_codes",
    "target_format",
]

TARGETS = ("bf16", "fp16", "fp32")
"""Formats that units write: those with infinities and NaN as IEEE 754."""


def check_element(name: str, field: str) -> None:
    """`InputError` unless ``name`` is an MX format."""
    if name not in MX_ELEMENTS:
        raise unknown_name("MX format", name, MX_ELEMENTS, field=field)


def check_target(name: str, field: str) -> None:
    """`InputError` unless ``name`` is one of `TARGETS`."""
    if name not in TARGETS:
        raise unknown_name("format to write", name, TARGETS, field=field)


def check_range(value: int, low: int, high: int, field: str) -> None:
    """`InputError` unless ``value`` lies in [``low``, ``high``]."""
    if not low <= value <= high:
        raise InputError(f"{value} {field}", f"from {low} to {high}", field)


def element_bits(name: str) -> int:
    """Bits of an element's code."""
    fmt = MX_ELEMENTS[name]
    return fmt.bits if fmt else 8


def one_exponent(name: str) -> int:
    """Exponent of the lowest bit of an element taken as an integer: the value is integer * 2^this."""
    fmt = MX_ELEMENTS[name]
    return fmt.minimum_exponent - fmt.mantissa_bits if fmt else -6


def largest_integer(name: str) -> int:
    """The largest magnitude of an element taken as an integer."""
    fmt = MX_ELEMENTS[name]
    return int(math.ldexp(fmt.maximum, -one_exponent(name))) if fmt else 128


def element_values(name: str, codes: Integers) -> Floats:
    """Values of elements under the scale 1, exact."""
    fmt = MX_ELEMENTS[name]
    values: Floats = decode(codes, fmt) if fmt else ((codes ^ 0x80) - 0x80) / 64.0
    return values


def rounded_codes(values: Floats, fmt: FloatFormat) -> Integers:
    """Codes of ``values``, each rounded once; NaN is the positive quiet one whatever its sign."""
    codes: Integers = np.where(np.isnan(values), canonical_nan(fmt), encode(values, fmt))
    return codes


def special_codes(name: str) -> dict[str, Integers]:
    """Codes of each class of an element: "zero", "subnormal", "normal", "largest", "infinite", "nan"; empty classes
    are left out."""
    codes = np.arange(1 << element_bits(name))
    fmt = MX_ELEMENTS[name]
    if fmt is None:
        return {"zero": codes[:1], "normal": np.delete(codes, [0, 128]), "largest": codes[128:129]}
    magnitude = codes & ((1 << (fmt.bits - 1)) - 1)
    infinity = fmt.largest_code + 1 if fmt.specials == "ieee" else -1
    classes = {
        "zero": magnitude == 0,
        "subnormal": (magnitude > 0) & (magnitude < 1 << fmt.mantissa_bits),
        "normal": (magnitude >= 1 << fmt.mantissa_bits) & (magnitude < fmt.largest_code),
        "largest": magnitude == fmt.largest_code,
        "infinite": magnitude == infinity,
        "nan": (magnitude > fmt.largest_code) & (magnitude != infinity),
    }
    return {name: codes[members] for name, members in classes.items() if members.any()}


def drawn_elements(
    rng: np.random.Generator, name: str, shape: tuple[int, ...], shares: Mapping[str, float]
) -> Integers:
    """Codes: finite ones at random, with ``shares`` of those of the named classes among them."""
    classes = special_codes(name)
    finite = np.concatenate([codes for kind, codes in classes.items() if kind not in ("infinite", "nan")])
    codes = rng.choice(finite, shape)
    for kind, share in shares.items():
        if kind in classes:
            codes = np.where(rng.random(shape) < share, rng.choice(classes[kind], shape), codes)
    return codes


def target_format(name: str) -> FloatFormat:
    """The format of that name."""
    return FLOAT_FORMATS[name]


def classes_seen(name: str, codes: NDArray[Any]) -> dict[str, bool]:
    """Which classes of elements occur among ``codes``."""
    return {kind: bool(np.isin(codes, members).any()) for kind, members in special_codes(name).items()}
