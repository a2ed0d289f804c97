"""States handed from device to device: closed forms of the waves, and an obvious event loop."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.training.sequences.relay import RelayPass, relay_finish_s
from workloads.errors import InputError

SECONDS = st.floats(0.0, 2.0)
PASS = st.builds(RelayPass, SECONDS, SECONDS, SECONDS, st.booleans())


def by_names(passes: list[RelayPass], hops: list[float]) -> list[float]:
    """Each device's each pass by recursion on what it waits for."""
    count = len(hops) + 1

    def exchanged(number: int, device: int) -> float:
        each = passes[number]
        before = device + 1 if each.backward else device - 1
        came = 0.0
        if 0 <= before < count:
            came = exchanged(number, before) + hops[min(before, device)]
        return max(finished(number - 1, device) + each.before_s, came) + each.with_s

    def finished(number: int, device: int) -> float:
        return 0.0 if number < 0 else exchanged(number, device) + passes[number].after_s

    return [finished(len(passes) - 1, device) for device in range(count)]


@settings(max_examples=40, deadline=None)
@given(passes=st.lists(PASS, min_size=1, max_size=4), hops=st.lists(SECONDS, max_size=3))
def test_as_by_names(passes: list[RelayPass], hops: list[float]) -> None:
    found = relay_finish_s(passes, hops)
    np.testing.assert_allclose(found, by_names(passes, hops), rtol=1e-12)
    alone = sum(p.before_s + p.with_s + p.after_s for p in passes)
    assert (found >= alone - 1e-9).all()


def test_one_wave_is_waited_for() -> None:
    """Of 10 equal layers on 5 devices the last is late by 4 messages and what stands at them, once and not 10 times."""
    found = relay_finish_s([RelayPass(3.0, 1.0, 2.0)] * 10, [0.5] * 4)
    np.testing.assert_allclose(found, 10 * 6.0 + 1.5 * np.arange(5))


def test_together_every_wave_is_waited_for() -> None:
    found = relay_finish_s([RelayPass(3.0, 1.0, 2.0, together=True)] * 10, [0.5] * 4)
    np.testing.assert_allclose(found, 10 * (6.0 + 4 * 1.5))


def test_there_and_back() -> None:
    """The first device waits for the last, which has waited for it."""
    found = relay_finish_s([RelayPass(1.0, 1.0, 1.0), RelayPass(1.0, 1.0, 1.0, backward=True)], [1.0] * 3)
    assert found[-1] == 3.0 + 3 * 2.0 + 3.0
    assert found[0] == found[-1] + 3 * 2.0


def test_one_device_waits_for_nothing() -> None:
    assert relay_finish_s([RelayPass(1.0, 2.0, 3.0)] * 2, []) == [12.0]


def test_errors() -> None:
    with pytest.raises(InputError, match="negative"):
        relay_finish_s([RelayPass(-1.0, 0.0, 0.0)], [0.0])
