"""How far decoded values lie from the originals, and how few bits could do: error metrics, entropy, rate-distortion."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from workloads.formats.golden.arrays import as_floats, refuse

__all__ = ["QuantizationError", "entropy_bits", "gaussian_snr_bound_db", "quantization_error"]


@dataclass(frozen=True)
class QuantizationError:
    """``snr_db`` is 10 log10 (mean square of the originals / mean square error); infinite when nothing is lost."""

    mean_square: float
    maximum: float
    snr_db: float


def quantization_error(original: ArrayLike, decoded: ArrayLike) -> QuantizationError:
    """Error of ``decoded`` against ``original``, both of one shape and finite."""
    before, after = as_floats(original), as_floats(decoded)
    refuse(before.shape != after.shape, f"shapes {before.shape} and {after.shape} differ", "one shape", "decoded")
    refuse(before.size == 0, "there are no values", "at least one", "original")
    difference = after - before
    mean_square = float(np.mean(difference**2))
    signal = float(np.mean(before**2))
    if mean_square == 0.0 or signal == 0.0:
        snr_db = math.inf if mean_square == 0.0 else -math.inf
    else:
        snr_db = 10.0 * math.log10(signal / mean_square)
    return QuantizationError(mean_square, float(np.max(np.abs(difference))), snr_db)


def entropy_bits(symbols: ArrayLike) -> float:
    """Shannon entropy of the symbols' frequencies in bits per symbol: no symbol-by-symbol code needs fewer.

    >>> entropy_bits([0, 0, 1, 2])
    1.5
    """
    _, counts = np.unique(np.asarray(symbols), return_counts=True)
    refuse(counts.size == 0, "there are no symbols", "at least one", "symbols")
    share = counts / counts.sum()
    return float(-np.sum(share * np.log2(share)))


def gaussian_snr_bound_db(bits_per_element: float) -> float:
    """The best SNR any code of that rate reaches on independent Gaussian values: 20 log10(2) dB a bit.

    Rate-distortion D = sigma^2 2^(-2R): Cover and Thomas, Elements of Information Theory, theorem 10.3.2.
    """
    return 20.0 * math.log10(2.0) * bits_per_element
