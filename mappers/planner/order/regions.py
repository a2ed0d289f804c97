"""Which part of each map one patch needs: receptive fields in one dimension, clipped to the map.

To make pixels [a, b) of a layer's output, pixels [a s - p, (b - 1) s - p + k) of its input are needed, for kernel k,
stride s and padding p; what of it lies outside the map is padding and takes no memory. Height and width are alike and
independent, so a patch is a pair of intervals, and its work is a product of two.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from mappers.planner.order.networks import Block

__all__ = ["PatchRegions", "Region", "cuts", "needed"]

Region = tuple[int, int]
"""From and to before, in pixels."""

PatchRegions = tuple[list[list[Region]], list[list[Region]]]
"""Of one patch, what `needed` says of its rows and of its columns."""


def cuts(side: int, parts: int) -> list[Region]:
    """``side`` pixels in ``parts`` intervals whose lengths differ by one at most."""
    edges = [i * side // parts for i in range(parts + 1)]
    return list(pairwise(edges))


def needed(blocks: Sequence[Block], output: Region) -> list[list[Region]]:
    """For each block the interval of its input and of each layer's output that ``output`` of the last block needs."""
    found: list[list[Region]] = []
    for block in reversed(blocks):
        inside = [output]
        for layer in reversed(block.layers):
            start, end = inside[0]
            low = max(0, start * layer.stride - layer.padding)
            high = min(layer.side_in, (end - 1) * layer.stride - layer.padding + layer.kernel)
            inside.insert(0, (low, high))
        found.insert(0, inside)
        output = inside[0]
    return found
