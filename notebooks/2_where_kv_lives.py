# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
# ---

# %% [markdown]
# # 2 Where should keys and values live?
# **Question.** HBM, DDR, CXL, flash, or a memory that computes: how many tokens a second does each home of the cache
# leave one sequence, up to a context of a million tokens?

# %%
# %matplotlib inline
from dataclasses import replace
from functools import cache

import matplotlib.pyplot as plt

from dse.reports.figures import DOUBLE_WIDTH_IN
from dse.reports.figures.style import INK, KIND_COLOURS, MUTED, paper_style
from hw.spec.load import load_system
from mappers.planner.placement import path_bandwidth
from simulator.policies import named_policy
from simulator.policies.attention import main_home
from simulator.policy import Policy
from simulator.road import simulate
from workloads.errors import InfeasibleError
from workloads.formats import FormatChoice
from workloads.models.catalogue import model
from workloads.models.counts import kv_bytes_per_token, parameters
from workloads.phases import Decode

llama = model("Llama-3.1-8B")
reading_speed = 10  # tokens a second: a fast reader
contexts = [1 << power for power in range(12, 21)]

# %% [markdown]
# **What the answer should be near.** A step reads all weights and all keys and values. Where both lie in HBM the
# cache costs as much as the weights at $N = W/k$ tokens ($W$ bytes of weights, $k$ bytes a token). Behind a path of
# bandwidth $b$ the next layer's cache travels while this one computes, so nothing is lost until it takes longer than
# the weights do, from $N = (W/k)(b/B)$ on; then the rate is $b/(kN)$, whatever the processor.

# %%
weight_bytes = 2 * (parameters(llama).total - llama.vocabulary * llama.hidden)
per_token = kv_bytes_per_token(llama)
h100 = load_system("h100-sxm")
hbm_rate = h100.tiers["hbm"].read_bandwidth_bytes_per_s
crossing = {"hbm": weight_bytes / per_token}
for tier in ("ddr", "nvme"):
    crossing[tier] = weight_bytes / per_token * path_bandwidth(h100, tier, "hbm") / hbm_rate
print(f"{weight_bytes / 1e9:.1f} GB of weights, {per_token / 1024:.0f} KiB a token;")
print("the cache costs as much as the weights at", {tier: f"{count:,.0f} tokens" for tier, count in crossing.items()})

# %% [markdown]
# **Ten homes.** Each is a preset, with attention where the home can compute. The laptop and the phone hold weights of
# four bits, or they would not fit beside anything.


# %%
@cache
def tokens_per_s(system: str, how: str, context: int, name: str = "Llama-3.1-8B", fidelity: str = "roofline") -> float:
    """Tokens per second with the cache pinned to the tier ``how``, or under the policy of that name; 0: no room."""
    machine, small = load_system(system), system in ("laptop-nvme", "phone-ufs4")
    policy = Policy()
    if how.endswith("attention"):
        policy = named_policy(policy, machine, how)
    else:
        policy = replace(policy, place=policy.place.pin("kv_cache", how))
    formats = FormatChoice(weights="int4_g128") if small else None
    try:
        step = Decode(batch=1, context=context)
        return simulate(model(name), step, machine, formats=formats, policy=policy, fidelity=fidelity).tokens_per_s
    except InfeasibleError:
        return 0.0


homes = {
    "HBM of an H100": ("h100-sxm", "hbm", "gemm"),
    "PIM stacks (AttAcc)": ("attacc", "pim-attention", "attention"),
    "DDR5, computed on the CPU": ("h100-xeon", "cpu-attention", "norm"),
    "DDR5 over PCIe 5": ("h100-sxm", "ddr", "elementwise"),
    "8 NVMe drives": ("h100-sxm", "nvme", "gather"),
    "CXL, server CPU": ("cxl-expander", "cxl", "grouped_gemm"),
    "drive that computes (InstInfer)": ("csd-instinfer", "csd-attention", "attention"),
    "the same drive, fetched": ("csd-instinfer", "flash", "gather"),
    "laptop's NVMe": ("laptop-nvme", "nvme", "elementwise"),
    "phone's UFS": ("phone-ufs4", "ufs", "norm"),
}
rates = {home: [tokens_per_s(system, how, n) for n in contexts] for home, (system, how, _) in homes.items()}
for home, series in rates.items():
    print(f"{home:32}", *(f"{rate:9.3g}" if rate else "  no room" for rate in series))

# %%
for home, tier in (("DDR5 over PCIe 5", "ddr"), ("8 NVMe drives", "nvme")):
    bound = path_bandwidth(h100, tier, "hbm") / (per_token * contexts[-1])
    print(f"{home}: {bound:.3f} tokens/s by hand at {contexts[-1]:,}, {rates[home][-1]:.3f} simulated")
    assert 0.9 * bound < rates[home][-1] <= 1.001 * bound

with paper_style():
    _, axes = plt.subplots(figsize=(DOUBLE_WIDTH_IN, 3.4), layout="constrained")
    lower = {"8 NVMe drives": -7, "DDR5 over PCIe 5": 1, "HBM of an H100": 6, "PIM stacks (AttAcc)": 2}
    for home, series in rates.items():
        if home == "laptop's NVMe":
            continue  # lies on the drive that is fetched from
        _, how, kind = homes[home]
        known = [(n, rate) for n, rate in zip(contexts, series, strict=True) if rate]
        style = "-" if how == "hbm" or how.endswith("attention") else "--"
        axes.loglog(*zip(*known, strict=True), style, lw=1.1, marker="o", ms=2.2, color=KIND_COLOURS[kind])
        shift = (5, lower.get(home, -3))
        axes.annotate(home, known[-1], shift, textcoords="offset points", color=KIND_COLOURS[kind])
    axes.axhline(reading_speed, color=MUTED, lw=0.8, ls=":")
    axes.annotate("reading speed", (contexts[-1] * 5.4, reading_speed), (0, 2), textcoords="offset points", ha="right")
    axes.set_xlim(contexts[0] * 0.9, contexts[-1] * 5.5)
    axes.set_xticks(contexts, [f"{n >> 10}k" if n < 1 << 20 else "1M" for n in contexts])
    axes.set_yticks([0.1, 1, 10, 100], ["0.1", "1", "10", "100"])
    axes.minorticks_off()
    axes.set(xlabel="Context (tokens)", ylabel="Tokens per second, one sequence")
    axes.set_title(
        "Solid: attention computed where the cache lies. Dashed: the cache travels. Lines end where room does."
    )

# %% [markdown]
# The slope of each dashed line is the closed form's $1/N$: only the path counts. HBM bends twice: where the cache
# outgrows the weights, and where both no longer fit and weights begin to travel.
#
# **Is it worth computing in the memory?** The gain should be near the bandwidth inside over that of the path. But one
# key or value serves as many query heads as share it, $g$ operations a byte: an engine that does one operation per
# byte of its bandwidth, as bank units do, gains $g$ times less. Llama-3.1 shares by four, Llama-2 not at all.

# %%
long = 1 << 17
pairs = {
    "PIM stacks (AttAcc)": ("attacc", "pim-attention", "attacc", "hbm"),
    "drive (InstInfer)": ("csd-instinfer", "csd-attention", "csd", "flash"),
    "CPU beside DDR5": ("h100-xeon", "cpu-attention", "cpu", "ddr"),
}
names = {"Llama-2-7B": 1, "Llama-3.1-8B": 4}
gains: dict[tuple[str, str], dict[str, float]] = {}
for place, (system, how, engine_name, tier) in pairs.items():
    machine = load_system(system)
    engine = machine.engines[engine_name]
    inside = engine.home_bandwidth_bytes_per_s or machine.tiers[engine.home].read_bandwidth_bytes_per_s
    main = main_home(machine)
    path = machine.tiers[main].read_bandwidth_bytes_per_s if tier == main else path_bandwidth(machine, tier, main)
    for name, sharing in names.items():
        gain = {"by hand": min(inside, engine.throughput("fp16") / sharing) / path}
        for fidelity in ("roofline", "cycle"):
            there = tokens_per_s(system, how, long, name, fidelity)
            gain[fidelity] = there / tokens_per_s(system, tier, long, name, fidelity)
        gains[place, name] = gain
        print(f"{place:20} {name:12}", {depth: f"{value:.2f}" for depth, value in gain.items()})
assert all(gain["roofline"] <= gain["by hand"] for gain in gains.values())
pim = "PIM stacks (AttAcc)"
assert gains[pim, "Llama-3.1-8B"]["cycle"] < 1 < gains[pim, "Llama-2-7B"]["cycle"]

# %% [markdown]
# At roofline the gains stay below the closed form, for the weights still have to be read. At cycle fidelity each side
# pays for what it really does. Bank units take one query's vector after the other, so four heads that share a key
# read its row four times, and the gain turns into a loss. A cache that is fetched comes in blocks of a few tokens,
# smaller for heads that share, for which the drive gives about half of its stated rate; inside, whole pages are read,
# so there the gain grows.

# %%
with paper_style():
    _, axes = plt.subplots(figsize=(DOUBLE_WIDTH_IN, 2.5), layout="constrained")
    looks = {
        "by hand": ("|", MUTED),
        "roofline": ("o", KIND_COLOURS["grouped_gemm"]),
        "cycle": ("o", KIND_COLOURS["gemm"]),
    }
    for row, gain in enumerate(gains.values()):
        axes.plot([gain["cycle"], gain["roofline"]], [row, row], color="#D0D0D0", lw=1.5, zorder=1)
        for depth, (marker, colour) in looks.items():
            axes.scatter(gain[depth], row, s=70 if marker == "|" else 26, marker=marker, color=colour, zorder=2)
            if row == 0:
                side = {"cycle": "right", "roofline": "left", "by hand": "center"}[depth]
                axes.annotate(depth, (gain[depth], row), (0, 7), textcoords="offset points", ha=side, color=colour)
    axes.axvline(1, color=INK, lw=0.8)
    axes.set_xscale("log")
    axes.set_xticks([0.5, 1, 2, 5, 10], ["0.5", "1", "2", "5", "10"])
    axes.minorticks_off()
    rows = [f"{place}, {name}" for place, name in gains]
    axes.set(yticks=range(len(rows)), yticklabels=rows, ylim=(len(rows) - 0.5, -0.8))
    axes.set_xlabel(f"Tokens/s with attention where the cache lies / with the cache fetched, context {long >> 10}k")
    axes.grid(True, axis="x")

# %% [markdown]
# **So where?** The longest context that each home serves at reading speed, and whether time or room ends it.


# %%
def longest(system: str, how: str) -> tuple[int, str]:
    """The most tokens, to 2 %, at reading speed or above, up to a million, and what ends it."""
    low, high = 0, 1 << 20
    if tokens_per_s(system, how, high) >= reading_speed:
        return high, "not yet"
    while high - low > max(1, low // 50):
        middle = (low + high) // 2
        low, high = (middle, high) if tokens_per_s(system, how, middle) >= reading_speed else (low, middle)
    return low, "speed" if tokens_per_s(system, how, high) else "room"


reach = {home: longest(system, how) for home, (system, how, _) in homes.items()}
with paper_style():
    _, axes = plt.subplots(figsize=(DOUBLE_WIDTH_IN, 2.6), layout="constrained")
    for row, (home, (tokens, end)) in enumerate(sorted(reach.items(), key=lambda item: -item[1][0])):
        if tokens:
            axes.scatter(tokens, row, s=30, color=KIND_COLOURS[homes[home][2]])
        text = f"{tokens:,} tokens, ended by {end}" if tokens else "too slow at any length"
        axes.text(max(tokens, 1500) * 1.2, row, text, va="center")
    order = sorted(reach, key=lambda home: -reach[home][0])
    axes.set_xscale("log")
    axes.set_xlim(1500, 3e7)
    axes.set_xticks([1e4, 1e5, 1e6], ["10k", "100k", "1M"])
    axes.grid(True, axis="x")
    axes.minorticks_off()
    axes.set(yticks=range(len(order)), yticklabels=order, ylim=(len(order) - 0.5, -0.5))
    axes.set_xlabel(f"Longest context at {reading_speed} tokens/s (tokens)")

# %% [markdown]
# **The answer, printed by what was computed.**

# %%
best = order[0]
print(f"One Llama-3.1-8B sequence at {reading_speed} tokens/s: {best} reach {reach[best][0]:,} tokens,")
print(f"HBM {reach['HBM of an H100'][0]:,}; behind PCIe it is {reach['DDR5 over PCIe 5'][0]:,}, unless the host's")
print(f"processors attend to it where it lies: {reach['DDR5, computed on the CPU'][0]:,}. Drives reach")
print(
    f"{reach['8 NVMe drives'][0]:,} by eight and {reach['drive that computes (InstInfer)'][0]:,} by one that computes."
)
assert reach["DDR5, computed on the CPU"][0] > 8 * reach["DDR5 over PCIe 5"][0]
assert reach["8 NVMe drives"][0] > reach["drive that computes (InstInfer)"][0]
