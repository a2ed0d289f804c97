"""Waves of promotion: what a deeper fidelity is thought to say, and that designs it alone can tell apart are found."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from dse.explore.correction import corrected, features_of, learned
from dse.explore.front import Scores, hypervolume, reference_box
from dse.explore.promotion import first_wave, next_wave, promoted, wave_sizes
from dse.space.codec import Codec
from dse.space.parameter import Parameter

INF = math.inf
CODEC = Codec(
    {
        "units": Parameter(log=[1, 64, 7]),
        "buffer": Parameter(log=[1, 256, 9]),
        "rate": Parameter(log=[1, 16, 5]),
        "kind": Parameter(choices=["plain", "dense"]),
    }
)
ORDINALS = np.concatenate(list(CODEC.blocks()))


def machine() -> tuple[Scores, Scores]:
    """Time and area of 630 designs by two models (made up for tests): the shallower moves each of 1,000 words once, the
    deeper again for every time the buffer is too small: 1 + 16 / sqrt(buffer), of which a dense one needs half."""
    choices = CODEC.decode(ORDINALS)
    units, buffer, rate = (np.array(CODEC.values[n], dtype=float)[choices[:, at]] for n, at in _NUMBERS)
    dense = choices[:, 3] == 1
    again = 1 + 16 / np.sqrt(buffer) * np.where(dense, 0.5, 1.0)
    area = units + buffer / 4 * np.where(dense, 1.5, 1.0) + 2 * rate
    compute = 4000 / units
    return (
        np.stack([np.maximum(compute, 1000 / rate), area], axis=1),
        np.stack([np.maximum(compute, 1000 * again / rate), area], axis=1),
    )


_NUMBERS = (("units", 0), ("buffer", 1), ("rate", 2))
NOTHING: NDArray[np.object_] = np.full(len(ORDINALS), "", dtype=object)
FEATURES = features_of(CODEC, ORDINALS, NOTHING)


def judged(deep: Scores, places: NDArray[np.int64]) -> Scores:
    known = np.full_like(deep, np.nan)
    known[places] = deep[places]
    return known


def test_sizes_of_waves_by_hand() -> None:
    found = np.ones((101, 2))
    found[0] = INF
    assert wave_sizes(found, 0.4, 5) == [8, 8, 8, 8, 8]
    assert wave_sizes(found, 0.41, 5) == [8, 8, 8, 8, 9]
    assert wave_sizes(found, 0.1, 5) == [10]  # two would have less than eight each
    assert wave_sizes(found, 0.001, 5) == [1]  # one design at least
    assert wave_sizes(found, 0.4, 1) == [40]
    assert wave_sizes(found[:1], 0.4, 5) == []


def test_a_constant_factor_is_learned_exactly() -> None:
    shallow, _ = machine()
    deep = np.stack([3 * shallow[:, 0], shallow[:, 1]], axis=1)
    known = judged(deep, np.arange(0, len(deep), 50))
    assert corrected(shallow, known, FEATURES) == pytest.approx(deep, rel=1e-9)


def test_what_one_parameter_decides_is_learned_from_an_eighth() -> None:
    # A factor of (1 + 16 / sqrt(buffer)), from 17 to 2: smooth over nine values, all of which a random eighth has.
    shallow, _ = machine()
    buffer = np.array(CODEC.values["buffer"], dtype=float)[CODEC.decode(ORDINALS)[:, 1]]
    deep = np.stack([shallow[:, 0] * (1 + 16 / np.sqrt(buffer)), shallow[:, 1]], axis=1)
    some = np.random.default_rng(0).choice(len(deep), len(deep) // 8, replace=False)
    found = corrected(shallow, judged(deep, some), FEATURES)
    assert np.abs(np.log(found[:, 0] / deep[:, 0])).max() < 0.05


def test_a_parameter_without_a_say_drops_out() -> None:
    some = np.random.default_rng(1).choice(len(ORDINALS), 60, replace=False)
    features = tuple(column[some] for column in FEATURES)
    found = learned(features, 2.0 * features[1][:, 0])
    assert found.scales[1] < min(found.scales[0], *found.scales[2:])


def test_a_limit_that_only_the_deeper_fidelity_sees_is_learned() -> None:
    shallow, deep = machine()
    beyond = CODEC.decode(ORDINALS)[:, 1] < 3  # small buffers break a limit
    deep[beyond] = INF
    some = np.random.default_rng(2).choice(len(deep), 120, replace=False)
    found = corrected(shallow, judged(deep, some), FEATURES)
    assert (np.isinf(found[:, 0]) == beyond).mean() > 0.98


def test_waves_find_a_front_that_the_shallower_fidelity_does_not_see() -> None:
    """0.99 of the hypervolume from a tenth of the designs is what is aimed at; in the mean over seeds."""
    shallow, deep = machine()
    share, box = 0.1, reference_box(deep)
    whole = hypervolume(deep, box)
    # The shallower fidelity sees nothing in a buffer but its area: the smallest go on alone.
    plain = hypervolume(deep[promoted(shallow, share)], box) / whole
    sizes = wave_sizes(shallow, share, 5)
    found = []
    for seed in range(5):
        chosen = first_wave(shallow, sizes[0], seed)
        for size in sizes[1:]:
            wave = next_wave(shallow, judged(deep, chosen), FEATURES, size)
            assert len(wave) == size
            assert not np.isin(wave, chosen).any()
            chosen = np.concatenate([chosen, wave])
        assert len(chosen) == math.ceil(share * len(deep)) == 63
        found.append(hypervolume(deep[chosen], box) / whole)
    assert np.mean(found) >= 0.99
    assert min(found) > plain


def test_where_too_few_are_left_those_thought_to_be_beyond_a_limit_go_on() -> None:
    shallow = np.array([[1.0, 2.0], [2.0, 1.0], [3.0, 3.0], [INF, INF]])
    deep = np.array([[INF, INF], [INF, INF], [np.nan, np.nan], [np.nan, np.nan]])
    features = features_of(CODEC, ORDINALS[:4], NOTHING[:4])
    assert next_wave(shallow, deep, features, 1).tolist() == [2]
