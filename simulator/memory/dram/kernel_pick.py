"""Compiled: which request or maintenance command goes next, and at what tick the best of them becomes legal.

Every pick returns the earliest tick (not before the present one) at which one of its candidates is legal, and of those
legal then the oldest. When that tick lies ahead it stands until something changes, so the kernel jumps there without
looking again.
"""

from __future__ import annotations

from numba import njit

from simulator.memory.dram.kernel_commands import choose, earliest
from simulator.memory.dram.kernel_state import ACTIVATING, CLOSED, FAR, Register
from simulator.memory.dram.tables import ACT, PRE, PREA, RD, REF, REFB, WR

__all__ = ["ANY_BUS", "COLUMN_BUS", "ROW_BUS", "pick_active", "pick_idle_bank", "pick_maintenance", "pick_queued"]

ANY_BUS, COLUMN_BUS, ROW_BUS = 0, 1, 2

_R = Register
_ACTIVE, _WRITE_MODE, _PENDING_SLOT = _R.ACTIVE, _R.WRITE_MODE, _R.PENDING_SLOT
_MAINTENANCE_HEAD = _R.MAINTENANCE_HEAD
_PAIR_TICK, _PAIR_RANK, _PAIR_BANK = _R.PAIR_TICK, _R.PAIR_RANK, _R.PAIR_BANK
_FRFCFS, _ROW_HIT, _CAPPED, _BATCH, _FCFS = range(5)
_AGE_BITS = 38  # requests of a run are fewer than 2^38, and no rule holds for 2^24 ticks
_NOTHING = 1 << 62


@njit
def _on_edge(t, s, tick, command, rank, bank):  # type: ignore[no-untyped-def]
    """``tick`` or the first after it at which the clock lets ``command`` start (HBM3)."""
    if not t.half_clock or (tick & 1) == 1:
        return tick
    if command != PRE and command != PREA:
        return tick + 1
    regs = s.regs
    if tick == regs[_PAIR_TICK] and rank == regs[_PAIR_RANK]:
        other = regs[_PAIR_BANK]
        if command == PREA or other < 0 or other == bank:
            return tick + 1
    return tick


@njit
def _tick_of(t, s, command, bank, clk):  # type: ignore[no-untyped-def]
    tick = max(clk, earliest(t, s, command, bank))
    if t.half_clock:
        tick = _on_edge(t, s, tick, command, t.rank_of_bank[bank], bank)
    return tick


@njit
def pick_active(t, s, clk):  # type: ignore[no-untyped-def]
    """The active list's next column command: tick and slot. Of equals, what arrived first, then was activated first."""
    best, best_slot, best_arrive, best_promoted = FAR, -1, FAR, FAR
    for at in range(s.regs[_ACTIVE]):
        bank = s.active_bank[at]
        slot = s.active_slot[bank]
        tick = _tick_of(t, s, WR if s.slot_write[slot] == 1 else RD, bank, clk)
        arrive, promoted = s.slot_arrive[slot], s.slot_promoted[slot]
        if tick < best or (
            tick == best and (arrive < best_arrive or (arrive == best_arrive and promoted < best_promoted))
        ):
            best, best_slot, best_arrive, best_promoted = tick, slot, arrive, promoted
    return best, best_slot


@njit
def pick_maintenance(t, c, s, clk):  # type: ignore[no-untyped-def]
    """The maintenance queue's next command: tick, command, rank and bank (-1 for all)."""
    regs = s.regs
    target = s.maintenance[regs[_MAINTENANCE_HEAD]]
    if target < c.ranks:
        command = REF
        if s.open_banks[target] > 0:
            command = PREA
            for at in range(regs[_ACTIVE]):
                if t.rank_of_bank[s.active_bank[at]] == target:
                    return FAR, command, target, -1
            pending = regs[_PENDING_SLOT]
            if pending >= 0 and t.rank_of_bank[s.slot_bank[pending]] == target:
                return FAR, command, target, -1
        return _on_edge(t, s, max(clk, s.ready_rank[target, command]), command, target, -1), command, target, -1
    bank = target - c.ranks
    rank = t.rank_of_bank[bank]
    row = s.open_row[bank]
    command = REFB if row == CLOSED else PRE
    if row == ACTIVATING or s.active_slot[bank] >= 0:
        return FAR, command, rank, bank
    return _tick_of(t, s, command, bank, clk), command, rank, bank


@njit
def _oldest_waiting(s, queue):  # type: ignore[no-untyped-def]
    age, slot = FAR, -1
    for at in range(s.waiting_count[queue]):
        first = s.head[queue, s.waiting[queue, at]]
        if s.slot_age[first] < age:
            age, slot = s.slot_age[first], first
    return slot


@njit
def _newest_age(s, queue):  # type: ignore[no-untyped-def]
    age = -1
    for at in range(s.waiting_count[queue]):
        age = max(age, s.slot_age[s.tail[queue, s.waiting[queue, at]]])
    return age


@njit
def _pick_candidate(t, s, clk, queue, kind, splitting):  # type: ignore[no-untyped-def]
    """The best candidate of one kind: ticks from now and age in one number (the least is the best), and its bank.

    One number, because a comparison of two would mispredict its branches on random requests.
    """
    best, best_bank = _NOTHING, -1
    for at in range(s.candidate_count[queue, kind]):
        bank = s.candidate[queue, kind, at]
        command = s.candidate_command[queue, kind, bank]
        if splitting and command == ACT:
            continue
        tick = _tick_of(t, s, command, bank, clk)
        key = ((tick - clk) << _AGE_BITS) + s.slot_age[s.candidate_slot[queue, kind, bank]]
        if key < best:
            best = key
            best_bank = bank
    return best, best_bank


@njit
def _pick_oldest(t, s, clk, queue, bus, splitting):  # type: ignore[no-untyped-def]
    """The oldest request of ``queue``, whether its command is legal or not."""
    slot = _oldest_waiting(s, queue)
    bank = s.slot_bank[slot]
    row = s.open_row[bank]
    if row == s.slot_row[slot]:
        command = WR if queue == 1 else RD
        free = bus != ROW_BUS
    else:
        command = ACT if row == CLOSED else PRE
        free = bus != COLUMN_BUS and row != ACTIVATING and not (splitting and command == ACT)
        free = free and s.active_slot[bank] < 0
    return (_tick_of(t, s, command, bank, clk) if free else FAR), slot, command


@njit
def pick_queued(t, c, s, clk, bus):  # type: ignore[no-untyped-def]
    """The served queue's next command on ``bus``: tick, slot and command. Decides on write mode first."""
    regs = s.regs
    reads, writes = s.length[0], s.length[1]
    if regs[_WRITE_MODE] == 0:
        if writes > c.write_high or reads == 0:
            regs[_WRITE_MODE] = 1
    elif writes < c.write_low and reads != 0:
        regs[_WRITE_MODE] = 0
    queue = regs[_WRITE_MODE]
    if s.length[queue] == 0:
        return FAR, -1, -1
    splitting = regs[_PENDING_SLOT] >= 0
    if c.scheduler == _FCFS:
        return _pick_oldest(t, s, clk, queue, bus, splitting)
    if c.scheduler == _BATCH and s.slot_age[_oldest_waiting(s, queue)] > s.batch_end[queue]:
        s.batch_end[queue] = _newest_age(s, queue)
        for at in range(s.waiting_count[queue]):
            choose(c, s, queue, s.waiting[queue, at])
    best, best_bank, kind = _NOTHING, -1, 0
    if bus != ROW_BUS:
        best, best_bank = _pick_candidate(t, s, clk, queue, 0, splitting)
    if bus != COLUMN_BUS:
        key, bank = _pick_candidate(t, s, clk, queue, 1, splitting)
        if key < best:
            best, best_bank, kind = key, bank, 1
    if best_bank < 0:
        return FAR, -1, -1
    tick = clk + (best >> _AGE_BITS)
    return tick, s.candidate_slot[queue, kind, best_bank], s.candidate_command[queue, kind, best_bank]


@njit
def pick_idle_bank(t, c, s, clk):  # type: ignore[no-untyped-def]
    """The open bank that its page timeout closes next: tick and bank."""
    best, best_bank, best_use = FAR, -1, FAR
    for bank in range(c.banks):
        if s.open_row[bank] < 0 or s.active_slot[bank] >= 0 or s.hit[0, bank] >= 0 or s.hit[1, bank] >= 0:
            continue
        tick = max(clk, max(s.last_use[bank] + s.timeout[bank], earliest(t, s, PRE, bank)))
        tick = _on_edge(t, s, tick, PRE, t.rank_of_bank[bank], bank)
        if tick < best or (tick == best and s.last_use[bank] < best_use):
            best, best_bank, best_use = tick, bank, s.last_use[bank]
    return best, best_bank
