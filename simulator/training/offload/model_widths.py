"""A model made wider or narrower: as many layers, heads of the same size, everything else in proportion."""

from __future__ import annotations

from dataclasses import replace

from workloads.errors import InputError
from workloads.models.architecture import Attention, Block, FeedForward, MixtureOfExperts, Model

__all__ = ["at_width"]


def at_width(model: Model, width: int) -> Model:
    """``model`` with a hidden size of ``width``; its name says so.

    Raises `InputError` where heads or columns would not be whole, and for parts whose sizes do not hang on the width
    alone (latent attention, several widths of embeddings).
    """
    if width == model.hidden:
        return model
    if width < 1:
        raise InputError(f"found {width}", "1 or more", "width")
    if model.embedding_bins or any(block.attention.latent for block in model.blocks):
        raise InputError(f"{model.name} has parts that do not scale with its width", "another model", "width")

    def scaled(count: int, what: str) -> int:
        if count * width % model.hidden:
            raise InputError(f"{count} {what} at a width of {width}", f"a multiple of {model.hidden}", "width")
        return count * width // model.hidden

    def attention(one: Attention) -> Attention:
        kv_heads = one.kv_heads if one.kv_heads == 1 else scaled(one.kv_heads, "key-value heads")
        norms = tuple(each if each == one.head_dim else scaled(each, "norm weights") for each in one.query_key_norm)
        return replace(one, heads=scaled(one.heads, "heads"), kv_heads=kv_heads, query_key_norm=(norms[0], norms[1]))

    def dense(one: FeedForward) -> FeedForward:
        return replace(one, intermediate=scaled(one.intermediate, "columns"))

    def block(one: Block) -> Block:
        part = one.feed_forward
        if isinstance(part, MixtureOfExperts):
            shared = None if part.shared is None else dense(part.shared)
            wide: FeedForward | MixtureOfExperts = replace(part, expert=dense(part.expert), shared=shared)
        else:
            wide = dense(part)
        cross = None if one.cross_attention is None else attention(one.cross_attention)
        return replace(one, attention=attention(one.attention), feed_forward=wide, cross_attention=cross)

    embedding = None if model.embedding_dim is None else scaled(model.embedding_dim, "embedding columns")
    return replace(
        model,
        name=f"{model.name} at {width:,}",
        hidden=width,
        blocks=tuple(block(one) for one in model.blocks),
        embedding_dim=embedding,
    )
