"""Training steps down the road: what moves between tiers, what memory holds, what time is bounded by."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.spec.load import load_system, override
from hw.spec.system import System
from mappers.map_workload import map_workload
from mappers.planner.liveness import activation_peak_bytes
from mappers.planner.placement import MemoryPlan, Place, plan_memory
from simulator.moves import Move
from simulator.policy import Policy
from simulator.result import Result
from simulator.road import simulate
from workloads.errors import InfeasibleError
from workloads.models.architecture import Attention, Block, FeedForward, Model
from workloads.models.catalogue import model
from workloads.models.flops import model_flops
from workloads.models.lower import lower
from workloads.phases import Decode, Train


def small(layers: int = 6, hidden: int = 256) -> Model:
    block = Block(Attention(4, 2, hidden // 4), FeedForward(3 * hidden, gated=True, activation="silu"), "rms")
    return Model("small", "llama", hidden, 512, (block,), (0,) * layers, tied_embeddings=False)


def a100(*changes: str) -> System:
    return override(load_system("a100-80gb-sxm"), changes) if changes else load_system("a100-80gb-sxm")


def pinned(**tiers: str) -> Policy:
    place = Place()
    for role, tier in tiers.items():
        place = place.pin(role, tier)  # type: ignore[arg-type]
    return Policy(place=place)


def over(result: Result, link: str) -> float:
    return result.moved_bytes.get(link, 0.0)


OUT, IN = "host-pcie:hbm>ddr", "host-pcie:ddr>hbm"


@settings(max_examples=12, deadline=None)
@given(
    layers=st.integers(1, 5),
    batch=st.integers(1, 2),
    context=st.sampled_from([16, 100]),
    checkpoint=st.sampled_from(["none", "selective", "full"]),
    ahead=st.integers(0, 2),
)
def test_kept_activations_travel_once_each_way(
    layers: int, batch: int, context: int, checkpoint: str, ahead: int
) -> None:
    phase = Train(batch, context, checkpoint)  # type: ignore[arg-type]
    policy = Policy(place=Place().pin("activations", "ddr"), move=Move(ahead))
    found = simulate(small(layers), phase, a100(), policy=policy)
    kept = lower(small(layers), phase).stored_bytes("activations")
    assert over(found, OUT) == pytest.approx(kept)
    assert over(found, IN) == pytest.approx(kept)
    assert found.peak_bytes["ddr"] == pytest.approx(kept, abs=100)
    assert found.latency_s >= found.bounds.latency_s * (1 - 1e-9)


def test_optimizer_states_travel_once_each_way() -> None:
    found = simulate(small(), Train(1, 64), a100(), policy=pinned(optimizer="ddr"))
    states = lower(small(), Train(1, 64)).stored_bytes("optimizer")
    assert over(found, OUT) == pytest.approx(states)
    assert over(found, IN) == pytest.approx(states)


def test_weights_elsewhere_come_for_both_passes_and_go_back_once() -> None:
    """Streamed for the forward and for the backward pass, in which two products read them; written by the update.

    The head's forward and backward pass are one layer, for which its weights come once.
    """
    found = simulate(small(), Train(1, 64), a100(), policy=pinned(feed_forward="ddr"))
    weights = lower(small(), Train(1, 64)).stored_bytes("feed_forward")
    assert over(found, IN) == pytest.approx(2 * weights)
    assert over(found, OUT) == pytest.approx(weights)
    again = simulate(small(), Train(1, 64, "full"), a100(), policy=pinned(feed_forward="ddr"))
    assert over(again, IN) == pytest.approx(2 * weights)
    head = simulate(small(), Train(1, 64), a100(), policy=pinned(head="ddr"))
    assert over(head, IN) == pytest.approx(lower(small(), Train(1, 64)).stored_bytes("head"))


@pytest.mark.parametrize("checkpoint", ["none", "selective", "full"])
def test_peak_is_what_is_stored_and_the_largest_layer(checkpoint: str) -> None:
    """With everything at home nothing else takes room: 16 bytes a parameter, what is kept, one layer's own."""
    phase = Train(2, 128, checkpoint)  # type: ignore[arg-type]
    workload = lower(small(), phase)
    found = simulate(small(), phase, a100())
    own = max(activation_peak_bytes(layer) for layer, _ in workload.layers())
    assert found.peak_bytes["hbm"] == pytest.approx(workload.stored_bytes() + own, abs=100)
    assert "ddr" not in found.peak_bytes or found.peak_bytes["ddr"] == 0


def plan(system: System, phase: Train, place: Place | None = None) -> MemoryPlan:
    return plan_memory(map_workload(lower(small(12), phase), system, fidelity="roofline"), system, place)


def test_the_last_layers_activations_stay_and_backward_layers_find_them() -> None:
    phase = Train(4, 512)
    workload = lower(small(12), phase)
    states = workload.stored_bytes() - workload.stored_bytes("activations")
    own = max(activation_peak_bytes(layer) for layer, _ in workload.layers())
    each = workload.stored_bytes("activations") / 12
    # Room for the states, the buffers of two streamed layers and about half of what is kept.
    room = round(states + own + 2 * each + 6.5 * each)
    place = Place(order=tuple(sorted(Place().order, key=lambda role: role == "activations")))
    found = plan(a100(f"tiers.hbm.capacity='{room} B'"), phase, place)
    forward = [p.tier("ffn_up") for run in found.runs for p in run.pattern * run.count if p.layer.name == "layer"]
    backward = [
        p.tier("ffn_up") for run in found.runs for p in run.pattern * run.count if p.layer.name == "layer_backward"
    ]
    assert forward == sorted(forward)  # "ddr" before "hbm"
    assert set(forward) == {"ddr", "hbm"}
    assert backward == forward[::-1]


def test_streaming_is_hidden_or_binds() -> None:
    """Llama-3-8B on four devices: what is kept goes out under the forward pass and comes in under the backward pass.

    A link a hundred times faster makes the step as fast as without it; the given one is slower than the products.
    """
    llama = model("llama-3-8b")
    system = override(load_system("a100-80gb-sxm"), ("devices=4",))
    phase = Train(1, 4096)
    at_home = simulate(llama, phase, system)
    away = simulate(llama, phase, system, policy=pinned(activations="ddr"))
    fast = override(system, ("links.host-pcie.bandwidth='10 TB/s'", "tiers.ddr.bandwidth='40 TB/s'"))
    hidden = simulate(llama, phase, fast, policy=pinned(activations="ddr"))
    kept = lower(llama, phase, devices=4).stored_bytes("activations")
    rate = system.links["host-pcie"].bandwidth_bytes_per_s
    assert away.latency_s >= 2 * kept / rate
    assert at_home.latency_s <= hidden.latency_s <= 1.03 * at_home.latency_s
    assert hidden.latency_s <= away.latency_s <= at_home.latency_s + 2 * kept / rate * 1.05
    # Two layers' worth stays in the way of those that come and go.
    layer = kept / 32
    assert away.peak_bytes["hbm"] <= at_home.peak_bytes["hbm"] - kept + 2.05 * layer


@settings(max_examples=8, deadline=None)
@given(context=st.sampled_from([64, 256]), scale=st.sampled_from([1.5, 4.0]))
def test_a_faster_link_is_never_slower(context: int, scale: float) -> None:
    policy = pinned(activations="ddr", optimizer="ddr")
    base = a100().links["host-pcie"].bandwidth_bytes_per_s
    slow = simulate(small(), Train(1, context), a100(), policy=policy).latency_s
    faster = a100(f"links.host-pcie.bandwidth='{scale * base / 1e9} GB/s'")
    assert simulate(small(), Train(1, context), faster, policy=policy).latency_s <= slow * (1 + 1e-9)


def test_recomputing_costs_time_and_saves_memory() -> None:
    found = {c: simulate(small(), Train(4, 512, c), a100()) for c in ("none", "selective", "full")}
    assert found["none"].latency_s < found["selective"].latency_s < found["full"].latency_s
    assert found["none"].peak_bytes["hbm"] > found["selective"].peak_bytes["hbm"] > found["full"].peak_bytes["hbm"]


def test_utilisation_is_the_models_work_over_the_devices_peak() -> None:
    system = override(load_system("a100-80gb-sxm"), ("devices=2",))
    found = simulate(small(), Train(2, 128), system)
    expected = model_flops(small(), 2, 128) / (found.latency_s * 2 * 312e12)
    assert found.mfu == pytest.approx(expected)
    assert found.to_json()["mfu"] == found.mfu
    assert "mfu" not in simulate(small(), Decode(1, 16), system).to_json()


def test_a_state_that_fits_nowhere_says_by_how_much() -> None:
    with pytest.raises(InfeasibleError) as caught:
        simulate(model("llama-3-8b"), Train(1, 64), a100(), policy=pinned(optimizer="hbm"))
    assert "optimizer" in str(caught.value)


def test_adam_on_the_host() -> None:
    """States and update stay in DDR (ZeRO-Offload, arXiv 2101.06840): gradients come, weights go back, 2 bytes each."""
    from mappers.assign import assign_roles

    policy = Policy(place=Place().pin("optimizer", "ddr"), assign=assign_roles({"optimizer": "cpu"}))
    found = simulate(small(), Train(1, 64), load_system("h100-xeon"), policy=policy)
    workload = lower(small(), Train(1, 64))
    gradients = workload.stored_bytes("gradients")
    moved = [size for name, size in found.moved_bytes.items() if name.startswith("host-pcie")]
    assert sorted(moved) == pytest.approx([gradients, gradients])
