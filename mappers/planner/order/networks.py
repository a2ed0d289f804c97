"""Convolutional networks for small memories: MobileNetV2 and the chains of MCUNet, as blocks of layers.

MobileNetV2: Sandler et al., CVPR 2018, table 2, with channels rounded to multiples of 8 as its authors do. MCUNet-in0
to in4 and mbv2-w0.35 (whose last layer is narrowed too, to 448 channels): mcunet/assets/configs of mit-han-lab/tinyml
at e899b1b.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from workloads.errors import InputError, unknown_name

__all__ = ["Block", "ConvNet", "Layer", "chain_network", "network", "network_names", "tail_blocks"]

Kind = Literal["conv", "depthwise", "pool", "dense"]


@dataclass(frozen=True, slots=True)
class Layer:
    """One layer on square maps, padded by half the kernel; ``pool`` averages over the whole map."""

    name: str
    kind: Kind
    channels_in: int
    channels_out: int
    side_in: int
    kernel: int = 1
    stride: int = 1

    @property
    def padding(self) -> int:
        return self.kernel // 2

    @property
    def side_out(self) -> int:
        if self.kind in ("pool", "dense"):
            return 1
        return (self.side_in + 2 * self.padding - self.kernel) // self.stride + 1

    @property
    def macs_per_pixel(self) -> int:
        """Multiply-accumulates for one pixel of the output."""
        if self.kind == "pool":
            return 0
        return self.kernel**2 * self.channels_out * (1 if self.kind == "depthwise" else self.channels_in)

    @property
    def macs(self) -> int:
        return self.macs_per_pixel * self.side_out**2


@dataclass(frozen=True, slots=True)
class Block:
    """Layers in a row; ``residual``: the block's input is added to its output."""

    name: str
    layers: tuple[Layer, ...]
    residual: bool = False


@dataclass(frozen=True, slots=True)
class ConvNet:
    """Blocks in a row on a square image of three channels, one byte an element."""

    name: str
    resolution: int
    blocks: tuple[Block, ...]

    @property
    def macs(self) -> int:
        return sum(layer.macs for block in self.blocks for layer in block.layers)


@dataclass(frozen=True, slots=True)
class _Chain:
    """A network's table: channels after the first convolution, rows (expansion, channels, stride, kernel), the head."""

    resolution: int
    stem: int
    rows: tuple[tuple[int, int, int, int], ...]
    head: int | None


def _repeated(rows: Sequence[tuple[int, int, int, int]], width: float) -> tuple[tuple[int, int, int, int], ...]:
    """MobileNetV2's rows (expansion, channels, repeats, stride of the first) one by one."""
    return tuple(
        (t, _divisible(c * width), s if i == 0 else 1, 3) for t, c, n, s in rows for i in range(n)
    )  # fmt: skip


def _divisible(channels: float) -> int:
    """The nearest multiple of 8, not more than a tenth below."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


_MOBILENET_V2 = (
    (1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1)
)  # fmt: skip

_IN0 = (
    (1, 16, 1, 3), (4, 16, 2, 5), (3, 16, 1, 3), (4, 16, 1, 3), (5, 24, 2, 7), (4, 24, 1, 5), (5, 24, 1, 5),
    (5, 48, 2, 7), (4, 48, 1, 5), (5, 56, 1, 3), (4, 56, 1, 5), (5, 56, 1, 3), (6, 112, 2, 3), (4, 112, 1, 5),
    (6, 192, 1, 3),
)  # fmt: skip
_IN1 = (
    (1, 8, 1, 3), (4, 16, 2, 3), (3, 16, 1, 3), (3, 24, 2, 7), (5, 24, 1, 3), (5, 40, 2, 3), (4, 40, 1, 7),
    (4, 48, 1, 5), (3, 48, 1, 3), (4, 48, 1, 3), (5, 96, 2, 7), (4, 96, 1, 5), (4, 96, 1, 5), (6, 160, 1, 3),
)  # fmt: skip
_IN2 = (
    (1, 8, 1, 3), (3, 16, 2, 5), (6, 16, 1, 7), (5, 16, 1, 3), (5, 16, 1, 5), (5, 24, 2, 3), (6, 24, 1, 7),
    (6, 24, 1, 5), (4, 40, 2, 7), (5, 40, 1, 5), (5, 48, 1, 3), (5, 48, 1, 5), (4, 48, 1, 3), (6, 96, 2, 5),
    (4, 96, 1, 5), (3, 96, 1, 5), (4, 96, 1, 3), (5, 160, 1, 5),
)  # fmt: skip
_IN3 = (
    (1, 8, 1, 3), (3, 16, 2, 7), (5, 16, 1, 3), (5, 16, 1, 7), (4, 16, 1, 5), (5, 24, 2, 5), (5, 24, 1, 5),
    (5, 24, 1, 5), (5, 40, 2, 3), (6, 40, 1, 7), (4, 40, 1, 5), (5, 48, 1, 5), (5, 48, 1, 7), (5, 48, 1, 3),
    (6, 96, 2, 3), (5, 96, 1, 7), (4, 96, 1, 3), (5, 160, 1, 7),
)  # fmt: skip
_IN4 = (
    (1, 16, 1, 3), (3, 24, 2, 7), (5, 24, 1, 3), (4, 24, 1, 5), (5, 40, 2, 7), (4, 40, 1, 3), (4, 40, 1, 7),
    (3, 80, 2, 7), (3, 80, 1, 3), (3, 80, 1, 7), (4, 96, 1, 3), (3, 96, 1, 5), (3, 96, 1, 5), (4, 192, 2, 7),
    (3, 192, 1, 7), (3, 192, 1, 5), (4, 320, 1, 5),
)  # fmt: skip

_CHAINS = {
    "mobilenet-v2": _Chain(224, 32, _repeated(_MOBILENET_V2, 1.0), 1280),
    "mbv2-w0.35": _Chain(144, 16, _repeated(_MOBILENET_V2, 0.35), 448),
    "mcunet-in0": _Chain(48, 24, _IN0, None),
    "mcunet-in1": _Chain(96, 16, _IN1, None),
    "mcunet-in2": _Chain(160, 16, _IN2, None),
    "mcunet-in3": _Chain(176, 16, _IN3, None),
    "mcunet-in4": _Chain(160, 32, _IN4, None),
}


def network_names() -> tuple[str, ...]:
    """The networks there are."""
    return tuple(_CHAINS)


def network(name: str, resolution: int | None = None) -> ConvNet:
    """A network by name, at its own resolution unless another is given. Raises `InputError`."""
    if name not in _CHAINS:
        raise unknown_name("network", name, _CHAINS, field="model")
    chain = _CHAINS[name]
    side = chain.resolution if resolution is None else resolution
    if not 32 <= side <= 4096:
        raise InputError(f"{side} pixels", "32 to 4096", "resolution")
    title = name if resolution is None or resolution == chain.resolution else f"{name} at {resolution}"
    return chain_network(title, side, chain.stem, chain.rows, chain.head, 1000)


def chain_network(
    title: str, side: int, stem: int, rows: Sequence[tuple[int, int, int, int]], head: int | None, classes: int
) -> ConvNet:
    """A first convolution to ``stem`` channels with stride 2, a block for each row (expansion, channels, stride,
    kernel), a convolution to ``head`` channels where there is one, pooling and a classifier."""
    blocks = [Block("conv", (Layer("conv", "conv", 3, stem, side, 3, 2),))]
    side, channels = blocks[0].layers[0].side_out, stem
    for i, (expansion, wanted, stride, kernel) in enumerate(rows):
        block = _inverted(f"block{i}", side, channels, expansion, wanted, stride, kernel)
        blocks.append(block)
        side, channels = block.layers[-1].side_out, wanted
    return ConvNet(title, blocks[0].layers[0].side_in, (*blocks, *tail_blocks(side, channels, head, classes)))


def tail_blocks(side: int, channels: int, head: int | None, classes: int) -> tuple[Block, ...]:
    """What follows the last row of a chain: a convolution to ``head`` channels or none, pooling, a classifier."""
    mixed = () if head is None else (Block("head", (Layer("head", "conv", channels, head, side),)),)
    features = channels if head is None else head
    return (
        *mixed,
        Block("pool", (Layer("pool", "pool", features, features, side),)),
        Block("dense", (Layer("dense", "dense", features, classes, 1),)),
    )


def _inverted(name: str, side: int, channels: int, expansion: int, wanted: int, stride: int, kernel: int) -> Block:
    """Expand (unless by 1), convolve each channel, project."""
    wide = channels * expansion
    layers = []
    if expansion != 1:
        layers.append(Layer(f"{name} expand", "conv", channels, wide, side))
    middle = Layer(f"{name} depthwise", "depthwise", wide, wide, side, kernel, stride)
    layers += [middle, Layer(f"{name} project", "conv", wide, wanted, middle.side_out)]
    return Block(name, tuple(layers), stride == 1 and wanted == channels)
