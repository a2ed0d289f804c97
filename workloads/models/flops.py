"""Matrix-multiplication FLOPs of one forward pass in closed form, as a check on what lowering derives op by op.

A multiply-add is two FLOPs. Norms, activations, softmax, rotary turns and embedding look-ups are left out: they are not
matrix multiplications, and together stay below a few percent for the models here.
"""

from __future__ import annotations

from collections import Counter

from workloads.models.architecture import Attention, Block, FeedForward, MixtureOfExperts, Model
from workloads.models.counts import feed_forward_matrices, parameters, projection_matrices

__all__ = ["attended_pairs", "forward_flops", "model_flops"]


def forward_flops(
    model: Model,
    batch: int,
    query_tokens: int,
    context: int = 0,
    *,
    encoder_tokens: int = 0,
    logit_tokens: int | None = None,
    skip_masked: bool = True,
    absorb: bool = False,
) -> int:
    """FLOPs for ``batch`` sequences of ``query_tokens`` new tokens each, after ``context`` tokens already in the cache.

    ``logit_tokens`` tokens of each sequence go through the head (None: all). ``skip_masked`` counts only the pairs
    of tokens that attend to each other; otherwise the whole rectangle of queries and kept keys. ``absorb`` moves the
    queries into the latent space instead of expanding the cached latents (DeepSeek-V2, arXiv 2405.04434, section
    2.1.2). An encoder-decoder runs its encoder on ``encoder_tokens`` when ``context`` is 0 and keeps their keys and
    values.
    """
    new = batch * query_tokens
    scored = batch * (query_tokens if logit_tokens is None else logit_tokens)
    total = new * _embedding(model) + _head(model, scored, batch)
    for index, times in Counter(model.order[: model.encoder_layers]).items():
        tokens = encoder_tokens if context == 0 else 0
        total += times * _block(model.blocks[index], model.hidden, batch, tokens, 0, 0, skip_masked, absorb)
    for index, times in Counter(model.order[model.encoder_layers :]).items():
        total += times * _block(
            model.blocks[index], model.hidden, batch, query_tokens, context, encoder_tokens, skip_masked, absorb
        )
    return 2 * total


def model_flops(model: Model, batch: int, context: int) -> int:
    """FLOPs that a training step's utilisation is counted by: 6 N + 12 L h s for each of all tokens.

    Tokens are ``batch`` x ``context``. N counts all parameters that a token meets, embeddings too but no experts that
    it does not go to, L layers, h the width of all query heads together (the mean of queries' and values', where they
    differ) and s the context. What is computed again does not count, and a causal mask saves nothing (PaLM, arXiv
    2204.02311, appendix B; as pytorch/torchtitan at commit 0413364 reports it).
    """
    widths = sum(_head_widths(model.blocks[index].attention) for index in model.order)
    return batch * context * (6 * parameters(model).active + 6 * context * widths)


def _head_widths(attention: Attention) -> int:
    """The widths of all query heads and of all their results, together."""
    latent = attention.latent
    each = latent.nope_dim + latent.rope_dim + latent.value_dim if latent else 2 * attention.head_dim
    return attention.heads * each


def attended_pairs(attention: Attention, query_tokens: int, context: int, *, skip_masked: bool = True) -> int:
    """Pairs of a query and a key that one sequence's attention multiplies, per head.

    Query ``i`` of a causal attention sees ``context + i + 1`` keys, itself included, and at most its window.
    """
    if not attention.causal:
        return query_tokens * (context + query_tokens)
    if not skip_masked:
        return query_tokens * _kept_keys(attention, query_tokens, context)
    window = attention.window or context + query_tokens
    growing = max(0, min(query_tokens, window - context))
    return growing * context + growing * (growing + 1) // 2 + (query_tokens - growing) * window


def _kept_keys(attention: Attention, query_tokens: int, context: int) -> int:
    """Keys that at least one of the queries sees."""
    window = attention.window or context + query_tokens
    return min(context + query_tokens, window + query_tokens - 1)


def _block(
    block: Block,
    hidden: int,
    batch: int,
    query_tokens: int,
    context: int,
    encoder_tokens: int,
    skip_masked: bool,
    absorb: bool,
) -> int:
    """Multiply-adds of one layer."""
    new = batch * query_tokens
    total = new * _active_matrices(block.feed_forward, hidden)
    total += _self_attention(block.attention, hidden, batch, query_tokens, context, skip_masked, absorb)
    cross = block.cross_attention
    if cross:
        matrices = projection_matrices(cross, hidden)
        total += new * (matrices.queries + matrices.output)
        total += 2 * batch * cross.heads * cross.head_dim * query_tokens * encoder_tokens
        if context == 0:
            total += batch * encoder_tokens * matrices.keys_values
    return total


def _self_attention(
    attention: Attention, hidden: int, batch: int, query_tokens: int, context: int, skip_masked: bool, absorb: bool
) -> int:
    matrices = projection_matrices(attention, hidden)
    new = batch * query_tokens
    pairs = batch * attended_pairs(attention, query_tokens, context, skip_masked=skip_masked)
    total = new * (matrices.queries + matrices.keys_values + matrices.output)
    latent = attention.latent
    if latent:
        # Absorbed, the expansion's two halves act on queries and results; else on every latent in the cache.
        total += matrices.expansion * (new if absorb else new + batch * context)
        key, value = latent.nope_dim + latent.rope_dim, latent.value_dim
        if absorb:
            key, value = latent.kv_rank + latent.rope_dim, latent.kv_rank
        return total + pairs * attention.heads * (key + value)
    # Projected positions depend on nothing but the weights, so they are made once and kept; queries meet them as keys.
    products = 3 if attention.relative else 2
    return total + products * pairs * attention.heads * attention.head_dim


def _active_matrices(part: FeedForward | MixtureOfExperts, hidden: int) -> int:
    if not isinstance(part, MixtureOfExperts):
        return feed_forward_matrices(part, hidden)
    shared = feed_forward_matrices(part.shared, hidden) if part.shared else 0
    router = hidden * (part.experts + part.shared_gate)
    return part.top_k * feed_forward_matrices(part.expert, hidden) + shared + router


def _embedding(model: Model) -> int:
    """Multiply-adds that bring one token to the hidden size; a token of the first bin where there are several."""
    width = model.embedding_bins[0][1] if model.embedding_bins else (model.embedding_dim or model.hidden)
    return width * model.hidden if model.embedding_bins or width != model.hidden else 0


def _head(model: Model, scored: int, batch: int) -> int:
    """Multiply-adds of the head: a pooler reads one token of each sequence, all else every token that is scored."""
    square = model.hidden * model.hidden
    if not model.lm_head:
        return batch * (model.head_weights // square) * square
    if model.embedding_bins:
        classes = len(model.embedding_bins) - 1
        bins = sum(width * (tokens + model.hidden) for tokens, width in model.embedding_bins)
        return scored * (bins + classes * model.embedding_bins[0][1])
    width = model.embedding_dim or model.hidden
    down = width * model.hidden if width != model.hidden else 0
    return scored * (model.vocabulary * width + down + model.head_weights // square * square)
