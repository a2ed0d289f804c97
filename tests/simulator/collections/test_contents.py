"""What simulated caches miss, where pieces of a step are wanted together: by hand, and against the best there is."""

from __future__ import annotations

import itertools
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.collections.contents import set_misses, static_misses
from simulator.collections.replacement import replacement

RULES = ("lru", "lfu", "belady", "sch-1", "sch-3", "window-2", "window-50")


@pytest.mark.parametrize(
    ("rule", "missed"),
    [
        # Two slots. 2 drops 1, used longer ago than 0; 1 drops 0, used longer ago than 2; 2 is there.
        ("lru", [[0], [1], [], [2], [1], []]),
        # 0 has been used twice when 2 and 1 come, so they drop each other.
        ("lfu", [[0], [1], [], [2], [1], [2]]),
        # 0 is not needed again: 2 drops it, and then 1 and 2 are both there.
        ("belady", [[0], [1], [], [2], [], []]),
        ("sch-3", [[0], [1], [], [2], [], []]),
        # Of the last two steps' pieces 1 is left when it comes again only where it was used no longer ago.
        ("window-2", [[0], [1], [], [2], [1], []]),
    ],
)
def test_a_walk_on_paper(rule: str, missed: list[list[int]]) -> None:
    assert set_misses([[0], [1], [0], [2], [1], [2]], 2, replacement(rule)) == missed


def test_a_static_cache_holds_what_was_used_most_and_never_changes() -> None:
    accesses = [[0, 1], [1, 2], [1, 2], [0, 3], [3], [3]]
    # In the first three steps 1 was used three times, 2 twice.
    assert static_misses(accesses, 2, 3) == [[0], [], [], [0, 3], [3], [3]]
    assert static_misses(accesses, 0, 3) == accesses


@st.composite
def walks(draw: st.DrawFn) -> list[list[int]]:
    """Steps that want one to three of six pieces."""
    step = st.sets(st.integers(0, 5), min_size=1, max_size=3).map(sorted)
    return draw(st.lists(step, min_size=1, max_size=7))


def fewest_misses(walk: list[list[int]], slots: int) -> int:
    """By trying everything: after each step the cache holds its pieces and any of those it had."""

    @cache
    def from_here(at: int, held: frozenset[int]) -> int:
        if at == len(walk):
            return 0
        wanted = frozenset(walk[at])
        room = slots - len(wanted)
        others = sorted(held - wanted)
        rest = [frozenset(kept) for kept in itertools.combinations(others, min(room, len(others)))]
        return len(wanted - held) + min(from_here(at + 1, wanted | kept) for kept in rest)

    return from_here(0, frozenset())


@given(walks(), st.integers(3, 5), st.sampled_from(RULES))
@settings(max_examples=100, deadline=None)
def test_belady_misses_as_few_as_possible_and_no_rule_fewer(walk: list[list[int]], slots: int, rule: str) -> None:
    best = sum(map(len, set_misses(walk, slots, replacement("belady"))))
    assert best == fewest_misses(walk, slots)
    assert sum(map(len, set_misses(walk, slots, replacement(rule)))) >= best
