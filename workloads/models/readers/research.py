"""Models that papers on attention accelerators and sparse models measure: XLM, Transformer-XL, GLaM.

Sources: XLM (arXiv 1901.07291), Transformer-XL (arXiv 1901.02860; adaptive embeddings: arXiv 1809.10853) and their
config.json files; GLaM (arXiv 2112.06905, section 3 and table 4), of which no file was published: its keys here are the
usual ones, with ``moe_every`` for the distance between mixtures.
"""

from __future__ import annotations

import itertools

from workloads.models.architecture import Attention, Block, FeedForward, MixtureOfExperts, Model
from workloads.models.fields import Config
from workloads.models.readers.common import build_model, head_sizes, layer_count, mixture

__all__ = ["glam", "transformer_xl", "xlm"]


def xlm(config: Config, name: str) -> Model:
    """XLM: BERT's layers with a norm after each part, learned positions, and a tied head with bias."""
    vocabulary = ("n_words", "vocab_size")
    config.require("emb_dim", "n_layers", "n_heads", "max_position_embeddings", vocabulary)
    hidden, positions = config.count("emb_dim"), config.count("max_position_embeddings")
    heads, _, head_dim = head_sizes(config, hidden, "n_heads", None)
    languages = config.count("n_langs", 1)
    block = Block(
        Attention(
            heads,
            heads,
            head_dim,
            qkv_bias=True,
            output_bias=True,
            causal=config.flag("causal", False),
            rotary=False,
        ),
        FeedForward(
            4 * hidden, gated=False, activation="gelu" if config.flag("gelu_activation", True) else "relu", bias=True
        ),
        "layer",
    )
    return build_model(
        config,
        name,
        "xlm",
        [block] * layer_count(config, "n_layers"),
        hidden=hidden,
        tied=True,
        vocabulary_key=vocabulary,
        final_norm=False,
        embedding_norm=True,
        # Fixed sinusoids are stored in the checkpoint's position table all the same.
        positions=positions,
        token_types=languages if languages > 1 and config.flag("use_lang_emb", True) else 0,
        lm_head_bias=True,
        max_positions=positions,
    )


def transformer_xl(config: Config, name: str) -> Model:
    """Transformer-XL: relative positions projected in each layer, a memory of earlier segments, adaptive embeddings."""
    config.require("d_model", "d_embed", "n_head", "d_head", "d_inner", "n_layer", "mem_len", "cutoffs", "vocab_size")
    hidden, vocabulary = config.count("d_model"), config.count("vocab_size")
    heads = config.count("n_head")
    cutoffs = config.counts("cutoffs", least=1)
    edges = (0, *cutoffs, vocabulary)
    if any(low >= high for low, high in _pairs(edges)):
        raise config.error("cutoffs", f"found {list(cutoffs)}", f"growing numbers below vocab_size {vocabulary}")
    divisor, widest = config.count("div_val", 4), config.count("d_embed")
    if widest < divisor ** len(cutoffs):
        raise config.error("div_val", f"{divisor} leaves no width for bin {len(cutoffs)}", "a smaller divisor")
    bins = tuple((high - low, widest // divisor**place) for place, (low, high) in enumerate(_pairs(edges)))
    shared = config.flags("tie_projs") or (True,) * len(bins)
    if len(shared) != len(bins):
        raise config.error("tie_projs", f"found {len(shared)} entries", f"one for each of the {len(bins)} bins")
    block = Block(
        Attention(heads, heads, config.count("d_head"), rotary=False, relative=True, window=config.count("mem_len")),
        FeedForward(config.count("d_inner"), gated=False, activation="relu", bias=True),
        "layer",
    )
    return build_model(
        config,
        name,
        "transformer_xl",
        [block] * layer_count(config, "n_layer"),
        hidden=hidden,
        tied=True,
        final_norm=False,
        embedding_bins=bins,
        head_weights=sum(width * hidden for (_, width), same in zip(bins, shared, strict=True) if not same),
    )


def glam(config: Config, name: str) -> Model:
    """GLaM: a gated dense feed-forward alternates with a mixture of ungated experts; tied embeddings.

    With experts of two matrices and one table, the parameters active per token come to the 96.6 billion of table 4.
    """
    config.require(
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "num_experts",
        "num_experts_per_tok",
        "moe_every",
        "vocab_size",
    )
    hidden, width = config.count("hidden_size"), config.count("intermediate_size")
    heads, kv_heads, head_dim = head_sizes(config, hidden)
    attention = Attention(heads, kv_heads, head_dim, rotary=False)
    expert = FeedForward(width, gated=False, activation="gelu")
    parts: tuple[FeedForward, MixtureOfExperts] = (
        FeedForward(width, gated=True, activation="gelu"),
        mixture(config, "num_experts", "num_experts_per_tok", expert),
    )
    every = config.count("moe_every")
    layers = [Block(attention, parts[(index + 1) % every == 0], "layer") for index in range(layer_count(config))]
    return build_model(config, name, "glam", layers, hidden=hidden, tied=True)


def _pairs(edges: tuple[int, ...]) -> list[tuple[int, int]]:
    return list(itertools.pairwise(edges))
