"""First-order shares against Sobol indices worked out by hand, on whole, random and lopsided samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from dse.reports.exploration.sensitivity import Sensitivity, sensitivity


def grid(*counts: int) -> list[NDArray[np.int64]]:
    return [axis.ravel() for axis in np.meshgrid(*(np.arange(count) for count in counts), indexing="ij")]


def shares(found: Sensitivity | None) -> dict[str, float]:
    assert found is not None
    return {effect.parameter: effect.share for effect in found.effects}


def ishigami(count: int) -> tuple[NDArray[np.float64], dict[str, NDArray[np.int64]]]:
    """sin x + 7 sin^2 y + 0.1 z^4 sin x at the middles of ``count`` equal parts of [-pi, pi]."""
    places = grid(count, count, count)
    x, y, z = (-math.pi + 2 * math.pi * (at + 0.5) / count for at in places)
    return np.sin(x) + 7 * np.sin(y) ** 2 + 0.1 * z**4 * np.sin(x), dict(zip("xyz", places, strict=True))


# Ishigami and Homma (ISUMA 1990), with a = 7, b = 0.1: V = a^2/8 + b pi^4/5 + b^2 pi^8/18 + 1/2, of which x alone
# (1 + b pi^4/5)^2 / 2, y alone a^2/8, z nothing.
_V = 49 / 8 + 0.1 * math.pi**4 / 5 + 0.01 * math.pi**8 / 18 + 0.5
_X, _Y = (1 + 0.1 * math.pi**4 / 5) ** 2 / 2 / _V, 49 / 8 / _V


def test_ishigami_over_the_whole_grid() -> None:
    values, choices = ishigami(32)
    found = sensitivity("y", values, choices, population=32**3)
    assert (pytest.approx(0.3139, abs=5e-5), pytest.approx(0.4424, abs=5e-5)) == (_X, _Y)  # as commonly quoted
    # Sines are summed exactly by the middles; z^4 has an error of (pi/32)^2 x 4 z^2 / 6 or so: under 1 % of the shares.
    assert shares(found) == {"x": pytest.approx(_X, rel=0.01), "y": pytest.approx(_Y, rel=0.01), "z": pytest.approx(0)}
    assert found is not None
    assert found.rest == pytest.approx(1 - _X - _Y, rel=0.01)
    assert not found.logarithmic  # it has negative values
    assert not found.confounded


def test_ishigami_of_a_random_tenth() -> None:
    values, choices = ishigami(16)
    drawn = np.random.default_rng(3).choice(len(values), 2000, replace=False)
    found = shares(sensitivity("y", values[drawn], {n: c[drawn] for n, c in choices.items()}))
    # Noise of a share of 2,000 designs is near sqrt(share / 500); what 16 values fit by chance (0.8 %) is taken off.
    assert found["x"] == pytest.approx(_X, abs=0.05)
    assert found["y"] == pytest.approx(_Y, abs=0.05)
    assert found["z"] == pytest.approx(0, abs=0.02)


def test_an_additive_function_from_a_lopsided_sample() -> None:
    # y = a + 2 b over a, b in {0, 1, 2}: variances 2/3 and 4 x 2/3, so shares 1/5 and 4/5. In the sample b mostly goes
    # with a, so that means over a alone would give a nearly everything.
    a = np.array([0] * 10 + [1] * 10 + [2] * 10 + [0, 1, 2])
    b = np.array([0] * 10 + [1] * 10 + [2] * 10 + [1, 2, 0])
    found = sensitivity("y", -1.0 * (a + 2 * b), {"a": a, "b": b})
    assert shares(found) == {"b": pytest.approx(0.8), "a": pytest.approx(0.2)}
    assert found is not None
    assert found.rest == pytest.approx(0, abs=1e-9)
    spans = {effect.parameter: effect.span for effect in found.effects}
    assert spans == {"a": pytest.approx(2), "b": pytest.approx(4)}


def test_products_are_sums_of_logarithms() -> None:
    # ln y = ln 2 a + ln 4 b over a, b in {0, 1}: variances go as 1 to 4; factors 2 and 4.
    a, b, c = grid(2, 2, 3)
    found = sensitivity("y", 2.0**a * 4.0**b, {"a": a, "b": b, "c": c}, population=12)
    assert found is not None
    assert found.logarithmic
    assert [effect.parameter for effect in found.effects][:2] == ["b", "a"]
    assert shares(found) == {"b": pytest.approx(0.8), "a": pytest.approx(0.2), "c": pytest.approx(0, abs=1e-12)}
    spans = {effect.parameter: effect.span for effect in found.effects}
    assert spans == {"a": pytest.approx(2), "b": pytest.approx(4), "c": pytest.approx(1)}


def test_pure_interaction_belongs_to_nobody() -> None:
    a, b = grid(2, 2)
    found = sensitivity("y", (a ^ b).astype(np.float64) - 0.5, {"a": a, "b": b}, population=4)
    assert shares(found) == {"a": pytest.approx(0), "b": pytest.approx(0)}
    assert found is not None
    assert found.rest == pytest.approx(1)


def test_a_parameter_that_plays_its_part_in_half_the_designs() -> None:
    # With a = 1, c adds -3 or 3: variance 9 in half of the designs, 9/2 over all; a itself adds -1 or 1: variance 1.
    # What is left of the variance is nothing.
    a, c = (np.array(places) for places in ([0, 0, 1, 1], [0, 0, 0, 1]))
    values = np.where(a == 1, 1 + np.where(c == 1, 3, -3), -1).astype(np.float64)
    found = sensitivity("y", np.tile(values, 3), {"a": np.tile(a, 3), "c": np.tile(c, 3)}, {"c": np.tile(a == 1, 3)})
    assert shares(found) == {"c": pytest.approx(4.5 / 5.5), "a": pytest.approx(1 / 5.5)}


def test_parameters_that_always_go_together_are_said_to() -> None:
    a = np.array([0, 1, 2] * 4)
    found = sensitivity("y", np.array([1.0, 2.0, 4.0] * 4), {"a": a, "b": a})
    assert found is not None
    assert found.confounded


def test_nothing_to_say() -> None:
    nothing = np.full(4, np.nan)
    assert sensitivity("y", nothing, {"a": np.arange(4)}) is None
    assert sensitivity("y", np.ones(4), {"a": np.arange(4)}) is None
    assert sensitivity("y", np.arange(1.0, 5.0), {"a": np.arange(4)}) is None  # as many values as designs


def test_thousands_of_values_are_taken_in_groups() -> None:
    # y = x over 0..9,999: groups of a 32nd leave 1/32^2 of the variance within them.
    x = np.arange(10_000)
    found = sensitivity("y", x.astype(np.float64) - 5000, {"x": x})
    assert shares(found)["x"] == pytest.approx(1 - 1 / 32**2, abs=2e-4)
