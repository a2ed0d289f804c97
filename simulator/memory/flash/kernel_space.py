"""Space in the planes, compiled: operations and their queues, blocks opened and filled, emptied and levelled.

Nothing here takes time: operations are put on the queues of their planes, and the channels concerned are marked. The
rules are stated in `twin`, which does the same in plain Python.
"""

from __future__ import annotations

from simulator.memory.flash.kernel_base import part, random_below

__all__ = ["MAP_MERGE", "MAP_READ", "MERGE_READ", "MOVE_READ", "USER_READ"]
__all__ += ["ERASE", "FULL", "MAP_WRITE", "MOVE_WRITE", "USER_WRITE"]
__all__ += ["collect", "enqueue", "free_operation", "invalidate", "level", "maybe_erase", "new_operation", "open_block"]
__all__ += ["plane_of", "set_home", "set_page", "take_page"]

USER_READ, MERGE_READ, MAP_READ, MAP_MERGE, MOVE_READ, USER_WRITE, MAP_WRITE, MOVE_WRITE, ERASE = range(9)
FULL = 2
_Q_MOVE_READ, _Q_ERASE = 1, 6
_DATA, _MAPPING, _MOVED, _COLD = range(4)


@part
def plane_of(s, lpa):  # type: ignore[no-untyped-def]
    """Channel first, then chip (way), die, plane."""
    return s.plane_at[lpa - lpa // s.planes * s.planes]


@part
def set_home(s, tx, op, lpa):  # type: ignore[no-untyped-def]
    """The place of ``lpa`` in a drive that was filled in order."""
    row = lpa // s.planes
    plane = s.plane_at[lpa - row * s.planes]
    block = row // s.pages
    tx[op].block = plane * s.blocks + block
    tx[op].page = row - block * s.pages
    tx[op].plane = plane


@part
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


@part
def free_operation(s, tx, op):  # type: ignore[no-untyped-def]
    tx[op].next = s.free_tx
    s.free_tx = op


@part
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
    chip = s.chip_at[plane]
    s.queued[chip, queue] += 1
    channel = s.channel_at[chip]
    s.ch_queued[channel] += 1
    s.touched |= 1 << channel


@part
def set_page(s, tx, op, ppa):  # type: ignore[no-untyped-def]
    block = ppa // s.pages
    tx[op].block = block
    tx[op].page = ppa - block * s.pages
    tx[op].plane = block // s.blocks


@part
def open_block(s, blk, plane, use):  # type: ignore[no-untyped-def]
    """Take the free block erased least often (the lowest number among equals) for ``use``; most often for cold data."""
    best = -1
    first = plane * s.blocks
    for block in range(first, first + s.blocks):
        b = blk[block]
        if b.written == 0 and b.open == 0 and b.collected == 0:
            more = 0 if best < 0 else b.erases - blk[best].erases
            if best < 0 or (more > 0 if use == _COLD else more < 0):
                best = block
    if best < 0:
        s.status = FULL
        best = s.open[plane, use]
        if best < 0:
            best = first
            s.open[plane, use] = first
        blk[best].written = 0
        return
    blk[best].open = 1
    s.open[plane, use] = best
    s.pool[plane] -= 1


@part
def _victim(s, blk, plane):  # type: ignore[no-untyped-def]
    """The block with the fewest valid pages: of a few drawn, or of all if need be; -1 if none would free a page."""
    first = plane * s.blocks
    best = -1
    if s.random_greedy:
        s.draws += 1
        drawn = 0
        tries = 0
        while drawn < s.candidates and tries < 8 * s.blocks:
            tries += 1
            s.pick_rng, number = random_below(s.pick_rng, s.blocks)
            b = blk[first + number]
            if b.open == 0 and b.collected == 0 and b.busy == 0 and b.drawn != s.draws:
                blk[first + number].drawn = s.draws
                drawn += 1
                if b.written == s.pages and (best < 0 or b.valid < blk[best].valid):
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


@part
def maybe_erase(s, tx, blk, block):  # type: ignore[no-untyped-def]
    if blk[block].collected == 1 and blk[block].left == 0 and blk[block].busy == 0:
        blk[block].collected = 2
        op = new_operation(s, tx, ERASE, -1, 0, -1)
        set_page(s, tx, op, block * s.pages)
        enqueue(s, tx, op, _Q_ERASE)


@part
def collect(s, tx, blk, m, plane):  # type: ignore[no-untyped-def]
    """Start one collection in ``plane`` if free blocks are few; at no time cost while the clock has not started."""
    if s.pool[plane] >= s.collect_below or s.collecting[plane] >= (s.most_collections if s.timed else 1):
        return
    block = _victim(s, blk, plane)
    if block < 0:
        return
    if s.moving[plane] + blk[block].valid > _room(s, blk, plane, s.levelling[plane]):
        return
    s.collections += s.timed
    s.collecting[plane] += 1
    s.pending = block
    _empty(s, tx, blk, m, block)


@part
def _room(s, blk, plane, kept):  # type: ignore[no-untyped-def]
    """Pages that moves may still be promised, ``kept`` free blocks left out."""
    left = s.pages - blk[s.open[plane, _MOVED]].written if s.open[plane, _MOVED] >= 0 else 0
    return left + (s.pool[plane] - kept) * s.pages


@part
def _empty(s, tx, blk, m, block):  # type: ignore[no-untyped-def]
    """Have what is valid in ``block`` read to be moved, and the block erased after that, unless the clock has not
    started: then the caller does it."""
    plane = block // s.blocks
    blk[block].collected = 1
    blk[block].left = blk[block].valid
    s.moving[plane] += blk[block].valid
    if s.timed == 0:
        return
    s.erases_due[s.chip_at[plane]] += 1
    for ppa in range(block * s.pages, (block + 1) * s.pages):
        if m[s.p2l + ppa] != 0:
            op = new_operation(s, tx, MOVE_READ, m[s.p2l + ppa], s.page_bytes, -1)
            set_page(s, tx, op, ppa)
            enqueue(s, tx, op, _Q_MOVE_READ)
    maybe_erase(s, tx, blk, block)


@part
def level(s, tx, blk, m, plane, erases):  # type: ignore[no-untyped-def]
    """A block of ``plane`` has been erased for the ``erases``-th time: whether, and that, the full block erased least
    often is emptied because it lags too far behind."""
    if s.static_threshold == 0 or s.levelling[plane] > 0:
        return False
    first = plane * s.blocks
    coldest = -1
    for block in range(first, first + s.blocks):
        b = blk[block]
        full = b.written == s.pages and b.open == 0 and b.collected == 0 and b.busy == 0
        if full and (coldest < 0 or b.erases < blk[coldest].erases):
            coldest = block
    if coldest < 0 or erases - blk[coldest].erases <= s.static_threshold:
        return False
    if s.moving[plane] + blk[coldest].valid > _room(s, blk, plane, 1):
        return False
    s.levellings += s.timed
    s.levelling[plane] = 1
    blk[coldest].levelled = 1
    s.pending = coldest
    _empty(s, tx, blk, m, coldest)
    return True


@part
def _may_open(s, blk, plane, use):  # type: ignore[no-untyped-def]
    """Whether a block is free; for mapping pages one beyond what moves have been promised."""
    if s.pool[plane] == 0:
        return False
    return use != _MAPPING or s.moving[plane] <= _room(s, blk, plane, s.levelling[plane] + 1)


@part
def take_page(s, tx, blk, m, plane, use, owner):  # type: ignore[no-untyped-def]
    """The next page of the block open for ``use``; when that fills another is opened, and collection looked at.

    For cold data, and where no block may be had, one is only opened when a page is wanted: an erase may end before. A
    mapping page then goes beside user data, whose writes wait while so few blocks are free.
    """
    if use == _MAPPING and s.open[plane, use] < 0 and s.open[plane, _DATA] >= 0 and not _may_open(s, blk, plane, use):
        use = _DATA
    if s.open[plane, use] < 0:
        open_block(s, blk, plane, use)
    block = s.open[plane, use]
    page = blk[block].written
    blk[block].written = page + 1
    blk[block].valid += 1
    blk[block].busy += s.timed  # before collection is looked at: not this block
    ppa = block * s.pages + page
    m[s.p2l + ppa] = owner
    if page + 1 == s.pages:
        blk[block].open = 0
        if use == _COLD or not _may_open(s, blk, plane, use):
            s.open[plane, use] = -1
        else:
            open_block(s, blk, plane, use)
        collect(s, tx, blk, m, plane)
    return ppa


@part
def invalidate(s, blk, m, ppa):  # type: ignore[no-untyped-def]
    m[s.p2l + ppa] = 0
    blk[ppa // s.pages].valid -= 1
