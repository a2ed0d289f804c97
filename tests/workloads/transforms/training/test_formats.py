"""Products of a training step in other formats, and activations kept in others, by hand."""

from __future__ import annotations

import pytest

from hw.spec.load import load_system
from mappers.roofline import roofline_op
from workloads.errors import InputError
from workloads.models.catalogue import model
from workloads.models.lower import lower
from workloads.phases import Prefill, Train
from workloads.transforms.training.formats import (
    CASTS,
    PRODUCTS,
    Casts,
    fp8_training,
    mxfp4_backward,
    training_formats,
)
from workloads.workload import Layer, Op, Workload

TOKENS = 8192
STEP = lower(model("Llama-2-7B"), Train(4, 2048))
# A layer's products, inputs by outputs.
SHAPES = {"qkv": (4096, 12288), "output": (4096, 4096), "ffn_up": (4096, 22016), "ffn_down": (11008, 4096)}
WEIGHTS = sum(inner * outer for inner, outer in SHAPES.values())


def layer(workload: Workload, name: str) -> Layer:
    return next(layer for layer, _ in workload.layers() if layer.name == name)


def op(workload: Workload, layer_name: str, name: str) -> Op:
    return next(op for op in layer(workload, layer_name).ops if op.name == name)


def products_in(workload: Workload, form: str) -> float:
    return sum(
        count * op.work.contraction
        for layer, count in workload.layers()
        for op in layer.ops
        if op.kind == "gemm" and op.compute_format == form
    )


def test_nothing_changes_where_nothing_is_asked() -> None:
    assert training_formats(STEP) == STEP
    assert training_formats(STEP, "bf16", "bf16") == STEP


def test_products_of_each_pass_compute_in_their_format() -> None:
    """Two products backward for each forward: 2 T K N operations each; the head's stay as they are."""
    made = training_formats(STEP, "fp8", "mxfp4", 64)
    assert products_in(made, "fp8_e4m3") == 32 * 2 * TOKENS * WEIGHTS
    assert products_in(made, "fp4_e2m1") == 2 * 32 * 2 * TOKENS * WEIGHTS
    assert products_in(made, "bf16") == 3 * 2 * TOKENS * 4096 * 32000
    # More than half of all the step's products, as the paper has it (its abstract: > 1/2).
    assert products_in(made, "fp4_e2m1") / STEP.total_work().contraction > 0.5
    attention = [op(workload, "layer", "attention") for workload in (STEP, made)]
    assert attention[0] == attention[1]


def test_a_cast_reads_once_and_writes_the_narrower_bytes() -> None:
    made = training_formats(STEP, "", "mxfp4")
    cast = op(made, "layer_backward", "ffn_down_dgrad_a_quantise")
    elements = TOKENS * 4096
    assert cast.bytes("read") == 2 * elements
    assert cast.bytes("write") == elements * 4.25 / 8
    product = op(made, "layer_backward", "ffn_down_dgrad")
    assert product.bytes("read") == (elements + 11008 * 4096) * 4.25 / 8
    assert product.bytes("write") == op(STEP, "layer_backward", "ffn_down_dgrad").bytes("write")


def test_a_scale_for_the_tensor_serves_both_gradients_and_blocks_one() -> None:
    """Blocks lie along what is summed over: outputs for the input's gradient, tokens for the weights'."""

    def casts(form: str) -> int:
        ops = layer(training_formats(STEP, "", form), "layer_backward").ops
        return sum(op.cascade.name.startswith("quantise") for op in ops)

    # Of each of the four products: incoming gradient, weights and input; in blocks the gradient twice.
    assert casts("fp8") == 4 * 3
    assert casts("mxfp4") == 4 * 4


@pytest.mark.parametrize("block", [32, 64, 256])
def test_a_transform_is_a_small_product_for_every_operand(block: int) -> None:
    """2 g operations and a sign for each element of both operands of both gradients."""
    made = training_formats(STEP, "", "mxfp4", block)
    found = [op for op in layer(made, "layer_backward").ops if op.cascade.name == "hadamard"]
    inputs = sum(inner for inner, _ in SHAPES.values())
    outputs = sum(outer for _, outer in SHAPES.values())
    elements = TOKENS * (2 * outputs + inputs) + WEIGHTS
    assert sum(op.work.contraction for op in found) == pytest.approx(2 * block * elements, rel=1 / block)
    assert sum(op.work.other for op in found) == elements


@pytest.mark.parametrize("casts", CASTS)
def test_casts_within_products_move_nothing(casts: Casts) -> None:
    made = training_formats(STEP, "", "mxfp4", 64, casts)
    more = layer(made, "layer_backward").ops
    added = [op for op in more if op.cascade.name in ("hadamard", "quantise-blocks")]
    elements = TOKENS * (2 * sum(o for _, o in SHAPES.values()) + sum(i for i, _ in SHAPES.values())) + WEIGHTS
    moved = sum(op.bytes("read") + op.bytes("write") for op in added)
    # Apart: read, write, read again in 16 bits, write in 4.25; together: read once, write once.
    assert moved == pytest.approx({"apart": 6 + 4.25 / 8, "together": 2 + 4.25 / 8, "within": 0}[casts] * elements)
    assert sum(op.launched for op in added) == {"apart": 32, "together": 16, "within": 0}[casts]


def test_amdahl_over_products() -> None:
    """Products that arithmetic bounds take a quarter of the time where the engine is four times as fast."""
    system = load_system("b200-sxm")
    made = training_formats(STEP, "", "mxfp4", 0, "within")
    for name in ("ffn_up_dgrad", "ffn_up_wgrad", "qkv_wgrad"):
        before, after = (roofline_op(op(w, "layer_backward", name), system) for w in (STEP, made))
        assert after.compute_s == pytest.approx(before.compute_s * 2250 / 9000)


def test_activations_kept_in_eight_bits() -> None:
    """By hand per token, h = 4096, 11008 channels: 9 bits with a scale for 16, 8 bits without, attention's in 16."""
    kept = 2 * 4096 * 9 / 8 + 2 * 4096 + 22016 * 9 / 8 + 11008  # sums, norms, halves, their product
    kept += 2 * 4 * 4096 + 4 * (32 + 2)  # queries, keys, values and result; log-sums and scales of rows
    made = fp8_training(STEP)
    assert made.stored_bytes("activations") == pytest.approx(32 * TOKENS * kept)
    # What is kept in the products' own format is not cast again.
    names = {op.name for op in layer(made, "layer").ops}
    assert "qkv_a_quantise" not in names
    assert "output_a_quantise" in names


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="mxfp4"):
        training_formats(STEP, "mxfp5")
    with pytest.raises(InputError, match="power of two"):
        mxfp4_backward(STEP, 48)
    with pytest.raises(InputError, match="train"):
        fp8_training(lower(model("Llama-2-7B"), Prefill(1, 128)))
    assert set(PRODUCTS) >= {"bf16", "fp8", "mxfp4"}
