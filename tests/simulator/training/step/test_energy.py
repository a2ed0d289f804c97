"""Joules of training steps over many devices, by hand and against the road of one group of devices."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.spec.load import load_system, override
from hw.spec.system import System
from simulator.road import simulate
from simulator.training.step.layout import Parallel, read_parallel
from simulator.training.step.result import StepResult
from simulator.training.step.setup import Setup
from simulator.training.step.simulate import prepare_step, simulate_step
from tests.simulator.training.small_models import small
from workloads.phases import Train

FREE_EXCHANGE = ("tiers.hbm.read_energy=0 J/bit", "tiers.hbm.write_energy=0 J/bit")


def machine(devices: int, *changes: str, node: int = 8) -> System:
    named = (f"devices={devices}", f"network.devices_per_node={node}", "network.energy=10 pJ/bit")
    return override(load_system("h100-sxm"), (*named, "fabric.energy=2 pJ/bit", *changes))


def step(setup: Setup, *changes: str, node: int = 8) -> StepResult:
    return simulate_step(setup, machine(setup.parallel.devices, *changes, node=node))


@pytest.mark.parametrize("checkpoint", ["none", "selective", "full"])
@pytest.mark.parametrize("tensor", [1, 2])
def test_one_group_of_devices_spends_what_the_road_spends(checkpoint: str, tensor: int) -> None:
    phase = Train(2, 512, checkpoint)  # type: ignore[arg-type]
    road = simulate(small(6, 512), phase, machine(tensor))
    found = step(Setup(small(6, 512), phase, 2, Parallel(tensor)))
    assert set(found.energy_j) == set(road.energy_j)
    for name in set(road.energy_j) - {"static"}:
        assert found.energy_j[name] == pytest.approx(road.energy_j[name], rel=1e-9), name
    assert found.energy_j["static"] == pytest.approx(machine(tensor).idle_power_w * found.latency_s)
    assert found.total_energy_j == pytest.approx(sum(found.energy_j.values()))


def test_replicas_and_micro_batches_multiply_what_engines_spend() -> None:
    """All but the update is done for every sequence once, wherever; the update by every replica, or once where its
    states are divided."""
    phase = Train(1, 256)
    one, two = step(Setup(small(4), phase, 1)), step(Setup(small(4), phase, 2))
    passes = two.energy_j["tensor"] - one.energy_j["tensor"]
    assert passes == pytest.approx(one.energy_j["tensor"])  # the update has no contractions
    batch = two.energy_j["vector"] - one.energy_j["vector"]
    update = one.energy_j["vector"] - batch
    for layout, updates in (("dp=4", 4), ("dp=4,zero=1", 1), ("dp=4,zero=3", 1)):
        found = step(Setup(small(4), phase, 16, read_parallel(layout)))
        assert found.energy_j["tensor"] == pytest.approx(16 * passes)
        assert found.energy_j["vector"] == pytest.approx(16 * batch + updates * update)


def test_a_pipeline_spends_what_one_stage_spends_and_its_sends() -> None:
    """Stages change who computes, not what: beside it hidden states of 256 x 64 values of 2 bytes cross each of 3
    boundaries and their gradients come back, for each of 8 micro-batches, at 2 pJ a bit within a node."""
    alone = step(Setup(small(4), Train(1, 256), 8))
    found = step(Setup(small(4), Train(1, 256), 8, Parallel(pipeline=4)))
    for engine in ("tensor", "vector"):
        assert found.energy_j[engine] == pytest.approx(alone.energy_j[engine])
    sent_bits = 8 * 256 * 64 * 2 * 3 * 2 * 8
    assert found.energy_j["fabric"] == pytest.approx(sent_bits * 2e-12)
    assert found.energy_j["hbm"] - alone.energy_j["hbm"] == pytest.approx(sent_bits * 2 * 3.59e-12)


def test_chunks_send_more_often_and_to_other_nodes() -> None:
    """Two stages in two chunks: boundaries 0>1, 1>0, 0>1, all between nodes of one device each, at 10 pJ a bit."""
    found = step(Setup(small(4), Train(1, 256), 8, Parallel(pipeline=2, chunks=2)), node=1)
    assert found.energy_j["network"] == pytest.approx(8 * 256 * 64 * 2 * 3 * 2 * 8 * 10e-12)
    assert "fabric" not in found.energy_j


@pytest.mark.parametrize("layout", ["dp=8", "dp=8,zero=1", "dp=8,zero=3"])
def test_rings_leave_a_node_once_for_all_its_members(layout: str) -> None:
    """Of a ring's 8 hops over nodes of 4 devices 2 are between nodes: a quarter of all bytes that devices send."""
    setup = Setup(small(4), Train(1, 64), 16, read_parallel(layout))
    found = step(setup, *FREE_EXCHANGE, node=4)
    sent_bits = 8 * 8 * sum(found.sent_bytes.values())  # 8 devices, all of the one stage
    assert found.energy_j["network"] == pytest.approx(sent_bits / 4 * 10e-12)
    assert found.energy_j["fabric"] == pytest.approx(sent_bits * 3 / 4 * 2e-12)


def test_what_leaves_the_device_crosses_the_link_twice() -> None:
    setup = Setup(small(4), Train(1, 256), 4, activations="ddr", optimizer="ddr")
    system = machine(1)
    found = simulate_step(setup, system)
    pieces = prepare_step(setup, system).pieces
    held = (pieces.embedding, *pieces.layers, pieces.head)
    moved = 4 * sum(piece.kept_bytes for piece in held) + sum(piece.state_bytes for piece in held)
    assert found.energy_j["host-pcie"] == pytest.approx(2 * 8 * moved * 6.5e-12)
    assert found.energy_j["ddr"] == pytest.approx(2 * 8 * moved * 17.1e-12)


layouts = st.sampled_from(
    ["", "tp=2,sp=1", "pp=4,chunks=2", "dp=4,zero=2", "cp=2", "tp=2,pp=2,dp=2,zero=2", "pp=2,dp=2,zero=3,reshard=0"]
)


@settings(max_examples=25, deadline=None)
@given(layout=layouts, micro=st.sampled_from([4, 8]), dearer=st.floats(1, 8), node=st.sampled_from([1, 2, 8]))
def test_energies_are_linear_in_what_a_bit_costs(layout: str, micro: int, dearer: float, node: int) -> None:
    parallel = read_parallel(layout)
    setup = Setup(small(8), Train(1, 64), micro * parallel.data, parallel)
    found = step(setup, node=node)
    other = step(setup, f"fabric.energy={2 * dearer} pJ/bit", f"network.energy={10 * dearer} pJ/bit", node=node)
    for name, joules in found.energy_j.items():
        assert joules >= 0
        factor = dearer if name in ("fabric", "network") else 1
        assert other.energy_j[name] == pytest.approx(factor * joules, rel=1e-6)
