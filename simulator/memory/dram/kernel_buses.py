"""Compiled: the commands of one tick, on a single bus, on a row and a column bus, and with split activations.

Each function sends what may be sent at the tick and returns the next tick at which anything can change by itself: the
one after, when something was sent, else the one at which the best pick becomes legal. Picks are kept until something
changes (``DIRTY``).
"""

from __future__ import annotations

from numba import njit

from simulator.memory.dram.kernel_commands import record, send_column, send_row
from simulator.memory.dram.kernel_pick import (
    ANY_BUS,
    COLUMN_BUS,
    ROW_BUS,
    pick_active,
    pick_idle_bank,
    pick_maintenance,
    pick_queued,
)
from simulator.memory.dram.kernel_state import FAR, STATE, Register
from simulator.memory.dram.tables import ACT2, CAS_RD, CAS_WR, PRE, PREA, RD, WR

__all__ = ["one_bus", "split_activation", "two_buses"]

_R = Register
_DIRTY = _R.DIRTY
_MAINTENANCE_HEAD, _MAINTENANCE_COUNT = _R.MAINTENANCE_HEAD, _R.MAINTENANCE_COUNT
_PENDING_SLOT, _PENDING_DEADLINE = _R.PENDING_SLOT, _R.PENDING_DEADLINE
_CAS_SLOT, _CAS_ACTIVE, _CLOCK_UNTIL = _R.CAS_SLOT, _R.CAS_ACTIVE, _R.CLOCK_UNTIL
_COLUMN_TIME, _COLUMN_SLOT, _COLUMN_FROM = _R.COLUMN_TIME, _R.COLUMN_SLOT, _R.COLUMN_FROM
_ROW_TIME, _ROW_SLOT, _ROW_FROM, _ROW_COMMAND = _R.ROW_TIME, _R.ROW_SLOT, _R.ROW_FROM, _R.ROW_COMMAND
_FROM_ACTIVE, _FROM_MAINTENANCE, _FROM_QUEUE = range(3)
_RING = STATE["maintenance"].shape[0]
_TIMEOUT_PAGE, _ADAPTIVE_PAGE = 2, 3


@njit
def _send_maintenance(t, c, s, command, rank, bank, clk):  # type: ignore[no-untyped-def]
    regs = s.regs
    send_row(t, c, s, command, -1, rank, bank, clk)
    if command != PRE and command != PREA:
        regs[_MAINTENANCE_HEAD] = (regs[_MAINTENANCE_HEAD] + 1) % _RING
        regs[_MAINTENANCE_COUNT] -= 1


@njit
def _look(t, c, s, clk, bus):  # type: ignore[no-untyped-def]
    """Pick anew for the only bus, or for the column bus, and keep the pick."""
    regs = s.regs
    best, slot = pick_active(t, s, clk)
    source, command = _FROM_ACTIVE, -1
    if best > clk:
        if regs[_MAINTENANCE_COUNT] > 0:
            if bus == ANY_BUS:
                tick, other, rank, bank = pick_maintenance(t, c, s, clk)
                if tick < best:
                    best, slot, source, command = tick, bank, _FROM_MAINTENANCE, other
                    regs[_ROW_SLOT] = rank
        else:
            tick, other_slot, other = pick_queued(t, c, s, clk, bus)
            if tick < best:
                best, slot, source, command = tick, other_slot, _FROM_QUEUE, other
    regs[_COLUMN_TIME] = best
    regs[_COLUMN_SLOT] = slot
    regs[_COLUMN_FROM] = source
    regs[_ROW_COMMAND] = command


@njit
def _close_idle(t, c, s, clk):  # type: ignore[no-untyped-def]
    """Close a bank whose page timeout has passed; the tick at which the next one may, FAR without such a policy."""
    if (c.page != _TIMEOUT_PAGE and c.page != _ADAPTIVE_PAGE) or s.regs[_MAINTENANCE_COUNT] > 0:
        return FAR
    tick, bank = pick_idle_bank(t, c, s, clk)
    if tick == clk:
        row = s.open_row[bank]
        send_row(t, c, s, PRE, -1, t.rank_of_bank[bank], bank, clk)
        s.timed_out_row[bank] = row
    return tick


@njit
def one_bus(t, c, s, clk):  # type: ignore[no-untyped-def]
    """Commands of a tick on a single bus; the next tick to visit, ``clk`` + 1 when something was sent."""
    regs = s.regs
    if regs[_DIRTY] == 1:
        _look(t, c, s, clk, ANY_BUS)
        regs[_DIRTY] = 0
    if regs[_COLUMN_TIME] > clk:
        idle = _close_idle(t, c, s, clk)
        if idle == clk:
            return clk + 1
        return min(regs[_COLUMN_TIME], idle)
    slot, source, command = regs[_COLUMN_SLOT], regs[_COLUMN_FROM], regs[_ROW_COMMAND]
    if source == _FROM_MAINTENANCE:
        _send_maintenance(t, c, s, command, regs[_ROW_SLOT], slot, clk)
    elif source == _FROM_ACTIVE:
        send_column(t, c, s, slot, True, clk)
    elif command in (RD, WR):
        send_column(t, c, s, slot, False, clk)
    else:
        bank = s.slot_bank[slot]
        send_row(t, c, s, command, slot, t.rank_of_bank[bank], bank, clk)
    return clk + 1


@njit
def _look_row(t, c, s, clk):  # type: ignore[no-untyped-def]
    regs = s.regs
    if regs[_MAINTENANCE_COUNT] > 0:
        tick, command, rank, bank = pick_maintenance(t, c, s, clk)
        regs[_ROW_FROM] = rank
        regs[_ROW_SLOT] = bank
    else:
        tick, slot, command = pick_queued(t, c, s, clk, ROW_BUS)
        regs[_ROW_FROM] = -1
        regs[_ROW_SLOT] = slot
    regs[_ROW_TIME] = tick
    regs[_ROW_COMMAND] = command


@njit
def two_buses(t, c, s, clk):  # type: ignore[no-untyped-def]
    """Commands of a tick on a column and a row bus; the next tick to visit."""
    regs = s.regs
    fresh = regs[_DIRTY] == 0
    sent = False
    if not fresh:
        _look(t, c, s, clk, COLUMN_BUS)
    if regs[_COLUMN_TIME] == clk:
        send_column(t, c, s, regs[_COLUMN_SLOT], regs[_COLUMN_FROM] == _FROM_ACTIVE, clk)
        sent, fresh = True, False
    if not fresh:
        _look_row(t, c, s, clk)
        regs[_DIRTY] = 1 if sent else 0
    if regs[_ROW_TIME] > clk:
        idle = _close_idle(t, c, s, clk)
        if sent or idle == clk:
            return clk + 1
        return min(idle, min(regs[_COLUMN_TIME], regs[_ROW_TIME]))
    if regs[_ROW_FROM] >= 0:
        _send_maintenance(t, c, s, regs[_ROW_COMMAND], regs[_ROW_FROM], regs[_ROW_SLOT], clk)
    else:
        slot = regs[_ROW_SLOT]
        bank = s.slot_bank[slot]
        send_row(t, c, s, regs[_ROW_COMMAND], slot, t.rank_of_bank[bank], bank, clk)
    return clk + 1


@njit
def _send_second_activate(t, c, s, clk):  # type: ignore[no-untyped-def]
    slot = s.regs[_PENDING_SLOT]
    bank = s.slot_bank[slot]
    send_row(t, c, s, ACT2, slot, t.rank_of_bank[bank], bank, clk)


@njit
def split_activation(t, c, s, clk):  # type: ignore[no-untyped-def]
    """Commands of a tick of LPDDR5: activations in two commands, a CAS where the data clock stands still."""
    regs = s.regs
    pending = regs[_PENDING_SLOT] >= 0
    if pending and regs[_PENDING_DEADLINE] <= clk:
        _send_second_activate(t, c, s, clk)
        return clk + 1
    if regs[_CAS_SLOT] >= 0:
        slot = regs[_CAS_SLOT]
        regs[_CAS_SLOT] = -1
        send_column(t, c, s, slot, regs[_CAS_ACTIVE] == 1, clk)
        return clk + 1
    if regs[_DIRTY] == 1:
        _look(t, c, s, clk, ANY_BUS)
        regs[_DIRTY] = 0
    slot, source, command = regs[_COLUMN_SLOT], regs[_COLUMN_FROM], regs[_ROW_COMMAND]
    if regs[_COLUMN_TIME] > clk:
        if pending:
            _send_second_activate(t, c, s, clk)
            return clk + 1
        idle = _close_idle(t, c, s, clk)
        if idle == clk:
            return clk + 1
        return min(regs[_COLUMN_TIME], idle)
    if source == _FROM_MAINTENANCE:
        _send_maintenance(t, c, s, command, regs[_ROW_SLOT], slot, clk)
    elif source == _FROM_ACTIVE or command in (RD, WR):
        if clk < regs[_CLOCK_UNTIL]:
            send_column(t, c, s, slot, source == _FROM_ACTIVE, clk)
        elif pending and regs[_PENDING_DEADLINE] <= clk + 1:
            _send_second_activate(t, c, s, clk)
        else:
            bank = s.slot_bank[slot]
            command = CAS_WR if s.slot_write[slot] == 1 else CAS_RD
            record(t, c, s, command, t.rank_of_bank[bank], bank, s.slot_row[slot], clk)
            regs[_CAS_SLOT] = slot
            regs[_CAS_ACTIVE] = 1 if source == _FROM_ACTIVE else 0
    else:
        bank = s.slot_bank[slot]
        send_row(t, c, s, command, slot, t.rank_of_bank[bank], bank, clk)
    return clk + 1
