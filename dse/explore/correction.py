"""What a deeper fidelity will say of designs that only a shallower one has judged, learned from those both have.

A deeper model is taken as a multiple of the shallower one, and the logarithm of that multiple as a Gaussian process
(Kennedy and O'Hagan, Biometrika 87(1), 2000, who add one to a constant multiple). It runs over the design's parameters
and over what bounds the design at the shallower fidelity: designs alike in these are corrected alike. Its length
scales, one for each parameter, are those of the largest likelihood on a coarse grid, so that parameters without a say
drop out; nothing is set by hand for one space. What is expected is put better by one standard deviation, so that
designs of which little is known are looked at too (Srinivas et al., ICML 2010, who choose by such bounds).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dse.explore.front import Scores
from dse.space.codec import Codec

__all__ = ["Correction", "Features", "corrected", "features_of", "learned"]

Features = tuple[NDArray[np.float64], ...]
"""For each parameter (designs, columns): its place among its values from 0 to 1, or one column for each word."""

_SCALES = (0.2, 0.4, 0.8, 1.6, 3.2, 1e3)
"""Length scales tried, in units of a parameter's whole range; the last leaves the parameter out."""

_SWEEPS = 2
_NOISE = 1e-4
"""Share of the variance that no parameter explains, so that designs alike in all features may differ a little."""

_MOST = 600
"""Designs learned from: the work grows with the third power."""

_BLOCK = 8192


def features_of(codec: Codec, ordinals: NDArray[np.int64], bottleneck: NDArray[np.object_]) -> Features:
    """The features of designs: their parameters, and what most of their time is charged to."""
    choices = codec.decode(ordinals)
    found = []
    for at, values in enumerate(codec.values.values()):
        if len(values) < 2:
            continue
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            order = np.argsort(np.argsort(np.array(values, dtype=float), kind="stable"), kind="stable")
            found.append(order[choices[:, at], None] / (len(values) - 1))
        else:
            found.append(_marks(choices[:, at], len(values)))
    parts, which = np.unique(bottleneck.astype(str), return_inverse=True)
    if len(parts) > 1:
        found.append(_marks(which, len(parts)))
    return tuple(found)


def _marks(which: NDArray[np.int64], count: int) -> NDArray[np.float64]:
    """One column for each word, so that two different words are one unit apart."""
    marks: NDArray[np.float64] = np.eye(count)[which] / np.sqrt(2)
    return marks


@dataclass(frozen=True)
class Correction:
    """One Gaussian process: inputs and length scales, what was seen as ``weights`` on the kernel, and its mean.

    ``inverse`` of the kernel and ``variance`` say how far from it a design may be; None where nothing varies.
    """

    inputs: Features
    scales: tuple[float, ...]
    weights: NDArray[np.float64]
    mean: float
    inverse: NDArray[np.float64] | None = None
    variance: float = 0.0

    def at(self, features: Features) -> NDArray[np.float64]:
        """What is to be expected of other designs."""
        count = len(features[0]) if features else 0
        found = np.full(count, self.mean)
        if not self.weights.any():
            return found
        for start in range(0, count, _BLOCK):
            part = tuple(column[start : start + _BLOCK] for column in features)
            found[start : start + _BLOCK] += _kernel(_distances(part, self.inputs), self.scales) @ self.weights
        return found


def _below(process: Correction, features: Features) -> NDArray[np.float64]:
    """What to expect less its standard deviation: where little is known, much may be hoped for."""
    found = process.at(features)
    if process.inverse is None:
        return found
    for start in range(0, len(found), _BLOCK):
        part = tuple(column[start : start + _BLOCK] for column in features)
        near = _kernel(_distances(part, process.inputs), process.scales)
        known = np.einsum("ij,jk,ik->i", near, process.inverse, near, optimize=True)
        found[start : start + _BLOCK] -= np.sqrt(process.variance * np.maximum(1.0 - known, 0.0))
    return found


def learned(features: Features, values: NDArray[np.float64]) -> Correction:
    """The process that is likeliest to have given ``values`` to designs of those ``features``."""
    mean = float(values.mean())
    apart = values - mean
    if not features or np.allclose(apart, 0.0, atol=1e-12):
        return Correction(features, (1.0,) * len(features), np.zeros(len(values)), mean)
    distances = _distances(features, features)
    scales = [0.8] * len(features)
    best = _likelihood(distances, scales, apart)
    for _ in range(_SWEEPS):
        for at in range(len(scales)):
            for scale in _SCALES:
                tried = [*scales[:at], scale, *scales[at + 1 :]]
                found = _likelihood(distances, tried, apart)
                if found > best:
                    best, scales = found, tried
    kernel = _kernel(distances, scales) + _NOISE * np.eye(len(values))
    weights = np.linalg.solve(kernel, apart).astype(np.float64)
    variance = float(apart @ weights / len(values))
    return Correction(features, tuple(scales), weights, mean, np.linalg.inv(kernel).astype(np.float64), variance)


def _distances(one: Features, other: Features) -> list[NDArray[np.float64]]:
    """Of each feature the squared distances between designs."""
    return [((a[:, None, :] - b[None, :, :]) ** 2).sum(axis=2) for a, b in zip(one, other, strict=True)]


def _kernel(distances: Sequence[NDArray[np.float64]], scales: Sequence[float]) -> NDArray[np.float64]:
    """Matérn's of smoothness 5/2: the correction bends where a bottleneck changes."""
    squared = sum(d / scale**2 for d, scale in zip(distances, scales, strict=True))
    away = np.sqrt(5.0 * np.asarray(squared))
    found: NDArray[np.float64] = (1.0 + away + away**2 / 3.0) * np.exp(-away)
    return found


def _likelihood(distances: list[NDArray[np.float64]], scales: list[float], apart: NDArray[np.float64]) -> float:
    """Logarithm of the likelihood, up to a constant, at the variance that makes it largest."""
    count = len(apart)
    root = np.linalg.cholesky(_kernel(distances, scales) + _NOISE * np.eye(count))
    white = np.linalg.solve(root, apart)
    return float(-0.5 * count * np.log(white @ white / count) - np.log(np.diag(root)).sum())


def corrected(shallow: Scores, deep: Scores, features: Features) -> Scores:
    """What to expect of every design at the deeper fidelity.

    Of rows of ``deep`` that are NaN (not judged yet) it is their scores at the shallower one, corrected by what is
    learned from the others, less a standard deviation; infinity where what is learned says that the design is more
    likely beyond a limit than within all.
    """
    feasible = np.isfinite(shallow[:, 0])
    judged = feasible & ~np.isnan(deep[:, 0])
    found: Scores = np.where(judged[:, None], deep, shallow)
    asked = np.flatnonzero(feasible & ~judged)
    good = np.flatnonzero(judged & np.isfinite(deep[:, 0]))
    if not len(good) or not len(asked):
        return found
    known = _some(good)
    to_say = tuple(column[asked] for column in features)
    for objective in range(shallow.shape[1]):
        before, after = shallow[known, objective], deep[known, objective]
        ratios = (before * after > 0).all()
        seen = np.log(after / before) if ratios else after - before
        expected = _below(learned(tuple(column[known] for column in features), seen), to_say)
        mine = shallow[asked, objective]
        found[asked, objective] = mine * np.exp(expected) if ratios else mine + expected
    if len(good) < judged.sum():
        every = _some(np.flatnonzero(judged))
        inside = np.isfinite(deep[every, 0]).astype(np.float64)
        likely = learned(tuple(column[every] for column in features), inside).at(to_say)
        found[asked[np.flatnonzero(likely < 0.5)]] = np.inf
    return found


def _some(places: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of the designs judged those that are learned from: an even sample where there are too many."""
    if len(places) <= _MOST:
        return places
    return places[np.linspace(0, len(places) - 1, _MOST).astype(np.int64)]
