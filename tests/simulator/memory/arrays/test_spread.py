"""Spread of written cells: the polynomials by hand, and sample moments."""

from __future__ import annotations

import math

import numpy as np
import pytest

from simulator.memory.arrays.crossbar import Cells, Crossbar, error_statistics, multiply
from simulator.memory.arrays.spread import drift_factor, read_spread, write_spread
from workloads.errors import InputError


def test_write_spread_by_hand() -> None:
    # Phase change at the top: 0.26348 + 1.9650 - 1.1731 = 1.05538 uS of 25; oxide: 1.103 uS of 40, and at zero 0.348.
    top, zero = np.array([1.0]), np.array([0.0])
    assert write_spread("pcm")(top)[0] * 25 == pytest.approx(1.05538)
    assert write_spread("reram")(top)[0] * 40 == pytest.approx(1.103)
    assert write_spread("reram")(zero)[0] * 40 == pytest.approx(0.348)
    # A day later: 0.701 + 22.086 - 50.773 + 47.095 - 16.458 = 2.651.
    assert write_spread("reram_day")(top)[0] * 40 == pytest.approx(2.651)


def test_drift_by_hand() -> None:
    # The top cell's exponent averages 0.049 (the least) with spread 0.008: at 2000 s, a factor of 100^-0.049 = 0.798.
    g = np.ones(20_000)
    factor = drift_factor(g, 2000.0, np.random.default_rng(0))
    assert float(np.exp(np.log(factor).mean())) == pytest.approx(100**-0.049, rel=1e-3)
    assert float(np.log(factor).std()) == pytest.approx(0.008 * math.log(100), rel=0.03)
    assert (drift_factor(g, 20.0, np.random.default_rng(0)) == 1).all()


def test_read_spread_by_hand() -> None:
    # At the top and one second: 0.0088 sqrt(ln(1.00000025 / 5e-7)) = 0.0088 x 3.809 = 0.03352.
    assert read_spread(np.array([1.0]), 1.0)[0] == pytest.approx(0.03352, rel=1e-3)
    # At 1 % of the conductance 0.0088 x 0.01^-0.65 = 0.1756.
    assert read_spread(np.array([0.01]), 1.0)[0] == pytest.approx(0.1756 * 3.809, rel=1e-3)


def test_a_crossbar_of_phase_change_cells_errs_and_drifts() -> None:
    random = np.random.default_rng(1)
    inputs, weights = random.integers(0, 256, (8, 200)), random.integers(-128, 128, (200, 24))

    def error(cells: Cells) -> float:
        result = multiply(Crossbar(adc_bits=None, cells=cells), inputs, weights)
        return error_statistics(result.output, inputs @ weights)["relative_rms"]

    fresh = error(Cells(spread="pcm"))
    assert 0 < fresh < error(Cells(spread="pcm", age_s=1e3)) < error(Cells(spread="pcm", age_s=1e6))
    assert error(Cells(spread="reram")) < error(Cells(spread="reram_day"))


def test_wrong_input_is_named() -> None:
    with pytest.raises(InputError, match=r"unknown spread 'pcmm'.*did you mean 'pcm'"):
        Cells(spread="pcmm")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="only phase-change cells drift"):
        Cells(spread="reram", age_s=100.0)
    with pytest.raises(InputError, match=r"write_sigma is 0\.1"):
        Cells(spread="pcm", write_sigma=0.1)
