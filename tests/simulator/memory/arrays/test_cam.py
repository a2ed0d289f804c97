"""Search arrays: which rows match, and associative recall against a plain OR."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.memory.arrays.cam import AssociativeMemory, distances, first_match, matches, nearest
from workloads.errors import InputError

STORED = np.array([[0, 0, 1, 1], [1, 0, 1, 0], [1, 1, 1, 1], [1, 0, 1, 0]], dtype=bool)
KEY = np.array([1, 0, 1, 0], dtype=bool)


def test_matches_by_hand() -> None:
    assert matches(STORED, KEY).tolist() == [False, True, False, True]
    assert distances(STORED, KEY).tolist() == [2, 0, 2, 0]
    assert first_match(STORED, KEY) == 1
    assert first_match(STORED, ~KEY) is None
    assert nearest(STORED, np.array([1, 1, 1, 0], dtype=bool)) == 1


def test_bits_left_out_match_anything() -> None:
    # Only the third bit is compared: all rows have it.
    care = np.array([0, 0, 1, 0], dtype=bool)
    assert matches(STORED, KEY, care=care).all()
    # A ternary word: row 0 does not care at all.
    by_row = np.ones_like(STORED)
    by_row[0] = False
    assert matches(STORED, KEY, care=by_row).tolist() == [True, True, False, True]


def test_a_threshold_admits_near_words() -> None:
    assert matches(STORED, KEY, within=2).all()
    assert matches(STORED, KEY, within=1).tolist() == [False, True, False, True]


@given(st.lists(st.tuples(st.integers(0, 4), st.integers(0, 1023)), min_size=1, max_size=12), st.integers(0, 1023))
def test_recall_is_the_or_over_what_was_learnt_last(learnt: list[tuple[int, int]], probe: int) -> None:
    memory = AssociativeMemory(5, 10)
    kept: dict[int, int] = {}
    for cue, content in learnt:
        memory.learn(cue, bits(content))
        kept[cue] = content
    for cue in range(5):
        assert memory.recall_content(cue).tolist() == bits(kept.get(cue, 0)).tolist()
    assert memory.recall_cues(bits(probe)).tolist() == [bool(kept.get(cue, 0) & probe) for cue in range(5)]


def test_synaptic_events_are_counted() -> None:
    memory = AssociativeMemory(2, 4)
    memory.learn(0, bits(0b1011, 4))
    assert memory.events == 3
    memory.recall_content(0)
    assert memory.events == 6
    # One shared bit with cue 0, none with cue 1.
    memory.recall_cues(bits(0b0001, 4))
    assert memory.events == 7


def bits(value: int, width: int = 10) -> np.ndarray:  # type: ignore[type-arg]
    return np.array([(value >> i) & 1 for i in range(width)], dtype=bool)


def test_wrong_input_is_named() -> None:
    with pytest.raises(InputError, match="the key"):
        matches(STORED, KEY[:3])
    with pytest.raises(InputError, match="cue is 5; expected between 0 and 1"):
        AssociativeMemory(2, 4).learn(5, bits(1, 4))
    with pytest.raises(InputError, match="within is -1"):
        matches(STORED, KEY, within=-1)
