"""Channels and chips, compiled: which operations go next, multi-plane commands, suspension, and moving data out."""

from __future__ import annotations

from simulator.memory.flash.kernel_base import part, post
from simulator.memory.flash.kernel_space import MAP_MERGE, MAP_READ, MOVE_READ
from simulator.memory.flash.state import LOG_ROOM

__all__ = ["COMMAND_SENT", "DONE_INSIDE", "MOVED_OUT", "channel_free", "chip_done", "chip_idle", "command_sent", "poke"]

COMMAND_SENT, DONE_INSIDE, MOVED_OUT = range(3)
_IDLE, _COMMAND, _READING, _PROGRAMMING, _ERASING, _OUT = range(6)
_Q_MAP_READ, _Q_MOVE_READ, _Q_READ, _Q_MOVE, _Q_MAP, _Q_WRITE, _Q_ERASE = range(7)
_READ, _PROGRAM, _ERASE_COMMAND, _SUSPENDING = 0, 1, 2, 4


@part
def _page_type(page, kinds):  # type: ignore[no-untyped-def]
    if kinds == 1:
        return 0
    if kinds == 2:
        return page % 2
    if page <= 5:
        return 0
    if page <= 7:
        return 1
    return ((page - 8) >> 1) % 3


@part
def _first(s, tx, chip, queue):  # type: ignore[no-untyped-def]
    """The oldest operation of the chip's ``queue``, which is not empty."""
    best = -1
    base = chip * s.planes_per_chip
    for plane in range(base, base + s.planes_per_chip):
        op = s.q_head[plane, queue]
        if op >= 0 and (best < 0 or tx[op].seq < tx[best].seq):
            best = op
    return best


@part
def _take(s, tx, chip, plane, queue, page, any_page):  # type: ignore[no-untyped-def]
    """Take the oldest operation of ``plane`` on page number ``page`` (or any) off ``queue``; -1 when there is none."""
    previous = -1
    op = s.q_head[plane, queue]
    while op >= 0:
        if any_page or tx[op].page == page:
            following = tx[op].next
            if previous < 0:
                s.q_head[plane, queue] = following
            else:
                tx[previous].next = following
            if following < 0:
                s.q_tail[plane, queue] = previous
            s.queued[chip, queue] -= 1
            s.ch_queued[s.channel_at[chip]] -= 1
            return op
        previous = op
        op = tx[op].next
    return -1


@part
def _issue(s, tx, chip, queue, partner, suspended_ns):  # type: ignore[no-untyped-def]
    """Send the oldest of ``queue``, and for every other plane of its die one on the same page number, from ``queue``
    or else ``partner``."""
    first = _first(s, tx, chip, queue)
    page = tx[first].page
    first_plane = tx[first].plane
    die_base = first_plane - first_plane % s.planes_per_die
    erase = queue == _Q_ERASE
    _take(s, tx, chip, first_plane, queue, page, False)
    s.chip_tx[chip, 0] = first
    n = 1
    for plane in range(die_base, die_base + s.planes_per_die):
        if plane == first_plane:
            continue
        op = _take(s, tx, chip, plane, queue, page, erase)
        if op < 0 and partner >= 0:
            op = _take(s, tx, chip, plane, partner, page, False)
        if op >= 0:
            s.chip_tx[chip, n] = op
            n += 1
    s.chip_n[chip] = n
    channel = s.channel_at[chip]
    if queue <= _Q_READ:
        what = _READ
        bus = s.read_command[n]
        inside = s.read_ns[_page_type(page, s.kinds)] + s.ready_ns
        s.pages_read += n
        if n > 1:
            s.multi_reads += 1
        else:
            s.read_commands += 1
    elif queue == _Q_ERASE:
        what = _ERASE_COMMAND
        bus = s.erase_command[n]
        inside = s.erase_ns
        s.erases += n
        s.erases_due[chip] -= n
    else:
        what = _PROGRAM
        bus = s.program_command[n]
        for i in range(n):
            bus += (tx[s.chip_tx[chip, i]].bytes * s.byte_ps + 500) // 1000
        inside = s.program_ns[_page_type(page, s.kinds)]
        s.pages_programmed += n
        if n > 1:
            s.multi_programs += 1
        else:
            s.program_commands += 1
    if suspended_ns >= 0:
        bus += s.suspend_command_ns
        inside += suspended_ns
        what += _SUSPENDING
    s.chip_does[chip] = _COMMAND
    s.chip_until[chip] = s.now + bus + inside
    s.chip_run[chip] += 1
    s.ch_busy[channel] = 1
    s.channel_busy_ns += bus
    s.die_busy_ns += inside
    if s.logs and s.logged < LOG_ROOM:
        line = s.logged
        s.log[line, 0] = s.now
        s.log[line, 1] = chip
        s.log[line, 2] = what
        s.log[line, 3] = n
        s.log[line, 4] = tx[first].block * s.pages + page
        s.logged = line + 1
    post(s, s.now + bus, COMMAND_SENT, chip)


@part
def _suspend(s, chip):  # type: ignore[no-untyped-def]
    """Put the operation in the chip aside."""
    s.held_n[chip] = s.chip_n[chip]
    s.held_does[chip] = s.chip_does[chip]
    s.held_ns[chip] = s.chip_until[chip] - s.now
    for i in range(s.chip_n[chip]):
        s.held_tx[chip, i] = s.chip_tx[chip, i]
    s.suspensions += 1


@part
def _read_queue(s, chip):  # type: ignore[no-untyped-def]
    """The queue of reads that comes next, -1 for none, and the one its commands may be filled up from."""
    queued = s.queued[chip]
    if queued[_Q_MAP_READ] > 0:
        if queued[_Q_MOVE_READ] > 0:
            return _Q_MAP_READ, _Q_MOVE_READ
        return _Q_MAP_READ, _Q_READ if queued[_Q_READ] > 0 else -1
    if queued[_Q_MOVE_READ] > 0:
        return _Q_MOVE_READ, _Q_READ if queued[_Q_READ] > 0 else -1
    if queued[_Q_MOVE] > 0 or s.erases_due[chip] > 0 or queued[_Q_READ] == 0:
        return -1, -1
    return _Q_READ, -1


@part
def _program_or_erase_queue(s, chip):  # type: ignore[no-untyped-def]
    queued = s.queued[chip]
    if queued[_Q_MOVE] > 0:
        if queued[_Q_MAP] > 0:
            return _Q_MOVE, _Q_MAP
        return _Q_MOVE, _Q_WRITE if queued[_Q_WRITE] > 0 else -1
    if queued[_Q_MAP] > 0:
        return _Q_MAP, _Q_WRITE if queued[_Q_WRITE] > 0 else -1
    if queued[_Q_WRITE] > 0 and s.erases_due[chip] == 0:
        return _Q_WRITE, -1
    return _Q_ERASE if queued[_Q_ERASE] > 0 else -1, -1


@part
def _serve(s, tx, chip):  # type: ignore[no-untyped-def]
    """Send the chip its next command, if it may have one: reads, then programs, then erases."""
    does = s.chip_does[chip]
    if does in (_COMMAND, _READING, _OUT):
        return
    queue, partner = _read_queue(s, chip)
    suspended_ns = -1
    if does == _IDLE:
        if queue < 0:
            queue, partner = _program_or_erase_queue(s, chip)
    elif queue >= 0:
        left = s.chip_until[chip] - s.now
        if s.held_n[chip] == 0 and does == _ERASING and s.suspend_erase and left >= s.least_erase_ns:
            suspended_ns = s.suspend_erase_ns
        elif s.held_n[chip] == 0 and does == _PROGRAMMING and s.suspend_program and left >= s.least_program_ns:
            suspended_ns = s.suspend_program_ns
        else:
            return
        _suspend(s, chip)
    if queue >= 0:
        _issue(s, tx, chip, queue, partner, suspended_ns)


@part
def poke(s, tx, channel):  # type: ignore[no-untyped-def]
    """Look for work for an idle channel, at each of its chips once, from where the last look ended."""
    if s.ch_busy[channel]:
        return
    if s.ch_queued[channel] > 0:
        _look(s, tx, channel)
    if s.commands_first and s.ch_busy[channel] == 0:
        _move_next_out(s, tx, channel)


@part
def _look(s, tx, channel):  # type: ignore[no-untyped-def]
    base = channel * s.chips_per_channel
    turn = s.ch_turn[channel]
    for _ in range(s.chips_per_channel):
        chip = base + turn
        turn += 1
        if turn == s.chips_per_channel:
            turn = 0
        _serve(s, tx, chip)
        if s.ch_busy[channel]:
            break
    s.ch_turn[channel] = turn


@part
def _move_out(s, tx, channel, op):  # type: ignore[no-untyped-def]
    bus = (tx[op].bytes * s.byte_ps + 500) // 1000
    s.ch_busy[channel] = 1
    s.channel_busy_ns += bus
    s.chip_does[s.chip_at[tx[op].plane]] = _OUT
    post(s, s.now + bus, MOVED_OUT, op)


@part
def _move_next_out(s, tx, channel):  # type: ignore[no-untyped-def]
    """Move out the next page read, mapping before user before moved pages; whether there was one."""
    for kind in range(3):
        op = s.out_head[channel, kind]
        if op >= 0:
            s.out_head[channel, kind] = tx[op].next
            if tx[op].next < 0:
                s.out_tail[channel, kind] = -1
            _move_out(s, tx, channel, op)
            return True
    return False


@part
def channel_free(s, tx, channel):  # type: ignore[no-untyped-def]
    """The bus is free: pages read wait to be moved out, then there are new commands, or the other way round."""
    s.ch_busy[channel] = 0
    if s.commands_first or not _move_next_out(s, tx, channel):
        s.touched |= 1 << channel


@part
def command_sent(s, tx, chip):  # type: ignore[no-untyped-def]
    """The command, and a program's data, have reached the chip."""
    kind = tx[s.chip_tx[chip, 0]].cls
    s.chip_does[chip] = _READING if kind <= _Q_READ else (_ERASING if kind == _Q_ERASE else _PROGRAMMING)
    post(s, s.chip_until[chip], DONE_INSIDE, chip + (s.chip_run[chip] << 16))
    channel_free(s, tx, s.channel_at[chip])


@part
def chip_idle(s, chip):  # type: ignore[no-untyped-def]
    """Nothing is left to do in the chip: a suspended operation goes on."""
    if s.held_n[chip] == 0:
        s.chip_does[chip] = _IDLE
    else:
        n = s.held_n[chip]
        for i in range(n):
            s.chip_tx[chip, i] = s.held_tx[chip, i]
        s.chip_n[chip] = n
        s.held_n[chip] = 0
        s.chip_does[chip] = s.held_does[chip]
        s.chip_until[chip] = s.now + s.held_ns[chip]
        s.chip_run[chip] += 1
        post(s, s.chip_until[chip], DONE_INSIDE, chip + (s.chip_run[chip] << 16))
    s.touched |= 1 << (s.channel_at[chip])


@part
def chip_done(s, tx, argument):  # type: ignore[no-untyped-def]
    """The chip is done inside. Pages read go out one after the other; returns whether pages or blocks are finished."""
    chip = argument & 0xFFFF
    if s.chip_run[chip] != argument >> 16:
        return False
    if s.chip_does[chip] != _READING:
        return True
    channel = s.channel_at[chip]
    s.chip_does[chip] = _OUT
    s.chip_out[chip] = s.chip_n[chip]
    for i in range(s.chip_n[chip]):
        op = s.chip_tx[chip, i]
        kind = tx[op].kind
        if s.ch_busy[channel] == 0:
            _move_out(s, tx, channel, op)
            continue
        group = 0 if kind in (MAP_READ, MAP_MERGE) else (2 if kind == MOVE_READ else 1)
        tx[op].next = -1
        if s.out_head[channel, group] < 0:
            s.out_head[channel, group] = op
        else:
            tx[s.out_tail[channel, group]].next = op
        s.out_tail[channel, group] = op
    return False
