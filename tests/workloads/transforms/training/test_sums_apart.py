"""Residual sums beside layer norms: what they move, by hand."""

from __future__ import annotations

from workloads.models.architecture import Attention, Block, FeedForward, Model
from workloads.models.lower import lower
from workloads.phases import Train
from workloads.transforms.training.sums_apart import sums_apart
from workloads.workload import Layer, Workload

HIDDEN, TOKENS = 64, 32
_BLOCK = Block(Attention(8, 8, 8, rotary=False), FeedForward(256, gated=False, activation="gelu"), "layer")
STEP = lower(Model("gpt", "gpt", HIDDEN, 96, (_BLOCK,), (0, 0), tied_embeddings=False), Train(2, TOKENS // 2))
ROW = HIDDEN * TOKENS


def layer_of(workload: Workload, name: str) -> Layer:
    return next(layer for layer, _ in workload.layers() if layer.name == name)


def moved(workload: Workload, layer: str, prefix: str) -> float:
    """Bytes of whole rows that steps called ``prefix`` move, 4 bytes a statistic and 2 a gain left out."""
    ops = [op for op in layer_of(workload, layer).ops if op.name.startswith(prefix)]
    return sum(o.bytes for op in ops for o in op.operands if o.elements == ROW)


def test_a_sum_apart_is_written_and_read_once_more() -> None:
    """Fused: two rows read, sum and norm written. Apart the norm reads the sum: a row of 2 bytes more."""
    assert moved(STEP, "layer", "ffn_norm") == 8 * ROW
    assert moved(sums_apart(STEP), "layer", "ffn_norm") == 10 * ROW
    assert moved(sums_apart(STEP, dropout=True), "layer", "ffn_norm") == 11 * ROW


def test_backward_the_gradients_are_added_apart() -> None:
    """Fused: three rows read, one written. Apart the norm's own gradient is written and read; dropout reads the
    sum and its mask and writes a row."""
    assert moved(STEP, "layer_backward", "ffn_norm_grad") == 8 * ROW
    assert moved(sums_apart(STEP), "layer_backward", "ffn_norm_grad") == 12 * ROW
    assert moved(sums_apart(STEP, dropout=True), "layer_backward", "ffn_norm_grad") == 17 * ROW


def test_each_sum_keeps_a_mask_of_a_byte_an_element() -> None:
    def kept(workload: Workload) -> float:
        return sum(t.bytes for t in layer_of(workload, "layer").stored if t.role == "activations")

    assert kept(sums_apart(STEP)) == kept(STEP)
    assert kept(sums_apart(STEP, dropout=True)) == kept(STEP) + 2 * ROW


def test_work_of_products_is_untouched() -> None:
    def work(workload: Workload) -> float:
        return sum(count * op.work.contraction for layer, count in workload.layers() for op in layer.ops)

    assert work(sums_apart(STEP, dropout=True)) == work(STEP)
