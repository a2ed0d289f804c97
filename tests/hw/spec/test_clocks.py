"""Engines at another clock: rates go with it, memories do not."""

from __future__ import annotations

import pytest

from hw.spec.clocks import at_clock
from hw.spec.load import load_system
from workloads.errors import InputError


def test_engines_slow_down_and_memories_do_not() -> None:
    before = load_system("h100-sxm")
    after = at_clock(before, 0.5)
    assert after.engines["tensor"].throughput("bf16") == 989.4e12 / 2
    assert after.engines["vector"].clock_hz == 1.83e9 / 2
    assert after.tiers == before.tiers
    assert after.fabric == before.fabric
    assert at_clock(before, 1.0) == before


@pytest.mark.parametrize("share", [0.0, -1.0, float("nan"), float("inf")])
def test_a_clock_is_above_zero(share: float) -> None:
    with pytest.raises(InputError, match="clock"):
        at_clock(load_system("h100-sxm"), share)
