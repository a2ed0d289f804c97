"""The exponential unit against its golden model and contract; its codes exhaustively."""

from __future__ import annotations

import numpy as np
import pytest

from hw.rtl.arith.exponential_model import UNIT, Exponential
from hw.rtl.drive.campaign import draw_jobs, packed, run_campaign, run_jobs_in_amaranth
from hw.rtl.ports import beat_count
from hw.rtl.units import parameters_of
from workloads.errors import InputError


@pytest.mark.parametrize("settings", [{}, *UNIT.variants])
def test_rtl_is_golden_and_on_time(settings: dict[str, int]) -> None:
    result = run_campaign(UNIT, parameters_of(UNIT, settings), settings, beats=1000)
    assert result.passed, result
    assert result.beats > 1500
    assert result.closed_form_cases >= 3


def run_all(p: Exponential, codes: np.ndarray) -> None:
    """All ``codes`` through the unit in one job, against the golden model."""
    inputs = {"i": {"x": np.resize(codes, (-(-len(codes) // p.lanes), p.lanes))}}
    expected = UNIT.golden(p, inputs)
    job = draw_jobs(UNIT, p, 1, 6)[0]
    work = packed(UNIT, p, type(job)("all", inputs, job.offers, job.takes), expected)
    trace = run_jobs_in_amaranth(UNIT, p, [work])[0]
    assert len(trace.outputs["o"]) == beat_count(inputs["i"])
    assert trace.outputs["o"] == UNIT.streams(p)[1].pack(expected["o"])


def test_every_bfloat16_that_gives_neither_one_nor_an_extreme() -> None:
    # |x| from 2^-10 to 2^8; the other codes take the same roads (all of them in the slow test below).
    magnitudes = np.arange(117 << 7, 135 << 7)
    run_all(Exponential(lanes=8), np.concatenate([magnitudes, magnitudes | 0x8000]))


@pytest.mark.slow
@pytest.mark.parametrize("result", ["bf16", "fp32"])
def test_every_bfloat16(result: str) -> None:
    run_all(Exponential(result=result, lanes=16), np.arange(1 << 16))


def test_every_byte() -> None:
    run_all(Exponential("fp8_e5m2", "fp8_e5m2"), np.arange(256))
    run_all(Exponential("fp8_e4m3", "fp8_e4m3"), np.arange(256))


def test_golden_by_hand() -> None:
    # e = 2.71828: between 2.703125 (0x402D) and 2.71875 (0x402E); 1/e = 0.367879: 0.367188 (0x3EBC) is nearest.
    x = {"i": {"x": np.array([[0x3F80, 0xBF80, 0, 0x7F80]])}}
    assert UNIT.golden(Exponential(), x)["o"]["y"].tolist() == [[0x402E, 0x3EBC, 0x3F80, 0x7F80]]


@pytest.mark.parametrize(
    ("settings", "field"),
    [({"lanes": 0}, "lanes"), ({"source": "bf17"}, "source"), ({"result": "fp4_e2m1"}, "result")],
)
def test_parameters_are_checked(settings: dict[str, object], field: str) -> None:
    with pytest.raises(InputError) as caught:
        parameters_of(UNIT, settings)
    assert caught.value.field == field
