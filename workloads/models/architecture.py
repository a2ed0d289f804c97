"""What a transformer is made of, free of any file format: blocks of attention and feed-forward, in an order.

A `Model` lists its distinct blocks once and the order in which they stand, so that equal layers are described, counted
and simulated once. Readers of published configurations build these values; counting and lowering only read them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = ["Attention", "Block", "FeedForward", "LatentAttention", "MixtureOfExperts", "Model"]


@dataclass(frozen=True)
class LatentAttention:
    """Multi-head latent attention's ranks (DeepSeek-V2, arXiv 2405.04434, section 2.1).

    ``query_rank`` is None where queries are projected without compression. The cache holds ``kv_rank + rope_dim``
    values per token and layer.
    """

    query_rank: int | None
    kv_rank: int
    nope_dim: int
    rope_dim: int
    value_dim: int


@dataclass(frozen=True)
class Attention:
    """Attention with ``heads`` query heads sharing ``kv_heads`` key and value heads of ``head_dim``.

    ``window`` limits how many latest tokens are attended to. ``query_key_norm`` is the number of norm weights for
    queries and for keys: head_dim for a norm per head, heads x head_dim for one over the whole projection, 0 for none.
    ``sinks`` adds one learned logit per head (gpt-oss). ``position_table`` counts the learned relative-position
    weights this attention owns (T5's first layer). ``alibi`` adds a fixed linear distance bias to the logits.
    ``relative`` projects the keys' positions with a matrix of their own and adds their product with the queries to the
    logits, with one learned bias vector per head for contents and one for positions (Transformer-XL).
    """

    heads: int
    kv_heads: int
    head_dim: int
    qkv_bias: bool = False
    output_bias: bool = False
    query_key_norm: tuple[int, int] = (0, 0)
    window: int | None = None
    causal: bool = True
    rotary: bool = True
    sinks: bool = False
    logit_softcap: bool = False
    position_table: int = 0
    alibi: bool = False
    relative: bool = False
    latent: LatentAttention | None = None


@dataclass(frozen=True)
class FeedForward:
    """A dense feed-forward: two matrices, or three when ``gated``."""

    intermediate: int
    gated: bool
    activation: str
    bias: bool = False


@dataclass(frozen=True)
class MixtureOfExperts:
    """``experts`` equal feed-forwards of which a router picks ``top_k`` per token, beside ``shared`` for every token.

    ``router_bias`` counts additional router weights per expert that are stored (score correction or linear bias).
    ``early_router`` means that the router reads the block's input, before attention (SmallThinker), so that
    the choice is known while attention runs.
    """

    experts: int
    top_k: int
    expert: FeedForward
    shared: FeedForward | None = None
    router_bias: bool = False
    shared_gate: bool = False
    early_router: bool = False


@dataclass(frozen=True)
class Block:
    """One layer: self-attention, perhaps cross-attention, and a feed-forward.

    ``norms`` counts the norms over the hidden size (four in Gemma-2, one where attention and feed-forward run in
    parallel from one norm, as in Falcon-7B).
    """

    attention: Attention
    feed_forward: FeedForward | MixtureOfExperts
    norm: Literal["rms", "layer"]
    norms: int = 2
    cross_attention: Attention | None = None
    parallel: bool = False


@dataclass(frozen=True)
class Model:
    """A whole model: ``order`` indexes ``blocks`` layer by layer, encoder layers (``encoder_layers`` of them) first.

    ``positions`` is the size of a learned position table (0 for none), ``token_types`` of a segment table.
    ``embedding_bins`` gives (tokens, width) for each part of a vocabulary that is embedded in several widths, each part
    with a projection to ``hidden`` (adaptive embeddings, arXiv 1809.10853); empty for one table.
    ``head_weights`` counts what stands between the last block and the vocabulary beside the projection itself
    (BERT's pooler and transform). ``weight_format`` stores all weights but for two exceptions, each None where there
    is none: ``expert_weight_format`` stores the routed experts' matrices (gpt-oss), ``unquantized_format`` embeddings,
    head, norms and router (quantised checkpoints). Published counts are not here: they stand with the catalogue entry.
    """

    name: str
    family: str
    hidden: int
    vocabulary: int
    blocks: tuple[Block, ...]
    order: tuple[int, ...]
    tied_embeddings: bool
    final_norm: bool = True
    embedding_norm: bool = False
    positions: int = 0
    token_types: int = 0
    embedding_dim: int | None = None
    embedding_bins: tuple[tuple[int, int], ...] = ()
    lm_head: bool = True
    lm_head_bias: bool = False
    head_weights: int = 0
    encoder_layers: int = 0
    max_positions: int | None = None
    weight_format: str = "bf16"
    expert_weight_format: str | None = None
    unquantized_format: str | None = None
