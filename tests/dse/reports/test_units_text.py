"""Quantities as text."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dse.reports.units_text import (
    bytes_text,
    engineering,
    joules_text,
    number_text,
    percent_text,
    ratio_text,
    seconds_text,
)

PREFIXES = {"f": -15, "p": -12, "n": -9, "µ": -6, "m": -3, "": 0, "k": 3, "M": 6, "G": 9, "T": 12, "P": 15, "E": 18}


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.00123, "1.23 ms"),
        (999.96e-6, "1.00 ms"),
        (999.4e-6, "999 µs"),
        (0.0, "0 s"),
        (1.0, "1.00 s"),
        (12.345, "12.3 s"),
        (-0.5, "-500 ms"),
        (999.99, "1.00 ks"),
        (5e-15, "5.00 fs"),
        (1e-18, "0.00 fs"),
        (math.inf, "inf s"),
    ],
)
def test_engineering_keeps_three_digits(value: float, text: str) -> None:
    assert engineering(value, "s") == text


@settings(max_examples=200, deadline=None, derandomize=True)
@given(st.floats(1e-14, 1e20))
def test_engineering_is_the_value_to_half_a_percent(value: float) -> None:
    number, unit = engineering(value, "B").split(" ")
    assert float(number) * 10.0 ** PREFIXES[unit.removesuffix("B")] == pytest.approx(value, rel=0.005001)
    assert 1 <= float(number) < 1000


def test_each_quantity_has_its_unit() -> None:
    assert seconds_text(0.25) == "250 ms"
    assert seconds_text(86400) == "86,400 s"
    assert bytes_text(512) == "512 B"
    assert bytes_text(16.06e9) == "16.1 GB"
    assert joules_text(0.0032) == "3.20 mJ"


@pytest.mark.parametrize(
    ("share", "text"),
    [(0, "0 %"), (0.0001, "<0.1 %"), (0.0042, "0.4 %"), (0.0996, "10 %"), (0.92, "92 %"), (1, "100 %")],
)
def test_percentages(share: float, text: str) -> None:
    assert percent_text(share) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5813, "0.581"), (42.0, "42.0"), (99.96, "100"), (18765.4, "18,765"), (1.2e-5, "1.20e-05"), (0, "0")],
)
def test_numbers(value: float, text: str) -> None:
    assert number_text(value) == text


def test_ratios() -> None:
    assert ratio_text(1.05) == "1.05×"
    assert ratio_text(322.4) == "322×"
    assert ratio_text(math.inf) == "-"
