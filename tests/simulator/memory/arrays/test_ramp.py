"""The ramp converter: its code is the function, and its steps' errors are what the code inherits."""

from __future__ import annotations

import math

import numpy as np
import pytest

from hw.cost.converters import RAMP_5BIT, survey_adc
from simulator.memory.arrays.ramp import FUNCTIONS, activation_arms, make_ramp, ramp_function
from workloads.errors import InputError


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
@pytest.mark.parametrize("bits", [1, 3, 5, 8])
def test_the_code_of_an_ideal_ramp_is_the_function(name: str, bits: int) -> None:
    function = ramp_function(name)
    values = np.random.default_rng(1).uniform(function.low, function.high, 5000)
    exact = function.forward(values) * (1 << bits)
    # Away from a threshold by more than rounding.
    clear = np.abs(exact - np.rint(exact)) > 1e-9
    codes = make_ramp(bits, function).convert(values)
    assert (codes[clear] == np.floor(exact[clear])).all()


def test_thresholds_by_hand() -> None:
    # Two bits of a sigmoid: ln(p / (1 - p)) at 1/4, 1/2, 3/4: -ln 3, 0, ln 3.
    assert make_ramp(2, ramp_function("sigmoid")).thresholds == pytest.approx([-math.log(3), 0.0, math.log(3)])


def test_an_ideal_ramp_has_no_nonlinearity() -> None:
    assert np.abs(make_ramp(5, ramp_function("tanh")).nonlinearity_lsb()).max() < 1e-9


def mean_worst(bits: int, sigma: float, calibrated: bool = True) -> float:
    function = ramp_function("sigmoid")
    ramps = (make_ramp(bits, function, write_sigma=sigma, calibrated=calibrated, seed=s) for s in range(40))
    worst = [float(np.abs(ramp.nonlinearity_lsb()).max()) for ramp in ramps]
    return sum(worst) / len(worst)


def test_nonlinearity_grows_with_the_spread_and_the_bits_and_shrinks_by_calibration() -> None:
    by_sigma = [mean_worst(5, sigma) for sigma in (0.0, 0.005, 0.02, 0.05)]
    assert by_sigma == sorted(by_sigma)
    by_bits = [mean_worst(bits, 0.02) for bits in (3, 4, 5, 6)]
    assert by_bits == sorted(by_bits)
    assert mean_worst(5, 0.02) < mean_worst(5, 0.02, calibrated=False)


def test_a_linear_ramps_spread_accumulates_as_a_walk() -> None:
    # Equal steps of one LSB with sigma 0.05: the last of 31 thresholds is off by 0.05 sqrt(31) when not calibrated.
    function = ramp_function("linear")
    ends = [
        make_ramp(5, function, write_sigma=0.05, calibrated=False, seed=s).nonlinearity_lsb()[-1] for s in range(600)
    ]
    assert float(np.std(ends)) == pytest.approx(0.05 * math.sqrt(31), rel=0.1)


def test_codes_stay_in_order_under_any_spread() -> None:
    ramp = make_ramp(5, ramp_function("sigmoid"), write_sigma=0.5, seed=3)
    assert (np.diff(ramp.thresholds) >= 0).all()
    assert (np.diff(ramp.convert(np.linspace(-6, 6, 200))) >= 0).all()


def test_the_two_arms_by_hand() -> None:
    # 128 outputs, one 5-bit converter of the survey at 16 nm: 128 conversions at 1.28 GS/s are 100 ns; four digital
    # units of 1 ns add 32 ns. The ramp takes 32 ns and 42.82 pJ. Gains 4.125 and (E_adc + E_act) 128 / 42.82 pJ.
    adc = survey_adc(bits=5, rate_per_s=1.28e9, node_nm=16)
    arms = activation_arms(
        RAMP_5BIT, adc, columns=128, mean_code=15.5, adcs=1, activation_j=1e-12, activation_s=1e-9, units=4
    )
    assert arms.ramp_s == pytest.approx(32e-9)
    assert arms.digital_s == pytest.approx(132e-9)
    assert arms.time_gain == pytest.approx(4.125)
    assert arms.energy_gain == pytest.approx(128 * (adc.energy_j + 1e-12) / 42.82e-12)


def test_without_a_digital_activation_the_ramp_saves_no_energy() -> None:
    # The survey's bound is below 0.335 pJ a column at 16 nm: the gain is that of the function left out, not of the ADC.
    adc = survey_adc(bits=5, rate_per_s=1.28e9, node_nm=16)
    arms = activation_arms(
        RAMP_5BIT, adc, columns=128, mean_code=15.5, adcs=1, activation_j=0.0, activation_s=0.0, units=1
    )
    assert arms.energy_gain < 1


def test_wrong_input_is_named() -> None:
    with pytest.raises(InputError, match="did you mean 'sigmoid'"):
        ramp_function("sigmiod")
    with pytest.raises(InputError, match="bits is 0; expected between 1 and 12"):
        make_ramp(0, ramp_function("tanh"))
    with pytest.raises(InputError, match="write_sigma is -1"):
        make_ramp(3, ramp_function("tanh"), write_sigma=-1)
