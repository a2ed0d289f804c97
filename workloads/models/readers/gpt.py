"""Decoders with layer norms and an ungated feed-forward: GPT-2, GPT-J, GPT-NeoX, Phi-2, OPT, BLOOM, Falcon.

Sources: the families' published config.json files and papers: GPT-3 (arXiv 2005.14165), GPT-NeoX (arXiv 2204.06745),
OPT (arXiv 2205.01068), BLOOM (arXiv 2211.05100), Falcon (arXiv 2311.16867), Phi-2 (its model card), GPT-J
(kingoflolz/mesh-transformer-jax).
"""

from __future__ import annotations

from workloads.models.architecture import Attention, Block, FeedForward, Model
from workloads.models.fields import Config
from workloads.models.readers.common import activation, build_model, head_sizes, layer_count

__all__ = ["bloom", "falcon", "gpt2", "gpt_neox", "gptj", "opt", "phi"]

_HIDDEN = ("n_embd", "hidden_size")
_LAYERS = ("n_layer", "num_hidden_layers")
_HEADS = ("n_head", "num_attention_heads")
_POSITIONS = ("n_positions", "max_position_embeddings", "n_ctx")
# OPT's position table starts at index 2, because its vocabulary's padding positions came first.
_OPT_POSITION_OFFSET = 2


def gpt2(config: Config, name: str) -> Model:
    """GPT-2, and GPT-3 in its terms: learned positions, biases everywhere, tied embeddings."""
    config.require(_HIDDEN, _LAYERS, _HEADS, _POSITIONS, "vocab_size")
    hidden, positions = config.count(_HIDDEN), config.count(_POSITIONS)
    heads, _, head_dim = head_sizes(config, hidden, _HEADS, None)
    block = Block(
        Attention(heads, heads, head_dim, qkv_bias=True, output_bias=True, rotary=False),
        FeedForward(
            config.count(("n_inner", "intermediate_size"), 4 * hidden),
            gated=False,
            activation=activation(config, "activation_function", "gelu_new"),
            bias=True,
        ),
        "layer",
    )
    return build_model(
        config,
        name,
        "gpt2",
        [block] * layer_count(config, _LAYERS),
        hidden=hidden,
        tied=True,
        positions=positions,
        max_positions=positions,
    )


def gptj(config: Config, name: str) -> Model:
    """GPT-J: attention and feed-forward in parallel from one norm, biases in the feed-forward and the head only."""
    config.require(_HIDDEN, _LAYERS, _HEADS, _POSITIONS, "vocab_size")
    hidden = config.count(_HIDDEN)
    heads, _, head_dim = head_sizes(config, hidden, _HEADS, None)
    block = Block(
        Attention(heads, heads, head_dim),
        FeedForward(
            config.count(("n_inner", "intermediate_size"), 4 * hidden),
            gated=False,
            activation=activation(config, "activation_function", "gelu_new"),
            bias=True,
        ),
        "layer",
        norms=1,
        parallel=True,
    )
    return build_model(
        config,
        name,
        "gptj",
        [block] * layer_count(config, _LAYERS),
        hidden=hidden,
        tied=False,
        lm_head_bias=True,
        max_positions=config.count(_POSITIONS),
    )


def gpt_neox(config: Config, name: str) -> Model:
    """GPT-NeoX and Pythia: two norms that feed attention and feed-forward in parallel, untied embeddings."""
    config.require("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
    hidden = config.count("hidden_size")
    heads, _, head_dim = head_sizes(config, hidden, kv_heads_key=None)
    bias = config.flag("attention_bias", True)
    block = Block(
        Attention(heads, heads, head_dim, qkv_bias=bias, output_bias=bias),
        FeedForward(
            config.count("intermediate_size"),
            gated=False,
            activation=activation(config, "hidden_act", "gelu"),
            bias=True,
        ),
        "layer",
        parallel=config.flag("use_parallel_residual", True),
    )
    return build_model(config, name, "gpt_neox", [block] * layer_count(config), hidden=hidden, tied=False)


def phi(config: Config, name: str) -> Model:
    """Phi-1 to Phi-2: GPT-J's shape with biases everywhere, the head included."""
    config.require("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")
    hidden = config.count("hidden_size")
    heads, kv_heads, head_dim = head_sizes(config, hidden)
    # The norms of Phi's queries and keys run over one head each, with scale and shift.
    norm = 2 * head_dim if config.flag("qk_layernorm", False) else 0
    block = Block(
        Attention(heads, kv_heads, head_dim, qkv_bias=True, output_bias=True, query_key_norm=(norm, norm)),
        FeedForward(
            config.count("intermediate_size"),
            gated=False,
            activation=activation(config, "hidden_act", "gelu_new"),
            bias=True,
        ),
        "layer",
        norms=1,
        parallel=True,
    )
    return build_model(config, name, "phi", [block] * layer_count(config), hidden=hidden, tied=False, lm_head_bias=True)


def opt(config: Config, name: str) -> Model:
    """OPT: learned positions; the 350M model embeds in fewer dimensions and norms after each part instead of before."""
    config.require(
        "hidden_size", "ffn_dim", "num_hidden_layers", "num_attention_heads", "max_position_embeddings", "vocab_size"
    )
    hidden, positions = config.count("hidden_size"), config.count("max_position_embeddings")
    heads, _, head_dim = head_sizes(config, hidden, kv_heads_key=None)
    bias = config.flag("enable_bias", True)
    block = Block(
        Attention(heads, heads, head_dim, qkv_bias=bias, output_bias=bias, rotary=False),
        FeedForward(
            config.count("ffn_dim"),
            gated=False,
            activation=activation(config, "activation_function", "relu"),
            bias=bias,
        ),
        "layer",
    )
    embedding = config.count("word_embed_proj_dim", hidden)
    return build_model(
        config,
        name,
        "opt",
        [block] * layer_count(config),
        hidden=hidden,
        tied=True,
        final_norm=config.flag("do_layer_norm_before", True) and not config.flag("_remove_final_layer_norm", False),
        positions=positions + _OPT_POSITION_OFFSET,
        embedding_dim=embedding if embedding != hidden else None,
        max_positions=positions,
    )


def bloom(config: Config, name: str) -> Model:
    """BLOOM: a distance bias instead of positions, a norm after the embedding, biases everywhere, tied embeddings."""
    hidden_key = ("hidden_size", "n_embed")
    config.require(hidden_key, _LAYERS, _HEADS, "vocab_size")
    hidden = config.count(hidden_key)
    heads, _, head_dim = head_sizes(config, hidden, _HEADS, None)
    block = Block(
        Attention(heads, heads, head_dim, qkv_bias=True, output_bias=True, rotary=False, alibi=True),
        FeedForward(4 * hidden, gated=False, activation="gelu_tanh", bias=True),
        "layer",
    )
    return build_model(
        config,
        name,
        "bloom",
        [block] * layer_count(config, _LAYERS),
        hidden=hidden,
        tied=True,
        embedding_norm=True,
        max_positions=config.optional_count("seq_length"),
    )


def falcon(config: Config, name: str) -> Model:
    """Falcon: one shared KV head (7B) or a few with two parallel norms (``new_decoder_architecture``: 40B, 180B).

    Without either, as many KV heads as heads (RW models); attention and feed-forward in parallel by ``parallel_attn``.
    """
    hidden_key = ("hidden_size", "n_embed")
    layers_key, heads_key = ("num_hidden_layers", "n_layer"), ("num_attention_heads", "n_head")
    config.require(hidden_key, layers_key, heads_key, "vocab_size")
    hidden = config.count(hidden_key)
    # Files of the first release lack the flag; their model type for the 40B model alone means the new architecture.
    old_large = config.values.get("model_type") == "RefinedWeb"
    new = config.flag("new_decoder_architecture", old_large)
    heads, kv_heads, head_dim = head_sizes(config, hidden, heads_key, ("num_kv_heads", "n_head_kv"))
    if not new:
        kv_heads = 1 if config.flag("multi_query", True) else heads
    parallel = new or config.flag("parallel_attn", True)
    alibi = config.flag("alibi", False)
    bias = config.flag("bias", False)
    two_norms = not parallel or (new and config.count("num_ln_in_parallel_attn", 2, most=2) == 2)
    block = Block(
        Attention(heads, kv_heads, head_dim, qkv_bias=bias, output_bias=bias, rotary=not alibi, alibi=alibi),
        FeedForward(
            config.count("ffn_hidden_size", 4 * hidden),
            gated=False,
            activation=activation(config, "activation", "gelu"),
            bias=bias,
        ),
        "layer",
        norms=2 if two_norms else 1,
        parallel=parallel,
    )
    return build_model(config, name, "falcon", [block] * layer_count(config, layers_key), hidden=hidden, tied=True)
