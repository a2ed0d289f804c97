"""Floating-point multipliers against golden model and contract; all pairs of 8-bit floats."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hw.rtl.arith.float_operands import draw_codes
from hw.rtl.arith.fp_multiply_model import UNIT, FpMultiply
from hw.rtl.drive.campaign import run_campaign
from hw.rtl.units import parameters_of
from tests.hw.rtl.arith.one_job import all_pairs, differing_beats
from workloads.errors import InputError


@pytest.mark.parametrize("settings", [{}, *UNIT.variants])
def test_rtl_is_golden_and_on_time(settings: dict[str, Any]) -> None:
    result = run_campaign(UNIT, parameters_of(UNIT, settings), settings, beats=1000)
    assert result.passed, result
    assert result.closed_form_cases >= 3


def test_all_pairs_of_e4m3() -> None:
    assert not differing_beats(UNIT, FpMultiply("fp8_e4m3", lanes=8, stages=1), all_pairs(8, 8))


@pytest.mark.slow
def test_all_pairs_of_e5m2_into_fp16() -> None:
    assert not differing_beats(UNIT, FpMultiply("fp8_e5m2", "fp16", lanes=8), all_pairs(8, 8))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fp32", "fp16", "bf16"])
def test_many_random_pairs(name: str) -> None:
    p = FpMultiply(name, lanes=8)
    rng = np.random.default_rng(12)
    a, b = (draw_codes(rng, p.formats[0], (12_500, 8)) for _ in "ab")
    assert not differing_beats(UNIT, p, {"a": a, "b": b})


def test_golden_by_hand() -> None:
    # bf16: 1.5 * 1.5 = 2.25; (1 + 2^-7)(1 + 2^-1) = 1.5 + 2^-7 + 2^-8 is a tie and goes to 1.5 + 2^-6; the largest
    # times two is infinity; the smallest times a half is a tie with zero, the even one.
    a, b = np.array([[0x3FC0, 0x3F81, 0x7F7F, 0x8001]]), np.array([[0x3FC0, 0x3FC0, 0x4000, 0x3F00]])
    product = UNIT.golden(FpMultiply(), {"i": {"a": a, "b": b}})["o"]["product"]
    assert product.tolist() == [[0x4010, 0x3FC2, 0x7F80, 0x8000]]


@pytest.mark.parametrize(
    ("settings", "field"),
    [({"format": "fp24"}, "format"), ({"into": "x"}, "into"), ({"lanes": 300}, "lanes"), ({"stages": 3}, "stages")],
)
def test_parameters_are_checked(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as caught:
        FpMultiply(**settings)
    assert caught.value.field == field
