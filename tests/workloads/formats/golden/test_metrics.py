"""Error metrics, entropy and the rate-distortion bound by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from workloads.errors import InputError
from workloads.formats.golden.metrics import entropy_bits, gaussian_snr_bound_db, quantization_error


def test_metrics_by_hand() -> None:
    error = quantization_error([3.0, 4.0], [3.0, 4.5])
    assert (error.mean_square, error.maximum) == (0.125, 0.5)
    assert error.snr_db == pytest.approx(20.0)
    assert quantization_error([1.0], [1.0]).snr_db == math.inf
    assert quantization_error([0.0], [1.0]).snr_db == -math.inf
    assert entropy_bits(np.repeat([1, 2, 3, 4], [8, 4, 2, 2])) == 1.75
    assert gaussian_snr_bound_db(1.0) == pytest.approx(6.0206, abs=1e-4)


def test_refused() -> None:
    with pytest.raises(InputError) as caught:
        quantization_error([1.0], [1.0, 2.0])
    assert str(caught.value) == "decoded: shapes (1,) and (2,) differ; expected one shape"
    with pytest.raises(InputError) as caught:
        entropy_bits([])
    assert str(caught.value) == "symbols: there are no symbols; expected at least one"
