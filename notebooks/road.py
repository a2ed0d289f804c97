# ---
# jupyter:
#   jupytext:
#     text_representation:
#       format_name: percent
# ---

# %% [markdown]
# # The road, step by step
# From a model and a machine to a result, looking at each value on the way. Open as a notebook with jupytext, or run as
# a script.

# %%
from dse.reports.table import report_text
from hw.spec.load import load_system, override
from mappers.planner.placement import plan_memory
from mappers.roofline import roofline_workload
from simulator.attribution import critical_chain
from simulator.engine import execute, occupancy
from simulator.road import simulate
from simulator.schedule import schedule
from workloads.einsum import print_cascade
from workloads.models.catalogue import model
from workloads.models.lower import lower
from workloads.phases import Decode

# %% [markdown]
# **What is computed.** A 70-billion-parameter model, one decode step: layers of operations, equal layers once. Each
# operation is a cascade of Einsums.

# %%
workload = lower(model("Llama-3.1-70B"), Decode(batch=1, context=2048))
print(workload)
attention = next(op for layer, _ in workload.layers() for op in layer.ops if op.kind == "attention")
print(print_cascade(attention.cascade))

# %% [markdown]
# **What it runs on.** A workstation whose GPU holds a sixth of the model.

# %%
system = override(load_system("rtx-4090"), ["tiers.ddr.capacity=64 GB"])
print({name: f"{tier.capacity_bytes / 1e9:.0f} GB at {tier.read_bandwidth_bytes_per_s / 1e9:.0f} GB/s"
       for name, tier in system.tiers.items() if tier.holds == "tensors"})  # fmt: skip

# %% [markdown]
# **How each operation runs**, and **where each tensor lives**.

# %%
mapped = roofline_workload(workload, system)
print(mapped)
plan = plan_memory(mapped, system)
print(plan)

# %% [markdown]
# **What happens over time.** The schedule is a task graph; the engine executes it, skipping what is steady.

# %%
laid_out = schedule(mapped, plan, system)
execution = execute(laid_out.graph)
print(
    f"{execution.latency_s:.3f} s; {len(execution.runs)} tasks simulated, {len(execution.spans)} steady spans skipped"
)
for begin, end, run in critical_chain(execution)[:5]:
    print(f"{begin:9.4f} s to {end:9.4f} s  {run.segment}: {run.name}")
print({tier: f"{max(size for _, size in steps) / 1e9:.1f} GB" for tier, steps in occupancy(execution).items()})

# %% [markdown]
# **All of it in one call.**

# %%
result = simulate(model("Llama-3.1-70B"), Decode(batch=1, context=2048), system)
assert abs(result.latency_s / execution.latency_s - 1) < 1e-12
print(report_text(result))
