"""The four GPT models of MEMO's table 2 (arXiv 2407.12117), by the names that table gives their sizes."""

from __future__ import annotations

from workloads.models.architecture import Attention, Block, FeedForward, Model

__all__ = ["GPT_MODELS", "gpt_model"]

GPT_MODELS = {
    "gpt-7b": (32, 4096, 16384, 32),
    "gpt-13b": (40, 5120, 20480, 40),
    "gpt-30b": (48, 7168, 28672, 56),
    "gpt-65b": (80, 8192, 32768, 64),
}
"""Layers, hidden size, feed-forward size, heads."""

_VOCABULARY = 50257


def gpt_model(name: str) -> Model:
    """The model of that name; the table leaves open whether the head shares the embedding: here it does, as in GPT-2.

    Rotary positions stand for the table's unnamed ones, so that no table grows with the context.
    """
    layers, hidden, wide, heads = GPT_MODELS[name]
    attention = Attention(heads, heads, hidden // heads, qkv_bias=True, output_bias=True)
    block = Block(attention, FeedForward(wide, gated=False, activation="gelu", bias=True), "layer")
    return Model(name, "gpt", hidden, _VOCABULARY, (block,), (0,) * layers, tied_embeddings=True)
