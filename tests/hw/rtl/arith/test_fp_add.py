"""Floating-point adders against golden model and contract; all pairs of 8-bit floats."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hw.rtl.arith.float_operands import draw_codes, draw_partners
from hw.rtl.arith.fp_add_model import UNIT, FpAdd
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
    assert not differing_beats(UNIT, FpAdd("fp8_e4m3", lanes=8, stages=1), all_pairs(8, 8))


@pytest.mark.slow
def test_all_pairs_of_e5m2() -> None:
    assert not differing_beats(UNIT, FpAdd("fp8_e5m2", lanes=8, stages=2), all_pairs(8, 8))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["fp32", "fp16", "bf16"])
def test_many_random_pairs(name: str) -> None:
    p = FpAdd(name, lanes=8)
    rng = np.random.default_rng(11)
    a = draw_codes(rng, p.fmt, (12_500, 8))
    assert not differing_beats(UNIT, p, {"a": a, "b": draw_partners(rng, a, p.fmt)})


def test_golden_by_hand() -> None:
    # bf16: 1 + 2^-8 is a tie and stays 1; (1 + 2^-7) + 2^-8 is a tie and goes up; the largest doubled is infinity;
    # two of the smallest subnormals make the next.
    a, b = np.array([[0x3F80, 0x3F81, 0x7F7F, 0x0001]]), np.array([[0x3B80, 0x3B80, 0x7F7F, 0x0001]])
    total = UNIT.golden(FpAdd(), {"i": {"a": a, "b": b}})["o"]["sum"]
    assert total.tolist() == [[0x3F80, 0x3F82, 0x7F80, 0x0002]]


@pytest.mark.parametrize(
    ("settings", "field"),
    [({"format": "fp24"}, "format"), ({"lanes": 0}, "lanes"), ({"stages": 4}, "stages")],
)
def test_parameters_are_checked(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as caught:
        FpAdd(**settings)
    assert caught.value.field == field
