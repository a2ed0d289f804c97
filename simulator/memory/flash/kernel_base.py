"""Parts of the compiled kernel that know nothing of flash: random numbers, the event heap, caches in order of use."""

from __future__ import annotations

from numba import njit

from simulator.memory.flash.state import LANE_ROOM, LANES

__all__ = [
    "ENTRIES",
    "FLAG",
    "OWN",
    "STRIDE",
    "count_bits",
    "lru_add",
    "lru_drop",
    "lru_find",
    "lru_oldest",
    "lru_reset",
    "lru_use",
    "next_event",
    "part",
    "post",
    "post_in_lane",
    "random_below",
]

part = njit(error_model="numpy", no_cpython_wrapper=True, no_cfunc_wrapper=True)  # type: ignore[call-overload]
"""For functions that only compiled code calls, and that divide by nothing that may be 0."""

ENTRIES, STRIDE, FLAG, OWN = 8, 8, 3, 4
_COUNT, _NEWEST, _OLDEST, _FREE = range(4)
_NEWER, _OLDER = 1, 2
_MULTIPLIER = 6364136223846793005
_INCREMENT = 1442695040888963407
_SIGN = 1 << 63


@part
def random_below(rng, n):  # type: ignore[no-untyped-def]
    """The next state of a 64-bit linear congruential generator (Knuth's MMIX constants) and a number below ``n``.

    The number is taken from the upper 31 bits of the state, or 53 when ``n`` needs more.
    """
    state = rng * _MULTIPLIER + _INCREMENT  # int64 arithmetic wraps
    if n <= 1 << 20:
        return state, ((state >> 33) & 0x7FFFFFFF) * n >> 31
    return state, ((state >> 11) & 0x1FFFFFFFFFFFFF) % n


@part
def post(s, time, kind, argument):  # type: ignore[no-untyped-def]
    """An event at ``time``; events of one time happen in the order they were posted."""
    seq = s.seq
    s.seq = seq + 1
    i = s.events
    s.events = i + 1
    _rise(s, i, time, seq, kind + 16 * argument)


@part
def post_in_lane(s, lane, time, kind, argument):  # type: ignore[no-untyped-def]
    """As `post`, for events that are posted in the order of their times: those of one lane."""
    seq = s.seq
    s.seq = seq + 1
    i = s.lane_tail[lane] & (LANE_ROOM - 1)
    s.lane_tail[lane] += 1
    s.lane_time[lane, i] = time
    s.lane_seq[lane, i] = seq
    s.lane_what[lane, i] = kind + 16 * argument


@part
def _rise(s, i, time, seq, what):  # type: ignore[no-untyped-def]
    while i > 0:
        parent = (i - 1) >> 1
        above = s.ev_time[parent]
        if above < time or (above == time and s.ev_seq[parent] < seq):
            break
        s.ev_time[i] = above
        s.ev_seq[i] = s.ev_seq[parent]
        s.ev_what[i] = s.ev_what[parent]
        i = parent
    s.ev_time[i] = time
    s.ev_seq[i] = seq
    s.ev_what[i] = what


@part
def next_event(s):  # type: ignore[no-untyped-def]
    """Take the earliest event: its kind and argument, and the clock moves to its time; kind -1 when there is none, or
    none before the run stops, where the clock then is."""
    source = -2
    time, seq = s.stop_ns, 0
    if s.events > 0 and s.ev_time[0] <= time:
        source, time, seq = -1, s.ev_time[0], s.ev_seq[0]
    waiting = s.events
    for lane in range(LANES):
        head = s.lane_head[lane]
        if head == s.lane_tail[lane]:
            continue
        waiting += 1
        i = head & (LANE_ROOM - 1)
        at = s.lane_time[lane, i]
        if at < time or (at == time and (source == -2 or s.lane_seq[lane, i] < seq)):
            source, time, seq = lane, at, s.lane_seq[lane, i]
    if source == -2:
        if waiting > 0:
            s.now = s.stop_ns
        s.stopped = waiting > 0
        return -1, 0
    s.now = time
    if source >= 0:
        what = s.lane_what[source, s.lane_head[source] & (LANE_ROOM - 1)]
        s.lane_head[source] += 1
        return what & 15, what >> 4
    what = s.ev_what[0]
    n = s.events - 1
    s.events = n
    i, child = 0, 1
    while child < n:  # the gap sinks to the end, and what was last rises from there: it seldom rises far
        right = min(child + 1, n - 1)
        first, second = s.ev_time[child], s.ev_time[right]
        child += (second < first) | ((second == first) & (s.ev_seq[right] < s.ev_seq[child]))
        s.ev_time[i] = s.ev_time[child]
        s.ev_seq[i] = s.ev_seq[child]
        s.ev_what[i] = s.ev_what[child]
        i = child
        child = 2 * i + 1
    _rise(s, i, s.ev_time[n], s.ev_seq[n], s.ev_what[n])
    return what & 15, what >> 4


# A cache of n entries at m[at]: a header of 8, then 8 numbers for each entry, so that they lie in one line of a
# processor's cache: key, newer, older, flag and two of the caller's; then a hash table of entry + 1.


@part
def count_bits(bits):  # type: ignore[no-untyped-def]
    """How many of the lower 32 bits are set: sums of neighbours, in fields of 2, 4, 8 bits, then all bytes."""
    bits = bits & 0xFFFFFFFF
    bits = bits - ((bits >> 1) & 0x55555555)
    bits = (bits & 0x33333333) + ((bits >> 2) & 0x33333333)
    bits = (bits + (bits >> 4)) & 0x0F0F0F0F
    return ((bits * 0x01010101) & 0xFFFFFFFF) >> 24


@part
def lru_reset(m, at, n):  # type: ignore[no-untyped-def]
    """Empty the cache; free entries are chained through ``older``."""
    m[at + _COUNT] = 0
    m[at + _NEWEST] = -1
    m[at + _OLDEST] = -1
    m[at + _FREE] = 0
    for i in range(n):
        m[at + ENTRIES + STRIDE * i + _OLDER] = i + 1 if i + 1 < n else -1


@part
def _hash(key, mask):  # type: ignore[no-untyped-def]
    """Keys that follow one another share a line of a processor's cache, by sixteens."""
    return ((((key >> 4) * 0x9E3779B97F4A7C1) >> 20 << 4) + (key & 15)) & mask


@part
def lru_find(m, at, n, mask, key):  # type: ignore[no-untyped-def]
    """The entry of ``key``, or -1."""
    table = at + ENTRIES + STRIDE * n
    i = _hash(key, mask)
    while m[table + i] != 0:
        entry = m[table + i] - 1
        if m[at + ENTRIES + STRIDE * entry] == key:
            return entry
        i = (i + 1) & mask
    return -1


@part
def _unlink(m, at, entry):  # type: ignore[no-untyped-def]
    base = at + ENTRIES
    before, after = m[base + STRIDE * entry + _NEWER], m[base + STRIDE * entry + _OLDER]
    if before >= 0:
        m[base + STRIDE * before + _OLDER] = after
    else:
        m[at + _NEWEST] = after
    if after >= 0:
        m[base + STRIDE * after + _NEWER] = before
    else:
        m[at + _OLDEST] = before


@part
def _link(m, at, entry):  # type: ignore[no-untyped-def]
    base = at + ENTRIES
    first = m[at + _NEWEST]
    m[base + STRIDE * entry + _NEWER] = -1
    m[base + STRIDE * entry + _OLDER] = first
    if first >= 0:
        m[base + STRIDE * first + _NEWER] = entry
    else:
        m[at + _OLDEST] = entry
    m[at + _NEWEST] = entry


@part
def lru_use(m, at, entry):  # type: ignore[no-untyped-def]
    """Make ``entry`` the newest."""
    if m[at + _NEWEST] != entry:
        _unlink(m, at, entry)
        _link(m, at, entry)


@part
def lru_add(m, at, n, mask, key, flag):  # type: ignore[no-untyped-def]
    """A new entry for ``key``, the newest; there must be room."""
    entry = m[at + _FREE]
    m[at + _FREE] = m[at + ENTRIES + STRIDE * entry + _OLDER]
    m[at + _COUNT] += 1
    m[at + ENTRIES + STRIDE * entry] = key
    m[at + ENTRIES + STRIDE * entry + FLAG] = flag
    _link(m, at, entry)
    table = at + ENTRIES + STRIDE * n
    i = _hash(key, mask)
    while m[table + i] != 0:
        i = (i + 1) & mask
    m[table + i] = entry + 1
    return entry


@part
def lru_drop(m, at, n, mask, entry):  # type: ignore[no-untyped-def]
    """Forget ``entry``; the hash table is closed up behind it."""
    table = at + ENTRIES + STRIDE * n
    i = _hash(m[at + ENTRIES + STRIDE * entry], mask)
    while m[table + i] != entry + 1:
        i = (i + 1) & mask
    hole = i
    while True:
        i = (i + 1) & mask
        held = m[table + i]
        if held == 0:
            break
        home = _hash(m[at + ENTRIES + STRIDE * (held - 1)], mask)
        if ((i - home) & mask) >= ((i - hole) & mask):
            m[table + hole] = held
            hole = i
    m[table + hole] = 0
    _unlink(m, at, entry)
    m[at + ENTRIES + STRIDE * entry + _OLDER] = m[at + _FREE]
    m[at + _FREE] = entry
    m[at + _COUNT] -= 1


@part
def lru_oldest(m, at, unwanted):  # type: ignore[no-untyped-def]
    """The entry used longest ago whose flag is not ``unwanted``."""
    entry = m[at + _OLDEST]
    while m[at + ENTRIES + STRIDE * entry + FLAG] == unwanted:
        entry = m[at + ENTRIES + STRIDE * entry + _NEWER]
    return entry
