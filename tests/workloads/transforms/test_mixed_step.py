"""A decode step with prompts does the work of both, over weights that are read once."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.errors import InputError
from workloads.models.catalogue import model
from workloads.models.lower import lower
from workloads.models.lower_feed_forward import ExpertShare
from workloads.phases import Decode, Prefill
from workloads.transforms.mixed_step import PROMPTS, with_prompts

MODEL = model("Mixtral-8x7B")


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 50), st.integers(1, 500), st.integers(1, 5), st.integers(1, 200))
def test_the_work_is_that_of_both(batch: int, context: int, prompts: int, tokens: int) -> None:
    decode, read = lower(MODEL, Decode(batch, context)), lower(MODEL, Prefill(prompts, tokens))
    mixed = with_prompts(MODEL, prompts, tokens)(decode)
    both = decode.total_work().contraction + read.total_work().contraction
    assert mixed.total_work().contraction == pytest.approx(both, rel=1e-9)
    assert mixed.stored_bytes() == decode.stored_bytes()


def test_attention_stands_twice_and_its_readers_wait_for_both() -> None:
    mixed = with_prompts(MODEL, 2, 100)(lower(MODEL, Decode(8, 64)))
    layer = next(layer for layer, _ in mixed.layers() if layer.name == "layer")
    by_name = {op.name: op for op in layer.ops}
    assert set(by_name["output"].after) == {"attention", PROMPTS}
    # All 208 tokens' rows reach the projection, as two activations that are made apart.
    rows = {o.activation: o.elements for o in by_name["output"].operands if o.symbol == "A"}
    assert rows == {"attended": 200 * 4096, "attended_decodes": 8 * 4096}
    read = {o.symbol: o.elements for o in by_name["attention"].operands if o.access == "read"}
    assert read["K"] == 8 * 64 * 1024
    # The head scores the last token of each.
    head = next(layer for layer, _ in mixed.layers() if layer.name == "head")
    assert dict(head.ops[-1].sizes)["m"] == 10


def test_divided_experts_stay_divided() -> None:
    """Of 208 tokens' two experts each, a device of four with equal parts of the experts has 104 rows."""
    share = ExpertShare(4)
    step = lower(MODEL, Decode(8, 64), devices=4, experts=share)
    mixed = with_prompts(MODEL, 2, 100, experts=share)(step)
    layer = next(layer for layer, _ in mixed.layers() if layer.name == "layer")
    assert {dict(op.sizes)["m"] for op in layer.ops if op.kind == "grouped_gemm"} == {208 * 2 // 4}
    assert mixed.stored_bytes() == step.stored_bytes()


def test_only_decode_steps_take_prompts_along() -> None:
    with pytest.raises(InputError, match="prompts in prefill"):
        with_prompts(MODEL, 1, 8)(lower(MODEL, Prefill(1, 8)))
