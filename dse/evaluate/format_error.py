"""How much is lost when values are stored in a format: the cheap stand-in for a model's accuracy."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from workloads.formats.golden.round_trip import GOLDEN_NAMES, round_trip

__all__ = ["format_error"]

_SAMPLES = 1 << 14
_EXACT = ("fp32", "fp64")
_LOSSLESS = {"dfloat11": "bf16"}


@cache
def format_error(name: str) -> float:
    """Root mean square error over root mean square of 16,384 standard normal values (seed 0) stored in the format.

    Weights of trained layers are near normal (Dettmers et al., QLoRA, arXiv 2305.14314, appendix F). NaN for formats
    whose arithmetic is not modelled.
    """
    if name in _EXACT:
        return 0.0
    golden = _LOSSLESS.get(name, name)
    if golden not in GOLDEN_NAMES:
        return math.nan
    values = np.random.default_rng(0).standard_normal(_SAMPLES)
    return math.sqrt(round_trip(golden, values).error.mean_square / float(np.mean(values**2)))
