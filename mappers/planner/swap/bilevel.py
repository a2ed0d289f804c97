"""Where the transient tensors of a step lie: planned block by block, then over the step, or all at once.

Bi-level as MEMO does it (arXiv 2407.12117, section 4.2): level 1 packs what lives within one block (one layer forward,
one layer backward, ...), level 2 the whole step with every block replaced by one buffer of its level-1 peak. What lives
across a block's border belongs to level 2, where it occupies whole blocks: that is what the two levels can lose.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mappers.planner.allocation import Allocation, AllocationProblem, Buffer, allocate
from mappers.planner.allocation.mip import allocate_by_mip
from mappers.planner.swap.step_ops import StepOps

__all__ = ["BilevelPlan", "Method", "Passing", "bilevel_plan", "flat_plan", "flat_problem"]

Method = Literal["program", "search"]


@dataclass(frozen=True)
class BilevelPlan:
    """``blocks`` gives each block's level-1 peak by name, ``level_2`` the plan of all blocks and what crosses them."""

    blocks: dict[str, int]
    level_1: tuple[Allocation, ...]
    problem: AllocationProblem
    level_2: Allocation
    seconds: float

    @property
    def peak_bytes(self) -> int:
        return self.level_2.peak_bytes or 0

    def held_bytes(self, block: str) -> int:
        """What is held during one block: its own peak and all that crosses it."""
        at = next(buffer.lower for buffer in self.problem.buffers if buffer.id == block)
        return sum(buffer.size for buffer in self.problem.buffers if buffer.lower <= at < buffer.upper)

    @property
    def proved(self) -> bool:
        """Whether every problem of both levels was solved to the optimum."""
        return all(plan.status == "proved_optimal" for plan in (*self.level_1, self.level_2))


@dataclass(frozen=True)
class Passing:
    """``bytes`` of activations that are held from the block ``first`` to the block ``last``."""

    name: str
    bytes: int
    first: str
    last: str


def bilevel_plan(
    step: StepOps, time_limit_s: float = 60.0, *, by: Method = "program", passing: Sequence[Passing] = ()
) -> BilevelPlan:
    """Both levels, by the mixed-integer program as published or by the allocator's own search, which is quicker.

    Blocks with equal lifetimes and sizes are solved once. ``passing`` activations are packed with the transients.
    """
    started = time.monotonic()
    inside: list[list[Buffer]] = [[] for _ in step.blocks]
    crossing: list[Buffer] = []
    for life in step.lifetimes(with_skeletal=False):
        (first, begin), (last, end) = life.first, life.last
        if first == last:
            inside[first].append(Buffer(life.name, begin, end + 1, life.bytes))
        else:
            crossing.append(Buffer(life.name, first, last + 1, life.bytes))
    at_block = {block.name: at for at, block in enumerate(step.blocks)}
    crossing += [Buffer(one.name, at_block[one.first], at_block[one.last] + 1, one.bytes) for one in passing]
    solved: dict[tuple[tuple[int, int, int], ...], Allocation] = {}
    peaks: dict[str, int] = {}
    for block, buffers in zip(step.blocks, inside, strict=True):
        key = tuple((buffer.lower, buffer.upper, buffer.size) for buffer in buffers)
        if key not in solved:
            left = max(0.1, time_limit_s - (time.monotonic() - started))
            solved[key] = _solve(AllocationProblem(block.name, tuple(buffers)), left, by)
        peaks[block.name] = solved[key].peak_bytes or 0
    pseudo = [
        Buffer(block.name, at, at + 1, peaks[block.name]) for at, block in enumerate(step.blocks) if peaks[block.name]
    ]
    problem = AllocationProblem("step", (*pseudo, *crossing))
    level_2 = _solve(problem, max(0.1, time_limit_s - (time.monotonic() - started)), by)
    return BilevelPlan(peaks, tuple(solved.values()), problem, level_2, time.monotonic() - started)


def _solve(problem: AllocationProblem, time_limit_s: float, by: Method) -> Allocation:
    if by == "program":
        return allocate_by_mip(problem, time_limit_s)
    return allocate(problem, time_limit_s=time_limit_s)


def flat_problem(step: StepOps) -> AllocationProblem:
    """Every transient of the step in one problem; time counts operations."""
    begins = [0]
    for block in step.blocks:
        begins.append(begins[-1] + len(block.ops))
    buffers = []
    for life in step.lifetimes(with_skeletal=False):
        (first, begin), (last, end) = life.first, life.last
        buffers.append(Buffer(life.name, begins[first] + begin, begins[last] + end + 1, life.bytes))
    return AllocationProblem("flat", tuple(buffers))


def flat_plan(step: StepOps, time_limit_s: float = 10.0) -> Allocation:
    """The joint plan that two levels give up: all of the step's transients at once."""
    return allocate(flat_problem(step), time_limit_s=time_limit_s)
