"""Systems that balance experts: who beats whom, what costs what, and the limits in which all are expert parallelism."""

from __future__ import annotations

import numpy as np
import pytest

from hw.spec.load import load_system, override_values
from simulator.training.experts.balance import Cluster, Gather, LayerCosts, cluster_of, gather_of
from simulator.training.experts.systems import SYSTEMS, Rules, SystemTimes, run_system
from workloads.errors import InputError
from workloads.traces.expert_loads import synthetic_loads

CLUSTER = Cluster(2, 4, 1, 10e9, 100e9)
COSTS = LayerCosts(2048.0, 1e-7, 2e-7, 1e-3, 2e-3)
GATHER = Gather(1e-5, 1e-4)
STATE_BYTES = 8e6


def trace(skew: float, drift: float = 0.2, layers: int = 3) -> np.ndarray:
    return synthetic_loads(
        iterations=60, layers=layers, experts=32, tokens=64_000, top_k=2, skew=skew, drift=drift, memory=20
    )


RULES = Rules(window=5, place_every=20, replicate_every=10, samples=4)


def run(name: str, skew: float = 1.0, gather: Gather = GATHER, rules: Rules = RULES, drift: float = 0.2) -> SystemTimes:
    return run_system(name, trace(skew, drift), CLUSTER, COSTS, gather, STATE_BYTES, rules)


def test_skewed_loads_are_slower_and_every_system_helps() -> None:
    assert run("ep", 0.0, drift=0.0).layer_s.sum() < run("ep", 0.7).layer_s.sum() < run("ep", 1.4).layer_s.sum()
    even = run("ep").layer_s.sum()
    for name in ("fastermoe", "smartmoe", "flexmoe", "hecate"):
        assert run(name).layer_s.sum() < even, name


def test_even_loads_leave_nothing_to_gain() -> None:
    """Where every expert gets as much, EP is as good as can be without replicas, and nothing is waited for."""
    even = run("ep", 0.0, drift=0.0)
    assert np.ptp(even.compute_s) == 0
    assert even.compute_s[0, 0] == pytest.approx(2 * 64_000 / 8 * 3e-7)
    for name in ("smartmoe", "sharding"):
        assert run(name, 0.0, drift=0.0).layer_s.sum() == pytest.approx(even.layer_s.sum())


def test_shards_without_materialising_are_a_budget_of_none() -> None:
    none = run("hecate", rules=Rules(window=5, place_every=20, samples=4, most_everywhere=0))
    np.testing.assert_allclose(none.layer_s, run("sharding").layer_s)
    assert not none.everywhere.any()


def test_what_hides_is_not_waited_for() -> None:
    """Free transfers: all hot experts come. Those longer than the other work of a layer are waited for by the rest."""
    free = run("hecate", gather=Gather(0.0, 0.0))
    assert not free.exposed_s.any()
    slow = run("hecate", gather=Gather(0.0, 4e-4))
    waited = np.maximum(0, 4e-4 * slow.everywhere - 1e-3) + np.maximum(0, 4e-4 * slow.everywhere - 2e-3)
    np.testing.assert_allclose(slow.exposed_s, waited)
    np.testing.assert_allclose(slow.transfers_s, 2 * 4e-4 * slow.everywhere)
    assert slow.layer_s.sum() >= free.layer_s.sum()
    dear = run("hecate", gather=Gather(0.0, 1.0))
    assert not dear.everywhere.any()


def test_bringing_experts_again_costs_a_third_transfer() -> None:
    once, again = run("hecate", gather=Gather(0.0, 1e-6)), run("hecate-rm", gather=Gather(0.0, 1e-6))
    np.testing.assert_array_equal(once.everywhere, again.everywhere)
    np.testing.assert_allclose(again.transfers_s, 1.5 * once.transfers_s)
    assert run("hecate-rm").layer_s.sum() >= run("hecate").layer_s.sum() * (1 - 1e-9)


def test_shadows_are_sent_one_by_one_and_waited_for() -> None:
    found = run("fastermoe", gather=Gather(3e-6, 2e-6))
    assert found.everywhere.any()
    np.testing.assert_allclose(found.exposed_s, 2 * 5e-6 * found.everywhere)


def test_replicas_hold_their_states() -> None:
    assert run("flexmoe").slots == 2
    wide = run("flexmoe", rules=Rules(window=5, place_every=20, replicate_every=10, samples=4, replica_slots=4))
    assert wide.slots == 4
    assert wide.exchange_s.sum() < run("flexmoe").exchange_s.sum()


def test_old_placements_are_worse() -> None:
    """Loads that wander leave a placement behind: the longer ago, the slower."""
    often, seldom = (
        run("smartmoe", drift=1.0, rules=Rules(window=5, place_every=every, samples=20)) for every in (5, 40)
    )
    assert (often.exchange_s + often.compute_s).mean() < (seldom.exchange_s + seldom.compute_s).mean()
    assert often.moves_s.mean() > seldom.moves_s.mean()


def test_of_a_machine() -> None:
    """Four nodes of DGX A100: 25 GB/s for each device, an adapter for each; one expert of 25 MB takes 1/8 of 1 ms.

    An all-gather sends (n-1)/n of it through the eight adapters of a node; headers take under a hundredth.
    """
    system = override_values(load_system("a100-40gb-sxm"), {"devices": 32})
    found = cluster_of(system, 8)
    assert (found.nodes, found.devices_per_node, found.of_adapter) == (4, 8, 1)
    assert found.adapter_bytes_per_s == pytest.approx(25e9, rel=0.01)
    assert found.fabric_bytes_per_s == 300e9
    assert gather_of(system, 25e6).expert_s == pytest.approx(31 / 32 * 25e6 / 200e9, rel=0.01)


def test_errors() -> None:
    with pytest.raises(InputError, match="unknown system"):
        run("fastmoe")
    with pytest.raises(InputError, match="60 iterations"):
        run("ep", rules=Rules(place_every=60))
    with pytest.raises(InputError):
        Rules(samples=0)
    assert set(SYSTEMS) >= {"ep", "hecate", "hecate-rm"}
