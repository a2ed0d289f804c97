"""Spaces small enough, or simple enough, that everything about them is known."""

from __future__ import annotations

from typing import Any

import numpy as np
from hypothesis import strategies as st

from dse.explore.compare import Truth
from dse.space.codec import Codec
from dse.space.parameter import Parameter

__all__ = ["accelerator", "conditional_codecs", "random_truth"]


def accelerator() -> Truth:
    """19,440 designs of an array of multipliers with a buffer and a memory: time, energy and area of one product of
    matrices by closed forms (made up for tests)."""
    codec = Codec(
        {
            "rows": Parameter(log=[8, 256, 6]),
            "columns": Parameter(log=[8, 256, 6]),
            "buffer": Parameter(log=[32_768, 8_388_608, 9]),
            "memory": Parameter(choices=["lpddr4", "lpddr5", "gddr6", "hbm2"]),
            "clock": Parameter(choices=[0.4e9, 0.6e9, 0.8e9, 1.0e9, 1.2e9]),
            "kept": Parameter(choices=["weights", "outputs", "inputs"]),
        }
    )
    ordinals = np.concatenate(list(codec.blocks()))
    choices = codec.decode(ordinals)
    rows, columns, buffer, clock = (np.array(codec.values[name])[choices[:, at]] for name, at in _NUMBERS)
    memory, kept = choices[:, 3], choices[:, 5]
    m, n, k = 3136, 512, 1152
    over_rows, over_columns = np.array([k, m, n])[kept], np.array([n, n, k])[kept]
    steps = np.ceil(over_rows / rows) * np.ceil(over_columns / columns) * np.array([m, k, m])[kept]
    traffic = 2 * m * n * k / np.sqrt(buffer / 3) * np.array([1.0, 1.3, 1.15])[kept] + m * n + n * k + m * k
    latency = np.maximum(steps / clock, traffic / np.array([17e9, 34e9, 64e9, 256e9])[memory])
    energy = m * n * k * (0.3e-12 + 0.2e-12 * (clock / 0.8e9) ** 2)
    energy += m * n * k / np.minimum(rows, columns) * 2e-12 * np.sqrt(buffer / 32_768)
    energy += traffic * np.array([64e-12, 48e-12, 56e-12, 32e-12])[memory] + 0.05 * latency
    area = rows * columns * 0.002 + buffer / 2**20 * 1.5 + np.array([2.0, 3.0, 5.0, 12.0])[memory]
    return Truth(codec, ordinals, np.stack([latency, energy, area], axis=1))


_NUMBERS = (("rows", 0), ("columns", 1), ("buffer", 2), ("clock", 4))


def random_truth(codec: Codec, seed: int, objectives: int = 2) -> Truth:
    """Scores without any order, of which one in seven is not feasible."""
    rng = np.random.default_rng(seed)
    ordinals = np.concatenate(list(codec.blocks()))
    found = rng.normal(size=(len(ordinals), objectives))
    found[rng.random(len(ordinals)) < 1 / 7] = np.inf
    return Truth(codec, ordinals, found)


@st.composite
def conditional_codecs(draw: Any) -> Codec:
    """A few parameters of numbers or words, later ones conditional on values of earlier ones now and then."""
    parameters: dict[str, Parameter] = {}
    for number in range(draw(st.integers(1, 4))):
        count = draw(st.integers(1, 4))
        values: list[Any] = list("wxyz"[:count]) if draw(st.booleans()) else list(range(count))
        when: dict[str, Any] = {}
        for other, parameter in parameters.items():
            if draw(st.integers(0, 2)) == 0:
                when[other] = draw(st.lists(st.sampled_from(parameter.values), min_size=1, unique=True))
        parameters[f"p{number}"] = Parameter(choices=values, when=when)
    return Codec(parameters)
