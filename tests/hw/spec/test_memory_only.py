"""Machines cut down to their devices' memory."""

from __future__ import annotations

import pytest

from hw.spec.load import load_system
from hw.spec.memory_only import memory_only
from simulator.road import simulate
from workloads.errors import InfeasibleError
from workloads.models import model
from workloads.phases import Decode


def test_what_spilled_does_not_fit_any_more() -> None:
    whole = load_system("rtx-4090")
    alone = memory_only(whole)
    assert set(alone.tiers) == {"gddr", "l2"}
    assert {engine.home for engine in alone.engines.values()} == {"gddr"}
    assert simulate(model("Llama-3.1-70B"), Decode(1, 128), whole).latency_s > 0
    with pytest.raises(InfeasibleError):
        simulate(model("Llama-3.1-70B"), Decode(1, 128), alone)


def test_what_fits_is_as_before() -> None:
    whole = load_system("h100-sxm")
    found = [
        simulate(model("Llama-3.1-8B"), Decode(4, 512), system).latency_s for system in (whole, memory_only(whole))
    ]
    assert found[0] == found[1]
