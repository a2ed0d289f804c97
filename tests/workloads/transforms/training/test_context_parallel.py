"""Context parallelism: the devices' work adds up to the undivided one's, and exchanges have closed forms."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.errors import InputError
from workloads.models.architecture import Attention, Block, FeedForward, Model
from workloads.models.catalogue import model
from workloads.models.lower import lower
from workloads.phases import Checkpoint, Prefill, Train
from workloads.transforms.training.context_parallel import Exchange, context_parallel
from workloads.transforms.training.sequence_parallel import sequence_parallel
from workloads.workload import Collective, Layer, Op, Workload

HEADS, SIZE = 8, 8
HIDDEN = HEADS * SIZE


def llama(kv_heads: int = HEADS) -> Model:
    block = Block(Attention(HEADS, kv_heads, SIZE), FeedForward(96, gated=True, activation="silu"), "rms")
    return Model("llama", "llama", HIDDEN, 96, (block,), (0,) * 2, tied_embeddings=False)


def layer_of(workload: Workload, name: str) -> Layer:
    return next(layer for layer, _ in workload.layers() if layer.name == name)


def exchanges(workload: Workload, name: str) -> dict[str, tuple[str, float]]:
    steps = layer_of(workload, name).steps
    return {step.name: (step.kind, step.elements) for step in steps if isinstance(step, Collective) and step.devices}


EXCHANGES = st.sampled_from(["ring", "gather", "ulysses"])


@given(
    devices=st.sampled_from([2, 4, 8]),
    share=st.sampled_from([2, 6, 16]),
    batch=st.integers(1, 2),
    exchange=EXCHANGES,
    checkpoint=st.sampled_from(["none", "selective", "full"]),
)
@settings(max_examples=25, deadline=None)
def test_work_adds_up(devices: int, share: int, batch: int, exchange: Exchange, checkpoint: Checkpoint) -> None:
    """All but the update, which every device does whole."""
    whole = lower(llama(), Train(batch, devices * share, checkpoint))
    found = context_parallel(lower(llama(), Train(batch, share, checkpoint)), devices=devices, exchange=exchange)
    for (layer, _), (own, _) in zip(whole.layers(), found.layers(), strict=True):
        for op, mine in zip(layer.ops, own.ops, strict=True):
            if op.kind == "optimizer":
                assert mine.work == op.work
                continue
            assert devices * mine.work.contraction == pytest.approx(op.work.contraction, rel=1e-12)
            assert devices * mine.work.other == pytest.approx(op.work.other, rel=1e-12)


@given(devices=st.sampled_from([2, 4]), kv_heads=st.sampled_from([4, 8]), exchange=EXCHANGES)
@settings(max_examples=10, deadline=None)
def test_elements_exchanged(devices: int, kv_heads: int, exchange: Exchange) -> None:
    """Keys and values of s tokens go round, and round again backward with their gradients; or queries too, by heads."""
    batch, share = 2, 16
    phase = Train(batch, share)
    found = context_parallel(lower(llama(kv_heads), phase), devices=devices, stride=4, exchange=exchange)
    forward, backward = exchanges(found, "layer"), exchanges(found, "layer_backward")
    keys = 2 * batch * share * kv_heads * SIZE
    queries = batch * share * HIDDEN
    if exchange == "ulysses":
        assert forward == {
            "attention_to_heads": ("all_to_all", queries + keys),
            "attention_to_tokens": ("all_to_all", queries),
        }
        assert backward == {
            "attention_grad_to_heads": ("all_to_all", queries),
            "attention_grad_to_tokens": ("all_to_all", queries + keys),
        }
    else:
        gather, scatter = ("ring_pass", "ring_pass") if exchange == "ring" else ("all_gather", "reduce_scatter")
        assert forward == {"attention_keys_values": (gather, devices * keys)}
        assert backward == {
            "attention_grad_keys_values": (gather, devices * keys),
            "attention_grad_keys_values_grads": (scatter, devices * keys),
        }
    steps = [step for layer, _ in found.layers() for step in layer.steps if isinstance(step, Collective)]
    assert {(step.devices, step.stride) for step in steps} == {(devices, 4)}
    assert found.stored_bytes("activations") == lower(llama(kv_heads), phase).stored_bytes("activations")


def waits(workload: Workload, layer: str) -> dict[str, set[str]]:
    return {step.name: set(step.after) for step in layer_of(workload, layer).steps}


def test_a_ring_works_beside_attention() -> None:
    found = context_parallel(lower(llama(), Train(1, 8)), devices=2)
    forward, backward = waits(found, "layer"), waits(found, "layer_backward")
    assert forward["attention"] == forward["attention_keys_values"] == {"cache_append"}
    assert forward["output"] == {"attention", "attention_keys_values"}
    ends = {"attention_grad", "attention_grad_keys_values", "attention_grad_keys_values_grads"}
    assert backward["attention_grad"] == backward["attention_grad_keys_values_grads"] == {"output_wgrad"}
    assert backward["cache_append_grad"] == ends


@pytest.mark.parametrize("exchange", ["gather", "ulysses"])
def test_others_stand_before_and_after(exchange: Exchange) -> None:
    found = context_parallel(lower(llama(), Train(1, 8)), devices=2, exchange=exchange)
    forward, backward = waits(found, "layer"), waits(found, "layer_backward")
    first, last = ("keys_values", "keys_values_grads") if exchange == "gather" else ("to_heads", "to_tokens")
    assert forward["attention"] == {f"attention_{first}"}
    assert forward["output"] == ({"attention"} if exchange == "gather" else {"attention_to_tokens"})
    assert backward["attention_grad"] == {f"attention_grad_{first}"}
    assert backward["cache_append_grad"] == {f"attention_grad_{last}"}


def test_what_runs_again_is_by_heads_already() -> None:
    """Selective checkpoints keep queries, keys and values as attention took them; full ones make them again."""
    for checkpoint, many in (("selective", 0), ("full", 2)):
        found = context_parallel(lower(llama(), Train(1, 8, checkpoint)), devices=2, exchange="ulysses")  # type: ignore[arg-type]
        names = exchanges(found, "layer_backward")
        assert len([name for name in names if name.startswith("attention_again")]) == many


def test_all_keys_are_read() -> None:
    found = context_parallel(lower(llama(4), Train(1, 8)), devices=4, exchange="gather")
    op = next(op for op in layer_of(found, "layer").ops if op.kind == "attention")
    assert {o.symbol: o.elements for o in op.operands if o.symbol in "QKV"} == {
        "Q": 8 * HIDDEN, "K": 32 * 4 * SIZE, "V": 32 * 4 * SIZE,
    }  # fmt: skip


@pytest.mark.parametrize("exchange", ["ring", "gather", "ulysses"])
def test_with_sequence_parallelism_in_either_order(exchange: Exchange) -> None:
    """The one changes attention, the other what lies between products."""
    before = lower(llama(), Train(2, 16), devices=4)
    first = sequence_parallel(context_parallel(before, devices=2, stride=4, exchange=exchange))
    second = context_parallel(sequence_parallel(before), devices=2, stride=4, exchange=exchange)
    assert first == second


def test_one_device() -> None:
    found = lower(llama(), Train(1, 8))
    assert context_parallel(found, devices=1) is found


def test_errors() -> None:
    with pytest.raises(InputError, match=r"8 key-value heads .* 3 devices"):
        context_parallel(lower(llama(), Train(1, 8)), devices=3, exchange="ulysses")
    with pytest.raises(InputError, match="equal pieces"):
        context_parallel(lower(llama(), Train(1, 7)), devices=2)
    with pytest.raises(InputError, match="prefill"):
        context_parallel(lower(llama(), Prefill(1, 8)), devices=2)
    with pytest.raises(InputError, match="ring"):
        context_parallel(lower(llama(), Train(1, 8)), devices=2, exchange="rings")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="window"):
        context_parallel(lower(model("mistral-7b"), Train(1, 8192)), devices=2)


def test_operations_keep_their_sizes_elsewhere() -> None:
    before = lower(llama(), Train(1, 8))
    found = context_parallel(before, devices=2)
    for (layer, _), (own, _) in zip(before.layers(), found.layers(), strict=True):
        for op, mine in zip(layer.ops, own.ops, strict=True):
            if op.kind != "attention":
                assert (mine.sizes, mine.operands) == (op.sizes, op.operands)
            assert isinstance(mine, Op)
