"""A program for a memory that computes: column commands in groups, groups in loops.

A group ends in a barrier: its successor's commands wait until its last column command has been sent. Within a group the
commands of one stream go out in order. Loops repeat their groups with rows that move on by the same step each time.
"""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["COMPUTE", "DRAIN", "FILL", "MODE", "MOVE", "PURPOSES", "Group", "Loop", "Op", "Pass", "Program"]

COMPUTE, FILL, DRAIN, MOVE, MODE = "compute", "fill", "drain", "move", "mode"
PURPOSES = (COMPUTE, FILL, DRAIN, MOVE, MODE)
"""What a command is for: computing, input registers or buffers, results, operands, changing the mode."""


@dataclass(frozen=True)
class Op:
    """``times`` commands of the kind ``command`` (a key of `PimDevice.commands`) to the banks of the set ``where``.

    ``row`` is the row they need, None for commands to buffers; in the n-th repetition of its loop it is
    ``row + n * row_step``. ``interval_ticks`` is the least time since the last command of the same name. Ops of
    different ``stream`` do not wait for one another within a group.
    """

    command: str
    where: str
    row: int | None
    times: int
    purpose: str
    row_step: int = 0
    interval_ticks: int = 0
    stream: int = 0


@dataclass(frozen=True)
class Group:
    """Ops between two barriers."""

    ops: tuple[Op, ...]


@dataclass(frozen=True)
class Loop:
    """``groups``, ``count`` times."""

    groups: tuple[Group, ...]
    count: int = 1


@dataclass(frozen=True)
class Pass:
    """``loops`` one after the other, ``count`` times; rows with a ``row_step`` move on by ``advance`` each time."""

    loops: tuple[Loop, ...]
    count: int = 1
    advance: int = 0


@dataclass(frozen=True)
class Program:
    """Passes one after the other, the same for every channel.

    ``bytes_inside`` are read or written between banks and units in one channel, ``bytes_in`` and ``bytes_out`` go over
    its pins, ``multiply_adds`` are done in it.
    """

    passes: tuple[Pass, ...]
    bytes_inside: int
    bytes_in: int
    bytes_out: int
    multiply_adds: int

    def least_ticks(self, purpose: str, interval_ticks: int) -> int:
        """What the commands of one purpose take at ``interval_ticks``, or their own interval where that is longer."""
        return sum(
            op.times * loop.count * part.count * max(interval_ticks, op.interval_ticks)
            for part in self.passes
            for loop in part.loops
            for group in loop.groups
            for op in group.ops
            if op.purpose == purpose
        )
