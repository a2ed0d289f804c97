"""Mixes of sequence lengths against what ByteScale states of its corpora (arXiv 2502.21231, sections 3.1 and 8.2)."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.errors import InputError
from workloads.traces.length_mixes import draw_lengths, mean_length

M = 1024 * 1024
STATED = [
    ("byted", 2 * M, 0.121, 0.003),
    ("byted", 256 * 1024, 0.37, 0.005),
    ("byted", 128 * 1024, 0.443, 0.003),
    ("github", 256 * 1024, 0.098, 0.003),
    ("github", 128 * 1024, 0.162, 0.003),
]


@pytest.mark.parametrize(("mix", "least", "share", "within"), STATED)
def test_shares_of_tokens(mix: str, least: int, share: float, within: float) -> None:
    lengths = draw_lengths(mix, 8192 * M, 2 * M)
    assert sum(length for length in lengths if length >= least) / sum(lengths) == pytest.approx(share, abs=within)


def test_shares_of_sequences() -> None:
    """Of Byted nearly 80 % are short (below 8K here), 1 % have 128K or more and 0.05 % 2M; labels are rounded, and how
    lengths lie within a bin is not stated."""
    lengths = draw_lengths("byted", 8192 * M, 2 * M)
    assert sum(length < 8192 for length in lengths) / len(lengths) == pytest.approx(0.8, abs=0.02)
    assert sum(length >= 128 * 1024 for length in lengths) / len(lengths) == pytest.approx(0.01, abs=0.003)
    assert sum(length >= 2 * M for length in lengths) / len(lengths) == pytest.approx(0.0005, abs=0.0004)
    assert sum(lengths) / len(lengths) == pytest.approx(mean_length("byted"), rel=0.01)


@settings(max_examples=15, deadline=None)
@given(
    mix=st.sampled_from(["byted", "github"]), context=st.sampled_from([4096, 262144, 2 * M]), seed=st.integers(0, 99)
)
def test_batches(mix: str, context: int, seed: int) -> None:
    lengths = draw_lengths(mix, 32 * M, context, seed)
    assert lengths == draw_lengths(mix, 32 * M, context, seed)
    assert max(lengths) <= context
    # A sequence more or less of each of the longest bins.
    assert sum(lengths) == pytest.approx(32 * M, rel=0.16)


def test_errors() -> None:
    with pytest.raises(InputError, match="github"):
        draw_lengths("gitlab", M, M)
    with pytest.raises(InputError, match="1 or more"):
        draw_lengths("github", 0, M)
