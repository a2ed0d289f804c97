"""Closed-form FLOPs against hand-made sums and against counting pairs one by one."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from workloads.models import Attention, attended_pairs, forward_flops, kv_elements_per_token, model, parameters

small = st.integers(0, 40)


def _pairs_one_by_one(queries: int, context: int, window: int | None) -> int:
    return sum(
        1
        for query in range(context, context + queries)
        for key in range(query + 1)
        if window is None or key > query - window
    )


@given(st.integers(1, 40), small, st.none() | st.integers(1, 50))
def test_causal_pairs_match_counting_them(queries: int, context: int, window: int | None) -> None:
    attention = Attention(1, 1, 1, window=window)
    assert attended_pairs(attention, queries, context) == _pairs_one_by_one(queries, context, window)


@given(st.integers(1, 40), small, st.none() | st.integers(1, 50))
def test_skipping_masked_pairs_never_adds_work(queries: int, context: int, window: int | None) -> None:
    attention = Attention(1, 1, 1, window=window)
    everything = attended_pairs(attention, queries, context, skip_masked=False)
    assert attended_pairs(attention, queries, context) <= everything
    if queries == 1:
        assert attended_pairs(attention, queries, context) == everything


def test_llama_2_7b_decode() -> None:
    """One token after 1,023: every matrix once, and 1,024 keys and values in each of 32 heads and layers."""
    matrices = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11_008) + 4096 * 32_000
    attention = 32 * 32 * 128 * 1024 * 2
    assert forward_flops(model("Llama-2-7B"), 1, 1, 1023) == 2 * (matrices + attention)


def test_llama_2_7b_prefill_with_one_token_scored() -> None:
    layers = 32 * (4 * 4096 * 4096 + 3 * 4096 * 11_008)
    attention = 32 * 32 * 128 * 2 * (512 * 513 // 2)
    expected = 2 * (3 * (512 * layers + attention) + 3 * 4096 * 32_000)
    assert forward_flops(model("Llama-2-7B"), 3, 512, logit_tokens=1) == expected


def test_mixture_computes_chosen_experts_and_router() -> None:
    layers = 32 * (2 * 4096 * 4096 + 2 * 4096 * 1024 + 2 * 3 * 4096 * 14_336 + 8 * 4096)
    attention = 32 * 32 * 128 * 2
    assert forward_flops(model("Mixtral-8x7B"), 1, 1) == 2 * (layers + attention + 4096 * 32_000)


def test_absorbed_and_expanded_latents() -> None:
    """Absorbed: 512 + 64 and 512 products per pair and head; expanded: 192 and 128, and the cache expanded anew."""
    deepseek, context = model("DeepSeek-V2-Lite"), 1000
    difference = forward_flops(deepseek, 1, 1, context) - forward_flops(deepseek, 1, 1, context, absorb=True)
    per_pair = 16 * ((128 + 64 + 128) - (512 + 64 + 512))
    assert difference == 2 * 27 * (context * 512 * 16 * (128 + 128) + (context + 1) * per_pair)


def test_encoder_runs_once_and_its_keys_are_kept() -> None:
    t5 = model("T5-base")
    first = forward_flops(t5, 1, 1, 0, encoder_tokens=100)
    later = forward_flops(t5, 1, 1, 1, encoder_tokens=100)
    square, wide = 768 * 768, 2 * 768 * 3072
    encoder = 12 * (100 * (4 * square + wide) + 2 * 768 * 100 * 100)
    kept = 12 * 100 * 2 * square
    # The later step attends to one token more in the decoder's own cache.
    assert first - later == 2 * (encoder + kept - 12 * 2 * 768)


def test_bert_attends_both_ways_and_pools_one_token() -> None:
    square = 768 * 768
    layers = 12 * (128 * 12 * square + 2 * 768 * 128 * 128)
    assert forward_flops(model("BERT-base"), 2, 128) == 2 * 2 * (layers + square)


def test_narrow_embedding_is_projected_both_ways() -> None:
    layers = 24 * (4 * 1024 * 1024 + 2 * 1024 * 4096 + 2 * 1024)
    assert forward_flops(model("OPT-350M"), 1, 1) == 2 * (layers + 2 * 512 * 1024 + 50_272 * 512)


def test_adaptive_head_and_relative_attention() -> None:
    tables = 20_000 * 1024 + 20_000 * 256 + 160_000 * 64 + 67_735 * 16
    head = tables + 1024 * (1024 + 256 + 64 + 16) + 3 * 1024
    layers = 18 * (4 * 1024 * 1024 + 2 * 1024 * 4096 + 3 * 1024)
    assert forward_flops(model("Transformer-XL"), 1, 1) == 2 * (1024 * 1024 + layers + head)


@given(st.sampled_from(("Llama-3.2-1B", "gpt-oss-20b", "Qwen1.5-MoE-A2.7B", "Falcon-7B")), st.integers(1, 64), small)
def test_batch_scales_and_context_only_adds(name: str, batch: int, context: int) -> None:
    found = model(name)
    assert forward_flops(found, batch, 7, context) == batch * forward_flops(found, 1, 7, context)
    assert forward_flops(found, 1, 7, context) <= forward_flops(found, 1, 7, context + 1)


def test_tokens_one_by_one_take_as_many_flops_as_all_at_once() -> None:
    for name in ("Llama-3.1-8B", "gpt-oss-20b", "Mistral-7B", "GPT-2"):
        found = model(name)
        steps = sum(forward_flops(found, 1, 1, context) for context in range(300))
        assert steps == forward_flops(found, 1, 300)


def test_short_decode_is_close_to_two_flops_per_active_parameter() -> None:
    """The rule of thumb, which leaves the input embedding out, within 1 % where tables and norms are small."""
    for name in ("Llama-3.1-70B", "Mixtral-8x7B", "Qwen3-235B-A22B", "OPT-175B"):
        found = model(name)
        count = parameters(found)
        used = count.active - (0 if found.tied_embeddings else count.embedding)
        assert abs(forward_flops(found, 1, 1) / (2 * used) - 1) < 0.01
        assert kv_elements_per_token(found) > 0
