"""From a model and a phase to a workload: each block becomes a layer of operations, equal layers standing once.

Kernels follow today's serving engines: one product for queries, keys and values, one for gate and up, the residual
sum fused into the norm after it, 1-pass attention. Split over devices, heads and feed-forward columns are divided
(Megatron-LM, arXiv 1909.08053, section 3) and each attention and feed-forward ends in an all-reduce.
"""

from __future__ import annotations

from itertools import groupby

from workloads.errors import InputError
from workloads.formats import FormatChoice
from workloads.models.architecture import Block, Model
from workloads.models.layer_builder import LayerBuilder, activation, stored
from workloads.models.lower_attention import AttentionShape, add_attention, add_cross_attention
from workloads.models.lower_feed_forward import ExpertShare, add_feed_forward
from workloads.models.stored_formats import phase_formats
from workloads.phases import Decode, Phase, Prefill, Train
from workloads.workload import Layer, Run, Workload

__all__ = ["Side", "lower", "lower_block", "lower_embedding", "lower_head", "repeating_runs"]


def lower(
    model: Model,
    phase: Phase,
    formats: FormatChoice | None = None,
    *,
    devices: int = 1,
    experts: ExpertShare | None = None,
) -> Workload:
    """The workload of one of ``devices`` equal devices running ``phase`` of ``model``.

    ``experts`` divides experts over devices instead of cutting each; ``phase`` is then that of one group of attention.

    For an encoder-decoder, prefill runs the encoder over ``context`` tokens and the decoder over its start token;
    decode runs the decoder with ``context`` tokens behind it and as many encoder tokens. A training step goes forward,
    backward and over the weights (`workloads.models.lower_train`). Raises `InputError` when
    the phase does not exist for the model, the context is longer than the model's position table, or the shapes
    cannot be split over the devices.
    """
    formats = formats or phase_formats(model, phase)
    if isinstance(phase, Train):
        _require_positions(model, phase.context)
        from workloads.models.lower_train import lower_train  # which takes this module's layers

        return lower_train(model, phase, formats, devices=devices, experts=experts)
    encoder_only = not any(block.attention.causal for block in model.blocks)
    if encoder_only and isinstance(phase, Decode):
        raise InputError(f"{model.name} is an encoder and has no decode phase", expected="prefill", field="phase")
    if isinstance(phase, Prefill) and phase.past and model.encoder_layers:
        raise InputError(f"{model.name} has an encoder, which reads all tokens at once", expected="0", field="past")
    _require_positions(model, phase.context)
    encoder = Side(phase.batch, phase.context, phase.context)
    if model.encoder_layers and not encoder_only and isinstance(phase, Prefill):
        decoder = Side(phase.batch, 1, 1)
    else:
        decoder = Side(phase.batch, phase.query_tokens, phase.context)
    runs = [Run((lower_embedding(model, formats, phase.tokens, devices),), 1)]
    cache: dict[tuple[int, bool], Layer] = {}
    encoder_tokens = encoder.batch * encoder.keys if isinstance(phase, Prefill) else None
    for in_encoder, group in groupby(enumerate(model.order), key=lambda pair: pair[0] < model.encoder_layers):
        side = encoder if in_encoder else decoder
        for pattern, count in repeating_runs([index for _, index in group]):
            layers = []
            for index in pattern:
                key = (index, in_encoder)
                if key not in cache:
                    name = f"{'encoder' if in_encoder else 'layer'}{index if len(model.blocks) > 1 else ''}"
                    cache[key] = lower_block(
                        model, model.blocks[index], formats, side, devices, name, encoder.keys, encoder_tokens, experts
                    )
                # Decoding does not run the encoder, but its weights stay in memory.
                idle = in_encoder and isinstance(phase, Decode)
                layers.append(Layer(cache[key].name, (), cache[key].stored) if idle else cache[key])
            runs.append(Run(tuple(layers), count))
    if 0 < model.encoder_layers < len(model.order) and model.final_norm:
        end = _encoder_end(model, formats, encoder_tokens or 1)
        if encoder_tokens is None:
            end = Layer(end.name, (), end.stored)
        runs.insert(_last_encoder_run(runs) + 1, Run((end,), 1))
    head = lower_head(model, formats, phase.batch, devices)
    if head.steps:
        runs.append(Run((head,), 1))
    return Workload(model.name, phase, tuple(runs), devices)


def _require_positions(model: Model, context: int) -> None:
    if model.max_positions is not None and model.positions and context > model.max_positions:
        raise InputError(
            f"{model.name} has positions for {model.max_positions} tokens, not {context}",
            expected=f"at most {model.max_positions}",
            field="context",
        )


def _last_encoder_run(runs: list[Run]) -> int:
    return max(at for at, run in enumerate(runs) if run.pattern[0].name.startswith("encoder"))


def _encoder_end(model: Model, formats: FormatChoice, tokens: int) -> Layer:
    """The norm after an encoder's last layer; its output is what the decoder's cross-attention reads."""
    layer = LayerBuilder("encoder_end", formats)
    _norm(layer, "encoder_output", model.blocks[0].norm, tokens, model.hidden, "branch")
    return layer.build()


class Side:
    """Batch, new tokens and attended tokens of an encoder's or decoder's layers."""

    def __init__(self, batch: int, queries: int, keys: int) -> None:
        self.batch, self.queries, self.keys = batch, queries, keys


def repeating_runs(order: list[int], longest: int = 8) -> list[tuple[tuple[int, ...], int]]:
    """Split a sequence into (pattern, count) runs, at each point taking the pattern that covers most, shortest first.

    >>> repeating_runs([0, 0, 0, 1, 2, 1, 2])
    [((0,), 3), ((1, 2), 2)]
    """
    runs: list[tuple[tuple[int, ...], int]] = []
    at = 0
    while at < len(order):
        best: tuple[tuple[int, ...], int] = ((order[at],), 1)
        for period in range(1, min(longest, (len(order) - at) // 2) + 1):
            pattern = tuple(order[at : at + period])
            count = 1
            while tuple(order[at + count * period : at + (count + 1) * period]) == pattern:
                count += 1
            covered = period * count
            if count > 1 and covered > len(best[0]) * best[1]:
                best = (pattern, count)
        runs.append(best)
        at += len(best[0]) * best[1]
    return runs


def lower_embedding(model: Model, formats: FormatChoice, tokens: int, devices: int) -> Layer:
    """Gather the tokens' rows, and whatever a model does to them before its first layer."""
    layer = LayerBuilder("embedding", formats)
    width = model.embedding_dim or model.hidden
    rows = -(-model.vocabulary // devices)
    table = sum(size * each for size, each in model.embedding_bins) // devices or rows * width
    layer.store("token_embedding", "embedding", table)
    extra = (model.positions + model.token_types) * model.hidden
    if extra:
        layer.store("position_embedding", "embedding", extra)
    layer.op(
        "embed", "gather", "embedding", {"t": tokens, "v": rows, "d": width},
        {"E": stored("token_embedding", tokens * width), "T": activation("token_ids")},
        {"X": activation("residual")},
    )  # fmt: skip
    if devices > 1:
        layer.all_reduce("embed_reduce", tokens * width)
    if width != model.hidden:
        _project_embedding(layer, "embedding_projection", width, model.hidden, tokens)
    for number, (_, each) in enumerate(model.embedding_bins):
        _project_embedding(layer, f"embedding_projection{number}", each, model.hidden, tokens)
    if model.embedding_norm:
        _norm(layer, "embedding_norm", model.blocks[0].norm, tokens, model.hidden, "residual")
    return layer.build()


def _project_embedding(layer: LayerBuilder, name: str, width_in: int, width_out: int, rows: int) -> None:
    weights = layer.store(f"{name}_weight", "head", width_in * width_out)
    layer.op(
        name, "gemm", "gemm", {"m": rows, "n0": width_in, "n1": width_out},
        {"A": activation("residual", rows * width_in), "W": weights}, {"Z": activation("residual")},
    )  # fmt: skip


def _norm(
    layer: LayerBuilder,
    name: str,
    kind: str,
    rows: int,
    hidden: int,
    source: str,
    *,
    after: tuple[str, ...] | None = None,
) -> str:
    """A norm with the residual sum before it: reads the branch and the residual, writes both back."""
    cascade = {"rms": "add-rms-norm", "layer": "add-layer-norm"}[kind]
    reads = {"X": activation(source), "R": activation("residual"), "G": layer.store(f"{name}_gain", "norm", hidden)}
    if kind == "layer":
        reads["B"] = layer.store(f"{name}_bias", "norm", hidden)
    writes = {"S": activation("residual"), "Y": activation(name)}
    layer.op(name, "norm", cascade, {"t": rows, "d": hidden}, reads, writes, after=after)
    return name


def lower_block(
    model: Model,
    block: Block,
    formats: FormatChoice,
    side: Side,
    devices: int,
    name: str,
    encoder_keys: int,
    encoder_tokens: int | None,
    experts: ExpertShare | None,
) -> Layer:
    layer = LayerBuilder(name, formats)
    hidden = model.hidden
    tokens = side.batch * side.queries
    shape = AttentionShape(side.batch, side.queries, side.keys, hidden, devices)
    norms_left = block.norms

    def norm(norm_name: str, source: str) -> str:
        nonlocal norms_left
        if norms_left == 0:
            return source
        norms_left -= 1
        return _norm(layer, norm_name, block.norm, tokens, hidden, source)

    def reduce(name: str, *after: str) -> None:
        if devices > 1:
            layer.all_reduce(name, tokens * hidden, after=after or None)

    def feed_forward(source: str, *after: str) -> str:
        return add_feed_forward(
            layer,
            block.feed_forward,
            tokens=tokens,
            hidden=hidden,
            devices=devices,
            source=source,
            after=after or None,
            share=experts,
        )

    normed = norm("attention_norm", "branch")
    attended = add_attention(layer, block.attention, shape, source=normed)
    if block.parallel:
        # Attention and feed-forward read the same norm and run side by side (GPT-J, Falcon); one sum joins them.
        second = _norm(layer, "ffn_norm", block.norm, tokens, hidden, "branch", after=()) if block.norms > 1 else normed
        fed = feed_forward(second, second)
        layer.op(
            "branch_sum", "elementwise", "residual-add", {"t": tokens, "d": hidden},
            {"X": activation(attended), "F": activation(fed)}, {"Y": activation("branch")}, after=(attended, fed),
        )  # fmt: skip
        reduce("branch_reduce")
        return layer.build()
    reduce("attention_reduce")
    if block.norms > (3 if block.cross_attention else 2):
        attended = norm("after_attention_norm", attended)
    if block.cross_attention is not None:
        crossed = norm("cross_norm", attended)
        cross_shape = AttentionShape(side.batch, side.queries, encoder_keys, hidden, devices)
        attended = add_cross_attention(
            layer, block.cross_attention, cross_shape, source=crossed, encoder_tokens=encoder_tokens
        )
        reduce("cross_reduce")
    fed = feed_forward(norm("ffn_norm", attended))
    reduce("ffn_reduce")
    if norms_left:
        norm("after_ffn_norm", fed)
    return layer.build()


def lower_head(model: Model, formats: FormatChoice, rows: int, devices: int) -> Layer:
    """Final norm and projection onto the vocabulary, for the last position of each sequence."""
    layer = LayerBuilder("head", formats)
    source = "branch"
    if model.final_norm:
        source = _norm(layer, "final_norm", model.blocks[-1].norm, rows, model.hidden, "branch")
    if model.head_weights:
        weights = layer.store("head_transform_weight", "head", model.head_weights)
        layer.op(
            "head_transform", "gemm", "gemm",
            {"m": rows, "n0": model.hidden, "n1": max(1, model.head_weights // model.hidden)},
            {"A": activation(source), "W": weights}, {"Z": activation("head_transform")},
        )  # fmt: skip
    width_in = model.embedding_dim or model.hidden
    if width_in != model.hidden:
        _project_embedding(layer, "output_projection", model.hidden, width_in, rows)
    if model.lm_head:
        width = -(-model.vocabulary // devices)
        shared = "embedding.token_embedding" if model.tied_embeddings else None
        weights = layer.store("head_weight", "head", width * width_in, shared_with=shared)
        reads = {"A": activation(source, rows * width_in), "W": weights}
        if model.embedding_bins:
            # An adaptive softmax scores each further bin as one more class of the first (arXiv 1609.04309).
            layer.store("bin_weights", "head", (len(model.embedding_bins) - 1) * (model.embedding_bins[0][1] + 1))
        biased = model.lm_head_bias or bool(model.embedding_bins)
        if biased:
            reads["B"] = layer.store("head_bias", "norm", width)
        cascade = "gemm-bias" if biased else "gemm"
        sizes = {"m": rows, "n0": width_in, "n1": width}
        layer.op("logits", "gemm", cascade, sizes, reads, {"Z": activation("logits")})
        if devices > 1:
            layer.all_gather("logits_gather", rows * width * devices)
    return layer.build()
