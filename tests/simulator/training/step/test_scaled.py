"""Passes with kernels that take other times."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.spec.load import load_system
from simulator.training.step.scaled import scaled
from simulator.training.step.setup import Setup
from simulator.training.step.simulate import prepare_step, simulate_step
from tests.simulator.training.small_models import small
from workloads.phases import Train

SYSTEM = load_system("a100-80gb-sxm")
SETUP = Setup(small(3), Train(2, 64), 4)
PREPARED = prepare_step(SETUP, SYSTEM)


@given(st.floats(0.25, 8.0))
@settings(max_examples=15, deadline=None)
def test_all_kernels_alike_scale_the_step(factor: float) -> None:
    """On one device there is nothing but kernels; the updates are scaled with them."""
    plain = simulate_step(SETUP, SYSTEM, prepared=PREPARED).latency_s
    found = simulate_step(SETUP, SYSTEM, prepared=scaled(PREPARED, lambda _: factor, SYSTEM)).latency_s
    assert found == pytest.approx(factor * plain)


def test_one_class_adds_its_own_time() -> None:
    def twice(kind: str) -> float:
        changed = scaled(PREPARED, lambda op: 2.0 if op.op.kind == kind else 1.0, SYSTEM)
        return simulate_step(SETUP, SYSTEM, prepared=changed).latency_s

    plain = simulate_step(SETUP, SYSTEM, prepared=PREPARED).latency_s
    kinds = {op.kind for layer, _ in PREPARED.mapped.workload.layers() for op in layer.ops}
    # Doubling each class by itself adds every kernel's time once.
    assert sum(twice(kind) - plain for kind in kinds) == pytest.approx(plain)
    assert twice("attention") > plain
