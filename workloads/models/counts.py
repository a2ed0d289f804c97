"""Parameters, stored bytes and key-value cache of a model, counted from its architecture alone.

Every count is exact for what published checkpoints store: matrices, biases, norms, position tables. Buffers that are
computed when a model is loaded (rotary angles, masks) are not parameters.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Literal

from workloads.formats import storage_format
from workloads.models.architecture import Attention, Block, FeedForward, MixtureOfExperts, Model

__all__ = [
    "Counted",
    "ParameterCount",
    "ProjectionMatrices",
    "active_parameters",
    "block_parameters",
    "cross_cache_elements",
    "feed_forward_matrices",
    "feed_forward_parameters",
    "kv_bytes_per_token",
    "kv_cache_elements",
    "kv_elements_per_token",
    "kv_elements_per_token_of",
    "parameters",
    "projection_matrices",
    "weight_bytes",
]

Counted = Literal["all", "no input embedding", "no embeddings"]


@dataclass(frozen=True)
class ParameterCount:
    """A model's parameters by what they are for.

    ``embedding`` is the vocabulary's table (the head's too where tied), ``positions`` learned position and segment
    tables, ``feed_forward`` all experts, ``head`` all after the last block's norm. ``idle`` is the part of
    ``feed_forward`` that one token leaves alone: the routed experts that were not chosen.
    """

    embedding: int
    positions: int
    attention: int
    feed_forward: int
    router: int
    norms: int
    head: int
    idle: int

    @property
    def total(self) -> int:
        """All parameters stored."""
        return (
            self.embedding + self.positions + self.attention + self.feed_forward + self.router + self.norms + self.head
        )

    @property
    def active(self) -> int:
        """What one token uses, embedding and head included."""
        return self.total - self.idle


def parameters(model: Model) -> ParameterCount:
    """Counts all parameters of ``model``."""
    attention = feed_forward = router = norms = idle = 0
    for block, times in _block_counts(model):
        attention += times * (_projections(block.attention, model.hidden) + _cross(block, model.hidden))
        feed_forward += times * feed_forward_parameters(block.feed_forward, model.hidden)
        router += times * _router(block.feed_forward, model.hidden)
        norms += times * _block_norms(block, model.hidden)
        if isinstance(block.feed_forward, MixtureOfExperts):
            unused = block.feed_forward.experts - block.feed_forward.top_k
            idle += times * unused * feed_forward_parameters(block.feed_forward.expert, model.hidden)
    norm = _norm(model.blocks[0], model.hidden)
    stacks = 2 if 0 < model.encoder_layers < len(model.order) else 1
    norms += norm * (stacks * model.final_norm + model.embedding_norm)
    return ParameterCount(
        embedding=_embedding(model),
        positions=(model.positions + model.token_types) * model.hidden,
        attention=attention,
        feed_forward=feed_forward,
        router=router,
        norms=norms,
        head=_head(model),
        idle=idle,
    )


def active_parameters(model: Model, counted: Counted = "all") -> int:
    """Parameters one token uses, by what authors count: all, all but the input embedding, or neither table nor head.

    A table that serves as the head too counts as the head.
    """
    count = parameters(model)
    if counted == "no embeddings":
        return count.active - count.embedding - count.head
    if counted == "no input embedding" and not model.tied_embeddings:
        return count.active - count.embedding
    return count.active


def block_parameters(block: Block, hidden: int) -> int:
    """All parameters of one layer: what a model of ``hidden`` grows by when the layer is added."""
    return (
        _projections(block.attention, hidden)
        + _cross(block, hidden)
        + feed_forward_parameters(block.feed_forward, hidden)
        + _router(block.feed_forward, hidden)
        + _block_norms(block, hidden)
    )


def feed_forward_parameters(part: FeedForward | MixtureOfExperts, hidden: int) -> int:
    """Matrices and biases of one feed-forward, or of all experts, shared ones included, without the router."""
    if isinstance(part, MixtureOfExperts):
        shared = feed_forward_parameters(part.shared, hidden) if part.shared else 0
        return part.experts * feed_forward_parameters(part.expert, hidden) + shared
    bias = (2 if part.gated else 1) * part.intermediate + hidden
    return feed_forward_matrices(part, hidden) + bias * part.bias


def feed_forward_matrices(part: FeedForward, hidden: int) -> int:
    """Elements of one feed-forward's two matrices, or three when gated, without biases."""
    return (3 if part.gated else 2) * hidden * part.intermediate


@dataclass(frozen=True)
class ProjectionMatrices:
    """Elements of one attention's matrices: ``queries``, ``keys_values`` and ``output`` run on each token.

    ``expansion`` turns a cached latent into keys and values, ``positions`` projects relative positions; 0 where there
    is none.
    """

    queries: int
    keys_values: int
    expansion: int
    positions: int
    output: int

    @property
    def total(self) -> int:
        """All elements."""
        return self.queries + self.keys_values + self.expansion + self.positions + self.output


def projection_matrices(attention: Attention, hidden: int) -> ProjectionMatrices:
    """The matrices of one attention, without biases."""
    heads, latent = attention.heads, attention.latent
    if latent:
        queries = heads * (latent.nope_dim + latent.rope_dim)
        rank = latent.query_rank
        return ProjectionMatrices(
            queries=hidden * rank + rank * queries if rank else hidden * queries,
            keys_values=hidden * (latent.kv_rank + latent.rope_dim),
            expansion=latent.kv_rank * heads * (latent.nope_dim + latent.value_dim),
            positions=0,
            output=heads * latent.value_dim * hidden,
        )
    inner = heads * attention.head_dim
    return ProjectionMatrices(
        queries=hidden * inner,
        keys_values=hidden * _keys_and_values(attention),
        expansion=0,
        positions=hidden * inner * attention.relative,
        output=inner * hidden,
    )


def weight_bytes(model: Model) -> float:
    """Bytes of all weights in the formats the model is stored in, scales included."""
    count = parameters(model)
    weights = storage_format(model.weight_format)
    rest = storage_format(model.unquantized_format or model.weight_format)
    experts = storage_format(model.expert_weight_format or model.weight_format)
    routed = routed_biases = 0
    for block, times in _block_counts(model):
        if isinstance(block.feed_forward, MixtureOfExperts):
            part = block.feed_forward
            each = feed_forward_parameters(part.expert, model.hidden)
            matrices = feed_forward_matrices(part.expert, model.hidden)
            routed += times * part.experts * matrices
            routed_biases += times * part.experts * (each - matrices)
    outside = count.embedding + count.positions + count.router + count.norms + count.head + routed_biases
    return (
        rest.storage_bytes(outside)
        + experts.storage_bytes(routed)
        + weights.storage_bytes(count.total - outside - routed)
    )


def kv_elements_per_token(model: Model) -> int:
    """Values that one more token adds to the cache over all layers, whether or not a window later drops them.

    0 for an encoder. An encoder-decoder's decoder only; see `cross_cache_elements` for what it keeps of the encoder.
    """
    return sum(times * kv_elements_per_token_of(block.attention) for block, times in _block_counts(model))


def kv_elements_per_token_of(attention: Attention) -> int:
    """Values one attention layer keeps of each token: keys and values, or the latent and the shared rotary key."""
    if not attention.causal:
        return 0
    if attention.latent:
        return attention.latent.kv_rank + attention.latent.rope_dim
    return _keys_and_values(attention)


def kv_bytes_per_token(model: Model, format: str = "fp16") -> float:
    """Bytes that one more token adds to the cache in ``format``, over all layers.

    Scales that several tokens share are spread over them. Raises `InputError` for an unknown format.
    """
    return kv_elements_per_token(model) * storage_format(format).bits_per_element / 8


def kv_cache_elements(model: Model, tokens: int) -> int:
    """Values kept for a sequence of ``tokens``: a windowed layer keeps no more than its window."""
    return sum(
        times * kv_elements_per_token_of(block.attention) * min(tokens, block.attention.window or tokens)
        for block, times in _block_counts(model)
    )


def cross_cache_elements(model: Model, encoder_tokens: int) -> int:
    """Values the decoder keeps of ``encoder_tokens`` for its cross-attention; 0 without one."""
    return sum(
        times * _keys_and_values(block.cross_attention) * encoder_tokens
        for block, times in _block_counts(model)
        if block.cross_attention
    )


def _block_counts(model: Model) -> list[tuple[Block, int]]:
    """Each distinct block and how many layers are one."""
    times = Counter(model.order)
    return [(block, times[index]) for index, block in enumerate(model.blocks)]


def _projections(attention: Attention, hidden: int) -> int:
    latent, inner = attention.latent, attention.heads * attention.head_dim
    # With latents, biases stand on what comes down from the hidden size, not on what goes up to the heads.
    bias = (
        (latent.query_rank or 0) + latent.kv_rank + latent.rope_dim if latent else inner + _keys_and_values(attention)
    )
    return (
        projection_matrices(attention, hidden).total
        + bias * attention.qkv_bias
        + hidden * attention.output_bias
        + attention.heads * attention.sinks
        + attention.position_table
        # Relative attention's two bias vectors, added to the queries.
        + 2 * inner * attention.relative
    )


def _keys_and_values(attention: Attention) -> int:
    return 2 * attention.kv_heads * attention.head_dim


def _cross(block: Block, hidden: int) -> int:
    return _projections(block.cross_attention, hidden) if block.cross_attention else 0


def _router(part: FeedForward | MixtureOfExperts, hidden: int) -> int:
    if not isinstance(part, MixtureOfExperts):
        return 0
    return hidden * part.experts + part.experts * part.router_bias + hidden * part.shared_gate


def _norm(block: Block, hidden: int) -> int:
    """A layer norm has a scale and a shift, a root-mean-square norm a scale only."""
    return hidden if block.norm == "rms" else 2 * hidden


def _block_norms(block: Block, hidden: int) -> int:
    cross = _attention_norms(block.cross_attention) if block.cross_attention else 0
    return block.norms * _norm(block, hidden) + _attention_norms(block.attention) + cross


def _attention_norms(attention: Attention) -> int:
    latent = attention.latent
    ranks = (latent.query_rank or 0) + latent.kv_rank if latent else 0
    return sum(attention.query_key_norm) + ranks


def _embedding(model: Model) -> int:
    """The table, and the projection to the hidden size where the table is narrower; several of both for bins."""
    if model.embedding_bins:
        return sum(tokens * width + width * model.hidden for tokens, width in model.embedding_bins)
    width = model.embedding_dim or model.hidden
    return model.vocabulary * width + (width * model.hidden if width != model.hidden else 0)


def _head(model: Model) -> int:
    width = model.embedding_dim or model.hidden
    projection = width * model.hidden if width != model.hidden else 0
    own = model.lm_head and not model.tied_embeddings
    table = (_embedding(model) if model.embedding_bins else model.vocabulary * width) if own else 0
    bias = model.vocabulary if model.lm_head and model.lm_head_bias else 0
    if model.lm_head and model.embedding_bins:
        # The adaptive softmax has a bias per token, and scores each further bin as one more class of the first.
        bias = model.vocabulary + (len(model.embedding_bins) - 1) * (model.embedding_bins[0][1] + 1)
    return model.head_weights + projection + table + bias
