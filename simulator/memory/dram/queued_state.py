"""The state of a run of the queued controller: one record of flat arrays, which the compiled rules change in place."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numba import njit

from simulator.memory.dram.kernel_state import CLOSED, FAR, Register
from simulator.memory.dram.tables import COMMANDS, MOST_BANKS, MOST_GROUPS

__all__ = ["LOG_ROOM", "MOST_REQUESTS", "OUTCOME_COLUMNS", "QUEUED_STATE", "Now", "Out", "Setting", "Shape", "begin"]

LOG_ROOM = 1 << 15
MOST_REQUESTS = 1 << 17
"""Requests of a trace at most."""


class Out:
    """Columns of an outcome; commands by role stand from ``COMMANDS`` on."""

    TOTAL = 0  # ticks
    LATENCY = 1
    OPEN_TICKS = 2
    NEEDS = 3  # four limits: buffer size, active, postponed, pulled in
    COMMANDS = 7


OUTCOME_COLUMNS = Out.COMMANDS + len(COMMANDS)


class Setting:
    """Places in `queued.QueuedController.numbers`."""

    PAGE = 0
    SCHEDULER = 1
    BUFFER = 2
    SIZE = 3
    RESPONSES = 4
    REFRESH = 5
    POSTPONED = 6
    PULLED_IN = 7
    ARBITER = 8
    MOST_ACTIVE = 9


class Shape(NamedTuple):
    """What `record` asks for."""

    ranks: int
    groups: int
    banks: int
    refresh_interval: int


QUEUED_STATE = np.dtype(
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
        ("now", np.int64, 24),  # scalars: see `Now`
        ("settings", np.int64, 10),
        ("out", np.int64, OUTCOME_COLUMNS),
        ("requests", np.int64),
        ("log", np.int64, (LOG_ROOM, 5)),
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


class Now:
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
    FORCED_AT = 21  # the tick in which the refresh in progress was forced


_LOGS = Register.LOGS
_ENTERED, _TRIGGER, _WANTED, _LAST_WRITE = Now.ENTERED, Now.TRIGGER, Now.WANTED, Now.LAST_WRITE


@njit
def begin(s, c, logs):  # type: ignore[no-untyped-def]
    """Before the first tick: all banks closed, nothing sent; requests and settings stay."""
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
