"""Attention of one block as operations: projections, position, cache, scores and output.

Grouped-query attention is one 1-pass cascade over KV heads and the query heads that share them. Latent attention
(DeepSeek) decodes in its absorbed form, over the compressed cache, and prefills in its plain form.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from workloads.errors import InputError
from workloads.models.architecture import Attention, LatentAttention
from workloads.models.layer_builder import LayerBuilder, Ref, activation, stored

__all__ = ["AttentionShape", "add_attention", "add_cross_attention"]


@dataclass(frozen=True)
class AttentionShape:
    """What one device attends over: ``batch`` sequences, ``queries`` new tokens each, ``keys`` tokens attended to.

    ``hidden`` is the model's width and ``devices`` the tensor-parallel degree that heads are split over.
    """

    batch: int
    queries: int
    keys: int
    hidden: int
    devices: int

    @property
    def tokens(self) -> int:
        """New tokens over the batch."""
        return self.batch * self.queries


def add_attention(
    layer: LayerBuilder, attention: Attention, shape: AttentionShape, *, source: str, prefix: str = ""
) -> str:
    """Append self-attention reading activation ``source``; returns the activation that holds its output."""
    if attention.heads % shape.devices:
        raise InputError(
            f"{attention.heads} attention heads cannot be split over {shape.devices} devices",
            expected=f"a divisor of {attention.heads}",
            field="devices",
        )
    if attention.kv_heads % shape.devices and shape.devices % attention.kv_heads:
        raise InputError(
            f"{attention.kv_heads} key-value heads cannot be split over {shape.devices} devices",
            expected=f"a divisor or a multiple of {attention.kv_heads}",
            field="devices",
        )
    if attention.latent is not None:
        return _add_latent(layer, attention, attention.latent, shape, source, prefix)
    heads, kv_heads = _local_heads(attention, shape.devices)
    size = attention.head_dim
    width = (heads + 2 * kv_heads) * size
    _project(layer, f"{prefix}qkv", source, shape.hidden, width, shape.tokens, bias=attention.qkv_bias)
    qkv = f"{prefix}qkv"
    if any(attention.query_key_norm):
        weights = sum(attention.query_key_norm)
        qkv = _norm_heads(layer, prefix, qkv, shape.tokens * (heads + kv_heads), size, weights)
    # An encoder's keys and values are used up in its own layer: only a decoder keeps them.
    if attention.causal:
        cache = _cache(layer, prefix, shape, attention.window, kv_heads * size * 2)
    else:
        cache = activation(f"{prefix}keys_values")
    query = _append_to_cache(layer, cache, prefix, qkv, shape.tokens, heads, kv_heads, size, rotary=attention.rotary)
    return _attend(layer, attention, shape, heads, kv_heads, cache, prefix, query)


def add_cross_attention(
    layer: LayerBuilder, attention: Attention, shape: AttentionShape, *, source: str, encoder_tokens: int | None
) -> str:
    """Append attention over an encoder's output; its keys and values are computed when ``encoder_tokens`` is given."""
    heads, kv_heads = _local_heads(attention, shape.devices)
    size = attention.head_dim
    cache = _cache(layer, "cross_", shape, None, kv_heads * size * 2)
    weights = layer.store("cross_kv_weight", "attention", shape.hidden * 2 * kv_heads * size)
    if encoder_tokens is not None:
        layer.op(
            "cross_kv", "gemm", "gemm",
            {"m": encoder_tokens, "n0": shape.hidden, "n1": 2 * kv_heads * size},
            {"A": activation("encoder_output"), "W": weights}, {"Z": cache},
        )  # fmt: skip
    _project(layer, "cross_q", source, shape.hidden, heads * size, shape.tokens, bias=attention.qkv_bias)
    return _attend(layer, attention, shape, heads, kv_heads, cache, "cross_", query="cross_q")


def _local_heads(attention: Attention, devices: int) -> tuple[int, int]:
    """Query and KV heads of one device; KV heads are replicated when there are fewer of them than devices."""
    return attention.heads // devices, max(1, attention.kv_heads // devices)


def _project(
    layer: LayerBuilder, name: str, source: str, width_in: int, width_out: int, tokens: int, *, bias: bool
) -> None:
    weights = layer.store(f"{name}_weight", "attention", width_in * width_out)
    reads = {"A": activation(source), "W": weights}
    if bias:
        reads["B"] = layer.store(f"{name}_bias", "norm", width_out)
    cascade = "gemm-bias" if bias else "gemm"
    layer.op(name, "gemm", cascade, {"m": tokens, "n0": width_in, "n1": width_out}, reads, {"Z": activation(name)})


def _norm_heads(layer: LayerBuilder, prefix: str, source: str, rows: int, size: int, weights: int) -> str:
    name = f"{prefix}qk_norm"
    gain = layer.store(f"{name}_gain", "norm", weights)
    layer.op(
        name, "norm", "rms-norm", {"t": rows, "d": size},
        {"X": activation(source), "G": stored(gain.name, weights)}, {"Y": activation(name)},
    )  # fmt: skip
    return name


def _cache(layer: LayerBuilder, prefix: str, shape: AttentionShape, window: int | None, per_token: int) -> Ref:
    kept = shape.keys if window is None else min(shape.keys, window)
    return layer.store(f"{prefix}kv_cache", "kv_cache", shape.batch * kept * per_token)


def _append_to_cache(
    layer: LayerBuilder,
    cache: Ref,
    prefix: str,
    source: str,
    tokens: int,
    heads: int,
    kv_heads: int,
    size: int,
    *,
    rotary: bool,
) -> str:
    """Write new keys and values to the cache, rotated where the model does so; returns where the queries stand."""
    keys = tokens * kv_heads * size
    cache = replace(cache, elements=2 * keys)
    name = f"{prefix}cache_append"
    if not rotary:
        reads = {"K": activation(source, keys), "V": activation(source, keys)}
        layer.op(name, "elementwise", "cache-append", {"t": tokens, "k": kv_heads * size}, reads, {"KC": cache})
        return source
    layer.op(
        name, "elementwise", "rotary-append", {"t": tokens, "a": heads, "h": kv_heads, "i": size // 2},
        {"Q": activation(source, tokens * heads * size), "K": activation(source, keys), "V": activation(source, keys)},
        {"QL": activation(f"{prefix}q", tokens * heads * size), "KL": cache},
    )  # fmt: skip
    return f"{prefix}q"


def _attend(
    layer: LayerBuilder,
    attention: Attention,
    shape: AttentionShape,
    heads: int,
    kv_heads: int,
    cache: Ref,
    prefix: str,
    query: str,
) -> str:
    size = attention.head_dim
    causal = attention.causal and prefix != "cross_"
    _store_logit_weights(layer, attention, shape, heads, prefix)
    cascade, keys, window = _masked_cascade(shape, attention.window if causal else None, causal=causal)
    half = shape.batch * keys * kv_heads * size
    sizes = _attention_sizes(shape.batch, kv_heads, heads // kv_heads, shape.queries, keys, size, size) | window
    layer.op(
        f"{prefix}attention", "attention", cascade, sizes,
        {
            "Q": activation(query, shape.tokens * heads * size),
            "K": replace(cache, elements=half),
            "V": replace(cache, elements=half),
        },
        {"AV": activation(f"{prefix}attended")},
    )  # fmt: skip
    _project(
        layer,
        f"{prefix}output",
        f"{prefix}attended",
        heads * size,
        shape.hidden,
        shape.tokens,
        bias=attention.output_bias,
    )
    return f"{prefix}output"


def _store_logit_weights(
    layer: LayerBuilder, attention: Attention, shape: AttentionShape, heads: int, prefix: str
) -> None:
    """Weights that enter the logits beside queries and keys: sinks, a position table, projected relative positions."""
    small = heads * attention.sinks + attention.position_table // shape.devices
    if attention.relative:
        small += 2 * heads * attention.head_dim
        weights = layer.store(f"{prefix}position_weight", "attention", shape.hidden * heads * attention.head_dim)
        if shape.queries > 1:  # made once for all positions and kept: decoding does not make them again
            layer.op(
                f"{prefix}positions", "gemm", "gemm",
                {"m": shape.keys, "n0": shape.hidden, "n1": heads * attention.head_dim},
                {"A": activation("position_codes"), "W": weights}, {"Z": activation(f"{prefix}positions")},
            )  # fmt: skip
    if small:
        layer.store(f"{prefix}logit_weights", "norm", small)


def _masked_cascade(shape: AttentionShape, window: int | None, *, causal: bool) -> tuple[str, int, dict[str, int]]:
    """The 1-pass cascade for a mask, the keys it reads and the window it takes; one query sees all keys left to it."""
    if not causal:
        return "attention-1pass", shape.keys, {}
    if shape.queries == 1:
        return "attention-1pass", shape.keys if window is None else min(shape.keys, window), {}
    if window is None or window >= shape.keys:
        return "attention-1pass-causal", shape.keys, {}
    return "attention-1pass-window", min(shape.keys, shape.queries + window - 1), {"window": window}


def _attention_sizes(b: int, h: int, g: int, p: int, m: int, e: int, f: int) -> dict[str, int]:
    """Sizes of the 1-pass attention cascade."""
    return {"b": b, "h": h, "g": g, "p": p, "m": m, "e": e, "f": f}


def _add_latent(
    layer: LayerBuilder, attention: Attention, latent: LatentAttention, shape: AttentionShape, source: str, prefix: str
) -> str:
    heads = attention.heads // shape.devices
    key_dim = latent.nope_dim + latent.rope_dim
    cached = latent.kv_rank + latent.rope_dim
    tokens = shape.tokens
    query_source, query_width = source, shape.hidden
    if latent.query_rank is not None:
        _project(layer, "q_down", source, shape.hidden, latent.query_rank, tokens, bias=False)
        gain = layer.store("q_norm_gain", "norm", latent.query_rank)
        layer.op(
            "q_norm", "norm", "rms-norm", {"t": tokens, "d": latent.query_rank},
            {"X": activation("q_down"), "G": gain}, {"Y": activation("q_norm")},
        )  # fmt: skip
        query_source, query_width = "q_norm", latent.query_rank
    _project(layer, "q_up", query_source, query_width, heads * key_dim, tokens, bias=False)
    _project(layer, "kv_down", source, shape.hidden, cached, tokens, bias=False)
    gain = layer.store("kv_norm_gain", "norm", latent.kv_rank)
    layer.op(
        "kv_norm", "norm", "rms-norm", {"t": tokens, "d": latent.kv_rank},
        {"X": activation("kv_down"), "G": gain}, {"Y": activation("kv_norm")},
    )  # fmt: skip
    # The latent is not split over devices: every device needs all of it for its own heads.
    cache = layer.store("kv_cache", "kv_cache", shape.batch * shape.keys * cached)
    queries = tokens * heads * key_dim
    layer.op(
        "cache_append", "elementwise", "latent-append",
        {"t": tokens, "a": heads, "r": latent.kv_rank, "i": latent.rope_dim // 2},
        {
            "Q": activation("q_up", queries),
            "K": activation("kv_down", tokens * latent.rope_dim),
            "C": activation("kv_norm"),
        },
        {"QL": activation("q", queries), "CC": stored("kv_cache", tokens * cached)},
    )  # fmt: skip
    keys_up = layer.store("key_up_weight", "attention", heads * latent.nope_dim * latent.kv_rank)
    values_up = layer.store("value_up_weight", "attention", heads * latent.value_dim * latent.kv_rank)
    attend = _attend_latent_absorbed if shape.queries == 1 else _attend_latent_plain
    attend(layer, latent, shape, heads, cache, keys_up, values_up)
    _project(layer, "output", "attended", heads * latent.value_dim, shape.hidden, tokens, bias=attention.output_bias)
    return f"{prefix}output"


def _attend_latent_absorbed(
    layer: LayerBuilder,
    latent: LatentAttention,
    shape: AttentionShape,
    heads: int,
    cache: Ref,
    keys_up: Ref,
    values_up: Ref,
) -> None:
    """Queries move into the latent space, so that one latent vector per token serves all heads (section 2.1.2).

    The values are the first ``kv_rank`` entries of what is read as keys: the cache is read once.
    """
    tokens = shape.tokens
    layer.op(
        "absorb_query", "gemm", "batched-gemm", {"h": heads, "m": tokens, "n0": latent.nope_dim, "n1": latent.kv_rank},
        {"A": activation("q", tokens * heads * latent.nope_dim), "W": keys_up}, {"Z": activation("q_latent")},
    )  # fmt: skip
    cached = latent.kv_rank + latent.rope_dim
    layer.op(
        "attention", "attention", "attention-1pass",
        _attention_sizes(shape.batch, 1, heads, 1, shape.keys, cached, latent.kv_rank),
        {"Q": activation("q_latent", tokens * heads * cached), "K": cache, "V": stored(cache.name, 0)},
        {"AV": activation("attended_latent")},
    )  # fmt: skip
    layer.op(
        "absorb_value", "gemm", "batched-gemm", {"h": heads, "m": tokens, "n0": latent.kv_rank, "n1": latent.value_dim},
        {"A": activation("attended_latent"), "W": values_up}, {"Z": activation("attended")},
    )  # fmt: skip


def _attend_latent_plain(
    layer: LayerBuilder,
    latent: LatentAttention,
    shape: AttentionShape,
    heads: int,
    cache: Ref,
    keys_up: Ref,
    values_up: Ref,
) -> None:
    """Keys and values are expanded from the latent for every token, then attended to as in multi-head attention."""
    rows = shape.batch * shape.keys
    latent_read = rows * latent.kv_rank
    for name, weights, width in (("key_up", keys_up, latent.nope_dim), ("value_up", values_up, latent.value_dim)):
        layer.op(
            name, "gemm", "gemm", {"m": rows, "n0": latent.kv_rank, "n1": heads * width},
            {"A": stored(cache.name, latent_read), "W": weights}, {"Z": activation(name)},
        )  # fmt: skip
    key_dim = latent.nope_dim + latent.rope_dim
    layer.op(
        "attention", "attention", "attention-1pass-causal",
        _attention_sizes(shape.batch, heads, 1, shape.queries, shape.keys, key_dim, latent.value_dim),
        {"Q": activation("q"), "K": activation("key_up", rows * heads * key_dim), "V": activation("value_up")},
        {"AV": activation("attended")},
    )  # fmt: skip
