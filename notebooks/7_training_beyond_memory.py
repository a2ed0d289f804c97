# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
# ---

# %% [markdown]
# # 7 Training beyond a device's memory
# **Question.** What keeps a 13B model from training at 8,192 tokens on eight 80 GB devices, which change makes it fit
# at least cost, how long do stages of a pipeline wait for each other, from which context could activations leave for
# nothing, and which layout is the fastest of all?

# %%
# %matplotlib inline
import matplotlib.pyplot as plt

from dse.reports.figures import DOUBLE_WIDTH_IN
from dse.reports.figures.style import INK, KIND_COLOURS, MUTED, paper_style
from hw.spec.load import load_system, override
from simulator.training.layouts.fit import lacks, smallest_changes
from simulator.training.layouts.search import best_layouts
from simulator.training.offload.crossover_curves import Question, Way, crossovers
from simulator.training.step.layout import read_parallel
from simulator.training.step.setup import Setup
from simulator.training.step.simulate import simulate_step
from workloads.models.catalogue import model
from workloads.models.counts import parameters
from workloads.phases import Train

system = override(load_system("a100-80gb-sxm"), ["devices=8"])
llama, context, batch = model("Llama-2-13B"), 8192, 64


def step(layout, sequences=batch):
    """One training step at kernel fidelity."""
    setup = Setup(llama, Train(1, context), sequences, read_parallel(layout))
    return simulate_step(setup, system, fidelity="kernel")


# %% [markdown]
# **What the answer should be near.** Adam with 16-bit weights takes 16 bytes a parameter: 2 for it, 2 for its gradient,
# 12 for master copy and moments. ZeRO divides by eight first the 12, then the gradient's 2, then the weight's. A layer
# keeps of each token its input, two norms' results, queries, keys, values, attention's result and the residual, 8 times
# the hidden size, and 3 times the feed-forward's, in 16 bits. In a pipeline of p stages with m micro-batches a stage
# waits (p - 1) of m + p - 1 turns. What a layer keeps of a token leaves during its forward pass if its bytes over the
# link's rate take no longer than its operations: twice its parameters, and 2 s h for attention to half of s tokens.

# %%
count, layers = parameters(llama).total, len(llama.order)
block = llama.blocks[0]
by_hand = {zero: count * (2 / (8 if zero > 2 else 1) + 2 / (8 if zero > 1 else 1) + 12 / (8 if zero else 1))
           for zero in range(4)}  # fmt: skip
token_bytes = 2 * (8 * llama.hidden + 3 * block.feed_forward.intermediate)
link, peak = 25e9, 312e12
layer_parameters = (parameters(llama).attention + parameters(llama).feed_forward) / layers
hides_by_hand = (token_bytes * peak / link - 2 * layer_parameters) / (2 * llama.hidden)
print("states of a device by stage of ZeRO:", {zero: f"{size / 1e9:.0f} GB" for zero, size in by_hand.items()})
print(f"kept of a sequence: {token_bytes * layers * context / 1e9:.0f} GB; {batch} micro-batches, 4 stages: each waits")
print(f"{3 / (batch + 3):.1%}; at the peak rate offloading hides from {hides_by_hand:,.0f} tokens, else from fewer")

# %% [markdown]
# **The inventory.** Eight replicas, one sequence at a time, by what they divide instead of repeating it.

# %%
replicas = {zero: step(f"dp=8,zero={zero}") for zero in range(4)}
capacity = system.tiers["hbm"].capacity_bytes
for zero, result in replicas.items():
    memory = result.memory[0]
    assert abs((memory.weights + memory.gradients + memory.optimizer) / by_hand[zero] - 1) < 1e-3
    assert abs(memory.activations / (token_bytes * layers * context) - 1) < 0.01
    assert result.peak_bytes > capacity, "none fits"

# %%
with paper_style():
    _, axes = plt.subplots(figsize=(DOUBLE_WIDTH_IN, 1.7), layout="constrained")
    shades = {"optimizer": "norm", "weights": "gemm", "gradients": "grouped_gemm", "gathered": "gather",
              "activations": "elementwise", "transient": "attention"}  # fmt: skip
    for row, result in replicas.items():
        edge = 0.0
        for part, kind in shades.items():
            size = result.memory[0].parts()[part] / 1e9
            label = part if row == 0 else None
            axes.barh(row, size, 0.76, left=edge, color=KIND_COLOURS[kind], edgecolor="white", lw=0.4, label=label)
            edge += size
        axes.text(edge + 2, row, f"{edge:.1f} GB", va="center", bbox={"fc": "white", "ec": "none", "pad": 0.5})
    axes.axvline(capacity / 1e9, color=INK, lw=0.8, ls=(0, (4, 2)))
    axes.set(yticks=range(4), yticklabels=[f"ZeRO {zero}" for zero in range(4)], ylim=(3.5, -0.5), xlim=(0, 300))
    axes.set_xlabel("One of eight devices (GB); dashed: its memory")
    axes.legend(loc="upper left", bbox_to_anchor=(1, 1))

# %% [markdown]
# **The smallest change.** States fit from the second stage on, activations beside them do not. Of every kind of change
# the first that fits is weighed by what it costs; nothing is executed for that.

# %%
asked = Setup(llama, Train(1, context), batch, read_parallel("dp=8,zero=3"))
tier, needed, there = lacks(asked, system)
print(f"ZeRO 3 lacks {(needed - there) / 1e9:.1f} GB of {tier}. What would do, the least first:")
changes = smallest_changes(asked, system)
for change in changes:
    print(f"  {change.words}: {change.more_time:+.1%} time, {change.peak_bytes / 1e9:.1f} GB, "
          f"{change.more_devices} devices more")  # fmt: skip
assert changes
assert all(change.peak_bytes <= capacity for change in changes)
assert changes[0].more_devices == 0
smallest = simulate_step(changes[0].setup, system, fidelity="kernel")
assert smallest.lacking() is None

# %% [markdown]
# **The pipeline instead.** Four stages of two devices: each keeps the activations of at most four micro-batches, of a
# quarter of the layers, and waits at both ends of the step. The output layer stands on the last stage alone, so that
# stages wait a little more than the formula's turns.

# %%
sizes = (8, 16, 32, 64)
plain = {size: step("tp=2,pp=4,sp=1", size) for size in sizes}
chunked = {size: step("tp=2,pp=4,chunks=5,sp=1", size) for size in sizes}
for size in sizes:
    turns = 3 / (size + 3), 3 / (5 * size + 3)
    assert turns[0] < plain[size].bubble_share < turns[0] + 0.06
    assert turns[1] < chunked[size].bubble_share < plain[size].bubble_share
assert plain[batch].lacking() is None, "it fits"

# %%
with paper_style():
    _, axes = plt.subplots(figsize=(DOUBLE_WIDTH_IN / 2, 1.9), layout="constrained")
    for name, found, chunks, kind in (("one piece", plain, 1, "gemm"), ("five chunks", chunked, 5, "elementwise")):
        shares = [100 * found[size].bubble_share for size in sizes]
        axes.plot(sizes, shares, marker="o", ms=3, color=KIND_COLOURS[kind], label=f"{name}, executed")
        formula = [300 / (chunks * size + 3) for size in sizes]
        axes.plot(sizes, formula, color=KIND_COLOURS[kind], lw=0.8, ls=(0, (4, 2)), label="by the formula")
    axes.set_xscale("log", base=2)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.set(xlabel="Micro-batches of a step", ylabel="A stage waits (%)", ylim=(0, 32))
    axes.legend()

# %% [markdown]
# **Offloading.** Over tensor-parallel devices both the layer's bytes and its operations are divided, so the crossing
# stays; kernels that take longer than at the peak rate, and exchanges between them, move it to shorter contexts.

# %%
offload = crossovers(Question(llama, system, fidelity="kernel", batches=(1,)))
kernel, roofline, inputs = Way("none", "kernel"), Way("none", "roofline"), Way("full", "kernel")
hides, bound = offload.host.hides_from[kernel], offload.host.hides_from[roofline]
assert abs(offload.host.link_bytes_per_s / link - 1) < 1e-9
assert context < hides < bound < hides_by_hand
assert offload.host.hides_from[inputs] < context, "a layer's input alone always hides"
assert offload.drive.hides_from > hides, "drives are slower than the link"

# %%
with paper_style():
    _, axes = plt.subplots(figsize=(DOUBLE_WIDTH_IN / 2, 1.9), layout="constrained")
    for way, words, kind in ((roofline, "all, roofline", "gather"), (kernel, "all, kernels", "gemm"),
                             (inputs, "inputs alone", "elementwise")):  # fmt: skip
        points = offload.host.curves[way]
        rates = [point.needed_bytes_per_s("forward") / 1e9 for point in points]
        axes.loglog([point.context for point in points], rates, marker="o", ms=3, color=KIND_COLOURS[kind], label=words)
    axes.axhline(link / 1e9, color=INK, lw=0.8, ls=(0, (4, 2)))
    axes.text(1 << 20, link / 1e9 * 1.1, "the link", color=MUTED, ha="right")
    axes.set_xticks([1 << 10, 1 << 13, 1 << 16, 1 << 19], ["1k", "8k", "64k", "512k"])
    axes.set_yticks([0.1, 1, 10], ["0.1", "1", "10"])
    axes.minorticks_off()
    axes.set(xlabel="Context (tokens)", ylabel="Link that hides all (GB/s)")
    axes.legend()

# %% [markdown]
# **The fastest layout.** All degrees that divide eight devices, with the least of ZeRO and recomputation that fits.

# %%
searched = best_layouts(Setup(llama, Train(1, context), batch), system, fidelity="kernel", keep=5)
for ranked in searched.best:
    result = ranked.result
    again = "" if ranked.setup.phase.checkpoint == "none" else f", 1 layer of {ranked.setup.phase.every} recomputed"
    print(f"{result.latency_s:6.2f} s, {result.mfu:.1%} of peak, {result.peak_bytes / 1e9:.1f} GB: "
          f"{ranked.setup.parallel}{again}")  # fmt: skip
best = searched.best[0].result
assert searched.complete
assert best.lacking() is None
assert best.latency_s <= min(smallest.latency_s, plain[batch].latency_s, chunked[batch].latency_s)

# %% [markdown]
# **The answer, printed by what was computed.**

# %%
over = replicas[3].peak_bytes - capacity
print(f"Activations: with everything else divided by eight it is still {over / 1e9:.1f} GB too large. The smallest")
print(f"change is {changes[0].words}, in {smallest.latency_s:.2f} s a step; four stages take")
print(f"{plain[batch].latency_s:.2f} s and wait {plain[batch].bubble_share:.1%}; the fastest of {searched.fitting}")
print(f"layouts that fit takes {best.latency_s:.2f} s ({searched.best[0].setup.parallel}). Activations leave for")
print(f"nothing from {hides:,} tokens on, {hides / context:.1f} times as many as asked.")
