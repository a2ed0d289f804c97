"""Joining the Einsums of a cascade: which share loops, what stays on chip between them, and whether it fits.

Einsums run in order. An intermediate that stays on chip is stored under some loops; its producer and its consumers run
inside them. So at any time the open loops form a chain of *frames*, each frame inside the one before. The joint search
walks the Einsums once and keeps, for each set of open frames and living tensors, the partial mappings that no other
dominates in energy, latency and room taken in every frame.

The method follows the idea of fusing by compatible partial mappings (Gilbert et al., "Fast and Fusiest", 2026).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mappers.mapspace.problem import CascadeProblem, EinsumProblem
from mappers.search.einsum import Candidate, Deal, Tile

__all__ = ["Frame", "Joined", "join", "merged_chain"]


class Frame(NamedTuple):
    """Open loops that leave ``tile``; frame 0 has none.

    ``live`` are bits of intermediates stored here, ``peak`` the most that was needed inside the frame at any time,
    ``outer`` bits of single Einsums' tiles that stand just outside the frame's loops and stay while they run.
    """

    tile: Tile
    live: float = 0.0
    peak: float = 0.0
    outer: float = 0.0


class _Alive(NamedTuple):
    frame: int
    bits: float
    deal: Deal = ()
    pending: bool = False  # written inside deeper loops that are still open: not yet whole
    dying: bool = False  # last read inside deeper loops that are still open
    away: bool = False  # passes through the root: here only as long as it is pending


class Joined(NamedTuple):
    """A mapping of the Einsums so far: totals, open frames, living tensors, and the nest chosen for each Einsum."""

    energy_j: float
    latency_s: float
    frames: tuple[Frame, ...]
    alive: tuple[tuple[str, _Alive], ...]
    chosen: tuple[Candidate, ...]


def join(
    problem: CascadeProblem,
    candidates: Sequence[Sequence[Candidate]],
    capacity_bits: float,
    admissible: Callable[[float, float, int], bool],
    rank: Callable[[float, float], tuple[float, float]],
    sums: bool,
    stop: Callable[[], bool],
    span: tuple[int, int] | None = None,
) -> Joined | None:
    """The best way to run the Einsums one after the other, one candidate each; None when no combination fits.

    ``admissible(energy, latency, done)`` is False where the Einsums left cannot bring the total within the bound;
    ``rank`` orders totals; with ``sums`` it is additive, so that the order of partial totals decides, without it both
    energy and latency must be kept. ``capacity_bits`` is the room of the level below the root. Deterministic: equal
    totals go to the combination met first. ``span`` joins only the Einsums from its first place up to its second: what
    comes from outside is there for nothing, what goes outside leaves at once, so the result bounds the whole from
    below.
    """
    first, end = span or (0, len(problem.einsums))
    inside = [problem.einsums[place].output.tensor for place in range(first, end)]
    states: list[Joined] = [Joined(0.0, 0.0, (Frame(()),), (), ())]
    last_use = {
        tensor: max((place for place in problem.consumers(tensor) if place < end), default=-1)
        for tensor in problem.intermediates
    }
    for place in range(first, end):
        einsum = problem.einsums[place]
        index = _by_operands(einsum, candidates[place], inside)
        names = {use.tensor for use in einsum.operands if use.intermediate}
        grown: dict[object, _Kept] = {}
        least = (math.inf, math.inf)
        for state in states:
            if stop():
                return None
            alive = dict(state.alive)
            used = [(name, alive[name]) for name in names if name in alive]
            if any(what.pending for _, what in used):
                continue
            key = tuple(sorted((name, state.frames[what.frame].tile, what.deal) for name, what in used))
            for candidate in index.get(key, ()):
                energy, latency = state.energy_j + candidate.energy_j, state.latency_s + candidate.latency_s
                if place + 1 == end and rank(energy, latency) > least:
                    continue  # nothing comes after it, so of what is kept only the best counts
                if not admissible(energy, latency, place + 1):
                    continue
                new = _extend(state, candidate, place, problem, last_use, capacity_bits)
                if new is not None:
                    if place + 1 == end:
                        least = rank(energy, latency)
                    group = (tuple(frame.tile for frame in new.frames), new.alive)
                    kept = grown.setdefault(group, _Kept(lexical=sums))
                    kept.insert(new, rank(energy, latency) if sums else (energy, latency))
        states = [state for group in grown.values() for state in group.states]
        if not states:
            return None
    return min(states, key=lambda state: rank(state.energy_j, state.latency_s))


def _by_operands(
    einsum: EinsumProblem, candidates: Sequence[Candidate], inside: Sequence[str]
) -> dict[tuple[tuple[str, Tile, Deal], ...], list[Candidate]]:
    """The candidates by what they read of the tensors ``inside`` on chip: each tensor, its tile and how it is dealt."""
    found: dict[tuple[tuple[str, Tile, Deal], ...], list[Candidate]] = {}
    lists: dict[tuple[object, ...], list[Candidate]] = {}
    for candidate in candidates:
        # Candidates share heads, of which there are few: what follows is worked out once for each.
        alike = (id(candidate.head), candidate.placement.chains, candidate.lanes)
        if alike not in lists:
            on_chip = candidate.on_chip
            known = [s for s in candidate.head if s.tensor in on_chip and s.tensor in inside]
            known = [s for s in known if s.tensor != einsum.output.tensor]
            key = tuple(sorted((s.tensor, s.tile, candidate.deal(einsum.by_tensor[s.tensor])) for s in known))
            lists[alike] = found.setdefault(key, [])
        lists[alike].append(candidate)
    return found


def _extend(
    state: Joined,
    candidate: Candidate,
    place: int,
    problem: CascadeProblem,
    last_use: dict[str, int],
    capacity_bits: float,
) -> Joined | None:
    einsum = problem.einsums[place]
    on_chip = candidate.on_chip
    prefix = candidate.head
    deepest = prefix[-1].tile if prefix else ()
    if not _contains(state.frames[-1].tile, deepest):
        return None  # some living tensor's loops are open, and this Einsum does not run inside them
    tiles = merged_chain([frame.tile for frame in state.frames], [store.tile for store in prefix])
    if tiles is None:
        return None
    frames = _with_frames(state.frames, tiles)
    place_of = {frame.tile: index for index, frame in enumerate(frames)}
    moved = [place_of[frame.tile] for frame in state.frames]
    alive = {
        name: what
        if moved[what.frame] == what.frame
        else _Alive(moved[what.frame], what.bits, what.deal, what.pending, what.dying, what.away)
        for name, what in state.alive
    }
    inside = len(frames) - 1
    output = einsum.output.tensor
    for store in prefix:
        f = place_of[store.tile]
        if store.tensor in on_chip:
            if store.tensor == output and output not in alive:
                alive[output] = _Alive(f, store.bits, candidate.deal(einsum.output), pending=f < inside)
                frames[f] = _with_live(frames[f], store.bits)
        elif f < inside:
            frame = frames[f + 1]
            frames[f + 1] = Frame(frame.tile, frame.live, frame.peak, frame.outer + store.bits)
    if einsum.output.intermediate and output not in on_chip:
        whole = _unsummed(tiles, einsum)
        if whole < inside:
            alive[output] = _Alive(whole, 0.0, pending=True, away=True)
    need = frames[inside].live + candidate.own_bits
    for f in range(inside, -1, -1):
        frame = frames[f]
        if need > frame.peak:
            frames[f] = frame = Frame(frame.tile, frame.live, need, frame.outer)
        if f:
            need = frames[f - 1].live + frame.outer + frame.peak
    if frames[0].peak > capacity_bits:
        return None
    for use in einsum.uses:
        what = alive.get(use.tensor)
        if what is not None and last_use[use.tensor] <= place:
            if what.frame == inside:
                frames[what.frame] = _with_live(frames[what.frame], -what.bits)
                del alive[use.tensor]
            else:
                alive[use.tensor] = what._replace(dying=True)
    deepest_live = max((what.frame for what in alive.values() if not what.dying and not what.away), default=0)
    for name, what in list(alive.items()):
        if what.frame >= deepest_live:
            if what.dying or what.away:
                frames[what.frame] = _with_live(frames[what.frame], -what.bits)
                del alive[name]
            elif what.pending:
                alive[name] = what._replace(pending=False)
    return Joined(
        state.energy_j + candidate.energy_j,
        state.latency_s + candidate.latency_s,
        tuple(frames[: deepest_live + 1]),
        tuple(sorted(alive.items())),
        (*state.chosen, candidate),
    )


def _unsummed(tiles: Sequence[Tile], einsum: EinsumProblem) -> int:
    """The innermost of the open loops that is not inside one over a rank that the Einsum sums."""
    place = 0
    while place + 1 < len(tiles) and all(
        rank in einsum.output.ranks or rank not in einsum.size for rank, _ in tiles[place + 1]
    ):
        place += 1
    return place


def _with_live(frame: Frame, bits: float) -> Frame:
    return Frame(frame.tile, frame.live + bits, frame.peak, frame.outer)


def merged_chain(one: Sequence[Tile], two: Sequence[Tile]) -> list[Tile] | None:
    """The tiles of both chains, outermost first; None when loops of one would have to cross loops of the other."""
    tiles = sorted(dict.fromkeys((*one, *two)), key=_depth)
    for outer, inner in itertools.pairwise(tiles):
        if not _contains(outer, inner):
            return None
    return tiles


def _with_frames(frames: Sequence[Frame], tiles: Sequence[Tile]) -> list[Frame]:
    """The frames with new ones for tiles that have none: one between two open frames has all that the inner had."""
    known = {frame.tile: index for index, frame in enumerate(frames)}
    found: list[Frame] = []
    for place, tile in enumerate(tiles):
        if tile in known:
            index = known[tile]
            new_outside = place > 0 and tiles[place - 1] not in known
            frame = frames[index]
            found.append(Frame(frame.tile, frame.live, frame.peak, 0.0) if new_outside else frame)
            continue
        inner = next((frames[known[t]] for t in tiles[place + 1 :] if t in known), None)
        if inner is None:
            found.append(Frame(tile))
            continue
        first_new = tiles[place - 1] in known
        found.append(Frame(tile, 0.0, inner.peak, inner.outer if first_new else 0.0))
    return found


def _depth(tile: Tile) -> tuple[int, int, Tile]:
    """Sorts the tiles of a chain outermost first: more ranks cut, and smaller pieces, stand further in."""
    return len(tile), -math.prod(size for _, size in tile), tile


def _contains(outer: Tile, inner: Tile) -> bool:
    """True when the loops that leave ``inner`` can stand inside those that leave ``outer``."""
    cut = dict(inner)
    return all(rank in cut and cut[rank] <= size for rank, size in outer)


Rows = NDArray[Any]


class _Kept:
    """States with the same tiles open and the same intermediates alive, none of which is no worse than another.

    One row of ``_keys`` for each: what it costs (two numbers, which with ``lexical`` count in that order), then the
    peak and the outer room of every frame. Rows are compared all at once: most of a search is spent here.
    """

    def __init__(self, lexical: bool) -> None:
        self.states: list[Joined] = []
        self._lexical = lexical
        self._keys = np.empty((0, 0))

    def insert(self, new: Joined, cost: tuple[float, float]) -> None:
        """Keep ``new`` unless a state kept is no worse; drop those it is no worse than."""
        key = np.array([*cost, *(f.peak for f in new.frames), *(f.outer for f in new.frames)])
        count = len(self.states)
        if count:
            keys = self._keys[:count]
            rest = keys[:, 2:]
            if (self._cheaper(keys, key, np.less) & (rest <= key[2:]).all(axis=1)).any():
                return
            worse = self._cheaper(keys, key, np.greater) & (rest >= key[2:]).all(axis=1)
            if worse.any():
                left = np.flatnonzero(~worse)
                self.states = [self.states[place] for place in left.tolist()]
                count = len(left)
                self._keys[:count] = keys[left]
        if count == len(self._keys):
            larger = np.empty((max(8, 2 * count), len(key)))
            larger[:count] = self._keys[:count].reshape(count, len(key))
            self._keys = larger
        self._keys[count] = key
        self.states.append(new)

    def _cheaper(self, keys: Rows, key: Rows, strictly: Callable[[Rows, Rows | float], Rows]) -> Rows:
        """Which rows cost no more than ``key`` (``strictly`` is less) or no less (it is greater)."""
        first, second = strictly(keys[:, 0], key[0]), strictly(keys[:, 1], key[1]) | (keys[:, 1] == key[1])
        equal = keys[:, 0] == key[0]
        cheaper: Rows = first | (equal & second) if self._lexical else (first | equal) & second
        return cheaper
