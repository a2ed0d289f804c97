"""What a routing stream is like: popularity, repetition, and how well one choice serves a segment of tokens.

Segment routing best performance (SRP) is that of Liang et al. (arXiv 2505.16056; ljcleo/moe-lrc @ 61c86cf, ``src/30``
and ``src/31``): for every expert and every window of m tokens, c is how many of the window's tokens are routed to it.
"Keep the expert for the whole window" is predicted where c >= p. With matches the sum of c over kept windows,
predictions m for each of them, and activations the sum of c over all windows, SRP is the largest
F1 = 2 matches / (predictions + activations) over p. Counts are pooled over experts, layers and sequences before.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workloads.errors import InputError
from workloads.traces.routing import RoutingStream

__all__ = ["RoutingStatistics", "SegmentRouting", "routing_statistics", "segment_routing", "zipf_exponent"]


@dataclass(frozen=True)
class SegmentRouting:
    """``srp``: the best F1, reached by keeping experts with at least ``threshold`` uses in a window of ``tokens``.

    ``best_m`` is predictions over activations there: the kept experts as a multiple of the active ones.
    """

    tokens: int
    srp: float
    threshold: int
    best_m: float


@dataclass(frozen=True, eq=False)
class RoutingStatistics:
    """``popularity[layer, expert]``: share of the layer's picks; ``zipf``: exponent of its law, mean over layers.

    ``repeat_share``: how many of a token's picks the same sequence used in the step before; None for one step.
    ``frequency_deviation``: standard deviation over experts of the share of tokens that use one, mean over layers.
    """

    popularity: NDArray[np.float64]
    zipf: float
    repeat_share: float | None
    frequency_deviation: float


def zipf_exponent(shares: NDArray[np.float64]) -> float:
    """Exponent s of popularity proportional to rank^-s, by least squares on logarithms over the shares above 0.

    >>> round(zipf_exponent(1 / np.arange(1, 9) ** 0.7), 6)
    0.7
    """
    used = np.sort(shares[shares > 0])[::-1]
    if used.size < 2:
        return 0.0
    slope = np.polyfit(np.log(np.arange(1, used.size + 1)), np.log(used), 1)[0]
    return -float(slope) + 0.0


def routing_statistics(stream: RoutingStream) -> RoutingStatistics:
    """Statistics over all steps and sequences."""
    picks = stream.picks
    popularity = np.empty((stream.layers, stream.experts))
    for layer in range(stream.layers):
        counts = np.bincount(picks[:, layer].ravel(), minlength=stream.experts)
        popularity[layer] = counts / counts.sum()
    repeats = None
    if stream.steps > 1:
        same = (picks[1:, ..., :, None] == picks[:-1, ..., None, :]).any(axis=-1)
        repeats = float(same.mean())
    zipf = float(np.mean([zipf_exponent(row) for row in popularity]))
    deviation = float((popularity * picks.shape[-1]).std(axis=1).mean())
    return RoutingStatistics(popularity, zipf, repeats, deviation)


def segment_routing(stream: RoutingStream, tokens: int) -> SegmentRouting:
    """SRP for windows of ``tokens`` consecutive steps of each sequence; the smallest best threshold.

    Raises `InputError` where the stream has fewer steps.
    """
    if not 1 <= tokens <= stream.steps:
        raise InputError(
            f"segments of {tokens} tokens in a stream of {stream.steps} steps",
            expected=f"1 to {stream.steps}",
            field="segment",
        )
    steps, layers, sequences, _ = stream.picks.shape
    windows_of = np.zeros(tokens + 1, dtype=np.int64)
    for layer in range(layers):
        used = np.zeros((steps + 1, sequences, stream.experts), dtype=np.int32)
        np.put_along_axis(used[1:], stream.picks[:, layer], 1, axis=-1)
        run = np.cumsum(used, axis=0)
        windows_of += np.bincount((run[tokens:] - run[:-tokens]).ravel(), minlength=tokens + 1)
    uses = np.arange(tokens + 1)
    matches = np.cumsum((windows_of * uses)[::-1])[::-1]
    predictions = np.cumsum(windows_of[::-1])[::-1] * tokens
    activations = int(matches[0])
    scores = 2 * matches / (predictions + activations)
    best = int(np.argmax(scores))
    return SegmentRouting(tokens, float(scores[best]), best, float(predictions[best] / activations))
