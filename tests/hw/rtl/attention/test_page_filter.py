"""The page filter against its golden model and contract, and that model against the sparse attention of the drive."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from hw.rtl.attention.page_filter_model import UNIT, PageFilter, PageFilterContract
from hw.rtl.drive.campaign import packed, run_campaign, run_jobs_in_amaranth
from hw.rtl.drive.job import Job
from hw.rtl.ports import Streams
from hw.rtl.units import parameters_of
from simulator.memory.flash.drives import load_drive
from simulator.memory.storage.layout import KvLayout
from simulator.memory.storage.selection import pages_touched
from simulator.memory.storage.sparse import SparseChoice, sparse_attention
from workloads.errors import InputError


@pytest.mark.parametrize("settings", [{}, *UNIT.variants])
def test_rtl_is_golden_and_on_time(settings: dict[str, int]) -> None:
    result = run_campaign(UNIT, parameters_of(UNIT, settings), settings, beats=1200)
    assert result.passed, result
    assert result.beats > 1800
    assert result.closed_form_cases >= 4


def one_query(query: NDArray[np.int64], keys: NDArray[np.int64]) -> Streams:
    last = np.zeros(len(keys), np.int64)
    last[-1] = 1
    return {"q": {"value": query}, "k": {"values": keys, "last": last}}


def test_golden_by_hand() -> None:
    """Of 1, -5, 5, 2 the two largest are channels 1 and 2, in this order. Scores -5 a + 5 b of five tokens: 5, 10, -5,
    10, 0: tokens 1 and 3 are best; pages of two hold tokens 0-1, 2-3, 4."""
    p = PageFilter(head=4, channels=2, tokens=5, page=2, kept=2)
    keys = np.array([[0, 1], [-1, 1], [1, 0], [0, 2], [3, 3]])
    found = UNIT.golden(p, one_query(np.array([1, -5, 5, 2]), keys))
    assert found["channels"]["id"].tolist() == [1, 2]
    assert found["pages"]["pages"].tolist() == [[1, 1, 0]]
    assert found["pages"]["tokens"].tolist() == [[0, 1, 0, 1, 0]]


def test_every_query_and_context_of_two_bits() -> None:
    """All queries of two elements, one channel chosen, against all contexts of two tokens, in pages of one."""
    p = PageFilter(head=2, channels=1, width=2, tokens=2, page=1, kept=1)
    values = range(-2, 2)
    rows = list(itertools.product(values, repeat=4))
    drawn = np.array(rows)
    inputs: Streams = {
        "q": {"value": drawn[:, :2].ravel()},
        "k": {"values": drawn[:, 2:].reshape(-1, 1), "last": np.tile([0, 1], len(rows))},
    }
    always = np.ones(1, np.bool_)
    job = Job("all", inputs, {"q": always, "k": always}, {"channels": always, "pages": always})
    (trace,) = run_jobs_in_amaranth(UNIT, p, [packed(UNIT, p, job, UNIT.golden(p, inputs))])
    masks = UNIT.streams(p)[3].unpack(trace.outputs["pages"])["pages"]
    for (a, b, first, second), mask in zip(rows, masks.tolist(), strict=True):
        element = b if abs(b) > abs(a) else a
        assert mask == ([0, 1] if element * second > element * first else [1, 0])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 8), st.integers(1, 30))
def test_the_choice_is_that_of_the_drives_sparse_attention(seed: int, channels: int, kept: int) -> None:
    """`simulator.memory.storage.sparse` on the same numbers: SparF with its softmax and temperature."""
    rng = np.random.default_rng(seed)
    query, keys = rng.integers(-60, 61, 8), rng.integers(-60, 61, (30, 8))
    p = PageFilter(head=8, channels=channels, tokens=30, page=4, kept=kept)
    chosen = UNIT.golden(p, one_query(query, np.zeros((1, channels), np.int64)))["channels"]["id"]
    found = UNIT.golden(p, one_query(query, keys[:, chosen]))
    scores = keys[:, chosen] @ query[chosen]
    layout = KvLayout(load_drive("ssd-instinfer-csd").geometry, 1, 8, 30, channels_per_page=2)
    choice = SparseChoice(channels, kept)
    # Small numbers, so that no two approximate weights are rounded to one.
    other = sparse_attention(query[None] / 3000, keys / 60, np.ones((30, 8)), choice, layout)
    assert other.channels[0].tolist() == sorted(chosen.tolist())
    mask = found["pages"]["tokens"].astype(bool)
    assert sorted(scores[mask[0]]) == sorted(scores[other.tokens[0]])
    if len(set(scores.tolist())) == len(scores):
        assert np.flatnonzero(mask[0]).tolist() == other.tokens[0].tolist()
    assert (found["pages"]["pages"].astype(bool) == pages_touched(mask, p.page)).all()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 12))
def test_tokens_may_come_in_any_order(seed: int, kept: int) -> None:
    """With scores that all differ the set of tokens goes with them."""
    rng = np.random.default_rng(seed)
    p = PageFilter(head=2, channels=1, tokens=12, page=3, kept=kept)
    keys, order = rng.choice(200, 12, replace=False)[:, None] - 100, rng.permutation(12)
    masks = [UNIT.golden(p, one_query(np.array([3, 1]), rows))["pages"]["tokens"][0] for rows in (keys, keys[order])]
    assert (masks[0][order] == masks[1]).all()


def test_scores_hold_the_largest_sums() -> None:
    # 4 products of (-128)^2 = 2^14 are 2^16: 17 bits and a sign.
    assert PageFilter().score_width == 18


def test_cycles_by_hand() -> None:
    """16 to load, one to choose, 20 tokens, 3 to the masks: the last in cycle 16 + 20 + 3, counted from 0. The next
    query is loaded meanwhile."""
    contract = PageFilterContract(head=16, channels=4)
    assert contract.cycles(contexts=[20]) == 16 + 20 + 3 + 1
    assert contract.cycles(contexts=[20, 20]) == 16 + 21 + 20 + 3 + 1
    assert contract.cycles(contexts=[2, 2]) == 16 + 16 + 2 + 3 + 1


@pytest.mark.parametrize(
    ("name", "value"), [("head", 1), ("channels", 17), ("width", 17), ("tokens", 1), ("page", 33), ("kept", 0)]
)
def test_parameters_are_checked(name: str, value: int) -> None:
    with pytest.raises(InputError) as caught:
        PageFilter(**{name: value})
    assert caught.value.field == name
