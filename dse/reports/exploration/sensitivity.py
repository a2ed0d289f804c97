"""Which parameter decides a metric: first-order shares of its variance, from whatever designs were evaluated.

The method is an analysis of variance of main effects. Over a whole space the share of a parameter is Sobol's
first-order index, Var(E[y | x]) / Var(y) (Sobol', Math. Comput. Simul. 55, 2001, pages 271-280), with each of its
values equally likely. Searches and limits leave samples in which parameters go together, where means over the designs
with one value would carry the others' effects: so the effects of all parameters' values are fitted at once by least
squares, and the variance of a parameter's is taken with each value counting equally. What noise adds to that variance
is taken off; there is none where every design was evaluated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["METHOD", "Effect", "Sensitivity", "sensitivity"]

METHOD = (
    "First-order share of the variance (analysis of variance of main effects, fitted together by least squares over "
    "all simulated designs, each value of a parameter counted equally; of logarithms where all values are above zero)."
)
"""In words, for readers of pages and figures."""

_MOST_LEVELS = 64
_GROUPS = 32
_TINY = 1e-10  # of the largest eigenvalue: below it a contrast cannot be told


@dataclass(frozen=True)
class Effect:
    """Of one parameter: its ``share`` of the variance, and how far apart its best and worst value lie with all else
    equal, ``span``: a factor where the metric was taken logarithmically, else a difference."""

    parameter: str
    share: float
    span: float


@dataclass(frozen=True)
class Sensitivity:
    """Of one metric, over ``designs`` of them: the effects, largest share first. ``rest`` is the share of interactions,
    of everything no parameter decides alone. ``confounded`` where the designs cannot tell some parameters apart."""

    metric: str
    designs: int
    logarithmic: bool
    effects: tuple[Effect, ...]
    rest: float
    confounded: bool


def sensitivity(
    metric: str,
    values: NDArray[np.float64],
    choices: Mapping[str, NDArray[np.int64]],
    active: Mapping[str, NDArray[np.bool_]] | None = None,
    *,
    population: int | None = None,
) -> Sensitivity | None:
    """Shares of the variance of ``values`` (designs,), NaN where not known, by parameter.

    ``choices`` gives of each parameter the number of its value in each design (designs,); ``active`` where it plays a
    part, everywhere when left out: elsewhere it has no effect, and its share is scaled by how often it does play one.
    ``population`` is the number of designs there are. None where there are too few designs, or all are equal.
    """
    known = np.isfinite(values)
    found = values[known]
    logarithmic = bool(len(found)) and bool((found > 0).all())
    found = np.log(found) if logarithmic else found
    if len(found) < 2 or not found.std() > 1e-9 * max(1.0, float(np.abs(found).max())):
        return None
    plays = {name: (active or {}).get(name, np.ones(len(values), dtype=np.bool_))[known] for name in choices}
    levels = {name: _levels(choices[name][known], plays[name]) for name in choices}
    counts = [int(levels[name].max(initial=-1)) + 1 for name in choices]
    gram, moments = _normal_equations(list(levels.values()), counts, found - found.mean())
    basis = _sums_to_zero(counts)
    inverse, rank = _pseudo_inverse(basis.T @ gram @ basis)
    inverse = basis @ inverse @ basis.T  # covariances of the values' effects, in units of the noise
    sampled = 1.0 - len(found) / max(population or 0, len(found)) if population else 1.0
    freedom = len(found) - rank * sampled
    if freedom < 1:
        return None
    fitted = inverse @ moments
    noise = max(0.0, float(((found - found.mean()) ** 2).sum() - fitted @ moments)) / freedom
    effects, at = [], 1
    for name, count in zip(choices, counts, strict=True):
        part = slice(at, at + count)
        at += count
        if count < 2:
            effects.append((name, 0.0, 0.0))
            continue
        own = fitted[part]
        blur = noise * sampled * float(np.trace(inverse[part, part])) / count
        variance = max(0.0, float((own**2).mean()) - blur) * float(plays[name].mean())
        effects.append((name, variance, float(np.ptp(own))))
    total = sum(variance for _, variance, _ in effects) + noise
    shown = [Effect(name, v / total, float(np.exp(span)) if logarithmic else span) for name, v, span in effects]
    whole = 1 + sum(max(count - 1, 0) for count in counts)
    order = tuple(sorted(shown, key=lambda effect: -effect.share))
    return Sensitivity(metric, len(found), logarithmic, order, noise / total, rank < whole)


def _levels(choices: NDArray[np.int64], plays: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The values that occur as 0, 1, ..., -1 where the parameter plays no part; of very many, neighbours as one."""
    occurring, levels = np.unique(choices[plays], return_inverse=True)
    if len(occurring) > _MOST_LEVELS:
        levels = levels * _GROUPS // len(occurring)
    result = np.full(len(choices), -1, dtype=np.int64)
    result[plays] = levels
    return result


def _normal_equations(
    levels: Sequence[NDArray[np.int64]], counts: Sequence[int], values: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """The Gram matrix of a constant and an indicator of each value, and its right-hand side, from counts of pairs."""
    columns = [np.zeros(len(values), dtype=np.int64), *levels]
    sizes = [1, *counts]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    gram, moments = np.zeros((starts[-1], starts[-1])), np.zeros(starts[-1])
    for a, (left, rows) in enumerate(zip(columns, sizes, strict=True)):
        there = left >= 0
        moments[starts[a] : starts[a + 1]] = np.bincount(left[there], values[there], minlength=rows)
        for b in range(a, len(columns)):
            both = there & (columns[b] >= 0)
            pairs = np.bincount(left[both] * sizes[b] + columns[b][both], minlength=rows * sizes[b])
            block = pairs.reshape(rows, sizes[b]).astype(np.float64)
            gram[starts[a] : starts[a + 1], starts[b] : starts[b + 1]] = block
            gram[starts[b] : starts[b + 1], starts[a] : starts[a + 1]] = block.T
    return gram, moments


def _sums_to_zero(counts: Sequence[int]) -> NDArray[np.float64]:
    """Columns that span a constant and, of each parameter, the effects that are zero on average over its values."""
    blocks = [np.ones((1, 1))]
    for count in counts:
        values, vectors = np.linalg.eigh(np.eye(count) - 1.0 / max(count, 1))
        blocks.append(vectors[:, values > 0.5])
    basis = np.zeros((sum(len(block) for block in blocks), sum(block.shape[1] for block in blocks)))
    row = column = 0
    for block in blocks:
        basis[row : row + len(block), column : column + block.shape[1]] = block
        row, column = row + len(block), column + block.shape[1]
    return basis


def _pseudo_inverse(gram: NDArray[np.float64]) -> tuple[NDArray[np.float64], int]:
    """Of a symmetric matrix, with its rank: parameters that go together leave it singular."""
    eigenvalues, vectors = np.linalg.eigh(gram)
    kept = eigenvalues > _TINY * eigenvalues[-1]
    scaled = vectors[:, kept] / eigenvalues[kept]
    return scaled @ vectors[:, kept].T, int(kept.sum())
