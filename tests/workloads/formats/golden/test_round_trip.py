"""All formats side by side on normal values: storage, the rate-distortion bound, and orders that must hold."""

from __future__ import annotations

import math

import numpy as np
import pytest

from workloads.errors import InputError
from workloads.formats import FORMATS
from workloads.formats.golden.metrics import gaussian_snr_bound_db
from workloads.formats.golden.round_trip import GOLDEN_NAMES, round_trip

GAUSSIAN = np.random.default_rng(0).standard_normal((64, 1024))


def snr_db(name: str) -> float:
    return round_trip(name, GAUSSIAN).error.snr_db


@pytest.mark.parametrize("name", sorted(set(GOLDEN_NAMES) & set(FORMATS)))
def test_storage_bits_are_the_storage_tables(name: str) -> None:
    assert round_trip(name, GAUSSIAN).bits_per_element == FORMATS[name].bits_per_element


@pytest.mark.parametrize("name", GOLDEN_NAMES)
def test_no_format_beats_the_rate_distortion_bound(name: str) -> None:
    result = round_trip(name, GAUSSIAN)
    assert 0.0 < result.error.snr_db < gaussian_snr_bound_db(result.bits_per_element)


def test_uniform_steps_have_the_textbook_noise() -> None:
    """INT8 by the largest of 128: step^2 / 12 per group, from the groups' own maxima, gives the SNR within 0.1 dB."""
    largest = np.abs(GAUSSIAN.reshape(-1, 128)).max(axis=1)
    expected = 10 * math.log10(np.mean(GAUSSIAN**2) / np.mean((largest / 127) ** 2 / 12))
    assert snr_db("int8_g128") == pytest.approx(expected, abs=0.1)


def test_each_mantissa_bit_brings_six_decibels() -> None:
    """FP16 has three bits more than BF16, E4M3 one more than E5M2; few normal values are subnormal or saturate."""
    assert snr_db("fp16") - snr_db("bf16") == pytest.approx(3 * 20 * math.log10(2), abs=0.2)
    assert snr_db("fp8_e4m3") - snr_db("fp8_e5m2") == pytest.approx(20 * math.log10(2), abs=0.2)


def test_orders_that_must_hold() -> None:
    """More bits of one kind, a finer scale or smaller blocks never lose on normal values."""
    assert snr_db("fp32") > snr_db("fp16") > snr_db("bf16") > snr_db("mxint8") > snr_db("mxfp6") > snr_db("mxfp4")
    assert snr_db("nvfp4") > snr_db("mxfp4")
    assert snr_db("int8_g128") > snr_db("int4_g128") > snr_db("int3_g128") > snr_db("int2_g64")
    assert snr_db("q8_0") > snr_db("int8_g128")
    assert snr_db("nf4") > snr_db("int4_g128")
    assert snr_db("nf4") > snr_db("nf4_double") > snr_db("nf4") - 0.05
    assert snr_db("q4_k") > snr_db("q4_0")
    assert snr_db("bitmod_fp4") > snr_db("bitmod_fp3")
    assert snr_db("bfp6") - snr_db("bfp4") == pytest.approx(2 * 20 * math.log10(2), abs=0.7)


def test_refused() -> None:
    with pytest.raises(InputError, match="unknown golden format 'mxfp5'"):
        round_trip("mxfp5", GAUSSIAN)
