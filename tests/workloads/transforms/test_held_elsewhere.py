"""Attention over keys and values that others hold: the same work and room, in two parts that are merged."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.errors import InputError
from workloads.models.catalogue import model
from workloads.models.lower import lower
from workloads.phases import Decode, Prefill
from workloads.transforms.held_elsewhere import AWAY, AWAY_CACHE, held_elsewhere

LLAMA = model("Llama-2-7B")


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 8), st.integers(2, 4000), st.floats(0.01, 0.99))
def test_work_and_room_stay(batch: int, context: int, share: float) -> None:
    whole = lower(LLAMA, Decode(batch, context))
    away = min(context - 1, max(1, int(share * context)))
    split = held_elsewhere(away)(whole)
    assert split.stored_bytes() == pytest.approx(whole.stored_bytes())
    assert split.total_work().contraction == pytest.approx(whole.total_work().contraction, rel=0.01)
    layer = next(layer for layer, _ in split.layers() if layer.name == "layer")
    sizes = {tensor.name: tensor.elements for tensor in layer.stored if tensor.role == "kv_cache"}
    assert sizes == {"kv_cache": batch * (context - away) * 8192, AWAY_CACHE: batch * away * 8192}
    by_name = {op.name: op for op in layer.ops}
    assert {o.stored for o in by_name[AWAY].operands if o.stored} == {AWAY_CACHE}
    assert set(by_name["attention_merge"].after) == {AWAY, "attention"}


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(InputError, match="64 tokens elsewhere of 64"):
        held_elsewhere(64)(lower(LLAMA, Decode(1, 64)))
    with pytest.raises(InputError, match="changes decode steps"):
        held_elsewhere(8)(lower(LLAMA, Prefill(1, 64)))
