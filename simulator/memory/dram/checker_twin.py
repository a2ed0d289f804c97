"""The checker again, written from the definitions in plain Python: for each command, search all those before it.

Quadratic, for logs of some hundred commands. Nothing is carried from one command to the next: every state is read off
the history, so that an error in the bookkeeping of `checker` shows as a difference.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from simulator.memory.dram.checker import STATE_RULES, Event, Report, checked_log, names_of
from simulator.memory.dram.device import Constraint, Device
from simulator.memory.dram.outcome import CommandLog

__all__ = ["check_slowly"]

_COLUMNS = ("RD", "WR", "RDA", "WRA")
_ACTIVATIONS = ("ACT", "ACT1")
_Found = tuple[str, int, int, int, int]  # rule, number of the command before and of this one, needed, found


def check_slowly(device: Device, log: CommandLog, *, limit: int = 10, refresh_rate: bool = False) -> Report:
    """What `checker.check` returns, slowly; the same errors."""
    checked = checked_log(device, log)
    history = _History(device, log)
    rules = {rule: len(device.constraints) + number for number, rule in enumerate(STATE_RULES)}
    found: list[tuple[int, int, int, int, int]] = []
    for now in range(len(log) + 1):
        broken = history.at_the_end() if now == len(log) else history.states(now)
        found += [] if now == len(log) else history.timing(now)
        found += [(rules[rule], before, after, needed, got) for rule, before, after, needed, got in broken]
        if refresh_rate:
            found += history.rate(now)
    return checked.report(found[:limit], len(found))


class _History:
    def __init__(self, device: Device, log: CommandLog) -> None:
        names, fields = names_of(device), (log.tick, log.rank, log.bank, log.row)
        self.device = device
        self.events = [Event(names[c], *map(int, rest)) for c, *rest in zip(log.command, *fields, strict=True)]
        self.per_rank = device.banks // device.shape[0]

    def node(self, event: Event, scope: str) -> tuple[int, ...] | None:
        """Where ``event`` went, down to level ``scope``; None if it went to more than one node of it."""
        names, counts = [level.name for level in self.device.levels], [level.count for level in self.device.levels]
        depth = names.index(scope) + 1 if scope != "channel" else 0
        if event.bank >= 0:
            return tuple(int(i) for i in np.unravel_index(event.bank, counts))[:depth]
        whole = depth == 0 or scope in ("rank", "pseudochannel")
        return (event.rank,)[:depth] if whole else None

    def related(self, rule: Constraint, before: Event, after: Event) -> bool:
        """Whether the places of the two are those ``rule`` speaks of."""
        if before.command != rule.before or after.command != rule.after:
            return False
        one, other = self.node(before, rule.scope), self.node(after, rule.scope)
        if one is None or other is None:
            return False
        return one[:-1] == other[:-1] and one != other if rule.sibling else one == other

    def timing(self, now: int) -> Iterator[tuple[int, int, int, int, int]]:
        after = self.events[now]
        for number, rule in enumerate(self.device.constraints):
            earlier = [i for i in range(now) if self.related(rule, self.events[i], after)]
            if rule.window <= len(earlier):
                before = earlier[-rule.window]
                if after.tick - self.events[before].tick < rule.ticks:
                    yield number, before, now, rule.ticks, after.tick - self.events[before].tick

    def touches(self, event: Event, bank: int) -> bool:
        return event.bank == bank if event.bank >= 0 else event.rank == bank // self.per_rank

    def split_activation(self, now: int) -> int:
        """The ACT1 that waits for its ACT2 when command ``now`` comes, or -1."""
        ones = [i for i in range(now) if self.events[i].command == "ACT1"]
        if not ones:
            return -1
        bank = self.events[ones[-1]].bank
        ends = ("ACT2", "PREpb", "PREab", "RDA", "WRA")
        later = self.events[ones[-1] + 1 : now]
        return -1 if any(e.command in ends and self.touches(e, bank) for e in later) else ones[-1]

    def opened_by(self, bank: int, now: int) -> tuple[int, bool]:
        """The activation under which ``bank`` stands (-1 if it is closed), and whether its row may be used."""
        changes = (*_ACTIVATIONS, "PREpb", "PREab", "RDA", "WRA")
        acts = [i for i in range(now) if self.events[i].command in changes and self.touches(self.events[i], bank)]
        if not acts or self.events[acts[-1]].command not in _ACTIVATIONS:
            return -1, False
        act = acts[-1]
        if self.events[act].command == "ACT":
            return act, True
        seconds = [i for i in range(act, now) if self.events[i].command == "ACT2" and self.events[i].bank == bank]
        return act, any(self.split_activation(i) == act for i in seconds)

    def burst(self, number: int) -> range:
        event, device = self.events[number], self.device
        write = event.command in ("WR", "WRA")
        end = event.tick + (device.write_latency_ticks if write else device.read_latency_ticks)
        return range(end - device.burst_ticks, end)

    def states(self, now: int) -> Iterator[_Found]:
        event, device = self.events[now], self.device
        bus = next(bus for bus in device.buses if event.command in bus)
        before = max((i for i in range(now) if self.events[i].command in bus), default=-1)
        if before >= 0:
            length = device.command_ticks[self.events[before].command]
            if event.tick < self.events[before].tick + length:
                yield "bus busy", before, now, length, event.tick - self.events[before].tick
        yield from self.clocks(now)
        if event.command in _ACTIVATIONS:
            act, _ = self.opened_by(event.bank, now)
            if act >= 0:
                yield "activation of an open bank", act, now, -1, self.events[act].row
            if event.command == "ACT1" and self.split_activation(now) >= 0:
                yield "two split activations", self.split_activation(now), now, 0, 1
        elif event.command == "ACT2":
            act = self.split_activation(now)
            if act < 0 or self.events[act].bank != event.bank:
                yield "ACT2 without its ACT1", act, now, 0, 0
            elif event.tick - self.events[act].tick > device.second_activate_within:
                late = event.tick - self.events[act].tick
                yield "ACT2 too late", act, now, device.second_activate_within, late
        elif event.command in _COLUMNS:
            yield from self.column(now)
        elif event.command not in ("CAS_RD", "CAS_WR"):
            for bank in range(device.banks):
                if not self.touches(event, bank):
                    continue
                act, usable = self.opened_by(bank, now)
                if act >= 0 and not usable:
                    yield "command between ACT1 and ACT2", act, now, 0, 1
                elif act >= 0 and event.command not in ("PREpb", "PREab"):
                    yield "refresh of an open bank", act, now, -1, self.events[act].row

    def column(self, now: int) -> Iterator[_Found]:
        event = self.events[now]
        act, usable = self.opened_by(event.bank, now)
        row = self.events[act].row if usable else -1
        if not usable or row != event.row:
            yield "column of a row that is not open", act, now, event.row, row
        others = [i for i in range(now) if self.events[i].command in _COLUMNS]
        if self.device.data_buses > 1:
            others = [i for i in others if self.events[i].rank == event.rank]
        for tick in self.burst(now):
            clash = max((i for i in others if tick in self.burst(i)), default=-1)
            if clash >= 0:
                apart = abs(self.burst(now).start - self.burst(clash).start)
                yield "data bus busy", clash, now, self.device.burst_ticks, apart
                return

    def clocks(self, now: int) -> Iterator[_Found]:
        event, device = self.events[now], self.device
        last = self.events[now - 1] if now else None
        write = event.command in ("WR", "WRA")
        fits = (
            last is not None
            and event.command in _COLUMNS
            and (event.tick, event.bank) == (last.tick + 1, last.bank)
            and last.command == ("CAS_WR" if write else "CAS_RD")
        )
        if last is not None and last.command in ("CAS_RD", "CAS_WR") and not fits:
            yield "CAS without its column", now - 1, now, 1, event.tick - last.tick
        if device.clock_sync_ticks and event.command in _COLUMNS and not fits:
            read, written = device.clock_sync_ticks
            earlier = [e for e in self.events[:now] if e.command in _COLUMNS]
            until = max((e.tick + (written if e.command in ("WR", "WRA") else read) for e in earlier), default=0)
            if event.tick >= until:
                yield "column without data clock", -1, now, until, event.tick
        if device.half_clock and event.tick % 2 == 0:
            if event.command not in ("PREpb", "PREab"):
                yield "even tick", -1, now, event.tick + 1, event.tick
                return
            rows = [i for i in range(now) if self.events[i].tick % 2 and self.events[i].command not in _COLUMNS]
            row = self.events[rows[-1]] if rows else None
            if row is None or row.rank != event.rank or event.tick != row.tick + device.command_ticks[row.command]:
                return
            if row.bank == event.bank or -1 in (row.bank, event.bank):
                yield "paired tick", rows[-1], now, event.tick + 1, event.tick

    def at_the_end(self) -> Iterator[_Found]:
        act = self.split_activation(len(self.events))
        if act >= 0 and self.events[-1].tick - self.events[act].tick > self.device.second_activate_within:
            waited = self.events[-1].tick - self.events[act].tick
            yield "ACT2 too late", act, -1, self.device.second_activate_within, waited

    def rate(self, now: int) -> list[tuple[int, int, int, int, int]]:
        """Banks that have fallen behind when they are refreshed by command ``now``, or at the end."""
        refreshes = [i for i, event in enumerate(self.events) if event.command in ("REFab", "REFpb")]
        if not refreshes or (now < len(self.events) and now not in refreshes):
            return []
        end = now == len(self.events)
        time = self.events[-1].tick if end else self.events[now].tick - 1
        owed = time // self.device.timing["nREFI"] - (1 + self.device.most_postponed)
        rule = len(self.device.constraints) + STATE_RULES.index("refresh rate")
        out = []
        for bank in range(self.device.banks):
            own = [i for i in refreshes if i < now and self.touches(self.events[i], bank)]
            if len(own) < owed and (end or self.touches(self.events[now], bank)):
                out.append((rule, own[-1] if own else -1, -1 if end else now, owed, len(own)))
        return out
