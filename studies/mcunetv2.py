"""MCUNetV2: the first blocks of a small network run patch by patch, so that its largest maps are never whole.

Peaks are liveness of the network's own operations, in the order of its chain; the planner prices every stage and grid
and finds the patches by itself. Bytes are one an element, as the networks run on microcontrollers.
"""

from __future__ import annotations

from functools import cache

from mappers.planner.order.lowering import Counting, Patches
from mappers.planner.order.networks import ConvNet, network, network_names
from mappers.planner.order.patches import PatchPlan, choose_patches, price_patches, whole_plan
from mappers.planner.order.published import ACT_KIB, LATER_KIB, MACS_M, SRAM_KIB, tinyengine_buffer_bytes
from studies.frame.constants import derived, stated
from studies.frame.study import Config, Key, Metric, Miss, Published, Study
from workloads.errors import InputError

__all__ = ["STUDY"]

KIB = 1024.0
_ZOO = "mcunet/README.md of mit-han-lab/tinyml at e899b1b"
_LATER = "README of mit-han-lab/mcunet at 9c164f8"
_FIGURE = "figure 1, NeurIPS 2021"
COUNTED = Counting(in_place=False, accumulate=True)
"""How the zoo counts activations: nothing in place, additions within projections."""
_LATER_FLASH = {
    "mbv2-w0.35": 862, "mcunet-in0": 889, "mcunet-in1": 992, "mcunet-in2": 878, "mcunet-in3": 897, "mcunet-in4": 1876,
}  # fmt: skip


def _weights_bytes(net: ConvNet) -> int:
    """One byte a weight, four a bias."""
    found = 0
    for layer in (layer for block in net.blocks for layer in block.layers):
        if layer.kind == "pool":
            continue
        inputs = 1 if layer.kind == "depthwise" else layer.channels_in
        found += layer.kernel**2 * inputs * layer.channels_out + 4 * layer.channels_out
    return found


@cache
def _patched(name: str, resolution: int, given: Patches, capacity: int, separate: bool) -> PatchPlan:
    """Patches as given, or as the planner chooses them where no block is."""
    net, counting = network(name, resolution or None), Counting(accumulate=not separate)
    if given.blocks:
        return price_patches(net, given, counting)
    return choose_patches(net, counting, capacity or None)


def _simulate(config: Config) -> dict[str, float]:
    name, resolution = str(config["model"]), int(config["resolution"])
    net, separate = network(name, resolution or None), config["additions"] == "separate"
    whole = whole_plan(net, Counting(accumulate=not separate))
    given = Patches(int(config["blocks"]), int(config["rows"]), int(config["columns"]))
    found = {
        "macs": float(net.macs),
        "activations": float(whole_plan(net, COUNTED).peak_bytes),
        "sram": float(whole_plan(net, Counting()).peak_bytes + tinyengine_buffer_bytes(net)),
        "weights": float(_weights_bytes(net)),
        "whole": float(whole.peak_bytes),
    }
    try:
        plan = _patched(name, resolution, given, round(KIB * float(config["capacity_kib"])), separate)
    except InputError:  # a stage or a grid that this network does not have
        return found
    return found | {
        "patched": float(plan.peak_bytes),
        "reduction": whole.peak_bytes / plan.peak_bytes,
        "overhead": plan.overhead,
        "patches": float(plan.patches.rows * plan.patches.columns) if plan.patches else 1.0,
        "patched_blocks": float(plan.patches.blocks) if plan.patches else 0.0,
    }


def _published() -> list[Published]:
    rows = []
    for name, flash in _LATER_FLASH.items():
        config = {"model": name}
        rows += [
            Published("macs", config, 1e6 * MACS_M[name], _ZOO),
            Published("activations", config, KIB * ACT_KIB[name], _ZOO),
            Published("sram", config, KIB * SRAM_KIB[name], _ZOO),
            Published("weights", config, KIB * flash, _LATER + ", flash, which holds the program too"),
        ]
        if name in LATER_KIB:
            rows.append(Published("sram", config, KIB * LATER_KIB[name], _LATER))
    return [
        *rows,
        Published("macs", {}, 300e6, "MobileNetV2, CVPR 2018, table 4"),
        Published("whole", {}, KIB * 1372, _FIGURE),
        Published("patched", {}, KIB * 172, _FIGURE),
        Published("reduction", {}, 8.0, _FIGURE),
        Published("patches", {}, 16.0, _FIGURE),
        Published("overhead", {}, 0.10, "figure 1, from memory"),
    ]


def _two_tables() -> str:
    parts = []
    for name, later in LATER_KIB.items():
        found = _simulate(STUDY.config({"model": name}))
        parts.append(
            f"{name}: {found['activations'] / KIB:.0f} KiB of activations, {found['sram'] / KIB:.1f} KiB with the "
            f"buffers, {SRAM_KIB[name]} in the first table and {later} in the later"
        )
    return f"Its activations, which both tables must hold, leave no room for it: {'; '.join(parts)}."


def _program() -> str:
    left = {n: kib - _simulate(STUDY.config({"model": n}))["weights"] / KIB for n, kib in _LATER_FLASH.items()}
    said = ", ".join(f"{name} {kib:.0f}" for name, kib in left.items())
    return f"What flash holds beside weights and biases, in KiB: {said}."


_COUNTING = ("bytes", "in_place")
STUDY = Study(
    title="MCUNetV2",
    claim="Running the first blocks in patches brings peak memory down four- to eightfold.",
    source="Lin et al., NeurIPS 2021; tables of mit-han-lab/tinyml and mit-han-lab/mcunet",
    machine="a microcontroller's SRAM, one byte an element, TinyEngine's buffers beside it",
    workload="MobileNetV2 at 224 pixels; mbv2-w0.35 and MCUNet-in0 to in4 at their own",
    policy="stage and grid chosen by the planner: the lowest peak, or the least work within a capacity",
    baseline="the same networks map by map",
    keys={
        "model": Key("mobilenet-v2", "network", choices=network_names()),
        "resolution": Key(0, "pixels along a side; 0: the network's own", low=0, high=1024),
        "blocks": Key(0, "blocks in patches; 0: chosen by the planner", low=0, high=20),
        "rows": Key(4, "patches down, where blocks are given", low=1, high=64),
        "columns": Key(4, "patches across, where blocks are given", low=1, high=64),
        "capacity_kib": Key(0.0, "memory to fit with the least work; 0: the lowest peak", low=0, high=65536),
        "additions": Key(
            "accumulated", "additions within projections, or by themselves", choices=("accumulated", "separate")
        ),
    },
    constants={
        "bytes": stated(1, "B", "MCUNetV2, section 4: int8"),
        "in_place": stated("depthwise", "", "MCUNet, NeurIPS 2020, section 3.2: depthwise convolutions in place"),
        "buffers": derived("im2col and kernels", "", "code_generator/operators of mit-han-lab/tinyengine at 28ed334"),
        "bias": stated(4, "B", "TinyEngine: biases of 32 bits"),
    },
    metrics={
        "macs": Metric("multiply-accumulates", "", ("bytes",)),
        "activations": Metric("peak of activations, nothing in place", "B", _COUNTING),
        "sram": Metric("peak of activations and of the engine's buffers", "B", (*_COUNTING, "buffers")),
        "weights": Metric("weights and biases", "B", ("bytes", "bias")),
        "whole": Metric("peak map by map", "B", _COUNTING),
        "patched": Metric("peak in patches", "B", _COUNTING),
        "reduction": Metric("peak map by map over peak in patches", "", _COUNTING),
        "overhead": Metric("multiply-accumulates added by halos, as a share", "", _COUNTING),
        "patches": Metric("patches chosen", "", _COUNTING),
        "patched_blocks": Metric("blocks chosen to run in patches", "", _COUNTING),
    },
    published=_published(),
    simulate=_simulate,
    misses=(
        Miss(("sram",), "The later table contradicts the first for in0 and in1.", _two_tables),
        Miss(("weights",), "Flash holds the program as well.", _program),
    ),
)
