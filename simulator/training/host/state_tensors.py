"""A model's parameters tensor by tensor, in the order in which frameworks register them, and how ZeRO groups them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from workloads.errors import InputError
from workloads.models.architecture import Block, FeedForward, Model

__all__ = ["ParameterTensor", "parameter_tensors", "zero_subgroups"]


@dataclass(frozen=True)
class ParameterTensor:
    """``kind`` is the same for tensors of one role in all layers; ``layer`` is None outside of them."""

    kind: str
    elements: int
    layer: int | None = None


def parameter_tensors(model: Model, *, fused: bool = False) -> tuple[ParameterTensor, ...]:
    """All parameters of a dense decoder.

    Hugging Face's classes have a matrix for each of q, k, v, o, gate, up and down. ``fused``: keys with values and gate
    with up are one matrix each (Megatron-DeepSpeed). Raises `InputError` where layers have parts beside these.
    """
    layers = [
        ParameterTensor(kind, elements, layer)
        for layer, index in enumerate(model.order)
        for kind, elements in _layer(model, model.blocks[index], fused)
        if elements
    ]
    table = model.vocabulary * model.hidden
    last = [ParameterTensor("norm", _norm(model.blocks[0], model.hidden))] if model.final_norm else []
    positions = [ParameterTensor("positions", model.positions * model.hidden)] if model.positions else []
    head = [ParameterTensor("head", table)] if model.lm_head and not model.tied_embeddings else []
    return (ParameterTensor("embedding", table), *positions, *layers, *last, *head)


def _norm(block: Block, hidden: int) -> int:
    return hidden * (2 if block.norm == "layer" else 1)


def _layer(model: Model, block: Block, fused: bool) -> list[tuple[str, int]]:
    attention, feed_forward, hidden = block.attention, block.feed_forward, model.hidden
    plain = not (attention.latent or attention.sinks or attention.relative or block.cross_attention)
    if not (isinstance(feed_forward, FeedForward) and plain and block.norms == 2):
        raise InputError(f"{model.name} has layers beside dense attention and feed-forward", "a dense decoder", "model")
    queries, keys = (heads * attention.head_dim for heads in (attention.heads, attention.kv_heads))
    wide = feed_forward.intermediate
    bias = int(attention.qkv_bias)
    wide_bias, narrow_bias = (wide, hidden) if feed_forward.bias else (0, 0)
    norm = _norm(block, hidden)
    first: list[tuple[str, int]] = [("norm", norm), ("query", hidden * queries)]
    if fused:
        first += [("key_value", 2 * hidden * keys)]
    else:
        first += [("key", hidden * keys), ("value", hidden * keys)]
    first += [("bias", bias * queries), ("bias", bias * keys), ("bias", bias * keys)]
    first += [("output", queries * hidden), ("bias", hidden * int(attention.output_bias))]
    first += [("head_norm", count) for count in attention.query_key_norm]
    if not feed_forward.gated:
        up = [("up", hidden * wide)]
    elif fused:
        up = [("gate_up", 2 * hidden * wide)]
    else:
        up = [("gate", hidden * wide), ("up", hidden * wide)]
    biases = [("bias", wide_bias)] * (2 if feed_forward.gated else 1) + [("bias", narrow_bias)]
    return [*first, ("norm", norm), *up, ("down", wide * hidden), *biases]


def zero_subgroups(tensors: Sequence[ParameterTensor], devices: int, size: int) -> tuple[int, ...]:
    """Parameters of each subgroup on one of ``devices`` under ZeRO-3.

    Every tensor is cut over the devices; a subgroup is closed by the tensor that brings it to ``size`` or more
    (deepspeed 0.13, runtime/zero/stage3.py, _create_fp16_sub_groups).
    """
    groups, held = [], 0
    for tensor in tensors:
        held += -(-tensor.elements // devices)
        if held >= size:
            groups.append(held)
            held = 0
    return (*groups, held) if held else tuple(groups)
