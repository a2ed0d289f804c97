"""A small model for tests of training steps."""

from __future__ import annotations

from workloads.models.architecture import Attention, Block, FeedForward, Model

__all__ = ["small"]


def small(layers: int, hidden: int = 64) -> Model:
    block = Block(Attention(4, 2, hidden // 4), FeedForward(4 * hidden, gated=True, activation="silu"), "rms")
    return Model("small", "llama", hidden, 512, (block,), (0,) * layers, tied_embeddings=False)
