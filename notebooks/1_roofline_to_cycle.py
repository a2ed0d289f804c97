# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
# ---

# %% [markdown]
# # 1 From roofline to cycle: one decode step, asked at every depth
# **Question.** How long does Llama-3.1-8B take for one token on an H100, what does each deeper model add to the
# answer, and what does it cost to ask?

# %%
# %matplotlib inline
import time
from dataclasses import replace

import matplotlib.pyplot as plt

from dse.reports.figures import DOUBLE_WIDTH_IN, roofline_figure
from dse.reports.figures.style import INK, KIND_COLOURS, MUTED, RESOURCE_COLOURS, paper_style
from hw.spec.load import load_system, override
from simulator.memory.dram.controller import Controller
from simulator.memory.dram.devices import load_device
from simulator.memory.dram.mapping import address_mapping
from simulator.memory.dram.run import explain_run, run
from simulator.memory.dram.streams import Sequential
from simulator.road import simulate
from workloads.models.catalogue import model
from workloads.models.counts import kv_bytes_per_token, parameters
from workloads.phases import Decode

llama, h100 = model("Llama-3.1-8B"), load_system("h100-sxm")
step = Decode(batch=1, context=2048)

# %% [markdown]
# **What the answer should be near.** With one sequence each weight is read for one multiply-add: two operations for
# two bytes, far left of the ridge of a machine that does hundreds of operations per byte. So the step takes the time
# to read weights and cache once: every parameter but the embedding table (one row of it is read), and the keys and
# values.

# %%
read_bytes = 2 * (parameters(llama).total - llama.vocabulary * llama.hidden) + step.context * kv_bytes_per_token(llama)
bandwidth = h100.tiers["hbm"].read_bandwidth_bytes_per_s
by_hand_s = read_bytes / bandwidth
print(f"{read_bytes / 1e9:.2f} GB at {bandwidth / 1e12:.2f} TB/s: {by_hand_s * 1e3:.2f} ms")

# %% [markdown]
# **Roofline.** The simulator's bound is that number; what it adds is the start of each kernel.

# %%
roofline = simulate(llama, step, h100)
launches = sum(row.count for row in roofline.ops)
launch_s = h100.engines["tensor"].launch_overhead_s
print(f"bound {roofline.bounds.latency_s * 1e3:.2f} ms, simulated {roofline.latency_s * 1e3:.2f} ms:")
print(f"{launches} kernels x {launch_s * 1e6:.0f} us = {launches * launch_s * 1e3:.2f} ms on top")
assert abs(roofline.bounds.latency_s / by_hand_s - 1) < 0.001
assert abs(roofline.latency_s - roofline.bounds.latency_s - launches * launch_s) < 1e-6

# %% [markdown]
# Every operation sits on the slope of the memory, and the whole step below it, by the launches.

# %%
roofline_figure(roofline, h100)

# %% [markdown]
# **Mapped.** A mapper adds what tiles do: operands that pass the memory's port twice because a buffer is small, and
# rows of an array without work. For one token there is nothing to add: no weight is wanted twice.

# %%
mapped = simulate(llama, step, h100, fidelity="mapped")
print(f"mapped {mapped.latency_s * 1e3:.2f} ms, roofline {roofline.latency_s * 1e3:.2f} ms")
assert mapped.latency_s == roofline.latency_s

# %% [markdown]
# It starts to matter on a small chip with a batch. An array of side $s$ whose peak grows as $s^2$ should be busy for
# a time that falls as $1/s^2$. But a head of 64 fills only 64 of its rows (keys) or columns (values), so attention
# can fall no faster than $1/s$ beyond 64; and a scratchpad too small for the batch's rows reads weights again.

# %%
llama_1b, npu, batch = model("Llama-3.2-1B"), load_system("edge-npu"), Decode(batch=64, context=2048)
sides = (32, 64, 128, 256)
busy_s: dict[str, list[float]] = {"roofline": [], "mapped": []}
for side in sides:
    peak = 2 * side * side / 1e3  # TFLOP/s at 1 GHz; the preset's array halves it for bf16
    array = [f"engines.array.array.{way}={side}" for way in ("rows", "columns")]
    machine = override(npu, [*array, f"engines.array.throughput.bf16={peak / 2} TFLOP/s", "tiers.lpddr.capacity=64 GB"])
    for fidelity, series in busy_s.items():
        found = simulate(llama_1b, batch, machine, fidelity=fidelity)
        series.append(found.utilisation["array"] * found.latency_s)
idle = busy_s["mapped"][-1] / busy_s["roofline"][-1]
print(f"at {sides[-1]} x {sides[-1]} the array is busy {idle:.1f} times as long as its peak says")
assert busy_s["mapped"][1] == busy_s["roofline"][1], "64 rows are what a head fills"
assert all(deep >= flat for flat, deep in zip(busy_s["roofline"], busy_s["mapped"], strict=True))

# %%
capacities_kib = (16, 32, 64, 128, 256, 512, 1024, 4096)
slower: dict[int, list[float]] = {}
for sequences in (1, 16, 64):
    part = replace(batch, batch=sequences, context=256)
    flat_s = simulate(llama_1b, part, npu).latency_s
    slower[sequences] = []
    for capacity in capacities_kib:
        machine = override(npu, [f"tiers.scratchpad.capacity={capacity} KiB"])
        slower[sequences].append(simulate(llama_1b, part, machine, fidelity="mapped").latency_s / flat_s)
assert max(slower[1]) < 1.0001, "one token needs no buffer"
assert slower[64][0] > 1.1 > 1.001 > slower[64][-1]

# %%
with paper_style():
    _, (left, right) = plt.subplots(1, 2, figsize=(DOUBLE_WIDTH_IN, 2.4), layout="constrained")
    for (name, series), colour, style in zip(busy_s.items(), (MUTED, KIND_COLOURS["gemm"]), ("--", "-"), strict=True):
        left.loglog(sides, [1e3 * value for value in series], style, marker="o", ms=3, color=colour)
        left.annotate(name, (sides[-1], 1e3 * series[-1]), (4, -2), textcoords="offset points", color=colour)
    left.set(xlabel="Side of the array (processing elements)", ylabel="Array busy per step (ms)", xlim=(28, 500))
    left.set_xticks(sides, [str(side) for side in sides])
    left.minorticks_off()
    left.set_title("Heads of 64 leave a wider array idle")
    colours = (MUTED, KIND_COLOURS["elementwise"], KIND_COLOURS["gemm"])
    for (sequences, ratio), colour in zip(slower.items(), colours, strict=True):
        right.semilogx(capacities_kib, ratio, marker="o", ms=3, base=2, color=colour)
        above = -9 if sequences == 1 else 3
        start = (capacities_kib[0], ratio[0])
        right.annotate(f"batch {sequences}", start, (4, above), textcoords="offset points", color=colour)
    right.set_xticks(capacities_kib, [f"{capacity}" for capacity in capacities_kib])
    right.minorticks_off()
    right.set(xlabel="Scratchpad (KiB)", ylabel="Mapped / roofline latency", ylim=(0.9, 1.85))
    right.set_title("A small scratchpad reads weights again")

# %% [markdown]
# **Cycle.** The deepest question is what the memory really delivers. Before asking: HBM3 refreshes for tRFC out of
# every tREFI, which no controller gets back. What else is lost depends on how far ahead the controller looks: two
# bursts to one bank group must be tCCD_L apart, and a plain mapping sends neighbours to the same group.

# %%
hbm3 = load_device("HBM3-5200")
most = 1 - hbm3.timing["nRFC"] / hbm3.timing["nREFI"]
stream, ticks = Sequential(hbm3.burst_bytes), {}
for mapping, queue in (("RoBaRaCoCh", 32), ("MOP4CLXOR", 32), ("RoBaRaCoCh", 256)):
    controller = Controller(read_queue=queue, write_queue=queue, tries_per_tick=2)
    served = run(hbm3, stream, controller, mapping=address_mapping(mapping, hbm3), count=100_000)
    ticks[f"{mapping}\nqueue {queue}"] = (served.fraction_of_peak, explain_run(served, stream))
    print(f"{mapping}, queue {queue}: {served.fraction_of_peak:.1%} of the peak; {explain_run(served, stream)}")
    assert served.fraction_of_peak < most
print(f"refresh alone leaves {most:.1%}")

# %% [markdown]
# With queues as deep as GPUs must have, refresh is most of what is lost; with a processor's queues half the bandwidth
# goes with the mapping. At cycle fidelity the step takes what its own streams are served at. Kernel fidelity asks a
# different question: what a library's kernels, fitted to measurements, take on this machine.

# %%
results, asked_s = {}, {}
for fidelity in ("roofline", "mapped", "cycle", "kernel"):
    start_s = time.process_time()
    results[fidelity] = simulate(llama, step, h100, fidelity=fidelity)
    asked_s[fidelity] = time.process_time() - start_s
    added = results[fidelity].latency_s / by_hand_s
    print(f"{fidelity:9} {results[fidelity].latency_s * 1e3:.2f} ms, {added:.2f} x by hand")
print(next(note for note in results["cycle"].notes if note.startswith("hbm")))
assert results["mapped"].latency_s <= results["cycle"].latency_s
assert 1 / most < results["cycle"].time_by_bound_s["hbm"] / results["roofline"].time_by_bound_s["hbm"] < 1.3

# %%
with paper_style():
    _, (left, right) = plt.subplots(
        1, 2, figsize=(DOUBLE_WIDTH_IN, 2.5), layout="constrained", gridspec_kw={"width_ratios": (1.15, 1)}
    )
    kinds = {"memory": ("hbm", "tier"), "arithmetic": ("tensor", "engine"), "launches": ("overhead", "overhead")}
    for row, (fidelity, result) in enumerate(results.items()):
        edge = 0.0
        for name, (bound, kind) in kinds.items():
            length, colour = 1e3 * result.time_by_bound_s.get(bound, 0.0), RESOURCE_COLOURS[kind]
            left.barh(row, length, 0.76, left=edge, color=colour, edgecolor="white", lw=0.4)
            if length > 0.8:
                left.text(edge + length / 2, row, f"{length:.2f}", ha="center", va="center", color="white")
                if row == 0:
                    left.text(edge + length / 2, -0.48, name, ha="center", va="bottom", color=colour)
            edge += length
        left.text(edge + 0.1, row, f"{edge:.2f} ms, asked in {asked_s[fidelity] * 1e3:.0f} ms", va="center")
    left.axvline(1e3 * by_hand_s, ymax=0.86, color=INK, lw=0.8, ls=(0, (4, 2)))
    left.text(1e3 * by_hand_s - 0.1, 3.5, "by hand", ha="right", va="top", color=MUTED)
    left.set(yticks=range(len(results)), yticklabels=list(results), xlim=(0, 11), ylim=(4.0, -1.0))
    left.set_xlabel("Time per token (ms)")
    left.set_title("What each depth adds, and what it costs to ask")
    colours = {"data": KIND_COLOURS["gemm"], "refresh": KIND_COLOURS["attention"]}
    colours |= {"tCCD_L read": KIND_COLOURS["elementwise"], "column bus": KIND_COLOURS["grouped_gemm"]}
    for row, (_, explained) in enumerate(ticks.values()):
        shares = {"data": explained.busy_ticks, **explained.lost_ticks}
        edge = 0.0
        for cause, colour in colours.items():
            length = 100 * shares.get(cause, 0) / explained.total_ticks
            right.barh(row, length, 0.76, left=edge, color=colour, edgecolor="white", lw=0.4)
            middle = edge + length / 2
            if length > 4:
                right.text(middle, row, f"{length:.0f}", ha="center", va="center", color="white")
            if row == 0:
                right.text(middle, -0.44, cause.removesuffix(" read"), ha="center", va="bottom", color=colour)
            edge += length
        right.barh(row, 100 - edge, 0.76, left=edge, color=RESOURCE_COLOURS["idle"], edgecolor="white", lw=0.4)
    right.axvline(100 * most, ymax=0.86, color=INK, lw=0.8, ls=(0, (4, 2)))
    right.text(100 * most - 1, 2.44, "what refresh leaves", ha="right", va="top", color=MUTED)
    right.set(yticks=range(len(ticks)), yticklabels=list(ticks), xlim=(0, 100), ylim=(2.8, -0.85))
    right.set_xlabel("Ticks of the data bus (%)")
    right.set_title("One HBM3 channel, read in order")

# %% [markdown]
# **The answer, printed by what was computed.**

# %%
cycle, kernel = results["cycle"], results["kernel"]
print(
    f"{by_hand_s * 1e3:.2f} ms by hand, {roofline.latency_s * 1e3:.2f} with launches, {cycle.latency_s * 1e3:.2f} "
    f"at what HBM3 serves, {kernel.latency_s * 1e3:.2f} with a library's kernels: the deepest adds "
    f"{cycle.latency_s / roofline.latency_s - 1:.0%} to the roofline, at "
    f"{asked_s['cycle'] / asked_s['roofline']:.0f} times its cost."
)
assert abs(kernel.latency_s / cycle.latency_s - 1) < 0.1, "two independent models agree"
