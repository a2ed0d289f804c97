"""A program's commands in time: each at the first tick that all rules allow, in order.

In a group, the column commands of a stream go out in order. Row commands run ahead of them: a set of banks whose row
the group does not want is precharged as soon as it may be, a row that it wants is opened as soon as it may be, wanted
ones in the order of their first use. One command per bus and tick; of several that may go at the same tick, column
before activation before precharge. Every nREFI ticks a refresh falls due: nothing but precharges is sent until all
banks are closed and refreshed. (The same policy as the memory controller of SAITPublic/PIMSimulator, whose groups end
in barriers; within a group that one may send column commands out of order, opens the row of a group's last command only
when it is the last left, and keeps sending columns while a refresh waits.)

Repetition is exact: when a loop comes back to the same state relative to the clock, whole repetitions are counted and
not run.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

from simulator.memory.pim.device import PimCommand, PimDevice
from simulator.memory.pim.program import COMPUTE, Group, Loop, Op, Pass, Program
from simulator.memory.pim.timing import Timing

__all__ = ["CAUSES", "Entry", "Timeline", "execute"]

CAUSES = ("columns", "turnaround", "rows", "refresh", "end")
"""Why ticks pass: a column command's own interval, waiting for the bus to turn, for a row, a refresh, the end."""

_COLUMN, _ACTIVATE, _PRECHARGE = range(3)
_LONG_AGO = -(10**6)


@dataclass(frozen=True)
class Entry:
    """One command of the log: when, what, to which set of banks, for which row (-1: none)."""

    tick: int
    role: str
    where: str
    row: int


@dataclass
class Timeline:
    """What a program took on one channel.

    ``cycles`` are ticks up to the last byte; ``commands`` counts by role; ``ticks_by_cause`` splits ``cycles`` by the
    purpose of the command that was waited for and one of `CAUSES`. ``skipped`` counts commands that were not run.
    """

    cycles: int = 0
    commands: Counter[str] = field(default_factory=Counter)
    ticks_by_cause: Counter[tuple[str, str]] = field(default_factory=Counter)
    activated_banks: int = 0
    skipped: int = 0
    log: list[Entry] = field(default_factory=list)


@dataclass(frozen=True)
class _Open:
    where: str
    row: int
    step: int


@dataclass
class _Left:
    op: Op
    times: int


@dataclass
class _Choice:
    """A command that may go at ``tick``; ``alone``: no other command is waiting to go."""

    tick: int
    kind: int
    command: PimCommand
    role: str
    where: str
    row: int
    row_step: int
    op: Op | None = None
    number: int = -1
    alone: bool = False


@dataclass(frozen=True)
class _Mark:
    now: int
    commands: Counter[str]
    causes: Counter[tuple[str, str]]
    banks: int


class _Run:
    def __init__(self, pim: PimDevice, program: Program, *, refresh: bool, log: bool) -> None:
        self.pim, self.refresh, self.logging = pim, refresh, log
        sets = {op.where for part in program.passes for loop in part.loops for group in loop.groups for op in group.ops}
        self.timing = Timing(pim, sorted(sets | {"all"}))
        self.out = Timeline()
        self.now = self.last_column = self.end = self.base = 0
        self.open: list[_Open] = []
        self.due = pim.first_refresh_ticks
        self.refreshed = -1  # when the refresh since the last column command fell due
        self.refresh_over = 0
        self.sent_at: dict[str, int] = {}
        self.intervals: dict[str, int] = {}
        self.meets = {(a, b): bool(pim.sets[a] & pim.sets[b]) for a in sets for b in sets}

    def run(self, passes: tuple[Pass, ...]) -> None:
        """All of a program's passes."""
        follow: list[Group | None] = [part.loops[0].groups[0] for part in passes[1:]] + [None]
        for part, after in zip(passes, follow, strict=True):
            seen: dict[object, tuple[int, _Mark]] = {}
            self.base, turn = 0, 0
            while turn < part.count:
                turn += self._repeated(seen, turn, part.count, part.advance)
                self.base = turn * part.advance
                for number, loop in enumerate(part.loops):
                    if number + 1 < len(part.loops):
                        then: tuple[Group | None, int] = (part.loops[number + 1].groups[0], self.base)
                    elif turn + 1 < part.count:
                        then = (part.loops[0].groups[0], self.base + part.advance)
                    else:
                        then = (after, 0)
                    self._loop(loop, *then)
                turn += 1

    def _loop(self, loop: Loop, after: Group | None, after_base: int) -> None:
        seen: dict[object, tuple[int, _Mark]] = {}
        step, first = 0, self.base
        while step < loop.count:
            step += self._repeated(seen, step, loop.count, 0)
            for number, group in enumerate(loop.groups):
                ahead: Group | None
                if number + 1 < len(loop.groups):
                    ahead, at = loop.groups[number + 1], (first, step)
                elif step + 1 < loop.count:
                    ahead, at = loop.groups[0], (first, step + 1)
                else:
                    ahead, at = after, (after_base, 0)
                self._group(group, step, ahead if self.pim.opens_ahead else None, at)
            step += 1

    def _repeated(self, seen: dict[object, tuple[int, _Mark]], turn: int, count: int, advance: int) -> int:
        """How many turns were counted from repetition, because the state is one seen at an earlier turn.

        At least one turn is left to run: what it opens ahead depends on what follows.
        """
        if count <= 2 or self.logging:
            return 0
        key = self._key(turn, advance)
        if key not in seen:
            seen[key] = (turn, self._mark())
            return 0
        first, before = seen.pop(key)
        times = (count - turn - 1) // (turn - first)
        if times <= 0:
            return 0
        seen.clear()
        self._skip(before, times, turn - first, advance)
        return times * (turn - first)

    def _key(self, turn: int, advance: int) -> object:
        now = self.now
        return (
            self.timing.shape(now),
            tuple((o.where, o.row - self._moved(o, turn, advance), o.step) for o in self.open),
            self.due - now,
            self.last_column - now,
            (self.refresh_over - now, self.refreshed - now) if self.refreshed >= 0 else None,
            tuple(sorted((name, max(tick - now, _LONG_AGO)) for name, tick in self.sent_at.items())),
            self.end - now,
        )

    def _moved(self, one: _Open, turn: int, advance: int) -> int:
        """By how much the row is further on than at the first turn."""
        if not one.step:
            return 0
        return turn * advance if advance else turn * one.step + self.base

    def _mark(self) -> _Mark:
        out = self.out
        return _Mark(self.now, out.commands.copy(), out.ticks_by_cause.copy(), out.activated_banks)

    def _skip(self, before: _Mark, times: int, turns: int, advance: int) -> None:
        ticks, out = times * (self.now - before.now), self.out
        for name in out.commands:
            more = times * (out.commands[name] - before.commands[name])
            out.commands[name] += more
            out.skipped += more
        for cause in out.ticks_by_cause:
            out.ticks_by_cause[cause] += times * (out.ticks_by_cause[cause] - before.causes[cause])
        out.activated_banks += times * (out.activated_banks - before.banks)
        self.timing.move(ticks)
        self.now += ticks
        self.end += ticks
        self.last_column += ticks
        self.due += ticks
        self.refresh_over += ticks
        self.refreshed += ticks if self.refreshed >= 0 else 0
        self.sent_at = {name: tick + ticks for name, tick in self.sent_at.items()}
        rows = times * turns
        self.open = [replace(o, row=o.row + rows * (advance or o.step) * (o.step > 0)) for o in self.open]

    def _group(self, group: Group, step: int, ahead: Group | None, at: tuple[int, int]) -> None:
        left = [_Left(op, op.times) for op in group.ops]
        sent: Op | None = None
        while left:
            choice = self._choose(left, step, ahead, at)
            if self.refresh and choice.tick >= self.due:
                self._refresh()
                sent = None
                continue
            if choice.op is None:
                self.now = choice.tick
                self._row(choice)
                sent = None
                continue
            op, number = choice.op, choice.number
            count = 1
            if sent is op and choice.alone:  # nothing but its own interval holds it back from here on
                between = choice.tick - self.now
                count = left[number].times
                if self.refresh:
                    count = min(count, (self.due - 1 - self.now) // between)
                self._columns(choice, count - 1, between)
            self.now = choice.tick + (count - 1) * (choice.tick - self.now)
            self._column(self.now, choice)
            left[number].times -= count
            if not left[number].times:
                del left[number]
            sent = op if choice.alone else None

    def _columns(self, choice: _Choice, count: int, between: int) -> None:
        """``count`` commands ``between`` ticks apart, of which only the last still matters to what may follow."""
        if not count or choice.op is None:
            return
        tick = self.now + count * between
        self.out.ticks_by_cause[choice.op.purpose, "columns"] += tick - self.last_column
        self.last_column = tick
        self.timing.send(choice.command, choice.where, tick)
        self.sent_at[choice.command.name] = tick
        self.out.commands[choice.role] += count
        if self.logging:
            ticks = range(self.now + between, tick + 1, between)
            self.out.log += [Entry(t, choice.role, choice.where, choice.row) for t in ticks]

    def _row(self, choice: _Choice) -> None:
        self._send(choice.tick, choice)
        if choice.kind == _ACTIVATE:
            self.open.append(_Open(choice.where, choice.row, choice.row_step))
            self.out.activated_banks += len(self.pim.sets[choice.where])
        else:
            self.open = [o for o in self.open if o.where != choice.where]

    def _choose(self, left: list[_Left], step: int, ahead: Group | None, at: tuple[int, int]) -> _Choice:
        pim, timing, now = self.pim, self.timing, self.now
        best: _Choice | None = None
        wanted: list[tuple[str, int, int]] = []
        streams: set[int] = set()
        for number, one in enumerate(left):
            op = one.op
            row = self._row_of(op, self.base, step)
            if op.row is not None and not any(self.meets[op.where, where] for where, _, _ in wanted):
                wanted.append((op.where, row, op.row_step))
            if op.stream in streams:
                continue
            streams.add(op.stream)
            if op.row is not None and not any(o.where == op.where and o.row == row for o in self.open):
                continue
            command = pim.commands[op.command]
            tick = timing.earliest(command, op.where, now)
            if op.interval_ticks:
                tick = max(tick, self.sent_at.get(command.name, _LONG_AGO) + op.interval_ticks)
                tick += pim.dram.half_clock and tick % 2 == 0
            if best is None or tick < best.tick:
                best = _Choice(tick, _COLUMN, command, op.command, op.where, row, 0, op, number)
        alone = len(streams) == 1
        for op in ahead.ops if ahead is not None else ():
            if op.row is not None and not any(self.meets[op.where, where] for where, _, _ in wanted):
                wanted.append((op.where, self._row_of(op, *at), op.row_step))
        for where, row, row_step in wanted:
            if any(self.meets[where, o.where] for o in self.open):
                continue
            alone = False
            tick = timing.earliest(pim.commands["activate"], where, now)
            if best is None or (tick, _ACTIVATE) < (best.tick, best.kind):
                best = _Choice(tick, _ACTIVATE, pim.commands["activate"], "activate", where, row, row_step)
        for o in self.open:
            if any(o.where == where and o.row == row for where, row, _ in wanted):
                continue
            alone = False
            tick = timing.earliest(pim.commands["precharge"], o.where, now)
            if best is None or (tick, _PRECHARGE) < (best.tick, best.kind):
                best = _Choice(tick, _PRECHARGE, pim.commands["precharge"], "precharge", o.where, -1, 0)
        assert best is not None, "a group that can never go on"
        best.alone = alone
        return best

    @staticmethod
    def _row_of(op: Op, base: int, step: int) -> int:
        if op.row is None:
            return -1
        return op.row + (base + op.row_step * step if op.row_step else 0)

    def _refresh(self) -> None:
        if self.refreshed < 0:
            self.refreshed = self.due
        tick = max(self.now, self.due)
        close, refresh, timing = self.pim.commands["precharge"], self.pim.commands["refresh"], self.timing
        while self.open:
            tick, where = min((timing.earliest(close, o.where, tick), o.where) for o in self.open)
            self._send(tick, _Choice(tick, _PRECHARGE, close, "precharge", where, -1, 0))
            self.open = [o for o in self.open if o.where != where]
        tick = timing.earliest(refresh, "all", tick)
        self._send(tick, _Choice(tick, _PRECHARGE, refresh, "refresh", "all", -1, 0))
        self.now = tick
        self.refresh_over = tick + self.pim.dram.timing["nRFC"]
        self.due += self.pim.dram.timing["nREFI"]

    def _column(self, tick: int, choice: _Choice) -> None:
        device, command, op = self.pim.dram, choice.command, choice.op
        assert op is not None
        if op.stream == 0:
            gap = tick - self.last_column
            own = min(gap, max(op.interval_ticks, self._own_ticks(command)))
            turn = max(0, min(tick, self.timing.after_columns(command, op.where)) - self.last_column - own)
            rest = gap - own - turn
            waited = 0
            if self.refreshed >= 0:
                waited = max(0, min(rest, self.refresh_over - max(self.refreshed, self.last_column)))
                self.refreshed = -1
            for cause, ticks in zip(CAUSES, (own, turn, rest - waited, waited), strict=False):
                self.out.ticks_by_cause[op.purpose, cause] += ticks
            self.last_column = tick
        self._send(tick, choice)
        latency = device.write_latency_ticks if command.like == "WR" else device.read_latency_ticks
        self.end = max(self.end, tick + (latency if command.like else device.burst_ticks))

    def _own_ticks(self, command: PimCommand) -> int:
        if command.name not in self.intervals:
            rules = [
                rule.ticks
                for rule in (*self.pim.dram.constraints, *self.pim.rules)
                if rule.before == rule.after and rule.after in (command.name, command.like) and not rule.sibling
            ]
            self.intervals[command.name] = max(rules, default=1)
        return self.intervals[command.name]

    def _send(self, tick: int, choice: _Choice) -> None:
        self.timing.send(choice.command, choice.where, tick)
        self.sent_at[choice.command.name] = tick
        self.out.commands[choice.role] += 1
        if self.logging:
            self.out.log.append(Entry(tick, choice.role, choice.where, choice.row))


def execute(pim: PimDevice, program: Program, *, refresh: bool = True, log: bool = False) -> Timeline:
    """Run ``program`` on one channel of ``pim`` from an idle state; ``log`` keeps every command (and skips nothing)."""
    run = _Run(pim, program, refresh=refresh, log=log)
    run.run(program.passes)
    out = run.out
    out.cycles = run.end
    out.ticks_by_cause[COMPUTE, "end"] += run.end - run.last_column
    return out
