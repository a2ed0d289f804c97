"""The step's time in closed form against the same schedule played layer by layer."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappers.planner.swap.timeline import StepTimes


def played(times: StepTimes) -> float:
    """The schedule as it is told: three streams, each doing one thing at a time, and who waits for whom."""
    last = times.layers - times.kept_layers
    compute = out = into = 0.0
    offloaded: dict[int, float] = {}
    for layer in range(times.layers):
        start = max(compute, offloaded.get(layer - 2, 0.0))
        compute = start + times.forward_s
        if layer < last and times.offload_s:
            out = max(out, compute) + times.offload_s
            offloaded[layer] = out
    compute += times.rest_s
    fetched: dict[int, float] = {}
    for layer in reversed(range(times.layers)):
        if layer < last:
            compute = max(compute, fetched.get(layer, 0.0)) + times.recompute_s
        compute += times.backward_s
        if 0 <= layer - 2 < last and times.fetch_s:
            into = max(into, compute) + times.fetch_s
            fetched[layer - 2] = into
    return compute


seconds = st.floats(0, 10)


@settings(max_examples=300, deadline=None)
@given(
    layers=st.integers(1, 12), forward=seconds, backward=seconds, again=seconds, offload=seconds, fetch=seconds,
    rest=seconds,
)  # fmt: skip
def test_two_buffers(
    layers: int, forward: float, backward: float, again: float, offload: float, fetch: float, rest: float
) -> None:
    times = StepTimes(layers, forward, backward, again, offload, fetch, rest, min(2, layers))
    assert times.step_s == pytest.approx(played(times), abs=1e-9)


@given(layers=st.integers(1, 12), kept=st.integers(0, 1), again=seconds)
def test_nothing_moves(layers: int, kept: int, again: float) -> None:
    times = StepTimes(layers, 1.0, 2.0, again, 0.0, 0.0, 3.0, kept)
    assert times.step_s == pytest.approx(3 + 3 * layers + (layers - kept) * again)
    assert times.step_s == pytest.approx(played(times))


def test_by_hand() -> None:
    # Four layers of 1 and 2 seconds, two of them offloaded in 3: each holds up the layer after the next by 2.
    slow = StepTimes(4, 1, 2, 0, 3, 2, 0, 2)
    assert (slow.forward_stall_s, slow.backward_stall_s, slow.step_s) == (4, 0, 16)
    # Fetched in 5: the first begins when one of two kept layers is done, the second when the first is there.
    late = StepTimes(4, 1, 2, 0, 1, 5, 0, 2)
    assert (late.forward_stall_s, late.backward_stall_s) == (0, 6)
    # A recomputation of 1 beside each hides a second of every fetch but the first.
    assert StepTimes(4, 1, 2, 1, 1, 3, 0, 2).backward_stall_s == 1
