"""Expressions of space files: the same over numbers and arrays, and nothing but arithmetic."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.space.expression import parse_expression
from workloads.errors import InputError


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2 * a + b.c", 13.0),
        ("max(a, b.c, 4)", 7.0),
        ("where(a > 2 and b.c < 8, a, 0)", 3.0),
        ("-a ** 2", -9.0),
        ("ceil(a / 2) // 1 % 2", 0.0),
        ("1 < a < 3", False),
        ("not a == 3", False),
        (4, 4),
    ],
)
def test_values(text: str | int, value: float) -> None:
    assert parse_expression(text).value({"a": 3.0, "b.c": 7.0}) == value


@given(a=st.lists(st.floats(1, 100), min_size=1, max_size=8))
def test_arrays_are_numbers_side_by_side(a: list[float]) -> None:
    expression = parse_expression("where(a > 10, sqrt(a), a * 2) + min(a, 5)")
    whole = expression.value({"a": np.array(a)})
    assert whole.tolist() == [float(expression.value({"a": one})) for one in a]


CODE = ("__import__('os')", "a.__class__()", "[a]", "lambda: 1", "a if b else c", "open('f')", "a := 3", "f(a)")


@pytest.mark.parametrize("text", [*CODE, "2 *", ""])
def test_nothing_but_arithmetic(text: str) -> None:
    with pytest.raises(InputError):
        parse_expression(text)


def test_names_are_listed_in_order_and_missing_ones_said() -> None:
    expression = parse_expression("macs * clock + macs")
    assert expression.names == ("macs", "clock")
    with pytest.raises(InputError, match="clok"):
        parse_expression("clok * 2").needs(["clock", "macs"])
    with pytest.raises(InputError):
        expression.value({"macs": "int8", "clock": 2.0})
