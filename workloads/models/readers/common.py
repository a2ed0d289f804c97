"""What the readers of all families share: head sizes, windows, activations, expert choice, and the finished `Model`."""

from __future__ import annotations

from collections.abc import Sequence

from workloads.errors import unknown_name
from workloads.models.architecture import Block, FeedForward, MixtureOfExperts, Model
from workloads.models.fields import LARGEST_LAYERS, Config, Key
from workloads.models.stored import stored_formats

__all__ = [
    "activation",
    "build_model",
    "check_divides",
    "head_sizes",
    "layer_count",
    "layer_types",
    "mixture",
]

_ACTIVATIONS = {
    "gelu": "gelu",
    "gelu_10": "gelu",
    "gelu_fast": "gelu_tanh",
    "gelu_new": "gelu_tanh",
    "gelu_pytorch_tanh": "gelu_tanh",
    "quick_gelu": "quick_gelu",
    "relu": "relu",
    "relu2": "relu2",
    "silu": "silu",
    "swish": "silu",
}


def activation(config: Config, key: Key, default: str | None = None) -> str:
    """The activation named under ``key``, in one spelling for all families."""
    name = config.word(key, default)
    if name not in _ACTIVATIONS:
        raise unknown_name("activation", name, _ACTIVATIONS, field=config.present(key), file=config.file)
    return _ACTIVATIONS[name]


def layer_count(config: Config, key: Key = "num_hidden_layers", default: int | None = None) -> int:
    """The number of layers."""
    return config.count(key, default, most=LARGEST_LAYERS)


def check_divides(config: Config, field: Key, divisor: int, name: str, value: int) -> None:
    """Refuse ``field`` unless its value ``divisor`` divides ``value``, the value of ``name``."""
    if value % divisor:
        shown = config.present(field) or (field if isinstance(field, str) else field[0])
        raise config.error(shown, f"{divisor} does not divide {name} {value}", f"a divisor of {value}")


def head_sizes(
    config: Config,
    hidden: int,
    heads_key: Key = "num_attention_heads",
    kv_heads_key: Key | None = "num_key_value_heads",
) -> tuple[int, int, int]:
    """(query heads, key and value heads, head_dim): as many KV heads as heads and hidden / heads where not given.

    ``kv_heads_key`` is None for families that have no such key.
    """
    heads = config.count(heads_key)
    kv_heads = heads
    if kv_heads_key is not None:
        kv_heads = config.count(kv_heads_key, heads)
        check_divides(config, kv_heads_key, kv_heads, config.present(heads_key) or "", heads)
    head_dim = config.optional_count("head_dim")
    if head_dim is None:
        check_divides(config, heads_key, heads, "the hidden size", hidden)
        head_dim = hidden // heads
    return heads, kv_heads, head_dim


def layer_types(config: Config, layers: int) -> tuple[bool, ...] | None:
    """For each layer whether ``layer_types`` makes it a sliding-window one, or None where the key is absent."""
    types = config.words("layer_types")
    if not types:
        return None
    if len(types) != layers:
        raise config.error("layer_types", f"found {len(types)} entries", f"one for each of the {layers} layers")
    known = ("full_attention", "sliding_attention")
    for kind in types:
        if kind not in known:
            raise unknown_name("layer type", kind, known, field="layer_types", file=config.file)
    return tuple(kind == "sliding_attention" for kind in types)


def mixture(
    config: Config,
    experts_key: Key,
    top_k_key: Key,
    expert: FeedForward,
    *,
    shared: FeedForward | None = None,
    router_bias: bool = False,
    shared_gate: bool = False,
    early_router: bool = False,
) -> MixtureOfExperts:
    """A mixture whose sizes are checked: no more experts chosen than there are."""
    experts = config.count(experts_key)
    top_k = config.count(top_k_key)
    if top_k > experts:
        raise config.error(config.present(top_k_key), f"{top_k} experts chosen of {experts}", f"at most {experts}")
    return MixtureOfExperts(
        experts,
        top_k,
        expert,
        shared=shared,
        router_bias=router_bias,
        shared_gate=shared_gate,
        early_router=early_router,
    )


def build_model(
    config: Config,
    name: str,
    family: str,
    layers: Sequence[Block],
    *,
    hidden: int,
    tied: bool,
    vocabulary_key: Key = "vocab_size",
    final_norm: bool = True,
    embedding_norm: bool = False,
    positions: int = 0,
    token_types: int = 0,
    embedding_dim: int | None = None,
    embedding_bins: tuple[tuple[int, int], ...] = (),
    lm_head: bool = True,
    lm_head_bias: bool = False,
    head_weights: int = 0,
    encoder_layers: int = 0,
    max_positions: int | None = None,
) -> Model:
    """The model of ``layers`` in order, equal layers listed once; vocabulary and formats are read here.

    ``tied`` is what the family assumes where ``tie_word_embeddings`` is absent.
    """
    blocks = tuple(dict.fromkeys(layers))
    place = {block: index for index, block in enumerate(blocks)}
    stored = stored_formats(config)
    return Model(
        name=name,
        family=family,
        hidden=hidden,
        vocabulary=config.count(vocabulary_key),
        blocks=blocks,
        order=tuple(place[block] for block in layers),
        tied_embeddings=config.flag("tie_word_embeddings", tied),
        final_norm=final_norm,
        embedding_norm=embedding_norm,
        positions=positions,
        token_types=token_types,
        embedding_dim=embedding_dim,
        embedding_bins=embedding_bins,
        lm_head=lm_head,
        lm_head_bias=lm_head_bias,
        head_weights=head_weights,
        encoder_layers=encoder_layers,
        max_positions=max_positions or config.optional_count("max_position_embeddings"),
        weight_format=stored.weights,
        expert_weight_format=stored.experts,
        unquantized_format=stored.unquantized,
    )
