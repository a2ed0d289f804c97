"""Lowering against counts that are derived from the architecture by other means."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.strategies import models, phases
from workloads.errors import InputError
from workloads.formats import FormatChoice
from workloads.models.architecture import Model
from workloads.models.catalogue import model, model_names
from workloads.models.config import read_model as parse_mapping
from workloads.models.counts import kv_bytes_per_token, parameters, weight_bytes
from workloads.models.flops import forward_flops
from workloads.models.lower import lower, repeating_runs
from workloads.models.lower_feed_forward import expected_distinct_experts
from workloads.phases import Decode, Phase, Prefill
from workloads.workload import Collective


@pytest.mark.parametrize("name", model_names())
def test_a_workload_stores_every_parameter_of_the_model_once(name: str) -> None:
    lowered = lower(model(name), Prefill(1, 16))
    stored = sum(
        count * tensor.elements
        for layer, count in lowered.layers()
        for tensor in layer.stored
        if tensor.role != "kv_cache" and tensor.shared_with is None
    )
    assert stored == parameters(model(name)).total
    weights = lowered.stored_bytes() - lowered.stored_bytes("kv_cache")
    assert weights == pytest.approx(weight_bytes(model(name)), rel=1e-6)


@pytest.mark.parametrize(
    "name", ["Llama-2-7B", "Llama-3.1-8B", "Mixtral-8x7B", "Qwen3-30B-A3B", "Falcon-7B", "OPT-13B"]
)
@pytest.mark.parametrize("phase", [Prefill(2, 512), Decode(3, 700)])
def test_contractions_are_the_closed_form_of_the_architecture(name: str, phase: Phase) -> None:
    before = 0 if isinstance(phase, Prefill) else phase.context - 1
    expected = forward_flops(model(name), phase.batch, phase.query_tokens, before, logit_tokens=1)
    work = lower(model(name), phase).total_work()
    # The 1-pass cascade's contractions are QK and the numerator times V, which the closed form counts too.
    assert work.contraction == pytest.approx(expected, rel=1e-3)


@pytest.mark.parametrize(
    ("name", "per_token"),
    [
        ("Llama-2-7B", 2 * 32 * 128 * 2 * 32),
        ("Llama-3.1-8B", 2 * 8 * 128 * 2 * 32),
        ("Falcon-7B", 2 * 1 * 64 * 2 * 32),
        ("DeepSeek-V3", (512 + 64) * 2 * 61),
    ],
)
def test_the_cache_grows_by_the_bytes_of_one_token(name: str, per_token: int) -> None:
    formats = FormatChoice()
    short, long = (lower(model(name), Decode(5, tokens), formats).stored_bytes("kv_cache") for tokens in (1000, 1001))
    assert long - short == 5 * per_token == 5 * kv_bytes_per_token(model(name), "bf16")


def test_a_window_limits_what_is_kept_and_read() -> None:
    windowed = model("Mistral-7B")
    at_window, beyond = (lower(windowed, Decode(1, tokens)).stored_bytes("kv_cache") for tokens in (4096, 9000))
    assert at_window == beyond == 4096 * 131072
    assert lower(windowed, Decode(1, 9000)).touched_bytes("read") == lower(windowed, Decode(1, 4096)).touched_bytes(
        "read"
    )


@settings(max_examples=100, deadline=None)
@given(models(), phases())
def test_splitting_over_devices_divides_the_matrix_work(small: Model, phase: Phase) -> None:
    if any(block.attention.kv_heads % 2 for block in small.blocks):
        return  # a single KV head is replicated, not split
    whole, half = lower(small, phase), lower(small, phase, devices=2)
    replicated = 0.0
    for layer, count in half.layers():
        for op in layer.ops:
            if op.name in ("router", "shared_gate", "kv_down", "q_down", "combine"):
                replicated += count * op.work.contraction
    assert 2 * (half.total_work().contraction - replicated) + replicated == pytest.approx(
        whole.total_work().contraction, rel=1e-9
    )
    reductions = [step for layer, _ in half.layers() for step in layer.steps if isinstance(step, Collective)]
    assert reductions
    assert not any(isinstance(step, Collective) for layer, _ in whole.layers() for step in layer.steps)


@given(st.lists(st.integers(0, 2), max_size=40))
def test_runs_spell_the_order_out_again(order: list[int]) -> None:
    runs = repeating_runs(order)
    assert [index for pattern, count in runs for index in pattern * count] == order


def test_alternating_layers_are_one_run() -> None:
    runs = [run for run in lower(model("Gemma-2-9B"), Decode(1, 8192)).runs if len(run.pattern) == 2]
    assert [run.count for run in runs] == [21]


def test_narrow_weights_save_bytes_and_leave_the_operations() -> None:
    wide = lower(model("Llama-3.1-8B"), Decode(1, 128), FormatChoice())
    narrow = lower(model("Llama-3.1-8B"), Decode(1, 128), FormatChoice(weights="int4_g128"))
    assert narrow.total_work() == wide.total_work()
    # 4 bits and 20 bits of scale and zero point for 128 weights, against 16 bits.
    ratio = narrow.stored_bytes("feed_forward") / wide.stored_bytes("feed_forward")
    assert ratio == (4 + 20 / 128) / 16
    assert narrow.stored_bytes("embedding") == wide.stored_bytes("embedding")


@given(st.integers(1, 64), st.integers(1, 200), st.data())
def test_distinct_experts_lie_between_one_token_and_all(experts: int, tokens: int, data: st.DataObject) -> None:
    top_k = data.draw(st.integers(1, experts))
    touched = expected_distinct_experts(experts, top_k, tokens)
    assert top_k * (1 - 1e-12) <= touched <= experts
    assert expected_distinct_experts(experts, top_k, 1) == pytest.approx(top_k)


def test_positions_beyond_the_table_are_refused() -> None:
    with pytest.raises(
        InputError, match="GPT-2 has positions for 1024 tokens, not 1025; expected at most 1024"
    ) as caught:
        lower(model("GPT-2"), Prefill(1, 1025))
    assert caught.value.field == "context"


@pytest.mark.parametrize("batch", [0, -1, True])
def test_a_batch_is_a_whole_number_of_at_least_one(batch: int) -> None:
    with pytest.raises(InputError, match="expected a whole number of at least 1") as caught:
        Decode(batch, 16)
    assert caught.value.field == "batch"


def test_an_activation_without_a_cascade_is_refused() -> None:
    config = {"architectures": ["LlamaForCausalLM"], "hidden_act": "relu2", "hidden_size": 64, "intermediate_size": 128}
    config |= {"num_hidden_layers": 2, "num_attention_heads": 4, "vocab_size": 100}
    with pytest.raises(InputError, match="unknown gated activation 'relu2'"):
        lower(parse_mapping(config), Prefill(1, 16))
