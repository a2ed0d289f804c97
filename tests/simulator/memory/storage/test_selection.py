"""Clustered selections: their share and runs, and the pages they touch against closed forms."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.memory.storage.selection import clustered_tokens, expected_page_share, pages_touched, random_channels
from workloads.errors import InputError


def test_random_selection_of_an_eighth_reads_nearly_all_pages() -> None:
    assert expected_page_share(1 / 8, 16) == pytest.approx(1 - (7 / 8) ** 16)
    assert expected_page_share(1 / 8, 16) == pytest.approx(0.88, abs=0.002)
    mask = clustered_tokens(2000, 1536, 1 / 8, None, np.random.default_rng(3))
    # 192,000 pages, each touched with p = 0.882: standard deviation 0.0007.
    assert pages_touched(mask, 16).mean() == pytest.approx(1 - (7 / 8) ** 16, abs=0.003)


@pytest.mark.parametrize("mean_run", [2.0, 8.0, 40.0])
def test_clustered_selection_has_its_share_its_runs_and_its_pages(mean_run: float) -> None:
    share, rows, tokens = 1 / 8, 3000, 1536
    mask = clustered_tokens(rows, tokens, share, mean_run, np.random.default_rng(5))
    assert mask.mean() == pytest.approx(share, rel=0.02)
    ends = (mask[:, :-1] & ~mask[:, 1:]).sum() + mask[:, -1].sum()
    starts_cut = mask[:, 0].sum()
    assert mask.sum() / ends == pytest.approx(mean_run, rel=0.02 + starts_cut / ends)
    expected = 1 - (1 - share) * (1 - share / (1 - share) / mean_run) ** 15
    assert pages_touched(mask, 16).mean() == pytest.approx(expected, rel=0.02)
    assert expected_page_share(share, 16, mean_run) == pytest.approx(expected)


@given(share=st.floats(0.01, 0.9), per_page=st.integers(1, 5), stretch=st.floats(1.0, 20.0))
@settings(max_examples=50, deadline=None)
def test_the_closed_form_is_the_sum_over_all_sequences(share: float, per_page: int, stretch: float) -> None:
    mean_run = stretch * max(1.0, share / (1 - share))
    enter, leave = share / (1 - share) / mean_run, 1 / mean_run
    touched = 0.0
    for states in itertools.product((False, True), repeat=per_page):
        odds = share if states[0] else 1 - share
        for before, after in itertools.pairwise(states):
            odds *= ((1 - leave) if after else leave) if before else (enter if after else (1 - enter))
        touched += odds if any(states) else 0.0
    assert expected_page_share(share, per_page, mean_run) == pytest.approx(touched)


def test_an_eighth_of_the_channels_in_pages_of_two_keeps_half_the_sparsity() -> None:
    # 1 - C(126, 16) / C(128, 16): of pages of two channels 0.235 are read for 0.125 of the channels.
    share = 1 - math.comb(126, 16) / math.comb(128, 16)
    mask = random_channels(4000, 128, 16, np.random.default_rng(1))
    assert (mask.sum(axis=1) == 16).all()
    assert pages_touched(mask, 2).mean() == pytest.approx(share, rel=0.01)
    assert share / (1 / 8) == pytest.approx(2, rel=0.07)


def test_a_last_page_that_is_not_full() -> None:
    mask = np.array([[True, False, False, False, False], [False, False, False, False, True]])
    assert pages_touched(mask, 2).tolist() == [[True, False, False], [False, False, True]]


def test_everything_and_nothing() -> None:
    rng = np.random.default_rng(1)
    assert clustered_tokens(2, 9, 1.0, 4.0, rng).all()
    assert not clustered_tokens(2, 9, 0.0, None, rng).any()
    assert expected_page_share(1.0, 16, 4.0) == 1.0


def test_what_is_refused() -> None:
    rng = np.random.default_rng(1)
    with pytest.raises(InputError, match="mean_run: found runs of 2; expected at least 9 where"):
        clustered_tokens(1, 10, 0.9, 2, rng)
    with pytest.raises(InputError, match="share: found"):
        clustered_tokens(1, 10, 1.5, None, rng)
