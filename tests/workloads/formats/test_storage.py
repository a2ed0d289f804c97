"""Bits that stored values take, scales included, against the layouts' own counts."""

from __future__ import annotations

import numpy as np
import pytest

from workloads.formats import FORMATS, storage_format
from workloads.formats.golden.dfloat11 import encode_dfloat11
from workloads.formats.golden.floats import BF16, encode
from workloads.formats.golden.ternary import pack_base3, pack_two_bit


@pytest.mark.parametrize(
    ("name", "bits"),
    [
        ("fp6_e2m3", 6),
        ("fp6_e3m2", 6),
        ("bfp6", 6 + 8 / 32),
        ("bfp4", 4 + 8 / 32),
        ("bitmod_fp4", 4.0625 + 2 / 128),
        ("bitmod_fp3", 3.0625 + 2 / 128),
        ("ternary", 2),
        ("ternary_base3", 8 / 5),
        ("nf4_double", 4 + 8 / 64 + 32 / (64 * 256)),
        ("dfloat11", 11),
    ],
)
def test_bits_per_element(name: str, bits: float) -> None:
    assert storage_format(name).bits_per_element == pytest.approx(bits, rel=1e-15)


def test_ternary_bytes_are_those_of_the_packings() -> None:
    digits = np.zeros(1000, np.int64)
    assert FORMATS["ternary"].storage_bytes(1000) == pack_two_bit(digits).size
    assert FORMATS["ternary_base3"].storage_bytes(1000) == pack_base3(digits).size


def test_dfloat11_is_near_its_name() -> None:
    """Published models: 67.6 to 69.5 % of BF16, 10.8 to 11.1 bits (arXiv 2504.11651); normal weights of one scale lie
    a little below, since (8 + 2.54) bits is their floor."""
    words = encode(np.random.default_rng(0).standard_normal(100_000) * 0.02, BF16).astype(np.uint16)
    taken = encode_dfloat11(words).storage_bits / words.size
    assert taken == pytest.approx(FORMATS["dfloat11"].bits_per_element, rel=0.04)
