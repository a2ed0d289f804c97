"""Which parameters one step of training updates, and what has to be kept for that in any implementation.

A scheme is written as in mit-han-lab/tiny-training at c29157f: convolutions are numbered from 0 in forward order; the
gradient flows back through the last ``biases`` of them, whose biases are updated; of some of those the weights of a
share of the input channels are updated too. The classifier always learns. The named schemes are those of
compilation/mcu_ir_gen.py, each called after the KiB that it adds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from mappers.planner.order.networks import ConvNet, Layer
from mappers.planner.order.training_networks import convolutions
from workloads.errors import InputError, unknown_name

__all__ = [
    "SCHEMES",
    "Update",
    "bias_bytes",
    "bias_update",
    "check_update",
    "expansion_update",
    "extra_bytes",
    "full_update",
    "last_update",
    "named_update",
    "updated_channels",
    "weight_bytes",
    "weight_count",
]

MASK_BITS, WEIGHT_BYTES, BIAS_BYTES = 1, 1, 4


@dataclass(frozen=True)
class Update:
    """The last ``biases`` convolutions, and of each in ``weights`` (index: share) that share of its input channels."""

    biases: int
    weights: Mapping[int, float]


SCHEMES: dict[str, dict[int, Update]] = {
    "mbv2-w0.35": {
        49: Update(16, {36: 1, 39: 1, 40: 0, 41: 0.25, 42: 0.125, 45: 0.125, 48: 0.125, 49: 0.125}),
        73: Update(20, {32: 0.125, 33: 0.5, 36: 0.5, 39: 1, 41: 0.25, 42: 0.125, 45: 0.125, 48: 1}),
        99: Update(25, {27: 1, 30: 1, 33: 1, 36: 1, 39: 1, 42: 0.125, 45: 0.5, 48: 1}),
        123: Update(31, {27: 1, 30: 1, 33: 1, 36: 1, 39: 1, 42: 0.5, 45: 1, 48: 1}),
        138: Update(34, {27: 1, 30: 1, 33: 1, 36: 1, 39: 1, 42: 1, 45: 1, 48: 1}),
    },
    "mcunet-5fps": {
        49: Update(20, {23: 0, 24: 0.25, 27: 0.5, 30: 0.5, 33: 0, 39: 0}),
        74: Update(21, {21: 1, 23: 0, 24: 1, 26: 0, 27: 0.5, 30: 1}),
        99: Update(22, {21: 1, 24: 1, 27: 1, 30: 1, 36: 0.125, 39: 0.25}),
        124: Update(24, {21: 0.25, 24: 1, 27: 1, 30: 1, 33: 0.5, 39: 0.5}),
        148: Update(23, {21: 1, 24: 1, 27: 1, 30: 1, 36: 1, 39: 0.5}),
    },
    "proxyless-w0.3": {
        49: Update(21, {39: 0.25, 42: 1, 44: 0, 45: 1, 50: 0, 51: 0.125, 54: 0.25, 57: 0.25}),
        74: Update(28, {33: 0.5, 36: 0.25, 39: 1, 42: 1, 45: 1, 51: 0.5, 54: 0.25, 57: 0.5}),
        98: Update(25, {36: 1, 39: 0.5, 42: 1, 45: 1, 48: 0.25, 51: 0.5, 54: 1, 57: 1}),
        120: Update(32, {36: 1, 39: 1, 42: 1, 45: 1, 48: 0.5, 51: 1, 54: 1, 57: 1}),
        148: Update(45, {36: 1, 39: 1, 42: 1, 45: 1, 48: 1, 51: 1, 54: 1, 57: 1}),
    },
}
"""Schemes by network and the KiB that each adds, as published."""


def named_update(network: str, kib: int) -> Update:
    """A published scheme. Raises `InputError` for a network or a size that has none."""
    if network not in SCHEMES:
        raise unknown_name("network", network, SCHEMES, field="network")
    if kib not in SCHEMES[network]:
        raise InputError(f"no scheme of {kib} KiB", ", ".join(map(str, SCHEMES[network])), "scheme")
    return SCHEMES[network][kib]


def full_update(net: ConvNet) -> Update:
    """Every bias and weight."""
    return last_update(net, len(convolutions(net)))


def last_update(net: ConvNet, count: int, share: float = 1.0) -> Update:
    """Biases of the last ``count`` convolutions and that share of their weights; 0: the classifier alone."""
    return _of_last(net, count, share, lambda _: True)


def expansion_update(net: ConvNet, count: int, share: float = 1.0) -> Update:
    """Biases of the last ``count`` convolutions, and weights of those among them that widen from pixel to pixel."""
    return _of_last(net, count, share, lambda one: one.kernel == 1 and one.channels_out > one.channels_in)


def _of_last(net: ConvNet, count: int, share: float, learns: Callable[[Layer], bool]) -> Update:
    layers = convolutions(net)
    first = len(layers) - count
    update = Update(count, {i: share for i, one in enumerate(layers) if i >= first and learns(one)})
    check_update(net, update)
    return update


def bias_update(net: ConvNet, count: int) -> Update:
    """Biases of the last ``count`` convolutions."""
    update = Update(count, {})
    check_update(net, update)
    return update


def check_update(net: ConvNet, update: Update) -> None:
    """Raise `InputError` where the network has not what is updated, or no gradient comes there."""
    total = len(convolutions(net))
    if not 0 <= update.biases <= total:
        raise InputError(f"{update.biases} convolutions", f"0 to {total}", "biases")
    for index, share in update.weights.items():
        if not total - update.biases <= index < total:
            raise InputError(f"weights of convolution {index}", f"{total - update.biases} to {total - 1}", "weights")
        if not 0 <= share <= 1:
            raise InputError(f"a share of {share:g}", "0 to 1", "weights")


def updated_channels(layer: Layer, share: float) -> int:
    """Input channels of a convolution whose weights are updated, rounded down."""
    return int(layer.channels_in * share)


def weight_count(layer: Layer, channels: int | None = None) -> int:
    """Weights that belong to so many of a layer's input channels; all by default."""
    inputs = layer.channels_in if channels is None else channels
    return layer.kernel**2 * inputs * (1 if layer.kind == "depthwise" else layer.channels_out)


def extra_bytes(net: ConvNet, update: Update, batch: int = 1) -> float:
    """What training needs beside inference whatever the implementation: kept inputs, masks of what was clipped, copies
    of the parameters that change (algorithm/core/utils/partial_backward.py of tiny-training; the classifier's
    parameters are left out as there)."""
    check_update(net, update)
    layers = convolutions(net)
    found = float(batch * net.blocks[-1].layers[-1].channels_in)
    for index in range(len(layers) - update.biases, len(layers)):
        channels = updated_channels(layers[index], update.weights.get(index, 0.0))
        found += bias_bytes(layers[index], batch) + weight_bytes(layers[index], channels, batch)
    return found


def bias_bytes(layer: Layer, batch: int = 1) -> float:
    """What it adds that a gradient reaches a convolution and updates its bias: a mask and the bias."""
    return batch * MASK_BITS * layer.channels_out * layer.side_out**2 / 8 + BIAS_BYTES * layer.channels_out


def weight_bytes(layer: Layer, channels: int, batch: int = 1) -> int:
    """What it adds that weights of so many input channels are updated: the channels kept and the weights."""
    return batch * channels * layer.side_in**2 + WEIGHT_BYTES * weight_count(layer, channels)
