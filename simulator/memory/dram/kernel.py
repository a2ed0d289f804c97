"""The compiled controller of one channel: the rules of `controller`, tick by tick where anything can happen.

A tick is visited when a request may be accepted, a refresh falls due, a command was sent the tick before, or the best
pick becomes legal; all others are jumped over, because nothing they look at has changed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba import njit
from numpy.typing import NDArray

from simulator.memory.compiled import sources_stamp
from simulator.memory.dram.controller import Controller, check_controller
from simulator.memory.dram.device import Device
from simulator.memory.dram.kernel_buses import one_bus, split_activation, two_buses
from simulator.memory.dram.kernel_commands import enqueue
from simulator.memory.dram.kernel_state import FAR, LOG_ROOM, STATE, Register, Settings, State, new_state, settings
from simulator.memory.dram.outcome import ChannelOutcome, CommandLog
from simulator.memory.dram.requests import Requests
from simulator.memory.dram.tables import COMMANDS, Tables, compile_tables

__all__ = ["DRAINED", "NEED_REQUESTS", "PAUSED", "Channel", "run_channel"]

DRAINED, NEED_REQUESTS, PAUSED, _LOG_FULL = range(4)

_R = Register
_CLK, _NEXT, _OFFERED, _ACTIVE, _DIRTY = _R.CLK, _R.NEXT, _R.OFFERED, _R.ACTIVE, _R.DIRTY
_MAINTENANCE_HEAD, _MAINTENANCE_COUNT = _R.MAINTENANCE_HEAD, _R.MAINTENANCE_COUNT
_PENDING_SLOT, _CAS_SLOT = _R.PENDING_SLOT, _R.CAS_SLOT
_READS, _WRITES, _FORWARDED, _MERGED = _R.READS, _R.WRITES, _R.FORWARDED, _R.MERGED
_LATENCY, _ACCEPTED, _DRAINED_AT, _LOGGED = _R.LATENCY, _R.ACCEPTED, _R.DRAINED, _R.LOGGED
_LOG_ROOM = LOG_ROOM - 8  # more than one tick sends
_STRETCH = 1 << 22  # ticks between looks at whether to stop: well under a second
_ALL_BANK, _PER_BANK = 0, 1
_RING = STATE["maintenance"].shape[0]


@njit
def _waiting_write(s, bank, row, column):  # type: ignore[no-untyped-def]
    slot = s.head[1, bank]
    while slot >= 0:
        if s.slot_row[slot] == row and s.slot_column[slot] == column:
            return True
        slot = s.slot_next[slot]
    return False


@njit
def _offer(c, s, bank, row, column, write, now):  # type: ignore[no-untyped-def]
    """Accept the request at time ``now`` if there is room; whether it was."""
    regs = s.regs
    known = s.length[1] > 0 and _waiting_write(s, bank, row, column)
    if write:
        if known:
            regs[_MERGED] += 1
        elif s.length[1] < c.write_queue:
            enqueue(c, s, 1, bank, row, column, now, regs[_NEXT])
        else:
            return False
        regs[_WRITES] += 1
    else:
        if known:
            regs[_FORWARDED] += 1
            regs[_LATENCY] += 1
            regs[_DRAINED_AT] = max(regs[_DRAINED_AT], now + 1)
        elif s.length[0] < c.read_queue:
            enqueue(c, s, 0, bank, row, column, now, regs[_NEXT])
        else:
            return False
        regs[_READS] += 1
    regs[_NEXT] += 1
    regs[_ACCEPTED] = now
    return True


@njit
def _maintain(s, target):  # type: ignore[no-untyped-def]
    regs = s.regs
    ring = s.maintenance
    ring[(regs[_MAINTENANCE_HEAD] + regs[_MAINTENANCE_COUNT]) % _RING] = target
    regs[_MAINTENANCE_COUNT] += 1
    regs[_DIRTY] = 1


@njit
def _idle(s):  # type: ignore[no-untyped-def]
    regs = s.regs
    return s.length[0] == 0 and s.length[1] == 0 and regs[_ACTIVE] == 0 and regs[_PENDING_SLOT] < 0


@njit
def _refresh(c, s, clk):  # type: ignore[no-untyped-def]
    """What falls due at ``clk``."""
    if c.refresh == _ALL_BANK:
        due = clk % c.refresh_interval == 0
        for rank in range(c.ranks):
            if due:
                s.debt[rank] += 1
            owed = s.debt[rank]
            if owed > -c.pull_in and s.refresh_waits[rank] == 0 and (owed > c.postpone or _idle(s)):
                s.debt[rank] = owed - 1
                s.refresh_waits[rank] = 1
                _maintain(s, rank)
    elif c.refresh == _PER_BANK and clk % c.bank_interval == 0:
        for rank in range(c.ranks):
            _maintain(s, c.ranks + rank * c.rank_banks + s.next_bank[rank])
            s.next_bank[rank] = (s.next_bank[rank] + 1) % c.rank_banks


@njit
def _advance(tables, c, states, first, bank, row, column, write, last, pause_at):  # type: ignore[no-untyped-def]
    """Run until the requests given (numbered from ``first``) are used up, the run is drained, or ``pause_at`` comes.

    ``last`` says that no more requests follow. Returns one of the codes above.
    """
    t, s = tables[0], states[0]
    regs = s.regs
    end = first + len(bank)
    clk = regs[_CLK] + 1
    while True:
        if clk >= pause_at and regs[_OFFERED] == 0:
            regs[_CLK] = clk - 1
            return PAUSED
        if regs[_LOGGED] > _LOG_ROOM:
            regs[_CLK] = clk - 1
            return _LOG_FULL
        refused = False
        tries = c.tries if clk > 1 else 1
        while regs[_OFFERED] < tries:
            index = regs[_NEXT]
            if index >= end:
                if not last:
                    regs[_CLK] = clk - 1
                    return NEED_REQUESTS
                break
            if index * c.interval > clk - 1:
                break
            i = index - first
            if not _offer(c, s, bank[i], row[i], column[i], write[i], clk - 1):
                refused = True
                break
            regs[_OFFERED] += 1
        regs[_OFFERED] = 0
        regs[_CLK] = clk
        _refresh(c, s, clk)
        if t.second_activate > 0:
            following = split_activation(t, c, s, clk)
        elif t.split_buses:
            following = two_buses(t, c, s, clk)
        else:
            following = one_bus(t, c, s, clk)
        if regs[_NEXT] >= end:
            if last and _idle(s) and regs[_CAS_SLOT] < 0:
                return DRAINED
            if not last:
                following = clk + 1
        elif not refused:
            following = min(following, max(clk, regs[_NEXT] * c.interval) + 1)
        if c.refresh == _ALL_BANK:
            following = min(following, (clk // c.refresh_interval + 1) * c.refresh_interval)
        elif c.refresh == _PER_BANK:
            following = min(following, (clk // c.bank_interval + 1) * c.bank_interval)
        clk = min(following, max(pause_at, clk + 1))


def _cached(stamp: int) -> Callable[..., int]:
    """`_advance`, kept compiled on disk for sources of this ``stamp`` (see `simulator.memory.compiled`)."""

    @njit(cache=True, nogil=True)
    def advance(tables, c, states, first, bank, row, column, write, last, pause_at):  # type: ignore[no-untyped-def]
        if stamp < 0:
            raise ValueError("no sources")
        return _advance(tables, c, states, first, bank, row, column, write, last, pause_at)

    return advance


_SOURCES = ("kernel.py", "kernel_buses.py", "kernel_commands.py", "kernel_pick.py", "kernel_state.py", "tables.py")
_compiled_advance = _cached(sources_stamp(Path(__file__).parent / name for name in _SOURCES))


@dataclass
class Channel:
    """One channel in the middle of a run; setting ``stop`` from another thread ends `advance` within a moment."""

    tables: Tables
    settings: Settings
    state: State
    logged: list[NDArray[np.int64]]
    stop: threading.Event

    @classmethod
    def new(
        cls, device: Device, controller: Controller, *, log: bool = False, stop: threading.Event | None = None
    ) -> Channel:
        """A channel before its first tick; with ``log`` it keeps every command."""
        check_controller(controller, device)
        state = new_state(controller, device, log=log)
        return cls(compile_tables(device), settings(controller, device), state, [], stop or threading.Event())

    def advance(self, requests: Requests, first: int, *, last: bool, pause_at: int = FAR) -> int:
        """Go on with ``requests``, which are numbered from ``first`` in the whole stream.

        ``last`` says that none follow. Returns DRAINED, NEED_REQUESTS, or PAUSED before tick ``pause_at``. Raises
        `InterruptedError` when the channel was told to stop.
        """
        part = (requests.bank, requests.row, requests.column, requests.write)
        while True:
            until = min(pause_at, int(self.state["regs"][0, _CLK]) + _STRETCH)
            code = int(_compiled_advance(self.tables, self.settings, self.state, first, *part, last, until))
            if self.stop.is_set():
                raise InterruptedError("the run was stopped")
            if code == _LOG_FULL:
                self._keep_log()
            elif code != PAUSED or until == pause_at:
                return code

    def _keep_log(self) -> None:
        regs = self.state["regs"][0]
        self.logged.append(self.state["log"][0, : int(regs[Register.LOGGED])].copy())
        regs[Register.LOGGED] = 0

    def outcome(self) -> ChannelOutcome:
        """The counts so far; rows still open count as open until the last byte has moved."""
        regs, state = self.state["regs"][0], self.state[0]
        drained = int(regs[Register.DRAINED])
        open_ticks = int(regs[Register.OPEN_TICKS])
        for since, banks in zip(state["open_since"], state["open_banks"], strict=True):
            open_ticks += max(0, drained - int(since)) if banks else 0
        return ChannelOutcome(
            accepted_ticks=int(regs[Register.ACCEPTED]),
            drained_ticks=drained,
            reads=int(regs[Register.READS]),
            writes=int(regs[Register.WRITES]),
            forwarded=int(regs[Register.FORWARDED]),
            merged=int(regs[Register.MERGED]),
            hits=int(regs[Register.HITS]),
            misses=int(regs[Register.MISSES]),
            conflicts=int(regs[Register.CONFLICTS]),
            read_latency_ticks=int(regs[Register.LATENCY]),
            open_ticks=open_ticks,
            commands=tuple(int(n) for n in state["commands"][: len(COMMANDS)]),
        )

    def log(self) -> CommandLog:
        """Every command so far, if they are kept."""
        self._keep_log()
        log = np.concatenate(self.logged)
        return CommandLog(*(np.ascontiguousarray(log[:, i]) for i in range(5)))


def run_channel(
    device: Device, controller: Controller, requests: Requests, *, log: bool = True
) -> tuple[ChannelOutcome, CommandLog]:
    """Serve ``requests`` on one channel of ``device``, drained; the log is empty unless ``log``."""
    channel = Channel.new(device, controller, log=log)
    if channel.advance(requests, 0, last=True) != DRAINED:
        raise RuntimeError(f"{device.name} came to a standstill with requests left")
    return channel.outcome(), channel.log()
