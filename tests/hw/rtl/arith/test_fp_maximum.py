"""Maximum and comparison against golden model and contract; all pairs of 6-bit and 8-bit floats."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hw.rtl.arith.fp_maximum_model import UNIT, FpMaximum
from hw.rtl.drive.campaign import run_campaign
from hw.rtl.units import parameters_of
from tests.hw.rtl.arith.one_job import all_pairs, differing_beats
from workloads.errors import InputError


@pytest.mark.parametrize("settings", [{}, *UNIT.variants])
def test_rtl_is_golden_and_on_time(settings: dict[str, Any]) -> None:
    result = run_campaign(UNIT, parameters_of(UNIT, settings), settings, beats=1000)
    assert result.passed, result
    assert result.closed_form_cases >= 3


@pytest.mark.parametrize(("name", "bits"), [("fp6_e3m2", 6), ("fp8_e5m2", 8)])
def test_all_pairs(name: str, bits: int) -> None:
    assert not differing_beats(UNIT, FpMaximum(name, lanes=16), all_pairs(bits, 16))


def test_golden_by_hand() -> None:
    # -0 beside +0, 1 beside 2, NaN beside 1, -infinity beside the lowest number.
    a, b = np.array([[0x8000, 0x3F80, 0x7FC1, 0xFF80]]), np.array([[0x0000, 0x4000, 0x3F80, 0xFF7F]])
    result = UNIT.golden(FpMaximum(), {"i": {"a": a, "b": b}})["o"]
    assert result["maximum"].tolist() == [[0x0000, 0x4000, 0x7FC0, 0xFF7F]]
    assert result["less"].tolist() == [[0, 1, 0, 1]]
    assert result["equal"].tolist() == [[1, 0, 0, 0]]
    assert result["unordered"].tolist() == [[0, 0, 1, 0]]


@pytest.mark.parametrize(("settings", "field"), [({"format": "fp24"}, "format"), ({"lanes": 0}, "lanes")])
def test_parameters_are_checked(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as caught:
        FpMaximum(**settings)
    assert caught.value.field == field
