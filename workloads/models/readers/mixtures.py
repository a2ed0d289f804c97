"""Decoders whose feed-forwards are mixtures of experts, with grouped-query attention.

Sources: the families' published config.json files and papers: Mixtral (arXiv 2401.04088), Qwen2 (arXiv 2407.10671),
Qwen3 (arXiv 2505.09388), OLMoE (arXiv 2409.02060), Phi-3.5-MoE (arXiv 2404.14219), gpt-oss (model card, arXiv
2508.10925), SmallThinker (arXiv 2507.20984), Grok-1 (xai-org/grok-1, model.py), DBRX (databricks/dbrx, model/).
"""

from __future__ import annotations

from dataclasses import replace

from workloads.models.architecture import Block, FeedForward, MixtureOfExperts, Model
from workloads.models.fields import Config
from workloads.models.readers.common import activation, build_model, layer_count, layer_types, mixture
from workloads.models.readers.llama import attention, feed_forward, windowed_layers

__all__ = ["dbrx", "gpt_oss", "grok1", "mixtral", "olmoe", "phimoe", "qwen2_moe", "qwen3_moe", "smallthinker"]

_SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
_LOCAL_EXPERTS = ("num_local_experts", "num_experts")


def mixtral(config: Config, name: str) -> Model:
    """Mixtral: Mistral with every feed-forward replaced by a mixture."""
    config.require(*_SIZES, "intermediate_size", "num_key_value_heads", _LOCAL_EXPERTS, "num_experts_per_tok")
    hidden = config.count("hidden_size")
    experts = mixture(config, _LOCAL_EXPERTS, "num_experts_per_tok", feed_forward(config))
    base = attention(config, hidden)
    windows = windowed_layers(config, everywhere=True)
    blocks = [Block(replace(base, window=window), experts, "rms") for window in windows]
    return build_model(config, name, "mixtral", blocks, hidden=hidden, tied=False)


def phimoe(config: Config, name: str) -> Model:
    """Phi-3.5-MoE: Mixtral's shape with layer norms, biases in attention and, perhaps, in the head."""
    config.require(*_SIZES, "intermediate_size", "num_key_value_heads", _LOCAL_EXPERTS, "num_experts_per_tok")
    hidden = config.count("hidden_size")
    bias = config.flag("attention_bias", False)
    experts = mixture(config, _LOCAL_EXPERTS, "num_experts_per_tok", feed_forward(config))
    base = replace(attention(config, hidden), qkv_bias=bias, output_bias=bias)
    windows = windowed_layers(config, everywhere=True)
    blocks = [Block(replace(base, window=window), experts, "layer") for window in windows]
    head_bias = config.flag("lm_head_bias", False)
    return build_model(config, name, "phimoe", blocks, hidden=hidden, tied=False, lm_head_bias=head_bias)


def qwen2_moe(config: Config, name: str) -> Model:
    """Qwen1.5-MoE and Qwen2-MoE: biases as Qwen2, one gated shared expert, dense layers where asked for."""
    config.require(
        *_SIZES, "moe_intermediate_size", "shared_expert_intermediate_size", "num_experts", "num_experts_per_tok"
    )
    hidden = config.count("hidden_size")
    experts = mixture(
        config,
        "num_experts",
        "num_experts_per_tok",
        _expert(config, "moe_intermediate_size"),
        shared=_expert(config, "shared_expert_intermediate_size"),
        shared_gate=True,
    )
    base = replace(attention(config, hidden), qkv_bias=config.flag("qkv_bias", True))
    blocks = [
        Block(replace(base, window=window), part, "rms")
        for window, part in zip(windowed_layers(config, everywhere=False), _sparse_layers(config, experts), strict=True)
    ]
    return build_model(config, name, "qwen2_moe", blocks, hidden=hidden, tied=False)


def qwen3_moe(config: Config, name: str) -> Model:
    """Qwen3-MoE: attention as Qwen3, no shared expert."""
    config.require(*_SIZES, "moe_intermediate_size", "num_experts", "num_experts_per_tok")
    hidden = config.count("hidden_size")
    experts = mixture(config, "num_experts", "num_experts_per_tok", _expert(config, "moe_intermediate_size"))
    base = attention(config, hidden)
    bias = config.flag("attention_bias", False)
    base = replace(base, qkv_bias=bias, output_bias=bias, query_key_norm=(base.head_dim, base.head_dim))
    blocks = [
        Block(replace(base, window=window), part, "rms")
        for window, part in zip(windowed_layers(config, everywhere=False), _sparse_layers(config, experts), strict=True)
    ]
    return build_model(config, name, "qwen3_moe", blocks, hidden=hidden, tied=False)


def olmoe(config: Config, name: str) -> Model:
    """OLMoE: norms over the whole projected queries and keys, a mixture in every layer."""
    config.require(*_SIZES, "intermediate_size", "num_experts", "num_experts_per_tok")
    hidden = config.count("hidden_size")
    experts = mixture(config, "num_experts", "num_experts_per_tok", feed_forward(config))
    base = attention(config, hidden)
    bias = config.flag("attention_bias", False)
    norm = (base.heads * base.head_dim, base.kv_heads * base.head_dim)
    block = Block(replace(base, qkv_bias=bias, output_bias=bias, query_key_norm=norm), experts, "rms")
    return build_model(config, name, "olmoe", [block] * layer_count(config), hidden=hidden, tied=False)


def gpt_oss(config: Config, name: str) -> Model:
    """gpt-oss: biases everywhere, attention sinks, windows in every other layer (from the first)."""
    top_k = ("num_experts_per_tok", "experts_per_token")
    config.require(
        *_SIZES, "intermediate_size", "num_key_value_heads", "head_dim", "sliding_window", _LOCAL_EXPERTS, top_k
    )
    hidden, layers = config.count("hidden_size"), layer_count(config)
    # The gate is clamped and has a residual inside (model card, section 2.2), whatever the files name as activation.
    expert = FeedForward(config.count("intermediate_size"), gated=True, activation="swiglu_clamped", bias=True)
    experts = mixture(config, _LOCAL_EXPERTS, top_k, expert, router_bias=True)
    bias = config.flag("attention_bias", True)
    base = replace(attention(config, hidden), qkv_bias=bias, output_bias=bias, sinks=True)
    window = config.count("sliding_window")
    sliding = layer_types(config, layers) or tuple(index % 2 == 0 for index in range(layers))
    blocks = [Block(replace(base, window=window if on else None), experts, "rms") for on in sliding]
    return build_model(config, name, "gpt_oss", blocks, hidden=hidden, tied=False)


def smallthinker(config: Config, name: str) -> Model:
    """SmallThinker: the router reads the block's input before attention; windows and positions by layer."""
    config.require(*_SIZES, "moe_ffn_hidden_size", "moe_num_primary_experts", "moe_num_active_primary_experts")
    hidden, layers = config.count("hidden_size"), layer_count(config)
    expert = FeedForward(config.count("moe_ffn_hidden_size"), gated=True, activation="relu")
    experts = mixture(config, "moe_num_primary_experts", "moe_num_active_primary_experts", expert, early_router=True)
    window = config.optional_count(("sliding_window_size", "sliding_window"))
    sliding = _layout(config, "sliding_window_layout", layers, default=0)
    rotary = _layout(config, "rope_layout", layers, default=1)
    if any(sliding) and window is None:
        raise config.error("sliding_window_layout", "windowed layers but no size", "sliding_window_size")
    base = attention(config, hidden)
    blocks = [
        Block(replace(base, window=window if on else None, rotary=turned), experts, "rms")
        for on, turned in zip(sliding, rotary, strict=True)
    ]
    return build_model(config, name, "smallthinker", blocks, hidden=hidden, tied=False)


def grok1(config: Config, name: str) -> Model:
    """Grok-1: norms before and after both parts, capped attention logits, gated GELU experts, tied embeddings."""
    config.require(*_SIZES, "intermediate_size", "num_key_value_heads", "num_experts", "num_experts_per_tok")
    hidden = config.count("hidden_size")
    experts = mixture(config, "num_experts", "num_experts_per_tok", feed_forward(config, "gelu"))
    block = Block(replace(attention(config, hidden), logit_softcap=True), experts, "rms", norms=4)
    return build_model(config, name, "grok1", [block] * layer_count(config), hidden=hidden, tied=True)


def dbrx(config: Config, name: str) -> Model:
    """DBRX: keys of its own, some in sections; layer norms without a shift, which are those of a root mean square in
    weights and within one sum of it in work."""
    config.require("d_model", "n_heads", "n_layers", "vocab_size", "attn_config", "ffn_config")
    attended, fed = config.section("attn_config"), config.section("ffn_config")
    assert attended is not None
    assert fed is not None
    usual = {
        "hidden_size": config.count("d_model"),
        "num_attention_heads": config.count("n_heads"),
        "num_hidden_layers": config.count("n_layers"),
        "num_key_value_heads": attended.count("kv_n_heads"),
        "max_position_embeddings": config.count("max_seq_len", 2048),
    }
    renamed = replace(config, values={**config.values, **usual})
    expert = FeedForward(fed.count("ffn_hidden_size"), gated=True, activation="silu")
    experts = mixture(fed, "moe_num_experts", "moe_top_k", expert)
    hidden = usual["hidden_size"]
    block = Block(attention(renamed, hidden), experts, "rms")
    return build_model(renamed, name, "dbrx", [block] * layer_count(renamed), hidden=hidden, tied=False)


def _expert(config: Config, key: str) -> FeedForward:
    return FeedForward(config.count(key), gated=True, activation=activation(config, "hidden_act", "silu"))


def _sparse_layers(config: Config, experts: MixtureOfExperts) -> list[FeedForward | MixtureOfExperts]:
    """The part of each layer: the mixture in every ``decoder_sparse_step``-th unless listed, else the dense one."""
    layers = layer_count(config)
    step = config.count("decoder_sparse_step", 1)
    listed = config.counts("mlp_only_layers", most=layers - 1)
    sparse = [index not in listed and (index + 1) % step == 0 for index in range(layers)]
    if all(sparse):
        return [experts] * layers
    config.require("intermediate_size")
    dense = _expert(config, "intermediate_size")
    return [experts if on else dense for on in sparse]


def _layout(config: Config, key: str, layers: int, default: int) -> tuple[bool, ...]:
    """One flag (0 or 1) per layer."""
    flags = config.counts(key, most=1) or (default,) * layers
    if len(flags) != layers:
        raise config.error(key, f"found {len(flags)} entries", f"one for each of the {layers} layers")
    return tuple(flag == 1 for flag in flags)
