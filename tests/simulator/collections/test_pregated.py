"""Block latencies of Pre-gated MoE (Hwang et al., ISCA 2024) out of caches and fetches, none of it made for them.

Published: kaleid-liner/FasterTransformer @ c0bbdfc, ``performance_data/block_lats.csv``: milliseconds per block that
has experts, Switch-Base in fp16 on an A100 80 GB. Two numbers of the machine are calibrated and predicted from: what
each operation takes at least, on the rows of "GPU-only", and the host link, on those of "prefetch-all". The blocks with
experts are taken alone: nothing travels behind the dense blocks between them. The first of six has none before it
whose gate could have named its experts, so it fetches on demand, and means are over all six.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from itertools import pairwise

import numpy as np
import pytest

from hw.spec.load import load_system
from hw.spec.system import System
from simulator.collections import CachedCollection, Fetch
from simulator.policy import Policy
from simulator.result import Result
from simulator.road import simulate
from workloads.models.architecture import MixtureOfExperts, Model
from workloads.models.catalogue import model
from workloads.models.stored_formats import stored_formats
from workloads.phases import Decode
from workloads.traces import RoutingStream

EXPERT_BYTES = 2 * 768 * 3072 * 2
BLOCKS = 6
EXPERTS = (8, 16, 32, 64, 128, 256)
GPU_ONLY = (0.946, 0.947, 0.942, 0.947, 0.946, 0.962)
PRE_GATED = (1.128, 1.156, 1.121, 1.129, 1.127, 1.157)
ON_DEMAND = (1.887, 1.894, 1.745, 1.778, 1.790, 1.818)
PREFETCH_ALL = (6.727, 12.75, 27.25, 51.03, 101.6, 199.7)
ACTIVE = {  # experts, batch, active experts: GPU-only, pre-gated, on-demand, prefetch-all
    (16, 16, 2): (0.935, 2.102, 2.633, 13.77),
    (16, 16, 4): (0.938, 3.405, 4.041, 12.77),
    (16, 16, 8): (1.083, 6.730, 7.241, 12.54),
    (8, 8, 2): (0.926, 1.629, 2.502, 6.395),
    (8, 8, 4): (0.931, 3.218, 4.106, 6.214),
    (8, 8, 8): (1.078, 6.423, 7.392, 6.242),
}


def switch_base(experts: int) -> Model:
    """The decoder's blocks with experts, one after another."""
    found = model("Switch-Base-8")
    at = next(
        i for i in found.order[found.encoder_layers :] if isinstance(found.blocks[i].feed_forward, MixtureOfExperts)
    )
    block = found.blocks[at]
    assert isinstance(block.feed_forward, MixtureOfExperts)
    block = replace(block, feed_forward=replace(block.feed_forward, experts=experts))
    dense = tuple(i for i in found.order[: found.encoder_layers])
    blocks = (*found.blocks[:at], block, *found.blocks[at + 1 :])
    return replace(found, blocks=blocks, order=(*dense, *[at] * BLOCKS))


def block_ms(result: Result) -> float:
    """Mean time between the ends of blocks; the first begins where the embedding ends."""
    runs = list(result.execution.all_runs())
    ends = [run for run in runs if run.name == "done" and ("layer" in run.segment or "embedding" in run.segment)]
    ends.sort(key=lambda run: run.finish_s)
    times = [b.finish_s - a.finish_s for a, b in pairwise(ends) if "embedding" not in b.segment]
    return 1e3 * float(np.mean(times))


def run(system: System, experts: int, batch: int, active: int, kind: str | None) -> float:
    """Milliseconds per block for ``active`` different experts under one way of fetching; None: all on the device."""
    chosen = switch_base(experts)
    formats = replace(stored_formats(chosen), weights="fp16", activations="fp16", kv_cache="fp16", compute="fp16")
    random = np.random.default_rng(7)
    picks = np.empty((4, BLOCKS, batch, 1), dtype=np.int64)
    for step in range(4):
        for layer in range(BLOCKS):
            named = random.permutation(experts)[:active]
            picks[step, layer, :, 0] = named[np.arange(batch) % active]
    stream = RoutingStream(picks, experts)
    if kind is None:
        return block_ms(simulate(chosen, Decode(batch, 64), system, formats=formats))
    # Nothing is kept from step to step. On demand a block's own router names its experts, once it has run.
    fetch = Fetch("as-routed" if kind == "on-demand" else kind)
    collection = CachedCollection(stream, "ddr", 0, fetch=fetch)
    policy = Policy(collections=(collection,))
    return block_ms(simulate(chosen, Decode(batch, 64), system, formats=formats, policy=policy))


@cache
def machine() -> System:
    """The A100 with time per operation and host link calibrated."""
    system = load_system("a100-80gb-sxm")
    gpu_only = float(np.mean(GPU_ONLY)) * 1e-3
    bandwidth = float(np.mean([n * EXPERT_BYTES / (ms * 1e-3) for n, ms in zip(EXPERTS, PREFETCH_ALL, strict=True)]))
    link = system.links["host-pcie"].model_copy(update={"bandwidth_bytes_per_s": bandwidth})
    system = system.model_copy(update={"links": {**system.links, "host-pcie": link}})

    def with_overhead(seconds: float) -> System:
        engines = {
            name: engine.model_copy(update={"launch_overhead_s": seconds}) for name, engine in system.engines.items()
        }
        return system.model_copy(update={"engines": engines})

    low, high = (run(with_overhead(seconds), 8, 1, 1, None) * 1e-3 for seconds in (0.0, 1e-4))
    return with_overhead(1e-4 * (gpu_only - low) / (high - low))


def test_calibrated_rows_are_met() -> None:
    # One number for six rows each: GPU-only differs by 2 %, prefetch-all's rate per byte by 9 %.
    for experts, gpu_only, prefetch_all in zip(EXPERTS, GPU_ONLY, PREFETCH_ALL, strict=True):
        assert run(machine(), experts, 1, 1, None) == pytest.approx(gpu_only, rel=0.02)
        assert run(machine(), experts, 1, 1, "prefetch-all") == pytest.approx(prefetch_all, rel=0.06)


@pytest.mark.parametrize(("experts", "pre_gated", "on_demand"), list(zip(EXPERTS, PRE_GATED, ON_DEMAND, strict=True)))
def test_one_active_expert_is_predicted(experts: int, pre_gated: float, on_demand: float) -> None:
    assert run(machine(), experts, 1, 1, "pre-gated") == pytest.approx(pre_gated, rel=0.08)
    assert run(machine(), experts, 1, 1, "on-demand") == pytest.approx(on_demand, rel=0.08)


@pytest.mark.parametrize(("experts", "batch", "active"), ACTIVE)
def test_several_active_experts_are_predicted(experts: int, batch: int, active: int) -> None:
    _, pre_gated, on_demand, prefetch_all = ACTIVE[experts, batch, active]
    # Two experts took 1.63 ms in one of the published runs and 2.10 ms in the other: ours lies between.
    within = 0.08 if active > 2 else 0.16
    assert run(machine(), experts, batch, active, "pre-gated") == pytest.approx(pre_gated, rel=within)
    assert run(machine(), experts, batch, active, "on-demand") == pytest.approx(on_demand, rel=0.08)
    assert run(machine(), experts, batch, active, "prefetch-all") == pytest.approx(prefetch_all, rel=0.06)
