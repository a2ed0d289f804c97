"""Converters: the survey's bound at published points, ISAAC's, and the ramp's stated products."""

from __future__ import annotations

import itertools

import pytest

from hw.cost.converters import ISAAC_ADC, RAMP_5BIT, survey_adc
from workloads.errors import InputError

# pJ and um2 of the survey's bound, as worked out from the plug-in's coefficients.
SURVEY = {
    (32, 0.1e9): {4: (0.924, 3274), 6: (1.065, 3417), 8: (1.714, 3939), 10: (3.31, 4796), 12: (29.1, 9185)},
    (32, 1.28e9): {4: (0.924, 5190), 6: (1.065, 5416), 8: (1.929, 6469), 10: (16.4, 12275), 12: (157, 24110)},
    (16, 1.28e9): {4: (0.251, 1766), 6: (0.289, 1842), 8: (0.524, 2201), 10: (4.46, 4176), 12: (42.6, 8202)},
}


@pytest.mark.parametrize(("node", "rate"), SURVEY)
def test_the_survey_at_its_published_points(node: int, rate: float) -> None:
    for bits, (energy_pj, area_um2) in SURVEY[node, rate].items():
        adc = survey_adc(bits=bits, rate_per_s=rate, node_nm=node)
        assert adc.energy_j * 1e12 == pytest.approx(energy_pj, rel=4e-3)
        assert adc.area_mm2 * 1e6 == pytest.approx(area_um2, rel=4e-3)


def test_isaac_against_the_survey_disagrees_in_area() -> None:
    # 2 mW at 1.28 GS/s is 1.5625 pJ; the survey says 1.929 pJ (+24 %) but 5.4 times the area.
    survey = survey_adc(bits=8, rate_per_s=1.28e9, node_nm=32)
    assert ISAAC_ADC.energy_j == pytest.approx(1.5625e-12)
    assert survey.energy_j / ISAAC_ADC.energy_j == pytest.approx(1.24, abs=0.01)
    assert survey.area_mm2 / ISAAC_ADC.area_mm2 == pytest.approx(5.4, abs=0.05)


def test_energy_and_area_grow_with_bits() -> None:
    adcs = [survey_adc(bits=bits, rate_per_s=1e9, node_nm=32) for bits in range(4, 15)]
    assert all(a.energy_j < b.energy_j and a.area_mm2 < b.area_mm2 for a, b in itertools.pairwise(adcs))


def test_the_ramp_takes_the_published_time_and_energy() -> None:
    assert RAMP_5BIT.time_s == pytest.approx(32e-9)
    assert RAMP_5BIT.energy_j(128, 15.5) == pytest.approx(42.82e-12)
    # 0.335 pJ a column.
    assert RAMP_5BIT.energy_j(128, 15.5) / 128 == pytest.approx(0.335e-12, rel=2e-3)


def test_the_one_step_converter_it_was_compared_with() -> None:
    # Hong et al.: 12.58 fJ, 0.165 ns, 24.29 um2; 32 of them, each serving 4 of 128 columns, against the ramp.
    energy_j, time_s, area_um2 = 128 * 12.58e-15, 4 * 0.165e-9, 32 * 24.29
    assert energy_j == pytest.approx(1.61e-12, rel=1e-3)
    assert time_s == pytest.approx(0.66e-9)
    assert area_um2 == pytest.approx(777.28)
    assert RAMP_5BIT.energy_j(128, 15.5) / energy_j == pytest.approx(26.6, abs=0.05)
    assert RAMP_5BIT.time_s / time_s == pytest.approx(48.5, abs=0.05)


def test_wrong_input_is_named() -> None:
    with pytest.raises(InputError, match="bits is 1; expected between 2 and 16"):
        survey_adc(bits=1, rate_per_s=1e9, node_nm=32)
    with pytest.raises(InputError, match="mean_code is 40; expected between 0 and 31"):
        RAMP_5BIT.energy_j(128, 40)
