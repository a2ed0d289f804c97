# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
# ---

# %% [markdown]
# # 4 Planning memory for a million tokens
# **Question.** How does a 7B model train on sequences of a million tokens on eight 80 GB devices: what is kept, sent
# to the host or computed again, where does everything else lie, and what does the step take?

# %%
# %matplotlib inline
from dataclasses import replace

import matplotlib.pyplot as plt

from dse.reports.figures import DOUBLE_WIDTH_IN
from dse.reports.figures.allocation import allocation_figure
from dse.reports.figures.style import INK, KIND_COLOURS, MUTED, paper_style
from hw.spec.load import load_system, override
from mappers.planner.allocation.caching import replay_requests
from mappers.planner.swap import KERNELS, machine_of, plan_step, setting_of
from mappers.planner.swap.bilevel import flat_plan, flat_problem
from mappers.planner.swap.curve import contexts_to
from mappers.planner.swap.gpt_models import gpt_model
from mappers.planner.swap.step_ops import step_requests
from simulator.training.offload.replay import replay_step

system = override(load_system("a100-80gb-sxm"), ["devices=8", "fabric.bandwidth=200 GB/s"])  # as an A800's
gpt, machine = gpt_model("gpt-7b"), machine_of(system, KERNELS["attained"])
contexts = contexts_to(1 << 20)

# %% [markdown]
# **What the answer should be near.** Backward needs of each layer and token sixteen times the hidden size in 16-bit
# values: input, norms, queries, keys, values, attention's result, residual and four each before and after the
# activation. These bytes grow with the context, and so does their time on the link to the host; attention's work
# grows with its square. So there is a context from which all can travel for nothing, one from which they fill the
# device, and one from which they fill the host. MEMO (arXiv 2407.12117) reports 52.30 % of peak for a million tokens
# on eight A800.

# %%
PUBLISHED_MFU = 0.5230
layers = len(gpt.order)
token_bytes = layers * 16 * gpt.hidden * 2 / machine.devices
states = setting_of(gpt, machine, contexts[0]).state_bytes
device_full = (machine.memory_bytes - states) / token_bytes
host_full = machine.tiers[0].capacity_bytes / token_bytes
print(f"{token_bytes / 1024:.0f} KiB a token and device; {states / 1e9:.1f} GB of parameters and optimizer state;")
print(f"the device is full before {device_full:,.0f} tokens, the host's {machine.tiers[0].capacity_bytes / 1e9:.0f} GB")
print(f"a device by {host_full:,.0f}; a million tokens would take {2**20 * token_bytes / 1e9:.0f} GB on each of eight")

# %% [markdown]
# **Five policies.** Keep everything; compute all of a layer again; send everything to the host; MEMO's mixture by
# tokens; the optimum over all shares.

# %%
policies = {
    "keep": ("keep all", KIND_COLOURS["norm"]),
    "recompute": ("compute again", KIND_COLOURS["attention"]),
    "swap": ("send all", KIND_COLOURS["gather"]),
    "memo": ("MEMO's mixture", KIND_COLOURS["gemm"]),
    "best": ("best shares", KIND_COLOURS["elementwise"]),
}
plans = {
    (policy, context): plan_step(setting_of(gpt, machine, context), policy, allocate_by="search")
    for policy in policies
    for context in contexts
}
for policy in policies:
    fitting = [context for context in contexts if plans[policy, context].fits]
    last = plans[policy, fitting[-1]]
    print(
        f"{policy:10} fits to {fitting[-1]:9,} tokens, there {last.mfu:.1%} of peak, {last.times.step_s:.1f} s a step"
    )
kept, sent = ([c for c in contexts if plans[policy, c].fits][-1] for policy in ("keep", "swap"))
assert kept < device_full < 2 * kept, "the closed form brackets the last context that is kept"
assert sent < host_full < 2 * sent
assert all(plans["best", c].times.step_s <= plans["memo", c].times.step_s * 1.000001 for c in contexts)

# %%
with paper_style():
    _, (left, right) = plt.subplots(1, 2, figsize=(DOUBLE_WIDTH_IN, 2.8), layout="constrained")
    for policy, (_, colour) in policies.items():
        points = [(c, 100 * plans[policy, c].mfu) for c in contexts if plans[policy, c].fits]
        left.semilogx(*zip(*points, strict=True), "o-", base=2, ms=3, lw=1.6 if policy == "memo" else 1.0, color=colour)
    places = {"keep": (0, 5), "recompute": (1, -12), "swap": (0, -9), "memo": (0, -9), "best": (-1, 5)}
    for policy, (place, shift) in places.items():
        name, colour = policies[policy]
        spot = (contexts[place], 100 * plans[policy, contexts[place]].mfu)
        side = "right" if place < 0 else "left"
        left.annotate(name, spot, (0, shift), textcoords="offset points", color=colour, ha=side)
    left.set(xlabel="Context (tokens)", ylabel="Utilisation of peak (%)", ylim=(30, 46))
    held = {
        "a": ("all activations", [c * token_bytes for c in contexts], MUTED, "--"),
        "d": ("device, planned", [plans["memo", c].device_bytes for c in contexts], KIND_COLOURS["gemm"], "-"),
        "h": ("host, planned", [plans["memo", c].tier_bytes["ddr"] for c in contexts], KIND_COLOURS["norm"], "-"),
    }
    for key, (name, series, colour, style) in held.items():
        right.loglog(contexts, [size / 1e9 for size in series], style, base=2, marker="o", ms=3, color=colour)
        place, shift, side = {"a": (2, (-6, 2), "right"), "d": (3, (6, -6), "left"), "h": (-1, (0, -11), "right")}[key]
        spot = (contexts[place], series[place] / 1e9)
        right.annotate(name, spot, shift, textcoords="offset points", color=colour, ha=side)
    for size, name in ((machine.memory_bytes, "HBM"), (machine.tiers[0].capacity_bytes, "host's part")):
        right.axhline(size / 1e9, color=INK, lw=0.8, ls=(0, (4, 2)))
        right.text(contexts[0], size / 1e9 * 1.06, f"{name} {size / 1e9:.0f} GB", color=MUTED)
    right.set_yscale("log")
    right.set_yticks([5, 10, 20, 50, 100, 200, 500], ["5", "10", "20", "50", "100", "200", "500"])
    right.set(xlabel="Context (tokens)", ylabel="Per device (GB)")
    for axes in (left, right):
        axes.set_xticks(contexts[::2], [f"{c >> 10}k" if c < 1 << 20 else "1M" for c in contexts[::2]])
        axes.minorticks_off()

# %% [markdown]
# Up to a point keeping is best; then travelling is free; then the host is full as well and the part of each layer
# that finds no room is computed again.
#
# **A million tokens.** The plan, executed on the event engine with capacities enforced.

# %%
plan = plans["memo", 1 << 20]
assert plan.alpha is not None
replayed = replay_step(plan)
print(f"{plan.alpha.alpha:.1%} of each layer's tokens travel, the rest of most tensors is made again;")
print(f"planned {plan.times.step_s:.1f} s, executed {replayed.step_s:.1f} s, {replayed.stall_s:.3f} s of it stalls;")
print(f"{plan.device_bytes / 1e9:.1f} of {machine.memory_bytes / 1e9:.0f} GB at the peak")
assert abs(replayed.step_s / plan.times.step_s - 1) < 1e-6
assert replayed.peak_bytes[machine.memory_name] <= machine.memory_bytes
mfu = {
    name: plan_step(setting_of(gpt, replace(machine, kernels=kernels), 1 << 20), "memo", allocate_by="search").mfu
    for name, kernels in KERNELS.items()
}
print(
    "utilisation:", {f"{name} kernels": f"{value:.1%}" for name, value in mfu.items()}, f"published {PUBLISHED_MFU:.1%}"
)
assert mfu["attained"] < PUBLISHED_MFU < mfu["best"], "between the two ends of what is known of its kernels"

# %% [markdown]
# **Where everything lies.** What is neither kept nor sent lives for a few operations: hundreds of buffers from 1 to 9
# GB. Packed with knowledge of the whole step, they need no more than the most that is alive at once; a caching
# allocator, which does not know what comes, needs more.

# %%
problem = flat_problem(plan.step)
flat = flat_plan(plan.step)
caching = replay_requests(step_requests(plan.step, with_skeletal=False))
peaks = {
    "most alive": flat.lower_bound_bytes,
    "planned at once": flat.peak_bytes,
    "planned in two levels": plan.arena.peak_bytes,
    "caching allocator": caching.reserved_bytes,
}
print(f"{len(problem.buffers)} buffers, {flat.status};", {name: f"{size / 1e9:.1f} GB" for name, size in peaks.items()})
assert peaks["most alive"] == peaks["planned at once"] <= peaks["planned in two levels"] < peaks["caching allocator"]

# %%
allocation_figure(problem, flat)

# %%
rest = plan.device_bytes - plan.arena.peak_bytes
parts = {"states": plan.setting.state_bytes, "rounding buffers": plan.buffers * plan.buffer_bytes}
parts["kept layers"] = rest - sum(parts.values())
with paper_style():
    _, axes = plt.subplots(figsize=(DOUBLE_WIDTH_IN, 1.9), layout="constrained")
    shades = dict(zip(parts, (KIND_COLOURS["gather"], KIND_COLOURS["norm"], KIND_COLOURS["grouped_gemm"]), strict=True))
    for row, size in enumerate(peaks.values()):
        edge = 0.0
        for part, length in [*parts.items(), ("transients", size)]:
            colour = shades.get(part, KIND_COLOURS["gemm"])
            axes.barh(row, length / 1e9, 0.76, left=edge, color=colour, edgecolor="white", lw=0.4)
            if length / 1e9 > 8:
                text = f"{part} {length / 1e9:.1f}"
                axes.text(edge + length / 2e9, row, text, ha="center", va="center", color="white")
            edge += length / 1e9
        axes.text(edge + 0.5, row, f"{edge:.1f} GB", va="center", bbox={"fc": "white", "ec": "none", "pad": 0.5})
    axes.axvline(machine.memory_bytes / 1e9, color=INK, lw=0.8, ls=(0, (4, 2)))
    axes.set(yticks=range(len(peaks)), yticklabels=list(peaks), ylim=(len(peaks) - 0.5, -0.5), xlim=(0, 100))
    axes.set_xlabel("One device at a million tokens (GB); dashed: its memory")
    axes.set_ylabel("Transients")

# %% [markdown]
# **The answer, printed by what was computed.**

# %%
slowdown = plans["recompute", 1 << 20].times.step_s / plan.times.step_s
print(f"All is kept up to {kept:,} tokens, sent up to {sent:,}; at a million {1 - plan.alpha.alpha:.0%} of the tokens'")
print(f"activations are made again, in {plan.times.step_s:.0f} s a step, {slowdown:.2f} times as fast as with all.")
saved = peaks["caching allocator"] - peaks["planned in two levels"]
over = rest + peaks["caching allocator"] - machine.memory_bytes
print(f"Planning saves {saved / 1e9:.1f} GB of transients; without it the step would be {over / 1e9:.1f} GB too large.")
assert over > 0
