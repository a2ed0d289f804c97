"""Compiled: the rules of `queued`, one function for each part of a tick; the timing of commands is the kernel's own."""

from __future__ import annotations

from numba import njit

from simulator.memory.dram.kernel_commands import earliest, record
from simulator.memory.dram.kernel_state import CLOSED, FAR
from simulator.memory.dram.queued_state import Now, Out, Setting
from simulator.memory.dram.tables import ACT, PRE, PREA, RD, RDA, REF, WR, WRA

__all__ = ["command_bank", "command_refresh", "decide_refresh", "following", "pick", "respond", "send"]

_OPEN_ADAPTIVE, _CLOSED_PAGE, _CLOSED_ADAPTIVE = 1, 2, 3
_FIFO, _GROUPED = 0, 1
_BANKWISE, _SHARED = 0, 2
_SIMPLE, _REORDER_ARBITER = 0, 2
_N = Now
_STORED, _TAKEN, _OFFERED_AT, _ACTIVE, _LAST_BANK = _N.STORED, _N.TAKEN, _N.OFFERED_AT, _N.ACTIVE, _N.LAST_BANK
_ENTERED, _FINISHED, _NEXT_RESPONSE, _CAST = _N.ENTERED, _N.FINISHED, _N.NEXT_RESPONSE, _N.CAST
_NEXT_RETURN, _TRIGGER, _POSTPONED_NOW, _PULLING = _N.NEXT_RETURN, _N.TRIGGER, _N.POSTPONED, _N.PULLING
_FORCED, _WANTED, _OPEN_BANKS, _OPEN_SINCE = _N.FORCED, _N.WANTED, _N.OPEN_BANKS, _N.OPEN_SINCE
_LAST_WRITE, _FRESH, _PICK_AT, _PICK_BANK, _FORCED_AT = _N.LAST_WRITE, _N.FRESH, _N.PICK_AT, _N.PICK_BANK, _N.FORCED_AT
_S = Setting
_PAGE, _SCHEDULER, _BUFFER, _SIZE, _RESPONSES = _S.PAGE, _S.SCHEDULER, _S.BUFFER, _S.SIZE, _S.RESPONSES
_REFRESH, _POSTPONED, _PULLED_IN, _ARBITER = _S.REFRESH, _S.POSTPONED, _S.PULLED_IN, _S.ARBITER
_MOST_ACTIVE = _S.MOST_ACTIVE
_TOTAL, _LATENCY, _OPEN_TICKS, _NEEDS = Out.TOTAL, Out.LATENCY, Out.OPEN_TICKS, Out.NEEDS


@njit
def respond(s, clk):  # type: ignore[no-untyped-def]
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
def send(s, clk):  # type: ignore[no-untyped-def]
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
def decide_refresh(s, c, clk):  # type: ignore[no-untyped-def]
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
                if now[_FORCED] == 0:
                    now[_FORCED_AT] = clk
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
def pick(t, s, c, clk):  # type: ignore[no-untyped-def]
    """The first command that becomes legal: its tick, and its bank or -1 for refresh."""
    now = s.now
    best, best_slot, best_bank = FAR, FAR, -1
    if now[_WANTED] >= 0:
        best, best_slot = max(clk, s.ready_rank[0, now[_WANTED]]), -1
    blocked = now[_FORCED] == 1
    if not blocked or now[_FORCED_AT] == clk:
        for bank in range(c.banks):
            if s.head[bank] < 0:
                continue
            if s.stale[bank] == 1:
                _choose(s, bank)
            tick = max(clk, earliest(t, s, s.command[bank], bank))
            slot = s.slot[bank]
            if blocked and tick > clk:
                continue
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
def command_refresh(t, s, c, clk):  # type: ignore[no-untyped-def]
    """Send what refresh wants."""
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
def command_bank(t, s, c, bank, clk):  # type: ignore[no-untyped-def]
    """Send the command of the request the bank is at; whether it was a column command."""
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
def following(s, clk):  # type: ignore[no-untyped-def]
    """The next tick at which responses, requests or refresh may do anything by themselves."""
    now = s.now
    n = s.requests
    tick = FAR
    at = now[_NEXT_RESPONSE]
    if s.settings[_RESPONSES] == 1:
        if at < n:
            tick = s.end[at]
    elif at < now[_CAST]:
        tick = s.end[s.cast[at]]
    if s.settings[_ARBITER] == _SIMPLE:
        if now[_STORED] < n and (now[_ENTERED] == clk or now[_OFFERED_AT] > clk):
            tick = min(tick, now[_OFFERED_AT])
    else:
        if s.settings[_ARBITER] == _REORDER_ARBITER and now[_NEXT_RETURN] < n and s.answered[now[_NEXT_RETURN]] == 1:
            tick = clk + 1
        if now[_TAKEN] < n and now[_ACTIVE] < s.settings[_MOST_ACTIVE]:
            tick = min(tick, now[_OFFERED_AT])
        if now[_STORED] < now[_TAKEN] and now[_ENTERED] == clk:
            tick = clk + 1
    if s.settings[_REFRESH] == 1 and now[_TRIGGER] > clk:
        tick = min(tick, now[_TRIGGER])
    return tick
