"""Compiled: what of a channel's state decides its future, and the state moved to a later place of the stream.

A state is written down with times counted from now, ages from the next request and banks and rows as the stream's first
shift names them (`steady_shift`). A waiting request is known by its age alone, since the stream says the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from simulator.memory.compiled import sources_stamp
from simulator.memory.dram.kernel_state import FAR, STATE, Register, Settings
from simulator.memory.dram.steady_shift import rename
from simulator.memory.dram.tables import COMMANDS, MOST_BANKS, MOST_GROUPS

__all__ = ["carry_state", "move", "room", "write_key"]

_R = Register
_CLK, _NEXT, _OFFERED, _WRITE_MODE, _ACTIVE, _DIRTY = _R.CLK, _R.NEXT, _R.OFFERED, _R.WRITE_MODE, _R.ACTIVE, _R.DIRTY
_MAINTENANCE_HEAD, _MAINTENANCE_COUNT = _R.MAINTENANCE_HEAD, _R.MAINTENANCE_COUNT
_PENDING_SLOT, _PENDING_DEADLINE = _R.PENDING_SLOT, _R.PENDING_DEADLINE
_CAS_SLOT, _CAS_ACTIVE, _CLOCK_UNTIL = _R.CAS_SLOT, _R.CAS_ACTIVE, _R.CLOCK_UNTIL
_PAIR_TICK, _PAIR_RANK, _PAIR_BANK = _R.PAIR_TICK, _R.PAIR_RANK, _R.PAIR_BANK
_LATENCY, _OPEN_TICKS, _ACCEPTED, _DRAINED, _FREE = _R.LATENCY, _R.OPEN_TICKS, _R.ACCEPTED, _R.DRAINED, _R.FREE
_CAPPED = 2
_TIMEOUT_PAGE = 2
_COMMANDS = len(COMMANDS)
_PER_SLOT = 3


def room(c: Settings, slots: int) -> int:
    """Numbers that `write_key` or `carry_state` may write at most."""
    return (c.ranks + c.groups) * 24 + c.banks * 48 + slots * 12 + int(STATE["maintenance"].shape[0]) + 128


@njit
def _live_slots(s):  # type: ignore[no-untyped-def]
    """Slots of all requests in the controller, the oldest first."""
    regs = s.regs
    count = s.length[0] + s.length[1] + regs[_ACTIVE] + (1 if regs[_PENDING_SLOT] >= 0 else 0)
    slots, ages = np.empty(count, np.int64), np.empty(count, np.int64)
    at = 0
    for queue in range(2):
        for i in range(s.waiting_count[queue]):
            slot = s.head[queue, s.waiting[queue, i]]
            while slot >= 0:
                slots[at] = slot
                at += 1
                slot = s.slot_next[slot]
    for i in range(regs[_ACTIVE]):
        slots[at] = s.active_slot[s.active_bank[i]]
        at += 1
    if regs[_PENDING_SLOT] >= 0:
        slots[at] = regs[_PENDING_SLOT]
    for i in range(count):
        ages[i] = s.slot_age[slots[i]]
    return slots[np.argsort(ages)]


@njit
def _settle(c, s, slots, now):  # type: ignore[no-untyped-def]
    """Count latencies and ticks with rows open up to now, so that how long they have lasted is no part of the state.

    Of arrivals only their order matters from here on; so they are set to the last ticks before now, equal where they
    were equal, and what that takes off the latencies to come is counted at once.
    """
    regs = s.regs
    for rank in range(c.ranks):
        if s.open_banks[rank] > 0:
            regs[_OPEN_TICKS] += now - s.open_since[rank]
            s.open_since[rank] = now
    given = now - 1
    before = now - 1
    for i in range(len(slots) - 1, -1, -1):
        slot = slots[i]
        arrive = s.slot_arrive[slot]
        if arrive < before:
            before = arrive
            given -= 1
        if s.slot_write[slot] == 0:
            regs[_LATENCY] += given - arrive
        s.slot_arrive[slot] = given


@njit
def _write_slots(s, slots, now, following, key, at):  # type: ignore[no-untyped-def]
    regs = s.regs
    key[at] = len(slots)
    at += 1
    for i in range(len(slots)):
        slot = slots[i]
        bank = s.slot_bank[slot]
        place, order = 0, 0
        if slot == regs[_PENDING_SLOT]:
            place = 1
        elif s.active_slot[bank] == slot:
            place = 2
            for j in range(regs[_ACTIVE]):
                other = s.active_slot[s.active_bank[j]]
                if s.slot_arrive[other] == s.slot_arrive[slot] and s.slot_promoted[other] < s.slot_promoted[slot]:
                    order += 1
        key[at] = s.slot_age[slot] - following
        key[at + 1] = now - s.slot_arrive[slot]
        key[at + 2] = (order * 4 + place) * 2 + s.slot_counted[slot]
        at += _PER_SLOT
    return at


@njit
def _write_banks(c, s, image, moved, now, key, at):  # type: ignore[no-untyped-def]
    for old in range(c.banks):
        bank = image[old]
        for command in range(_COMMANDS):
            key[at + command] = max(s.ready_bank[bank, command] - now, 0)
        at += _COMMANDS
        row = s.open_row[bank]
        key[at] = row - moved[old] if row >= 0 else -FAR + row
        key[at + 1] = min(s.columns[bank], c.hit_cap) if c.scheduler == _CAPPED else 0
        at += 2
        if c.page >= _TIMEOUT_PAGE:
            key[at] = now - s.last_use[bank] if row >= 0 else 0
            key[at + 1] = s.timeout[bank]
            timed_out = s.timed_out_row[bank]
            key[at + 2] = timed_out - moved[old] if timed_out >= 0 else -FAR
            at += 3
    return at


@njit
def _write_ranks(tables, c, s, group_image, now, key, at):  # type: ignore[no-untyped-def]
    t = tables[0]
    for rank in range(c.ranks):
        for command in range(_COMMANDS):
            key[at + command] = max(s.ready_rank[rank, command] - now, 0)
        at += _COMMANDS
        for i in range(4):
            last = s.activates[rank, (s.activates_at[rank] + i) & 3]
            key[at + i] = max(last - now + t.four_activates, 0)
        key[at + 4] = s.debt[rank]
        key[at + 5] = s.refresh_waits[rank]
        key[at + 6] = s.next_bank[rank]
        at += 7
    for group in range(c.groups):
        for command in range(_COMMANDS):
            key[at + command] = max(s.ready_group[group_image[group], command] - now, 0)
        at += _COMMANDS
    return at


@njit
def _write_key(tables, c, states, bank, row, row_step, first, shift, key):  # type: ignore[no-untyped-def]
    """Write the state into ``key``; how many numbers. Settles what has been going on up to now (`_settle`)."""
    t, s = tables[0], states[0]
    regs = s.regs
    now, following = regs[_CLK] + 1, regs[_NEXT]
    image, moved = np.empty(MOST_BANKS, np.int64), np.empty(MOST_BANKS, np.int64)
    group_image = np.empty(MOST_GROUPS, np.int64)
    rename(tables, c, bank, row, row_step, first, following // shift * shift, image, moved, group_image)
    slots = _live_slots(s)
    _settle(c, s, slots, now)
    paired = regs[_PAIR_TICK] >= now
    pair_bank = regs[_PAIR_BANK] if paired else -1
    for old in range(c.banks):
        if paired and image[old] == regs[_PAIR_BANK]:
            pair_bank = old
    pending, cas = regs[_PENDING_SLOT], regs[_CAS_SLOT]
    at = 0
    for value in (
        following % shift,
        regs[_OFFERED],
        regs[_WRITE_MODE],
        regs[_PENDING_DEADLINE] - now if pending >= 0 else -FAR,
        s.slot_age[cas] - following if cas >= 0 else FAR,
        regs[_CAS_ACTIVE] if cas >= 0 else 0,
        max(regs[_CLOCK_UNTIL] - now, 0),
        regs[_PAIR_TICK] - now if paired else -1,
        regs[_PAIR_RANK] if paired else -1,
        pair_bank,
        following * c.interval - now if c.interval > 0 else 0,
        now & 1 if t.half_clock else 0,
        max(regs[_DRAINED] - now, 0),
    ):
        key[at] = value
        at += 1
    for queue in range(2):
        oldest = FAR
        for i in range(s.waiting_count[queue]):
            oldest = min(oldest, s.slot_age[s.head[queue, s.waiting[queue, i]]])
        batch = s.batch_end[queue]
        key[at] = batch - following if batch >= oldest else FAR
        at += 1
    key[at] = regs[_MAINTENANCE_COUNT]
    at += 1
    for i in range(regs[_MAINTENANCE_COUNT]):
        key[at] = s.maintenance[(regs[_MAINTENANCE_HEAD] + i) % len(s.maintenance)]
        at += 1
    at = _write_ranks(tables, c, s, group_image, now, key, at)
    at = _write_banks(c, s, image, moved, now, key, at)
    return _write_slots(s, slots, now, following, key, at)


@njit
def _carry(flat, at, array, count, out):  # type: ignore[no-untyped-def]
    """Copy ``count`` numbers of ``array`` to ``flat`` from ``at`` on, or back; the place behind them."""
    if out:
        for i in range(count):
            flat[at + i] = array[i]
    else:
        for i in range(count):
            array[i] = flat[at + i]
    return at + count


@njit
def _carry_state(c, used, states, flat, out):  # type: ignore[no-untyped-def]
    """Copy a state to ``flat``, or back: what is in use, ``used`` slots and no log; how much it was."""
    s = states[0]
    at = _carry(flat, 0, s.regs, len(s.regs), out)
    at = _carry(flat, at, s.commands, len(s.commands), out)
    for array in (s.length, s.batch_end, s.waiting_count):
        at = _carry(flat, at, array, 2, out)
    for array in (s.activates_at, s.open_banks, s.open_since, s.debt, s.refresh_waits, s.next_bank):
        at = _carry(flat, at, array, c.ranks, out)
    for rank in range(c.ranks):
        at = _carry(flat, at, s.ready_rank[rank], _COMMANDS, out)
        at = _carry(flat, at, s.activates[rank], 4, out)
    for group in range(c.groups):
        at = _carry(flat, at, s.ready_group[group], _COMMANDS, out)
    for bank in range(c.banks):
        at = _carry(flat, at, s.ready_bank[bank], _COMMANDS, out)
    for array in (s.open_row, s.last_use, s.columns, s.timeout, s.timed_out_row, s.active_slot, s.active_bank):
        at = _carry(flat, at, array, c.banks, out)
    for queue in range(2):
        at = _carry(flat, at, s.candidate_count[queue], 2, out)
        for array in (s.head, s.tail, s.hit, s.waiting, s.waiting_at):
            at = _carry(flat, at, array[queue], c.banks, out)
        for kind in range(2):
            for lists in (s.candidate, s.candidate_at, s.candidate_slot, s.candidate_command):
                at = _carry(flat, at, lists[queue, kind], c.banks, out)
    for array in (s.slot_bank, s.slot_row, s.slot_column, s.slot_age, s.slot_arrive, s.slot_write):
        at = _carry(flat, at, array, used, out)
    for array in (s.slot_counted, s.slot_promoted, s.slot_next, s.slot_previous, s.free):
        at = _carry(flat, at, array, used, out)
    for k in range(s.regs[_MAINTENANCE_COUNT]):
        place = (s.regs[_MAINTENANCE_HEAD] + k) % len(s.maintenance)
        at = _carry(flat, at, s.maintenance[place : place + 1], 1, out)
    return at


@njit
def _copy_bank(a, b, old, new):  # type: ignore[no-untyped-def]
    """Give bank ``new`` of ``b`` what bank ``old`` of ``a`` has; lists of banks are left alone."""
    for command in range(_COMMANDS):
        b.ready_bank[new, command] = a.ready_bank[old, command]
    b.open_row[new] = a.open_row[old]
    b.last_use[new] = a.last_use[old]
    b.columns[new] = a.columns[old]
    b.timeout[new] = a.timeout[old]
    b.timed_out_row[new] = a.timed_out_row[old]
    b.active_slot[new] = a.active_slot[old]
    for queue in range(2):
        b.head[queue, new] = a.head[queue, old]
        b.tail[queue, new] = a.tail[queue, old]
        b.hit[queue, new] = a.hit[queue, old]
        b.waiting_at[queue, new] = a.waiting_at[queue, old]
        for kind in range(2):
            b.candidate_at[queue, kind, new] = a.candidate_at[queue, kind, old]
            b.candidate_slot[queue, kind, new] = a.candidate_slot[queue, kind, old]
            b.candidate_command[queue, kind, new] = a.candidate_command[queue, kind, old]


@njit
def _move(tables, c, states, bank, row, row_step, first, used, flat, requests, ticks, spare):  # type: ignore[no-untyped-def]
    """Make ``states`` what ``flat`` is ``requests`` (whole shifts) and ``ticks`` later; ``spare`` is a second one."""
    carry_state(c, used, states, flat, False)
    carry_state(c, used, spare, flat, False)
    s, a = states[0], spare[0]
    regs = s.regs
    image, moved = np.empty(MOST_BANKS, np.int64), np.empty(MOST_BANKS, np.int64)
    group_image = np.empty(MOST_GROUPS, np.int64)
    rename(tables, c, bank, row, row_step, first, requests, image, moved, group_image)
    for old in range(c.banks):
        new = image[old]
        _copy_bank(a, s, old, new)
        s.ready_bank[new, :] += ticks
        s.last_use[new] += ticks
        if s.open_row[new] >= 0:
            s.open_row[new] += moved[old]
        if s.timed_out_row[new] >= 0:
            s.timed_out_row[new] += moved[old]
    for group in range(c.groups):
        s.ready_group[group_image[group]] = a.ready_group[group] + ticks
    for rank in range(c.ranks):
        s.ready_rank[rank, :] += ticks
        s.open_since[rank] += ticks
        for k in range(4):
            if s.activates[rank, k] > -FAR // 2:
                s.activates[rank, k] += ticks
    for k in range(regs[_ACTIVE]):
        s.active_bank[k] = image[a.active_bank[k]]
    for queue in range(2):
        if s.batch_end[queue] >= 0:
            s.batch_end[queue] += requests
        for k in range(s.waiting_count[queue]):
            s.waiting[queue, k] = image[a.waiting[queue, k]]
        for kind in range(2):
            for k in range(s.candidate_count[queue, kind]):
                s.candidate[queue, kind, k] = image[a.candidate[queue, kind, k]]
    for slot in range(used):
        old = a.slot_bank[slot]
        s.slot_bank[slot] = image[old]
        s.slot_row[slot] += moved[old]
        s.slot_age[slot] += requests
        s.slot_arrive[slot] += ticks
    if regs[_PAIR_BANK] >= 0:
        regs[_PAIR_BANK] = image[a.regs[_PAIR_BANK]]
    regs[_CLK] += ticks
    regs[_NEXT] += requests
    regs[_ACCEPTED] += ticks
    regs[_DRAINED] += ticks
    regs[_PENDING_DEADLINE] += ticks
    regs[_CLOCK_UNTIL] += ticks
    regs[_PAIR_TICK] += ticks
    regs[_DIRTY] = 1


def _kept(stamp: int) -> tuple[Callable[..., Any], Callable[..., Any], Callable[..., Any]]:
    """The entries, kept compiled on disk for sources of this ``stamp`` (see `simulator.memory.compiled`)."""

    @njit(cache=True)
    def write_key(tables, c, states, bank, row, row_step, first, shift, key):  # type: ignore[no-untyped-def]
        if stamp < 0:
            raise ValueError("no sources")
        return _write_key(tables, c, states, bank, row, row_step, first, shift, key)

    @njit(cache=True)
    def carry_state(c, used, states, flat, out):  # type: ignore[no-untyped-def]
        if stamp < 0:
            raise ValueError("no sources")
        return _carry_state(c, used, states, flat, out)

    @njit(cache=True)
    def move(tables, c, states, bank, row, row_step, first, used, flat, requests, ticks, spare):  # type: ignore[no-untyped-def]
        if stamp < 0:
            raise ValueError("no sources")
        return _move(tables, c, states, bank, row, row_step, first, used, flat, requests, ticks, spare)

    return write_key, carry_state, move


_SOURCES = ("steady_state.py", "steady_shift.py", "kernel_state.py", "tables.py")
write_key, carry_state, move = _kept(sources_stamp(Path(__file__).parent / name for name in _SOURCES))
