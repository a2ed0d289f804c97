"""A batch of sequences of unlike lengths on ranks that hold the same weights: who takes what, and when all are done.

A unit of work is one or more packed sequences on one or more ranks, each with the same share of every sequence. Plans
(Ge et al., ByteScale, arXiv 2502.21231):

- `static_units`: a mesh of dp x cp ranks. Sequences are packed up to what cp ranks hold and always take all cp.
- `hybrid_units`: short sequences are packed to what one rank holds and stay there, a long one takes as many ranks as it
  needs (algorithm 1); what is offloaded to the host needs no room (equation 3).

`in_order` deals units out as they come, `balanced` longest first to the ranks that are free first, so that ranks do as
much work and not as many tokens (algorithm 2). Ranks of a unit begin it together; a rank does its units one by one.
"""

from __future__ import annotations

import heapq
import math
from bisect import bisect_left, insort
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workloads.errors import InputError

__all__ = [
    "LengthCosts",
    "Plan",
    "Unit",
    "balanced",
    "hybrid_units",
    "in_order",
    "mean_s",
    "offloaded_share",
    "pack",
    "static_units",
    "unit_s",
]


@dataclass(frozen=True)
class LengthCosts:
    """What a sequence costs one rank, forward and backward, over all layers.

    ``token_s``: a token in everything but attention. ``pair_s``: a pair of tokens in causal attention. ``passed_s``:
    the keys, values and their gradients of a token passed to one other rank. ``kept_bytes``: kept of a token for the
    backward pass, which travel to the host at ``host_rate``. ``layers``: how many of which two always stay.
    ``contention``: seconds that attention loses for each second in which keys and values pass by beside it.
    """

    token_s: float
    pair_s: float
    passed_s: float
    kept_bytes: float
    host_rate: float
    layers: int
    contention: float = 0.0


@dataclass(frozen=True)
class Unit:
    """Sequences of ``lengths`` that ``ranks`` ranks work on together."""

    lengths: tuple[int, ...]
    ranks: int

    @property
    def tokens(self) -> int:
        """Tokens of all its sequences."""
        return sum(self.lengths)


@dataclass(frozen=True)
class Plan:
    """Units in the order in which ranks take them, and the ranks of each."""

    units: tuple[Unit, ...]
    ranks: tuple[tuple[int, ...], ...]

    def finish_s(self, costs: LengthCosts, count: int) -> NDArray[np.float64]:
        """When each of ``count`` ranks has done its units."""
        ready = np.zeros(count)
        for unit, ranks in zip(self.units, self.ranks, strict=True):
            members = list(ranks)
            ready[members] = ready[members].max() + unit_s(unit, costs)
        return ready

    def busy_s(self, costs: LengthCosts, count: int) -> NDArray[np.float64]:
        """How long each rank works."""
        busy = np.zeros(count)
        for unit, ranks in zip(self.units, self.ranks, strict=True):
            busy[list(ranks)] += unit_s(unit, costs)
        return busy


def unit_s(unit: Unit, costs: LengthCosts) -> float:
    """Seconds of ``unit`` on its ranks: keys and values pass by beside attention, over all ranks but the own."""
    pairs = sum(length * (length + 1) / 2 for length in unit.lengths)
    attending = pairs * costs.pair_s / unit.ranks
    passing = (unit.ranks - 1) * unit.tokens / unit.ranks * costs.passed_s
    beside = costs.contention * min(attending, passing)
    return unit.tokens * costs.token_s / unit.ranks + max(attending, passing) + beside


def pack(lengths: Sequence[int], room: int) -> list[tuple[int, ...]]:
    """Sequences in bins of ``room`` tokens, each in the fullest bin that it fits, in the order given.

    Raises `InputError` for a sequence that is longer than a bin.
    """
    bins: list[list[int]] = []
    left: list[tuple[int, int]] = []
    for length in lengths:
        if length > room:
            raise InputError(f"a sequence of {length:,} tokens", f"at most {room:,}", "lengths")
        best = bisect_left(left, (length, -1))
        if best < len(left):
            free, at = left.pop(best)
        else:
            free, at = room, len(bins)
            bins.append([])
        bins[at].append(length)
        insort(left, (free - length, at))
    return [tuple(each) for each in bins]


def static_units(lengths: Sequence[int], capacity: int, cp: int) -> tuple[Unit, ...]:
    """Every pack of up to ``capacity * cp`` tokens on ``cp`` ranks."""
    return tuple(Unit(each, cp) for each in pack(lengths, capacity * cp))


def offloaded_share(length: int, costs: LengthCosts) -> float:
    """The share of what a sequence keeps that goes to the host and back behind its own work (equation 3)."""
    work_s = length * costs.token_s + length * (length + 1) / 2 * costs.pair_s
    return min(1.0, work_s / 3 * costs.host_rate / (length * costs.kept_bytes))


def hybrid_units(
    lengths: Sequence[int], capacity: int, costs: LengthCosts | None = None, most_s: float = math.inf
) -> tuple[Unit, ...]:
    """Long sequences on as many ranks as hold them, short ones packed on one.

    With ``costs`` what long ones keep is offloaded as far as that hides behind the forward pass, a third of the work,
    but for two layers, and as far as the fewer ranks that then hold a sequence do it within ``most_s``.
    """
    units = []
    for length in (length for length in lengths if length > capacity):
        whole = math.ceil(length / capacity)
        fewest = whole
        if costs is not None:
            share = offloaded_share(length, costs)
            held = (2 + (1 - share) * (costs.layers - 2)) / costs.layers
            fewest = max(1, math.ceil(length * held / capacity))
        units.append(_within(length, fewest, whole, costs, most_s))
    short = [length for length in lengths if length <= capacity]
    return (*units, *(Unit(each, 1) for each in pack(short, capacity)))


def _within(length: int, fewest: int, whole: int, costs: LengthCosts | None, most_s: float) -> Unit:
    """The sequence on the fewest ranks that do it within ``most_s``, or on as many as hold it without offloading."""
    while costs is not None and fewest < whole:
        middle = (fewest + whole) // 2
        if unit_s(Unit((length,), middle), costs) <= most_s:
            whole = middle
        else:
            fewest = middle + 1
    return Unit((length,), whole)


def mean_s(units: Sequence[Unit], count: int, costs: LengthCosts) -> float:
    """Seconds that ``count`` ranks would work on ``units`` if all worked as long."""
    return sum(unit.ranks * unit_s(unit, costs) for unit in units) / count


def in_order(units: Sequence[Unit], count: int) -> Plan:
    """Units dealt out to ``count`` ranks side by side; where a unit no longer fits beside the others, from the first.

    Raises `InputError` for a unit of more ranks than there are.
    """
    at, ranks = 0, []
    for unit in units:
        _check(unit, count)
        if at + unit.ranks > count:
            at = 0
        ranks.append(tuple(range(at, at + unit.ranks)))
        at = (at + unit.ranks) % count
    return Plan(tuple(units), tuple(ranks))


def balanced(units: Sequence[Unit], count: int, costs: LengthCosts) -> Plan:
    """The longest-lasting unit first, each on the ranks that are free first. Raises `InputError` as `in_order`."""
    order = sorted(units, key=lambda unit: -unit_s(unit, costs))
    free = [(0.0, rank) for rank in range(count)]
    ranks = []
    for unit in order:
        _check(unit, count)
        taken = [heapq.heappop(free) for _ in range(unit.ranks)]
        end = taken[-1][0] + unit_s(unit, costs)
        for _, rank in taken:
            heapq.heappush(free, (end, rank))
        ranks.append(tuple(sorted(rank for _, rank in taken)))
    return Plan(tuple(order), tuple(ranks))


def _check(unit: Unit, count: int) -> None:
    if unit.ranks > count:
        raise InputError(f"a sequence that needs {unit.ranks} ranks", f"at most {count}", "ranks")
