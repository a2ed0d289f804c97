"""Operations of a training step at the mappers' fidelities."""

from __future__ import annotations

import pytest

from hw.spec.load import load_system
from mappers.kernels.op import kernel_op
from mappers.map_workload import UNSEARCHED, map_workload
from mappers.roofline import roofline_op, roofline_workload
from workloads.models.catalogue import model
from workloads.models.lower import lower
from workloads.phases import Train
from workloads.workload import Op, Workload


def op_called(workload: Workload, layer: str, name: str) -> Op:
    return next(op for found, _ in workload.layers() for op in found.ops if (found.name, op.name) == (layer, name))


def test_gradients_of_attention_run_at_their_part_of_the_forward_kernels_rate() -> None:
    """Five products where forward has two, at 63 % of the peak where forward attains 73 %; causal both."""
    step = lower(model("llama-3-8b"), Train(1, 8192))
    system = load_system("a100-80gb-sxm")
    forward = kernel_op(op_called(step, "layer", "attention"), system)
    backward = kernel_op(op_called(step, "layer_backward", "attention_grad"), system)
    assert backward.compute_s == pytest.approx(2.5 * 73 / 63 * forward.compute_s)
    assert backward.compute_s >= roofline_op(backward.op, system).compute_s


def test_no_fidelity_is_below_the_roofline_and_all_operations_have_a_model() -> None:
    step = lower(model("llama-3.2-1b"), Train(1, 1024, loss="cut"))
    system = load_system("a100-80gb-sxm")
    roofline = roofline_workload(step, system)
    for fidelity in ("mapped", "kernel"):
        found = map_workload(step, system, fidelity=fidelity)
        for name, layer in found.layers.items():
            for op, mapped in layer.ops.items():
                least = roofline.layers[name].ops[op]
                assert mapped.compute_s >= least.compute_s * (1 - 1e-9), (fidelity, name, op)
                assert mapped.port_s >= least.port_s * (1 - 1e-9), (fidelity, name, op)
        kept = dict(found.at_roofline)
        if fidelity == "mapped":
            assert set(kept["one kernel of many products"]) == {
                "head.loss", "head.loss_grad", "layer_backward.attention_grad",
            }  # fmt: skip
        else:
            assert kept == {"no kernel of kind 'loss' is known": ("head.loss", "head.loss_grad")}


def test_what_is_not_searched_is_in_the_library() -> None:
    from workloads.cascades import cascade_names

    assert set(cascade_names()) >= UNSEARCHED


def test_the_home_does_not_follow_the_optimizer() -> None:
    from mappers.assign import assign_roles

    step = lower(model("llama-3.2-1b"), Train(1, 64))
    assign = assign_roles({"optimizer": "cpu"})
    assert roofline_workload(step, load_system("h100-xeon"), assign).home == "hbm"
