"""The networks that are trained on microcontrollers: backbones without a mixing layer before the pooling, and a
classifier of as many classes as the task has (mit-han-lab/tiny-training at c29157f).

``mbv2-w0.35`` and ``mcunet-5fps`` are chains of `networks` (the latter is its mcunet-in1). ``proxyless-w0.3`` is
proxyless_mobile.json of mit-han-lab/tinyml at e899b1b with channels times 0.3, rounded up to multiples of 8: that
gives the 38,282,216 multiply-accumulates that fvcore counts at 176 pixels with a mixing layer of 384 channels.
"""

from __future__ import annotations

from dataclasses import replace

from mappers.planner.order.networks import ConvNet, Layer, chain_network, network, tail_blocks
from workloads.errors import InputError, unknown_name

__all__ = ["convolutions", "training_network", "training_network_names"]

_OF_ZOO = {"mbv2-w0.35": "mbv2-w0.35", "mcunet-5fps": "mcunet-in1"}
_PROXYLESS = "proxyless-w0.3"
_PROXYLESS_MOBILE = (
    (1, 16, 1, 3), (3, 32, 2, 5), (3, 32, 1, 3), (3, 40, 2, 7), (3, 40, 1, 3), (3, 40, 1, 5), (3, 40, 1, 5),
    (6, 80, 2, 7), (3, 80, 1, 5), (3, 80, 1, 5), (3, 80, 1, 5), (6, 96, 1, 5), (3, 96, 1, 5), (3, 96, 1, 5),
    (3, 96, 1, 5), (6, 192, 2, 7), (6, 192, 1, 7), (3, 192, 1, 7), (3, 192, 1, 7), (6, 320, 1, 7),
)  # fmt: skip
_PROXYLESS_STEM = 32


def training_network_names() -> tuple[str, ...]:
    """The networks there are."""
    return (*_OF_ZOO, _PROXYLESS)


def training_network(name: str, resolution: int = 128, classes: int = 10, head: int | None = None) -> ConvNet:
    """A network by name; ``head`` puts back a mixing layer of that many channels. Raises `InputError`."""
    if name not in training_network_names():
        raise unknown_name("network", name, training_network_names(), field="network")
    if not 32 <= resolution <= 4096:
        raise InputError(f"{resolution} pixels", "32 to 4096", "resolution")
    if classes < 1:
        raise InputError(f"{classes} classes", "1 or more", "classes")
    if name == _PROXYLESS:
        rows = tuple((t, _at_three_tenths(c), s, k) for t, c, s, k in _PROXYLESS_MOBILE)
        return chain_network(name, resolution, _at_three_tenths(_PROXYLESS_STEM), rows, head, classes)
    net = network(_OF_ZOO[name], resolution)
    blocks = tuple(block for block in net.blocks if block.name not in ("head", "pool", "dense"))
    last = blocks[-1].layers[-1]
    tail = tail_blocks(last.side_out, last.channels_out, head, classes)
    return replace(net, name=name, blocks=(*blocks, *tail))


def convolutions(net: ConvNet) -> tuple[Layer, ...]:
    """All convolutions in order: what update schemes number, from 0."""
    return tuple(layer for block in net.blocks for layer in block.layers if layer.kind in ("conv", "depthwise"))


def _at_three_tenths(channels: int) -> int:
    """0.3 times the channels, rounded up to a multiple of 8."""
    return -(-3 * channels // 80) * 8
