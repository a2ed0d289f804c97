"""Weights that are multiplied out first, and rows that a predictor picks, by hand."""

from __future__ import annotations

import pytest

from workloads.errors import InputError
from workloads.models.catalogue import model
from workloads.models.lower import lower
from workloads.phases import Decode
from workloads.transforms.weights import active_rows, quantised_weights, sparse_feed_forward
from workloads.workload import Layer, Op, Workload

STEP = lower(model("OPT-6.7B"), Decode(1, 128))  # 4096 wide, 16384 rows in the feed-forward


def block(workload: Workload) -> Layer:
    return next(layer for layer, _ in workload.layers() if layer.name == "layer")


def op(workload: Workload, name: str) -> Op:
    return next(op for op in block(workload).ops if op.name == name)


def test_weights_are_read_narrow_and_written_wide() -> None:
    made = quantised_weights(STEP, "int4_g128")
    making, product = op(made, "ffn_up_dequantise"), op(made, "ffn_up")
    elements = 4096 * 16384
    assert making.bytes("read") == elements * (4 + 20 / 128) / 8
    assert making.bytes("write") == 2 * elements
    assert making.work.total == elements
    assert product.work == op(STEP, "ffn_up").work
    assert product.bytes("read") == op(STEP, "ffn_up").bytes("read")
    assert product.after == ("ffn_up_dequantise",)
    assert made.stored_bytes("feed_forward") == 32 * 2 * elements * (4 + 20 / 128) / 8


def test_the_rows_that_a_batch_needs() -> None:
    """One token in ten rows needs a tenth; two tokens 1 - 0.9 ** 2; never more than all."""
    assert [active_rows(0.1, tokens, 16384) for tokens in (1, 2)] == [1639, 3113]
    assert active_rows(0.1, 1000, 16384) == 16384
    assert active_rows(1.0, 1, 16384) == 16384


def test_a_sparse_feed_forward_with_its_predictor() -> None:
    """LLM in a flash: rank 128 for OPT-6.7B and a tenth of the rows."""
    made = sparse_feed_forward(STEP, 0.1, 128)
    rows = 1639
    assert op(made, "ffn_up").work.contraction == 2 * 4096 * rows
    assert op(made, "ffn_down").work.contraction == 2 * 4096 * rows
    assert op(made, "ffn_predict_down").work.contraction == 2 * 4096 * 128
    assert op(made, "ffn_predict").work.contraction == 2 * 128 * 16384
    read = sum(o.elements for o in op(made, "ffn_up").operands if o.stored == "ffn_up_weight")
    assert read == pytest.approx(4096 * rows)
    assert op(made, "ffn_up").after == ("ffn_predict",)
    extra = made.stored_bytes("feed_forward") - STEP.stored_bytes("feed_forward")
    assert extra == 32 * 2 * 128 * (4096 + 16384)


def test_what_has_no_dense_feed_forward_is_refused() -> None:
    with pytest.raises(InputError, match="no dense feed-forward; expected a dense model"):
        sparse_feed_forward(lower(model("Mixtral-8x7B"), Decode(1, 16)), 0.1, 64)
    with pytest.raises(InputError, match="a predictor of rank 0; expected at least 1"):
        sparse_feed_forward(STEP, 0.1, 0)
