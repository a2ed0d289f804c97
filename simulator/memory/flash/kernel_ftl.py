"""The mapping layer, compiled: where logical pages are, the cached mapping table, pages moved.

Nothing here takes time: operations are put on the queues of their planes, and the channels concerned are marked. The
rules are stated in `twin`, which does the same in plain Python.
"""

from __future__ import annotations

from simulator.memory.flash.kernel_base import (
    ENTRIES,
    FLAG,
    OWN,
    STRIDE,
    count_bits,
    lru_add,
    lru_drop,
    lru_find,
    lru_oldest,
    lru_use,
    part,
)
from simulator.memory.flash.kernel_space import (
    MAP_MERGE,
    MAP_READ,
    MAP_WRITE,
    MERGE_READ,
    USER_READ,
    collect,
    enqueue,
    invalidate,
    new_operation,
    plane_of,
    set_home,
    set_page,
    take_page,
)

__all__ = ["arrived", "dispatch", "move", "place", "write_back_ready"]

_Q_MAP_READ, _Q_MOVE_READ, _Q_READ, _Q_MOVE, _Q_MAP, _Q_WRITE, _Q_ERASE = range(7)
_DATA, _MAPPING, _MOVED, _COLD = range(4)
_WAITING, _CLEAN, _DIRTY = range(3)
_WHERE, _WAIT, _FIRST, _READING, _MERGING, _LEAVING = range(6)  # of 8 numbers for each mapping page
_NEXT, _BEFORE = OWN, OWN + 1  # entry + 1 among those of one mapping page
_ALL = 0xFFFFFFFF


@part
def _write_back(s, tx, blk, m, t):  # type: ignore[no-untyped-def]
    """Bring mapping page ``t`` in flash up to date: it is read, merged with every changed entry held, and written."""
    entry = m[s.tp + 8 * t + _FIRST] - 1
    while entry >= 0:
        at = s.cmt + ENTRIES + STRIDE * entry
        if m[at + FLAG] == _DIRTY:
            m[at + FLAG] = _CLEAN
        entry = m[at + _NEXT] - 1
    if m[s.tp + 8 * t + _MERGING] != 0:
        return
    m[s.tp + 8 * t + _MERGING] = 1
    m[s.tp + 8 * t + _READING] += 1
    op = new_operation(s, tx, MAP_MERGE, t, s.page_bytes, -1)
    set_page(s, tx, op, m[s.tp + 8 * t + _WHERE] - 1)
    blk[tx[op].block].busy += 1
    s.mapping_reads += 1
    enqueue(s, tx, op, _Q_MAP_READ)


@part
def _remember(s, tx, blk, m, lpa, flag):  # type: ignore[no-untyped-def]
    """An entry for ``lpa`` in the cached table; the oldest makes room, and is written back if it was changed."""
    n, at = s.cmt_n, s.cmt
    base = at + ENTRIES
    if m[at] == n:
        old = lru_oldest(m, at, _WAITING)
        dirty = m[base + STRIDE * old + FLAG] == _DIRTY
        t = m[base + STRIDE * old] // s.entries_per_page
        after, before = m[base + STRIDE * old + _NEXT], m[base + STRIDE * old + _BEFORE]
        if before != 0:
            m[base + STRIDE * (before - 1) + _NEXT] = after
        else:
            m[s.tp + 8 * t + _FIRST] = after
        if after != 0:
            m[base + STRIDE * (after - 1) + _BEFORE] = before
        lru_drop(m, at, n, s.cmt_mask, old)
        if dirty and s.timed:
            _write_back(s, tx, blk, m, t)
    entry = lru_add(m, at, n, s.cmt_mask, lpa, flag)
    t = lpa // s.entries_per_page
    first = m[s.tp + 8 * t + _FIRST]
    m[base + STRIDE * entry + _NEXT] = first
    m[base + STRIDE * entry + _BEFORE] = 0
    if first != 0:
        m[base + STRIDE * (first - 1) + _BEFORE] = entry + 1
    m[s.tp + 8 * t + _FIRST] = entry + 1


@part
def _changed(s, m, lpa):  # type: ignore[no-untyped-def]
    if not s.ideal:
        entry = lru_find(m, s.cmt, s.cmt_n, s.cmt_mask, lpa)
        if entry >= 0:
            m[s.cmt + ENTRIES + STRIDE * entry + FLAG] = _DIRTY


@part
def place(s, tx, blk, m, op):  # type: ignore[no-untyped-def]
    """Give a user operation whose mapping is known its page, and queue it; a write may have to wait for free blocks."""
    lpa = tx[op].lpa
    at = s.l2p + 2 * lpa
    if tx[op].kind == USER_READ:
        ppa = -1
        if lpa < s.mapped:
            ppa = m[at] - 1
        if ppa < 0:  # never written
            set_home(s, tx, op, lpa)
        else:
            set_page(s, tx, op, ppa)
        if s.writes == 0:  # no block is ever emptied
            enqueue(s, tx, op, _Q_READ)
            return
        blk[tx[op].block].busy += 1
        enqueue(s, tx, op, _Q_MOVE_READ if blk[tx[op].block].collected else _Q_READ)
        return
    plane = plane_of(s, lpa)
    if s.pool[plane] < s.stop_below:
        tx[op].next = -1
        if s.stop_head[plane] < 0:
            s.stop_head[plane] = op
        else:
            tx[s.stop_tail[plane]].next = op
        s.stop_tail[plane] = op
        if s.collecting[plane] == 0:
            collect(s, tx, blk, m, plane)
        return
    bits = tx[op].bits
    merge = -1
    if m[at] != 0:
        held = m[at + 1] & _ALL
        old = m[at] - 1
        invalidate(s, blk, m, old)
        if held & ~bits != 0:
            merge = new_operation(s, tx, MERGE_READ, lpa, 512 * count_bits(held & ~bits), -1)
            set_page(s, tx, merge, old)
            tx[merge].linked = op
            blk[tx[merge].block].busy += 1
            s.merge_reads += 1
        bits |= held
    ppa = take_page(s, tx, blk, m, plane, _DATA, lpa + 1)
    m[at] = ppa + 1
    m[at + 1] = bits
    set_page(s, tx, op, ppa)
    tx[op].bytes = 512 * count_bits(bits)
    _changed(s, m, lpa)
    s.host_programs += 1
    if merge < 0:
        enqueue(s, tx, op, _Q_WRITE)
    else:
        enqueue(s, tx, merge, _Q_MOVE_READ if blk[tx[merge].block].collected else _Q_READ)


@part
def dispatch(s, tx, blk, m, op):  # type: ignore[no-untyped-def]
    """A user operation on its way to flash: through the cached mapping table, or to wait for its mapping page."""
    if s.ideal:
        place(s, tx, blk, m, op)
        return
    lpa = tx[op].lpa
    n = s.cmt_n
    entry = lru_find(m, s.cmt, n, s.cmt_mask, lpa)
    if entry >= 0 and m[s.cmt + ENTRIES + STRIDE * entry + FLAG] != _WAITING:
        lru_use(m, s.cmt, entry)
        place(s, tx, blk, m, op)
        return
    t = lpa // s.entries_per_page
    reading = m[s.tp + 8 * t + _READING] != 0
    if not reading and m[s.tp + 8 * t + _LEAVING] != 0:  # its new image is still on the controller
        _remember(s, tx, blk, m, lpa, _CLEAN)
        place(s, tx, blk, m, op)
        return
    if entry < 0:
        _remember(s, tx, blk, m, lpa, _WAITING)
    tx[op].next = -1
    if m[s.tp + 8 * t + _WAIT] == 0:  # the chain is circular: it ends in its last operation, which leads to the first
        tx[op].next = op
    else:
        last = m[s.tp + 8 * t + _WAIT] - 1
        tx[op].next = tx[last].next
        tx[last].next = op
    m[s.tp + 8 * t + _WAIT] = op + 1
    if m[s.tp + 8 * t + _READING] == 0:
        m[s.tp + 8 * t + _READING] = 1
        read = new_operation(s, tx, MAP_READ, t, 512, -1)
        set_page(s, tx, read, m[s.tp + 8 * t + _WHERE] - 1)
        blk[tx[read].block].busy += s.writes
        s.mapping_reads += 1
        enqueue(s, tx, read, _Q_MAP_READ)


@part
def arrived(s, tx, blk, m, t):  # type: ignore[no-untyped-def]
    """Mapping page ``t`` has been read: everything that waited for it goes on, in order."""
    m[s.tp + 8 * t + _READING] -= 1
    last = m[s.tp + 8 * t + _WAIT] - 1
    if last < 0:
        return
    m[s.tp + 8 * t + _WAIT] = 0
    op = tx[last].next
    while True:
        following = tx[op].next
        entry = lru_find(m, s.cmt, s.cmt_n, s.cmt_mask, tx[op].lpa)
        flag = s.cmt + ENTRIES + STRIDE * entry + FLAG
        if m[flag] == _WAITING:
            m[flag] = _CLEAN
        place(s, tx, blk, m, op)
        if op == last:
            break
        op = following


@part
def write_back_ready(s, tx, blk, m, t):  # type: ignore[no-untyped-def]
    """The old image of mapping page ``t`` is here: the new one is programmed elsewhere in its plane."""
    m[s.tp + 8 * t + _MERGING] = 0
    m[s.tp + 8 * t + _LEAVING] += 1
    invalidate(s, blk, m, m[s.tp + 8 * t + _WHERE] - 1)
    ppa = take_page(s, tx, blk, m, plane_of(s, t), _MAPPING, -t - 1)
    m[s.tp + 8 * t + _WHERE] = ppa + 1
    op = new_operation(s, tx, MAP_WRITE, t, s.page_bytes, -1)
    set_page(s, tx, op, ppa)
    s.mapping_programs += 1
    enqueue(s, tx, op, _Q_MAP)


@part
def move(s, tx, blk, m, owner, ppa):  # type: ignore[no-untyped-def]
    """Give the page of ``owner`` at ``ppa`` a new place in the plane's block for moved pages, or in that for cold data
    when it comes from a block that is levelled; returns the place."""
    block = ppa // s.pages
    plane = block // s.blocks
    invalidate(s, blk, m, ppa)
    s.moving[plane] -= 1
    new = take_page(s, tx, blk, m, plane, _COLD if blk[block].levelled else _MOVED, owner)
    s.levelled += s.timed * blk[block].levelled
    if owner > 0:
        lpa = owner - 1
        m[s.l2p + 2 * lpa] = new + 1
        if not s.ideal:
            entry = lru_find(m, s.cmt, s.cmt_n, s.cmt_mask, lpa)
            if entry < 0:
                _remember(s, tx, blk, m, lpa, _DIRTY)
            elif m[s.cmt + ENTRIES + STRIDE * entry + FLAG] != _WAITING:
                m[s.cmt + ENTRIES + STRIDE * entry + FLAG] = _DIRTY
    else:
        m[s.tp + 8 * (-owner - 1) + _WHERE] = new + 1
    s.moved += s.timed
    return new
