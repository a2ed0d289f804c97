"""Less of keys and values, in a decode step: fewer tokens, heads, pages or channels, or narrower elements.

Each changes the attention's work and bytes, what is stored, and adds the operations that the choice itself takes. What
it does to the model's answers is outside. A layer that attends to a window keeps what it has where that is less.
"""

from __future__ import annotations

from dataclasses import replace

from workloads.errors import InputError
from workloads.formats import storage_format
from workloads.transforms.edit import (
    DecodeAttention,
    edit_decode_attention,
    edit_layers,
    kept_of,
    make_op,
    require_share,
    substitute,
    with_stored,
)
from workloads.workload import Layer, Op, Operand, StoredTensor, Workload

__all__ = [
    "heavy_hitters",
    "pages",
    "pruned_key_channels",
    "quantised_cache",
    "retrieval_heads",
    "selected_channels_and_tokens",
    "sinks_and_window",
]

_SUMS = "attention_sums"


def sinks_and_window(workload: Workload, sinks: int, window: int) -> Workload:
    """Only the first ``sinks`` tokens and the latest ``window`` are kept.

    Xiao et al., StreamingLLM, ICLR 2024 (arXiv 2309.17453), section 3.2.
    """
    _require_tokens(sinks=(sinks, 0), window=(window, 1))

    def edit(layer: Layer, attention: DecodeAttention) -> Layer:
        kept = min(attention.keys, sinks + window)
        return substitute(_keeping(layer, attention, kept), "attention", [attention.over(kept)])

    return edit_decode_attention(workload, "sinks and a window", edit)


def heavy_hitters(workload: Workload, share: float) -> Workload:
    """``share`` of the tokens is kept, rounded up, and each step adds its weights to their sums.

    Zhang et al., H2O, NeurIPS 2023 (arXiv 2306.14048), section 4: the sums say which tokens to drop. The weights leave
    the attention and the sums are read and written, in fp32, once for each query head and kept token.
    """
    require_share(share, "a share of tokens")

    def edit(layer: Layer, attention: DecodeAttention) -> Layer:
        kept = kept_of(share, attention.keys)
        rows = attention.batch * attention.heads * attention.group
        over = attention.over(kept)
        weights = Operand("SLN", "write", rows * kept, attention.operand("AV").format, activation="weights")
        over = replace(over, operands=(*over.operands, weights))
        sums = StoredTensor(_SUMS, "kv_cache", rows * kept, "fp32")
        whole = Operand("F", "read", sums.elements, sums.format, stored=sums.name)
        adding = make_op(
            over, "attention_sums", "elementwise", "residual-add", {"t": rows, "d": kept},
            (replace(weights, symbol="X", access="read"), whole, replace(whole, symbol="Y", access="write")),
            ("attention",),
        )  # fmt: skip
        return substitute(with_stored(_keeping(layer, attention, kept), sums), "attention", [over, adding])

    return edit_decode_attention(workload, "eviction of tokens", edit)


def retrieval_heads(workload: Workload, share: float, sinks: int, window: int) -> Workload:
    """``share`` of the key-value heads keep all tokens, the others sinks and a window.

    Xiao et al., DuoAttention, ICLR 2025 (arXiv 2410.10819), section 3: the two kinds of heads are two attentions. The
    number of heads is rounded up.
    """
    require_share(share, "a share of heads", zero=True)
    _require_tokens(sinks=(sinks, 0), window=(window, 1))

    def edit(layer: Layer, attention: DecodeAttention) -> Layer:
        if attention.latent:
            raise InputError("a latent has no heads to tell apart", expected="keys and values by head", field="policy")
        kept, full = min(attention.keys, sinks + window), kept_of(share, attention.heads) if share else 0
        few = attention.heads - full
        steps = []
        if full:
            steps.append(attention.over(attention.keys, heads=full))
        if few:
            steps.append(attention.over(kept, name="attention_streaming" if full else "attention", heads=few))
        steps = [replace(step, after=()) for step in steps]
        tokens = (full * attention.keys + few * kept) / attention.heads
        return substitute(_keeping(layer, attention, tokens), "attention", steps)

    return edit_decode_attention(workload, "retrieval heads", edit)


def pages(workload: Workload, budget: int, page_tokens: int = 16) -> Workload:
    """All tokens are kept; a step reads the best pages, ``budget`` tokens together rounded up to whole pages.

    Tang et al., Quest, ICML 2024 (arXiv 2406.10774), section 3.3: beside each page of ``page_tokens`` lie the least and
    the largest value of each channel of its keys, which every step reads to choose the pages.
    """
    _require_tokens(budget=(budget, 1), page=(page_tokens, 1))

    def edit(layer: Layer, attention: DecodeAttention) -> Layer:
        count = -(-attention.keys // page_tokens)
        chosen = min(count, -(-budget // page_tokens))
        cache = attention.cache
        bounds = attention.batch * attention.heads * count * attention.key_width
        extremes = StoredTensor("page_bounds", "kv_cache", 2 * bounds, cache.format)
        low = Operand("KMIN", "read", bounds, cache.format, stored=extremes.name)
        query = attention.operand("Q")
        picked = attention.batch * attention.heads * attention.group * chosen
        scoring = make_op(
            attention.op, "attention_pages", "elementwise", "page-scores",
            {
                "b": attention.batch, "h": attention.heads, "g": attention.group, "n": count,
                "e": attention.key_width, "k": chosen,
            },
            (query, low, replace(low, symbol="KMAX"), Operand("PI", "write", picked, "int32", activation="pages")),
            (),
        )  # fmt: skip
        reading = attention.over(min(attention.keys, chosen * page_tokens))
        index = Operand("PT", "read", picked, "int32", activation="pages")
        reading = replace(reading, operands=(*reading.operands, index), after=("attention_pages",))
        return substitute(with_stored(layer, extremes), "attention", [scoring, reading])

    return edit_decode_attention(workload, "selection of pages", edit)


def selected_channels_and_tokens(
    workload: Workload, channels: float, tokens: float, *, read_channels: float = 0.0, read_tokens: float = 0.0
) -> Workload:
    """All tokens are kept, keys twice; a step scores all by a share of their channels and attends to the best share.

    Ribar et al., SparQ, ICML 2024 (arXiv 2312.04985), section 4; keys lie by channel beside those by token, as in
    InstInfer (arXiv 2409.04992). A memory read in pages reads more than what is selected: ``read_channels`` and
    ``read_tokens`` are the shares read, at least those selected. What the approximate scores give to other tokens, one
    mean of the values for each head, is left out.
    """
    require_share(channels, "a share of channels")
    require_share(tokens, "a share of tokens")
    passed_channels, passed_tokens = max(channels, read_channels), max(tokens, read_tokens)
    require_share(passed_channels, "a share of channels read")
    require_share(passed_tokens, "a share of tokens read")

    def edit(layer: Layer, attention: DecodeAttention) -> Layer:
        if attention.latent:
            raise InputError(
                "a latent's channels are keys and values", expected="keys and values apart", field="policy"
            )
        width, kept = kept_of(channels, attention.key_width), kept_of(tokens, attention.keys)
        rows = attention.batch * attention.heads
        keys = rows * attention.keys * attention.key_width
        beside = StoredTensor("keys_by_channel", "kv_cache", keys, attention.cache.format)
        query, picked = attention.operand("Q"), rows * attention.group * kept
        scoring = make_op(
            attention.op, "attention_channels", "elementwise", "channel-scores",
            {
                "b": attention.batch, "h": attention.heads, "g": attention.group, "n": attention.keys,
                "e": width, "k": kept,
            },
            (
                replace(query, elements=query.elements * width / attention.key_width),
                Operand("KC", "read", keys * passed_channels, beside.format, stored=beside.name),
                Operand("TI", "write", picked, "int32", activation="tokens"),
            ),
            (),
        )  # fmt: skip
        over = attention.over(kept)
        part = passed_tokens * attention.keys / kept
        operands = [replace(o, elements=o.elements * part) if o.symbol in ("K", "V") else o for o in over.operands]
        index = Operand("PT", "read", picked, "int32", activation="tokens")
        reading = replace(over, operands=(*operands, index), after=("attention_channels",))
        return substitute(with_stored(layer, beside), "attention", [scoring, reading])

    return edit_decode_attention(workload, "selection of channels and tokens", edit)


def pruned_key_channels(workload: Workload, share: float) -> Workload:
    """``share`` of the channels of keys is left out, in storage and in the products.

    Xu et al., ThinK, ICLR 2025 (arXiv 2407.21018), section 3. The number of channels kept is rounded up.
    """
    require_share(share, "a share of channels", zero=True)

    def edit(layer: Layer, attention: DecodeAttention) -> Layer:
        if attention.latent:
            raise InputError(
                "a latent's channels are keys and values", expected="keys and values apart", field="policy"
            )
        width = kept_of(1 - share, attention.key_width)
        kept, all_of = width + attention.value_width, attention.key_width + attention.value_width
        cache = replace(attention.cache, elements=attention.cache.elements * kept / all_of)
        return substitute(with_stored(layer, cache), "attention", [attention.over(attention.keys, key_width=width)])

    return edit_decode_attention(workload, "pruning of key channels", edit)


def quantised_cache(workload: Workload, form: str) -> Workload:
    """Keys and values in the storage format ``form``, multiplied out where attention reads them.

    One multiplication for each element read, within the attention's kernel (KIVI, ICML 2024, arXiv 2402.02750, section
    4.2). What a prompt's attention reads has just been made and is not multiplied out.
    """
    storage_format(form)

    def edit(layer: Layer) -> Layer:
        caches = {tensor.name for tensor in layer.stored if tensor.role == "kv_cache" and tensor.name != _SUMS}
        steps = []
        for step in layer.steps:
            if isinstance(step, Op) and any(operand.stored in caches for operand in step.operands):
                operands = tuple(replace(o, format=form) if o.stored in caches else o for o in step.operands)
                step = _dequantising(replace(step, operands=operands))
            steps.append(step)
        stored = tuple(replace(t, format=form) if t.name in caches else t for t in layer.stored)
        return replace(layer, steps=tuple(steps), stored=stored)

    return edit_layers(workload, edit)


def _dequantising(op: Op) -> Op:
    if op.kind != "attention" or dict(op.sizes).get("p") != 1:
        return op
    if op.cascade.name != "attention-1pass":
        raise InputError(
            f"a narrower format under {op.cascade.name}", expected="attention in one piece", field="policy"
        )
    symbols = {"K": "KI", "V": "VI"}
    operands = tuple(replace(o, symbol=symbols.get(o.symbol, o.symbol)) for o in op.operands)
    return make_op(op, op.name, op.kind, "attention-1pass-dequantise", dict(op.sizes), operands, op.after)


def _keeping(layer: Layer, attention: DecodeAttention, tokens: float) -> Layer:
    """``layer`` with a cache of ``tokens`` tokens of each sequence."""
    elements = attention.cache.elements * tokens / attention.keys
    return with_stored(layer, replace(attention.cache, elements=elements))


def _require_tokens(**given: tuple[int, int]) -> None:
    for name, (value, least) in given.items():
        if value < least:
            raise InputError(f"{value} tokens of {name}", expected=f"at least {least}", field="policy")
