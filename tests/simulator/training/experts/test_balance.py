"""Experts on a cluster: against sending every device's rows in turn, by hand, and in the limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.training.experts.balance import (
    Cluster,
    Gather,
    LayerCosts,
    best_everywhere,
    dispatch,
    dispatch_golden,
    exchange_time,
    layer_times,
)
from simulator.training.experts.placement import (
    balanced_placement,
    even_placement,
    hottest,
    replicated_placement,
    sharded_placement,
    with_everywhere,
)
from workloads.errors import InputError

FREE = LayerCosts(0.0, 1.0, 2.0)


def cluster(nodes: int, per_node: int, adapters: int = 1) -> Cluster:
    return Cluster(nodes, per_node, adapters, 10.0, 100.0)


@st.composite
def cases(draw: st.DrawFn) -> tuple[Cluster, np.ndarray, np.ndarray]:
    found = cluster(draw(st.integers(1, 4)), draw(st.sampled_from([1, 2, 4])))
    experts = found.devices * draw(st.integers(1, 3))
    random = np.random.default_rng(draw(st.integers(0, 999)))
    loads = random.pareto(1.2, experts) * 100
    held = random.random((experts, found.devices)) < draw(st.sampled_from([0.0, 0.2, 0.7]))
    held[np.arange(experts), random.integers(0, found.devices, experts)] = True
    return found, loads, held


@settings(max_examples=60, deadline=None)
@given(case=cases(), near=st.booleans())
def test_dispatch_against_its_golden_twin(case: tuple[Cluster, np.ndarray, np.ndarray], near: bool) -> None:
    found, loads, held = case
    ours, golden = dispatch(loads, held, found, near=near), dispatch_golden(loads, held, found, near=near)
    for name in ("computed", "sent_within", "received_within", "sent_across", "received_across"):
        np.testing.assert_allclose(getattr(ours, name), getattr(golden, name), rtol=1e-9, atol=1e-9)
    # Every row is computed once, and what is sent arrives.
    assert ours.computed.sum() == pytest.approx(loads.sum())
    assert ours.sent_within.sum() == pytest.approx(ours.received_within.sum())
    assert ours.sent_across.sum() == pytest.approx(ours.received_across.sum())


@settings(max_examples=40, deadline=None)
@given(case=cases())
def test_a_larger_budget_is_never_slower_where_transfers_are_free(
    case: tuple[Cluster, np.ndarray, np.ndarray],
) -> None:
    """No expert everywhere is expert parallelism, every expert everywhere an even load without an exchange."""
    found, loads, _ = case
    even = even_placement(len(loads), found.devices)
    before = np.inf
    for budget in range(len(loads) + 1):
        count = best_everywhere(loads, even, found, FREE, budget)
        times = layer_times(loads, with_everywhere(even, hottest(loads, count)), found, FREE)
        assert times.total_s <= before * (1 + 1e-9)
        before = float(times.total_s)
        if budget == 0:
            per_device = loads.reshape(found.devices, -1).sum(1)
            assert times.compute_s == pytest.approx(3 * per_device.max())
    assert before == pytest.approx(3 * loads.sum() / found.devices)
    whole = dispatch(loads, np.ones_like(even), found)
    assert not whole.sent_within.any()
    assert not whole.sent_across.any()


@settings(max_examples=40, deadline=None)
@given(case=cases(), slots=st.integers(1, 3))
def test_placements_hold_every_expert(case: tuple[Cluster, np.ndarray, np.ndarray], slots: int) -> None:
    found, loads, _ = case
    each = len(loads) // found.devices
    balanced = balanced_placement(loads, found.devices)
    assert (balanced.sum(-1) == 1).all()
    assert (balanced.sum(-2) == each).all()
    layers = np.stack([loads, loads[::-1], loads])
    sharded = sharded_placement(layers, found.devices, 2)
    assert (sharded.sum(-1) == 1).all()
    assert (sharded.sum((0, 1)) == 3 * each).all()
    replicated = replicated_placement(loads, found.devices, slots * each)
    assert replicated.sum(-1).min() >= 1
    assert replicated.sum(-2).max() <= slots * each
    if slots == 1:
        assert (replicated.sum(-1) == 1).all()


def test_rows_by_hand() -> None:
    """Two nodes of two devices, four experts of 8, 4, 4, 0 tokens, one on each device: a quarter starts everywhere."""
    found, loads = cluster(2, 2), np.array([8.0, 4.0, 4.0, 0.0])
    rows = dispatch(loads, even_placement(4, 4), found)
    np.testing.assert_allclose(rows.computed, [8, 4, 4, 0])
    # Device 0 gets a quarter of 8 from its neighbour and two from the other node.
    np.testing.assert_allclose(rows.received_within, [2, 1, 1, 0])
    np.testing.assert_allclose(rows.received_across, [4, 2, 2, 0])
    np.testing.assert_allclose(rows.sent_across, [1, 1, 3, 3])
    # The first node's adapter gets 6 rows of 5 bytes at 10 a second; a device 2 rows at 100.
    assert exchange_time(rows, 5.0, found) == pytest.approx(3.0)
    # With an adapter for each device the second node's, which sends 3, is slower than none that receives 4.
    assert exchange_time(rows, 5.0, cluster(2, 2, 2)) == pytest.approx(2.0)
    # The hottest everywhere: each computes its 2; what is left is of experts 1 and 2.
    rows = dispatch(loads, with_everywhere(even_placement(4, 4), hottest(loads, 1)), found)
    np.testing.assert_allclose(rows.computed, [2, 6, 6, 2])
    np.testing.assert_allclose(rows.received_across, [0, 2, 2, 0])


def test_a_replica_in_the_node_spares_the_adapter() -> None:
    found, loads = cluster(2, 2), np.array([8.0, 0.0, 0.0, 0.0])
    held = even_placement(4, 4)
    held[0, 2] = True
    assert exchange_time(dispatch(loads, held, found), 1.0, found) == pytest.approx(2 / 100)
    assert exchange_time(dispatch(loads, held, found, near=False), 1.0, found) == pytest.approx(2 / 10)


def test_shadows_pay_for_themselves_or_are_not_made() -> None:
    found, loads = cluster(2, 2), np.array([80.0, 4.0, 4.0, 0.0])
    even = even_placement(4, 4)
    assert best_everywhere(loads, even, found, FREE, 4) >= 1
    assert best_everywhere(loads, even, found, FREE, 4, lambda count: 1e6 * count) == 0
    # The hottest alone: 20 + 4 instead of 80 rows of 3 s, for a wait of less than that.
    assert best_everywhere(loads, even, found, FREE, 4, lambda count: 160.0 * count) == 1


def test_gathers() -> None:
    """A call of 1 s and 2 s an expert."""
    assert Gather(1.0, 2.0).time_s(3) == 7.0
    assert Gather(1.0, 2.0).time_s(0) == 0.0


def test_neighbours_on_one_adapter_share_the_load() -> None:
    """Four hot experts on two nodes of four: two for each adapter, where by device alone all go to the first node."""
    loads = np.array([9.0, 9.0, 9.0, 9.0, 1.0, 1.0, 1.0, 1.0])
    alone, together = (balanced_placement(loads, 8, of_adapter) for of_adapter in (1, 4))
    assert (loads @ alone).reshape(2, 4).sum(1).tolist() == [36.0, 4.0]
    assert (loads @ together).reshape(2, 4).sum(1).tolist() == [20.0, 20.0]


def test_balanced_by_load_beats_the_order_of_numbers() -> None:
    """Hot experts side by side: 10, 9, 1, 0 over two devices are 19 and 1 in order, 10 and 10 by load."""
    loads = np.array([10.0, 9.0, 1.0, 0.0])
    found = cluster(1, 2)
    assert dispatch(loads, even_placement(4, 2), found).computed.max() == 19
    assert dispatch(loads, balanced_placement(loads, 2), found).computed.max() == 10


def test_errors() -> None:
    with pytest.raises(InputError, match="on no device"):
        dispatch(np.ones(2), np.zeros((2, 2), dtype=bool), cluster(1, 2))
    with pytest.raises(InputError, match="7 experts over 2"):
        even_placement(7, 2)
    with pytest.raises(InputError, match="3 adapters"):
        Cluster(1, 8, 3, 1.0, 1.0)


@settings(max_examples=30, deadline=None)
@given(case=cases(), wait=st.floats(0, 30))
def test_the_best_count_is_the_best_of_all_tried(case: tuple[Cluster, np.ndarray, np.ndarray], wait: float) -> None:
    """Up to eight experts every count is tried: the one found takes least time, placed and dispatched in full."""
    found, loads, held = case
    costs = LayerCosts(3.0, 1.0, 2.0)
    most = min(8, len(loads))
    count = best_everywhere(loads, held, found, costs, most, lambda n: n * wait)

    def time_s(n: int) -> float:
        return float(layer_times(loads, with_everywhere(held, hottest(loads, n)), found, costs).total_s) + n * wait

    assert time_s(int(count)) == pytest.approx(min(time_s(n) for n in range(most + 1)))


def test_replicas_move_no_more_than_their_numbers_change() -> None:
    """Sixteen slots for eight experts: a tenth more load on one expert moves little, another hot expert some slots."""
    random = np.random.default_rng(5)
    loads = random.pareto(1.2, (2, 8)) * 100
    before = replicated_placement(loads, 4, 4)
    same = replicated_placement(loads, 4, 4, 1, before)
    assert (same == before).all()
    other = loads.copy()
    other[:, 3] *= 5
    after = replicated_placement(other, 4, 4, 1, before)
    assert (after.sum(-2) <= 4).all()
    assert after.sum(-1).min() >= 1
    grown, shrunk = (after & ~before).sum(), (before & ~after).sum()
    assert grown <= np.abs(after.sum(-1) - before.sum(-1)).sum()
    assert shrunk <= np.abs(after.sum(-1) - before.sum(-1)).sum()
