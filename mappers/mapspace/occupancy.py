"""How full each level gets: which tiles are there at the same time."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from hw.spec.hierarchy import Hierarchy
from mappers.mapspace.pieces import RankCuts, largest_share
from mappers.mapspace.tree import Path, fill_position

__all__ = ["usage_bits"]

K = TypeVar("K", bound=Hashable)


def usage_bits(found: Sequence[Path], cuts: Sequence[Mapping[str, RankCuts]], hierarchy: Hierarchy) -> dict[str, float]:
    """Level -> the most bits that its fullest instance holds at any time.

    A tile stays from its first user to its last where no loop comes back to the first, else for the whole loop. At the
    root a tensor is held whole; what the cascade makes and uses itself from its maker to its last reader.
    """
    moments = 1 + max(path.moment for path in found)
    whole: dict[str, _Held] = {}
    tiles: dict[int, _Held] = {}
    users: dict[int, list[int]] = {}
    for place, (path, ranks) in enumerate(zip(found, cuts, strict=True)):
        levels = hierarchy.path(path.compute.unit)
        for use in path.einsum.uses:
            for store in path.chain(use.tensor):
                if store.level == hierarchy.root:
                    span = (path.moment, path.moment) if use.intermediate else (0, moments - 1)
                    _hold(whole, use.tensor, store.level, use.elements(path.einsum.size) * use.bits, span)
                    continue
                users.setdefault(store.node, []).append(place)
                start = fill_position(path, use, store, found)
                leaves = [at for at, other in enumerate(found) if path.shared(other) >= start]
                first, last = users[store.node][0], place
                span = _edge(found, first, leaves, start, 0), _edge(found, last, leaves, start, -1)
                size = largest_share(use, ranks, store.position, levels.index(store.level)) * use.bits
                _hold(tiles, store.node, store.level, size, span)
    held: dict[str, list[int]] = {}
    for tile in (*tiles.values(), *whole.values()):
        row = held.setdefault(tile.level, [0] * moments)
        for moment in range(tile.start, tile.end + 1):
            row[moment] += tile.size
    return {level: float(max(held[level])) for level in hierarchy.levels if level in held}


@dataclass
class _Held:
    """A tile of ``size`` bits, held from moment ``start`` to ``end``."""

    level: str
    size: int
    start: int
    end: int


def _hold(held: dict[K, _Held], key: K, level: str, size: int, span: tuple[int, int]) -> None:
    known = held.setdefault(key, _Held(level, size, *span))
    known.size = max(known.size, size)
    known.start, known.end = min(known.start, span[0]), max(known.end, span[1])


def _edge(found: Sequence[Path], user: int, leaves: Sequence[int], position: int, edge: int) -> int:
    """First (``edge`` 0) or last (-1) moment at which ``user`` makes a tile filled at ``position`` be held.

    ``leaves`` are all Einsums below that place. A loop above the branch comes back to it, and so the tile is held
    through all nests of the branch; otherwise through as much of the user's own nest.
    """
    path = found[user]
    branch = min(path.shared(found[other]) for other in leaves)
    if len(leaves) > 1 and path.walked(position, branch):
        return found[leaves[edge]].moment
    inside = [other for other in leaves if other == user or path.shared(found[other]) > branch]
    return path.moment if len(inside) == 1 else _edge(found, user, inside, branch, edge)
