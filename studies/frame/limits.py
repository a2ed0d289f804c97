"""The largest number that fits: a batch, a context, a count of devices."""

from __future__ import annotations

from collections.abc import Callable

__all__ = ["largest"]


def largest(fits: Callable[[int], object], most: int, *, within: float = 0.0) -> int:
    """The largest whole number up to ``most`` for which ``fits`` is true; 0 where it is not for 1.

    ``fits`` must hold below any number for which it holds. With ``within`` the answer may be less by that share.

    >>> largest(lambda count: count * count <= 200, 1000)
    14
    """
    if fits(most):
        return most
    low, high = 0, most
    while high - low > max(1.0, within * low):
        middle = (low + high) // 2
        low, high = (middle, high) if fits(middle) else (low, middle)
    return low
