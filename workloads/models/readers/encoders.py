"""Encoders (BERT) and encoder-decoders (T5, Switch Transformers).

Sources: BERT (arXiv 1810.04805), T5 (arXiv 1910.10683; version 1.1: google-research/text-to-text-transfer-transformer,
released_checkpoints.md), Switch Transformers (arXiv 2101.03961) and their config.json files.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from workloads.errors import unknown_name
from workloads.models.architecture import Attention, Block, FeedForward, MixtureOfExperts, Model
from workloads.models.fields import Config
from workloads.models.readers.common import activation, build_model, head_sizes, layer_count, mixture

__all__ = ["bert", "switch_transformers", "t5"]

_T5_SIZES = ("d_model", "d_kv", "d_ff", "num_layers", "num_heads", "vocab_size")
_BERT_HEADS = ("BertForMaskedLM", "BertForPreTraining", "BertLMHeadModel", "BertModel")
FeedForwards = Callable[[int, int], list[FeedForward | MixtureOfExperts]]


def bert(config: Config, name: str) -> Model:
    """BERT: norms after each part, a norm after the embeddings; the head depends on the architecture named.

    ``BertModel`` has the pooler; ``BertForMaskedLM`` the transform and the biased tied projection; pretraining both.
    """
    config.require(
        "hidden_size",
        "intermediate_size",
        "num_hidden_layers",
        "num_attention_heads",
        "max_position_embeddings",
        "type_vocab_size",
        "vocab_size",
    )
    hidden = config.count("hidden_size")
    heads, _, head_dim = head_sizes(config, hidden, kv_heads_key=None)
    kind = (config.words("architectures") or ("BertModel",))[0]
    if kind not in _BERT_HEADS:
        raise unknown_name("BERT head", kind, _BERT_HEADS, field="architectures", file=config.file)
    predicts = kind != "BertModel"
    pooler = hidden * hidden + hidden if kind in ("BertModel", "BertForPreTraining") else 0
    transform = hidden * hidden + hidden + 2 * hidden if predicts else 0
    next_sentence = 2 * hidden + 2 if kind == "BertForPreTraining" else 0
    causal = config.flag("is_decoder", False)
    block = Block(
        Attention(heads, heads, head_dim, qkv_bias=True, output_bias=True, causal=causal, rotary=False),
        FeedForward(
            config.count("intermediate_size"),
            gated=False,
            activation=activation(config, "hidden_act", "gelu"),
            bias=True,
        ),
        "layer",
    )
    return build_model(
        config,
        name,
        "bert",
        [block] * layer_count(config),
        hidden=hidden,
        tied=True,
        final_norm=False,
        embedding_norm=True,
        positions=config.count("max_position_embeddings"),
        token_types=config.count("type_vocab_size"),
        lm_head=predicts,
        lm_head_bias=predicts,
        head_weights=pooler + transform + next_sentence,
    )


def t5(config: Config, name: str) -> Model:
    """T5, version 1.1, Flan-T5: relative positions in each side's first layer, no biases, head_dim of its own."""
    config.require(*_T5_SIZES)
    dense = _t5_feed_forward(config)
    return _t5(config, name, "t5", lambda layers, _: [dense] * layers)


def switch_transformers(config: Config, name: str) -> Model:
    """Switch Transformers: T5 with one expert per token in every ``sparse_step``-th layer of each side."""
    config.require(*_T5_SIZES, "num_experts")
    dense = _t5_feed_forward(config)
    # One expert per token is what makes it a Switch; the files have no key for it.
    experts = mixture(
        replace(config, values={**config.values, "experts_per_token": 1}),
        "num_experts",
        "experts_per_token",
        dense,
        router_bias=config.flag("router_bias", False),
    )

    def parts(layers: int, side: int) -> list[FeedForward | MixtureOfExperts]:
        key = ("num_sparse_encoder_layers", "num_sparse_decoder_layers")[side]
        sparse = config.count(key, 3, least=0, most=layers)
        step = layers // sparse if sparse else 0
        # The layers at 1, 1 + step, ... are sparse; with a step of one, all are.
        return [experts if step and (index % step == 1 or step == 1) else dense for index in range(layers)]

    return _t5(config, name, "switch_transformers", parts)


def _t5_feed_forward(config: Config) -> FeedForward:
    words = config.word("feed_forward_proj", "relu").split("-")
    gated = words[0] == "gated" and len(words) == 2
    named = replace(config, values={**config.values, "feed_forward_proj": words[-1] if gated else "-".join(words)})
    act = activation(named, "feed_forward_proj")
    # Gated GELU in these files always meant the tanh form.
    return FeedForward(config.count("d_ff"), gated=gated, activation="gelu_tanh" if gated and act == "gelu" else act)


def _t5(config: Config, name: str, family: str, parts: FeedForwards) -> Model:
    heads = config.count("num_heads")
    plain = Attention(heads, heads, config.count("d_kv"), rotary=False)
    table = config.count("relative_attention_num_buckets", 32) * heads
    encoder_layers = layer_count(config, "num_layers")
    decoder_layers = layer_count(config, "num_decoder_layers", encoder_layers)
    layers = []
    for index, part in enumerate(parts(encoder_layers, 0)):
        own = replace(plain, causal=False, position_table=table if index == 0 else 0)
        layers.append(Block(own, part, "rms"))
    for index, part in enumerate(parts(decoder_layers, 1)):
        own = replace(plain, position_table=table if index == 0 else 0)
        layers.append(Block(own, part, "rms", norms=3, cross_attention=replace(plain, causal=False)))
    return build_model(
        config, name, family, layers, hidden=config.count("d_model"), tied=True, encoder_layers=encoder_layers
    )
