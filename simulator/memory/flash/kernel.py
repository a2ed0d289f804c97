"""The compiled drive: host queue and link, write cache, and the loop over events. The rules are stated in `twin`."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from numba import njit

from simulator.memory.compiled import sources_stamp
from simulator.memory.flash.kernel_base import (
    lru_reset,
    next_event,
    part,
    post,
    post_in_lane,
    random_below,
)
from simulator.memory.flash.kernel_chip import (
    COMMAND_SENT,
    DONE_INSIDE,
    MOVED_OUT,
    channel_free,
    chip_done,
    chip_idle,
    command_sent,
    poke,
)
from simulator.memory.flash.kernel_ftl import arrived, move, place, write_back_ready
from simulator.memory.flash.kernel_host import (
    ASKED,
    COMPLETED,
    DATA_HERE,
    DOORBELL,
    ENTRY,
    FETCH,
    FIRMWARE,
    REQUEST_ARRIVED,
    STORED,
    completed,
    request_arrived,
    send_down,
    send_up,
    served,
    start,
    submit,
    written,
)
from simulator.memory.flash.kernel_space import (
    ERASE,
    FULL,
    MAP_MERGE,
    MAP_READ,
    MAP_WRITE,
    MERGE_READ,
    MOVE_READ,
    MOVE_WRITE,
    USER_READ,
    USER_WRITE,
    collect,
    enqueue,
    free_operation,
    invalidate,
    level,
    maybe_erase,
    new_operation,
    open_block,
    plane_of,
    take_page,
)
from simulator.memory.flash.state import Memory

__all__ = ["FINISHED", "OUT_OF_BLOCKS", "STUCK", "prepare", "run_kernel"]

FINISHED, STUCK, OUT_OF_BLOCKS = 0, 1, FULL
_Q_MOVE, _Q_WRITE = 3, 5
_WHERE, _LEAVING = 0, 5
_DATA, _MAPPING, _MOVED, _COLD = range(4)


@part
def _page_moved(s, tx, blk, block):  # type: ignore[no-untyped-def]
    blk[block].left -= 1
    maybe_erase(s, tx, blk, block)


@part
def _erased(s, blk, block):  # type: ignore[no-untyped-def]
    plane = block // s.blocks
    blk[block].written = 0
    blk[block].valid = 0
    blk[block].collected = 0
    blk[block].erases += 1
    s.pool[plane] += 1
    if blk[block].levelled:
        blk[block].levelled = 0
        s.levelling[plane] = 0
    else:
        s.collecting[plane] -= 1


@part
def _finished(s, tx, blk, m, op):  # type: ignore[no-untyped-def]
    """An operation is done, its data moved."""
    kind, block = tx[op].kind, tx[op].block
    plane = tx[op].plane
    if kind == MOVE_READ:
        ppa = block * s.pages + tx[op].page
        owner = m[s.p2l + ppa]
        if owner == 0:  # written anew since the collection began
            s.moving[plane] -= 1
            _page_moved(s, tx, blk, block)
            return
        new = move(s, tx, blk, m, owner, ppa)
        write = new_operation(s, tx, MOVE_WRITE, owner, s.page_bytes, block)
        tx[write].block = new // s.pages
        tx[write].page = new % s.pages
        tx[write].plane = plane
        enqueue(s, tx, write, _Q_MOVE)
        return
    if kind == ERASE:
        _erased(s, blk, block)
        while s.stop_head[plane] >= 0 and s.pool[plane] >= s.stop_below:
            write = s.stop_head[plane]
            s.stop_head[plane] = tx[write].next
            place(s, tx, blk, m, write)
        if s.pool[plane] < s.stop_below:
            collect(s, tx, blk, m, plane)
        level(s, tx, blk, m, plane, blk[block].erases)
        return
    if s.writes:
        blk[block].busy -= 1
        maybe_erase(s, tx, blk, block)
    if kind == USER_READ:
        served(s, tx[op].request, 1)
    elif kind == MERGE_READ:
        enqueue(s, tx, tx[op].linked, _Q_WRITE)
    elif kind == MAP_READ:
        arrived(s, tx, blk, m, tx[op].lpa)
    elif kind == MAP_MERGE:
        write_back_ready(s, tx, blk, m, tx[op].lpa)
        arrived(s, tx, blk, m, tx[op].lpa)
    elif kind == USER_WRITE:
        written(s, tx, blk, m, op)
    elif kind == MAP_WRITE:
        m[s.tp + 8 * tx[op].lpa + _LEAVING] -= 1
    elif kind == MOVE_WRITE:
        _page_moved(s, tx, blk, tx[op].request)
    if s.stop_head[plane] >= 0 and s.collecting[plane] == 0:
        collect(s, tx, blk, m, plane)


@part
def _write_before(s, tx, blk, m, lpa):  # type: ignore[no-untyped-def]
    """Write ``lpa`` before the clock starts; collections are finished on the spot."""
    at = s.l2p + 2 * lpa
    plane = plane_of(s, lpa)
    if m[at] != 0:
        invalidate(s, blk, m, m[at] - 1)
    m[at] = take_page(s, tx, blk, m, plane, _DATA, lpa + 1) + 1
    m[at + 1] = (1 << s.sectors) - 1
    while s.collecting[plane] > 0:
        block = s.pending
        _emptied_before(s, tx, blk, m, block)
        if s.status == 0 and level(s, tx, blk, m, plane, blk[block].erases):
            _emptied_before(s, tx, blk, m, s.pending)
        collect(s, tx, blk, m, plane)


@part
def _emptied_before(s, tx, blk, m, block):  # type: ignore[no-untyped-def]
    """Move what is valid in ``block`` and erase it, before the clock starts."""
    for ppa in range(block * s.pages, (block + 1) * s.pages):
        owner = m[s.p2l + ppa]
        if owner != 0:
            move(s, tx, blk, m, owner, ppa)
    blk[block].left = 0
    _erased(s, blk, block)


@part
def _prepare(s, tx, blk, m):  # type: ignore[no-untyped-def]
    """Open blocks, the mapping table in flash, and what was written before the clock starts."""
    lru_reset(m, s.cmt, s.cmt_n)
    lru_reset(m, s.dc, s.dc_n)
    s.address_rng, _ = random_below(s.seed, 1)
    s.pick_rng, s.next_unit = random_below(s.address_rng, s.units)
    s.pick_rng += 1
    for plane in range(s.planes):
        for use in range(_COLD):
            open_block(s, blk, plane, use)
        s.open[plane, _COLD] = -1
    for t in range(s.mapping_pages):
        m[s.tp + 8 * t + _WHERE] = take_page(s, tx, blk, m, plane_of(s, t), _MAPPING, -t - 1) + 1
    for lpa in range(s.occupied):
        _write_before(s, tx, blk, m, lpa)
        if s.status != 0:
            return s.status
    for _ in range(s.overwrites):
        s.pick_rng, lpa = random_below(s.pick_rng, s.overwrite_span)
        _write_before(s, tx, blk, m, lpa)
        if s.status != 0:
            return s.status
    return s.status


@part
def _run(s, tx, blk, m, q):  # type: ignore[no-untyped-def]
    s.timed = 1
    if s.open_loop:
        post(s, q[0].arrival_ns, REQUEST_ARRIVED, 0)
    else:
        s.arrived = s.most_requests
    for r in range(s.depth):
        if s.submitted < s.arrived:
            submit(s, q, r)
        else:
            s.r_next[r] = s.free_slot
            s.free_slot = r
    while True:
        kind, argument = next_event(s)
        if kind < 0:
            return FINISHED if s.stopped else STUCK
        if kind == COMMAND_SENT:
            command_sent(s, tx, argument)
        elif kind == DONE_INSIDE:
            if chip_done(s, tx, argument):
                chip = argument & 0xFFFF
                for i in range(s.chip_n[chip]):
                    op = s.chip_tx[chip, i]
                    _finished(s, tx, blk, m, op)
                    free_operation(s, tx, op)
                chip_idle(s, chip)
        elif kind == MOVED_OUT:
            chip = s.chip_at[tx[argument].plane]
            channel = s.channel_at[chip]
            s.chip_out[chip] -= 1
            if s.chip_out[chip] == 0:
                chip_idle(s, chip)
            _finished(s, tx, blk, m, argument)
            free_operation(s, tx, argument)
            channel_free(s, tx, channel)
        elif kind == DOORBELL:
            if s.in_flight < s.fetched_at_once:
                s.in_flight += 1
                send_up(s, s.ask_ns, FETCH, argument)
            else:
                s.r_next[argument] = -1
                if s.fetch_head < 0:
                    s.fetch_head = argument
                else:
                    s.r_next[s.fetch_tail] = argument
                s.fetch_tail = argument
        elif kind == FETCH:
            send_down(s, s.entry_ns, ENTRY, argument)
        elif kind == ENTRY:
            if s.r_write[argument]:
                send_up(s, s.ask_ns, ASKED, argument)
            elif s.command_ns > 0:
                post_in_lane(s, FIRMWARE, s.now + s.command_ns, DATA_HERE, argument)
            else:
                start(s, tx, blk, m, argument)
        elif kind == ASKED:
            send_down(s, s.r_data_ns[argument], DATA_HERE, argument)
        elif kind == DATA_HERE:
            start(s, tx, blk, m, argument)
        elif kind == STORED:
            served(s, argument & 4095, argument >> 12)
        elif kind == COMPLETED:
            completed(s, q, argument)
            if s.done >= s.most_requests:
                return FINISHED
        else:
            request_arrived(s, q)
        mask, channel = s.touched, 0
        s.touched = 0
        while mask != 0:
            if mask & 1:
                poke(s, tx, channel)
            mask = (mask >> 1) & 0x7FFFFFFFFFFFFFFF
            channel += 1
        if s.status != 0:
            return s.status


_SOURCES = tuple(f"kernel{part}.py" for part in ("", "_base", "_chip", "_ftl", "_host", "_space"))
_SOURCES += ("plan.py", "state.py")


def _cached(stamp: int) -> Callable[..., int]:
    """Both entries in one, kept compiled on disk; ``stamp`` as `simulator.memory.compiled` says."""

    @njit(cache=True, nogil=True, error_model="numpy")
    def enter(state, tx, blk, m, q, run):  # type: ignore[no-untyped-def]
        if stamp < 0:
            raise ValueError("no sources")
        s = state[0]
        return _run(s, tx, blk, m, q) if run else _prepare(s, tx, blk, m)

    return enter


_enter = _cached(sources_stamp(Path(__file__).parent / name for name in _SOURCES))


def prepare(memory: Memory) -> int:
    """Bring ``memory`` to where the clock starts; FINISHED, or OUT_OF_BLOCKS."""
    return int(_enter(memory.state, memory.operations, memory.blocks, memory.tables, memory.requests, False))


def run_kernel(memory: Memory) -> int:
    """Run to the end; FINISHED, OUT_OF_BLOCKS, or STUCK when nothing can happen any more."""
    return int(_enter(memory.state, memory.operations, memory.blocks, memory.tables, memory.requests, True))
