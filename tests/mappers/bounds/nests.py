"""Every one-level loop nest of a small matrix product, walked step by step: what it holds and what it moves."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

RELEVANT = {"A": "mk", "B": "nk", "C": "mn"}
RANKS = "mnk"


def tilings(size: int, depth: int) -> Iterator[tuple[int, ...]]:
    """Every way to cut a rank ``depth`` times in a row, into whole tiles or not."""
    for tiles in itertools.product(range(size, 0, -1), repeat=depth):
        if all(inner <= outer for outer, inner in itertools.pairwise((size, *tiles))):
            yield tiles


def nests(sizes: dict[str, int]) -> Iterator[tuple[tuple[str, ...], list[list[tuple[str, int]]]]]:
    """(order of the stores, the loops above each): all tiles, all that matters of the order of loops.

    Of the loops between two stores only the last rank decides what stays where it is.
    """
    per_rank = [list(tilings(sizes[rank], 3)) for rank in RANKS]
    for stores in itertools.permutations("ABC"):
        for cuts in itertools.product(*per_rank):
            gaps = []
            before = sizes
            for place in range(3):
                now = {rank: cuts[i][place] for i, rank in enumerate(RANKS)}
                gaps.append([(rank, now[rank]) for rank in RANKS if now[rank] < before[rank]])
                before = now
            orders = [
                [[loop for loop in gap if loop != last] + [last] for last in gap] if gap else [[]] for gap in gaps
            ]
            for chosen in itertools.product(*orders):
                yield stores, list(chosen)


def footprint(sizes: dict[str, int], stores: tuple[str, ...], gaps: list[list[tuple[str, int]]]) -> int:
    """Words on chip: the largest tile of each tensor where it is stored."""
    tile, total = dict(sizes), 0
    for tensor, gap in zip(stores, gaps, strict=True):
        tile.update(gap)
        total += tile[RELEVANT[tensor][0]] * tile[RELEVANT[tensor][1]]
    return total


def walked_traffic(sizes: dict[str, int], stores: tuple[str, ...], gaps: list[list[tuple[str, int]]]) -> int:
    """Words read and written, by running the loops and watching the tile under each store change."""
    total = 0
    for place, tensor in enumerate(stores):
        loops = [loop for gap in gaps[: place + 1] for loop in gap]
        previous: tuple[tuple[int, int], ...] | None = None
        seen: set[tuple[tuple[int, int], ...]] = set()
        for tile in _walk({rank: (0, size) for rank, size in sizes.items()}, loops):
            kept = tuple(tile[rank] for rank in RELEVANT[tensor])
            if kept == previous:
                continue
            words = (kept[0][1] - kept[0][0]) * (kept[1][1] - kept[1][0])
            total += words  # A, B: read. C: written when it leaves
            if tensor == "C" and kept in seen:
                total += words  # partial sums come back
            seen.add(kept)
            previous = kept
    return total


def _walk(tile: dict[str, tuple[int, int]], loops: list[tuple[str, int]]) -> Iterator[dict[str, tuple[int, int]]]:
    if not loops:
        yield tile
        return
    (rank, step), rest = loops[0], loops[1:]
    start, end = tile[rank]
    for low in range(start, end, step):
        yield from _walk({**tile, rank: (low, min(low + step, end))}, rest)
