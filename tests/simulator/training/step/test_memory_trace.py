"""Requests of a step: everything is given back, and peaks lie between what must stand and the inventory."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.spec.load import load_system, override
from simulator.training.step.layout import Parallel
from simulator.training.step.memory_trace import trace_memory
from simulator.training.step.pieces import pieces_of
from simulator.training.step.setup import Setup, lowered
from simulator.training.step.simulate import simulate_step
from tests.simulator.training.small_models import small
from workloads.errors import InputError
from workloads.phases import Train


@settings(max_examples=25, deadline=None)
@given(
    shape=st.sampled_from([(1, 1, 1), (2, 1, 1), (1, 4, 1), (1, 1, 4), (2, 2, 2)]),
    zero=st.integers(0, 3),
    reshard=st.booleans(),
    micro=st.integers(1, 5),
    checkpoint=st.sampled_from(["none", "selective", "full"]),
    prefetch=st.integers(0, 3),
)
def test_between_what_stands_and_the_inventory(
    shape: tuple[int, int, int], zero: int, reshard: bool, micro: int, checkpoint: str, prefetch: int
) -> None:
    tensor, pipeline, data = shape
    parallel = Parallel(tensor, pipeline, data, zero=zero, reshard=reshard)
    phase = Train(1, 64, checkpoint)  # type: ignore[arg-type]
    setup = Setup(small(8), phase, micro * data, parallel, prefetch=prefetch)
    system = override(load_system("a100-80gb-sxm"), (f"devices={parallel.devices}",))
    result, pieces = simulate_step(setup, system), pieces_of(lowered(setup))
    for stage, memory in enumerate(result.memory):
        trace = trace_memory(setup, pieces, result.run, stage)
        stands = memory.weights + memory.gradients + memory.optimizer
        assert trace.peak_bytes <= memory.total + len(trace.requests)  # sizes are whole bytes
        assert trace.peak_bytes >= stands + memory.activations * 0.5
        left = stands if setup.parallel.reshard else stands + memory.gathered
        assert trace.held_bytes[-1] == pytest.approx(left, abs=8)
        assert (trace.times_s[1:] >= trace.times_s[:-1]).all()
        assert trace.cached().reserved_bytes >= trace.peak_bytes


def test_activations_that_leave_are_not_traced() -> None:
    setup = Setup(small(4), Train(1, 64), 1, activations="ddr")
    result = simulate_step(setup, load_system("a100-80gb-sxm"))
    with pytest.raises(InputError, match="activations that stay"):
        trace_memory(setup, pieces_of(lowered(setup)), result.run, 0)
