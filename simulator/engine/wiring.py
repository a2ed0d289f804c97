"""Compiles a block into nodes (starts, reservation begins and ends, finishes) and the earlier nodes each waits for.

One repetition is then a flat list of times, one per node, and everything carried from one repetition to the next is an
entry of such a list. Both the simulation and the steady-state analysis read this one description.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from simulator.engine.graph import Segment, Task

__all__ = ["Block", "Source", "TaskWiring", "compile_block"]


@dataclass(frozen=True, slots=True)
class Source:
    """Node ``node`` of the repetition ``back`` before the reader's; ``name`` is the task or resource waited for."""

    back: int
    node: int
    name: str


@dataclass(frozen=True, slots=True)
class TaskWiring:
    """Where one task's times lie in a repetition's list, and what each of them waits for.

    ``start``, ``begins[i]``, ``ends[i]`` and ``finish`` are node numbers. A source of ``held`` or ``served`` is the
    node that frees the resource: the latest use of it in program order.
    """

    task: Task
    start: int
    begins: tuple[int, ...]
    ends: tuple[int, ...]
    finish: int
    after: tuple[Source, ...]
    held: tuple[Source, ...]
    served: tuple[Source, ...]


@dataclass(frozen=True)
class Block:
    """A segment with its tasks wired; ``last_use`` gives for each resource used the node that frees it for good."""

    segment: Segment
    tasks: tuple[TaskWiring, ...]
    nodes: int
    last_use: dict[str, int]

    @cached_property
    def reach(self) -> int:
        """How many repetitions back the farthest source lies, at least 1."""
        backs = (source.back for task in self.tasks for source in (*task.after, *task.held, *task.served))
        return max(backs, default=1) or 1

    @cached_property
    def finish_of(self) -> dict[str, int]:
        """Task name to the node of its finish."""
        return {wiring.task.name: wiring.finish for wiring in self.tasks}


def compile_block(segment: Segment) -> Block:
    """Number the nodes of ``segment`` and resolve what each waits for.

    A dependency with a lag on a name the segment does not have can only be met in a preceding segment; its node is -1.
    """
    finish_of: dict[str, int] = {}
    first_node: list[int] = []
    nodes = 0
    for task in segment.tasks:
        first_node.append(nodes)
        nodes += 2 + 2 * len(task.demands)
        finish_of[task.name] = nodes - 1

    # The first use of a resource in a repetition follows its last use in the repetition before: run over the block
    # once to learn the last uses, then again with these standing one repetition back.
    last_use: dict[str, Source] = {}
    _wire(segment, first_node, finish_of, last_use)
    before = {name: Source(1, source.node, name) for name, source in last_use.items()}
    wired = _wire(segment, first_node, finish_of, before)
    return Block(segment, wired, nodes, {name: source.node for name, source in last_use.items()})


def _wire(
    segment: Segment, first_node: list[int], finish_of: dict[str, int], last_use: dict[str, Source]
) -> tuple[TaskWiring, ...]:
    wired = []
    for task, start in zip(segment.tasks, first_node, strict=True):
        finish = finish_of[task.name]
        begins = tuple(range(start + 1, finish, 2))
        ends = tuple(range(start + 2, finish, 2))
        unknown = Source(1, -1, "")
        held = tuple(last_use.get(name, unknown) for name in task.held)
        served = []
        for demand, end in zip(task.demands, ends, strict=True):
            served.append(last_use.get(demand.resource, unknown))
            last_use[demand.resource] = Source(0, end, demand.resource)
        for name in task.held:
            last_use[name] = Source(0, finish, name)
        after = tuple(Source(dep.lag, finish_of.get(dep.task, -1), dep.task) for dep in task.dependencies)
        wired.append(TaskWiring(task, start, begins, ends, finish, after, held, tuple(served)))
    return tuple(wired)
