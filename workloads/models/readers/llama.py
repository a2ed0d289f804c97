"""Dense decoders of the Llama kind: RMS norms, rotary positions, a gated feed-forward; Gemma-2 with its extra norms.

Sources: the families' published config.json files and papers: Llama 2 (arXiv 2307.09288), Llama 3 (arXiv 2407.21783),
Mistral 7B (arXiv 2310.06825), Qwen2 (arXiv 2407.10671), Qwen3 (arXiv 2505.09388), Phi-3 (arXiv 2404.14219), Gemma 2
(arXiv 2408.00118).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from workloads.models.architecture import Attention, Block, FeedForward, MixtureOfExperts, Model
from workloads.models.fields import Config
from workloads.models.readers.common import activation, build_model, head_sizes, layer_count, layer_types

__all__ = ["attention", "feed_forward", "gemma2", "llama", "mistral", "phi3", "qwen2", "qwen3", "windowed_layers"]

_SIZES = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "vocab_size")


@dataclass(frozen=True)
class _Style:
    """How one family differs from plain Llama: biases on queries, keys and values, per-head norms, default ties."""

    family: str
    attention_bias: bool = False
    query_key_norm: bool = False
    tied: bool = False
    norms: int = 2
    softcap: bool = False
    default_activation: str = "silu"


def llama(config: Config, name: str) -> Model:
    """Llama 1 to 3.3: every bias from ``attention_bias`` and ``mlp_bias``, no window."""
    config.require(*_SIZES)
    hidden, layers = config.count("hidden_size"), layer_count(config)
    bias = config.flag("attention_bias", False)
    block = Block(replace(attention(config, hidden), qkv_bias=bias, output_bias=bias), feed_forward(config), "rms")
    return build_model(config, name, "llama", [block] * layers, hidden=hidden, tied=False)


def mistral(config: Config, name: str) -> Model:
    """Mistral: Llama with one sliding window for all layers where ``sliding_window`` is given."""
    config.require(*_SIZES, "num_key_value_heads")
    return _dense(config, name, _Style("mistral"), windowed_layers(config, everywhere=True))


def phi3(config: Config, name: str) -> Model:
    """Phi-3 mini and medium: fused projections, otherwise Llama with a sliding window for all layers."""
    config.require(*_SIZES)
    return _dense(config, name, _Style("phi3"), windowed_layers(config, everywhere=True))


def qwen2(config: Config, name: str) -> Model:
    """Qwen2 and Qwen2.5: biases on queries, keys and values; a window only where ``use_sliding_window`` says so."""
    config.require(*_SIZES)
    return _dense(config, name, _Style("qwen2", attention_bias=True), windowed_layers(config, everywhere=False))


def qwen3(config: Config, name: str) -> Model:
    """Qwen3: no biases unless ``attention_bias``, and a norm over each head of queries and keys."""
    config.require(*_SIZES)
    return _dense(config, name, _Style("qwen3", query_key_norm=True), windowed_layers(config, everywhere=False))


def gemma2(config: Config, name: str) -> Model:
    """Gemma-2: norms before and after both parts, capped logits, every other layer (from the first) windowed."""
    config.require(*_SIZES, "num_key_value_heads", "head_dim", "sliding_window")
    layers = layer_count(config)
    window = config.count("sliding_window")
    sliding = layer_types(config, layers) or tuple(index % 2 == 0 for index in range(layers))
    style = _Style("gemma2", tied=True, norms=4, softcap=True, default_activation="gelu_pytorch_tanh")
    return _dense(config, name, style, [window if on else None for on in sliding])


def attention(config: Config, hidden: int) -> Attention:
    """Grouped-query attention with the sizes under the usual keys, without biases."""
    heads, kv_heads, head_dim = head_sizes(config, hidden)
    return Attention(heads, kv_heads, head_dim)


def feed_forward(config: Config, default_activation: str = "silu") -> FeedForward:
    """The gated feed-forward; its activation stands under ``hidden_act`` or, in Gemma, ``hidden_activation``."""
    return FeedForward(
        config.count("intermediate_size"),
        gated=True,
        activation=activation(config, ("hidden_activation", "hidden_act"), default_activation),
        bias=config.flag("mlp_bias", False),
    )


def windowed_layers(config: Config, *, everywhere: bool) -> list[int | None]:
    """The window of each layer, None for full attention.

    ``everywhere``: a given ``sliding_window`` holds for all layers. Otherwise (Qwen) it needs ``use_sliding_window``
    and holds from layer ``max_window_layers`` on. ``layer_types`` decides where present.
    """
    layers = layer_count(config)
    window = config.optional_count("sliding_window")
    if not everywhere and not config.flag("use_sliding_window", False):
        return [None] * layers
    if not everywhere and window is None:
        raise config.error("sliding_window", "missing although use_sliding_window is true", "a number of tokens")
    first = 0 if everywhere else config.count("max_window_layers", 0, least=0)
    sliding = layer_types(config, layers) or tuple(index >= first for index in range(layers))
    return [window if on else None for on in sliding]


def _dense(config: Config, name: str, style: _Style, windows: list[int | None]) -> Model:
    hidden = config.count("hidden_size")
    base = attention(config, hidden)
    bias = config.flag("attention_bias", False)
    norm = base.head_dim if style.query_key_norm else 0
    base = replace(
        base,
        qkv_bias=bias or style.attention_bias,
        output_bias=bias and not style.attention_bias,
        query_key_norm=(norm, norm),
        logit_softcap=style.softcap and config.has("attn_logit_softcapping"),
    )
    ffn: FeedForward | MixtureOfExperts = feed_forward(config, style.default_activation)
    blocks = [Block(replace(base, window=window), ffn, "rms", norms=style.norms) for window in windows]
    return build_model(config, name, style.family, blocks, hidden=hidden, tied=style.tied)
