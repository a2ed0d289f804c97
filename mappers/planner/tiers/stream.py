"""Streaming with deadlines: homes are given, and what is not at home in the compute tier comes in ahead of its reads.

Room is reserved in the order of the reads and as early as it is free; bytes go, the next deadline first, as fast as
every resource on their way lets them. A cycle is played over and over until it repeats itself: that is the plan.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mappers.planner.tiers.plan import Move, Stay, TierPlan
from mappers.planner.tiers.problem import Tensor, TierProblem

__all__ = ["stream"]

_NOTHING = 1e-9  # of a tensor: less is not worth a move
_SAME = 1e-7  # of a tensor, by which two cycles may differ and count as one
_CYCLES = 12


@dataclass
class _Job:
    """One tensor for one stretch of reads, by intervals counted from the beginning of all cycles."""

    tensor: Tensor
    source: str
    read: int
    end: int
    reserved: int = -1
    left: float = 1.0
    moves: list[tuple[int, float]] = field(default_factory=list)


def stream(problem: TierProblem, homes: Mapping[str, str]) -> TierPlan | None:
    """The plan in which every tensor stays in its home throughout, and is copied to the compute tier for its reads.

    None when there is no room for what an interval reads, when no route leads from a home, or when tensors are
    produced on the way, for which a home is not enough.
    """
    if any(tensor.produced is not None for tensor in problem.tensors):
        return None
    length = len(problem.intervals)
    stretches = _stretches(problem, homes)
    free = _free(problem, homes)
    if stretches is None or min(free) < 0:
        return None
    permanent = [Stay(tensor.name, homes[tensor.name], 0, length) for tensor in problem.tensors]
    if not stretches:
        return TierPlan(tuple(permanent), ())
    player = _Player(problem, homes, stretches, free, TierPlan(tuple(permanent), ()).loads_s(problem))
    jobs = player.repeating(barrier=False) if problem.cyclic else player.once()
    if jobs is None and problem.cyclic:
        jobs = player.repeating(barrier=True)
    if jobs is None:
        return None
    stays, moves = permanent, []
    for job in jobs:
        # Room is held from the first byte on: what was reserved before that and not used is given back.
        first = job.moves[0][0] if job.moves else job.reserved
        count = job.end - first + 1
        if count > length:
            return None
        arriving = job.read - first if job.moves else 0
        stays.append(Stay(job.tensor.name, problem.compute, first % length, count, arriving))
        total = sum(share for _, share in job.moves)
        moves += [
            Move(job.tensor.name, job.source, problem.compute, at % length, share / total) for at, share in job.moves
        ]
    return TierPlan(tuple(stays), tuple(moves))


def _stretches(problem: TierProblem, homes: Mapping[str, str]) -> list[tuple[Tensor, int, int]] | None:
    """Tensor, first and last read of each stretch of neighbouring reads, in the order of the first reads."""
    found = []
    for tensor in problem.tensors:
        home = homes[tensor.name]
        if home == problem.compute or not tensor.reads:
            continue
        if (home, problem.compute) not in problem.route:
            return None
        start = end = tensor.reads[0]
        for at in tensor.reads[1:]:
            if at > end + 1:
                found.append((tensor, start, end))
                start = at
            end = at
        found.append((tensor, start, end))
    return sorted(found, key=lambda stretch: (stretch[1], stretch[2], stretch[0].name))


def _free(problem: TierProblem, homes: Mapping[str, str]) -> list[float]:
    held = sum(tensor.bytes for tensor in problem.tensors if homes[tensor.name] == problem.compute)
    capacity = problem.tier[problem.compute].capacity_bytes - held
    return [capacity - interval.arena_bytes for interval in problem.intervals]


class _Player:
    """Plays intervals one after another: reserve, bring what is due, fill what time is left."""

    def __init__(
        self,
        problem: TierProblem,
        homes: Mapping[str, str],
        stretches: list[tuple[Tensor, int, int]],
        free: list[float],
        fixed: list[dict[str, float]],
    ) -> None:
        self.problem, self.homes, self.stretches, self.free, self.fixed = problem, homes, stretches, free, fixed
        self.length = len(problem.intervals)

    def repeating(self, *, barrier: bool) -> list[_Job] | None:
        """The jobs of a cycle that equals the one before; with ``barrier`` none comes early into the next cycle."""
        self._begin(first=len(self.stretches))
        before: list[tuple[int, int, float]] | None = None
        for at in range(self.length - 1, self.length * _CYCLES):
            if at % self.length == 0:
                state = [
                    (n - at // self.length * len(self.stretches), job.reserved - at, job.left) for n, job in self.active
                ]
                if before is not None and _alike(before, state):
                    return self._cycle_from(at // self.length, barrier=barrier)
                before = state
            if not self._interval(at, barrier=barrier, last=None):
                return None
        return None

    def _cycle_from(self, cycle: int, *, barrier: bool) -> list[_Job] | None:
        """Plays ``cycle`` and returns the jobs read in it, most of whose bytes may have come in the one before."""
        for at in range(cycle * self.length, (cycle + 1) * self.length):
            if not self._interval(at, barrier=barrier, last=None):
                return None
        begin, end = cycle * self.length, (cycle + 1) * self.length
        return [job for _, job in self.done if begin <= job.read < end]

    def once(self) -> list[_Job] | None:
        """The jobs of a problem that ends; what fits is there at the beginning."""
        self._begin(first=0)
        self._reserve(0, barrier=False, last=len(self.stretches), read_now=True)
        for _, job in self.active:
            job.left = 0.0
        if self.next < len(self.stretches) and self.stretches[self.next][1] == 0:
            return None
        for at in range(self.length):
            if not self._interval(at, barrier=False, last=len(self.stretches)):
                return None
        return [job for _, job in self.done]

    def _begin(self, first: int) -> None:
        self.next = first
        self.active: list[tuple[int, _Job]] = []
        self.done: list[tuple[int, _Job]] = []
        self.used: dict[int, float] = {}

    def _job(self, number: int) -> _Job:
        tensor, read, end = self.stretches[number % len(self.stretches)]
        shift = number // len(self.stretches) * self.length
        return _Job(tensor, self.homes[tensor.name], read + shift, end + shift)

    def _reserve(self, at: int, *, barrier: bool, last: int | None, read_now: bool = False) -> None:
        boundary = (at // self.length + 1) * self.length
        while last is None or self.next < last:
            job = self._job(self.next)
            early = job.read > boundary or (job.read == boundary and at < boundary - 1)
            if job.end - at >= self.length or (barrier and early) or (job.read <= at and not read_now):
                return
            times = range(at, job.end + 1)
            size = job.tensor.bytes
            if any(self.used.get(time, 0.0) + size > self.free[time % self.length] for time in times):
                return
            for time in times:
                self.used[time] = self.used.get(time, 0.0) + size
            job.reserved = at
            self.active.append((self.next, job))
            self.next += 1

    def _interval(self, at: int, *, barrier: bool, last: int | None) -> bool:
        """One interval; False when something that it must bring in has no room."""
        self._reserve(at, barrier=barrier, last=last)
        if (last is None or self.next < last) and self._job(self.next).read == at + 1:
            return False
        place = at % self.length
        interval, load = self.problem.intervals[place], dict(self.fixed[place])
        waiting = []
        for _, job in self.active:
            if job.left > 0 and job.read == at + 1:
                self._carry(job, job.left, at, load)
            elif job.left > 0:
                waiting.append(job)
        ends = max(interval.duration_s, *load.values())
        for job in waiting:
            rates = self.problem.route[job.source, self.problem.compute].s_per_byte
            size = job.tensor.bytes
            share = min([job.left, *((ends - load[name]) / (size * rate) for name, rate in rates if size * rate > 0)])
            if share > _NOTHING:
                self._carry(job, share, at, load)
        self.done += [(n, job) for n, job in self.active if job.end == at]
        self.active = [(n, job) for n, job in self.active if job.end > at]
        return True

    def _carry(self, job: _Job, share: float, at: int, load: dict[str, float]) -> None:
        for name, rate in self.problem.route[job.source, self.problem.compute].s_per_byte:
            load[name] += share * job.tensor.bytes * rate
        job.moves.append((at, share))
        job.left = job.left - share if job.left - share > _NOTHING else 0.0


def _alike(one: list[tuple[int, int, float]], other: list[tuple[int, int, float]]) -> bool:
    return len(one) == len(other) and all(
        a[:2] == b[:2] and abs(a[2] - b[2]) <= _SAME for a, b in zip(one, other, strict=True)
    )
