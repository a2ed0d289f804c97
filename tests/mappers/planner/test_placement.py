"""Placement: nothing lost, nothing too full, the stated order kept."""

from __future__ import annotations

import pytest
from hypothesis import given, settings

from hw.spec.load import load_system, override
from hw.spec.system import System
from mappers.planner.liveness import activation_peak_bytes
from mappers.planner.placement import Place, path_bandwidth, plan_memory, tier_order
from mappers.roofline import roofline_workload
from tests.strategies import chain_system, models, phases, systems
from workloads.errors import InfeasibleError, InputError
from workloads.formats import FormatChoice
from workloads.models.architecture import Model
from workloads.models.catalogue import model
from workloads.models.layer_builder import LayerBuilder, activation
from workloads.models.lower import lower
from workloads.phases import Decode, Phase


@settings(max_examples=150, deadline=None)
@given(models(), phases(), systems())
def test_every_tensor_has_a_place_and_no_tier_is_too_full(small: Model, phase: Phase, system: System) -> None:
    workload = lower(small, phase)
    mapped = roofline_workload(workload, system)
    try:
        plan = plan_memory(mapped, system)
    except InfeasibleError:
        return
    assert sum(plan.resident_bytes.values()) == pytest.approx(workload.stored_bytes())
    assert sum(sum(row.values()) for row in plan.bytes_by_role().values()) == pytest.approx(workload.stored_bytes())
    at_home = plan.resident_bytes["t0"] + plan.buffer_bytes + plan.workspace_bytes
    assert at_home <= system.tiers["t0"].capacity_bytes * (1 + 1e-12)
    for tier, size in plan.resident_bytes.items():
        assert size <= plan.capacity_bytes[tier]
    layers, planned = (sum(run.count * len(run.pattern) for run in runs) for runs in (workload.runs, plan.runs))
    assert layers == planned
    if plan.resident_bytes["t0"] == pytest.approx(workload.stored_bytes()):
        assert plan.buffer_bytes == 0


def test_what_is_read_least_spills_first() -> None:
    # 16.06 GB of weights into 12 GB: embeddings go first, then the head, then feed-forwards of the last layers.
    system = override(load_system("h100-sxm"), ["tiers.hbm.capacity=12 GB"])
    workload = lower(model("Llama-3.1-8B"), Decode(1, 2048))
    table = plan_memory(roofline_workload(workload, system), system).bytes_by_role()
    assert set(table["embedding"]) == {"ddr"}
    assert set(table["attention"]) == {"hbm"}
    assert set(table["feed_forward"]) == {"hbm", "ddr"}


def test_a_shared_tier_is_split_over_the_devices() -> None:
    system = override(load_system("h100-sxm"), ["devices=4"])
    order = tier_order(system, "hbm")
    assert order[0] == "hbm"
    single = override(system, ["devices=1"])
    assert path_bandwidth(system, "nvme", "hbm") == path_bandwidth(single, "nvme", "hbm") / 4


def test_the_slowest_hop_sets_the_bandwidth_of_a_path() -> None:
    # t1 is written and read through one port of 6 B/s: 3 B/s pass through it.
    system = chain_system((1e6, 1e6, 1e6), (100.0, 6.0, 50.0), (40.0, 40.0))
    assert path_bandwidth(system, "t2", "t0") == pytest.approx(3.0)
    assert path_bandwidth(system, "t1", "t0") == pytest.approx(6.0)


def test_pinning_to_an_unknown_tier_is_refused() -> None:
    system = load_system("h100-sxm")
    mapped = roofline_workload(lower(model("GPT-2"), Decode(1, 64)), system)
    with pytest.raises(InputError, match=r"unknown tier 'hmb'.*did you mean 'hbm'"):
        plan_memory(mapped, system, Place().pin("kv_cache", "hmb"))


def test_pinning_more_than_fits_says_by_how_much() -> None:
    system = override(load_system("h100-sxm"), ["tiers.ddr.capacity=1 GB"])
    mapped = roofline_workload(lower(model("Llama-3.1-8B"), Decode(1, 64)), system)
    with pytest.raises(InfeasibleError, match="tier 'ddr' cannot hold all feed_forward tensors") as caught:
        plan_memory(mapped, system, Place().pin("feed_forward", "ddr"))
    assert caught.value.needed == 32 * 3 * 4096 * 14336 * 2
    assert caught.value.available == 1e9


def test_activations_alone_can_be_too_many() -> None:
    system = override(load_system("h100-sxm"), ["tiers.hbm.capacity=1 MB"])
    mapped = roofline_workload(lower(model("Llama-3.1-8B"), Decode(64, 64)), system)
    with pytest.raises(InfeasibleError, match="tier 'hbm' cannot hold the activations of one layer"):
        plan_memory(mapped, system)


def test_activations_live_from_their_writer_to_their_last_reader() -> None:
    # in (8 values) -> a (8) -> b (8) -> out (8), two bytes each: at most two of them at once.
    layer = LayerBuilder("chain", FormatChoice())
    sizes = {"t": 1, "s": 8}
    for name, source, target in (("1", "in", "a"), ("2", "a", "b"), ("3", "b", "out")):
        layer.op(name, "elementwise", "relu", sizes, {"U": activation(source)}, {"H": activation(target)})
    assert activation_peak_bytes(layer.build()) == 2 * 8 * 2


def test_a_tensor_pinned_by_name_lives_apart_from_its_role() -> None:
    """Norms stay in HBM but for the final one, 4,096 values of 2 bytes, which is told to lie in DDR."""
    system = load_system("h100-sxm")
    mapped = roofline_workload(lower(model("Llama-3.1-8B"), Decode(1, 64)), system)
    plan = plan_memory(mapped, system, Place().pin_tensor("final_norm_gain", "ddr"))
    assert plan.bytes_by_role()["norm"] == {"hbm": 64 * 8192, "ddr": 8192}
    assert plan.resident_bytes["ddr"] == 8192
    with pytest.raises(InputError, match="tier"):
        plan_memory(mapped, system, Place().pin_tensor("final_norm_gain", "nowhere"))
