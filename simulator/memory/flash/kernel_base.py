"""Parts of the compiled kernel that know nothing of flash: random numbers, the event heap, caches in order of use."""

from __future__ import annotations

from numba import njit

__all__ = [
    "lru_add",
    "lru_drop",
    "lru_find",
    "lru_oldest",
    "lru_reset",
    "lru_use",
    "next_event",
    "post",
    "random_below",
]

_COUNT, _NEWEST, _OLDEST, _FREE, _HEADER = range(5)
_MULTIPLIER = 6364136223846793005
_INCREMENT = 1442695040888963407
_SIGN = 1 << 63


@njit
def random_below(rng, n):  # type: ignore[no-untyped-def]
    """The next state of a 64-bit linear congruential generator (Knuth's MMIX constants) and a number below ``n``.

    The number is taken from the upper 31 bits of the state, or 53 when ``n`` needs more.
    """
    state = rng * _MULTIPLIER + _INCREMENT  # int64 arithmetic wraps
    if n <= 1 << 20:
        return state, ((state >> 33) & 0x7FFFFFFF) * n >> 31
    return state, ((state >> 11) & 0x1FFFFFFFFFFFFF) % n


@njit
def post(s, time, kind, argument):  # type: ignore[no-untyped-def]
    """An event at ``time``; events of one time happen in the order they were posted."""
    seq = s.seq
    s.seq = seq + 1
    i = s.events
    s.events = i + 1
    while i > 0:
        parent = (i - 1) >> 1
        if s.ev_time[parent] <= time:
            break
        s.ev_time[i] = s.ev_time[parent]
        s.ev_seq[i] = s.ev_seq[parent]
        s.ev_what[i] = s.ev_what[parent]
        i = parent
    s.ev_time[i] = time
    s.ev_seq[i] = seq
    s.ev_what[i] = kind + 16 * argument


@njit
def next_event(s):  # type: ignore[no-untyped-def]
    """Take the earliest event off the heap: its kind and argument; the clock moves to its time."""
    what = s.ev_what[0]
    s.now = s.ev_time[0]
    n = s.events - 1
    s.events = n
    if n > 0:
        time, seq, last = s.ev_time[n], s.ev_seq[n], s.ev_what[n]
        i = 0
        while True:
            child = 2 * i + 1
            if child >= n:
                break
            right = child + 1
            if right < n and (
                s.ev_time[right] < s.ev_time[child]
                or (s.ev_time[right] == s.ev_time[child] and s.ev_seq[right] < s.ev_seq[child])
            ):
                child = right
            if time < s.ev_time[child] or (time == s.ev_time[child] and seq < s.ev_seq[child]):
                break
            s.ev_time[i] = s.ev_time[child]
            s.ev_seq[i] = s.ev_seq[child]
            s.ev_what[i] = s.ev_what[child]
            i = child
        s.ev_time[i] = time
        s.ev_seq[i] = seq
        s.ev_what[i] = last
    return what & 15, what >> 4


# A cache of n entries at m[at]: header, then key, newer, older and flag of each entry, then a hash table of entry + 1.


@njit
def lru_reset(m, at, n):  # type: ignore[no-untyped-def]
    """Empty the cache; free entries are chained through ``older``."""
    m[at + _COUNT] = 0
    m[at + _NEWEST] = -1
    m[at + _OLDEST] = -1
    m[at + _FREE] = 0
    older = at + _HEADER + 2 * n
    for i in range(n):
        m[older + i] = i + 1 if i + 1 < n else -1


@njit
def _hash(key, mask):  # type: ignore[no-untyped-def]
    return ((key * 0x9E3779B97F4A7C1) >> 20) & mask


@njit
def lru_find(m, at, n, mask, key):  # type: ignore[no-untyped-def]
    """The entry of ``key``, or -1."""
    table = at + _HEADER + 4 * n
    i = _hash(key, mask)
    while m[table + i] != 0:
        entry = m[table + i] - 1
        if m[at + _HEADER + entry] == key:
            return entry
        i = (i + 1) & mask
    return -1


@njit
def _unlink(m, at, n, entry):  # type: ignore[no-untyped-def]
    newer, older = at + _HEADER + n, at + _HEADER + 2 * n
    before, after = m[newer + entry], m[older + entry]
    if before >= 0:
        m[older + before] = after
    else:
        m[at + _NEWEST] = after
    if after >= 0:
        m[newer + after] = before
    else:
        m[at + _OLDEST] = before


@njit
def _link(m, at, n, entry):  # type: ignore[no-untyped-def]
    newer, older = at + _HEADER + n, at + _HEADER + 2 * n
    first = m[at + _NEWEST]
    m[newer + entry] = -1
    m[older + entry] = first
    if first >= 0:
        m[newer + first] = entry
    else:
        m[at + _OLDEST] = entry
    m[at + _NEWEST] = entry


@njit
def lru_use(m, at, n, entry):  # type: ignore[no-untyped-def]
    """Make ``entry`` the newest."""
    if m[at + _NEWEST] != entry:
        _unlink(m, at, n, entry)
        _link(m, at, n, entry)


@njit
def lru_add(m, at, n, mask, key, flag):  # type: ignore[no-untyped-def]
    """A new entry for ``key``, the newest; there must be room."""
    entry = m[at + _FREE]
    m[at + _FREE] = m[at + _HEADER + 2 * n + entry]
    m[at + _COUNT] += 1
    m[at + _HEADER + entry] = key
    m[at + _HEADER + 3 * n + entry] = flag
    _link(m, at, n, entry)
    table = at + _HEADER + 4 * n
    i = _hash(key, mask)
    while m[table + i] != 0:
        i = (i + 1) & mask
    m[table + i] = entry + 1
    return entry


@njit
def lru_drop(m, at, n, mask, entry):  # type: ignore[no-untyped-def]
    """Forget ``entry``; the hash table is closed up behind it."""
    table = at + _HEADER + 4 * n
    i = _hash(m[at + _HEADER + entry], mask)
    while m[table + i] != entry + 1:
        i = (i + 1) & mask
    hole = i
    while True:
        i = (i + 1) & mask
        held = m[table + i]
        if held == 0:
            break
        home = _hash(m[at + _HEADER + held - 1], mask)
        if ((i - home) & mask) >= ((i - hole) & mask):
            m[table + hole] = held
            hole = i
    m[table + hole] = 0
    _unlink(m, at, n, entry)
    m[at + _HEADER + 2 * n + entry] = m[at + _FREE]
    m[at + _FREE] = entry
    m[at + _COUNT] -= 1


@njit
def lru_oldest(m, at, n, unwanted):  # type: ignore[no-untyped-def]
    """The entry used longest ago whose flag is not ``unwanted``."""
    entry = m[at + _OLDEST]
    while m[at + _HEADER + 3 * n + entry] == unwanted:
        entry = m[at + _HEADER + n + entry]
    return entry
