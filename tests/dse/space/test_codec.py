"""Numbering of designs: every design is reached by one number, and none by two."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.space.codec import Codec
from dse.space.parameter import Parameter
from workloads.errors import InputError


@st.composite
def codecs(draw: Any) -> Codec:
    """A few parameters, later ones conditional on some values of earlier ones now and then."""
    parameters: dict[str, Parameter] = {}
    for number in range(draw(st.integers(1, 5))):
        values = list(range(draw(st.integers(1, 4))))
        when = {}
        for other, parameter in parameters.items():
            if draw(st.integers(0, 3)) == 0:
                when[other] = draw(st.lists(st.sampled_from(parameter.values), min_size=1, unique=True))
        parameters[f"p{number}"] = Parameter(choices=values, when=when)
    return Codec(parameters)


def designs_by_hand(codec: Codec) -> set[tuple[Any, ...]]:
    """Every design as its values, None for a parameter that plays no part: written down one by one."""
    found = set()
    for combination in product(*codec.values.values()):
        values: dict[str, Any] = dict(zip(codec.parameters, combination, strict=True))
        for name, parameter in codec.parameters.items():
            if any(
                values[other] not in parameter.active_at(other) or values[other] is None for other in parameter.when
            ):
                values[name] = None
        found.add(tuple(values.values()))
    return found


@settings(max_examples=200, deadline=None)
@given(codec=codecs())
def test_each_design_has_one_number(codec: Codec) -> None:
    everything = np.arange(codec.product)
    ordinals = np.concatenate(list(codec.blocks()))
    assert len(ordinals) == codec.size == len(designs_by_hand(codec))
    # decode(encode(x)) = x for every design, and every combination of choices reaches one of them.
    assert (codec.encode(codec.decode(ordinals)) == ordinals).all()
    assert set(codec.encode(codec.decode(everything)).tolist()) == set(ordinals.tolist())
    assert codec.is_design(ordinals).all()
    assert codec.is_design(everything).sum() == codec.size


def test_size_of_a_large_space_is_counted_not_walked() -> None:
    parameters = {f"p{n}": Parameter(choices=list(range(10))) for n in range(15)}
    parameters["extra"] = Parameter(choices=[0, 1, 2], when={"p0": [3, 4]})
    # 10^15 combinations; where p0 is 3 or 4 (a fifth of them) there are three of each: 0.8 + 0.2 * 3 = 1.4 times.
    assert Codec(parameters).size == 14 * 10**14


def test_the_first_parameter_is_the_most_significant() -> None:
    codec = Codec({"a": Parameter(choices=[10, 20]), "b": Parameter(choices=["x", "y", "z"])})
    assert [tuple(codec.named(c).values()) for c in codec.decode(np.arange(6))] == [
        (10, "x"), (10, "y"), (10, "z"), (20, "x"), (20, "y"), (20, "z"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("given_as", "values"),
    [
        ({"range": [1, 9, 4]}, [1, 5, 9]),
        ({"range": [0.5, 1.6, 0.5]}, [0.5, 1.0, 1.5]),
        ({"log": [1, 64, 4]}, [1, 4, 16, 64]),
        ({"log": ["0.5 GHz", "2 GHz", 3]}, [500_000_000, 1_000_000_000, 2_000_000_000]),
        ({"choices": ["80 GB", "fp8_e4m3", 3, True]}, [8e10, "fp8_e4m3", 3, True]),
    ],
)
def test_values(given_as: dict[str, Any], values: list[Any]) -> None:
    assert Parameter(**given_as).values == values


@pytest.mark.parametrize(("when", "field"), [({"b": [1]}, "parameters.a.when"), ({"z": [7]}, "parameters.a.when.z")])
def test_conditions_name_what_there_is(when: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as caught:
        Codec({"z": Parameter(choices=[1, 2]), "a": Parameter(choices=[1], when=when), "b": Parameter(choices=[1])})
    assert caught.value.field == field
