"""Compiled: what sending a command does to a channel's state, and when a command is legal."""

from __future__ import annotations

from numba import njit

from simulator.memory.dram.kernel_state import ACTIVATING, CLOSED, Register
from simulator.memory.dram.tables import ACT, ACT2, PRE, PREA, RD, RDA, REF, WR, WRA

__all__ = ["choose", "earliest", "enqueue", "record", "send_column", "send_row"]

_R = Register
_CLK, _ACTIVE, _FREE, _DIRTY = _R.CLK, _R.ACTIVE, _R.FREE, _R.DIRTY
_HITS, _MISSES, _CONFLICTS = _R.HITS, _R.MISSES, _R.CONFLICTS
_LATENCY, _DRAINED, _OPEN_TICKS, _LOGGED = _R.LATENCY, _R.DRAINED, _R.OPEN_TICKS, _R.LOGGED
_PENDING_SLOT, _PENDING_DEADLINE = _R.PENDING_SLOT, _R.PENDING_DEADLINE
_PAIR_TICK, _PAIR_RANK, _PAIR_BANK = _R.PAIR_TICK, _R.PAIR_RANK, _R.PAIR_BANK
_CLOCK_UNTIL, _LOGS, _PROMOTED = _R.CLOCK_UNTIL, _R.LOGS, _R.PROMOTED
_CLOSED_PAGE = 1
_ADAPTIVE_PAGE = 3
_FRFCFS, _ROW_HIT, _CAPPED, _BATCH, _FCFS = range(5)


@njit
def earliest(t, s, command, bank):  # type: ignore[no-untyped-def]
    """The first tick at which ``command`` to ``bank`` breaks no timing rule."""
    ready = s.ready_rank[t.rank_of_bank[bank], command]
    group = s.ready_group[t.group_of_bank[bank], command]
    own = s.ready_bank[bank, command]
    if group > ready:
        ready = group
    if own > ready:
        ready = own
    return ready


@njit
def _raise(ready, ticks, clk):  # type: ignore[no-untyped-def]
    for command in range(16):
        ready[command] = max(ready[command], clk + ticks[command])


@njit
def record(t, c, s, command, rank, bank, row, clk):  # type: ignore[no-untyped-def]
    """Count and log ``command``, and move the earliest ticks of all that must wait for it."""
    regs = s.regs
    regs[_DIRTY] = 1
    s.commands[command] += 1
    if regs[_LOGS] == 1:
        at = regs[_LOGGED]
        s.log[at, 0] = clk
        s.log[at, 1] = command
        s.log[at, 2] = rank
        s.log[at, 3] = bank
        s.log[at, 4] = row
        regs[_LOGGED] = at + 1
    if t.reaches[0, command]:
        _raise(s.ready_rank[rank], t.same_rank[command], clk)
    if t.reaches[1, command]:
        for other in range(c.ranks):
            if other != rank:
                _raise(s.ready_rank[other], t.other_rank[command], clk)
    if bank < 0:
        return
    group = t.group_of_bank[bank]
    if t.reaches[2, command]:
        _raise(s.ready_group[group], t.same_group[command], clk)
    if t.reaches[3, command] or t.reaches[4, command]:
        for other in range(c.groups):
            if other != group:
                if t.stack_of_group[other] == t.stack_of_group[group]:
                    _raise(s.ready_group[other], t.same_stack[command], clk)
                elif t.rank_of_group[other] == rank:
                    _raise(s.ready_group[other], t.other_stack[command], clk)
    if t.reaches[5, command]:
        _raise(s.ready_bank[bank], t.same_bank[command], clk)
    if command == ACT and t.four_activates > 0:
        at = s.activates_at[rank]
        s.activates[rank, at] = clk
        at = (at + 1) & 3
        s.activates_at[rank] = at
        s.ready_rank[rank, ACT] = max(s.ready_rank[rank, ACT], s.activates[rank, at] + t.four_activates)


@njit
def _set_candidate(s, queue, kind, bank, slot, command):  # type: ignore[no-untyped-def]
    at = s.candidate_at[queue, kind, bank]
    if slot < 0:
        if at >= 0:
            last = s.candidate_count[queue, kind] - 1
            moved = s.candidate[queue, kind, last]
            s.candidate[queue, kind, at] = moved
            s.candidate_at[queue, kind, moved] = at
            s.candidate_at[queue, kind, bank] = -1
            s.candidate_count[queue, kind] = last
        return
    if at < 0:
        at = s.candidate_count[queue, kind]
        s.candidate[queue, kind, at] = bank
        s.candidate_at[queue, kind, bank] = at
        s.candidate_count[queue, kind] = at + 1
    s.candidate_slot[queue, kind, bank] = slot
    s.candidate_command[queue, kind, bank] = command


@njit
def _first_hit(s, slot, row):  # type: ignore[no-untyped-def]
    while slot >= 0 and s.slot_row[slot] != row:
        slot = s.slot_next[slot]
    return slot


@njit
def _oldest_other(s, slot, row):  # type: ignore[no-untyped-def]
    while slot >= 0 and s.slot_row[slot] == row:
        slot = s.slot_next[slot]
    return slot


@njit
def choose(c, s, queue, bank):  # type: ignore[no-untyped-def]
    """Which of the bank's requests in ``queue`` may be served next: by a column command, and by a row command."""
    first = s.head[queue, bank]
    column, row, command = -1, -1, ACT
    open_row = s.open_row[bank]
    if first >= 0 and open_row == CLOSED:
        row = first
    elif first >= 0 and open_row >= 0:
        command = PRE
        column = s.hit[queue, bank]
        if (
            column >= 0
            and column != first
            and (
                (c.scheduler == _CAPPED and s.columns[bank] >= c.hit_cap)
                or (
                    c.scheduler == _BATCH
                    and s.slot_age[first] <= s.batch_end[queue]
                    and s.slot_age[column] > s.batch_end[queue]
                )
            )
        ):
            column = -1
        if s.active_slot[bank] < 0:
            if column != first:
                if column < 0 or c.scheduler == _FRFCFS or s.slot_arrive[column] > s.slot_arrive[first]:
                    row = first
            elif c.scheduler == _FRFCFS:
                row = _oldest_other(s, first, open_row)
    _set_candidate(s, queue, 0, bank, column, WR if queue == 1 else RD)
    _set_candidate(s, queue, 1, bank, row, command)


@njit
def enqueue(c, s, queue, bank, row, column, arrive, age):  # type: ignore[no-untyped-def]
    """Put a request at the end of ``queue``."""
    regs = s.regs
    regs[_DIRTY] = 1
    regs[_FREE] -= 1
    slot = s.free[regs[_FREE]]
    s.slot_bank[slot] = bank
    s.slot_row[slot] = row
    s.slot_column[slot] = column
    s.slot_age[slot] = age
    s.slot_arrive[slot] = arrive
    s.slot_write[slot] = queue
    s.slot_counted[slot] = 0
    s.slot_next[slot] = -1
    last = s.tail[queue, bank]
    s.slot_previous[slot] = last
    s.tail[queue, bank] = slot
    s.length[queue] += 1
    if last >= 0:
        s.slot_next[last] = slot
    else:
        s.head[queue, bank] = slot
        at = s.waiting_count[queue]
        s.waiting[queue, at] = bank
        s.waiting_at[queue, bank] = at
        s.waiting_count[queue] = at + 1
    if s.open_row[bank] == row and s.hit[queue, bank] < 0:
        s.hit[queue, bank] = slot
    choose(c, s, queue, bank)


@njit
def _remove(s, slot):  # type: ignore[no-untyped-def]
    """Take a request out of its queue; its slot stays taken."""
    queue, bank = s.slot_write[slot], s.slot_bank[slot]
    before, after = s.slot_previous[slot], s.slot_next[slot]
    if before >= 0:
        s.slot_next[before] = after
    else:
        s.head[queue, bank] = after
    if after >= 0:
        s.slot_previous[after] = before
    else:
        s.tail[queue, bank] = before
    s.length[queue] -= 1
    if s.hit[queue, bank] == slot:
        s.hit[queue, bank] = _first_hit(s, after, s.slot_row[slot])
    if s.head[queue, bank] < 0:
        last = s.waiting_count[queue] - 1
        moved, at = s.waiting[queue, last], s.waiting_at[queue, bank]
        s.waiting[queue, at] = moved
        s.waiting_at[queue, moved] = at
        s.waiting_at[queue, bank] = -1
        s.waiting_count[queue] = last


@njit
def _close(t, s, bank, clk):  # type: ignore[no-untyped-def]
    rank = t.rank_of_bank[bank]
    s.open_row[bank] = CLOSED
    s.hit[0, bank] = -1
    s.hit[1, bank] = -1
    s.open_banks[rank] -= 1
    if s.open_banks[rank] == 0:
        s.regs[_OPEN_TICKS] += clk - s.open_since[rank]


@njit
def _activate_bank(s, slot):  # type: ignore[no-untyped-def]
    """The bank's row is open now, and its request joins the active list."""
    regs = s.regs
    bank, row = s.slot_bank[slot], s.slot_row[slot]
    s.open_row[bank] = row
    s.last_use[bank] = regs[_CLK]
    s.columns[bank] = 0
    for queue in range(2):
        s.hit[queue, bank] = _first_hit(s, s.head[queue, bank], row)
    s.active_slot[bank] = slot
    s.active_bank[regs[_ACTIVE]] = bank
    regs[_ACTIVE] += 1
    s.slot_promoted[slot] = regs[_PROMOTED]
    regs[_PROMOTED] += 1


@njit
def send_row(t, c, s, command, slot, rank, bank, clk):  # type: ignore[no-untyped-def]
    """Send any command but a column command or a CAS; ``slot`` is the request it serves, or -1 for maintenance."""
    regs = s.regs
    row = -1
    if slot >= 0:
        row = s.slot_row[slot]
        if s.slot_counted[slot] == 0:
            s.slot_counted[slot] = 1
            if command == PRE:
                regs[_CONFLICTS] += 1
                if c.page == _ADAPTIVE_PAGE:
                    s.timeout[bank] = max(max(1, c.timeout // 16), s.timeout[bank] // 2)
            else:
                regs[_MISSES] += 1
    record(t, c, s, command, rank, bank, row if command in (ACT, ACT2) else -1, clk)
    if t.half_clock and (clk & 1) == 1:
        regs[_PAIR_TICK] = clk + (3 if command == ACT else 1)
        regs[_PAIR_RANK] = rank
        regs[_PAIR_BANK] = bank
    if command == ACT:
        if c.page == _ADAPTIVE_PAGE and s.timed_out_row[bank] == row:
            s.timeout[bank] = min(16 * c.timeout, s.timeout[bank] * 2)
        s.timed_out_row[bank] = -1
        if s.open_banks[rank] == 0:
            s.open_since[rank] = clk
        s.open_banks[rank] += 1
        _remove(s, slot)
        if t.second_activate > 0:
            s.open_row[bank] = ACTIVATING
            regs[_PENDING_SLOT] = slot
            regs[_PENDING_DEADLINE] = clk + t.second_activate
        else:
            _activate_bank(s, slot)
    elif command == ACT2:
        regs[_PENDING_SLOT] = -1
        _activate_bank(s, slot)
    elif command == PRE:
        _close(t, s, bank, clk)
    elif command == PREA:
        for other in range(rank * c.rank_banks, (rank + 1) * c.rank_banks):
            if s.open_row[other] != CLOSED:
                _close(t, s, other, clk)
                choose(c, s, 0, other)
                choose(c, s, 1, other)
    elif command == REF:
        s.refresh_waits[rank] = 0
    if bank >= 0:
        choose(c, s, 0, bank)
        choose(c, s, 1, bank)


@njit
def _wanted_by_others(s, slot, bank, row, active):  # type: ignore[no-untyped-def]
    """Whether any other waiting request wants ``row`` of ``bank``, which is open; so hits are requests for it."""
    if s.active_slot[bank] >= 0 and not active:
        return True
    for queue in range(2):
        hit = s.hit[queue, bank]
        if hit == slot:
            hit = _first_hit(s, s.slot_next[slot], row)
        if hit >= 0:
            return True
    return False


@njit
def send_column(t, c, s, slot, active, clk):  # type: ignore[no-untyped-def]
    """Send the read or write of a request of the active list or of a queue, which ends it."""
    regs = s.regs
    bank, row, write = s.slot_bank[slot], s.slot_row[slot], s.slot_write[slot]
    rank = t.rank_of_bank[bank]
    if s.slot_counted[slot] == 0:
        regs[_HITS] += 1
    closing = c.page == _CLOSED_PAGE and not _wanted_by_others(s, slot, bank, row, active)
    command = (WRA if closing else WR) if write == 1 else (RDA if closing else RD)
    record(t, c, s, command, rank, bank, row, clk)
    if active:
        s.active_slot[bank] = -1
        last = regs[_ACTIVE] - 1
        for at in range(last):
            if s.active_bank[at] == bank:
                s.active_bank[at] = s.active_bank[last]
                break
        regs[_ACTIVE] = last
    else:
        _remove(s, slot)
    s.free[regs[_FREE]] = slot
    regs[_FREE] += 1
    s.last_use[bank] = clk
    s.columns[bank] += 1
    if write == 1:
        end = clk + t.write_latency
        hold = t.write_sync
    else:
        end = clk + t.read_latency
        hold = t.read_sync
        regs[_LATENCY] += end - s.slot_arrive[slot]
    regs[_DRAINED] = max(regs[_DRAINED], end)
    if hold >= 0:
        regs[_CLOCK_UNTIL] = max(regs[_CLOCK_UNTIL], clk + hold)
    if closing:
        _close(t, s, bank, clk)
    choose(c, s, 0, bank)
    choose(c, s, 1, bank)
