"""Orders found fast: one choice at a time by a rule, and a beam of the best few states."""

from __future__ import annotations

from collections.abc import Callable

from mappers.planner.order.graph import bits
from mappers.planner.order.steps import Moves

__all__ = ["beam_order", "free_op", "greedy_orders", "unwound"]

Rule = Callable[[int, int], tuple[int, ...]]
_State = tuple[int, int, int, tuple[object, int] | None]


def greedy_orders(moves: Moves) -> dict[str, list[int]]:
    """Orders by rule: least held while running, least left after, depth first (what became ready last), as written."""

    orders = {
        "least held": _by_rule(moves, moves.cost),
        "least left": _by_rule(moves, lambda op, done: moves.cost(op, done)[::-1]),
        "as written": _by_rule(moves, lambda op, _done: (op,)),
    }
    orders["depth first"] = _depth_first(moves)
    return orders


def _by_rule(moves: Moves, rule: Rule) -> list[int]:
    _, ready = moves.start()
    done, order = 0, []
    while ready:
        op = min(bits(ready), key=lambda i: (rule(i, done), i))
        ready = moves.ready_after(op, done, ready)
        done |= 1 << op
        order.append(op)
    return order


def _depth_first(moves: Moves) -> list[int]:
    _, ready = moves.start()
    done, order, stack = 0, [], sorted(bits(ready), reverse=True)
    while stack:
        op = stack.pop()
        now = moves.ready_after(op, done, ready)
        stack += sorted(bits(now & ~ready), reverse=True)
        done, ready = done | 1 << op, now
        order.append(op)
    return order


def beam_order(
    moves: Moves,
    width: int,
    bound_bytes: int,
    ceiling_bytes: int | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> list[int] | None:
    """Of each number of operations run the ``width`` sets with the lowest peak so far, then the fewest bytes left.

    Peaks start at the bound, below which all are as good. None when no set survives below the ceiling, or when stopped.
    """
    held, ready = moves.start()
    levels: list[dict[int, _State]] = [{} for _ in range(moves.count + 1)]
    levels[0][0] = (bound_bytes, held, ready, None)
    for level in range(moves.count):
        if stop():
            return None
        kept = sorted(levels[level].items(), key=lambda item: (item[1][0], item[1][1], item[0]))[:width]
        levels[level] = {}
        for done, (peak, held, ready, trail) in kept:
            free = free_op(moves, ready, done, held, peak)
            for op in bits(ready) if free is None else (free,):
                during, grows = moves.cost(op, done)
                reached = max(peak, held + during)
                if ceiling_bytes is not None and reached >= ceiling_bytes:
                    continue
                after, following = done | 1 << op, levels[level + 1]
                if after not in following or reached < following[after][0]:
                    left = held + grows
                    following[after] = reached, left, moves.ready_after(op, done, ready), (trail, op)
    last = levels[moves.count].get(moves.full)
    return None if last is None else unwound(last[3])


def free_op(moves: Moves, ready: int, done: int, held: int, peak: int) -> int | None:
    """An operation that may run at once without loss: within the peak so far, and leaving no more than it found.

    Moved to the front of any continuation it changes no step for the worse: having run it frees no later than before,
    and lets other operations free and overwrite no less.
    """
    for op in bits(ready):
        during, grows = moves.cost(op, done)
        if grows <= 0 and held + during <= peak:
            return op
    return None


def unwound(trail: object) -> list[int]:
    """The operations of a chain of (earlier, operation), first one first."""
    order = []
    while isinstance(trail, tuple):
        trail, op = trail
        order.append(op)
    return order[::-1]
