# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
# ---

# %% [markdown]
# # 5 Co-designing a dequantisation unit
# **Question.** Weights come from memory in a narrow format and a unit widens them to bf16. Which format and unit
# gives most weights a second, at which memory bandwidth, for a given area of logic? And what if the array multiplies
# the narrow format itself?

# %%
# %matplotlib inline
from dataclasses import dataclass
from typing import Any

import matplotlib.pyplot as plt
import numpy as np

from dse.evaluate.format_error import format_error
from dse.explore.front import front_places, scores
from dse.explore.pool import evaluate
from dse.reports.figures import DOUBLE_WIDTH_IN
from dse.reports.figures.style import INK, KIND_COLOURS, MUTED, paper_style
from dse.space.space import load_space
from hw.cost.rtl_units import rtl_unit_cost
from hw.rtl.dequant.dfloat11_decode_model import streams_of_weights
from hw.rtl.units import parameters_of, unit
from hw.spec.load import load_system, override
from simulator.road import simulate
from workloads.formats import FormatChoice, storage_format
from workloads.models.catalogue import model
from workloads.phases import Decode

NODE_NM, CLOCK_HZ, AREA_MM2 = 7, 1e9, 0.01
npu = load_system("mx-npu")
memory = npu.tiers["lpddr"]

# %% [markdown]
# **What the answer should be near.** A pipeline that accepts a beat of $L$ weights each cycle gives $L f$ weights a
# second. With bandwidth $B$ and $b$ bits a weight the memory gives $8B/b$. So a unit of area $a$ on an area $A$ gives
# $\min(8B/b, (A/a) L f)$: at low bandwidth the fewest bits win, at high bandwidth the smallest unit per lane, and two
# formats change places where the smaller one's memory catches up with the larger one's logic.
#
# **Cycles by contract.** Every unit's RTL is held to a cycle contract by the regression. DFloat11's Huffman codes are
# the exception whose time depends on data: seeded normal weights, as in trained layers.


# %%
@dataclass(frozen=True)
class Widener:
    """A unit at fixed settings: weights a cycle by its contract, area and energy from synthesis scaled to the node."""

    label: str
    unit_name: str
    settings: dict[str, Any]
    lanes: int
    bits: float
    weights_per_cycle: float
    area_mm2: float
    energy_j: float
    error: float

    @property
    def weights_per_s_mm2(self) -> float:
        return self.weights_per_cycle * CLOCK_HZ / self.area_mm2

    def weights_per_s(self, bandwidth: float) -> float:
        """What comes out behind a memory of ``bandwidth`` bytes/s."""
        return min(8 * bandwidth / self.bits, AREA_MM2 * self.weights_per_s_mm2)


WEIGHTS = 1 << 14
bf16 = (np.random.default_rng(0).normal(0, 0.02, WEIGHTS).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16)


def widener(label: str, stored: str, unit_name: str, settings: dict[str, Any], lanes: int) -> Widener:
    """The unit with its contract's cycles for 16,384 weights."""
    chosen = unit(unit_name)
    parameters = parameters_of(chosen, settings)
    contract, form = chosen.contract(parameters), storage_format(stored)
    bits = form.element_bits + form.block_bits / form.block
    if stored == "dfloat11":
        shape = contract.shape(streams_of_weights(parameters, [bf16]))
        lengths = shape["packets"][0][1]
        bits = 8 + sum(lengths) / len(lengths)  # sign and mantissa as they are, the exponent's code
        cycles = contract.cycles(**shape)
    else:
        cycles = contract.cycles(beats=WEIGHTS // lanes, **({"packets": 1} if stored == "nf4" else {}))
        loaded = cycles - WEIGHTS // lanes - contract.latency_cycles
        assert loaded in (0, 1, 16), "a beat a cycle and the stages, behind a first scale or a table of sixteen"
    cost = rtl_unit_cost(unit_name, settings, NODE_NM)
    assert cost.path_s < 1 / CLOCK_HZ
    assert cost.energy_per_beat_j is not None
    rate = WEIGHTS / cycles
    return Widener(
        label,
        unit_name,
        settings,
        lanes,
        bits,
        rate,
        cost.area_mm2,
        cost.energy_per_beat_j / lanes,
        format_error(stored),
    )


four = {"target": "bf16", "lanes": 4}
gptq = {"packing": "gptq", "bits": 4, "words": 1, "group": 128, "target": "bf16"}
huffman = {"symbols": 2, "longest": 16, "entries": 64, "word": 32}
wideners = [
    widener("BitMoD, 3 bits", "bitmod_fp3", "bitmod-dequantise", {"bits": 3, **four}, 4),
    widener("BitMoD, 4 bits", "bitmod_fp4", "bitmod-dequantise", {"bits": 4, **four}, 4),
    widener("INT4, groups of 128", "int4_g128", "grouped-dequantise", gptq, 8),
    widener("MXFP4", "mxfp4", "mx-dequantise", {"element": "mxfp4", **four}, 4),
    widener("NF4 by table", "nf4", "lut-dequantise", {"entry": "bf16", "scale": "bf16", **four}, 4),
    widener("DFloat11, lossless", "dfloat11", "dfloat11-decode", huffman, 2),
]
print("unit                  bits  weights/cycle   um2  Gweights/s/mm2  pJ/weight  error")
for one in wideners:
    area, rate, picojoules = one.area_mm2 * 1e6, one.weights_per_s_mm2 / 1e9, one.energy_j * 1e12
    numbers = f"{one.bits:5.2f} {one.weights_per_cycle:14.3f} {area:5.0f} {rate:15,.0f} {picojoules:10.3f}"
    print(f"{one.label:20} {numbers}  {one.error:.4f}")
by_label = {one.label: one for one in wideners}
lossless = by_label["DFloat11, lossless"]
assert 10.5 < lossless.bits < 11.2, "about 11 bits, as its name says (arXiv 2504.11651)"

# %% [markdown]
# Cells alone, from synthesis at 180 nm scaled to 7 nm, so ratios mean more than sizes. The error is that of normal
# values stored in the format: speed is not all that is bought.
#
# **Who wins where.** On a hundredth of a square millimetre, behind memories from half an LPDDR5 channel to HBM.

# %%
bandwidths = np.geomspace(5e9, 500e9, 101)
lossy = [one for one in wideners if one is not lossless]
winners = [max(lossy, key=lambda one: one.weights_per_s(bandwidth)).label for bandwidth in bandwidths]
order = list(dict.fromkeys(winners))
few, small = by_label["BitMoD, 3 bits"], by_label["MXFP4"]
crossing = small.bits / 8 * AREA_MM2 * few.weights_per_s_mm2
print("from low to high bandwidth:", " then ".join(order), f"; by hand they change places at {crossing / 1e9:.0f} GB/s")
found = bandwidths[winners.index("MXFP4")]
assert order == ["BitMoD, 3 bits", "MXFP4"]
assert found / bandwidths[1] * bandwidths[0] <= crossing <= found

# %%
with paper_style():
    _, (left, right) = plt.subplots(1, 2, figsize=(DOUBLE_WIDTH_IN, 2.7), layout="constrained")
    kinds = ("gemm", "grouped_gemm", "elementwise", "norm", "gather", "attention")
    colours = {one.label: KIND_COLOURS[kind] for one, kind in zip(wideners, kinds, strict=True)}
    for one in wideners:
        series = [one.weights_per_s(bandwidth) / 1e9 for bandwidth in bandwidths]
        left.loglog(bandwidths / 1e9, series, color=colours[one.label])
        up = {"BitMoD, 3 bits": 3, "BitMoD, 4 bits": -8}.get(one.label, -2)
        left.annotate(one.label, (500, series[-1]), (4, up), textcoords="offset points", color=colours[one.label])
    for bandwidth, name, side in (
        (memory.read_bandwidth_bytes_per_s, "LPDDR5 ", "right"),
        (crossing, " crossing", "left"),
    ):
        left.axvline(bandwidth / 1e9, color=INK, lw=0.6, ls=(0, (4, 2)))
        left.text(bandwidth / 1e9, 5, name, ha=side, color=MUTED)
    left.set(xlabel="Memory bandwidth (GB/s)", ylabel="Weights ready (10⁹/s)", xlim=(5, 4000), ylim=(4, 450))
    left.set_xticks([5, 10, 20, 50, 100, 200, 500], ["5", "10", "20", "50", "100", "200", "500"])
    left.set_yticks([5, 10, 20, 50, 100, 200], ["5", "10", "20", "50", "100", "200"])
    left.minorticks_off()
    left.set_title("On 0.01 mm² of cells at 7 nm and 1 GHz")
    for row, one in enumerate(wideners):
        read = 1e12 * one.bits * memory.read_energy_j_per_bit
        right.barh(row, read, 0.76, color=KIND_COLOURS["norm"], edgecolor="white", lw=0.4)
        right.barh(row, 1e12 * one.energy_j, 0.76, left=read, color=KIND_COLOURS["gemm"], edgecolor="white", lw=0.4)
        right.text(read + 1e12 * one.energy_j + 0.6, row, f"{1e12 * one.energy_j:.2f} to widen", va="center")
    right.text(1, 5, "reading LPDDR5", va="center", color="white")
    right.set(
        yticks=range(len(wideners)), yticklabels=[one.label for one in wideners], ylim=(len(wideners) - 0.5, -0.5)
    )
    right.set(xlabel="Energy (pJ per weight)", xlim=(0, 75))
assert all(0.002 < one.energy_j / (one.bits * memory.read_energy_j_per_bit) < 0.02 for one in wideners)

# %% [markdown]
# Widening costs about a hundredth of what reading costs: in energy the bits decide, in area the unit.
#
# **Multiplying the narrow format itself.** An engine of a machine may be built of a unit (`rtl:` in its description):
# its rate, clock, energy and area are then those of contract and synthesis. By hand, an array that accepts $8B/b$
# weights a second for a batch of $n$ needs $8Bn/(bLf)$ units of $L$ lanes; more of them wait.

# %%
llama, BATCH = model("Llama-3.2-1B"), 16
step = Decode(batch=BATCH, context=1024)
formats = FormatChoice(weights="mxfp4", activations="mxfp8", compute="mxfp4")
copies = [1 << power for power in range(4, 13)]
rates: dict[float, list[float]] = {}
needed: dict[float, float] = {}
for bandwidth in (51.2, 204.8):
    rates[bandwidth] = []
    for count in copies:
        changes = [f"engines.array.rtl.copies={count}", "engines.array.rtl.clock=1 GHz"]
        changes += [f"tiers.lpddr.{way}_bandwidth={bandwidth} GB/s" for way in ("read", "write")]
        machine = override(npu, changes)
        rates[bandwidth].append(simulate(llama, step, machine, formats=formats).tokens_per_s)
    needed[bandwidth] = 8 * bandwidth * 1e9 * BATCH / (small.bits * 8 * CLOCK_HZ)
    enough = next(
        count for count, rate in zip(copies, rates[bandwidth], strict=True) if rate > 0.9 * rates[bandwidth][-1]
    )
    print(f"{bandwidth} GB/s: by hand {needed[bandwidth]:.0f} units of 8 lanes, {enough} reach nine tenths of the best")
    assert needed[bandwidth] / 4 < enough < needed[bandwidth] * 4
rtl = override(npu, ["engines.array.rtl.clock=1 GHz"]).engines["array"].rtl
assert rtl is not None
assert rtl.area_mm2 is not None
print(f"512 units: {rtl.operations_per_s / 1e12:.2f} TOP/s on {rtl.area_mm2:.2f} mm2 of cells")
assert abs(rtl.operations_per_s - 2 * 512 * 8 * CLOCK_HZ) < 1

# %% [markdown]
# **The whole space.** Lanes, units, node and bandwidth of the bundled space `mx-array`, every design of it.

# %%
space = load_space("mx-array")
designs = np.arange(space.codec.size)
outcomes = evaluate(space, designs, "roofline")
front = front_places(scores(space, outcomes))
area, tokens_per_s = outcomes.metrics["rtl_area_mm2"], outcomes.metrics["decode.tokens_per_s"]
best = [space.codec.named(space.codec.decode(designs[[place]])[0]) for place in front]
print(
    f"{len(front)} of {len(designs)} designs on the front; on it:",
    {key: sorted({one[key] for one in best}) for key in ("lanes", "node")},
)

# %%
with paper_style():
    _, (left, right) = plt.subplots(1, 2, figsize=(DOUBLE_WIDTH_IN, 2.5), layout="constrained")
    for (bandwidth, series), kind in zip(rates.items(), ("norm", "gemm"), strict=True):
        left.loglog(copies, series, "o-", base=2, ms=3, color=KIND_COLOURS[kind])
        left.axvline(needed[bandwidth], color=KIND_COLOURS[kind], lw=0.8, ls=(0, (4, 2)))
        left.annotate(
            f"{bandwidth} GB/s",
            (copies[-1], series[-1]),
            (0, 4),
            textcoords="offset points",
            ha="right",
            color=KIND_COLOURS[kind],
        )
    left.set_xticks(copies[::2], [f"{count:,}" for count in copies[::2]])
    left.set_yscale("log")
    left.minorticks_off()
    left.set(xlabel="Units of 8 lanes (dashed: by hand)", ylabel=f"Tokens per second, batch {BATCH}")
    nodes = np.array([space.codec.named(row)["node"] for row in space.codec.decode(designs)])
    for node, kind in ((28, "attention"), (16, "elementwise"), (7, "gemm")):
        chosen = (nodes == node) & (area <= 60)
        right.scatter(area[chosen], tokens_per_s[chosen], s=5, color=KIND_COLOURS[kind], alpha=0.6, lw=0)
        right.text(
            {28: 0.17, 16: 0.08, 7: 0.026}[node],
            {28: 82, 16: 100, 7: 150}[node],
            f"{node} nm",
            color=KIND_COLOURS[kind],
            ha="center",
        )
    right.scatter(area[front], tokens_per_s[front], s=22, facecolors="none", edgecolors=INK, lw=0.8)
    right.set_xscale("log")
    right.set_yscale("log")
    right.set_xticks([0.01, 0.1, 1, 10], ["0.01", "0.1", "1", "10"])
    for axes in (left, right):
        axes.set_ylim(75, 3200)
        axes.set_yticks([100, 200, 500, 1000, 2000], ["100", "200", "500", "1,000", "2,000"])
    right.minorticks_off()
    right.set(xlabel="Area of the array's cells (mm²); rings: front", ylabel="Tokens per second, batch 16")

# %% [markdown]
# **The answer, printed by what was computed.**

# %%
denser = small.weights_per_s_mm2 / few.weights_per_s_mm2
cost = small.weights_per_s_mm2 / lossless.weights_per_s_mm2
nearer = small.error / lossless.error
print(f"On {AREA_MM2} mm2 the fewest bits win up to {crossing / 1e9:.0f} GB/s (BitMoD, {few.bits:.2f}),")
print(f"above it the smallest unit (MXFP4, {denser:.1f} times as many weights for the area).")
print(
    f"Lossless DFloat11 takes {cost:.0f} times the area for as many weights, {nearer:.0f} times nearer to real numbers."
)
print(f"Behind {memory.read_bandwidth_bytes_per_s / 1e9:.1f} GB/s an array that multiplies MXFP4 itself needs")
print(f"{needed[51.2]:.0f} units of 8 lanes for a batch of {BATCH}.")
