"""The integer dot product against its golden model and contract, and that model against sums by hand."""

from __future__ import annotations

import numpy as np
import pytest

from hw.rtl.arith.int_dot_model import UNIT, IntDot
from hw.rtl.drive.campaign import run_campaign
from hw.rtl.units import parameters_of
from workloads.errors import InputError


@pytest.mark.parametrize("settings", [{}, *UNIT.variants])
def test_rtl_is_golden_and_on_time(settings: dict[str, int]) -> None:
    result = run_campaign(UNIT, parameters_of(UNIT, settings), settings, beats=1200)
    assert result.passed, result
    assert result.beats > 1500
    assert result.closed_form_cases >= 3


def test_golden_by_hand() -> None:
    # (1*5 + 2*6) + (-3*7 + 4*-8) = 17 - 53; then one beat alone: 2*2 + -2*3.
    a, b = np.array([[1, 2], [-3, 4], [2, -2]]), np.array([[5, 6], [7, -8], [2, 3]])
    inputs = {"i": {"a": a, "b": b, "last": np.array([0, 1, 1])}}
    assert UNIT.golden(IntDot(lanes=2), inputs)["o"]["sum"].tolist() == [-36, -2]


def test_accumulator_holds_the_largest_sum() -> None:
    # 256 beats of 8 lanes of (-128)**2 = 2**14: 2**25, one more than 26 signed bits hold; 8 + 8 + 3 + 8 = 27 hold it.
    assert IntDot().sum_width == 27
    assert 256 * 8 * 128 * 128 == 1 << 25


@pytest.mark.parametrize(("name", "value"), [("lanes", 0), ("width", 1), ("width", 17), ("beats", 0)])
def test_parameters_are_checked(name: str, value: int) -> None:
    with pytest.raises(InputError) as caught:
        IntDot(**{name: value})
    assert caught.value.field == name
