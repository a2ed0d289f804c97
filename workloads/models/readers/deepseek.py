"""DeepSeek-V2 and V3: multi-head latent attention, shared experts beside fine-grained routed ones.

Sources: DeepSeek-V2 (arXiv 2405.04434, sections 2.1 and 2.2), DeepSeek-V3 (arXiv 2412.19437, section 2.1) and their
config.json files.
"""

from __future__ import annotations

from dataclasses import replace

from workloads.models.architecture import Attention, Block, FeedForward, LatentAttention, MixtureOfExperts, Model
from workloads.models.fields import Config
from workloads.models.readers.common import activation, build_model, layer_count, mixture

__all__ = ["deepseek_v2", "deepseek_v3"]

_SIZES = (
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "vocab_size",
    "kv_lora_rank",
    "qk_nope_head_dim",
    "qk_rope_head_dim",
    "v_head_dim",
)


def deepseek_v2(config: Config, name: str) -> Model:
    """DeepSeek-V2 and V2-Lite (which projects queries without compression)."""
    return _deepseek(config, name, "deepseek_v2", "softmax")


def deepseek_v3(config: Config, name: str) -> Model:
    """DeepSeek-V3, R1 and models of that shape; the multi-token prediction layers after the main model are left out."""
    return _deepseek(config, name, "deepseek_v3", "noaux_tc")


def _deepseek(config: Config, name: str, family: str, default_choice: str) -> Model:
    config.require(*_SIZES)
    hidden, layers = config.count("hidden_size"), layer_count(config)
    attention = _attention(config)
    act = activation(config, "hidden_act", "silu")
    dense = FeedForward(config.count("intermediate_size"), gated=True, activation=act)
    parts: list[FeedForward | MixtureOfExperts] = [dense] * layers
    if config.has("n_routed_experts"):
        config.require("moe_intermediate_size", "num_experts_per_tok")
        experts = _experts(config, act, default_choice)
        first = config.count("first_k_dense_replace", 0, least=0)
        every = config.count("moe_layer_freq", 1)
        parts = [experts if index >= first and index % every == 0 else dense for index in range(layers)]
    return build_model(
        config, name, family, [Block(attention, part, "rms") for part in parts], hidden=hidden, tied=False
    )


def _attention(config: Config) -> Attention:
    heads = config.count("num_attention_heads")
    latent = LatentAttention(
        query_rank=config.optional_count("q_lora_rank"),
        kv_rank=config.count("kv_lora_rank"),
        nope_dim=config.count("qk_nope_head_dim"),
        rope_dim=config.count("qk_rope_head_dim"),
        value_dim=config.count("v_head_dim"),
    )
    bias = config.flag("attention_bias", False)
    return Attention(heads, heads, latent.nope_dim + latent.rope_dim, qkv_bias=bias, output_bias=bias, latent=latent)


def _experts(config: Config, act: str, default_choice: str) -> MixtureOfExperts:
    expert = FeedForward(config.count("moe_intermediate_size"), gated=True, activation=act)
    shared = config.count("n_shared_experts", 0, least=0)
    return mixture(
        config,
        "n_routed_experts",
        "num_experts_per_tok",
        expert,
        # The shared experts always run together, so they are stored as one of their summed width.
        shared=replace(expert, intermediate=shared * expert.intermediate) if shared else None,
        # V3 balances load by a correction stored for each expert instead of by an auxiliary loss.
        router_bias=config.word("topk_method", default_choice) == "noaux_tc",
    )
