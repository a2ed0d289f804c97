"""Ternary digits: all 243 bytes, both packings, the quantiser by hand."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.errors import InputError
from workloads.formats.golden.metrics import entropy_bits
from workloads.formats.golden.ternary import (
    decode_ternary,
    encode_ternary,
    pack_base3,
    pack_two_bit,
    unpack_base3,
    unpack_two_bit,
)

DIGITS = st.lists(st.integers(-1, 1), max_size=60)


def test_all_bytes_of_five_digits() -> None:
    groups = list(itertools.product((-1, 0, 1), repeat=5))
    packed = pack_base3(list(itertools.chain.from_iterable(groups)))
    assert len(set(packed.tolist())) == 243
    assert packed.tolist() == [sum((d + 1) * 3**i for i, d in enumerate(group)) for group in groups]
    assert unpack_base3(packed, 5 * 243).reshape(243, 5).tolist() == [list(group) for group in groups]


@settings(deadline=None)
@given(DIGITS)
def test_there_and_back(digits: list[int]) -> None:
    assert unpack_base3(pack_base3(digits), len(digits)).tolist() == digits
    assert unpack_two_bit(pack_two_bit(digits), len(digits)).tolist() == digits
    assert pack_base3(digits).size == math.ceil(len(digits) / 5)
    assert pack_two_bit(digits).size == math.ceil(len(digits) / 4)


def test_bits_against_the_bound() -> None:
    digits = np.tile([-1, 0, 1], 100)
    assert entropy_bits(digits) == pytest.approx(math.log2(3))
    assert pack_base3(digits).size * 8 / 300 == 1.6
    assert pack_two_bit(digits).size * 8 / 300 == 2.0


def test_quantiser_by_hand() -> None:
    # Mean magnitude 2: a half and below is 0 (tie to even), more is 1.
    tensor = encode_ternary([4.0, -2.0, 1.0, -1.0, 2.0])
    assert (tensor.scale, tensor.digits.tolist()) == (2.0, [1, -1, 0, 0, 1])
    assert decode_ternary(tensor).tolist() == [2.0, -2.0, 0.0, 0.0, 2.0]
    assert decode_ternary(encode_ternary(np.zeros(3))).tolist() == [0.0] * 3


def test_refused() -> None:
    with pytest.raises(InputError) as caught:
        unpack_base3([243], 5)
    assert str(caught.value) == "data: a byte is above 242; expected 3^5 values"
    with pytest.raises(InputError) as caught:
        unpack_two_bit([3], 1)
    assert str(caught.value) == "data: code 3 is no ternary digit; expected codes 0 to 2"
    with pytest.raises(InputError) as caught:
        pack_base3([2])
    assert str(caught.value) == "digits: a digit is not -1, 0 or 1; expected ternary digits"
