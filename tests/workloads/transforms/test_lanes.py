"""Lanes and cuts do the same work on the same tensors, in another order."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import models, phases
from workloads.errors import InputError
from workloads.models.architecture import Model
from workloads.models.catalogue import model
from workloads.models.lower import lower
from workloads.phases import Decode, Phase, Prefill
from workloads.transforms.lanes import Lanes, cut_after, in_lanes
from workloads.workload import Op, Workload


def executions(workload: Workload) -> Counter[tuple[str, tuple[tuple[str, int], ...]]]:
    """How often each cascade with its sizes is executed."""
    found: Counter[tuple[str, tuple[tuple[str, int], ...]]] = Counter()
    for layer, count in workload.layers():
        for op in layer.ops:
            found[op.cascade.name, op.sizes] += count
    return found


def stored(workload: Workload) -> float:
    return sum(count * tensor.bytes for layer, count in workload.layers() for tensor in layer.stored)


@settings(max_examples=80, deadline=None)
@given(models(), phases())
def test_a_cut_keeps_steps_bytes_and_roles(small: Model, phase: Phase) -> None:
    workload = lower(small, phase)
    cut = cut_after(workload, "attention")
    assert executions(cut) == executions(workload)
    assert cut.stored_bytes() == pytest.approx(workload.stored_bytes(), rel=1e-12)
    for role in ("embedding", "kv_cache", "feed_forward", "experts"):
        assert cut.stored_bytes(role) == pytest.approx(workload.stored_bytes(role), rel=1e-12)
    layers = [layer for run in cut.runs for layer in run.pattern * run.count]
    assert all(layer.ops[-1].kind == "attention" for layer in layers[:-1])
    assert all("attention" not in {op.kind for op in layer.ops[:-1]} for layer in layers)


@settings(max_examples=80, deadline=None)
@given(models(), phases(), st.integers(1, 3), st.booleans())
def test_lanes_share_weights_and_keep_their_own_caches(small: Model, phase: Phase, count: int, cut: bool) -> None:
    """All lanes together execute each operation ``count`` times, and bring weights in once."""
    one = lower(small, phase)
    one = cut_after(one, "attention") if cut else one
    lanes = in_lanes(one, count)
    assert executions(lanes) == Counter({key: count * times for key, times in executions(one).items()})
    assert lanes.stored_bytes("kv_cache") == pytest.approx(count * one.stored_bytes("kv_cache"), rel=1e-12)
    assert lanes.stored_bytes("attention") == one.stored_bytes("attention")
    for layer, _ in lanes.layers():
        roles = {tensor.name: tensor.role for tensor in layer.stored}
        brought = [o.stored for op in layer.ops for o in layer.from_storage(op) if roles[o.stored or ""] == "attention"]
        whole = [tensor.name for tensor in layer.stored if tensor.role == "attention"]
        assert Counter(brought) <= Counter(whole)
        for op in layer.ops:
            assert all(waited.endswith(f"/{op.lane}") for waited in op.after) or count == 1


def test_the_layers_of_a_cut_model_written_out() -> None:
    """From one attention to the next: the output projection first, the next layer's attention last."""
    cut = cut_after(lower(model("Llama-3.1-8B"), Decode(4, 512)), "attention")
    (first, middle, last), counts = zip(*cut.layers(), strict=True)
    assert counts == (1, 31, 1)
    assert [step.name for step in first.steps] == ["embed", "attention_norm", "qkv", "cache_append", "attention"]
    assert [step.name for step in middle.steps] == [
        "output", "ffn_norm", "ffn_up", "ffn_activated", "ffn_down", "attention_norm", "qkv", "cache_append",
        "attention",
    ]  # fmt: skip
    assert [step.name for step in last.steps] == [
        "output", "ffn_norm", "ffn_up", "ffn_activated", "ffn_down", "final_norm", "logits",
    ]  # fmt: skip
    assert middle.steps[0].after == ()
    assert middle.steps[5].after == ("ffn_down",)


@pytest.mark.parametrize("name", ["T5-base", "GPT-J-6B", "gemma-2-9b", "DeepSeek-V3"])
def test_other_shapes_of_models_are_cut(name: str) -> None:
    for phase in (Decode(2, 64), Prefill(2, 64)):
        whole = lower(model(name), phase)
        cut = cut_after(whole, "attention")
        assert executions(cut) == executions(whole)
        assert stored(cut) == pytest.approx(stored(whole), rel=1e-12)
        names = [layer.name for layer, _ in cut.layers()]
        for layer, other in zip(cut.layers(), list(cut.layers())[1:], strict=False):
            assert layer[0] is other[0] or layer[0].name != other[0].name, names


def test_tied_embeddings_stay_tied() -> None:
    cut = cut_after(lower(model("GPT-2"), Decode(2, 64)), "attention")
    (head,) = (tensor for layer, _ in cut.layers() for tensor in layer.stored if tensor.name == "head_weight")
    assert head.shared_with == "embedding+layer.token_embedding"


def test_batches_that_do_not_split_are_refused() -> None:
    def make(phase: Phase) -> Workload:
        return lower(model("GPT-2"), phase)

    with pytest.raises(InputError, match="a batch of 5 cannot be split into 2 equal lanes; expected a multiple of 2"):
        Lanes(2).split(make, Decode(5, 64))
    with pytest.raises(InputError, match="0 lanes"):
        Lanes(0)
    with pytest.raises(InputError, match="no operation of kind 'convolution'"):
        Lanes(2, "convolution").split(make, Decode(4, 64))
    assert Lanes().split(make, Decode(5, 64)) == make(Decode(5, 64))
    halves = Lanes(2).split(make, Decode(6, 64))
    assert halves.phase.batch == 3
    assert all(isinstance(step, Op) for layer, _ in halves.layers() for step in layer.steps)
