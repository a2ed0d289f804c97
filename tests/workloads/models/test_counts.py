"""Parameter counts taken apart: parts worked out by hand, stored bytes, and laws that hold for any model."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workloads.models import (
    Attention,
    Block,
    FeedForward,
    LatentAttention,
    MixtureOfExperts,
    Model,
    active_parameters,
    block_parameters,
    model,
    model_names,
    parameters,
    weight_bytes,
)


def test_llama_2_7b_part_by_part() -> None:
    count = parameters(model("Llama-2-7B"))
    assert count.embedding == count.head == 32_000 * 4096
    assert count.attention == 32 * 4 * 4096 * 4096
    assert count.feed_forward == 32 * 3 * 4096 * 11_008
    assert count.norms == (2 * 32 + 1) * 4096
    assert count.positions == count.router == count.idle == 0


def test_latent_attention_by_hand() -> None:
    """DeepSeek-V3's attention layer: down and up projections of queries and of keys and values, output, norms."""
    deepseek = model("DeepSeek-V3")
    dense, _ = deepseek.blocks
    attention = 7168 * 1536 + 1536 * 128 * (128 + 64) + 7168 * (512 + 64) + 512 * 128 * (128 + 128) + 128 * 128 * 7168
    norms = 2 * 7168 + 1536 + 512
    assert block_parameters(dense, 7168) == attention + norms + 3 * 7168 * 18_432


def test_gpt_oss_block_by_hand() -> None:
    """Biases on every projection, on the router and in each expert; one sink per head."""
    block = model("gpt-oss-20b").blocks[0]
    inner, keys = 64 * 64, 8 * 64
    attention = 2880 * (inner + 2 * keys) + (inner + 2 * keys) + inner * 2880 + 2880 + 64
    expert = 3 * 2880 * 2880 + 2 * 2880 + 2880
    assert block_parameters(block, 2880) == attention + 32 * expert + 32 * 2880 + 32 + 2 * 2880


def test_falcon_7b_has_one_norm_and_one_kv_head() -> None:
    (block,) = model("Falcon-7B").blocks
    assert (block.norms, block.parallel, block.attention.kv_heads) == (1, True, 1)
    assert block_parameters(block, 4544) == 4544 * (4544 + 2 * 64) + 4544 * 4544 + 8 * 4544 * 4544 + 2 * 4544


def test_t5_counts_tables_once_and_two_final_norms() -> None:
    t5 = model("T5-base")
    count = parameters(t5)
    assert count.attention == 36 * 4 * 768 * 768 + 2 * 32 * 12
    assert count.norms == (12 * 2 + 12 * 3 + 2) * 768
    assert count.head == 0


def test_adaptive_embeddings() -> None:
    """Bins of 20,000, 20,000, 160,000 and 67,735 tokens in widths of 1,024, 256, 64 and 16."""
    count = parameters(model("Transformer-XL"))
    tables = 20_000 * 1024 + 20_000 * 256 + 160_000 * 64 + 67_735 * 16
    assert count.embedding == tables + 1024 * (1024 + 256 + 64 + 16)
    assert count.head == 1024 * 1024 + 267_735 + 3 * (1024 + 1)


def test_narrow_embedding_is_projected_in_and_out() -> None:
    count = parameters(model("OPT-350M"))
    assert count.embedding == 50_272 * 512 + 512 * 1024
    assert count.head == 512 * 1024


def test_active_counts_chosen_and_shared_experts() -> None:
    lite = model("DeepSeek-V2-Lite")
    count = parameters(lite)
    assert count.idle == 26 * (64 - 6) * 3 * 2048 * 1408
    assert active_parameters(lite) == count.total - count.idle
    assert active_parameters(lite, "no input embedding") == count.active - 102_400 * 2048
    assert active_parameters(lite, "no embeddings") == count.active - 2 * 102_400 * 2048


def test_a_tied_table_counts_as_the_head() -> None:
    gemma = model("Gemma-2-2B")
    assert active_parameters(gemma, "no input embedding") == parameters(gemma).active
    assert active_parameters(gemma, "no embeddings") == parameters(gemma).active - 256_000 * 2304


def test_stored_bytes_of_plain_formats() -> None:
    assert weight_bytes(model("Llama-3.1-8B")) == 2 * 8_030_261_248
    assert weight_bytes(model("GPT-2")) == 4 * 124_439_808


def test_stored_bytes_with_experts_in_mxfp4() -> None:
    """gpt-oss-20b: experts' matrices in 4.25 bits, all the rest in bf16; the published checkpoint holds 13.76 GB."""
    experts = 24 * 32 * 3 * 2880 * 2880
    expected = experts * 4.25 / 8 + 2 * (20_914_757_184 - experts)
    assert weight_bytes(model("gpt-oss-20b")) == expected
    assert expected / 1e9 == pytest.approx(13.76, abs=0.01)


def test_quantised_checkpoint_leaves_embeddings_wide() -> None:
    llama = model("Llama-3.1-8B")
    quantised = replace(llama, weight_format="int4_g128", unquantized_format="bf16")
    outside = 2 * 128_256 * 4096 + 65 * 4096
    assert weight_bytes(quantised) == 2 * outside + (8_030_261_248 - outside) * (4 + 20 / 128) / 8


sizes = st.integers(1, 64)
feed_forwards = st.builds(
    FeedForward, intermediate=sizes, gated=st.booleans(), activation=st.just("silu"), bias=st.booleans()
)
mixtures = st.builds(
    MixtureOfExperts,
    experts=st.integers(4, 8),
    top_k=st.integers(1, 4),
    expert=feed_forwards,
    shared=st.none() | feed_forwards,
    router_bias=st.booleans(),
    shared_gate=st.booleans(),
)
latents = st.builds(
    LatentAttention, query_rank=st.none() | sizes, kv_rank=sizes, nope_dim=sizes, rope_dim=sizes, value_dim=sizes
)
attentions = st.builds(
    Attention,
    heads=sizes,
    kv_heads=sizes,
    head_dim=sizes,
    qkv_bias=st.booleans(),
    output_bias=st.booleans(),
    query_key_norm=st.tuples(sizes, sizes),
    sinks=st.booleans(),
    position_table=st.integers(0, 64),
    latent=st.none() | latents,
)
blocks = st.builds(
    Block,
    attention=attentions,
    feed_forward=feed_forwards | mixtures,
    norm=st.sampled_from(("rms", "layer")),
    norms=st.integers(1, 4),
    cross_attention=st.none() | attentions,
)


@st.composite
def models(draw: st.DrawFn) -> Model:
    distinct = tuple(dict.fromkeys(draw(st.lists(blocks, min_size=1, max_size=3))))
    order = draw(st.lists(st.integers(0, len(distinct) - 1), min_size=1, max_size=6))
    return Model(
        name="drawn",
        family="drawn",
        hidden=draw(sizes),
        vocabulary=draw(sizes),
        blocks=distinct,
        order=tuple(order),
        tied_embeddings=draw(st.booleans()),
        positions=draw(st.integers(0, 8)),
        lm_head_bias=draw(st.booleans()),
    )


@given(models(), st.data())
def test_one_more_layer_adds_its_block(drawn: Model, data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(drawn.blocks) - 1))
    longer = replace(drawn, order=(*drawn.order, index))
    added = block_parameters(drawn.blocks[index], drawn.hidden)
    assert parameters(longer).total - parameters(drawn).total == added


@given(models())
def test_parts_sum_and_active_is_at_most_all(drawn: Model) -> None:
    count = parameters(drawn)
    parts = (
        count.embedding,
        count.positions,
        count.attention,
        count.feed_forward,
        count.router,
        count.norms,
        count.head,
    )
    assert sum(parts) == count.total
    assert min(parts) >= 0
    assert 0 < count.active <= count.total


@given(models())
def test_order_of_layers_does_not_matter(drawn: Model) -> None:
    assert parameters(replace(drawn, order=tuple(sorted(drawn.order)))) == parameters(drawn)


@given(models(), st.sampled_from(("int8", "fp8_e4m3", "int4_g128", "mxfp4")))
def test_narrower_storage_never_takes_more_bytes(drawn: Model, narrow: str) -> None:
    wide = replace(drawn, weight_format="bf16")
    # Blocks of 128 share a scale; a matrix smaller than a block may not gain.
    assert weight_bytes(replace(wide, weight_format=narrow)) <= weight_bytes(wide) + 3 * 20 / 8


@pytest.mark.parametrize("name", model_names())
def test_blocks_and_the_rest_make_up_every_bundled_model(name: str) -> None:
    found = model(name)
    count = parameters(found)
    layers = sum(block_parameters(found.blocks[index], found.hidden) for index in found.order)
    norm = found.hidden * (1 if found.blocks[0].norm == "rms" else 2)
    stacks = 2 if 0 < found.encoder_layers < len(found.order) else 1
    norms = norm * (stacks * found.final_norm + found.embedding_norm)
    assert count.total == layers + norms + count.embedding + count.positions + count.head
