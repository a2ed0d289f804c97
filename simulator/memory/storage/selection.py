"""Which tokens are selected, how they cluster, and which pages that touches."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from workloads.errors import InputError

__all__ = ["clustered_tokens", "expected_page_share", "pages_touched", "random_channels"]

Mask = NDArray[np.bool_]


def clustered_tokens(
    rows: int, tokens: int, share: float, mean_run: float | None, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Masks [rows, tokens] of selected tokens, each a stationary Markov chain of two states.

    ``share`` of the tokens is selected on average, in runs of ``mean_run`` on average. None selects each token on its
    own, runs of 1 / (1 - share). The chain goes on from a row to the next, which depend on each other only where they
    meet. Raises `InputError` for a share outside 0 to 1, or runs so short that there would be less than one token
    between them.
    """
    enter, leave = _rates(share, mean_run)
    if share in (0.0, 1.0):
        return np.full((rows, tokens), share == 1.0)
    if mean_run is None:
        independent: Mask = rng.random((rows, tokens)) < share
        return independent
    selected = rng.random() < share
    size = rows * tokens
    pairs = int(size * share / mean_run * 1.1) + 16
    parts: list[Mask] = []
    drawn = 0
    while drawn < size:  # the rest of a run is as long as a whole one, so the first needs no care
        lengths = np.empty(2 * pairs, dtype=np.int64)
        lengths[0::2] = rng.geometric(leave if selected else enter, pairs)
        lengths[1::2] = rng.geometric(enter if selected else leave, pairs)
        parts.append(np.repeat(np.arange(2 * pairs) % 2 == (0 if selected else 1), lengths))
        drawn += len(parts[-1])
    return np.concatenate(parts)[:size].reshape(rows, tokens)


def random_channels(rows: int, channels: int, chosen: int, rng: np.random.Generator) -> Mask:
    """Masks [rows, channels] with ``chosen`` of ``channels`` each, all sets equally likely."""
    order = rng.random((rows, channels)).argsort(axis=1)
    mask = np.zeros((rows, channels), dtype=np.bool_)
    np.put_along_axis(mask, order[:, :chosen], True, axis=1)
    return mask


def pages_touched(mask: Mask, per_page: int) -> Mask:
    """Which pages of ``per_page`` neighbours hold a selected one: [rows, n] to [rows, ceil(n / per_page)]."""
    starts = np.arange(0, mask.shape[1], per_page)
    touched: Mask = np.logical_or.reduceat(mask, starts, axis=1)
    return touched


def expected_page_share(share: float, per_page: int, mean_run: float | None = None) -> float:
    """Of pages of ``per_page`` tokens, those that `clustered_tokens` touches: 1 less that no token is selected,
    (1 - share) (1 - share / ((1 - share) mean_run))^(per_page - 1); on its own each, 1 - (1 - share)^per_page."""
    enter, _ = _rates(share, mean_run)
    return 1.0 - (1.0 - share) * (1.0 - enter) ** (per_page - 1)


def _rates(share: float, mean_run: float | None) -> tuple[float, float]:
    """The chain's odds of entering and of leaving the selection at the next token."""
    if not 0 <= share <= 1:
        raise InputError(f"found {share}", "a share, 0 to 1", "share")
    if mean_run is None or share in (0.0, 1.0):
        return share, 1.0 - share
    least = max(1.0, share / (1.0 - share))
    if not (mean_run >= least and math.isfinite(mean_run)):
        raise InputError(f"found runs of {mean_run}", f"at least {least:.4g} where {share:.4g} is selected", "mean_run")
    return share / (1.0 - share) / mean_run, 1.0 / mean_run
