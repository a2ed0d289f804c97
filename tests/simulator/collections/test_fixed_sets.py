"""Caches that never change."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.collections.hit_rates import fixed_curve, rate_at
from workloads.traces import RoutingStream, synthetic_routing


def test_a_sequence_on_paper() -> None:
    # Layer 0 always picks 2; layer 1 picks 0 1 1 3. Of eight uses the four, then the two, then one and one.
    picks = np.zeros((4, 2, 1, 1), dtype=np.int64)
    picks[:, 0, 0, 0] = 2
    picks[:, 1, 0, 0] = [0, 1, 1, 3]
    assert fixed_curve(RoutingStream(picks, 4)) * 8 == pytest.approx([4, 6, 7, 8, 8, 8, 8, 8])


def test_each_sequence_has_a_set_of_its_own() -> None:
    picks = np.zeros((5, 1, 2, 1), dtype=np.int64)
    picks[:, 0, 1, 0] = 3
    assert rate_at(fixed_curve(RoutingStream(picks, 4)), 1, [1.0]) == [1.0]


def test_uniform_routes_hit_as_often_as_slots_allow() -> None:
    curve = fixed_curve(synthetic_routing(steps=4000, layers=1, batch=1, experts=16, top_k=2, seed=5))
    # Two of sixteen: s slots hold s/16, and a little more for having been chosen afterwards.
    assert rate_at(curve, 2, [1, 2, 3]) == pytest.approx([2 / 16, 4 / 16, 6 / 16], abs=0.02)
