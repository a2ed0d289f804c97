"""The mapping layer, compiled: where pages go, the cached mapping table, collection of garbage.

Nothing here takes time: operations are put on the queues of their planes, and the channels concerned are marked. The
rules are stated in `twin`, which does the same in plain Python.
"""

from __future__ import annotations

from numba import njit

from simulator.memory.flash.kernel_base import lru_add, lru_drop, lru_find, lru_oldest, lru_use, random_below

__all__ = ["arrived", "collect", "dispatch", "enqueue", "free_operation", "maybe_erase", "move", "new_operation"]
__all__ += ["FULL", "invalidate", "open_block", "place", "plane_of", "take_page", "write_back_ready"]
__all__ += ["MAP_MERGE", "MAP_READ", "MERGE_READ", "MOVE_READ", "USER_READ"]
__all__ += ["ERASE", "MAP_WRITE", "MOVE_WRITE", "USER_WRITE"]

USER_READ, MERGE_READ, MAP_READ, MAP_MERGE, MOVE_READ, USER_WRITE, MAP_WRITE, MOVE_WRITE, ERASE = range(9)
_Q_MAP_READ, _Q_MOVE_READ, _Q_READ, _Q_MOVE, _Q_MAP, _Q_WRITE, _Q_ERASE = range(7)
_DATA, _MAPPING, _MOVED = range(3)
_WAITING, _CLEAN, _DIRTY = range(3)
FULL = 2
_ALL = 0xFFFFFFFF


@njit
def plane_of(s, lpa):  # type: ignore[no-untyped-def]
    """Channel first, then chip (way), die, plane."""
    channel = lpa % s.channels
    lpa //= s.channels
    way = lpa % s.chips_per_channel
    lpa //= s.chips_per_channel
    die = lpa % s.dies
    plane = lpa // s.dies % s.planes_per_die
    return ((channel * s.chips_per_channel + way) * s.dies + die) * s.planes_per_die + plane


@njit
def new_operation(s, tx, kind, lpa, size_bytes, request):  # type: ignore[no-untyped-def]
    op = s.free_tx
    s.free_tx = tx[op].next
    tx[op].next = -1
    tx[op].kind = kind
    tx[op].lpa = lpa
    tx[op].bytes = size_bytes
    tx[op].request = request
    tx[op].linked = -1
    tx[op].bits = 0
    return op


@njit
def free_operation(s, tx, op):  # type: ignore[no-untyped-def]
    tx[op].next = s.free_tx
    s.free_tx = op


@njit
def enqueue(s, tx, op, queue):  # type: ignore[no-untyped-def]
    plane = tx[op].plane
    tx[op].cls = queue
    tx[op].seq = s.op_seq
    s.op_seq += 1
    tx[op].next = -1
    if s.q_head[plane, queue] < 0:
        s.q_head[plane, queue] = op
    else:
        tx[s.q_tail[plane, queue]].next = op
    s.q_tail[plane, queue] = op
    chip = plane // s.planes_per_chip
    s.queued[chip, queue] += 1
    channel = chip // s.chips_per_channel
    s.ch_queued[channel] += 1
    s.touched |= 1 << channel


@njit
def _set_page(s, tx, op, ppa):  # type: ignore[no-untyped-def]
    tx[op].block = ppa // s.pages
    tx[op].page = ppa % s.pages
    tx[op].plane = tx[op].block // s.blocks


@njit
def open_block(s, blk, plane, use):  # type: ignore[no-untyped-def]
    """Take the free block erased least often (the lowest number among equals) for ``use``."""
    best = -1
    first = plane * s.blocks
    for block in range(first, first + s.blocks):
        b = blk[block]
        if b.written == 0 and b.open == 0 and b.collected == 0 and (best < 0 or b.erases < blk[best].erases):
            best = block
    if best < 0:
        s.status = FULL
        best = s.open[plane, use]
        blk[best].written = 0
        return
    blk[best].open = 1
    s.open[plane, use] = best
    s.pool[plane] -= 1


@njit
def _victim(s, blk, plane):  # type: ignore[no-untyped-def]
    """The block with the fewest valid pages: of a few drawn at random, or of all if need be; -1 when none
    would free a page."""
    first = plane * s.blocks
    best = -1
    if s.random_greedy:
        drawn = 0
        tries = 0
        while drawn < s.candidates and tries < 8 * s.blocks:
            tries += 1
            s.pick_rng, number = random_below(s.pick_rng, s.blocks)
            b = blk[first + number]
            if b.written == s.pages and b.open == 0 and b.collected == 0 and b.busy == 0:
                drawn += 1
                if best < 0 or b.valid < blk[best].valid:
                    best = first + number
    if best < 0 or blk[best].valid == s.pages:
        for block in range(first, first + s.blocks):
            b = blk[block]
            fits = b.written == s.pages and b.open == 0 and b.collected == 0 and b.busy == 0
            if fits and (best < 0 or b.valid < blk[best].valid):
                best = block
    if best >= 0 and blk[best].valid == s.pages:
        return -1
    return best


@njit
def maybe_erase(s, tx, blk, block):  # type: ignore[no-untyped-def]
    if blk[block].collected == 1 and blk[block].left == 0 and blk[block].busy == 0:
        blk[block].collected = 2
        op = new_operation(s, tx, ERASE, -1, 0, -1)
        _set_page(s, tx, op, block * s.pages)
        enqueue(s, tx, op, _Q_ERASE)


@njit
def collect(s, tx, blk, m, plane):  # type: ignore[no-untyped-def]
    """Start one collection in ``plane`` if free blocks are few; at no time cost while the clock has not started."""
    if s.pool[plane] >= s.collect_below or s.collecting[plane] >= (s.most_collections if s.timed else 1):
        return
    block = _victim(s, blk, plane)
    if block < 0:
        return
    opened = s.open[plane, _MOVED]
    if s.moving[plane] + blk[block].valid > s.pages - blk[opened].written + s.pool[plane] * s.pages:
        return
    s.collections += s.timed
    blk[block].collected = 1
    blk[block].left = blk[block].valid
    s.collecting[plane] += 1
    s.moving[plane] += blk[block].valid
    if s.timed == 0:
        s.pending = block
        return
    s.erases_due[plane // s.planes_per_chip] += 1
    for ppa in range(block * s.pages, (block + 1) * s.pages):
        if m[s.p2l + ppa] != 0:
            op = new_operation(s, tx, MOVE_READ, m[s.p2l + ppa], s.page_bytes, -1)
            _set_page(s, tx, op, ppa)
            enqueue(s, tx, op, _Q_MOVE_READ)
    maybe_erase(s, tx, blk, block)


@njit
def take_page(s, tx, blk, m, plane, use, owner):  # type: ignore[no-untyped-def]
    """The next page of the block open for ``use``; when that fills another is opened, and collection looked at."""
    block = s.open[plane, use]
    page = blk[block].written
    blk[block].written = page + 1
    blk[block].valid += 1
    blk[block].busy += s.timed  # before collection is looked at: not this block
    ppa = block * s.pages + page
    m[s.p2l + ppa] = owner
    if page + 1 == s.pages:
        blk[block].open = 0
        open_block(s, blk, plane, use)
        collect(s, tx, blk, m, plane)
    return ppa


@njit
def invalidate(s, blk, m, ppa):  # type: ignore[no-untyped-def]
    m[s.p2l + ppa] = 0
    blk[ppa // s.pages].valid -= 1


@njit
def _write_back(s, tx, blk, m, t):  # type: ignore[no-untyped-def]
    """Bring mapping page ``t`` in flash up to date: it is read, merged with every changed entry held, and written."""
    link = s.cmt_link
    entry = m[s.tp_first + t] - 1
    while entry >= 0:
        flag = s.cmt + 4 + 3 * s.cmt_n + entry
        if m[flag] == _DIRTY:
            m[flag] = _CLEAN
        entry = m[link + entry] - 1
    if m[s.tp_merging + t] != 0:
        return
    m[s.tp_merging + t] = 1
    m[s.tp_reading + t] += 1
    op = new_operation(s, tx, MAP_MERGE, t, s.page_bytes, -1)
    _set_page(s, tx, op, m[s.tp_where + t] - 1)
    blk[tx[op].block].busy += 1
    s.mapping_reads += 1
    enqueue(s, tx, op, _Q_MAP_READ)


@njit
def _remember(s, tx, blk, m, lpa, flag):  # type: ignore[no-untyped-def]
    """An entry for ``lpa`` in the cached table; the oldest makes room, and is written back if it was changed."""
    n, at, link = s.cmt_n, s.cmt, s.cmt_link
    if m[at] == n:
        old = lru_oldest(m, at, n, _WAITING)
        dirty = m[at + 4 + 3 * n + old] == _DIRTY
        t = m[at + 4 + old] // s.entries_per_page
        after, before = m[link + old], m[link + n + old]
        if before != 0:
            m[link + before - 1] = after
        else:
            m[s.tp_first + t] = after
        if after != 0:
            m[link + n + after - 1] = before
        lru_drop(m, at, n, s.cmt_mask, old)
        if dirty and s.timed:
            _write_back(s, tx, blk, m, t)
    entry = lru_add(m, at, n, s.cmt_mask, lpa, flag)
    t = lpa // s.entries_per_page
    first = m[s.tp_first + t]
    m[link + entry] = first
    m[link + n + entry] = 0
    if first != 0:
        m[link + n + first - 1] = entry + 1
    m[s.tp_first + t] = entry + 1


@njit
def _changed(s, m, lpa):  # type: ignore[no-untyped-def]
    if not s.ideal:
        entry = lru_find(m, s.cmt, s.cmt_n, s.cmt_mask, lpa)
        if entry >= 0:
            m[s.cmt + 4 + 3 * s.cmt_n + entry] = _DIRTY


@njit
def _sectors(bits):  # type: ignore[no-untyped-def]
    count = 0
    while bits != 0:
        bits &= bits - 1
        count += 1
    return count


@njit
def place(s, tx, blk, m, op):  # type: ignore[no-untyped-def]
    """Give a user operation whose mapping is known its page, and queue it; a write may have to wait for free blocks."""
    lpa = tx[op].lpa
    at = s.l2p + 2 * lpa
    if tx[op].kind == USER_READ:
        ppa = -1
        if lpa < s.occupied or s.overwrites > 0:
            ppa = m[at] - 1
        if ppa < 0:  # never written: where a drive filled in order has it
            plane = plane_of(s, lpa)
            ppa = plane * s.blocks * s.pages + lpa // s.planes
        _set_page(s, tx, op, ppa)
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
            merge = new_operation(s, tx, MERGE_READ, lpa, 512 * _sectors(held & ~bits), -1)
            _set_page(s, tx, merge, old)
            tx[merge].linked = op
            blk[tx[merge].block].busy += 1
            s.merge_reads += 1
        bits |= held
    ppa = take_page(s, tx, blk, m, plane, _DATA, lpa + 1)
    m[at] = ppa + 1
    m[at + 1] = bits
    _set_page(s, tx, op, ppa)
    tx[op].bytes = 512 * _sectors(bits)
    _changed(s, m, lpa)
    s.host_programs += 1
    if merge < 0:
        enqueue(s, tx, op, _Q_WRITE)
    else:
        enqueue(s, tx, merge, _Q_MOVE_READ if blk[tx[merge].block].collected else _Q_READ)


@njit
def dispatch(s, tx, blk, m, op):  # type: ignore[no-untyped-def]
    """A user operation on its way to flash: through the cached mapping table, or to wait for its mapping page."""
    if s.ideal:
        place(s, tx, blk, m, op)
        return
    lpa = tx[op].lpa
    n = s.cmt_n
    entry = lru_find(m, s.cmt, n, s.cmt_mask, lpa)
    if entry >= 0 and m[s.cmt + 4 + 3 * n + entry] != _WAITING:
        lru_use(m, s.cmt, n, entry)
        place(s, tx, blk, m, op)
        return
    t = lpa // s.entries_per_page
    reading = m[s.tp_reading + t] != 0
    if not reading and m[s.tp_leaving + t] != 0:  # its new image is still on the controller
        _remember(s, tx, blk, m, lpa, _CLEAN)
        place(s, tx, blk, m, op)
        return
    if entry < 0:
        _remember(s, tx, blk, m, lpa, _WAITING)
    tx[op].next = -1
    if m[s.tp_wait + t] == 0:  # the chain is circular: it ends in its last operation, which leads to the first
        tx[op].next = op
    else:
        last = m[s.tp_wait + t] - 1
        tx[op].next = tx[last].next
        tx[last].next = op
    m[s.tp_wait + t] = op + 1
    if m[s.tp_reading + t] == 0:
        m[s.tp_reading + t] = 1
        read = new_operation(s, tx, MAP_READ, t, 512, -1)
        _set_page(s, tx, read, m[s.tp_where + t] - 1)
        blk[tx[read].block].busy += 1
        s.mapping_reads += 1
        enqueue(s, tx, read, _Q_MAP_READ)


@njit
def arrived(s, tx, blk, m, t):  # type: ignore[no-untyped-def]
    """Mapping page ``t`` has been read: everything that waited for it goes on, in order."""
    m[s.tp_reading + t] -= 1
    last = m[s.tp_wait + t] - 1
    if last < 0:
        return
    m[s.tp_wait + t] = 0
    op = tx[last].next
    while True:
        following = tx[op].next
        entry = lru_find(m, s.cmt, s.cmt_n, s.cmt_mask, tx[op].lpa)
        flag = s.cmt + 4 + 3 * s.cmt_n + entry
        if m[flag] == _WAITING:
            m[flag] = _CLEAN
        place(s, tx, blk, m, op)
        if op == last:
            break
        op = following


@njit
def write_back_ready(s, tx, blk, m, t):  # type: ignore[no-untyped-def]
    """The old image of mapping page ``t`` is here: the new one is programmed elsewhere in its plane."""
    m[s.tp_merging + t] = 0
    m[s.tp_leaving + t] += 1
    invalidate(s, blk, m, m[s.tp_where + t] - 1)
    ppa = take_page(s, tx, blk, m, plane_of(s, t), _MAPPING, -t - 1)
    m[s.tp_where + t] = ppa + 1
    op = new_operation(s, tx, MAP_WRITE, t, s.page_bytes, -1)
    _set_page(s, tx, op, ppa)
    s.mapping_programs += 1
    enqueue(s, tx, op, _Q_MAP)


@njit
def move(s, tx, blk, m, owner, ppa):  # type: ignore[no-untyped-def]
    """Give the page of ``owner`` at ``ppa`` a new place in the plane's block for moved pages; returns it."""
    block = ppa // s.pages
    plane = block // s.blocks
    invalidate(s, blk, m, ppa)
    s.moving[plane] -= 1
    new = take_page(s, tx, blk, m, plane, _MOVED, owner)
    if owner > 0:
        lpa = owner - 1
        m[s.l2p + 2 * lpa] = new + 1
        if not s.ideal:
            entry = lru_find(m, s.cmt, s.cmt_n, s.cmt_mask, lpa)
            if entry < 0:
                _remember(s, tx, blk, m, lpa, _DIRTY)
            elif m[s.cmt + 4 + 3 * s.cmt_n + entry] != _WAITING:
                m[s.cmt + 4 + 3 * s.cmt_n + entry] = _DIRTY
    else:
        m[s.tp_where - owner - 1] = new + 1
    s.moved += s.timed
    return new
