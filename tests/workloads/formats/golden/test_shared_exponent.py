"""Block floating point: equal to MXINT8 where it should be, and what sorting channels buys."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from workloads.errors import InputError
from workloads.formats.golden.metrics import quantization_error
from workloads.formats.golden.microscaling import decode_mx, encode_mx
from workloads.formats.golden.shared_exponent import channel_order, decode_shared_exponent, encode_shared_exponent

VALUES = hnp.arrays(np.float64, (2, 64), elements=st.floats(-1e6, 1e6, allow_subnormal=False))


def test_by_hand() -> None:
    # Largest 6: exponent 2, four bits leave steps of 2^(2 - 2) = 1 and +-7.
    tensor = encode_shared_exponent([6.0, -2.5, 0.4, 1.5], 4, block=4)
    assert (tensor.exponents.tolist(), tensor.mantissas.tolist()) == ([2], [6, -2, 0, 2])
    assert tensor.storage_bits == 4 * 4 + 8
    assert decode_shared_exponent(tensor).tolist() == [6.0, -2.0, 0.0, 2.0]


@settings(max_examples=30, deadline=None)
@given(VALUES)
def test_eight_bits_are_mxint8(values: np.ndarray) -> None:
    ours = decode_shared_exponent(encode_shared_exponent(values, 8))
    assert np.array_equal(ours, decode_mx(encode_mx(values, "mxint8")))


@settings(max_examples=30, deadline=None)
@given(VALUES, st.integers(2, 16))
def test_properties(values: np.ndarray, bits: int) -> None:
    tensor = encode_shared_exponent(values, bits, 16)
    decoded = decode_shared_exponent(tensor)
    assert np.array_equal(decode_shared_exponent(encode_shared_exponent(decoded, bits, 16)), decoded)
    step = np.repeat(2.0 ** (tensor.exponents - (bits - 2)), 16, axis=-1)
    in_range = np.abs(values) <= ((1 << (bits - 1)) - 1) * step
    assert np.all(np.abs(decoded - values)[in_range] <= step[in_range] / 2)
    assert np.all(np.abs(decoded - values) <= step)
    backwards = encode_shared_exponent(values[:, ::-1], bits, 16)
    assert np.array_equal(decode_shared_exponent(backwards), decoded[:, ::-1])


def test_sorting_channels_helps_and_leaves_products_alone() -> None:
    """One channel of 16 is +-64 beside unit normals: unsorted, every block of 16 has one and loses six bits."""
    random = np.random.default_rng(0)
    keys = random.standard_normal((256, 128))
    keys[:, 5::16] = np.copysign(64.0, keys[:, 5::16])
    queries = random.standard_normal((32, 128))
    order = channel_order(keys)
    assert sorted(order.tolist()) == list(range(128))
    assert np.allclose(queries[:, order] @ keys[:, order].T, queries @ keys.T, rtol=1e-12, atol=1e-9)
    # The last block in order holds the eight large channels and eight small ones; the other 112 are rid of them.
    apart = order[:112]
    plain = decode_shared_exponent(encode_shared_exponent(keys, 6, 16))
    rearranged = np.empty_like(keys)
    rearranged[:, order] = decode_shared_exponent(encode_shared_exponent(keys[:, order], 6, 16))
    # Beside a 64 the step is 2^(6 - 4): all but the 5 % above 2 round to zero, about 0 dB is left. Among themselves
    # the largest of 16 is below 4, but for rare cases, the step 1/8, the noise (1/8)^2 / 12: 29 dB.
    assert quantization_error(keys[:, apart], plain[:, apart]).snr_db < 3.0
    assert quantization_error(keys[:, apart], rearranged[:, apart]).snr_db > 28.0


def test_equal_norms_keep_their_order() -> None:
    assert channel_order([[2.0, 1.0, -1.0, 0.0]]).tolist() == [3, 1, 2, 0]


def test_refused() -> None:
    with pytest.raises(InputError) as caught:
        encode_shared_exponent(np.ones(32), 1)
    assert str(caught.value) == "mantissa_bits: 1 mantissa bits; expected 2 to 16"
