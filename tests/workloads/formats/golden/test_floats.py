"""Element floats against closed forms, published tables, numpy's own casts and a slow nearest search."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.errors import InputError
from workloads.formats import FORMATS
from workloads.formats.golden.floats import (
    BF16,
    E2M1,
    E2M3,
    E3M2,
    E4M3,
    E5M2,
    FLOAT_FORMATS,
    FP16,
    FP32,
    FloatFormat,
    decode,
    encode,
    float_format,
    round_to,
    steps,
)

SMALL = [E4M3, E5M2, E2M3, E3M2, E2M1]
# Every split of 3 to 8 bits, with each rule for NaN and infinity that leaves numbers over.
SPLITS = [
    FloatFormat(f"e{e}m{bits - 1 - e}_{specials}", e, bits - 1 - e, specials)
    for bits in range(3, 9)
    for e in range(1, bits)
    for specials in ("none", "nan", "ieee")
    if specials != "ieee" or (e > 1 and bits - 1 - e > 0)
]


def all_fp16() -> np.ndarray:
    return np.arange(1 << 16, dtype=np.uint16).view(np.float16).astype(np.float64)


def all_bf16() -> np.ndarray:
    words = np.arange(1 << 16, dtype=np.uint32) << 16
    with np.errstate(invalid="ignore"):
        return words.view(np.float32).astype(np.float64)


def value_by_hand(code: int, fmt: FloatFormat) -> float:
    """The textbook formula, one code at a time, specials left out."""
    text = format(code, f"0{fmt.bits}b")
    field = int(text[1 : 1 + fmt.exponent_bits], 2)
    mantissa = int(text[1 + fmt.exponent_bits :] or "0", 2) / 2**fmt.mantissa_bits
    assert fmt.bias is not None
    value = 2.0 ** (field - fmt.bias) * (1 + mantissa) if field else 2.0 ** (1 - fmt.bias) * mantissa
    return -value if text[0] == "1" else value


def nearest_by_search(values: np.ndarray, fmt: FloatFormat, saturate: bool) -> np.ndarray:
    """Codes by comparing each magnitude with each number; NaN is left to the caller."""
    largest = fmt.largest_code
    numbers = np.array([value_by_hand(code, fmt) for code in range(largest + 1)])
    # Where the next number up would be if the exponent went on: rounding to it is overflow.
    exponent = math.floor(math.log2(numbers[-1]))
    above = numbers[-1] + 2.0 ** (exponent - fmt.mantissa_bits)
    numbers = np.append(numbers, above)
    magnitude = np.minimum(np.abs(values), above)
    distance = np.abs(magnitude[:, None] - numbers[None, :])
    first = np.argmin(distance, axis=1)
    upper = np.minimum(first + 1, largest + 1)
    tie = (distance[np.arange(len(values)), upper] == distance[np.arange(len(values)), first]) & (upper > first)
    # Without mantissa bits only 0 counts as even: the tie goes up unless it is with 0.
    take_upper = (first % 2 == 1) if fmt.mantissa_bits else (first > 0)
    code = np.where(tie & take_upper, upper, first)
    code = np.where((code > largest) & (saturate or fmt.specials == "none"), largest, code)
    return code | (np.signbit(values).astype(np.int64) << (fmt.bits - 1))


def test_published_tables() -> None:
    assert decode(range(8), E2M1).tolist() == [0, 0.5, 1, 1.5, 2, 3, 4, 6]
    assert decode(range(8, 16), E2M1).tolist() == [-0.0, -0.5, -1, -1.5, -2, -3, -4, -6]
    eighths = [i / 8 for i in range(16)]
    assert decode(range(32), E2M3).tolist() == eighths + [2 + i / 4 for i in range(8)] + [4 + i / 2 for i in range(8)]
    assert decode(range(4), E3M2).tolist() == [0, 0.0625, 0.125, 0.1875]


@pytest.mark.parametrize(
    ("fmt", "maximum", "smallest_normal", "smallest", "emax"),
    [
        (E2M1, 6.0, 1.0, 0.5, 2),
        (E2M3, 7.5, 1.0, 0.125, 2),
        (E3M2, 28.0, 0.25, 0.0625, 4),
        (E4M3, 448.0, 2.0**-6, 2.0**-9, 8),
        (E5M2, 57344.0, 2.0**-14, 2.0**-16, 15),
        (FP16, 65504.0, 2.0**-14, 2.0**-24, 15),
        (BF16, (2 - 2.0**-7) * 2.0**127, 2.0**-126, 2.0**-133, 127),
        (FP32, (2 - 2.0**-23) * 2.0**127, 2.0**-126, 2.0**-149, 127),
    ],
    ids=lambda value: value.name if isinstance(value, FloatFormat) else "",
)
def test_published_limits(fmt: FloatFormat, maximum: float, smallest_normal: float, smallest: float, emax: int) -> None:
    assert (fmt.maximum, fmt.smallest_normal, fmt.smallest, fmt.maximum_exponent) == (
        maximum,
        smallest_normal,
        smallest,
        emax,
    )


@pytest.mark.parametrize("fmt", [*SPLITS, *SMALL, FP16, BF16], ids=lambda fmt: fmt.name)
def test_every_code_decodes_to_the_closed_form(fmt: FloatFormat) -> None:
    codes = np.arange(1 << fmt.bits)
    values = decode(codes, fmt)
    magnitude = codes & ((1 << (fmt.bits - 1)) - 1)
    finite = magnitude <= fmt.largest_code
    expected = [value_by_hand(int(code), fmt) for code in codes[finite]]
    assert values[finite].tolist() == expected
    assert np.signbit(values[finite]).tolist() == (codes[finite] >= 1 << (fmt.bits - 1)).tolist()
    infinities = {"none": 0, "nan": 0, "ieee": 2}[fmt.specials]
    nans = {"none": 0, "nan": 2, "ieee": 2 * ((1 << fmt.mantissa_bits) - 1)}[fmt.specials]
    assert (np.isinf(values).sum(), np.isnan(values).sum()) == (infinities, nans)
    assert encode(values[finite], fmt).tolist() == codes[finite].tolist()


@pytest.mark.parametrize("saturate", [False, True])
@pytest.mark.parametrize("source", [all_fp16, all_bf16])
@pytest.mark.parametrize("fmt", SMALL, ids=lambda fmt: fmt.name)
def test_every_half_word_rounds_to_the_nearest(fmt: FloatFormat, source: object, saturate: bool) -> None:
    values = source()  # type: ignore[operator]
    values = values[~np.isnan(values)]
    assert np.array_equal(encode(values, fmt, saturate=saturate), nearest_by_search(values, fmt, saturate))


@pytest.mark.parametrize("fmt", SPLITS, ids=lambda fmt: fmt.name)
def test_every_split_rounds_numbers_and_midpoints_to_the_nearest(fmt: FloatFormat) -> None:
    numbers = np.array([value_by_hand(code, fmt) for code in range(fmt.largest_code + 1)])
    middles = (numbers[1:] + numbers[:-1]) / 2
    above = np.array([numbers[-1] * 1.01, numbers[-1] * 1.26, numbers[-1] * 1.5, numbers[-1] * 4, 1e300, math.inf])
    values = np.concatenate([numbers, middles, np.nextafter(middles, 0), np.nextafter(middles, np.inf), above])
    values = np.concatenate([values, -values])
    for saturate in (False, True):
        assert np.array_equal(encode(values, fmt, saturate=saturate), nearest_by_search(values, fmt, saturate))


@pytest.mark.slow
@pytest.mark.parametrize("source", [all_fp16, all_bf16])
@pytest.mark.parametrize("fmt", SPLITS, ids=lambda fmt: fmt.name)
def test_every_half_word_in_every_split(fmt: FloatFormat, source: object) -> None:
    values = source()  # type: ignore[operator]
    values = values[~np.isnan(values)]
    for saturate in (False, True):
        assert np.array_equal(encode(values, fmt, saturate=saturate), nearest_by_search(values, fmt, saturate))


def test_fp16_is_numpys() -> None:
    codes = np.arange(1 << 16)
    assert np.array_equal(decode(codes, FP16), all_fp16(), equal_nan=True)
    values = np.concatenate([all_bf16(), np.random.default_rng(0).standard_normal(50_000) * 1e-5])
    values = values[~np.isnan(values)]
    with np.errstate(over="ignore", under="ignore"):
        assert np.array_equal(encode(values, FP16), values.astype(np.float16).view(np.uint16))


def test_fp32_is_numpys() -> None:
    words = np.random.default_rng(1).integers(0, 1 << 32, 100_000, dtype=np.uint32)
    with np.errstate(invalid="ignore"):
        expected = words.view(np.float32).astype(np.float64)
    assert np.array_equal(decode(words, FP32), expected, equal_nan=True)
    values = np.ldexp(np.random.default_rng(2).standard_normal(100_000), np.arange(100_000) % 300 - 150)
    with np.errstate(over="ignore", under="ignore"):
        assert np.array_equal(encode(values, FP32), values.astype(np.float32).view(np.uint32))


def test_bf16_is_the_rounded_upper_half_of_fp32() -> None:
    words = np.random.default_rng(3).integers(0, 1 << 31, 100_000, dtype=np.uint32)
    words = words[words < 0x7F800000]
    upper = (words.astype(np.uint64) + 0x7FFF + ((words >> 16) & 1)) >> 16
    assert np.array_equal(encode(words.view(np.float32), BF16), upper)


def test_overflow_follows_the_standard_or_saturates() -> None:
    assert decode(encode([464.0, 465.0, math.inf], E4M3), E4M3)[0] == 448.0
    assert np.isnan(decode(encode([465.0, math.inf, -math.inf], E4M3), E4M3)).all()
    assert round_to([465.0, math.inf, -math.inf], E4M3, saturate=True).tolist() == [448.0, 448.0, -448.0]
    assert round_to([61439.0, 61440.0, -math.inf], E5M2).tolist() == [57344.0, math.inf, -math.inf]
    assert round_to([61440.0, -math.inf], E5M2, saturate=True).tolist() == [57344.0, -57344.0]
    assert round_to([7.0, -math.inf], E2M1).tolist() == [6.0, -6.0]


def test_nan_keeps_its_sign_where_there_is_one() -> None:
    signed = [math.nan, math.copysign(math.nan, -1.0)]
    assert encode(signed, FP16).tolist() == [0x7E00, 0xFE00]
    assert encode(signed, BF16).tolist() == [0x7FC0, 0xFFC0]
    assert encode(signed, E5M2).tolist() == [0x7E, 0xFE]
    assert encode(signed, E4M3).tolist() == [0x7F, 0xFF]
    assert encode(signed, E4M3, saturate=True).tolist() == [0x7F, 0xFF]
    assert encode(signed, E2M1, nan_code=8).tolist() == [8, 8]
    with pytest.raises(InputError) as caught:
        encode(signed, E2M1, nan_code=16)
    assert str(caught.value) == "nan_code: code 16 for NaN; expected 4 bits"
    with pytest.raises(InputError) as caught:
        encode(math.nan, E2M1)
    assert str(caught.value) == "values: a value is NaN, and fp4_e2m1 has none; expected numbers, or a `nan_code`"


def test_against_ml_dtypes() -> None:
    """An implementation by others, all finite FP16 values."""
    types = pytest.importorskip("ml_dtypes", reason="ml_dtypes is not installed: no outside reference for float8")
    pairs = [
        (E4M3, types.float8_e4m3fn),
        (E5M2, types.float8_e5m2),
        (E2M3, types.float6_e2m3fn),
        (E3M2, types.float6_e3m2fn),
        (E2M1, types.float4_e2m1fn),
    ]
    values = all_fp16()
    values = values[np.isfinite(values)]
    for fmt, dtype in pairs:
        ours = encode(values, fmt)
        theirs = values.astype(dtype).view(np.uint8).astype(np.int64) & ((1 << fmt.bits) - 1)
        assert np.array_equal(ours, theirs), fmt.name


def test_storage_bits() -> None:
    for name, fmt in FLOAT_FORMATS.items():
        if name in FORMATS:
            assert fmt.bits == FORMATS[name].bits_per_element


@settings(deadline=None)
@given(st.floats(-1e6, 1e6), st.floats(-1e6, 1e6), st.sampled_from([*SPLITS, *SMALL, FP16, BF16]))
def test_rounding_is_monotone_idempotent_odd_and_within_half_a_step(a: float, b: float, fmt: FloatFormat) -> None:
    low, high = sorted((a, b))
    rounded = round_to([low, high, -low], fmt, saturate=True)
    assert rounded[0] <= rounded[1]
    assert rounded[2] == -rounded[0]
    assert round_to(rounded, fmt, saturate=True).tolist() == rounded.tolist()
    if abs(low) <= fmt.maximum:
        assert abs(rounded[0] - low) <= float(steps(low, fmt)) / 2


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("e4m4", "name: e4m4 has 9 bits; expected 3 to 8 bits"),
        ("e1m0", "name: e1m0 has 2 bits; expected 3 to 8 bits"),
        ("e0m4", "exponent_bits: exponent_bits is 0; expected 1 to 8"),
    ],
)
def test_wrong_splits_are_refused(name: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        float_format(name)
    assert str(caught.value) == message


def test_unknown_names_and_codes_are_refused() -> None:
    with pytest.raises(InputError, match="unknown element float 'fp8_e4m4'"):
        float_format("fp8_e4m4")
    with pytest.raises(InputError) as caught:
        decode([16], E2M1)
    assert str(caught.value) == "codes: a code has more than 4 bits; expected fp4_e2m1 codes"
    with pytest.raises(InputError) as caught:
        FloatFormat("none", 3, 0, "ieee")
    expected = "specials: E3M0 cannot hold both infinity and NaN beside numbers; expected specials 'nan' or 'none'"
    assert str(caught.value) == expected
    assert float_format("e3m2").maximum == 28.0
