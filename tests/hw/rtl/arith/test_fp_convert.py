"""Converters against golden model and contract; every number of 16 bits into every other format."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hw.rtl.arith.fp_convert_model import UNIT, FpConvert
from hw.rtl.drive.campaign import run_campaign
from hw.rtl.units import parameters_of
from tests.hw.rtl.arith.one_job import differing_beats
from workloads.errors import InputError


@pytest.mark.parametrize("settings", [{}, *UNIT.variants])
def test_rtl_is_golden_and_on_time(settings: dict[str, Any]) -> None:
    result = run_campaign(UNIT, parameters_of(UNIT, settings), settings, beats=1000)
    assert result.passed, result
    assert result.closed_form_cases >= 3


def every_code(bits: int) -> dict[str, Any]:
    return {"x": np.arange(1 << bits).reshape(-1, 8)}


@pytest.mark.parametrize("target", ["fp16", "fp8_e4m3"])
def test_every_bfloat16(target: str) -> None:
    assert not differing_beats(UNIT, FpConvert("bf16", target, lanes=8), every_code(16))


@pytest.mark.slow
@pytest.mark.parametrize("source", ["bf16", "fp16"])
@pytest.mark.parametrize("target", ["fp32", "bf16", "fp16", "fp8_e5m2", "fp8_e4m3", "fp6_e3m2", "fp4_e2m1"])
def test_every_number_of_16_bits(source: str, target: str) -> None:
    for saturate in (False, True):
        assert not differing_beats(UNIT, FpConvert(source, target, saturate, lanes=8), every_code(16))


@pytest.mark.parametrize("source", ["fp8_e4m3", "fp8_e5m2"])
@pytest.mark.parametrize("target", ["fp32", "bf16", "fp16", "fp6_e2m3", "fp4_e2m1"])
def test_every_number_of_8_bits(source: str, target: str) -> None:
    assert not differing_beats(UNIT, FpConvert(source, target, lanes=8), every_code(8))


def test_golden_by_hand() -> None:
    # fp32 to bf16: 1 + 2^-8 is a tie and stays 1; 1 + 3 * 2^-8 is one and goes to 1 + 2^-6; the largest overflows.
    x = np.array([[0x3F808000, 0x3F818000, 0x7F7FFFFF, 0x80000000]])
    assert UNIT.golden(FpConvert(), {"i": {"x": x}})["o"]["y"].tolist() == [[0x3F80, 0x3F82, 0x7F80, 0x8000]]
    saturated = UNIT.golden(FpConvert(saturate=True), {"i": {"x": x}})["o"]["y"]
    assert saturated.tolist() == [[0x3F80, 0x3F82, 0x7F7F, 0x8000]]


@pytest.mark.parametrize(
    ("settings", "field"), [({"source": "fp24"}, "source"), ({"target": "x"}, "target"), ({"lanes": 0}, "lanes")]
)
def test_parameters_are_checked(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as caught:
        FpConvert(**settings)
    assert caught.value.field == field
