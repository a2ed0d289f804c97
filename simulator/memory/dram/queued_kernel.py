"""Compiled: the rules of `queued`, tick by tick where anything can happen; the timing of commands is the kernel's own.

A tick is visited when a request may be sent or enter, a response may leave, a refresh falls due, a command was sent the
tick before, or the first command becomes legal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from simulator.memory.compiled import sources_stamp
from simulator.memory.dram.device import Device
from simulator.memory.dram.kernel_commands import earliest, record
from simulator.memory.dram.kernel_state import CLOSED, FAR, Register
from simulator.memory.dram.outcome import CommandLog
from simulator.memory.dram.queued import QueuedController, QueuedOutcome, QueuedTrace, check_device
from simulator.memory.dram.tables import (
    ACT,
    COMMANDS,
    MOST_BANKS,
    MOST_GROUPS,
    PRE,
    PREA,
    RD,
    RDA,
    REF,
    WR,
    WRA,
    Tables,
    compile_tables,
)
from workloads.errors import InputError

__all__ = ["MOST_REQUESTS", "OUTCOME_COLUMNS", "Runner", "outcome_of", "run_queued"]

_LOGS, _LOGGED, _DIRTY = Register.LOGS, Register.LOGGED, Register.DIRTY
_LOG_ROOM = 1 << 15
_OPEN, _OPEN_ADAPTIVE, _CLOSED_PAGE, _CLOSED_ADAPTIVE = range(4)
_FIFO, _GROUPED, _FRFCFS = range(3)
_BANKWISE, _READ_WRITE, _SHARED = range(3)
_SIMPLE, _FIFO_ARBITER, _REORDER_ARBITER = range(3)
_PAGE, _SCHEDULER, _BUFFER, _SIZE, _RESPONSES, _REFRESH, _POSTPONED, _PULLED_IN, _ARBITER, _MOST_ACTIVE = range(10)
_TOTAL, _LATENCY, _OPEN_TICKS, _NEEDS = 0, 1, 2, 3
_COUNTS = 7

OUTCOME_COLUMNS = _COUNTS + len(COMMANDS)
"""Columns of an outcome: total ticks, latency ticks, open ticks, the four limits needed, then commands by role."""


MOST_REQUESTS = 1 << 17
"""Requests of a trace at most."""


class _Shape(NamedTuple):
    """What `record` asks for."""

    ranks: int
    groups: int
    banks: int
    refresh_interval: int


_STATE = np.dtype(
    [
        ("regs", np.int64, Register.COUNT),
        ("commands", np.int64, 16),
        ("ready_rank", np.int64, (1, 16)),
        ("ready_group", np.int64, (MOST_GROUPS, 16)),
        ("ready_bank", np.int64, (MOST_BANKS, 16)),
        ("activates", np.int64, (1, 4)),
        ("activates_at", np.int64, 1),
        ("open_row", np.int64, MOST_BANKS),
        ("head", np.int64, MOST_BANKS),
        ("tail", np.int64, MOST_BANKS),
        ("hit", np.int64, MOST_BANKS),  # the oldest request for the open row
        ("length", np.int64, MOST_BANKS),
        ("stale", np.int64, MOST_BANKS),  # whether what follows must be found anew
        ("slot", np.int64, MOST_BANKS),
        ("command", np.int64, MOST_BANKS),
        ("waiting", np.int64, 2),  # reads and writes in the buffer
        ("now", np.int64, 24),  # scalars: see _Now
        ("settings", np.int64, 10),
        ("out", np.int64, OUTCOME_COLUMNS),
        ("requests", np.int64),
        ("log", np.int64, (_LOG_ROOM, 5)),
        # Of each request: what the trace says, its neighbours in the bank's list, when it was offered, from when on it
        # may be answered, and whether it was, at the controller. ``cast`` lists requests by column commands.
        ("tick", np.int64, MOST_REQUESTS),
        ("bank", np.int64, MOST_REQUESTS),
        ("row", np.int64, MOST_REQUESTS),
        ("column", np.int64, MOST_REQUESTS),
        ("write", np.int64, MOST_REQUESTS),
        ("following", np.int64, MOST_REQUESTS),
        ("before", np.int64, MOST_REQUESTS),
        ("offered", np.int64, MOST_REQUESTS),
        ("end", np.int64, MOST_REQUESTS),
        ("answered", np.int64, MOST_REQUESTS),
        ("cast", np.int64, MOST_REQUESTS),
    ]
)
"""A run's state. One record, which compiled functions pass by address: arrays passed one by one would have their
references counted at every call."""


class _Now:
    """Indices into ``now``."""

    STORED = 0  # requests that entered the controller
    TAKEN = 1  # ... the arbiter
    OFFERED_AT = 2  # when the next one is first offered
    ACTIVE = 3
    LAST_BANK = 4
    ENTERED = 5  # tick at which the last request entered the controller
    FINISHED = 6
    NEXT_RESPONSE = 7  # position in the response queue
    CAST = 8  # column commands sent
    NEXT_RETURN = 9  # of the reordering arbiter
    TRIGGER = 10
    POSTPONED = 11
    PULLING = 12
    FORCED = 13
    WANTED = 14  # command that refresh wants, or -1
    OPEN_BANKS = 15
    OPEN_SINCE = 16
    LAST_WRITE = 17  # whether the last column command wrote; -1 before the first
    FRESH = 18  # whether the pick below still stands
    PICK_AT = 19
    PICK_BANK = 20


_N = _Now
_STORED, _TAKEN, _OFFERED_AT, _ACTIVE, _LAST_BANK = _N.STORED, _N.TAKEN, _N.OFFERED_AT, _N.ACTIVE, _N.LAST_BANK
_ENTERED, _FINISHED, _NEXT_RESPONSE, _CAST = _N.ENTERED, _N.FINISHED, _N.NEXT_RESPONSE, _N.CAST
_NEXT_RETURN, _TRIGGER, _POSTPONED_NOW, _PULLING = _N.NEXT_RETURN, _N.TRIGGER, _N.POSTPONED, _N.PULLING
_FORCED, _WANTED, _OPEN_BANKS, _OPEN_SINCE = _N.FORCED, _N.WANTED, _N.OPEN_BANKS, _N.OPEN_SINCE
_LAST_WRITE, _FRESH, _PICK_AT, _PICK_BANK = _N.LAST_WRITE, _N.FRESH, _N.PICK_AT, _N.PICK_BANK


@njit
def _begin(s, c, logs):  # type: ignore[no-untyped-def]
    s.regs[:] = 0
    s.regs[_LOGS] = logs
    s.commands[:] = 0
    s.ready_rank[:] = 0
    s.ready_group[: c.groups] = 0
    s.ready_bank[: c.banks] = 0
    s.activates[:] = -FAR
    s.activates_at[:] = 0
    s.open_row[: c.banks] = CLOSED
    s.head[: c.banks] = -1
    s.tail[: c.banks] = -1
    s.hit[: c.banks] = -1
    s.length[: c.banks] = 0
    s.stale[: c.banks] = 1
    s.waiting[:] = 0
    s.now[:] = 0
    s.now[_ENTERED] = -1
    s.now[_TRIGGER] = c.refresh_interval
    s.now[_WANTED] = -1
    s.now[_LAST_WRITE] = -1


@njit
def _respond(s, clk):  # type: ignore[no-untyped-def]
    """Responses of a tick."""
    now = s.now
    n = s.requests
    answered = -1
    at = now[_NEXT_RESPONSE]
    if s.settings[_RESPONSES] == 1:
        if at < n and s.end[at] <= clk:
            answered = at
    elif at < now[_CAST] and s.end[s.cast[at]] <= clk:
        answered = s.cast[at]
    if answered >= 0:
        now[_NEXT_RESPONSE] += 1
        s.answered[answered] = 1
    if s.settings[_ARBITER] == _REORDER_ARBITER:
        answered = -1
        at = now[_NEXT_RETURN]
        if at < n and s.answered[at] == 1:
            answered = at
            now[_NEXT_RETURN] += 1
    if answered >= 0:
        now[_ACTIVE] -= 1
        now[_FINISHED] += 1
        s.out[_LATENCY] += clk - s.offered[answered]
        s.out[_TOTAL] = clk


@njit
def _send(s, clk):  # type: ignore[no-untyped-def]
    """A request may enter the arbiter, and one the controller."""
    now = s.now
    n = s.requests
    if s.settings[_ARBITER] != _SIMPLE:
        i = now[_TAKEN]
        if i < n and now[_OFFERED_AT] <= clk and now[_ACTIVE] < s.settings[_MOST_ACTIVE]:
            s.offered[i] = now[_OFFERED_AT]
            now[_ACTIVE] += 1
            s.out[_NEEDS + 1] = max(s.out[_NEEDS + 1], now[_ACTIVE])
            now[_TAKEN] = i + 1
            if i + 1 < n:
                now[_OFFERED_AT] = max(s.tick[i + 1], clk + 1)
    i = now[_STORED]
    if now[_ENTERED] == clk or i >= n:
        return
    if s.settings[_ARBITER] == _SIMPLE:
        if now[_OFFERED_AT] > clk:
            return
    elif i >= now[_TAKEN]:
        return
    if s.settings[_BUFFER] == _BANKWISE:
        count = s.length[now[_LAST_BANK]]
    elif s.settings[_BUFFER] == _SHARED:
        count = s.waiting[0] + s.waiting[1]
    else:
        count = max(s.waiting[0], s.waiting[1])
    if count >= s.settings[_SIZE]:
        return
    s.out[_NEEDS] = max(s.out[_NEEDS], count + 1)
    now[_ENTERED] = clk
    now[_STORED] = i + 1
    if s.settings[_ARBITER] == _SIMPLE:
        s.offered[i] = now[_OFFERED_AT]
        now[_ACTIVE] += 1
        if i + 1 < n:
            now[_OFFERED_AT] = max(s.tick[i + 1], clk + 1)
    bank = s.bank[i]
    now[_LAST_BANK] = bank
    s.waiting[s.write[i]] += 1
    s.following[i] = -1
    last = s.tail[bank]
    s.before[i] = last
    if last >= 0:
        s.following[last] = i
    else:
        s.head[bank] = i
    s.tail[bank] = i
    s.length[bank] += 1
    if s.hit[bank] < 0 and s.open_row[bank] == s.row[i]:
        s.hit[bank] = i
    s.stale[bank] = 1
    now[_FRESH] = 0


@njit
def _decide_refresh(s, c, clk):  # type: ignore[no-untyped-def]
    """What refresh wants: sets ``WANTED``."""
    now = s.now
    before = now[_WANTED]
    now[_WANTED] = -1
    if s.settings[_REFRESH] == 1 and clk >= now[_TRIGGER]:
        if clk >= now[_TRIGGER] + c.refresh_interval:
            now[_TRIGGER] += c.refresh_interval
            now[_PULLING] = 0
        busy = s.waiting[0] + s.waiting[1] > 0
        if now[_PULLING] == 0:
            if now[_POSTPONED_NOW] == s.settings[_POSTPONED]:
                now[_FORCED] = 1
            else:
                s.out[_NEEDS + 2] = max(s.out[_NEEDS + 2], now[_POSTPONED_NOW] + 1)
                if busy:
                    now[_POSTPONED_NOW] += 1
            if now[_FORCED] == 1 or not busy:
                now[_WANTED] = PREA if now[_OPEN_BANKS] > 0 else REF
            else:
                now[_TRIGGER] += c.refresh_interval
        elif busy:
            now[_PULLING] = 0
            now[_TRIGGER] += c.refresh_interval
        else:
            now[_WANTED] = REF
    if before != now[_WANTED]:
        now[_FRESH] = 0


@njit
def _grouped(s, bank):  # type: ignore[no-untyped-def]
    """The request for the open row that FrFcfsGrp is at, given the oldest of these."""
    first = s.hit[bank]
    row, last_write = s.row[first], s.now[_LAST_WRITE]
    i = first
    while i >= 0:
        if s.row[i] == row and s.write[i] == last_write:
            j = first
            while j != i and not (s.row[j] == row and s.column[j] == s.column[i]):
                j = s.following[j]
            if j == i:
                return i
        i = s.following[i]
    return first


@njit
def _choose(s, bank):  # type: ignore[no-untyped-def]
    """The request the bank is at, and its command."""
    s.stale[bank] = 0
    first = s.head[bank]
    s.slot[bank] = first
    row = s.open_row[bank]
    if row == CLOSED:
        s.command[bank] = ACT
        return
    further = False
    if s.settings[_SCHEDULER] == _FIFO:
        if s.row[first] != row:
            s.command[bank] = PRE
            return
        behind = s.following[first]
        further = behind >= 0 and s.row[behind] == row
    else:
        hit = s.hit[bank]
        if hit < 0:
            s.command[bank] = PRE
            return
        s.slot[bank] = hit
        if s.settings[_PAGE] == _OPEN_ADAPTIVE or s.settings[_PAGE] == _CLOSED_ADAPTIVE:
            behind = s.following[hit]
            while behind >= 0 and s.row[behind] != row:
                behind = s.following[behind]
            further = behind >= 0
        if s.settings[_SCHEDULER] == _GROUPED:
            s.slot[bank] = _grouped(s, bank)
    closing = (
        s.settings[_PAGE] == _CLOSED_PAGE
        or (s.settings[_PAGE] == _OPEN_ADAPTIVE and s.length[bank] > 1 and not further)
        or (s.settings[_PAGE] == _CLOSED_ADAPTIVE and not further)
    )
    if s.write[s.slot[bank]] == 1:
        s.command[bank] = WRA if closing else WR
    else:
        s.command[bank] = RDA if closing else RD


@njit
def _pick(t, s, c, clk):  # type: ignore[no-untyped-def]
    """The first command that becomes legal: its tick, and its bank or -1 for refresh."""
    now = s.now
    best, best_slot, best_bank = FAR, FAR, -1
    if now[_WANTED] >= 0:
        best, best_slot = max(clk, s.ready_rank[0, now[_WANTED]]), -1
    if now[_FORCED] == 0:
        for bank in range(c.banks):
            if s.head[bank] < 0:
                continue
            if s.stale[bank] == 1:
                _choose(s, bank)
            tick = max(clk, earliest(t, s, s.command[bank], bank))
            slot = s.slot[bank]
            if tick < best or (tick == best and slot < best_slot):
                best, best_slot, best_bank = tick, slot, bank
    now[_FRESH] = 1
    now[_PICK_AT] = best
    now[_PICK_BANK] = best_bank


@njit
def _close(s, clk):  # type: ignore[no-untyped-def]
    s.now[_OPEN_BANKS] -= 1
    if s.now[_OPEN_BANKS] == 0:
        s.out[_OPEN_TICKS] += clk - s.now[_OPEN_SINCE]


@njit
def _command_refresh(t, s, c, clk):  # type: ignore[no-untyped-def]
    now = s.now
    command = now[_WANTED]
    record(t, c, s, command, 0, -1, -1, clk)
    if command == PREA:
        now[_OPEN_BANKS] = 0
        s.out[_OPEN_TICKS] += clk - now[_OPEN_SINCE]
        s.open_row[: c.banks] = CLOSED
        s.hit[: c.banks] = -1
        s.stale[: c.banks] = 1
        return
    now[_FORCED] = 0
    if now[_PULLING] == 1:
        now[_POSTPONED_NOW] -= 1
    else:
        now[_PULLING] = 1
    if now[_POSTPONED_NOW] == -s.settings[_PULLED_IN]:
        now[_PULLING] = 0
        now[_TRIGGER] += c.refresh_interval
        s.out[_NEEDS + 3] = s.settings[_PULLED_IN]
    else:
        s.out[_NEEDS + 3] = max(s.out[_NEEDS + 3], 1 - now[_POSTPONED_NOW])


@njit
def _command_bank(t, s, c, bank, clk):  # type: ignore[no-untyped-def]
    now = s.now
    command, slot = s.command[bank], s.slot[bank]
    row = s.row[slot]
    record(t, c, s, command, 0, bank, -1 if command == PRE else row, clk)
    s.stale[bank] = 1
    if command == ACT:
        if now[_OPEN_BANKS] == 0:
            now[_OPEN_SINCE] = clk
        now[_OPEN_BANKS] += 1
        s.open_row[bank] = row
        s.hit[bank] = slot
        return False
    if command == PRE:
        s.open_row[bank] = CLOSED
        s.hit[bank] = -1
        _close(s, clk)
        return False
    before, after = s.before[slot], s.following[slot]
    if before >= 0:
        s.following[before] = after
    else:
        s.head[bank] = after
    if after >= 0:
        s.before[after] = before
    else:
        s.tail[bank] = before
    s.length[bank] -= 1
    write = s.write[slot]
    s.waiting[write] -= 1
    if now[_LAST_WRITE] != write:
        now[_LAST_WRITE] = write
        s.stale[: c.banks] = 1
    if command in (RDA, WRA):
        s.open_row[bank] = CLOSED
        s.hit[bank] = -1
        _close(s, clk)
    elif s.hit[bank] == slot:
        while after >= 0 and s.row[after] != row:
            after = s.following[after]
        s.hit[bank] = after
    s.end[slot] = clk + (t.write_latency if write == 1 else t.read_latency)
    s.cast[now[_CAST]] = slot
    now[_CAST] += 1
    return True


@njit
def _following(s, clk):  # type: ignore[no-untyped-def]
    """The next tick at which responses, requests or refresh may do anything by themselves."""
    now = s.now
    n = s.requests
    following = FAR
    at = now[_NEXT_RESPONSE]
    if s.settings[_RESPONSES] == 1:
        if at < n:
            following = s.end[at]
    elif at < now[_CAST]:
        following = s.end[s.cast[at]]
    if s.settings[_ARBITER] == _SIMPLE:
        if now[_STORED] < n and (now[_ENTERED] == clk or now[_OFFERED_AT] > clk):
            following = min(following, now[_OFFERED_AT])
    else:
        if s.settings[_ARBITER] == _REORDER_ARBITER and now[_NEXT_RETURN] < n and s.answered[now[_NEXT_RETURN]] == 1:
            following = clk + 1
        if now[_TAKEN] < n and now[_ACTIVE] < s.settings[_MOST_ACTIVE]:
            following = min(following, now[_OFFERED_AT])
        if now[_STORED] < now[_TAKEN] and now[_ENTERED] == clk:
            following = clk + 1
    if s.settings[_REFRESH] == 1 and now[_TRIGGER] > clk:
        following = min(following, now[_TRIGGER])
    return following


@njit
def _run(t, c, s, logs):  # type: ignore[no-untyped-def]
    """One run with what the state has as settings and requests; whether it came to its end."""
    _begin(s, c, logs)
    n = s.requests
    now = s.now
    s.out[:] = 0
    s.out[_NEEDS : _NEEDS + 4] = 1
    for i in range(n):
        s.end[i] = FAR
        s.answered[i] = 0
    now[_OFFERED_AT] = s.tick[0]
    clk = np.int64(0)
    while True:
        _respond(s, clk)
        if now[_FINISHED] == n:
            break
        _send(s, clk)
        _decide_refresh(s, c, clk)
        if now[_FRESH] == 0:
            _pick(t, s, c, clk)
        if now[_PICK_AT] == clk:
            if logs and s.regs[_LOGGED] == _LOG_ROOM:
                return False
            bank = now[_PICK_BANK]
            if bank < 0:
                _command_refresh(t, s, c, clk)
            elif _command_bank(t, s, c, bank, clk):
                _send(s, clk)
            _decide_refresh(s, c, clk)
            _pick(t, s, c, clk + 1)
        following = min(_following(s, clk), now[_PICK_AT])
        if following == FAR:
            return False
        clk = max(clk + 1, following)
    if now[_OPEN_BANKS] > 0:
        s.out[_OPEN_TICKS] += s.out[_TOTAL] - now[_OPEN_SINCE]
    s.out[_COUNTS:] = s.commands[: OUTCOME_COLUMNS - _COUNTS]
    return True


def _cached(stamp: int) -> Callable[..., int]:
    """Several runs, kept compiled on disk for sources of this ``stamp`` (see `simulator.memory.compiled`)."""

    @njit(cache=True, nogil=True)
    def run(tables, c, states, settings, out, logs):  # type: ignore[no-untyped-def]
        if stamp < 0:
            raise ValueError("no sources")
        s = states[0]
        for i in range(len(settings)):
            s.settings[:] = settings[i]
            if not _run(tables[0], c, s, logs):
                return i
            out[i] = s.out
        return len(settings)

    return run


_SOURCES = ("queued_kernel.py", "kernel_commands.py", "kernel_state.py", "tables.py")
_compiled_run = _cached(sources_stamp(Path(__file__).parent / name for name in _SOURCES))


@dataclass(frozen=True)
class Runner:
    """A device and a trace made ready for many runs, one after another."""

    tables: Tables
    shape: _Shape
    state: NDArray[Any]

    @classmethod
    def of(cls, device: Device, trace: QueuedTrace) -> Runner:
        """Raises `InputError` for a device this controller cannot have and a trace that is too long."""
        check_device(device)
        if len(trace) > MOST_REQUESTS:
            raise InputError(f"{len(trace):,} requests", f"at most {MOST_REQUESTS:,}", "trace")
        state = np.zeros(1, dtype=_STATE)
        state["requests"] = len(trace)
        for name in ("tick", "bank", "row", "column", "write"):
            state[name][0, : len(trace)] = getattr(trace, name)
        shape = _Shape(1, device.banks // device.shape[3], device.banks, device.timing["nREFI"])
        return cls(compile_tables(device), shape, state)

    def run(self, settings: NDArray[np.int64], *, log: bool = False) -> NDArray[np.int64]:
        """Runs with each row of ``settings`` (runs, 10), in the order of `QueuedController.numbers`; outcomes
        (runs, `OUTCOME_COLUMNS`)."""
        out = np.zeros((len(settings), OUTCOME_COLUMNS), dtype=np.int64)
        rows = np.ascontiguousarray(settings, np.int64)
        done = _compiled_run(self.tables, self.shape, self.state, rows, out, int(log))
        if done < len(settings):
            raise RuntimeError(f"a run with settings {rows[done].tolist()} came to a standstill, or its log is full")
        return out


def outcome_of(row: Sequence[int] | NDArray[np.int64], requests: int) -> QueuedOutcome:
    """One row of what `Runner.run` gives."""
    numbers = [int(value) for value in row]
    total, latency, opened, size, active, postponed, pulled_in = numbers[:_COUNTS]
    needed = (size, active, postponed, pulled_in)
    return QueuedOutcome(total, latency, opened, requests, tuple(numbers[_COUNTS:]), needed)


def run_queued(
    device: Device, trace: QueuedTrace, controller: QueuedController, *, log: bool = False
) -> tuple[QueuedOutcome, CommandLog]:
    """One run; the log of its commands is empty unless ``log``, and then the run must be short (some 30,000 commands).

    Raises `InputError` for a device this controller cannot have and a trace that is too long.
    """
    runner = Runner.of(device, trace)
    out = runner.run(np.array([controller.numbers], dtype=np.int64), log=log)
    state = runner.state[0]
    rows = state["log"][: int(state["regs"][_LOGGED])]
    return outcome_of(out[0], len(trace)), CommandLog(*(np.ascontiguousarray(rows[:, i]) for i in range(5)))
