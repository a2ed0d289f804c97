"""Exchanges beside products, rounds of attention, and copies around what is sharded."""

from __future__ import annotations

import pytest

from workloads.models.architecture import Attention, Block, FeedForward, Model
from workloads.models.lower import lower
from workloads.phases import Train
from workloads.transforms.training.async_exchanges import async_exchanges
from workloads.transforms.training.context_parallel import context_parallel
from workloads.transforms.training.context_rounds import context_rounds
from workloads.transforms.training.products_apart import products_apart
from workloads.transforms.training.sequence_parallel import sequence_parallel
from workloads.transforms.training.sharded_copies import sharded_copies
from workloads.workload import Collective, Layer, Workload

T, H, F, HEADS, KV, WIDTH = 32, 64, 96, 4, 2, 16
BLOCK = Block(Attention(HEADS, KV, WIDTH), FeedForward(F, True, "silu"), "rms")
SMALL = Model("small", "llama", H, 100, (BLOCK,), (0, 0, 0), False)
QUERIES = T * HEADS * WIDTH


def lowered(checkpoint: str = "none", devices: int = 1) -> Workload:
    return lower(SMALL, Train(1, T, checkpoint, "logits", 1, "fp32"), devices=devices)  # type: ignore[arg-type]


def layer(workload: Workload, name: str) -> Layer:
    return next(each for each, _ in workload.layers() if each.name == name)


def exchanged(layer: Layer) -> float:
    return sum(step.elements for step in layer.steps if isinstance(step, Collective))


@pytest.mark.parametrize("checkpoint", ["none", "full"])
def test_asynchronous_exchanges_move_as_much_and_wait_for_less(checkpoint: str) -> None:
    """A product waits for the first of two parts of what it reads; of what it makes the last part follows it."""
    before = sequence_parallel(products_apart(lowered(checkpoint, 2)))
    after = async_exchanges(before)
    for name in ("layer", "layer_backward"):
        assert exchanged(layer(after, name)) == pytest.approx(exchanged(layer(before, name)))
    steps = {step.name: step for step in layer(after, "layer").steps}
    gathers = [n for n, s in steps.items() if isinstance(s, Collective) and s.kind == "all_gather"]
    first = next(name for name in gathers if name.endswith("_first"))
    assert first in steps["qkv_q"].after
    assert first.removesuffix("_first") not in steps["qkv_q"].after
    assert first.removesuffix("_first") in steps["cache_append"].after
    scatters = [s for s in steps.values() if isinstance(s, Collective) and s.kind == "reduce_scatter"]
    assert {"output", "ffn_down"} <= {name for step in scatters for name in step.after}
    assert len(scatters) == 4


def test_alone_nothing_is_asynchronous() -> None:
    assert async_exchanges(lowered()) == lowered()


@pytest.mark.parametrize("devices", [2, 4])
def test_rounds_of_attention(devices: int) -> None:
    """Keys and values of all query heads are gathered; each of the other rounds packs 2+2 bytes twice, widens 2+4, and
    merges 4+4+4, 4+4 and 4+4+4 for every element, and as many sums as rows weigh. Backward: packs 2+2 twice, adds
    4+2+4 three times and packs 4+4 twice; gradients go round in 32 bits, all but a round's beside the attention."""
    base = context_parallel(lowered(), devices=devices, exchange="gather")
    after = context_rounds(base)
    others = devices - 1
    for name, step, each in (
        ("layer", "attention", 8 + 6 + 12 + 8 + 12),
        ("layer_backward", "attention_grad", 8 + 10 + 20 + 16),
    ):
        before, found = layer(base, name), layer(after, name)
        added = [op for op in found.ops if op.name not in {o.name for o in before.ops}]
        assert sum(op.bytes("read") + op.bytes("write") for op in added) == others * QUERIES * each
        gathers = [
            next(s for s in each.steps if s.name == f"{step}_keys_values" and isinstance(s, Collective))
            for each in (before, found)
        ]
        assert gathers[1].elements == HEADS // KV * gathers[0].elements
    backward = {step.name: step for step in layer(after, "layer_backward").steps}
    last, first = (backward[f"attention_grad_keys_values_grads{end}"] for end in ("", "_first"))
    assert isinstance(last, Collective)
    assert isinstance(first, Collective)
    assert last.format == first.format == "fp32"
    assert first.elements == pytest.approx(others * last.elements)
    assert "attention_grad" not in first.after


def test_without_context_parallelism_there_are_no_rounds() -> None:
    assert context_rounds(lowered()) == lowered()


def test_copies_of_weights_and_gradients() -> None:
    """Weights in 16 bits read and written before each pass; gradients read in 16 and written in 32 bits after it."""
    before, after = lowered(), sharded_copies(lowered())
    many = sum(t.elements for t in layer(before, "layer").stored if t.role in ("attention", "feed_forward", "norm"))
    ops = {op.name: op for op in layer(after, "layer_backward").ops}
    assert ops["gathered_copy"].bytes("read") + ops["gathered_copy"].bytes("write") == 4 * many
    assert ops["gradient_copy"].bytes("read") + ops["gradient_copy"].bytes("write") == 6 * many
    assert layer(after, "layer").ops[0].name == "gathered_copy"
    wgrad = next(o for o in ops["ffn_down_wgrad"].operands if o.access == "write")
    assert wgrad.format == "bf16"
    assert layer(after, "layer_update") == layer(before, "layer_update")
