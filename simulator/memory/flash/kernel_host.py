"""The host's queue, the link and the write cache, compiled. The rules are stated in `twin`."""

from __future__ import annotations

import math

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
    post,
    post_in_lane,
    random_below,
)
from simulator.memory.flash.kernel_ftl import dispatch
from simulator.memory.flash.kernel_space import USER_READ, USER_WRITE, new_operation

__all__ = ["ASKED", "COMPLETED", "DATA_HERE", "DOORBELL", "ENTRY", "FETCH", "REQUEST_ARRIVED", "STORED"]
__all__ += ["FIRMWARE", "completed", "request_arrived", "send_down", "send_up", "served", "start", "submit", "written"]

DOORBELL, FETCH, ENTRY, ASKED, DATA_HERE, STORED, COMPLETED, REQUEST_ARRIVED = range(3, 11)
_WRITING, _CHANGED_AGAIN = 1, 2
_DOWN, _UP, _MEMORY, FIRMWARE = range(4)


@part
def send_down(s, duration, kind, argument):  # type: ignore[no-untyped-def]
    """A message to the drive, after those before it; an event when it is there, if ``kind`` is not negative."""
    s.down_free = max(s.now, s.down_free) + duration
    if kind >= 0:
        post_in_lane(s, _DOWN, s.down_free, kind, argument)


@part
def send_up(s, duration, kind, argument):  # type: ignore[no-untyped-def]
    s.up_free = max(s.now, s.up_free) + duration
    if kind >= 0:
        post_in_lane(s, _UP, s.up_free, kind, argument)


@part
def submit(s, q, r):  # type: ignore[no-untyped-def]
    """The next request, of the trace or made by the pattern, goes into slot ``r``, and the drive is told."""
    s.r_since[r] = s.now
    if s.traced:
        i = s.submitted
        first = q[i].first_sector
        s.r_number[r] = i
        s.r_write[r] = q[i].write
        s.r_sectors[r] = q[i].sectors
        s.r_data_ns[r] = q[i].data_ns
        if s.open_loop:
            s.r_since[r] = q[i].arrival_ns
    else:
        if s.random:
            s.address_rng, unit = random_below(s.address_rng, s.units)
        else:
            unit = s.next_unit
            s.next_unit = unit + 1 if unit + 1 < s.units else 0
        first = unit * s.request_sectors
        s.r_write[r] = s.writes
        s.r_sectors[r] = s.request_sectors
        s.r_data_ns[r] = s.data_ns
    s.r_lpa[r] = first // s.sectors
    s.r_skip[r] = first - s.r_lpa[r] * s.sectors
    s.submitted += 1
    if s.inside:
        post(s, s.now, DATA_HERE, r)
    else:
        send_down(s, s.doorbell_ns, DOORBELL, r)


@part
def request_arrived(s, q):  # type: ignore[no-untyped-def]
    """The next request of an open loop is there: it takes a free slot, or waits for one."""
    s.arrived += 1
    if s.arrived < s.most_requests:
        post(s, q[s.arrived].arrival_ns, REQUEST_ARRIVED, 0)
    r = s.free_slot
    if r >= 0:
        s.free_slot = s.r_next[r]
        submit(s, q, r)


@part
def completed(s, q, r):  # type: ignore[no-untyped-def]
    """The host, or the engine inside, knows that the request in slot ``r`` is done."""
    latency = s.now - s.r_since[r]
    s.done += 1
    s.done_sectors += s.r_sectors[r]
    s.latency_ns += latency
    if s.traced:
        q[s.r_number[r]].latency_ns = latency
    else:
        fraction, exponent = math.frexp(float(latency))
        s.latencies[64 * exponent + int((fraction - 0.5) * 128) if latency > 0 else 0] += 1
    if s.done >= s.most_requests:
        return
    if not s.inside:
        send_down(s, s.doorbell_ns, -1, 0)
    if s.submitted < s.arrived:
        submit(s, q, r)
    else:
        s.r_next[r] = s.free_slot
        s.free_slot = r


@part
def _page(s, r, number):  # type: ignore[no-untyped-def]
    """Page ``number`` of the request in slot ``r``: logical page and a bit for each of its sectors; -1 past the end."""
    skip = s.r_skip[r]
    first = skip if number == 0 else 0
    last = min(skip + s.r_sectors[r] - number * s.sectors, s.sectors)
    if last <= first:
        return -1, 0
    return s.r_lpa[r] + number, ((1 << last) - 1) ^ ((1 << first) - 1)


@part
def _to_flash(s, tx, blk, m, lpa, bits, request):  # type: ignore[no-untyped-def]
    """A write of a page on its way to flash; ``request`` waits for it, or -1 when the cache holds it."""
    op = new_operation(s, tx, USER_WRITE, lpa, 0, request)
    tx[op].bits = bits
    dispatch(s, tx, blk, m, op)


@part
def _use_memory(s, r, pages, size_bytes):  # type: ignore[no-untyped-def]
    """One access of the cache's memory, for ``pages`` of the request in slot ``r``."""
    rows = max(1, (size_bytes + s.row_bytes - 1) // s.row_bytes)
    mine = (rows + s.dram_channels - 1) // s.dram_channels  # rows of the first channel, which has the most to do
    moved = mine * s.row_bytes
    if (rows - 1) % s.dram_channels == 0:
        moved -= rows * s.row_bytes - size_bytes
    access = mine * s.row_open_ns + (mine - 1) * s.row_close_ns + (moved * s.dram_byte_ps + 500) // 1000
    s.dram_free = max(s.now, s.dram_free) + access
    post_in_lane(s, _MEMORY, s.dram_free, STORED, r + 4096 * pages)


@part
def _admit(s, tx, blk, m, r):  # type: ignore[no-untyped-def]
    """Take pages of the write in slot ``r`` into the cache while little waits for flash; whether all are in."""
    stored_bytes, stored = 0, 0
    complete = False
    n, at, mask = s.dc_n, s.dc, s.dc_mask
    base = at + ENTRIES
    while s.waiting_sectors < s.most_waiting_sectors:
        lpa, bits = _page(s, r, s.r_page[r])
        if lpa < 0:
            break
        entry = lru_find(m, at, n, mask, lpa)
        if entry >= 0:
            m[base + STRIDE * entry + FLAG] = _CHANGED_AGAIN
            m[base + STRIDE * entry + OWN] = bits | (m[base + STRIDE * entry + OWN] & 0xFFFFFFFF)
            lru_use(m, at, entry)
            s.absorbed += 1
        else:
            if m[at] == n:
                old = lru_oldest(m, at, -1)
                old_lpa, old_bits = m[base + STRIDE * old], m[base + STRIDE * old + OWN] & 0xFFFFFFFF
                again = m[base + STRIDE * old + FLAG] == _CHANGED_AGAIN
                lru_drop(m, at, n, mask, old)
                if again:
                    s.waiting_sectors += count_bits(old_bits)
                    _to_flash(s, tx, blk, m, old_lpa, old_bits, -count_bits(old_bits) - 1)
            entry = lru_add(m, at, n, mask, lpa, _WRITING)
            m[base + STRIDE * entry + OWN] = bits
            s.waiting_sectors += count_bits(bits)
            _to_flash(s, tx, blk, m, lpa, bits, -count_bits(bits) - 1)
        stored += 1
        stored_bytes += 512 * count_bits(bits)
        s.r_page[r] += 1
    lpa, bits = _page(s, r, s.r_page[r])
    complete = lpa < 0
    if stored > 0:
        _use_memory(s, r, stored, stored_bytes)
    return complete


@part
def _start_read(s, tx, blk, m, r, pages):  # type: ignore[no-untyped-def]
    """Read what the cache does not hold."""
    here, here_bytes = 0, 0
    for number in range(pages):
        lpa, bits = _page(s, r, number)
        missing = bits
        if s.cached:
            entry = lru_find(m, s.dc, s.dc_n, s.dc_mask, lpa)
            if entry >= 0:
                missing = bits & ~m[s.dc + ENTRIES + STRIDE * entry + OWN]
        if missing == 0:
            here += 1
            here_bytes += 512 * count_bits(bits)
            continue
        op = new_operation(s, tx, USER_READ, lpa, 512 * count_bits(missing), r)
        dispatch(s, tx, blk, m, op)
    if here > 0:
        _use_memory(s, r, here, here_bytes)


@part
def start(s, tx, blk, m, r):  # type: ignore[no-untyped-def]
    """A request, and a write's data, are in the drive."""
    pages = (s.r_skip[r] + s.r_sectors[r] + s.sectors - 1) // s.sectors
    s.r_left[r] = pages
    s.r_page[r] = 0
    if not s.r_write[r]:
        _start_read(s, tx, blk, m, r, pages)
        return
    if s.cached:
        if s.admit_head < 0 and _admit(s, tx, blk, m, r):
            return
        s.r_next[r] = -1
        if s.admit_head < 0:
            s.admit_head = r
        else:
            s.r_next[s.admit_tail] = r
        s.admit_tail = r
        return
    for number in range(pages):
        lpa, bits = _page(s, r, number)
        _to_flash(s, tx, blk, m, lpa, bits, r)


@part
def served(s, r, pages):  # type: ignore[no-untyped-def]
    """``pages`` of the request in slot ``r`` are done; after the last the host is sent the data and told."""
    s.r_left[r] -= pages
    if s.r_left[r] > 0:
        return
    if s.inside:
        post(s, s.now, COMPLETED, r)
        return
    if not s.r_write[r]:
        send_up(s, s.r_data_ns[r], -1, 0)
    send_up(s, s.completion_ns, COMPLETED, r)
    s.in_flight -= 1
    if s.fetch_head >= 0:
        waiting = s.fetch_head
        s.fetch_head = s.r_next[waiting]
        s.in_flight += 1
        send_up(s, s.ask_ns, FETCH, waiting)


@part
def written(s, tx, blk, m, op):  # type: ignore[no-untyped-def]
    """A page of the host has been programmed."""
    request = tx[op].request
    if request >= 0:
        served(s, request, 1)
        return
    s.waiting_sectors += request + 1
    entry = lru_find(m, s.dc, s.dc_n, s.dc_mask, tx[op].lpa)
    if entry >= 0 and m[s.dc + ENTRIES + STRIDE * entry + FLAG] == _WRITING:
        lru_drop(m, s.dc, s.dc_n, s.dc_mask, entry)
    while s.admit_head >= 0 and s.waiting_sectors < s.most_waiting_sectors:
        r = s.admit_head
        if not _admit(s, tx, blk, m, r):
            break
        s.admit_head = s.r_next[r]
