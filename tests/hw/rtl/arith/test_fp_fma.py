"""Fused multiply-adders against golden model and contract; all triples of 4-bit floats."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from hw.rtl.arith.fp_fma_model import UNIT, FpFma
from hw.rtl.drive.campaign import run_campaign
from hw.rtl.units import parameters_of
from tests.hw.rtl.arith.one_job import differing_beats
from workloads.errors import InputError


@pytest.mark.parametrize("settings", [{}, *UNIT.variants])
def test_rtl_is_golden_and_on_time(settings: dict[str, Any]) -> None:
    result = run_campaign(UNIT, parameters_of(UNIT, settings), settings, beats=1000)
    assert result.passed, result
    assert result.closed_form_cases >= 3


def test_all_triples_of_4_bit_floats() -> None:
    codes = np.arange(1 << 12)
    fields = {name: ((codes >> shift) & 15).reshape(-1, 4) for name, shift in (("a", 8), ("b", 4), ("c", 0))}
    assert not differing_beats(UNIT, FpFma("fp4_e2m1", "same", lanes=4, stages=1), fields)


@pytest.mark.slow
def test_all_triples_of_6_bit_floats() -> None:
    codes = np.arange(1 << 18)
    for name in ("fp6_e2m3", "fp6_e3m2"):
        fields = {field: ((codes >> shift) & 63).reshape(-1, 8) for field, shift in (("a", 12), ("b", 6), ("c", 0))}
        assert not differing_beats(UNIT, FpFma(name, "same", lanes=8), fields)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "into"), [("fp32", "same"), ("fp16", "same"), ("bf16", "fp32"), ("fp16", "fp32")])
def test_many_random_triples(name: str, into: str) -> None:
    p = FpFma(name, into, lanes=4)
    drawn = UNIT.stimulus(p, np.random.default_rng(13), 25_000)
    assert not differing_beats(UNIT, p, drawn["i"])


def test_golden_by_hand() -> None:
    # bf16 into fp32: 3 * 5 + 2 = 17; (1 + 2^-7)^2 - (1 + 2^-6) = 2^-14, which one rounding keeps.
    a, b = np.array([[0x4040, 0x3F81]]), np.array([[0x40A0, 0x3F81]])
    c = np.array([[0x40000000, 0xBF820000]])
    total = UNIT.golden(FpFma(), {"i": {"a": a, "b": b, "c": c}})["o"]["sum"]
    assert total.tolist() == [[0x41880000, (127 - 14) << 23]]


@pytest.mark.parametrize(
    ("settings", "field"),
    [({"format": "fp24"}, "format"), ({"into": "x"}, "into"), ({"lanes": 0}, "lanes"), ({"stages": 0}, "stages")],
)
def test_parameters_are_checked(settings: dict[str, Any], field: str) -> None:
    with pytest.raises(InputError) as caught:
        FpFma(**settings)
    assert caught.value.field == field
