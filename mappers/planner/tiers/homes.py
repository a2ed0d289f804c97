"""Where tensors may live when each has one home for good: the candidates that streaming is played with.

What is read more often per byte, or must be brought up to date elsewhere, goes nearer. Among equals either the first
ones in the order of their use stay near, as the simulator's own rule has it, or they are spread evenly, so that the far
tiers' routes are busy all the time and not only while the far layers are on.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mappers.planner.tiers.problem import Tensor, TierProblem

__all__ = ["ROOMS", "Candidate", "candidate_homes", "finer_rooms"]

_SMALL = 1e-4  # of the compute tier: what is smaller is kept there rather than counted out
ROOMS = (0.0, 1.0, 1.25, 1.375, 1.5, 1.75, 2.0, 2.5, 3.0, 4.0)
_USUAL = 0.95  # of the intervals: what more than these read is out of the ordinary


def _interval_bytes(problem: TierProblem) -> list[float]:
    """Bytes that each interval reads."""
    reads = [0.0] * len(problem.intervals)
    for tensor in problem.tensors:
        for at in tensor.reads:
            reads[at] += tensor.bytes
    return reads


def _oversized(problem: TierProblem) -> frozenset[str]:
    """Tensors of the few intervals that read more than nearly all others do: room to stream them would lie idle."""
    reads = _interval_bytes(problem)
    usual = sorted(reads)[int(_USUAL * (len(reads) - 1))]
    large = {at for at, size in enumerate(reads) if size > usual}
    return frozenset(tensor.name for tensor in problem.tensors if large & set(tensor.reads))


@dataclass(frozen=True)
class Candidate:
    """Homes, and how they came about: ``room`` for streams in intervals of the largest kind."""

    name: str
    room: float
    homes: dict[str, str]


def finer_rooms(room: float) -> tuple[float, ...]:
    """Amounts of room around one of `ROOMS`, to its neighbours."""
    return tuple(room * factor for factor in (0.84, 0.88, 0.92, 0.96, 1.04, 1.08, 1.12, 1.16))


def candidate_homes(problem: TierProblem, rooms: tuple[float, ...] = ROOMS) -> Iterator[Candidate]:
    """Candidates with room for streaming from none to several of the largest intervals."""
    order = problem.order()
    arena = max(interval.arena_bytes for interval in problem.intervals)
    room = {name: problem.tier[name].capacity_bytes for name in order}
    room[problem.compute] -= arena
    shares = (1.0,) if all(tier.price_per_byte == 0 for tier in problem.tiers) else (1.0, 0.75, 0.5, 0.25, 0.0)
    reads = _interval_bytes(problem)
    oversized = _oversized(problem)
    kept_choices = [oversized, frozenset[str]()] if oversized else [frozenset[str]()]
    for kept in kept_choices:
        held = {at for name in kept for at in problem.tensor[name].reads}
        largest = max((size for at, size in enumerate(reads) if at not in held), default=0.0)
        for share in shares:
            for buffer in rooms:
                near = max(0.0, share * (room[problem.compute] - buffer * largest))
                for spread in (True, False):
                    homes = _fill(problem, order, {**room, problem.compute: near}, kept, spread=spread)
                    if homes is not None:
                        words = [f"room of {buffer:.3g} intervals", "spread" if spread else "in order"]
                        words += ["the largest kept"] if kept else []
                        words += [f"{share:.0%} of the rest used"] if share < 1 else []
                        yield Candidate(", ".join(words), buffer, homes)
    bare = _fill(problem, order, {**room, problem.compute: 0.0}, frozenset(), spread=False, small=0.0)
    if bare is not None:
        # The least room of all: where even small tensors are too much beside what two intervals read.
        yield Candidate("nothing kept", 0.0, bare)


def _fill(
    problem: TierProblem,
    order: tuple[str, ...],
    room: dict[str, float],
    kept: frozenset[str],
    *,
    spread: bool,
    small: float | None = None,
) -> dict[str, str] | None:
    """Homes tier by tier, the nearest first; None when they do not hold all."""
    free = dict(room)
    homes = {}
    for tensor in problem.tensors:
        home = tensor.home or (problem.compute if tensor.name in kept else None)
        if home is not None:
            homes[tensor.name] = home
            free[home] -= tensor.bytes
    left = [tensor for tensor in problem.tensors if tensor.name not in homes]
    left.sort(key=lambda tensor: (-_worth(tensor), tensor.reads[0] if tensor.reads else len(problem.intervals)))
    if small is None:
        small = _SMALL * problem.tier[problem.compute].capacity_bytes
    for tier in order[:-1]:
        chosen = _chosen(left, free[tier], small if tier == problem.compute else 0.0, spread=spread)
        for tensor in left:
            if tensor.name in chosen:
                homes[tensor.name] = tier
                free[tier] -= tensor.bytes
        left = [tensor for tensor in left if tensor.name not in chosen]
    for tensor in left:
        homes[tensor.name] = order[-1]
        free[order[-1]] -= tensor.bytes
    return None if min(free.values()) < 0 and any(free[tier] < 0 for tier in order[1:]) else homes


def _worth(tensor: Tensor) -> float:
    """Traffic that a byte in the compute tier saves, in reads of it."""
    written = sum(size for _, size in tensor.written) / tensor.bytes if tensor.bytes else 0.0
    return round(len(tensor.reads) + written, 1)


def _chosen(left: list[Tensor], room: float, small: float, *, spread: bool) -> set[str]:
    """Of tensors in the order of their worth those that fill the room, each class of equal worth spread or in order."""
    chosen = {tensor.name for tensor in left if tensor.bytes <= small}
    room -= sum(tensor.bytes for tensor in left if tensor.bytes <= small)
    rest = [tensor for tensor in left if tensor.bytes > small]
    classes: dict[float, list[Tensor]] = {}
    for tensor in rest:
        classes.setdefault(_worth(tensor), []).append(tensor)
    for members in classes.values():
        total = sum(tensor.bytes for tensor in members)
        share = min(1.0, max(0.0, room / total)) if spread and total else 1.0
        credit = 0.0
        skipped = []
        for tensor in members:
            credit += share * tensor.bytes
            if credit >= tensor.bytes * 0.5 and tensor.bytes <= room:
                chosen.add(tensor.name)
                credit -= tensor.bytes
                room -= tensor.bytes
            else:
                skipped.append(tensor)
        for tensor in skipped:
            if tensor.bytes <= room:
                chosen.add(tensor.name)
                room -= tensor.bytes
    return chosen
