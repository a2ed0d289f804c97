"""NF4 against the quantile construction and the published comparison thresholds."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from workloads.formats import FORMATS
from workloads.formats.golden.normal_float import (
    NF4_VALUES,
    Nf4Tensor,
    decode_nf4,
    decode_nf4_double,
    dynamic_map,
    encode_nf4,
    encode_nf4_double,
)

# bitsandbytes, csrc/kernels.cu, dQuantizeNF4: x above the threshold takes the upper value.
THRESHOLDS = [
    -0.8480964004993439,
    -0.6106329262256622,
    -0.4599952697753906,
    -0.33967943489551544,
    -0.23460740596055984,
    -0.13791173323988914,
    -0.045525018125772476,
    0.03979014977812767,
    0.1202552504837513,
    0.2035212516784668,
    0.2920137718319893,
    0.3893125355243683,
    0.5016634166240692,
    0.6427869200706482,
    0.8614784181118011,
]


def test_values_are_normal_quantiles() -> None:
    quantile = NormalDist().inv_cdf
    offset = 0.9677083
    positive = [quantile(offset + (0.5 - offset) * i / 8) for i in range(8)]
    negative = [-quantile(offset + (0.5 - offset) * i / 7) for i in range(7)]
    expected = np.array(sorted([*negative, 0.0, *positive])) / positive[0]
    # The published table was computed in single precision.
    assert np.allclose(NF4_VALUES, expected, rtol=0, atol=3e-7)


def test_thresholds_are_the_published_ones() -> None:
    single = np.float32(THRESHOLDS).astype(np.float64)
    for shift, offset in ((-1e-6, 0), (1e-6, 1)):
        block = np.concatenate([single + shift, np.zeros(48), [1.0]])
        assert encode_nf4(block).codes[:15].tolist() == [index + offset for index in range(15)]


def test_every_code_round_trips() -> None:
    codes = np.tile(np.arange(16), 4)
    maxima = np.array([0.75])
    decoded = decode_nf4(Nf4Tensor(codes, maxima))
    assert decoded[:16].tolist() == [value * 0.75 for value in NF4_VALUES]
    assert encode_nf4(decoded).codes.tolist() == codes.tolist()


def test_storage_bits() -> None:
    assert encode_nf4(np.ones((2, 128))).storage_bits == FORMATS["nf4"].bits_per_element * 256


@settings(max_examples=30, deadline=None)
@given(hnp.arrays(np.float64, (2, 64), elements=st.floats(-1e6, 1e6, allow_subnormal=False, width=32)))
def test_properties(values: np.ndarray) -> None:
    tensor = encode_nf4(values)
    decoded = decode_nf4(tensor)
    assert np.array_equal(decode_nf4(encode_nf4(decoded)), decoded)
    # The widest gap is the lowest one, 0.304; half of it bounds every error.
    bound = (1.0 - 0.6961928009986877) / 2 * tensor.maxima
    assert np.all(np.abs(decoded - values) <= bound[..., None].repeat(64, axis=-1).reshape(2, 64) * (1 + 1e-12))
    order = np.argsort(values, axis=-1)
    assert np.all(np.diff(np.take_along_axis(decoded, order, axis=-1), axis=-1) >= 0)
    assert np.array_equal(decode_nf4(encode_nf4(values[:, ::-1])), decoded[:, ::-1])


def test_dynamic_map_by_hand() -> None:
    """Decade 1 of seven has one value, the middle of 0.1 and 1; the next has the middles of two halves; 64 in the last,
    steps of 0.9 / 64 apart; either sign, 0 and 1."""
    table = dynamic_map()
    assert len(set(table.tolist())) == 256
    positive = table[table > 0]
    assert positive[:3] == pytest.approx([0.55e-6, 0.325e-5, 0.775e-5], rel=1e-6)
    assert positive[-65:-1] == pytest.approx(0.1 + 0.9 * (np.arange(64) + 0.5) / 64, rel=1e-6)
    assert positive[-1] == 1.0
    assert np.array_equal(-table[table < 0][::-1], positive[:-1])
    assert np.array_equal(table, table.astype(np.float32))


def test_double_quantisation_takes_the_published_bits() -> None:
    # QLoRA, section 3: 8 / 64 + 32 / (64 * 256) = 0.127 bits instead of 0.5.
    tensor = encode_nf4_double(np.random.default_rng(0).standard_normal((4, 64 * 256)))
    assert tensor.storage_bits / tensor.codes.size - 4 == pytest.approx(0.127, abs=5e-4)
    assert tensor.storage_bits == FORMATS["nf4_double"].bits_per_element * 4 * 64 * 256


def test_double_quantisation_of_maxima() -> None:
    """Maxima within half a step of the map (0.9 / 64 in its last decade) times the largest distance from the mean."""
    values = np.random.default_rng(1).standard_normal((3, 64 * 100))
    plain, double = encode_nf4(values), encode_nf4_double(values)
    assert np.array_equal(plain.codes, double.codes)
    assert double.largest.size == 2  # 300 maxima
    assert double.mean == pytest.approx(plain.maxima.mean(), rel=1e-6)
    ratio = decode_nf4_double(double) / np.where(plain.codes == 7, 1.0, decode_nf4(plain))
    maxima = (ratio.reshape(3, 100, 64).max(axis=-1)) * plain.maxima
    bound = 0.9 / 64 / 2 * np.repeat(double.largest, 256)[:300].reshape(3, 100)
    assert np.all(np.abs(maxima - plain.maxima) <= bound * 1.001)


def test_equal_maxima_are_kept_exactly() -> None:
    values = np.tile([0.5, *[0.0] * 63], 10)
    assert np.array_equal(decode_nf4_double(encode_nf4_double(values)), values)
    assert decode_nf4_double(encode_nf4_double(np.zeros(128))).tolist() == [0.0] * 128
