"""The compiled enumeration of nests: depth first, cut by capacity, by an admissible bound and by dominance.

A nest is built from the outside in. Each step chooses the next store and the tiles its ranks are cut into just above
it. Three facts make the space small without losing an optimum:

* A loop over a rank that the next store's tensor lacks may be moved below that store: the tile stays, and no other
  count changes. So each block of loops walks ranks of the store below it only, and the order within a block is free.
* Cuts only ever raise the counts of stores further in. So the counts at the current tiles bound what is left from
  below, and a rank that every remaining tensor has may be cut to single steps at once.
* Two stores with no loop between them commute; one order is enough.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

from mappers.search.goal import CODES, Goal
from mappers.search.tables import Tables

__all__ = ["ANY", "Records", "enumerate_nests"]

ANY = 1_000_000
"""No limit on the cuts of shared loops."""

Records = tuple[
    NDArray[np.float64], NDArray[np.int64], NDArray[np.int16], NDArray[np.int16], int
]  # values [i, 3], prefix length [i], node [i, depth], option [i, depth, r], evaluated


def enumerate_nests(
    tables: Tables,
    sizes: NDArray[np.float64],
    start: NDArray[np.int64],
    shared: NDArray[np.bool_],
    goal: Goal,
    bound: tuple[float, float],
    keep_all: bool,
    whole: NDArray[np.bool_] | None = None,
    cuts: int = ANY,
    allowed: tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]] | None = None,
) -> Records:
    """Walk all nests of one configuration.

    ``shared`` marks the stores of intermediates that stay on chip: they come first, under loops over their own ranks
    only. Nests with which the whole cascade's ``goal`` must exceed ``bound`` (the second number breaks ties, by the
    other measure) are cut. With ``keep_all`` the
    Pareto-optimal nests (energy, latency, bits in the level below the root after the shared stores) for each way to
    place the shared stores come back, otherwise the best one. Before the last shared store at
    most ``cuts`` cuts are made, none of ranks that are ``whole``; a limit leaves them to shared stores.
    ``allowed`` limits shared stores to listed tiles: codes in rising order, where node n's begin (-1: no limit) and
    end, and the weight of each rank's option in a code.
    """
    t = tables
    uncut = np.zeros(len(sizes), dtype=np.bool_) if whole is None else whole
    result: Records = _enumerate(
        t.node_tensor, t.node_level, t.relevant, t.parent_count, t.child_count, t.parent_weight, t.child_weight, t.base,
        t.extent, t.pieces, t.axis_rank, t.axis_step, t.windowed, t.bits, t.capacity, t.next_start, t.next_option,
        t.fixed, t.once, sizes, start, shared, CODES[goal.objective], goal.exchange,
        goal.rest.energy_j, goal.rest.latency_s, goal.rest.mix_s, bound[0], bound[1], keep_all, uncut, cuts,
        *(allowed or _no_limits(len(t.node_tensor), len(sizes))),
    )  # fmt: skip
    return result


def _no_limits(nodes: int, ranks: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    return np.empty(0, np.int64), np.full((nodes, 2), -1, np.int64), np.zeros(ranks, np.int64)


@njit(cache=True)
def _measure(
    code: int, exchange: float, rest_j: float, rest_s: float, rest_mix: float, energy_j: float, latency_s: float
) -> tuple[float, float]:
    """``Goal.measure``, compiled."""
    energy = energy_j + rest_j
    latency = latency_s + rest_s
    if code == 0:
        return energy, latency
    if code == 1:
        return latency, energy
    if code == 3:
        return exchange * energy + latency, energy
    value = energy * latency
    if exchange > 0.0:
        slow = max(rest_s, rest_mix - exchange * rest_j)
        hungry = max(rest_j, (rest_mix - rest_s) / exchange)
        value = max(value, min(energy * (latency_s + slow), (energy_j + hungry) * latency))
    return value, energy


@njit(cache=True)
def _moved(k: int, opt: Any, pieces: Any, axis_rank: Any, axis_step: Any, sizes: Any) -> float:
    """Elements of a windowed tensor that all its tiles touch together, halos counted each time."""
    total = 1.0
    for a in range(axis_rank.shape[1]):
        first, second = axis_rank[k, a, 0], axis_rank[k, a, 1]
        if first < 0:
            continue
        n = pieces[first, opt[first]]
        if second < 0:
            total *= axis_step[k, a, 0] * (sizes[first] - n) + n
            continue
        m = pieces[second, opt[second]]
        total *= axis_step[k, a, 0] * (sizes[first] - n) * m + axis_step[k, a, 1] * (sizes[second] - m) * n + n * m
    return total


@njit(cache=True)
def _grow(values: Any, prefix: Any, nodes: Any, options: Any) -> Any:
    size = 2 * values.shape[0]
    a = np.empty((size, 3), np.float64)
    b = np.empty(size, np.int64)
    c = np.empty((size, nodes.shape[1]), np.int16)
    d = np.empty((size, options.shape[1], options.shape[2]), np.int16)
    count = values.shape[0]
    a[:count], b[:count], c[:count], d[:count] = values, prefix, nodes, options
    return a, b, c, d


@njit(cache=True)
def _enumerate(
    node_tensor: Any, node_level: Any, relevant: Any, parent_count: Any, child_count: Any, parent_weight: Any,
    child_weight: Any, base: Any, extent: Any, pieces: Any, axis_rank: Any, axis_step: Any, windowed: Any, bits: Any,
    capacity: Any, next_start: Any, next_option: Any, fixed: Any, once: Any, sizes: Any, start: Any, shared: Any,
    code: int, exchange: float, rest_j: float, rest_s: float, rest_mix: float, best: float, best_tie: float,
    keep_all: bool, uncut: Any, cuts: int, codes: Any, code_range: Any, code_weight: Any,
) -> Any:  # fmt: skip
    n_nodes = node_tensor.size
    n_ranks = relevant.shape[1]
    n_levels = capacity.size
    n_metrics = base.size
    choice = np.full(n_nodes + 1, -1, np.int64)
    digit = np.zeros((n_nodes + 1, n_ranks), np.int64)
    low = np.zeros((n_nodes + 1, n_ranks), np.int64)
    high = np.zeros((n_nodes + 1, n_ranks), np.int64)
    opt = np.zeros((n_nodes + 1, n_ranks), np.int64)
    opt[0] = start
    made = np.zeros(n_nodes + 1, np.int64)
    used = np.zeros((n_nodes + 1, n_levels))
    met = np.zeros((n_nodes + 1, n_metrics))
    met[0] = base
    placed = np.zeros(n_nodes, np.bool_)
    lb = np.zeros(n_metrics)
    total_shared = 0
    for n in range(n_nodes):
        total_shared += shared[n]
    shared_left = total_shared
    prefix_length = 0
    values = np.empty((16, 3), np.float64)
    prefix = np.empty(16, np.int64)
    nodes = np.empty((16, max(n_nodes, 1)), np.int16)
    options = np.empty((16, max(n_nodes, 1), n_ranks), np.int16)
    count = 0
    segment = 0
    evaluated = 0
    slack = 1.0 + 1e-12

    if n_nodes == 0:
        energy = base[0]
        latency = 0.0
        for x in range(1, n_metrics):
            latency = max(latency, base[x])
        values[0, 0], values[0, 1], values[0, 2] = energy, latency, 0.0
        prefix[0], nodes[0], options[0] = 0, 0, 0
        return values[:1], prefix[:1], nodes[:1], options[:1], 1

    depth = 0
    fresh = True
    while depth >= 0:
        # Choose the next node and cuts at this depth.
        advanced = False
        if not fresh:
            for r in range(n_ranks):
                if digit[depth, r] < high[depth, r]:
                    digit[depth, r] += 1
                    advanced = True
                    break
                digit[depth, r] = low[depth, r]
        if not advanced:
            n = choice[depth]
            if n >= 0:
                placed[n] = False
                if shared[n]:
                    shared_left += 1
            n += 1
            while n < n_nodes:
                ok = not placed[n]
                if ok and n > 0 and node_tensor[n - 1] == node_tensor[n] and not placed[n - 1]:
                    ok = False
                if ok and shared_left > 0 and node_level[n] != 1:
                    ok = False
                if ok:
                    break
                n += 1
            if n >= n_nodes:
                choice[depth] = -1
                depth -= 1
                fresh = False
                continue
            choice[depth] = n
            k = node_tensor[n]
            for r in range(n_ranks):
                here = opt[depth, r]
                first, last = next_start[r, here], next_start[r, here + 1] - 1
                if not relevant[k, r]:
                    last = first
                elif shared_left > 0:
                    if uncut[r] or (cuts < ANY and not shared[n]):
                        last = first
                    for m in range(n_nodes):
                        if shared[m] and not placed[m] and not relevant[node_tensor[m], r]:
                            last = first
                            break
                elif fixed[n, r] == -1:
                    free = True
                    for m in range(n_nodes):
                        if m != n and not placed[m] and not relevant[node_tensor[m], r]:
                            free = False
                            break
                    for m in range(n_nodes):
                        if m != n and not placed[m] and fixed[m, r] != -1:
                            free = False
                    if free:
                        first = last
                low[depth, r], high[depth, r] = first, last
                digit[depth, r] = first
            placed[n] = True
            if shared[n]:
                shared_left -= 1
        fresh = False
        n = choice[depth]
        k = node_tensor[n]
        nxt = depth + 1
        cut = False
        fits = True
        made[nxt] = made[depth]
        for r in range(n_ranks):
            opt[nxt, r] = next_option[digit[depth, r]]
            if opt[nxt, r] != opt[depth, r]:
                cut = True
                made[nxt] += 1
            if fixed[n, r] != -1 and fixed[n, r] != opt[nxt, r]:
                fits = False
        if not fits or (made[nxt] > cuts and (shared_left > 0 or shared[n])):
            continue
        if not cut and depth > 0 and node_tensor[choice[depth - 1]] != k:
            # Two stores without a loop between them commute: shared ones first, then by number. Before the last
            # shared store, moving up would also hold the tile for longer, so there the loops above must be its own.
            before = choice[depth - 1]
            skip = shared[n] and not shared[before]
            if shared[n] == shared[before] and before > n:
                skip = True
                if shared_left > 0:
                    for r in range(n_ranks):
                        if not relevant[k, r] and opt[depth, r] != opt[depth - 1, r]:
                            skip = False
            if skip:
                continue
        if code_range[n, 0] >= 0:
            wanted = 0
            for r in range(n_ranks):
                wanted += opt[nxt, r] * code_weight[r]
            at = np.searchsorted(codes[code_range[n, 0] : code_range[n, 1]], wanted) + code_range[n, 0]
            if at >= code_range[n, 1] or codes[at] != wanted:
                continue
        level = node_level[n]
        size = bits[k]
        for a in range(axis_rank.shape[1]):
            span = 1.0
            for side in range(2):
                r = axis_rank[k, a, side]
                if r >= 0:
                    span += axis_step[k, a, side] * (extent[level, r, opt[nxt, r]] - 1.0)
            size *= span
        for i in range(n_levels):
            used[nxt, i] = used[depth, i]
        used[nxt, level] += size
        if used[nxt, level] > capacity[level]:
            continue
        if once[n]:
            for r in range(n_ranks):
                if not relevant[k, r] and pieces[r, opt[nxt, r]] > 1.0:
                    fits = False
            if not fits:
                continue
        # What is certain: this node, and every node left at the counts of the current tiles.
        for x in range(n_metrics):
            met[nxt, x] = met[depth, x]
        for m in range(-1, n_nodes):
            who = n if m == -1 else m
            if m >= 0 and placed[m]:
                continue
            kk = node_tensor[who]
            up = 1.0
            down = 1.0
            for r in range(n_ranks):
                if not relevant[kk, r]:
                    up *= parent_count[who, r, opt[nxt, r]]
                    down *= child_count[who, r, opt[nxt, r]]
            if windowed[kk]:
                moved = _moved(kk, opt[nxt], pieces, axis_rank, axis_step, sizes)
                up *= moved
                down *= moved
            if m == -1:
                for x in range(n_metrics):
                    met[nxt, x] += parent_weight[who, x] * up + child_weight[who, x] * down
                    lb[x] = met[nxt, x]
            else:
                for x in range(n_metrics):
                    lb[x] += parent_weight[who, x] * up + child_weight[who, x] * down
        evaluated += 1
        energy = lb[0]
        latency = 0.0
        for x in range(1, n_metrics):
            latency = max(latency, lb[x])
        value, tie = _measure(code, exchange, rest_j, rest_s, rest_mix, energy, latency)
        hopeless = value > best * slack or (not keep_all and value * slack >= best and tie * slack >= best_tie)
        worse = hopeless
        if shared_left == 0 and total_shared > 0 and shared[n]:
            segment = count
            prefix_length = nxt
        if not worse and keep_all and shared_left == 0:
            held = used[nxt, 1] - used[prefix_length, 1] if n_levels > 1 else 0.0
            for i in range(segment, count):
                if values[i, 0] <= energy * slack and values[i, 1] <= latency * slack and values[i, 2] <= held * slack:
                    worse = True
                    break
        if worse and not hopeless:
            continue
        if hopeless:
            # Deeper cuts of the fastest digit only cost more.
            for r in range(n_ranks):
                if high[depth, r] > low[depth, r]:
                    if digit[depth, r] < high[depth, r]:
                        digit[depth, r] = high[depth, r]
                    break
            continue
        if nxt < n_nodes:
            depth = nxt
            choice[depth] = -1
            fresh = True
            continue
        held = used[nxt, 1] - used[prefix_length, 1] if n_levels > 1 else 0.0
        if keep_all:
            kept = segment
            for i in range(segment, count):
                beaten = energy <= values[i, 0] and latency <= values[i, 1] and held <= values[i, 2]
                if not beaten:
                    values[kept], prefix[kept], nodes[kept], options[kept] = (
                        values[i], prefix[i], nodes[i], options[i],
                    )  # fmt: skip
                    kept += 1
            count = kept
        else:
            best, best_tie, count = value, tie, 0
        if count == values.shape[0]:
            values, prefix, nodes, options = _grow(values, prefix, nodes, options)
        values[count, 0], values[count, 1], values[count, 2] = energy, latency, held
        prefix[count] = prefix_length
        for i in range(n_nodes):
            nodes[count, i] = choice[i]
            for r in range(n_ranks):
                options[count, i, r] = opt[i + 1, r]
        count += 1
    return values[:count], prefix[:count], nodes[:count], options[:count], evaluated
