"""Collectives of groups that reach over nodes, against counts by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.spec.load import load_system, override, override_values
from hw.spec.system import System
from simulator.interconnect.groups import Group, Reach, group_time, reach_of, send_time
from simulator.interconnect.libraries import collective_time, library
from workloads.errors import InputError

SHARE = 4096 / (4096 + 26)
"""InfiniBand's packets of 4,096 bytes have 26 of headers."""


def cluster(devices: int, *changes: str) -> System:
    return override(load_system("a100-80gb-sxm"), (f"devices={devices}", *changes))


def test_groups_lie_in_nodes() -> None:
    sixty_four = cluster(64)
    nic = 25e9 * SHARE
    assert reach_of(sixty_four, Group(64)) == (Reach(8, 8, nic, 14e-6),)
    assert reach_of(sixty_four, Group(8, 8)) == (Reach(1, 8, nic, 14e-6),)
    assert reach_of(sixty_four, Group(16, 4)) == (Reach(2, 8, nic, 14e-6),)
    assert reach_of(sixty_four, Group(16)) == (Reach(8, 2, nic, 14e-6),)
    assert reach_of(sixty_four, Group(1)) == (Reach(1, 1, float("inf"), 0.0),)


def test_within_a_node_it_is_the_library() -> None:
    for kind in ("all_reduce", "all_gather", "reduce_scatter", "all_to_all"):
        found = group_time(cluster(64), kind, 1e8, Group(8))
        assert found == collective_time(library("nccl-a100"), kind, 1e8, 8, 300e9)
        assert found == group_time(cluster(8), kind, 1e8, Group(8))


def test_all_of_eight_nodes() -> None:
    """Rings leave a node over its 8 adapters at once: 63/64 of the payload at 200 GB/s less headers; 7 steps between
    nodes at 14 us, 56 within at the library's 3.36 us, and its 44.6 us a call."""
    found = group_time(cluster(64), "all_gather", 1e9, Group(64))
    assert found.wire_s == pytest.approx(63 / 64 * 1e9 / (8 * 25e9 * SHARE))
    assert found.latency_s == pytest.approx(44.6e-6 + 56 * 3.36e-6 + 7 * 14e-6)


def test_one_device_a_node_has_one_adapter() -> None:
    found = group_time(cluster(64), "reduce_scatter", 1e9, Group(8, 8))
    assert found.wire_s == pytest.approx(7 / 8 * 1e9 / (25e9 * SHARE))
    assert found.latency_s == pytest.approx(7 * 14e-6)


def test_an_all_to_all_leaves_by_the_devices_own_adapter() -> None:
    found = group_time(cluster(64), "all_to_all", 64e6, Group(64))
    assert found.wire_s == pytest.approx(56e6 / (25e9 * SHARE))
    assert found.sent_bytes == pytest.approx(63e6)


def test_many_nodes_reduce_by_trees() -> None:
    """A ring of 512 members takes 1,022 steps, two trees over 64 nodes 2 x (7 within and 6 between)."""
    found = group_time(cluster(512), "all_reduce", 1e6, Group(512))
    assert found.algorithm == "tree"
    assert found.latency_s == pytest.approx(44.6e-6 + 2 * (7 * 3.36e-6 + 6 * 14e-6))


def test_a_ring_pass_goes_over_one_adapter() -> None:
    """15 steps of a 16th of the payload; between nodes 25 GB/s and 14 us each, whoever else stands in the node."""
    found = group_time(cluster(16), "ring_pass", 1.6e9, Group(16))
    assert found.wire_s == pytest.approx(15 * 0.1e9 / (25e9 * SHARE))
    assert found.latency_s == pytest.approx(15 * 14e-6)
    within = group_time(cluster(8), "ring_pass", 0.8e9, Group(8))
    assert within.time_s == pytest.approx(7 * (0.1e9 / (0.8 * 300e9) + 3.36e-6))


def test_islands_have_their_own_rates() -> None:
    islands = [{"nodes": 2, "bandwidth": "25 GB/s", "latency": "5 us"}, {"nodes": 2, "bandwidth": "12.5 GB/s"}]
    joined = {"bandwidth": "1.25 GB/s", "latency": "50 us", "islands": islands, "devices_per_node": 8}
    system = override_values(load_system("a100-80gb-sxm"), {"devices": 32, "network": joined})
    # Groups of 16 stay in an island; the slower island is what all wait for.
    slow = group_time(system, "all_gather", 1e9, Group(16))
    assert slow.wire_s == pytest.approx(15 / 16 * 1e9 / (8 * 12.5e9 * SHARE))
    assert len(reach_of(system, Group(16))) == 2
    across = group_time(system, "all_gather", 1e9, Group(32))
    assert across.wire_s == pytest.approx(31 / 32 * 1e9 / (8 * 1.25e9 * SHARE))
    assert send_time(system, 1e9, 16) == pytest.approx(1e9 / (1.25e9 * SHARE) + 50e-6)


def test_a_tensor_sent_to_another_node() -> None:
    assert send_time(cluster(16), 1e9, 8) == pytest.approx(1e9 / (25e9 * SHARE) + 14e-6)
    assert send_time(cluster(8), 1e9, 4) == pytest.approx(1e9 / (0.8 * 300e9) + 3.36e-6)


@pytest.mark.parametrize("group", [Group(128), Group(2, 64), Group(9, 8)])
def test_groups_beyond_the_devices(group: Group) -> None:
    with pytest.raises(InputError, match="at most 64 devices"):
        group_time(cluster(64), "all_gather", 1e6, group)


def test_devices_come_in_whole_nodes() -> None:
    with pytest.raises(InputError, match=r"devices: 12 devices in nodes of 8; expected 8 or 16"):
        cluster(12)


@settings(max_examples=60, deadline=None)
@given(
    kind=st.sampled_from(["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "broadcast"]),
    shape=st.sampled_from([(2, 1), (4, 2), (8, 1), (8, 8), (16, 4), (32, 2), (64, 1)]),
    size=st.floats(1e3, 1e10),
    faster=st.floats(1.0, 8.0),
)
def test_more_bandwidth_is_never_slower_and_bytes_never_faster(
    kind: str, shape: tuple[int, int], size: float, faster: float
) -> None:
    slow = cluster(64)
    fast = cluster(64, f"network.bandwidth={25 * faster} GB/s")
    group = Group(*shape)
    assert group_time(fast, kind, size, group).time_s <= group_time(slow, kind, size, group).time_s * (1 + 1e-12)
    assert group_time(slow, kind, 2 * size, group).time_s >= group_time(slow, kind, size, group).time_s
    if (group.size - 1) * group.stride >= 8 and kind not in ("all_to_all", "broadcast"):
        # What a node must take in comes over the adapters of its members.
        in_node, nodes = max(1, 8 // group.stride), group.size // max(1, 8 // group.stride)
        least = (2 if kind == "all_reduce" else 1) * (nodes - 1) / nodes * size / (in_node * 25e9)
        assert group_time(slow, kind, size, group).wire_s >= least
