"""What each family's keys mean: read into the architecture they describe, and none of them without effect."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from workloads.errors import InputError
from workloads.models import MixtureOfExperts, Model, active_parameters, model, model_names, parameters, read_model
from workloads.models.readers import ARCHITECTURES, MODEL_TYPES

FILES = Path(__file__).parents[3] / "workloads" / "models" / "catalogue"


def config(name: str, **changes: Any) -> dict[str, Any]:
    """A bundled configuration with some keys changed; None removes a key."""
    keys = json.loads((FILES / f"{name}.json").read_text(encoding="utf-8")) | changes
    return {key: value for key, value in keys.items() if value is not None}


def read(name: str, **changes: Any) -> Model:
    return read_model(config(name, **changes), name=name)


# Keys that families' files carry and that change nothing, each for a reason.
INERT = {
    ("Qwen3-30B-A3B", "intermediate_size"): "no layer is dense",
    ("Qwen3-235B-A22B", "intermediate_size"): "no layer is dense",
    ("Qwen1.5-MoE-A2.7B", "intermediate_size"): "no layer is dense",
    ("Qwen2-57B-A14B", "intermediate_size"): "no layer is dense",
    ("Falcon-40B", "parallel_attn"): "the new architecture is always parallel",
    ("Falcon-180B", "parallel_attn"): "the new architecture is always parallel",
    ("XLM", "use_lang_emb"): "one language",
    ("SmallThinker-4B-A0.6B", "sliding_window_size"): "no layer is windowed",
}
INERT_EVERYWHERE = {
    "model_type": "architectures decides",
    "attn_logit_softcapping": "its presence adds an operation, its value only numbers",
    "weight_block_size": "one scale for 16,384 weights is not counted",
}


def changed(key: str, value: Any) -> Any:
    """Another valid-looking value of the same kind."""
    match value:
        case bool():
            return not value
        case int():
            return value * 2
        case float():
            return value * 2
        case "bfloat16":
            return "float16"
        case str() if key in ("torch_dtype",):
            return "bfloat16"
        case str() if key == "topk_method":
            return "greedy" if value == "noaux_tc" else "noaux_tc"
        case str() if key == "feed_forward_proj":
            return "gated-silu"
        case str():
            return "relu" if value != "relu" else "silu"
        case [bool(), *_]:
            return [not value[0], *value[1:]]
        case [int(), *_] if key == "cutoffs":
            return [value[0] + 1, *value[1:]]
        case [int(), *_]:
            return [1 - value[0], *value[1:]]
        case [str(), *_]:
            return value[::-1]
        case []:
            return [0]
        case dict():
            return {"quant_method": "bitsandbytes"}
        case None:
            return 64
    raise AssertionError(key)


def _keys() -> list[tuple[str, str]]:
    return [(name, key) for name in model_names() for key in config(name) if key != "architectures"]


@pytest.mark.parametrize(("name", "key"), _keys())
def test_every_key_of_every_bundled_file_has_effect(name: str, key: str) -> None:
    """A key that could be changed without any effect would be a silent lie about the model."""
    keys = config(name)
    keys[key] = changed(key, keys[key])
    try:
        found = read_model(keys, name=name)
    except InputError:
        return
    if key in INERT_EVERYWHERE or (name, key) in INERT:
        assert found == model(name)
    else:
        assert found != model(name)


def test_keys_that_are_none_of_our_business_are_accepted() -> None:
    extra = {"rope_theta": 1e6, "bos_token_id": [1, 2], "auto_map": {"AutoConfig": "x"}, "rms_norm_eps": 1e-5}
    assert read("Llama-3.1-8B", **extra, rope_scaling={"factor": 8.0}) == model("Llama-3.1-8B")


def test_a_published_file_as_it_stands() -> None:
    """Kimi-K2: DeepSeek-V3's architecture under another model type; 1.026T parameters, 32B of them active."""
    keys = {
        "architectures": ["DeepseekV3ForCausalLM"],
        "auto_map": {"AutoConfig": "configuration_deepseek.DeepseekV3Config"},
        "aux_loss_alpha": 0.001,
        "bos_token_id": 163_584,
        "first_k_dense_replace": 1,
        "hidden_act": "silu",
        "hidden_size": 7168,
        "intermediate_size": 18_432,
        "kv_lora_rank": 512,
        "max_position_embeddings": 131_072,
        "model_type": "kimi_k2",
        "moe_intermediate_size": 2048,
        "moe_layer_freq": 1,
        "n_group": 1,
        "n_routed_experts": 384,
        "n_shared_experts": 1,
        "num_attention_heads": 64,
        "num_experts_per_tok": 8,
        "num_hidden_layers": 61,
        "num_key_value_heads": 64,
        "num_nextn_predict_layers": 0,
        "q_lora_rank": 1536,
        "qk_nope_head_dim": 128,
        "qk_rope_head_dim": 64,
        "quantization_config": {
            "activation_scheme": "dynamic",
            "fmt": "e4m3",
            "quant_method": "fp8",
            "weight_block_size": [128, 128],
        },
        "rope_scaling": {"factor": 32.0, "type": "yarn"},
        "routed_scaling_factor": 2.827,
        "scoring_func": "sigmoid",
        "tie_word_embeddings": False,
        "topk_group": 1,
        "topk_method": "noaux_tc",
        "torch_dtype": "bfloat16",
        "v_head_dim": 128,
        "vocab_size": 163_840,
    }
    found = read_model(keys)
    count = parameters(found)
    # The published total is 3,416 more; what those are is not known.
    assert count.total == 1_026_408_235_864 - 3_416
    assert (found.name, found.weight_format, found.unquantized_format) == ("kimi_k2", "fp8_e4m3", "bf16")
    assert round(active_parameters(found, "no input embedding") / 1e9) == 32


def test_null_counts_as_absent() -> None:
    keys = config("Llama-2-7B") | {"num_key_value_heads": None, "head_dim": None, "quantization_config": None}
    assert read_model(keys, name="Llama-2-7B") == model("Llama-2-7B")


def test_model_type_serves_where_architectures_is_absent() -> None:
    assert read("Mixtral-8x7B", architectures=None) == model("Mixtral-8x7B")


@pytest.mark.parametrize("kind", sorted(MODEL_TYPES))
def test_every_model_type_has_an_architecture(kind: str) -> None:
    assert MODEL_TYPES[kind] in ARCHITECTURES.values()


def test_file_folder_and_names(tmp_path: Path) -> None:
    folder = tmp_path / "tiny-llama"
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config("Llama-2-7B")), encoding="utf-8")
    assert read_model(folder).name == "tiny-llama"
    assert read_model(folder / "config.json") == read_model(str(folder))
    other = tmp_path / "other.json"
    other.write_text(json.dumps(config("Llama-2-7B")), encoding="utf-8")
    assert read_model(other).name == "other"
    assert read_model(other, name="mine") == replace(model("Llama-2-7B"), name="mine")
    assert read_model(config("Llama-2-7B")).name == "llama"


def test_equal_layers_are_listed_once() -> None:
    deepseek = model("DeepSeek-V3")
    assert deepseek.order == (0,) * 3 + (1,) * 58
    assert len(model("Llama-3.1-405B").blocks) == 1


def test_llama_biases() -> None:
    block = read("Llama-2-7B", attention_bias=True, mlp_bias=True).blocks[0]
    assert block.attention.qkv_bias
    assert block.attention.output_bias
    assert block.feed_forward.bias


def test_qwen2_biases_queries_keys_and_values_only() -> None:
    attention = model("Qwen2.5-7B").blocks[0].attention
    assert (attention.qkv_bias, attention.output_bias) == (True, False)


def test_qwen_window_starts_at_its_layer() -> None:
    found = read("Qwen2.5-7B", use_sliding_window=True, sliding_window=4096, max_window_layers=20)
    assert [found.blocks[index].attention.window for index in found.order] == [None] * 20 + [4096] * 8


def test_qwen_mixture_with_dense_layers() -> None:
    found = read("Qwen3-30B-A3B", decoder_sparse_step=2, mlp_only_layers=[1])
    sparse = [isinstance(found.blocks[index].feed_forward, MixtureOfExperts) for index in found.order]
    assert sparse[:6] == [False, False, False, True, False, True]
    dense = found.blocks[found.order[0]].feed_forward
    assert (dense.intermediate, dense.gated) == (6144, True)


def test_qwen2_mixture_has_a_gated_shared_expert() -> None:
    mixture = model("Qwen2-57B-A14B").blocks[0].feed_forward
    assert mixture.shared.intermediate == 20_480
    assert mixture.shared_gate


def test_query_key_norms() -> None:
    assert model("Qwen3-8B").blocks[0].attention.query_key_norm == (128, 128)
    assert model("OLMoE-1B-7B").blocks[0].attention.query_key_norm == (2048, 2048)
    assert model("Llama-3.1-8B").blocks[0].attention.query_key_norm == (0, 0)


def test_gemma_alternates_windows_from_the_first_layer() -> None:
    gemma = model("Gemma-2-2B")
    windows = [gemma.blocks[index].attention.window for index in gemma.order]
    assert windows == [4096, None] * 13
    assert {block.norms for block in gemma.blocks} == {4}
    assert gemma.tied_embeddings
    assert gemma.blocks[0].feed_forward.activation == "gelu_tanh"


def test_gpt_oss_without_layer_types_alternates_too() -> None:
    assert read("gpt-oss-20b", layer_types=None) == model("gpt-oss-20b")


def test_gpt_oss_stores_experts_in_mxfp4_and_all_else_in_bf16() -> None:
    found = model("gpt-oss-120b")
    assert (found.weight_format, found.expert_weight_format, found.unquantized_format) == ("bf16", "mxfp4", None)
    assert found.blocks[0].feed_forward.router_bias
    assert found.blocks[0].attention.sinks


def test_deepseek_layers_and_experts() -> None:
    lite = read("DeepSeek-V2-Lite", first_k_dense_replace=2, moe_layer_freq=2)
    sparse = [isinstance(lite.blocks[index].feed_forward, MixtureOfExperts) for index in lite.order]
    assert sparse[:6] == [False, False, True, False, True, False]
    experts = model("DeepSeek-V2-Lite").blocks[1].feed_forward
    assert experts.shared.intermediate == 2 * 1408
    assert not experts.router_bias
    assert model("DeepSeek-V3").blocks[1].feed_forward.router_bias
    assert model("DeepSeek-V2-Lite").blocks[0].attention.latent.query_rank is None


def test_deepseek_without_routed_experts_is_dense() -> None:
    found = read("DeepSeek-V2-Lite", n_routed_experts=None)
    assert len(found.blocks) == 1
    assert found.blocks[0].feed_forward.intermediate == 10_944


def test_falcon_generations() -> None:
    (large,) = model("Falcon-40B").blocks
    assert (large.norms, large.attention.kv_heads, large.parallel) == (2, 8, True)
    # Falcon-11B: the new architecture with one norm and a feed-forward of its own width.
    (newer,) = read("Falcon-40B", num_ln_in_parallel_attn=1, ffn_hidden_size=16_384).blocks
    assert (newer.norms, newer.feed_forward.intermediate) == (1, 16_384)
    # Falcon-RW-1B: as many KV heads as heads, sequential, biased, distance bias instead of rotary positions.
    old = {"multi_query": False, "parallel_attn": False, "alibi": True, "bias": True}
    (block,) = read("Falcon-7B", **old).blocks
    assert (block.attention.kv_heads, block.norms, block.parallel) == (71, 2, False)
    assert (block.attention.alibi, block.attention.rotary, block.attention.qkv_bias) == (True, False, True)


def test_first_published_falcon_files_read_the_same() -> None:
    old = {
        "architectures": ["RWForCausalLM"],
        "model_type": "RefinedWeb",
        "hidden_size": 8192,
        "n_layer": 60,
        "n_head": 128,
        "n_head_kv": 8,
        "parallel_attn": True,
        "vocab_size": 65_024,
        "torch_dtype": "bfloat16",
    }
    assert parameters(read_model(old)) == parameters(model("Falcon-40B"))
    small = old | {"model_type": "RefinedWebModel", "hidden_size": 4544, "n_layer": 32, "n_head": 71, "n_head_kv": None}
    assert parameters(read_model(small | {"multi_query": True})) == parameters(model("Falcon-7B"))


def test_opt_350m_norms_after_and_embeds_narrow() -> None:
    found = model("OPT-350M")
    assert (found.embedding_dim, found.final_norm, found.positions, found.max_positions) == (512, False, 2050, 2048)
    assert model("OPT-125M").embedding_dim is None


def test_bert_heads() -> None:
    base = parameters(model("BERT-base")).total
    square = 768 * 768 + 768
    masked = parameters(read("BERT-base", architectures=["BertForMaskedLM"])).total
    both = parameters(read("BERT-base", architectures=["BertForPreTraining"])).total
    assert masked == base - square + square + 2 * 768 + 30_522
    assert both == masked + square + 2 * 768 + 2
    assert read("BERT-base", architectures=None) == model("BERT-base")


def test_bert_as_decoder_is_causal() -> None:
    assert not model("BERT-base").blocks[0].attention.causal
    assert read("BERT-base", architectures=["BertLMHeadModel"], is_decoder=True).blocks[0].attention.causal


def test_t5_sides() -> None:
    found = read("T5-base", num_decoder_layers=6)
    assert (len(found.order), found.encoder_layers) == (18, 12)
    tables = [found.blocks[index].attention.position_table for index in found.order]
    assert [place for place, table in enumerate(tables) if table] == [0, 12]
    assert tables[0] == 32 * 12
    decoder = found.blocks[found.order[-1]]
    assert (decoder.norms, decoder.attention.causal, decoder.cross_attention.causal) == (3, True, False)
    assert read("T5-base", num_decoder_layers=None) == model("T5-base")


def test_t5_gates_by_its_projection_name() -> None:
    found = model("T5-v1.1-base").blocks[0].feed_forward
    assert (found.gated, found.activation) == (True, "gelu_tanh")
    assert not model("T5-base").blocks[0].feed_forward.gated
    with pytest.raises(InputError, match="feed_forward_proj: unknown activation 'gated-gelu-x'"):
        read("T5-base", feed_forward_proj="gated-gelu-x")


def test_switch_makes_every_other_layer_sparse() -> None:
    found = model("Switch-Base-8")
    sparse = [isinstance(found.blocks[index].feed_forward, MixtureOfExperts) for index in found.order]
    assert sparse == [False, True] * 12
    dense = read("Switch-Base-8", num_sparse_encoder_layers=0, num_sparse_decoder_layers=12)
    assert [isinstance(dense.blocks[i].feed_forward, MixtureOfExperts) for i in dense.order] == [False] * 12 + [
        True
    ] * 12


def test_smallthinker_layouts_and_early_router() -> None:
    found = model("SmallThinker-21B-A3B")
    kinds = [(found.blocks[i].attention.window, found.blocks[i].attention.rotary) for i in found.order]
    assert kinds[:4] == [(None, False), (4096, True), (4096, True), (4096, True)]
    assert found.blocks[0].feed_forward.early_router
    with pytest.raises(InputError, match="sliding_window_layout: windowed layers but no size"):
        read("SmallThinker-21B-A3B", sliding_window_size=None)


def test_transformer_xl_bins() -> None:
    found = model("Transformer-XL")
    assert found.embedding_bins == ((20_000, 1024), (20_000, 256), (160_000, 64), (67_735, 16))
    with pytest.raises(InputError, match=r"cutoffs: found \[20000, 10\]; expected growing numbers below"):
        read("Transformer-XL", cutoffs=[20_000, 10])
    with pytest.raises(InputError, match="tie_projs: found 2 entries; expected one for each of the 4 bins"):
        read("Transformer-XL", tie_projs=[True, True])


def test_glam_alternates_gated_dense_layers_and_ungated_experts() -> None:
    dense, sparse = model("GLaM-64B-64E").blocks
    assert dense.feed_forward.gated
    assert not sparse.feed_forward.expert.gated


@pytest.mark.parametrize(
    ("quantization", "expected"),
    [
        ({"quant_method": "gptq", "bits": 4, "group_size": 128}, ("int4_g128", "fp16")),
        ({"quant_method": "awq", "bits": 4}, ("int4_g128", "fp16")),
        ({"quant_method": "gptq", "bits": 8, "group_size": -1}, ("int8", "fp16")),
        ({"quant_method": "fp8"}, ("fp8_e4m3", "fp16")),
        ({"quant_method": "fp8", "fmt": "e5m2"}, ("fp8_e5m2", "fp16")),
        ({"quant_method": "bitsandbytes", "load_in_4bit": True, "bnb_4bit_quant_type": "nf4"}, ("nf4", "fp16")),
        ({"quant_method": "bitsandbytes", "load_in_8bit": True}, ("int8", "fp16")),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 8, "type": "float"}}},
            },
            ("fp8_e4m3", "fp16"),
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "float", "group_size": 16}}},
            },
            ("nvfp4", "fp16"),
        ),
        (
            {
                "quant_method": "compressed-tensors",
                "config_groups": {"group_0": {"weights": {"num_bits": 4, "type": "int", "group_size": 128}}},
            },
            ("int4_g128", "fp16"),
        ),
    ],
)
def test_quantisation(quantization: dict[str, Any], expected: tuple[str, str]) -> None:
    found = read("Llama-2-7B", quantization_config=quantization)
    assert (found.weight_format, found.unquantized_format) == expected


def test_quantisation_without_groups_is_refused() -> None:
    with pytest.raises(InputError, match=r"quantization_config\.config_groups: names no weights"):
        read("Llama-2-7B", quantization_config={"quant_method": "compressed-tensors"})


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({"torch_dtype": "bfloat16"}, "bf16"),
        ({"torch_dtype": None, "dtype": "float16"}, "fp16"),
        ({"torch_dtype": "torch.float16"}, "fp16"),
        ({"torch_dtype": None}, "fp32"),
    ],
)
def test_data_type(keys: dict[str, Any], expected: str) -> None:
    assert read("Llama-2-7B", **keys).weight_format == expected
