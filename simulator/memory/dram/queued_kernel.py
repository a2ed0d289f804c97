"""Compiled: runs of the queued controller, tick by tick where anything can happen.

A tick is visited when a request may be sent or enter, a response may leave, a refresh falls due, a command was sent the
tick before, or the first command becomes legal.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from simulator.memory.compiled import sources_stamp
from simulator.memory.dram.device import Device
from simulator.memory.dram.kernel_state import FAR, Register
from simulator.memory.dram.outcome import CommandLog
from simulator.memory.dram.queued import QueuedController, QueuedOutcome, QueuedTrace, check_device
from simulator.memory.dram.queued_rules import (
    command_bank,
    command_refresh,
    decide_refresh,
    following,
    pick,
    respond,
    send,
)
from simulator.memory.dram.queued_state import (
    LOG_ROOM,
    MOST_REQUESTS,
    OUTCOME_COLUMNS,
    QUEUED_STATE,
    Now,
    Out,
    Shape,
    begin,
)
from simulator.memory.dram.tables import Tables, compile_tables
from workloads.errors import InputError

__all__ = ["MOST_REQUESTS", "OUTCOME_COLUMNS", "Runner", "outcome_of", "run_queued"]

_FINISHED, _OFFERED_AT, _FRESH = Now.FINISHED, Now.OFFERED_AT, Now.FRESH
_PICK_AT, _PICK_BANK, _OPEN_BANKS, _OPEN_SINCE = Now.PICK_AT, Now.PICK_BANK, Now.OPEN_BANKS, Now.OPEN_SINCE
_TOTAL, _OPEN_TICKS, _NEEDS, _COUNTS = Out.TOTAL, Out.OPEN_TICKS, Out.NEEDS, Out.COMMANDS
_LOGGED = Register.LOGGED


@njit
def _run(t, c, s, logs):  # type: ignore[no-untyped-def]
    """One run with what the state has as settings and requests; whether it came to its end."""
    begin(s, c, logs)
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
        respond(s, clk)
        if now[_FINISHED] == n:
            break
        send(s, clk)
        decide_refresh(s, c, clk)
        if now[_FRESH] == 0:
            pick(t, s, c, clk)
        if now[_PICK_AT] == clk:
            if logs and s.regs[_LOGGED] == LOG_ROOM:
                return False
            bank = now[_PICK_BANK]
            if bank < 0:
                command_refresh(t, s, c, clk)
            elif command_bank(t, s, c, bank, clk):
                send(s, clk)
            decide_refresh(s, c, clk)
            pick(t, s, c, clk + 1)
        coming = min(following(s, clk), now[_PICK_AT])
        if coming == FAR:
            return False
        clk = max(clk + 1, coming)
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


_QUEUED = ("queued_kernel.py", "queued_rules.py", "queued_state.py")
_SOURCES = (*_QUEUED, "kernel_commands.py", "kernel_state.py", "tables.py")
_compiled_run = _cached(sources_stamp(Path(__file__).parent / name for name in _SOURCES))


@dataclass(frozen=True)
class Runner:
    """A device and a trace made ready for many runs, one after another."""

    tables: Tables
    shape: Shape
    state: NDArray[Any]

    @classmethod
    def of(cls, device: Device, trace: QueuedTrace) -> Runner:
        """Raises `InputError` for a device this controller cannot have and a trace that is too long."""
        check_device(device)
        if len(trace) > MOST_REQUESTS:
            raise InputError(f"{len(trace):,} requests", f"at most {MOST_REQUESTS:,}", "trace")
        state = np.zeros(1, dtype=QUEUED_STATE)
        state["requests"] = len(trace)
        for name in ("tick", "bank", "row", "column", "write"):
            state[name][0, : len(trace)] = getattr(trace, name)
        shape = Shape(1, device.banks // device.shape[3], device.banks, device.timing["nREFI"])
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
