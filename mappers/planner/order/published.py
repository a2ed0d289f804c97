"""Published memory of small networks beside ours, each under the counting its authors state, with what is left over.

* ``act``: mit-han-lab/tinyml at e899b1b, mcunet/README.md, "theoretical peak activation size", counted as
  `count_peak_activation_size` of mit-han-lab/mcunet at c290723 does: depthwise convolutions not in place, the residual
  held beside the depthwise convolution only. A liveness calculation, so it must agree to rounding.
* ``sram``: the same table, TinyEngine measured on an STM32F746. Ours adds the buffers that mit-han-lab/tinyengine at
  28ed334 sizes in ``code_generator/operators`` (see `tinyengine_buffer_bytes`).
* ``macs``: the same table; MobileNetV2: Sandler et al., CVPR 2018, table 4.
* ``patch``: MCUNetV2 (Lin et al., NeurIPS 2021), figure 1: 1372 kB map by map, 172 kB in 4 x 4 patches; the work added
  is recalled as 10 %.

Sizes are taken as KiB: the figures of ``act`` and ``patch`` are whole in that unit only.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mappers.planner.order.lowering import Counting, Patches
from mappers.planner.order.networks import ConvNet, network, network_names
from mappers.planner.order.patches import price_patches, whole_plan

__all__ = ["ACT_KIB", "LATER_KIB", "MACS_M", "SRAM_KIB", "Compared", "compare", "tinyengine_buffer_bytes"]

ACT_KIB = {
    "mbv2-w0.35": 303,
    "mcunet-in0": 45,
    "mcunet-in1": 90,
    "mcunet-in2": 325,
    "mcunet-in3": 333,
    "mcunet-in4": 413,
}
SRAM_KIB = {
    "mbv2-w0.35": 308,
    "mcunet-in0": 54,
    "mcunet-in1": 107,
    "mcunet-in2": 242,
    "mcunet-in3": 293,
    "mcunet-in4": 456,
}
MACS_M = {
    "mobilenet-v2": 300.0, "mbv2-w0.35": 23.5, "mcunet-in0": 6.4, "mcunet-in1": 12.8, "mcunet-in2": 67.3,
    "mcunet-in3": 81.8, "mcunet-in4": 125.9,
}  # fmt: skip

_SRAM_NOTE = (
    "measured on the device; ours is {tensors:.1f} KiB of tensors and {buffers:.1f} KiB of its buffers, and what "
    "the other {left:.1f} KiB are is not published"
)
_OLD_ZOO = "; the later zoo lists {later} kB for the same network, which its tensors do not explain"
LATER_KIB = {"mcunet-in0": 266, "mcunet-in1": 307}


@dataclass(frozen=True, slots=True)
class Compared:
    """One published figure beside ours, both in ``unit``."""

    network: str
    what: str
    published: float
    ours: float
    unit: str
    note: str

    @property
    def error(self) -> float:
        """Ours over published, less one."""
        return self.ours / self.published - 1


def compare(name: str | None = None) -> list[Compared]:
    """Every published figure, or those of one network."""
    return [row for each in network_names() if name in (None, each) for row in _rows(each)]


def tinyengine_buffer_bytes(net: ConvNet) -> int:
    """Bytes TinyEngine holds beside the tensors, whatever runs: the largest im2col and the largest kernel buffer.

    A convolution takes two columns of 16-bit values, 4 k^2 C_in; an in-place depthwise convolution a padded channel of
    16-bit values, 2 (H + 2p)(W + 2p); a kernel wider than one pixel is kept widened, 2 k^2 C_in C_out.
    """
    columns = kernels = 0
    for layer in (layer for block in net.blocks for layer in block.layers):
        if layer.kind == "depthwise":
            columns = max(columns, 2 * (layer.side_in + 2 * layer.padding) ** 2)
        elif layer.kind == "conv":
            columns = max(columns, 4 * layer.kernel**2 * layer.channels_in)
            if layer.kernel > 1:
                kernels = max(kernels, 2 * layer.kernel**2 * layer.channels_in * layer.channels_out)
    return columns + kernels


def _rows(name: str) -> Iterator[Compared]:
    net = network(name)
    note = "" if name != "mobilenet-v2" else "published as 300M"
    yield Compared(name, "multiply-accumulates", MACS_M[name], net.macs / 1e6, "M", note)
    if name in ACT_KIB:
        act = whole_plan(net, Counting(in_place=False, accumulate=True)).peak_bytes / 1024
        yield Compared(name, "activations, counted", ACT_KIB[name], act, "KiB", "published in whole KiB")
        tensors, buffers = whole_plan(net, Counting()).peak_bytes / 1024, tinyengine_buffer_bytes(net) / 1024
        left = SRAM_KIB[name] - tensors - buffers
        note = _SRAM_NOTE.format(tensors=tensors, buffers=buffers, left=left)
        later = _OLD_ZOO.format(later=LATER_KIB[name]) if name in LATER_KIB else ""
        yield Compared(name, "SRAM, TinyEngine", SRAM_KIB[name], tensors + buffers, "KiB", note + later)
    if name == "mobilenet-v2":
        counting = Counting(accumulate=True)
        whole = whole_plan(net, counting).peak_bytes
        patched = price_patches(net, Patches(5, 4, 4), counting)
        yield Compared(name, "map by map", 1372, whole / 1024, "KiB", "")
        yield Compared(name, "4x4 patches of 5 blocks", 172, patched.peak_bytes / 1024, "KiB", _PATCH_NOTE)
        yield Compared(name, "peak, map by map over patches", 8.0, whole / patched.peak_bytes, "x", "")
        yield Compared(name, "work added by halos", 10.0, 100 * patched.overhead, "%", _HALO_NOTE)


_PATCH_NOTE = (
    "published in whole kB, with the addition folded into the projection; as an operation of its own it takes 196 KiB"
)
_HALO_NOTE = "recalled; ours clips halos at the image's border, unclipped they would add 12.7 %"
