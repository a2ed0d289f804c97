"""A convolutional network as a graph of operations: map by map, or its first blocks patch by patch.

Patch by patch the stage's whole output is held from the first patch on; each patch computes its part of every map, halo
included, and writes its part of that output. In the graph the output is a tensor that each patch overwrites in place,
which also makes the patches run one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

from mappers.planner.order.graph import Op, OrderGraph, Tensor
from mappers.planner.order.networks import Block, ConvNet
from mappers.planner.order.regions import PatchRegions, cuts, needed

__all__ = ["Counting", "Patches", "network_graph", "patch_graph", "patched_graph", "rest_graph"]


@dataclass(frozen=True, slots=True)
class Counting:
    """What may share memory, and whether a patch needs the whole image.

    ``in_place``: a depthwise convolution overwrites its input (TinyEngine, MCUNet, section 3.2). ``accumulate``: a
    projection is added into the block's input as it is made, so that addition is no operation of its own (MCUNetV2
    counts so). ``streamed``: a patch's part of the image is fetched for it, from a sensor or a decoder, and the whole
    image is never held (MCUNetV2 counts so: mit-han-lab/mcunet, issue 9); otherwise it is held until the last patch.
    """

    in_place: bool = True
    accumulate: bool = False
    streamed: bool = True


@dataclass(frozen=True, slots=True)
class Patches:
    """The first ``blocks`` blocks run in ``rows`` x ``columns`` patches."""

    blocks: int
    rows: int
    columns: int


@dataclass
class _Builder:
    """Collects tensors and operations."""

    tensors: list[Tensor] = field(default_factory=list)
    ops: list[Op] = field(default_factory=list)

    def tensor(self, name: str, size: int) -> str:
        self.tensors.append(Tensor(name, size))
        return name

    def graph(self, name: str, *outputs: str) -> OrderGraph:
        return OrderGraph(name, tuple(self.tensors), tuple(self.ops), outputs)


def network_graph(net: ConvNet, counting: Counting) -> OrderGraph:
    """The network map by map; its image is there from the start."""
    return rest_graph(net, 0, counting)


def rest_graph(net: ConvNet, first: int, counting: Counting) -> OrderGraph:
    """The blocks from ``first`` on; their input is there from the start."""
    builder = _Builder()
    layer = net.blocks[first].layers[0]
    source = builder.tensor("image" if first == 0 else "stage", layer.channels_in * layer.side_in**2)
    return builder.graph(net.name, _whole_blocks(builder, net.blocks[first:], source, counting))


def patch_graph(net: ConvNet, count: int, regions: PatchRegions, counting: Counting, *, last: bool) -> OrderGraph:
    """One patch of the first ``count`` blocks alone, beside the stage's output and, unless it is streamed, the image.

    The image is still wanted after every patch but the last.
    """
    builder = _Builder()
    final = net.blocks[count - 1].layers[-1]
    stage = builder.tensor("stage", final.channels_out * final.side_out**2)
    image = None if counting.streamed else builder.tensor("image", 3 * net.resolution**2)
    after = _patch(builder, net.blocks[:count], "", regions, stage, image, counting)
    return builder.graph(net.name, after, *(() if image is None or last else (image,)))


def patched_graph(net: ConvNet, patches: Patches, counting: Counting) -> OrderGraph:
    """The whole network, its first blocks patch by patch."""
    builder = _Builder()
    staged = net.blocks[: patches.blocks]
    last = staged[-1].layers[-1]
    size = last.channels_out * last.side_out**2
    image = None if counting.streamed else builder.tensor("image", 3 * net.resolution**2)
    stage = builder.tensor("stage", size)
    builder.ops.append(Op("begin stage", (image,) if image else (), (stage,)))
    heights = [needed(staged, part) for part in cuts(last.side_out, patches.rows)]
    widths = [needed(staged, part) for part in cuts(last.side_out, patches.columns)]
    for (i, rows), (j, columns) in product(enumerate(heights), enumerate(widths)):
        stage = _patch(builder, staged, f"[{i},{j}]", (rows, columns), stage, image, counting)
    return builder.graph(net.name, _whole_blocks(builder, net.blocks[patches.blocks :], stage, counting))


def _whole_blocks(builder: _Builder, blocks: Sequence[Block], source: str, counting: Counting) -> str:
    for block in blocks:
        sizes = [layer.channels_out * layer.side_out**2 for layer in block.layers]
        source = _block(builder, block, "", sizes, source, counting)
    return source


def _patch(
    builder: _Builder,
    blocks: Sequence[Block],
    mark: str,
    regions: PatchRegions,
    stage: str,
    image: str | None,
    counting: Counting,
) -> str:
    """One patch; returns the stage's output as it is after the patch."""

    def size(channels: int, block: int, at: int) -> int:
        (top, bottom), (left, right) = regions[0][block][at], regions[1][block][at]
        return channels * (bottom - top) * (right - left)

    waits: tuple[str, ...] = (stage,)
    if image is None:
        source = builder.tensor(f"tile{mark}", size(blocks[0].layers[0].channels_in, 0, 0))
        builder.ops.append(Op(f"fetch{mark}", waits, (source,)))
        waits = ()
    else:
        source = image
    after = builder.tensor(
        f"stage after{mark or ' a patch'}", next(t.bytes for t in builder.tensors if t.name == stage)
    )
    for b, block in enumerate(blocks):
        sizes = [size(layer.channels_out, b, i + 1) for i, layer in enumerate(block.layers)]
        into = (stage, after) if b == len(blocks) - 1 else None
        source = _block(builder, block, mark, sizes, source, counting, waits, into)
        waits = ()
    return after


def _block(
    builder: _Builder,
    block: Block,
    mark: str,
    sizes: Sequence[int],
    source: str,
    counting: Counting,
    waits: tuple[str, ...] = (),
    into: tuple[str, str] | None = None,
) -> str:
    """One block's operations; ``sizes`` are the bytes of the layers' outputs, ``into`` the tensor before and after."""
    at = source
    for i, layer in enumerate(block.layers):
        is_last = i == len(block.layers) - 1
        reads: tuple[str, ...] = tuple(dict.fromkeys((at, *(waits if i == 0 else ()))))
        over = (at,) if counting.in_place and layer.kind == "depthwise" else ()
        name = f"{layer.name}{mark}"
        if is_last and block.residual and counting.accumulate:
            reads, over = (*reads, source), (source,)
        if is_last and into is not None and not (block.residual and not counting.accumulate):
            _write_into(builder, name, reads, into)
            return into[1]
        at = builder.tensor(name, sizes[i])
        builder.ops.append(Op(name, reads, (at,), over))
    if block.residual and not counting.accumulate:
        name = f"{block.name} add{mark}"
        if into is not None:
            _write_into(builder, name, (at, source), into)
            return into[1]
        total = builder.tensor(name, sizes[-1])
        builder.ops.append(Op(name, (at, source), (total,), (at, source)))
        at = total
    return at


def _write_into(builder: _Builder, name: str, reads: tuple[str, ...], into: tuple[str, str]) -> None:
    """An operation that writes its part of the stage's output."""
    before, after = into
    builder.ops.append(Op(name, tuple(dict.fromkeys((*reads, before))), (after,), (before,)))
