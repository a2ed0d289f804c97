"""Lengths of training sequences: shares of a corpus's tokens by length, and batches drawn from them.

The two mixes are those of ByteScale (Ge et al., arXiv 2502.21231, figure 4): what share of all tokens lies in
sequences of 2K to 4K tokens, of 4K to 8K, and so on to 2M and more. The figure's labels are dealt to the bins so that
the sums that the text states come out: of Byted 12.1 % from 2M on, 37 % from 256K, 44.3 % from 128K; of GitHub 9.8 %
from 256K and 16.2 % from 128K. How GitHub's 5.3 % from 512K on divide is not stated: synthetic.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

from workloads.errors import InputError, unknown_name

__all__ = ["LENGTH_MIXES", "draw_lengths", "mean_length"]

_K = 1024
LENGTH_MIXES: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "byted": (11.4, 10.7, 9.5, 8.8, 7.6, 7.6, 7.6, 7.6, 7.3, 9.7, 12.1),
        "github": (34.0, 14.2, 10.4, 10.2, 7.6, 7.6, 6.4, 4.5, 2.4, 1.7, 1.2),
    }
)
"""Per cent of tokens in sequences of [2K, 4K), [4K, 8K), ... [1M, 2M) tokens and of 2M."""

_EDGES = tuple(2 * _K << at for at in range(11))


def _shares(mix: str) -> list[float]:
    if mix not in LENGTH_MIXES:
        raise unknown_name("mix of lengths", mix, LENGTH_MIXES, field="lengths")
    total = sum(LENGTH_MIXES[mix])
    return [share / total for share in LENGTH_MIXES[mix]]


def mean_length(mix: str) -> float:
    """Tokens of a sequence on average. Raises `InputError` for an unknown mix."""
    return 1 / sum(share / _mean(at) for at, share in enumerate(_shares(mix)))


def _mean(at: int) -> float:
    return _EDGES[at] * (1.5 if at + 1 < len(_EDGES) else 1.0)


def draw_lengths(mix: str, tokens: int, context: int, seed: int = 0) -> list[int]:
    """About ``tokens`` tokens of sequences, in random order, those longer than ``context`` cut into pieces of it.

    Each bin has its share as nearly as whole sequences allow, one more or less by chance; lengths are uniform within
    a bin. Raises `InputError` for an unknown mix, and for a batch or context of no tokens.
    """
    if tokens < 1 or context < 1:
        raise InputError(f"{tokens} tokens in sequences up to {context}", "1 or more of both", "lengths")
    rng = np.random.default_rng(seed)
    found: list[int] = []
    for at, share in enumerate(_shares(mix)):
        expected = share * tokens / _mean(at)
        count = int(expected) + int(rng.random() < expected % 1)
        high = 2 * _EDGES[at] if at + 1 < len(_EDGES) else _EDGES[at] + 1
        found += rng.integers(_EDGES[at], high, count).tolist()
    pieces = [min(context, length - begin) for length in found for begin in range(0, length, context)]
    rng.shuffle(pieces)
    return pieces
