"""The compiled search: does everything fit under a ceiling? Exhaustive unless it is stopped.

Buffers are laid from the bottom up, so a partial plan is a skyline. For each buffer left, ``support`` is the top of
what was laid under it, and ``low`` a bound on its offset. A section's floor is the least ``low`` of its buffers left.

* Branching: take a section whose floor is a local minimum in time. The lowest buffer left there either lies on that
  floor, and then it is one of the few whose ``low`` is the floor, or the floor stays bare. Nothing else is possible.
* A buffer refused at its support must be lifted by a neighbour, so the least top of its neighbours bounds its offset.
* Cut where in any section the floor and the sizes left exceed the ceiling.
* A buffer that fits on its floor under everything else that is left is laid without alternatives.
* Buffers left that share no time with the others are parts of their own: when one part fails, so does the decision
  that made it, whatever the other parts have found.
* A part is known by its buffers left and their bounds; parts that failed are remembered by 128 bits of hash.

Bottom-up order, floors and the split in time come from MiniMalloc (Moffitt, ASPLOS 2023); the choice of the section,
lifting and the memory of failures are ours.
"""

from __future__ import annotations

import numpy as np
from numba import njit

__all__ = ["EXHAUSTED", "FITS", "STOPPED", "run_search"]

FITS, EXHAUSTED, STOPPED = 1, 0, -1
_NEVER = np.int64(1) << 60


@njit
def _up(value, step):  # type: ignore[no-untyped-def]
    return value if step == 1 else -(-value // step) * step


@njit
def _mix(value):  # type: ignore[no-untyped-def]
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


@njit
def _grown(old):  # type: ignore[no-untyped-def]
    new = np.empty((2 * old.shape[0], old.shape[1]), np.int64)
    for i in range(old.shape[0]):  # a slice would take five seconds to compile
        for j in range(old.shape[1]):
            new[i, j] = old[i, j]
    return new


@njit
def _put(x, trail, top, at, value):  # type: ignore[no-untyped-def]
    """Set ``x[at]`` so that it can be undone; the trail's new length."""
    trail[top, 0], trail[top, 1] = at, x[at]
    x[at] = value
    return top + 1


@njit
def _places(n, sections):  # type: ignore[no-untyped-def]
    """Where the parts of the vector begin: support, laid; per section the units left, lives that cross its end, buffers
    left, floor. Bounds come first."""
    return n, 2 * n, 3 * n, 3 * n + sections, 3 * n + 2 * sections, 3 * n + 3 * sections


@njit
def _choose(ceiling, rule, holes, lo, hi, near, x, size, owner, member, mem_ptr, nb_ptr, nb, weight):  # type: ignore[no-untyped-def]
    """The section to branch on, and the buffer that is laid there without alternatives, or -1."""
    n = size.shape[0]
    _, laid, left, _, count, floor = _places(n, mem_ptr.shape[0] - 1)
    best_score, best_section = _NEVER, -1
    s, before, forced = lo, _NEVER, -1
    # A buffer with a hole in its life may reach from one dip of the floor into another: the lowest counts only.
    deepest = _NEVER
    if holes:
        for t in range(lo, hi):
            deepest = min(deepest, x[floor + t])
    while s < hi and forced < 0:
        f = x[floor + s]
        end = s + 1
        while end < hi and x[floor + end] == f:
            end += 1
        after = x[floor + end] if end < hi else _NEVER
        if f < before and f < after and f <= deepest:
            for t in range(s, end):
                first, width = -1, 0
                for k in range(mem_ptr[t], mem_ptr[t] + x[count + t]):
                    u = owner[member[k]]
                    if x[u] == f:
                        width += 1
                        first = u
                if width == 1:
                    top = f + size[first]
                    for j in range(nb_ptr[first], nb_ptr[first + 1]):
                        if x[laid + nb[j]] == 0 and x[nb[j]] < top:
                            break
                    else:
                        forced, best_section = first, t
                        break
                slack = ceiling - f - x[left + t]
                # Few alternatives or little room, both divided by how often the section ended a branch; few
                # alternatives and among equals often the end; few and near the decision before.
                ways = (width + (1 if slack > 0 else 0)) << 40
                if rule == 0:
                    score = ways // weight[t]
                elif rule == 1:
                    score = ((slack + 1) << 40) // weight[t] + width
                elif rule == 2:
                    score = ways - weight[t]
                else:
                    score = ways + abs(t - near) if near >= 0 else ways
                if score < best_score:
                    best_score, best_section = score, t
        before = f
        s = end
    return best_section, forced


@njit
def _settle(  # type: ignore[no-untyped-def]
    ceiling, lo, hi, now, changed, trail, trail_top, x, size, step_of, witness, touched, stamp, begin,
    sec_ptr, sec_of, nb_ptr, nb, owner, member, mem_ptr, weight,
):  # fmt: skip
    """Lift those refused, and bring the floors up to date, until nothing moves; False where a section overflows."""
    n = size.shape[0]
    support, laid, left, _, count, floor = _places(n, mem_ptr.shape[0] - 1)
    while True:
        for i in range(changed):
            u, old = touched[i, 0], touched[i, 1]
            for k in range(sec_ptr[u], sec_ptr[u + 1]):
                if x[floor + sec_of[k]] == old:  # else another buffer is the floor, and stays so
                    stamp[sec_of[k]] = now
        changed = 0
        for s in range(lo, hi):
            if stamp[s] != now:
                continue
            stamp[s] = 0
            low = _NEVER
            for k in range(mem_ptr[s], mem_ptr[s] + x[count + s]):
                low = min(low, x[owner[member[k]]])
                if low == x[floor + s]:  # bounds only rise
                    break
            if low != x[floor + s]:
                while trail_top + 2 * n + 64 > trail.shape[0]:
                    trail = _grown(trail)
                trail_top = _put(x, trail, trail_top, floor + s, low)
                if low < _NEVER and low + x[left + s] > ceiling:
                    weight[s] += 1
                    return False, trail, trail_top
        for u in range(begin[lo], begin[hi]):
            if x[laid + u] == 1 or x[u] <= x[support + u]:
                continue
            v = witness[u]
            if x[laid + v] == 0 and x[v] + size[v] <= x[u] and v != u:
                continue
            low = _NEVER
            for j in range(nb_ptr[u], nb_ptr[u + 1]):
                v = nb[j]
                if x[laid + v] == 0 and x[v] + size[v] < low:
                    low = x[v] + size[v]
                    if low <= x[u]:
                        witness[u] = v
                        break
            if low > x[u]:
                low = _up(low, step_of[u])
                if low + size[u] > ceiling:
                    return False, trail, trail_top
                while trail_top + 2 * n + 64 > trail.shape[0]:
                    trail = _grown(trail)
                touched[changed, 0], touched[changed, 1] = u, x[u]
                trail_top = _put(x, trail, trail_top, u, low)
                changed += 1
        if changed == 0:
            return True, trail, trail_top


@njit
def _split(lo, hi, parent, pending, parts, parts_top, x, crossing, count):  # type: ignore[no-untyped-def]
    """What is left from ``lo`` to before ``hi`` as parts that share no time, the shortest first, before ``pending``."""
    made = parts_top
    start = lo
    for s in range(lo, hi):
        if s == hi - 1 or x[crossing + s] == 0:
            if x[count + start] > 0 or s > start:
                at = parts_top
                while at > made and parts[at - 1, 1] - parts[at - 1, 0] < s + 1 - start:
                    parts[at, 0], parts[at, 1] = parts[at - 1, 0], parts[at - 1, 1]
                    at -= 1
                parts[at, 0], parts[at, 1] = start, s + 1
                parts_top += 1
            start = s + 1
    for i in range(made, parts_top):
        parts[i, 2], parts[i, 3] = parent, pending
        pending = i
    return parts_top, pending


@njit(cache=True, nogil=True)
def run_search(  # type: ignore[no-untyped-def]
    ceiling, limit, rule, holes, b, sec_ptr, sec_of, nb_ptr, nb, mem_ptr, begin, failed, weight, stop, out
):  # fmt: skip
    """(FITS, nodes) with offsets in ``out``; EXHAUSTED: nothing fits; STOPPED: ``limit`` nodes, or ``stop[0]`` was set.

    All in units. ``b``, and rows of sections and neighbours: see `sections`. ``failed`` [2^k, 2] and ``weight``
    [section] are what searches under this ceiling have learnt, and grow. ``begin[s]``: the first buffer whose life
    begins in section s or later.
    """
    n = b.shape[0]
    sections = mem_ptr.shape[0] - 1
    slots = sec_of.shape[0]
    # One vector holds all that is undone on the way back: low, support, laid, and per section left, crossing, count.
    support, laid, left, crossing, count, floor = _places(n, sections)
    x = np.zeros(3 * n + 4 * sections, np.int64)
    owner = np.empty(slots, np.int64)
    where = np.empty(slots, np.int64)
    member = np.empty(slots, np.int64)
    size = np.empty(n, np.int64)
    step_of = np.empty(n, np.int64)
    witness = np.empty(n, np.int64)  # a neighbour that may lift a buffer to its bound; where it was true before
    for u in range(n):
        size[u], step_of[u], witness[u] = b[u]["size"], b[u]["step"], u
        pin = b[u]["pin"]
        x[u] = x[support + u] = pin if pin >= 0 else 0
        if x[u] + size[u] > ceiling:
            return EXHAUSTED, 0
        for k in range(sec_ptr[u], sec_ptr[u + 1]):
            s = sec_of[k]
            owner[k] = u
            where[k] = mem_ptr[s] + x[count + s]
            member[where[k]] = k
            x[count + s] += 1
            x[left + s] += size[u]
        for s in range(b[u]["first"], b[u]["last"]):
            x[crossing + s] += 1
    for s in range(sections):
        low = _NEVER
        for k in range(mem_ptr[s], mem_ptr[s + 1]):
            low = min(low, x[owner[member[k]]])
        x[floor + s] = low
        if low + x[left + s] > ceiling:
            return EXHAUSTED, 0

    trail = np.empty((16 * (n + sections) + 64, 2), np.int64)
    trail_top = 0
    # lo, hi, parent, pending after, section, floor, first candidate, candidates, next, trail mark, parts mark, key, key
    frames = np.empty((n + 64, 13), np.int64)
    depth = 0
    parts = np.empty((4 * n + 64, 4), np.int64)  # lo, hi, parent, next
    parts_top = 0
    candidates = np.empty((16 * n + 64, 1), np.int64)
    stamp = np.zeros(sections, np.int64)
    now = 0
    mask = failed.shape[0] - 1
    nodes = 0
    touched = np.empty((n, 2), np.int64)  # buffers whose bound rose, and from where

    parts_top, pending = _split(0, sections, -1, -1, parts, parts_top, x, crossing, count)

    while True:
        # Down: the next part.
        failing = False
        if pending < 0:
            for u in range(n):
                out[u] = x[u]
            return FITS, nodes
        lo, hi, parent, pending = parts[pending, 0], parts[pending, 1], parts[pending, 2], parts[pending, 3]
        nodes += 1
        if nodes > limit or ((nodes & 1023) == 0 and stop[0] != 0):
            return STOPPED, nodes
        # Its key.
        key_a, key_b = np.uint64(0), np.uint64(0)
        for u in range(begin[lo], begin[hi]):
            if x[laid + u] == 0:
                word = (np.uint64(x[u]) << np.uint64(1)) | np.uint64(1 if x[u] > x[support + u] else 0)
                key_a += _mix(word * np.uint64(0x9E3779B97F4A7C15) + np.uint64(b[u]["salt_a"]))
                key_b += _mix(word * np.uint64(0xD6E8FEB86659FD93) + np.uint64(b[u]["salt_b"]))
        place = np.int64(key_a & np.uint64(mask))
        if failed[place, 0] == np.int64(key_a) and failed[place, 1] == np.int64(key_b):
            failing = True
        else:
            last_section = frames[parent, 4] if parent >= 0 else -1
            best_section, forced = _choose(
                ceiling, rule, holes, lo, hi, last_section, x, size, owner, member, mem_ptr, nb_ptr, nb, weight
            )
            # A new frame with its candidates, best rank first.
            if depth + 1 >= frames.shape[0]:
                frames = _grown(frames)
            f = x[floor + best_section]
            first = frames[depth - 1, 6] + frames[depth - 1, 7] if depth > 0 else 0
            while first + n >= candidates.shape[0]:
                candidates = _grown(candidates)
            total = 0
            if forced >= 0:
                candidates[first, 0] = forced
                total = 1
            else:
                for k in range(mem_ptr[best_section], mem_ptr[best_section] + x[count + best_section]):
                    u = owner[member[k]]
                    twin = b[u]["twin"]
                    if x[u] == f and (twin < 0 or x[laid + twin] == 1 or x[twin] != f):
                        at = total
                        while at > 0 and b[candidates[first + at - 1, 0]]["rank"] > b[u]["rank"]:
                            candidates[first + at, 0] = candidates[first + at - 1, 0]
                            at -= 1
                        candidates[first + at, 0] = u
                        total += 1
            fr = frames[depth]
            fr[0], fr[1], fr[2], fr[3], fr[4], fr[5] = lo, hi, parent, pending, best_section, f
            fr[6], fr[7], fr[8], fr[9], fr[10] = first, total, 0, trail_top, parts_top
            fr[11], fr[12] = np.int64(key_a), np.int64(key_b)
            # After a forced buffer, or without room for a bare floor, there is no last alternative.
            if forced >= 0 or f + 1 + x[left + best_section] > ceiling:
                fr[8] = -(total + 1)
            depth += 1

        # Up and across: the next alternative that survives, or failure.
        while True:
            if failing:
                if parent < 0:
                    return EXHAUSTED, nodes
                depth = parent + 1
            fr = frames[depth - 1]
            mark = fr[9]
            while trail_top > mark:
                trail_top -= 1
                x[trail[trail_top, 0]] = trail[trail_top, 1]
            parts_top = fr[10]
            lo, hi = fr[0], fr[1]
            total = fr[7]
            bare_allowed = fr[8] >= 0
            step = fr[8] if bare_allowed else fr[8] + total + 1
            if step > total or (step == total and not bare_allowed):
                place = np.int64(np.uint64(fr[11]) & np.uint64(mask))
                failed[place, 0], failed[place, 1] = fr[11], fr[12]
                parent = fr[2]
                failing = True
                continue
            fr[8] += 1
            failing = False
            while trail_top + 4 * n + 4 * sections + 64 > trail.shape[0]:
                trail = _grown(trail)
            now += 1
            changed = 0
            ok = True
            if step < total:
                c = candidates[fr[6] + step, 0]
                top = fr[5] + size[c]
                trail_top = _put(x, trail, trail_top, laid + c, 1)
                for k in range(sec_ptr[c], sec_ptr[c + 1]):
                    s = sec_of[k]
                    trail_top = _put(x, trail, trail_top, left + s, x[left + s] - size[c])
                    trail_top = _put(x, trail, trail_top, count + s, x[count + s] - 1)
                    # To the end of the section's list, so that those left stay in front.
                    last = mem_ptr[s] + x[count + s]
                    other = member[last]
                    member[where[k]] = other
                    where[other] = where[k]
                    member[last] = k
                    where[k] = last
                    stamp[s] = now
                for s in range(b[c]["first"], b[c]["last"]):
                    trail_top = _put(x, trail, trail_top, crossing + s, x[crossing + s] - 1)
                for j in range(nb_ptr[c], nb_ptr[c + 1]):
                    v = nb[j]
                    if x[laid + v] == 1 or x[support + v] >= top:
                        continue
                    on = _up(top, step_of[v])
                    if b[v]["pin"] >= 0 or max(on, x[v]) + size[v] > ceiling:
                        ok = False
                        break
                    trail_top = _put(x, trail, trail_top, support + v, on)
                    if on > x[v]:
                        touched[changed, 0], touched[changed, 1] = v, x[v]
                        trail_top = _put(x, trail, trail_top, v, on)
                        changed += 1
            else:
                # The floor stays bare: each candidate must be lifted.
                s = fr[4]
                for k in range(mem_ptr[s], mem_ptr[s] + x[count + s]):
                    u = owner[member[k]]
                    if x[u] == fr[5]:
                        if b[u]["pin"] >= 0:
                            ok = False
                            break
                        touched[changed, 0], touched[changed, 1] = u, x[u]
                        trail_top = _put(x, trail, trail_top, u, _up(fr[5] + 1, step_of[u]))
                        changed += 1
            if ok:
                ok, trail, trail_top = _settle(
                    ceiling, lo, hi, now, changed, trail, trail_top, x, size, step_of, witness, touched, stamp, begin,
                    sec_ptr, sec_of, nb_ptr, nb, owner, member, mem_ptr, weight,
                )  # fmt: skip
            if not ok:
                continue
            # What is left falls into parts; the shortest goes first.
            while parts_top + (hi - lo) + 2 > parts.shape[0]:
                parts = _grown(parts)
            parts_top, pending = _split(lo, hi, depth - 1, fr[3], parts, parts_top, x, crossing, count)
            break
