"""Which blocks to run patch by patch, and in what grid: every choice is priced, the best one returned.

The peak of a choice is max(one patch beside the whole stage output, the rest of the network map by map); its price is
the multiply-accumulates that halos make twice.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from mappers.planner.order.graph import OrderGraph
from mappers.planner.order.lowering import Counting, Patches, network_graph, patch_graph, patched_graph, rest_graph
from mappers.planner.order.networks import ConvNet
from mappers.planner.order.regions import PatchRegions, Region, cuts, needed
from mappers.planner.order.steps import profile
from workloads.errors import InputError

__all__ = ["MOST_PARTS", "PatchPlan", "choose_patches", "chosen_graph", "price_patches", "whole_plan"]

MOST_PARTS = 8
"""Rows or columns of the finest grid that is tried."""


@dataclass(frozen=True, slots=True)
class PatchPlan:
    """A choice with its price; ``patches`` None: map by map. ``rest_bytes`` is the peak after the stage."""

    patches: Patches | None
    peak_bytes: int
    patch_bytes: int
    rest_bytes: int
    macs: int
    macs_whole: int

    @property
    def overhead(self) -> float:
        """Multiply-accumulates added, as a share."""
        return self.macs / self.macs_whole - 1


def whole_plan(net: ConvNet, counting: Counting) -> PatchPlan:
    """The network map by map."""
    peak = _peak(network_graph(net, counting))
    return PatchPlan(None, peak, 0, peak, net.macs, net.macs)


def price_patches(net: ConvNet, patches: Patches, counting: Counting) -> PatchPlan:
    """Peak and work of one choice. Raises `InputError` for blocks or a grid that the network does not have."""
    if not 1 <= patches.blocks < len(net.blocks):
        raise InputError(f"{patches.blocks} blocks in patches", f"1 to {len(net.blocks) - 1}", "blocks")
    stage = _Stage(net, patches.blocks, counting)
    if not (1 <= patches.rows <= stage.side and 1 <= patches.columns <= stage.side):
        problem = f"{patches.rows}x{patches.columns} patches of {stage.side}x{stage.side} pixels"
        raise InputError(problem, "a pixel or more in each", "patches")
    return stage.price(patches.rows, patches.columns)


def choose_patches(
    net: ConvNet,
    counting: Counting,
    capacity_bytes: int | None = None,
    *,
    grid: tuple[int, int] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> PatchPlan:
    """The best choice over blocks and grids up to 8 x 8 (or over blocks, with ``grid``); map by map is one of them.

    Best is, within the capacity, the least work, then the lowest peak; where nothing fits or no capacity is given, the
    lowest peak, then the least work. Then fewer patches. Left out is what cannot be better: grids finer than one that
    has brought the patches below the rest of the network, more work than a choice that fits, and stages whose output
    or rest is above the best peak. Height and width are alike, so a grid stands for its transpose. Raises `InputError`
    for a ``grid`` that no block's map has the pixels for.
    """
    best = None if grid is not None else whole_plan(net, counting)
    for count in range(1, len(net.blocks)):
        stage = _Stage(net, count, counting)
        enough: list[tuple[int, int]] = []
        for rows, columns in _grids() if grid is None else [grid]:
            if max(rows, columns) > stage.side or any(r <= rows and c <= columns for r, c in enough):
                continue
            if should_stop() and best is not None:
                return best
            if best is not None and _hopeless(stage, rows, columns, best, capacity_bytes):
                continue
            plan = stage.price(rows, columns)
            if best is None or _rank(plan, capacity_bytes) < _rank(best, capacity_bytes):
                best = plan
            if plan.patch_bytes <= stage.rest_bytes:
                enough.append((rows, columns))
    if best is None:
        shape = "x".join(str(parts) for parts in grid or ())
        raise InputError(f"a grid of {shape} patches", "no more than the first map's pixels along a side", "patches")
    return best


class _Stage:
    """The first blocks of a network, to be cut in several ways."""

    def __init__(self, net: ConvNet, count: int, counting: Counting) -> None:
        self.net, self.count, self.counting = net, count, counting
        self.blocks = net.blocks[:count]
        self.last = self.blocks[-1].layers[-1]
        self.side = self.last.side_out
        self.output_bytes = self.last.channels_out * self.side**2
        self.rest_bytes = _peak(rest_graph(net, count, counting))
        self.rest_macs = sum(layer.macs for block in net.blocks[count:] for layer in block.layers)
        self._cut: dict[int, list[list[list[Region]]]] = {}

    def cut(self, parts: int) -> list[list[list[Region]]]:
        """What each of ``parts`` intervals of the output needs."""
        if parts not in self._cut:
            self._cut[parts] = [needed(self.blocks, part) for part in cuts(self.side, parts)]
        return self._cut[parts]

    def macs(self, rows: int, columns: int) -> int:
        """Work of the network: a layer's pixels over all patches are (sum of heights) x (sum of widths)."""
        total = self.rest_macs
        for b, block in enumerate(self.blocks):
            for i, layer in enumerate(block.layers):
                height, width = (
                    sum(region[b][i + 1][1] - region[b][i + 1][0] for region in self.cut(parts))
                    for parts in (rows, columns)
                )
                total += layer.macs_per_pixel * height * width
        return total

    def price(self, rows: int, columns: int) -> PatchPlan:
        every = [(down, across) for down in self.cut(rows) for across in self.cut(columns)]
        # Only the last patch may let go of an image that is held.
        patch = _peak(patch_graph(self.net, self.count, every[-1], self.counting, last=True))
        for regions in _largest(every[:-1]):
            patch = max(patch, _peak(patch_graph(self.net, self.count, regions, self.counting, last=False)))
        return PatchPlan(
            patches=Patches(self.count, rows, columns),
            peak_bytes=max(patch, self.rest_bytes),
            patch_bytes=patch,
            rest_bytes=self.rest_bytes,
            macs=self.macs(rows, columns),
            macs_whole=self.net.macs,
        )


def _hopeless(stage: _Stage, rows: int, columns: int, best: PatchPlan, capacity: int | None) -> bool:
    """Whether a choice is worse than the best so far without a look at its patches."""
    least = max(stage.rest_bytes, stage.output_bytes)
    if capacity is not None and best.peak_bytes <= capacity:
        return least > capacity or stage.macs(rows, columns) > best.macs
    return least > best.peak_bytes


def chosen_graph(net: ConvNet, plan: PatchPlan, counting: Counting) -> OrderGraph:
    """The graph of a choice."""
    return network_graph(net, counting) if plan.patches is None else patched_graph(net, plan.patches, counting)


def _grids() -> list[tuple[int, int]]:
    """Shapes at least as wide as high, but one patch; those of few patches first."""
    sides = range(1, MOST_PARTS + 1)
    shapes = [(rows, columns) for rows in sides for columns in sides if 1 < columns >= rows]
    return sorted(shapes, key=lambda shape: (shape[0] * shape[1], shape))


def _rank(plan: PatchPlan, capacity: int | None) -> tuple[int, ...]:
    patches = plan.patches
    count = (1, 0) if patches is None else (patches.rows * patches.columns, patches.blocks)
    if capacity is not None and plan.peak_bytes <= capacity:
        return 0, plan.macs, plan.peak_bytes, *count
    return 1, plan.peak_bytes, plan.macs, *count


def _largest(patches: Sequence[PatchRegions]) -> list[PatchRegions]:
    """Patches whose extents no other's exceed everywhere: peaks grow with every extent."""
    extents = {tuple(tuple(_extents(side)) for side in patch): patch for patch in patches}
    kept = [mine for mine in extents if not any(other != mine and _covers(other, mine) for other in extents)]
    return [extents[mine] for mine in kept]


def _extents(regions: list[list[Region]]) -> list[int]:
    return [end - start for block in regions for start, end in block]


def _covers(a: tuple[tuple[int, ...], ...], b: tuple[tuple[int, ...], ...]) -> bool:
    return all(x >= y for one, other in zip(a, b, strict=True) for x, y in zip(one, other, strict=True))


def _peak(graph: OrderGraph) -> int:
    """Chains have one order, that in which they are written."""
    return max(step.during_bytes for step in profile(graph, range(len(graph.ops))))
