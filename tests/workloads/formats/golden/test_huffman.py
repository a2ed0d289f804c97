"""Huffman codes: the textbook's, the entropy's bounds, and the limit on length."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.errors import InputError
from workloads.formats.golden.huffman import canonical_code, huffman_code, huffman_lengths, occurrences
from workloads.formats.golden.metrics import entropy_bits


def test_huffman_by_hand() -> None:
    # Cormen et al., Introduction to Algorithms, section 16.3: these counts cost 224 bits.
    counts = dict(enumerate([45, 13, 12, 16, 9, 5]))
    lengths = huffman_lengths(counts)
    assert sum(lengths[symbol] * count for symbol, count in counts.items()) == 224
    assert [lengths[symbol] for symbol in range(6)] == [1, 3, 3, 3, 4, 4]


@settings(deadline=None)
@given(st.lists(st.integers(0, 255), min_size=1, max_size=300))
def test_huffman_codes_are_prefix_free_and_near_the_entropy(symbols: list[int]) -> None:
    code = huffman_code(symbols)
    texts = sorted(format(word, f"0{length}b") for word, length in zip(code.words, code.lengths, strict=True))
    assert not any(after.startswith(before) for before, after in pairwise(texts))
    if len(code.symbols) > 1:
        assert sum(2.0**-length for length in code.lengths) == 1.0
        counts = occurrences(np.array(symbols))
        assert entropy_bits(symbols) - 1e-9 <= code.mean_bits(counts) < entropy_bits(symbols) + 1.0


def test_long_codes_are_cut_to_the_limit() -> None:
    # Fibonacci counts give one code length per symbol: 24 symbols need 23 bits.
    counts = [1, 1]
    while len(counts) < 24:
        counts.append(counts[-1] + counts[-2])
    assert max(huffman_lengths(dict(enumerate(counts))).values()) == 23
    symbols = np.repeat(np.arange(24), counts)
    code = huffman_code(symbols, limit=12)
    assert max(code.lengths) <= 12
    assert sum(2.0**-length for length in code.lengths) == 1.0


def test_canonical_codes_by_hand() -> None:
    # Deflate, RFC 1951, section 3.2.2: lengths 3, 3, 3, 3, 3, 2, 4, 4 for A to H.
    code = canonical_code(dict(zip(range(8), [3, 3, 3, 3, 3, 2, 4, 4], strict=True)))
    assert code.symbols == (5, 0, 1, 2, 3, 4, 6, 7)
    assert code.words == (0b00, 0b010, 0b011, 0b100, 0b101, 0b110, 0b1110, 0b1111)
    with pytest.raises(InputError) as caught:
        canonical_code({1: 1, 2: 1, 3: 2})
    assert str(caught.value) == (
        "lengths: the lengths are too short; expected lengths whose sum of 2^-length is at most 1"
    )


def test_refused() -> None:
    with pytest.raises(InputError) as caught:
        huffman_code([1, 2, 3], limit=1)
    assert str(caught.value) == "limit: 3 symbols; expected at most 2^1 for the limit"
    with pytest.raises(InputError) as caught:
        huffman_lengths({})
    assert str(caught.value) == "counts: a count is below 1; expected counts of symbols that occur"
