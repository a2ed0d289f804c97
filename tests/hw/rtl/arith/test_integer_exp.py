"""The integer exp unit against its golden model and contract; every input at two scales."""

from __future__ import annotations

import numpy as np
import pytest

from hw.rtl.arith.integer_exp_model import UNIT, IntegerExp
from hw.rtl.drive.campaign import draw_jobs, packed, run_campaign, run_jobs_in_amaranth
from hw.rtl.units import parameters_of
from workloads.errors import InputError


@pytest.mark.parametrize("settings", [{}, *UNIT.variants])
def test_rtl_is_golden_and_on_time(settings: dict[str, int]) -> None:
    result = run_campaign(UNIT, parameters_of(UNIT, settings), settings, beats=1000)
    assert result.passed, result
    assert result.beats > 1500
    assert result.closed_form_cases >= 3


@pytest.mark.parametrize(
    "p", [IntegerExp(), IntegerExp(scale=1 / 100), IntegerExp(16, 1 / 1024, 0, 32), IntegerExp(16, 2**-14, 0, 32)]
)
def test_every_distance(p: IntegerExp) -> None:
    inputs = {"i": {"d": np.arange(1 << p.width).reshape(-1, p.lanes)}}
    expected = UNIT.golden(p, inputs)
    job = draw_jobs(UNIT, p, 1, 6)[0]
    work = packed(UNIT, p, type(job)("all", inputs, job.offers, job.takes), expected)
    assert run_jobs_in_amaranth(UNIT, p, [work])[0].outputs["o"] == UNIT.streams(p)[1].pack(expected["o"])


@pytest.mark.parametrize("width", [4, 8, 12, 16])
def test_quotient_by_a_constant_is_exact(width: int) -> None:
    # What the unit's description proves, for every octave and distance of small widths and the ends of wide ones.
    for octave in {*range(1, 100), 709, 2839, 11356}:
        cut = width + octave.bit_length()
        d = np.arange(1 << width)
        assert np.array_equal((d * -(-(1 << cut) // octave)) >> cut, d // octave)


@pytest.mark.parametrize(
    ("settings", "field"),
    [({"lanes": 0}, "lanes"), ({"width": 17}, "width"), ({"scale": 1.0}, "scale"), ({"extra": -1}, "extra")],
)
def test_parameters_are_checked(settings: dict[str, float], field: str) -> None:
    with pytest.raises(InputError) as caught:
        parameters_of(UNIT, settings)
    assert caught.value.field == field
