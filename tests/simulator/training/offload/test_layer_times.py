"""Layers on their own: the sum of their operations, by hand where products alone count."""

from __future__ import annotations

import pytest

from hw.spec.load import load_system
from mappers.roofline import roofline_op
from simulator.training.offload.layer_times import layer_times
from workloads.models.catalogue import model
from workloads.models.lower import lower
from workloads.phases import Train

STEP = lower(model("Llama-2-7B"), Train(2, 2048))
H100 = load_system("h100-sxm")


def test_a_layer_is_the_sum_of_its_operations() -> None:
    times = layer_times(STEP, H100, fidelity="roofline")
    for layer, _ in STEP.layers():
        assert times[layer.name] == pytest.approx(sum(roofline_op(op, H100).time_s for op in layer.ops))


def test_products_bound_it_and_kernels_are_slower() -> None:
    """Llama-2-7B's layer has 4 h^2 + 3 h w weights: 2 T of each operations forward, twice that backward."""
    products = 2 * 4096 * (4 * 4096**2 + 3 * 4096 * 11_008) / 989e12
    bound, kernels = (layer_times(STEP, H100, fidelity=fidelity) for fidelity in ("roofline", "kernel"))
    assert products < bound["layer"] < 1.5 * products
    assert 2 * products < bound["layer_backward"] < 3 * products
    assert all(kernels[name] >= bound[name] for name in bound)
