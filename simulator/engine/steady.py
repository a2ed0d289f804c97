"""Finds when a repeated block has become steady, and for how long it provably stays so.

Every node's time is the maximum over its sources plus constants. If over one cycle of repetitions each time grew by
its own constant, the same as in the cycle before, and in each maximum the winner grows at least as fast as every other
source, then the same sources win for ever and all times go on growing by these constants: the repetitions in between
need no simulation. A source that is behind but grows faster overtakes after a known number of cycles; up to there the
argument holds as well. Blocks in lock step, where all constants are equal, are the common case. (Max-plus linear
systems, Baccelli et al., Synchronization and Linearity, 1992, chapter 3.)
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

from simulator.engine.wiring import Block, Source

__all__ = ["cycles_to_skip", "history_needed", "move_on", "steady_cycle"]

_LONGEST_CYCLE = 8
# Relative to the time reached: a few dozen roundings, far below any difference a model could mean.
_ROUNDING = 64 * sys.float_info.epsilon

Times = Sequence[float]


def history_needed(block: Block) -> int:
    """How many of the latest repetitions `steady_cycle` looks at."""
    return block.reach + 2 * _LONGEST_CYCLE


def steady_cycle(block: Block, past: Sequence[Times]) -> int | None:
    """The shortest cycle, in repetitions, over which all times of ``past`` (latest last) grew alike twice; or None."""
    tolerance = _tolerance(past[-1])
    for cycle in range(1, _LONGEST_CYCLE + 1):
        if len(past) < block.reach + 2 * cycle:
            return None
        if all(
            _grew_alike(past[-back], past[-back - cycle], past[-back - 2 * cycle], tolerance)
            for back in range(1, block.reach + 1)
        ):
            return cycle
    return None


def _grew_alike(new: Times, middle: Times, old: Times, tolerance: float) -> bool:
    return all(abs((c - b) - (b - a)) <= tolerance for a, b, c in zip(old, middle, new, strict=True))


def cycles_to_skip(block: Block, past: Sequence[Times], cycle: int, wanted: int) -> int:
    """How many cycles, at most ``wanted``, the times of the steady ``past`` keep growing by the same constants."""
    tolerance = _tolerance(past[-1])
    cycles = wanted

    def limit(repetition: int, node: int, sources: Sequence[Source], added: float) -> None:
        """Lower ``cycles`` to where one of ``sources``, ``added`` seconds later, overtakes what ``node`` waits for."""
        nonlocal cycles
        growth = past[repetition][node] - past[repetition - cycle][node]
        for source in sources:
            if source.node < 0:
                continue
            at = repetition - source.back
            faster = past[at][source.node] - past[at - cycle][source.node] - growth
            if faster > tolerance:
                behind = past[repetition][node] - past[at][source.node] - added
                cycles = min(cycles, int(behind / faster) - 1)

    for repetition in range(-cycle, 0):
        for wiring in block.tasks:
            limit(repetition, wiring.start, (*wiring.after, *wiring.held), 0.0)
            here = Source(0, wiring.start, wiring.task.name)
            for begin, served in zip(wiring.begins, wiring.served, strict=True):
                limit(repetition, begin, (here, served), 0.0)
            ends = tuple(Source(0, end, wiring.task.name) for end in wiring.ends)
            limit(repetition, wiring.finish, (here, *ends), wiring.task.overhead_s)
    return max(cycles, 0)


def move_on(past: Sequence[Times], cycle: int, count: int, keep: int) -> list[Times]:
    """The latest ``keep`` repetitions once ``count`` more, a multiple of ``cycle``, have followed steady ``past``."""
    moved = list(past)
    for skipped in range(max(0, count - keep), count):
        phase = skipped % cycle - cycle
        cycles = skipped // cycle + 1
        pairs = zip(past[phase], past[phase - cycle], strict=True)
        moved.append([new + cycles * (new - old) for new, old in pairs])
    return moved[-keep:]


def _tolerance(times: Times) -> float:
    return _ROUNDING * max(times, default=0.0)
