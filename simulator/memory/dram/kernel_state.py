"""The compiled controller's state: one record of flat arrays per channel, which the kernel changes in place."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from simulator.memory.dram.controller import PAGE_POLICIES, REFRESHES, SCHEDULERS, Controller
from simulator.memory.dram.device import Device
from simulator.memory.dram.tables import MOST_BANKS, MOST_GROUPS, MOST_RANKS

__all__ = ["ACTIVATING", "CLOSED", "FAR", "LOG_ROOM", "STATE", "Register", "Settings", "State", "new_state", "settings"]
__all__ += ["MOST_SLOTS"]

CLOSED = -1
ACTIVATING = -2
FAR = 1 << 60
"""A tick that never comes."""

_COMMAND_WIDTH = 16
_MAINTENANCE = 4096


class Settings(NamedTuple):
    """A controller's settings as numbers; ``scheduler``, ``page`` and ``refresh`` count in their tuples of names."""

    scheduler: int
    page: int
    refresh: int
    read_queue: int
    write_queue: int
    write_high: float
    write_low: float
    timeout: int
    hit_cap: int
    postpone: int
    pull_in: int
    tries: int
    interval: int
    refresh_interval: int
    bank_interval: int
    ranks: int
    groups: int
    banks: int
    rank_banks: int


class Register:
    """Indices into the state's ``regs``, its scalars."""

    CLK = 0  # the last tick that was processed or jumped over
    NEXT = 1  # requests accepted so far
    OFFERED = 2  # requests accepted before the tick in progress
    WRITE_MODE = 3
    ACTIVE = 4  # requests of the active list
    FREE = 5  # free slots
    MAINTENANCE_HEAD = 6
    MAINTENANCE_COUNT = 7
    PENDING_SLOT = 8  # the request between its ACT1 and its ACT2
    PENDING_DEADLINE = 9
    CAS_SLOT = 10  # the request whose CAS was sent, and where it stands
    CAS_ACTIVE = 11
    CLOCK_UNTIL = 12  # data clock
    PAIR_TICK = 13  # the even tick paired with the last row command of an odd tick
    PAIR_RANK = 14
    PAIR_BANK = 15
    DIRTY = 16  # whether the picks kept below are out of date
    COLUMN_TIME = 17  # picks kept from the last look: their tick, slot and where they come from
    COLUMN_SLOT = 18
    COLUMN_FROM = 19
    ROW_TIME = 20
    ROW_SLOT = 21
    ROW_FROM = 22
    ROW_COMMAND = 23
    LOGGED = 24  # commands in the log, and whether any are kept
    LOGS = 25
    PROMOTED = 26  # requests that ever joined the active list
    # What follows is counted, and grows by the same amount in every equal stretch of a run.
    READS = 32
    WRITES = 33
    FORWARDED = 34
    MERGED = 35
    HITS = 36
    MISSES = 37
    CONFLICTS = 38
    LATENCY = 39
    OPEN_TICKS = 40
    COUNTED_END = 41
    # Absolute ticks.
    ACCEPTED = 41
    DRAINED = 42
    COUNT = 48


MOST_SLOTS = 2600
"""Requests at once: the largest queues, and one request per bank in the active list."""

LOG_ROOM = 4096

STATE = np.dtype(
    [
        ("regs", np.int64, Register.COUNT),
        ("commands", np.int64, _COMMAND_WIDTH),  # [command] sent so far
        ("ready_rank", np.int64, (MOST_RANKS, _COMMAND_WIDTH)),  # [rank, command] earliest tick
        ("ready_group", np.int64, (MOST_GROUPS, _COMMAND_WIDTH)),
        ("ready_bank", np.int64, (MOST_BANKS, _COMMAND_WIDTH)),
        ("activates", np.int64, (MOST_RANKS, 4)),  # [rank] the last four
        ("activates_at", np.int64, MOST_RANKS),
        ("open_row", np.int64, MOST_BANKS),
        ("last_use", np.int64, MOST_BANKS),
        ("columns", np.int64, MOST_BANKS),  # served since the activation
        ("timeout", np.int64, MOST_BANKS),
        ("timed_out_row", np.int64, MOST_BANKS),
        ("active_slot", np.int64, MOST_BANKS),
        ("active_bank", np.int64, MOST_BANKS),  # [i] banks with a request in the active list
        ("open_banks", np.int64, MOST_RANKS),
        ("open_since", np.int64, MOST_RANKS),
        ("debt", np.int64, MOST_RANKS),
        ("refresh_waits", np.int64, MOST_RANKS),
        ("next_bank", np.int64, MOST_RANKS),
        ("maintenance", np.int64, _MAINTENANCE),  # ring: rank, or ranks + bank
        ("slot_bank", np.int64, MOST_SLOTS),
        ("slot_row", np.int64, MOST_SLOTS),
        ("slot_column", np.int64, MOST_SLOTS),
        ("slot_age", np.int64, MOST_SLOTS),
        ("slot_arrive", np.int64, MOST_SLOTS),
        ("slot_write", np.int64, MOST_SLOTS),
        ("slot_counted", np.int64, MOST_SLOTS),
        ("slot_promoted", np.int64, MOST_SLOTS),
        ("slot_next", np.int64, MOST_SLOTS),
        ("slot_previous", np.int64, MOST_SLOTS),
        ("free", np.int64, MOST_SLOTS),
        ("length", np.int64, 2),  # [queue]
        ("batch_end", np.int64, 2),
        ("head", np.int64, (2, MOST_BANKS)),
        ("tail", np.int64, (2, MOST_BANKS)),
        ("hit", np.int64, (2, MOST_BANKS)),  # the oldest request for the open row
        ("waiting", np.int64, (2, MOST_BANKS)),  # [queue, i] banks with requests
        ("waiting_at", np.int64, (2, MOST_BANKS)),  # [queue, bank]
        ("waiting_count", np.int64, 2),
        # The candidates of each queue, column commands and row commands apart: banks, their requests and commands.
        ("candidate", np.int64, (2, 2, MOST_BANKS)),  # [queue, kind, i] banks
        ("candidate_at", np.int64, (2, 2, MOST_BANKS)),  # [queue, kind, bank]
        ("candidate_count", np.int64, (2, 2)),
        ("candidate_slot", np.int64, (2, 2, MOST_BANKS)),  # [queue, kind, bank]
        ("candidate_command", np.int64, (2, 2, MOST_BANKS)),
        ("log", np.int64, (LOG_ROOM, 5)),  # [i] tick, command, rank, bank, row
    ]
)
"""One channel. Slots hold requests; queue 0 holds reads, 1 writes; -1 stands for none.

A record with arrays of fixed size: compiled functions pass it by address, which costs nothing, where tuples of arrays
would count references at every call.
"""

State = np.ndarray[Any, Any]
"""A record array of one `STATE`."""


def settings(controller: Controller, device: Device) -> Settings:
    """``controller`` in numbers for ``device``."""
    ranks = device.shape[0]
    rank_banks = device.banks // ranks
    return Settings(
        scheduler=SCHEDULERS.index(controller.scheduler),
        page=PAGE_POLICIES.index(controller.page),
        refresh=REFRESHES.index(controller.refresh),
        read_queue=controller.read_queue,
        write_queue=controller.write_queue,
        write_high=controller.write_high * controller.write_queue,
        write_low=controller.write_low * controller.write_queue,
        timeout=controller.timeout_ticks,
        hit_cap=controller.hit_cap,
        postpone=controller.postpone,
        pull_in=controller.pull_in,
        tries=controller.tries_per_tick,
        interval=controller.interval_ticks,
        refresh_interval=device.timing["nREFI"],
        bank_interval=device.timing["nREFI"] // rank_banks,
        ranks=ranks,
        groups=device.banks // device.shape[3],
        banks=device.banks,
        rank_banks=rank_banks,
    )


def new_state(controller: Controller, device: Device, *, log: bool = False) -> State:
    """The state before the first tick: all banks closed, queues empty, nothing ever sent."""
    slots = controller.read_queue + controller.write_queue + device.banks + 1
    state = np.zeros(1, dtype=STATE)
    one = state[0]
    for register in (Register.PENDING_SLOT, Register.CAS_SLOT, Register.PAIR_TICK, Register.PAIR_RANK):
        one["regs"][register] = -1
    one["regs"][Register.FREE] = slots
    one["regs"][Register.DIRTY] = 1
    one["regs"][Register.LOGS] = log
    one["free"][:slots] = np.arange(slots)[::-1]  # low numbers are used first: they share cache lines
    one["activates"][:] = -FAR
    one["open_row"][:] = CLOSED
    one["timeout"][:] = controller.timeout_ticks
    for field in ("timed_out_row", "active_slot", "slot_next", "slot_previous", "batch_end"):
        one[field][:] = -1
    for field in ("head", "tail", "hit", "waiting", "waiting_at", "candidate_at"):
        one[field][:] = -1
    return state
