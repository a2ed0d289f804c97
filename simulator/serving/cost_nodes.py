"""Where costs are worked out exactly, and which of these nodes lie around a value."""

from __future__ import annotations

from math import ceil

__all__ = ["context_nodes", "nodes"]


def nodes(value: int, exact: int, coarser: int = 0) -> tuple[int, int, float]:
    """Nodes around ``value`` and where it lies between them: the first and last value of a stretch.

    Up to ``exact`` every value is a node. Stretches are powers of two, 32 to each doubling (half as many for each step
    ``coarser``), so that what happens between the last value of one and the first of the next, as when a kernel needs
    one more tile, is not smeared out.

    >>> nodes(1000, 64)
    (993, 1008, 0.4666666666666667)
    """
    spacing = 1 << max(0, (value - 1).bit_length() - 6 + coarser)
    if value <= exact or spacing == 1:
        return value, value, 0.0
    before = (value - 1) // spacing * spacing
    first, last = before + 1, before + spacing
    if value in (first, last):
        return value, value, 0.0
    return first, last, (value - first) / (last - first)


def context_nodes(context: float, steps: int) -> tuple[int, int, float, int]:
    """For steps from ``context`` on, a token longer each: nodes, the share of the way to the second, and for how many.

    The share is that of the mean of so many steps, at most ``steps``, that lie between the two nodes. Nodes are 4 to
    each doubling, at least 64 tokens apart: attention of decodes is all but straight in contexts.

    >>> context_nodes(100.0, 3)
    (64, 128, 0.578125, 3)
    >>> context_nodes(126.5, 3)
    (64, 128, 0.984375, 2)
    """
    spacing = max(64, 1 << max(0, int(context).bit_length() - 3))
    node = int(context) // spacing * spacing
    count = min(steps, ceil(node + spacing - context))
    return node or 1, node + spacing, (context + (count - 1) / 2 - node) / spacing, count
