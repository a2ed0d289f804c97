"""The loops around a region: which rank streams, how the others are cut, what stays in the buffer, what goes around it.

The map space. One rank streams: its granules go by inside all other loops. Every other rank that can be cut has one
loop, in any order, with any tile that is a multiple of its granule and differs from the others in the number of tiles
(a larger tile with as many tiles holds more and moves as much). Inside stand the granules of the cut ranks. Batch ranks
are walked outside everything, one coordinate or one array's worth at a time: more of them at once would hold more and
move as much. Each tensor from the root, each sum and each running state has its tile at any depth of these loops. What
one pass over the streaming rank leaves for a later one is kept in the buffer, in place of what it was made from where
that is not needed any more; granules that do not fit go through the root.

Every combination is covered: depths are folded tensor by tensor, and only combinations that hold no more and move no
more than another one are carried on.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

from mappers.search.pipelined.region import Region

__all__ = ["Tiling", "tilings"]


@dataclass(frozen=True)
class Loops:
    """The loops of a region outside its granules; the first ``outer`` of them stand around all passes."""

    region: Region
    granule: Mapping[str, int]
    stream: str | None
    nest: tuple[tuple[str, int], ...]
    outer: int

    def tile(self, depth: int) -> dict[str, int]:
        """The tile below ``depth`` loops; ranks without a loop are whole."""
        tile = dict(self.region.size)
        tile.update({rank: self.granule[rank] for rank in self.region.batch})
        tile.update(self.nest[:depth])
        return tile

    def times(self, tensor: str, depth: int) -> int:
        """How often a tensor stored below ``depth`` loops is brought there, its own tiles counted as one."""
        return self.counts(tensor)[depth]

    def counts(self, tensor: str) -> tuple[int, ...]:
        """`times` at every depth: what counts are the loops over other ranks above the last one over its own."""
        region = self.region
        own, walked = region.own_ranks[tensor], region.walked[tensor]
        others: dict[str, int] = {}
        found = [1]
        for rank, tile in self.nest:
            times = found[-1]
            if rank in own:
                times = math.prod(others.values())
            elif rank in walked:
                others[rank] = -(-region.size[rank] // tile)
            found.append(times)
        return tuple(found)

    def visits(self, tensor: str) -> int:
        """In how many passes over the streaming rank the tensor is read."""
        if self.stream is None:
            return 1
        levels = self.region.levels[self.stream]
        return len({math.floor(levels[place]) for place in self.region.readers.get(tensor, ())}) or 1


@dataclass(frozen=True)
class Tiling:
    """One choice of loops and stores: root bits by tensor as (read, written), and what the buffer holds at most.

    ``depths`` says below how many loops each tensor is stored; ``spilled`` is the share of the tensors in ``crossing``
    that goes through the root between two passes.
    """

    loops: Loops
    depths: Mapping[str, int]
    crossing: tuple[str, ...]
    spilled: float
    root: Mapping[str, tuple[float, float]]
    usage_bits: float
    read_bits: float
    write_bits: float
    prices: tuple[float, float]


Pricing = Callable[[float, float], tuple[float, float]]
"""Bits read and written -> two prices, linear in them: all that time and energy depend on."""


@dataclass(frozen=True, slots=True)
class _Option:
    """A sum of stores: bits held, bits read and written, their prices, and the chosen depths."""

    bits: float
    first: float
    second: float
    moves: tuple[tuple[str, int, float, float], ...]


def tilings(
    region: Region, granule: Mapping[str, int], buffered: frozenset[str], capacity_bits: float, pricing: Pricing
) -> tuple[tuple[Tiling, ...], int, float]:
    """The tilings that no other one beats in both prices, how many were looked at, and the least bits any one holds.

    ``buffered`` tensors pass from array to array through the buffer.
    """
    best: list[Tiling] = []
    seen = 0
    smallest = math.inf
    plans: dict[tuple[str | None, frozenset[str]], _Plan] = {}
    for loops in _loops(region, granule):
        seen += 1
        key = (loops.stream, frozenset(rank for rank, _ in loops.nest))
        if key not in plans:
            plans[key] = _plan(loops, buffered, pricing)
        plan = plans[key]
        base = _granule_bits(loops, plan.passing)
        limits = [(t.prices[0] - plan.sent[0], t.prices[1] - plan.sent[1]) for t in best]
        items = _items(loops, plan.held, capacity_bits - base, limits, pricing)
        if items is None:
            continue
        if not best:
            crossing = _granule_bits(loops, itertools.chain.from_iterable(plan.crossing))
            smallest = min(smallest, base + crossing + sum(min(option.bits for option in item) for item in items))
        for option in _folded(items, capacity_bits - base, limits):
            tiling = _finished(loops, plan, option, base, capacity_bits, pricing)
            if tiling is not None and not any(_beats(other, tiling) for other in best):
                best = [other for other in best if not _beats(tiling, other)]
                best.append(tiling)
    return tuple(best), seen, smallest


@dataclass(frozen=True, slots=True)
class _Plan:
    """What loops over the same ranks share. ``held`` tensors have a choice of depth: those from the root, sums and
    running states. ``streaming`` ones leave granule by granule, at the prices ``sent``. ``passing`` granules lie in the
    buffer between arrays. ``crossing`` is grouped by the place that tensors share from pass to pass.
    """

    held: tuple[str, ...]
    streaming: tuple[str, ...]
    passing: tuple[str, ...]
    crossing: tuple[tuple[str, ...], ...]
    sent: tuple[float, float]


def _plan(loops: Loops, buffered: frozenset[str], pricing: Pricing) -> _Plan:
    region = loops.region
    looped = dict(loops.nest)
    sums = [t for t in region.writers if any(region.accumulates(t, rank) for rank in looped)]
    held = tuple(dict.fromkeys((*region.loaded, *sums)))
    streaming = tuple(t for t in region.sent if t not in held or t in region.loaded or region.carried.get(t))
    crossing = _crossing(loops)
    kept = {*held, *itertools.chain.from_iterable(crossing)}
    passing = tuple(tensor for tensor in region.writers if tensor in buffered and tensor not in kept)
    return _Plan(held, streaming, passing, crossing, pricing(0.0, sum(_sent_bits(region, t) for t in streaming)))


def _items(
    loops: Loops, held: tuple[str, ...], room: float, limits: list[tuple[float, float]], pricing: Pricing
) -> list[tuple[_Option, ...]] | None:
    """The options of each tensor; None as soon as even the best that fit cannot stay below ``limits``."""
    items = []
    first = second = 0.0
    for tensor in held:
        item = _options(loops, tensor, pricing)
        items.append(item)
        if limits:
            fitting = [option for option in item if option.bits <= room]
            if not fitting:
                return None
            first += min(option.first for option in fitting)
            second += min(option.second for option in fitting)
            if any(a <= first and b <= second for a, b in limits):
                return None
    return items


def _beats(one: Tiling, other: Tiling) -> bool:
    return one.prices[0] <= other.prices[0] and one.prices[1] <= other.prices[1]


def _loops(region: Region, granule: Mapping[str, int]) -> Iterator[Loops]:
    cuttable = [rank for rank in region.cuttable if granule[rank] < region.size[rank]]
    streams: list[str | None] = [rank for rank in region.streamed if granule[rank] < region.size[rank]]
    for stream in [*streams, *cuttable] or [None]:
        others = [rank for rank in cuttable if rank != stream]
        orders = set()
        for tiles in itertools.product(*(_tiles(region.size[rank], granule[rank]) for rank in others)):
            for order in itertools.permutations(zip(others, tiles, strict=True)):
                outer = tuple((rank, tile) for rank, tile in order if tile < region.size[rank])
                inner = tuple((rank, granule[rank]) for rank, tile in order if tile > granule[rank])
                middle = () if stream is None else ((stream, granule[stream]),)
                nest = (*outer, *middle, *inner)
                if nest not in orders:
                    orders.add(nest)
                    yield Loops(region, granule, stream, nest, len(outer))


def _tiles(size: int, granule: int) -> tuple[int, ...]:
    """Multiples of the granule, each the smallest with its number of tiles, largest first; the last may be short."""
    granules = math.ceil(size / granule)
    found = dict.fromkeys(math.ceil(granules / count) for count in range(1, math.isqrt(granules) + 2))
    found |= dict.fromkeys(range(math.isqrt(granules) + 1, 0, -1))
    smallest = {math.ceil(granules / tile): tile for tile in sorted(found, reverse=True)}
    return tuple(min(size, tile * granule) for tile in sorted(smallest.values(), reverse=True))


def _sent_bits(region: Region, tensor: str) -> float:
    return float(region.sent_elements(tensor)) * region.uses[tensor].bits


def _options(loops: Loops, tensor: str, pricing: Pricing) -> tuple[_Option, ...]:
    """Depths of one store that no other depth beats."""
    region = loops.region
    bits = region.uses[tensor].bits
    made = tensor in region.writers
    whole = float(region.elements(tensor, region.size, live=made)) * bits
    found: list[_Option] = []
    own = region.own_ranks[tensor]
    times_by_depth = loops.counts(tensor)
    for depth, times in enumerate(times_by_depth):
        if depth and loops.nest[depth - 1][0] not in own:
            continue  # holds as much as one loop further out, and is brought no less often
        read = write = 0.0
        if tensor in region.loaded:
            read = whole * times * (loops.visits(tensor) if depth > loops.outer else 1)
        else:
            sent = tensor in region.sent and not region.carried.get(tensor)
            write = whole * (times if times > 1 or sent else 0)
            read = whole * ((times - 1 if sent else times) if times > 1 else 0)
        held = float(region.elements(tensor, loops.tile(depth), live=made)) * bits
        option = _Option(held, *pricing(read, write), ((tensor, depth, read, write),))
        if not any(_no_worse(other, option) for other in found):
            found = [other for other in found if not _no_worse(option, other)]
            found.append(option)
    return tuple(found)


def _no_worse(one: _Option, other: _Option) -> bool:
    return one.bits <= other.bits and one.first <= other.first and one.second <= other.second


def _folded(items: list[tuple[_Option, ...]], room: float, limits: list[tuple[float, float]]) -> tuple[_Option, ...]:
    """The sums of one option of each item that fit, that no other sum beats, and that stay below ``limits``."""
    found = [_Option(0.0, 0.0, 0.0, ())]
    for place, item in enumerate(items):
        rest = items[place + 1 :]
        bits = room - sum(min(option.bits for option in other) for other in rest)
        first = sum(min(option.first for option in other) for other in rest)
        second = sum(min(option.second for option in other) for other in rest)
        ends = [(a - first, b - second) for a, b in limits]
        grown = sorted(
            (
                _Option(a.bits + b.bits, a.first + b.first, a.second + b.second, a.moves + b.moves)
                for a in found
                for b in item
                if a.bits + b.bits <= bits
            ),
            key=lambda option: (option.bits, option.first, option.second),
        )
        found = []
        for option in grown:
            if any(a <= option.first and b <= option.second for a, b in ends):
                continue
            if not any(o.first <= option.first and o.second <= option.second for o in found):
                found.append(option)
    return tuple(found) if room >= 0 else ()


def _crossing(loops: Loops) -> tuple[tuple[str, ...], ...]:
    """Tensors that one pass over the streaming rank leaves for a later one, grouped by the place they share."""
    region, stream = loops.region, loops.stream
    if stream is None or stream not in region.streamed:
        return ()
    groups: list[list[str]] = []
    levels = region.levels[stream]
    for tensor, writers in region.writers.items():
        if tensor in region.loaded or not region.crosses(tensor, stream):
            continue
        operands = {use.tensor for place in writers for use in region.einsums[place].operands}
        for group in groups:
            before = group[-1]
            last = max(math.floor(levels[place]) for place in region.readers[before])
            same = region.uses[before].ranks == region.uses[tensor].ranks
            if before in operands and same and last <= math.floor(levels[writers[-1]]):
                group.append(tensor)
                break
        else:
            groups.append([tensor])
    return tuple(tuple(group) for group in groups)


def _granule_bits(loops: Loops, tensors: Iterable[str]) -> float:
    tile = loops.tile(len(loops.nest))
    return float(sum(loops.region.elements(t, tile) * loops.region.uses[t].bits for t in tensors))


def _finished(
    loops: Loops, plan: _Plan, option: _Option, base: float, capacity_bits: float, pricing: Pricing
) -> Tiling | None:
    """``option`` with what crosses passes kept as far as it fits; None when not even single granules fit."""
    region, crossing = loops.region, plan.crossing
    root = {tensor: (read, write) for tensor, _, read, write in option.moves}
    for tensor in plan.streaming:
        read, write = root.get(tensor, (0.0, 0.0))
        root[tensor] = (read, write + _sent_bits(region, tensor))
    used = option.bits + base
    kept = spilled = 0.0
    if crossing and loops.stream is not None:
        granules = math.ceil(region.size[loops.stream] / loops.granule[loops.stream])
        slab = {**loops.tile(loops.outer), loops.stream: loops.granule[loops.stream]}
        each = sum(max(region.elements(t, slab) * region.uses[t].bits for t in group) for group in crossing)
        kept = granules
        if used + each * granules > capacity_bits:
            used += _granule_bits(loops, itertools.chain.from_iterable(crossing))
            kept = (capacity_bits - used) // each
        used += each * max(0.0, kept)
        spilled = 1.0 - kept / granules
        levels = region.levels[loops.stream]
        for tensor in itertools.chain.from_iterable(crossing) if spilled else ():
            made = math.floor(levels[region.writers[tensor][-1]])
            later = {math.floor(levels[place]) for place in region.readers[tensor]} - {made}
            bits = spilled * region.elements(tensor, region.size) * region.uses[tensor].bits
            read, write = root.get(tensor, (0.0, 0.0))
            root[tensor] = (read + bits * len(later), write + bits)
    if used > capacity_bits:
        return None
    reads, writes = (sum(bits[way] for bits in root.values()) for way in (0, 1))
    return Tiling(
        loops=loops,
        depths={tensor: depth for tensor, depth, _, _ in option.moves},
        crossing=tuple(itertools.chain.from_iterable(crossing)),
        spilled=spilled,
        root=root,
        usage_bits=used,
        read_bits=reads,
        write_bits=writes,
        prices=pricing(reads, writes),
    )
