"""Neighbours of designs, written down by hand."""

from __future__ import annotations

import numpy as np

from dse.explore.local import LocalSearch, neighbours
from dse.explore.proposals import Proposals, playing
from dse.space.codec import Codec
from dse.space.parameter import Parameter

CODEC = Codec(
    {
        "number": Parameter(range=[0, 4, 1]),
        "word": Parameter(choices=["x", "y", "z"]),
        "only_with_x": Parameter(choices=[1, 2, 3], when={"word": "x"}),
    }
)


def named(ordinals: list[int]) -> set[tuple[object, ...]]:
    return {tuple(CODEC.named(choices).values()) for choices in CODEC.decode(np.array(ordinals))}


def ordinal(*choices: int) -> int:
    return int(CODEC.encode(np.array([choices]))[0])


def test_numbers_move_by_a_step_and_words_to_any_other() -> None:
    assert named(neighbours(CODEC, ordinal(0, 0, 1)).tolist()) == {
        (1, "x", 2),
        (0, "y", 1),
        (0, "z", 1),
        (0, "x", 1),
        (0, "x", 3),
    }


def test_what_plays_no_part_does_not_move() -> None:
    assert named(neighbours(CODEC, ordinal(2, 1, 0)).tolist()) == {(1, "y", 1), (3, "y", 1), (2, "x", 1), (2, "z", 1)}
    assert playing(CODEC, np.array([[2, 1, 0], [2, 0, 0]])).tolist() == [[True, True, False], [True, True, True]]


def test_a_space_of_one_design_has_no_neighbours() -> None:
    assert neighbours(Codec({"a": Parameter(choices=[1])}), 0).tolist() == []


def test_neighbours_of_the_front_come_before_random_designs() -> None:
    codec = Codec({"a": Parameter(range=[0, 99, 1]), "b": Parameter(range=[0, 99, 1])})
    search = LocalSearch(codec, 0, 1)
    first = search.ask(4)
    best = int(first[2])
    search.tell(first, np.array([[5.0], [4.0], [1.0], [np.inf]]))
    beside = set(neighbours(codec, best).tolist()) - set(first.tolist())
    second = search.ask(10).tolist()
    assert set(second[: len(beside)]) == beside
    assert len(second) == 10


def test_the_less_explored_member_comes_first() -> None:
    codec = Codec({"a": Parameter(range=[0, 99, 1]), "b": Parameter(range=[0, 99, 1])})
    search = LocalSearch(codec, 3, 2)
    first = search.ask(3)
    search.tell(first, np.array([[1.0, 9.0], [9.0, 1.0], [9.0, 9.0]]))
    around = [set(neighbours(codec, int(member)).tolist()) for member in first[:2]]
    asked = search.ask(4).tolist()
    assert [ordinal in around[at % 2] for at, ordinal in enumerate(asked)] == [True] * 4


def test_random_designs_come_once_each_even_where_most_numbers_are_none() -> None:
    # Of 20,000 numbers 200 are designs: one with a = 0, 99 with a = 1 and b other than 5, and 100 with b = 5.
    codec = Codec(
        {
            "a": Parameter(range=[0, 1, 1]),
            "b": Parameter(range=[0, 99, 1], when={"a": 1}),
            "c": Parameter(range=[0, 99, 1], when={"b": 5}),
        }
    )
    assert codec.size == 200
    proposals = Proposals(codec, np.random.default_rng(0))
    drawn = [ordinal for _ in range(70) for ordinal in proposals.random(3)]
    assert sorted(drawn) == np.concatenate(list(codec.blocks())).tolist()
    assert proposals.left == 0
