"""The reciprocal unit against its golden model (division) and contract; its approximation against its bound."""

from __future__ import annotations

import numpy as np
import pytest

from hw.rtl.arith.reciprocal_model import UNIT, Reciprocal
from hw.rtl.drive.campaign import draw_jobs, packed, run_campaign, run_jobs_in_amaranth
from hw.rtl.units import parameters_of
from workloads.errors import InputError


@pytest.mark.parametrize("settings", [{}, *UNIT.variants])
def test_rtl_is_golden_and_on_time(settings: dict[str, int]) -> None:
    result = run_campaign(UNIT, parameters_of(UNIT, settings), settings, beats=1000)
    assert result.passed, result
    assert result.beats > 1500
    assert result.closed_form_cases >= 3


def run_all(p: Reciprocal, codes: np.ndarray) -> None:
    """All ``codes`` through the unit in one job, against the golden model."""
    inputs = {"i": {"x": np.resize(codes, (-(-len(codes) // p.lanes), p.lanes))}}
    expected = UNIT.golden(p, inputs)
    job = draw_jobs(UNIT, p, 1, 6)[0]
    work = packed(UNIT, p, type(job)("all", inputs, job.offers, job.takes), expected)
    assert run_jobs_in_amaranth(UNIT, p, [work])[0].outputs["o"] == UNIT.streams(p)[1].pack(expected["o"])


def test_every_significand_of_bfloat16_and_every_exponent() -> None:
    # All significands in the binades whose results are subnormal, normal, overflowing; all exponents at four of them.
    ends = [np.arange(0, 0x0180), np.arange(0x3F00, 0x4080), np.arange(0x7D80, 0x8000)]
    exponents = (np.arange(256) << 7)[:, None] | np.array([0, 1, 64, 127])
    magnitudes = np.concatenate([*ends, exponents.ravel()])
    run_all(Reciprocal(lanes=8), np.concatenate([magnitudes, magnitudes[::8] | 0x8000]))


@pytest.mark.slow
@pytest.mark.parametrize("result", ["bf16", "fp32"])
def test_every_bfloat16(result: str) -> None:
    run_all(Reciprocal(result=result, lanes=16), np.arange(1 << 16))


def test_every_byte() -> None:
    run_all(Reciprocal("fp8_e5m2", "fp8_e5m2"), np.arange(256))
    run_all(Reciprocal("fp8_e4m3", "fp8_e4m3"), np.arange(256))


def test_approximation_is_within_a_quarter_of_the_last_place() -> None:
    # What the choice between two neighbours relies on.
    pytest.importorskip("amaranth")
    from hw.rtl.arith.reciprocal_blocks import reciprocal_error
    from workloads.formats.golden.floats import BF16, E4M3, E5M2, FP16, FP32

    for fmt in (BF16, FP16, FP32, E4M3, E5M2):
        assert reciprocal_error(fmt) < 2.0 ** -(fmt.mantissa_bits + 3)


@pytest.mark.parametrize(
    ("settings", "field"),
    [({"lanes": 0}, "lanes"), ({"source": "bf17"}, "source"), ({"result": "fp4_e2m1"}, "result")],
)
def test_parameters_are_checked(settings: dict[str, object], field: str) -> None:
    with pytest.raises(InputError) as caught:
        parameters_of(UNIT, settings)
    assert caught.value.field == field
