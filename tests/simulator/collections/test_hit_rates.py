"""Hit rates of every size at once: cases worked out by hand, a cache simulated size by size, and what must hold."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from simulator.collections.hit_rates import hit_curve, rate_at, sample_curve
from simulator.collections.replacement import Replacement, replacement
from workloads.errors import InputError
from workloads.traces import RoutingStream

RULES = ("lru", "lfu", "belady", "sch-1", "sch-2", "sch-5", "sch-99")


def hits(picks: list[list[int]], pieces: int, rule: str) -> list[int]:
    """Hits by size, as whole numbers."""
    curve = sample_curve(np.array(picks), pieces, replacement(rule))
    return [round(rate * np.array(picks).size) for rate in curve]


# Uses 0 1 2 0 1 0 2 2, one a token. First uses come with 0, 1 and 2 pieces seen: hits from 1, 2 and 3 slots on.
WALK = [[0], [1], [2], [0], [1], [0], [2], [2]]


@pytest.mark.parametrize(
    ("rule", "by_size"),
    [
        # Different pieces since the last use: 0 after 1 2, 1 after 2 0, 0 after 1, 2 after 0 1, 2 after none.
        # So reuses hit from 3, 3, 2, 3 and 1 slots on; with first uses at 1, 2, 3: 2, 4, 8.
        ("lru", [2, 4, 8]),
        # One slot: the last 2. Two slots: 0 1, then 2 drops 1 (needed at 4, 0 at 3); 0 hits; 1 drops 2 (needed at 6,
        # 0 at 5); 0 hits; 2 drops either; 2 hits. First uses count 1 and 2: two of them at two slots.
        ("belady", [2, 5, 8]),
        # Two slots: 0 1, 2 drops 0 (once each, 0 older); 0 drops 1 (once, older than 2); 1 comes with counts 0: 2, 2: 1
        # and drops 2; 0 hits; 2 comes with 0: 3, 1: 2 and drops 1; 2 hits. Two hits and two first uses.
        ("lfu", [2, 4, 8]),
    ],
)
def test_a_walk_on_paper(rule: str, by_size: list[int]) -> None:
    assert hits(WALK, 3, rule) == by_size


def test_experts_of_a_token_are_looked_up_before_any_comes_in() -> None:
    # Tokens 0 1, then 1 2, then 0 2. One slot holds 1, then 2: both are hits although the token brings another.
    # First uses: 0, 1 with 0 and 1 seen, 2 with 2 seen. Reuses: 1 last of its token (1 slot), 0 beneath 2 and 1
    # (3 slots), 2 on top (1 slot).
    assert hits([[0, 1], [1, 2], [0, 2]], 3, "lru") == [3, 4, 6]


def slow_rate(picks: list[list[int]], pieces: int, slots: int, rule: Replacement) -> float:
    """One cache of one size, as the definitions read."""
    flat = [(token, piece) for token, used in enumerate(picks) for piece in used]
    cache: list[int] = []
    seen: set[int] = set()
    count = [0] * pieces
    last = [-1] * pieces
    found = at = 0
    for token, used in enumerate(picks):
        for piece in used:
            found += piece in cache or (piece not in seen and len(seen) < slots)
            seen.add(piece)
        for piece in used:

            def worth(held: int, now: int = at, token: int = token) -> tuple[float, float]:
                if rule.kind == "lru":
                    return last[held], 0
                if rule.kind == "lfu":
                    return count[held], last[held]
                coming = flat[now + 1 :]
                if rule.kind == "belady":
                    return next((-i for i, (_, other) in enumerate(coming) if other == held), -(10**9)), -held
                return sum(other == held and t < token + rule.look_ahead for t, other in coming), last[held]

            if piece not in cache:
                if len(cache) == slots:
                    cache.remove(min(cache, key=worth))
                cache.append(piece)
            count[piece] += 1
            last[piece] = at
            at += 1
    return found / len(flat)


@st.composite
def samples(draw: st.DrawFn) -> tuple[list[list[int]], int]:
    """Tokens that use one to three different ones of up to seven pieces."""
    pieces = draw(st.integers(2, 7))
    uses = draw(st.integers(1, min(3, pieces)))
    token = st.permutations(range(pieces)).map(lambda order: list(order[:uses]))
    return draw(st.lists(token, min_size=1, max_size=25)), pieces


@given(samples(), st.sampled_from(RULES))
@settings(max_examples=150)
def test_every_size_is_what_a_cache_of_that_size_finds(sample: tuple[list[list[int]], int], rule: str) -> None:
    picks, pieces = sample
    curve = sample_curve(np.array(picks), pieces, replacement(rule))
    for slots in range(1, pieces + 1):
        assert curve[slots - 1] == pytest.approx(slow_rate(picks, pieces, slots, replacement(rule)))


@given(st.lists(st.integers(0, 9), min_size=1, max_size=120), st.sampled_from(RULES))
def test_no_rule_beats_belady_one_use_at_a_time(walk: list[int], rule: str) -> None:
    picks = np.array(walk)[:, None]
    best = sample_curve(picks, 10, Replacement("belady"))
    assert (sample_curve(picks, 10, replacement(rule)) <= best + 1e-12).all()


@given(samples(), st.sampled_from(["lru", "sch-1"]))
def test_nor_do_recent_pieces_with_room_for_a_token(sample: tuple[list[list[int]], int], rule: str) -> None:
    picks, pieces = np.array(sample[0]), sample[1]
    room = slice(picks.shape[1] - 1, None)
    best = sample_curve(picks, pieces, Replacement("belady"))[room]
    assert (sample_curve(picks, pieces, replacement(rule))[room] <= best + 1e-12).all()


def test_other_rules_may_keep_more_where_a_token_is_looked_up_at_once() -> None:
    # Two slots. 3 drops 1, which the same token wants, is counted as a hit, comes back and drops 2; 0 drops 3, which
    # comes back and drops 0: the cache holds 1 and 3 as if 0 had never come in, and hits 1. Belady lets 0 stay.
    walk = [[1, 2], [3, 1], [0, 3], [1, 2]]
    assert hits(walk, 4, "lfu")[1] == 5
    assert hits(walk, 4, "belady")[1] == 4


@given(samples(), st.sampled_from(RULES))
def test_more_room_never_hurts_and_all_of_it_always_hits(sample: tuple[list[list[int]], int], rule: str) -> None:
    curve = sample_curve(np.array(sample[0]), sample[1], replacement(rule))
    assert (np.diff(curve) >= 0).all()
    assert curve[-1] == pytest.approx(1.0)


@given(samples())
def test_a_look_ahead_of_one_token_is_recency(sample: tuple[list[list[int]], int]) -> None:
    picks, pieces = np.array(sample[0]), sample[1]
    room = slice(picks.shape[1] - 1, None)
    lru = sample_curve(picks, pieces, Replacement("lru"))[room]
    assert sample_curve(picks, pieces, replacement("sch-1"))[room] == pytest.approx(lru)


def test_looking_to_the_end_counts_uses_and_does_not_see_which_comes_first() -> None:
    # Two slots hold 0 and 1 when 2 comes; 0 is used twice but late, 1 once but next. Looking to the end drops 1, Belady
    # drops 0: it hits 1, then brings 0 back by dropping what is never used again and hits it once.
    walk = [[0], [1], [2], [1], [0], [0]]
    assert hits(walk, 3, "sch-99")[1] == 2 + 2
    assert hits(walk, 3, "belady")[1] == 2 + 2
    longer = [[0], [1], [2], [1], [2], [1], [0], [0], [0], [0]]
    # To the end: 0 has four uses left, 1 two, 2 one. 2 drops 1, 1 drops 2, 2 drops 1 (one use, 0 four), 1 drops 2;
    # then 0 hits four times. Belady keeps 1 and 2 while they are used: 1 2 1 hit, 0 is fetched, three hits.
    assert hits(longer, 3, "sch-99")[1] == 2 + 4
    assert hits(longer, 3, "belady")[1] == 2 + 6


def stream(picks: NDArray[np.int64], experts: int) -> RoutingStream:
    return RoutingStream(picks, experts)


def test_layers_share_one_cache_and_sequences_are_averaged() -> None:
    # Layer 0 always picks 0, layer 1 goes through 0 1 2 3; sequence 1 picks 0 everywhere.
    picks = np.zeros((4, 2, 2, 1), dtype=np.int64)
    picks[:, 1, 0, 0] = [0, 1, 2, 3]
    curve = hit_curve(stream(picks, 4), Replacement("lru"))
    assert curve.size == 8
    # Sequence 0 with 2 slots: 2 first uses hit, layer 0 hits 3 times: 5 of 8. Sequence 1: all.
    assert rate_at(curve, 2, [1.0]) == pytest.approx([(5 / 8 + 1) / 2])


def test_uniform_routing_hits_as_often_as_slots_allow() -> None:
    random = np.random.default_rng(3)
    picks = random.random((2000, 1, 1, 16)).argsort(axis=-1)[..., :2]
    curve = hit_curve(stream(picks, 16), Replacement("lru"))
    # Two of sixteen, independent of the past: s slots hold s/16 of them; standard deviation below 0.008.
    assert rate_at(curve, 2, [1, 2, 3]) == pytest.approx([2 / 16, 4 / 16, 6 / 16], abs=0.03)


def test_names_of_rules() -> None:
    assert replacement("sch-16").name == "sch-16"
    with pytest.raises(InputError, match="did you mean 'lru'"):
        replacement("lrru")
    with pytest.raises(InputError, match="sch"):
        replacement("sch")
    with pytest.raises(InputError, match="sch"):
        replacement("sch-0")
    with pytest.raises(InputError, match="at least one slot"):
        rate_at(np.ones(4), 2, [0.1])
