"""A training step as a workload: forward, loss, backward in reverse order, and the update of every weight.

Forward layers are those of serving, with what their backward pass reads kept as stored tensors (role "activations")
instead of a cache. A backward layer refers to its forward layer's weights and kept values, an update layer to the
weights and their gradients: each is declared once and takes room for the whole step, as buffers that are set up once
do, so peaks of activations and of gradients that would come one after the other are added here. Layers that take part
are the embedding's, the blocks' and the head's; the head's forward and backward pass are one layer.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from workloads.errors import InputError
from workloads.formats import FormatChoice
from workloads.models.architecture import MixtureOfExperts, Model
from workloads.models.layer_builder import LayerBuilder, Ref, activation, stored
from workloads.models.lower import Side, lower_block, lower_embedding, lower_head, repeating_runs
from workloads.models.lower_feed_forward import ExpertShare
from workloads.models.lower_train_gradients import GRADIENTS, TIED_GRADIENTS, Gradients
from workloads.models.lower_train_values import STATISTICS_FORMAT, Values, as_values, found, from_sum, kept_values
from workloads.phases import Train
from workloads.workload import Collective, Layer, Op, Operand, Run, Step, StoredTensor, Workload

__all__ = ["lower_train"]

_INCOMING = "incoming_gradient"
"""The gradient that a backward layer is handed."""

_STATES = ("master_weights", "first_moment", "second_moment")


def lower_train(
    model: Model, phase: Train, formats: FormatChoice, *, devices: int = 1, experts: ExpertShare | None = None
) -> Workload:
    """One training step of ``model`` on one of ``devices`` that split it by tensor parallelism.

    ``experts`` divides experts over devices: tokens travel forward as in serving, their gradients the same ways back.
    Each device then holds the states of its experts alone, and their gradients are whole: all tokens came to them.
    Raises `InputError` for a model whose parts have no gradients here, and where the devices cannot split it.
    """
    _require_known(model, phase)
    step = _Step(model, phase, formats, devices)
    side = Side(phase.batch, phase.context, phase.context)
    order = [2 * index + (number % phase.every == 0) for number, index in enumerate(model.order)]
    both = phase.every > 1 and phase.checkpoint != "none"
    pairs: dict[int, _Pair] = {}
    for key in dict.fromkeys(order):
        name = f"layer{key // 2 if len(model.blocks) > 1 else ''}{'_checkpointed' if both and key % 2 else ''}"
        block = model.blocks[key // 2]
        layer = lower_block(model, block, formats, side, devices, name, 0, None, experts)
        pairs[key] = step.pair(layer, checkpointed=bool(key % 2))
    runs = [(tuple(pairs[key] for key in pattern), count) for pattern, count in repeating_runs(order)]
    most = max(_parameters(pair.forward) for pair in pairs.values())
    table = lower_embedding(model, formats, phase.tokens, devices)
    embedding = step.pair(table, begun=model.tied_embeddings, most=most)
    head = step.head(lower_head(model, formats, phase.tokens, devices), most)
    forward = [Run(tuple(pair.forward for pair in pattern), count) for pattern, count in runs]
    backward = [
        Run(tuple(pair.backward for pair in pattern[::-1]), count, mirrored=True) for pattern, count in runs[::-1]
    ]
    update = [Run(tuple(pair.update for pair in pattern), count) for pattern, count in runs]
    return Workload(
        model.name,
        phase,
        (
            Run((embedding.forward,), 1), *forward, Run((head.forward,), 1),
            *backward, Run((embedding.backward,), 1, mirrored=True),
            Run((embedding.update,), embedding.pieces), *update, Run((head.update,), head.pieces),
        ),
        devices,
    )  # fmt: skip


def _require_known(model: Model, phase: Train) -> None:
    odd = None
    if model.encoder_layers or not model.lm_head:
        odd = "an encoder or no head"
    elif model.embedding_bins or model.embedding_dim not in (None, model.hidden):
        odd = "an embedding of other widths than its layers"
    elif any(block.cross_attention or block.attention.relative for block in model.blocks):
        odd = "cross or relative attention"
    elif any(isinstance(block.feed_forward, MixtureOfExperts) and block.feed_forward.early_router
             for block in model.blocks):  # fmt: skip
        odd = "a router ahead of attention"
    elif phase.loss == "cut" and model.lm_head_bias:
        raise InputError("a cut loss with a bias on the logits", expected="loss logits", field="loss")
    if odd is not None:
        raise InputError(f"{model.name} has {odd}, whose gradients are not known", "a decoder", "phase")


@dataclass(frozen=True)
class _Pair:
    """A layer's forward pass, its backward pass and the update of its weights, which may stand in equal pieces."""

    forward: Layer
    backward: Layer
    update: Layer
    pieces: int = 1


@dataclass(frozen=True)
class _Step:
    model: Model
    phase: Train
    formats: FormatChoice
    devices: int

    def pair(self, layer: Layer, *, checkpointed: bool = True, begun: bool = False, most: float | None = None) -> _Pair:
        """The three layers of ``layer``; ``begun`` says that the head has begun its gradient.

        At most ``most`` weights are updated at once.
        """
        values = as_values(layer)
        again = self._again(values.layer) if checkpointed else frozenset()
        kept = kept_values(values, again)
        forward = _forward(values, kept)
        backward = LayerBuilder(f"{layer.name}_backward", self.formats)
        read = _weights_of(values)
        for tensor in layer.stored:
            if tensor.name in read:
                _share(backward, layer.name, tensor)
        for name in kept:
            _share(backward, layer.name, next(tensor for tensor in forward.stored if tensor.name == name))
        backward.store(GRADIENTS, "gradients", _parameters(layer), format=self.phase.gradient_format)
        steps = _again_steps(values, again, kept)
        if self.phase.checkpoint == "full":
            backward.steps += steps.values()
            steps = {}
        Gradients(
            backward, values, frozenset(kept), dict.fromkeys(values.outputs, _INCOMING), devices=self.devices,
            begun=begun, again=steps, ends=tuple(step.name for step in backward.steps[-1:]),
        ).add()  # fmt: skip
        built = replace(backward.build(), keeps=True)
        pieces = _pieces(layer, most)
        return _Pair(forward, built, self._update(layer, f"{built.name}.{GRADIENTS}", pieces), pieces)

    def _again(self, layer: Layer) -> frozenset[str]:
        if self.phase.checkpoint == "full" and layer.name != "embedding":
            return frozenset(op.name for op in layer.ops)
        if self.phase.checkpoint == "selective":
            return frozenset(op.name for op in layer.ops if op.kind == "attention")
        return frozenset()

    def head(self, layer: Layer, most: float) -> _Pair:
        """The head with its loss, forward and backward in one layer, and the update of its weights."""
        steps = tuple(step for step in layer.steps if step.name != "logits_gather")
        values = as_values(replace(layer, steps=steps))
        builder = LayerBuilder(layer.name, self.formats, tensors={tensor.name: tensor for tensor in layer.stored})
        builder.store(GRADIENTS, "gradients", _parameters(layer), format=self.phase.gradient_format)
        tied = frozenset(tensor.name for tensor in layer.stored if tensor.shared_with is not None)
        for name in tied:
            origin = f"embedding_backward.{GRADIENTS}"
            elements = builder.tensors[name].elements
            builder.store(TIED_GRADIENTS, "gradients", elements, shared_with=origin, format=self.phase.gradient_format)
        classifier = values.layer.ops[-1]
        builder.steps += values.layer.steps
        of = {found(classifier, "Z").activation or "": "d_logits"}
        if self.phase.loss == "cut":
            builder.steps.pop()
            rest = replace(values, layer=replace(values.layer, steps=values.layer.steps[:-1]))
            of = self._cut_loss(builder, classifier, tied)
        else:
            rest = values
            self._loss(builder, classifier)
        ends = (builder.steps[-1].name,)
        gradients = Gradients(builder, rest, frozenset(), of, devices=self.devices, tied=tied, ends=ends)
        if self.phase.loss == "cut" and self.devices > 1:
            gradients.partial[found(classifier, "A").activation or ""] = ends
        gradients.add()
        built = replace(builder.build(), keeps=True)
        pieces = _pieces(layer, most)
        return _Pair(built, built, self._update(layer, f"{built.name}.{GRADIENTS}", pieces), pieces)

    def _loss(self, builder: LayerBuilder, classifier: Op) -> None:
        """Softmax and cross-entropy over the stored logits, and the logits' gradient."""
        sizes = {"t": dict(classifier.sizes)["m"], "d": dict(classifier.sizes)["n1"]}
        logits = activation(found(classifier, "Z").activation or "")
        sums = Ref("loss_lse", False, None, STATISTICS_FORMAT)
        builder.op("loss", "softmax", "softmax-cross-entropy", sizes, {"L": logits}, {"LSE": sums})
        self._reduce_loss(builder, sizes["t"])
        builder.op(
            "loss_grad", "softmax", "softmax-cross-entropy-backward", sizes,
            {"L": logits, "LSE": sums}, {"DL": activation("d_logits")},
        )  # fmt: skip

    def _cut_loss(self, builder: LayerBuilder, classifier: Op, tied: frozenset[str]) -> dict[str, str]:
        """The classifier fused with the loss, in both directions; returns the gradient of its input."""
        size = dict(classifier.sizes)
        sizes = {"t": size["m"], "d": size["n0"], "v": size["n1"]}
        source, weights = found(classifier, "A"), found(classifier, "W")
        assert weights.stored is not None
        inputs = {"X": activation(source.activation or "", source.elements), "C": stored(weights.stored)}
        sums = Ref("loss_lse", False, None, STATISTICS_FORMAT)
        builder.op("loss", "loss", "cut-cross-entropy-lse", sizes, inputs, {"LSE": sums})
        self._reduce_loss(builder, sizes["t"])
        into = f"d_{source.activation}"
        gradients = stored(TIED_GRADIENTS if weights.stored in tied else GRADIENTS, size["n0"] * size["n1"])
        builder.op(
            "loss_grad", "loss", "cross-entropy-backward", sizes, inputs | {"LSE": sums},
            {"DX": activation(into), "DC": gradients},
        )  # fmt: skip
        return {source.activation or "": into}

    def _reduce_loss(self, builder: LayerBuilder, tokens: int) -> None:
        """Each device has the logits of a part of the classes: maxima, sums and the labels' logits are joined."""
        if self.devices > 1:
            after = (builder.steps[-1].name,)
            builder.steps.append(Collective("loss_reduce", "all_reduce", 3.0 * tokens, STATISTICS_FORMAT, after))

    def _update(self, layer: Layer, gradients: str, pieces: int) -> Layer:
        """Adam on one of ``pieces`` equal parts of the layer's weights; each state is one tensor."""
        builder = LayerBuilder(f"{layer.name}_update", self.formats)
        elements = _parameters(layer) / pieces
        own = [tensor for tensor in layer.stored if _is_own_weight(tensor)]
        for tensor in own:
            _share(builder, layer.name, tensor)
        for state in _STATES:
            builder.store(state, "optimizer", elements, format=self.phase.state_format)
        builder.store(
            GRADIENTS, "gradients", pieces * elements, shared_with=gradients, format=self.phase.gradient_format
        )
        if not elements:
            return builder.build()
        states = dict(zip("PMV", (stored(name, elements) for name in _STATES), strict=True))
        builder.op(
            "update", "optimizer", "adam", {"d": round(elements)}, states | {"G": stored(GRADIENTS, elements)},
            {f"{symbol}N": ref for symbol, ref in states.items()},
        )  # fmt: skip
        op = builder.steps.pop()
        assert isinstance(op, Op)
        written = tuple(
            Operand("W", "write", tensor.elements / pieces, tensor.format, stored=tensor.name) for tensor in own
        )
        builder.steps.append(replace(op, operands=(*op.operands, *written)))
        return builder.build()


def _is_own_weight(tensor: StoredTensor) -> bool:
    return tensor.shared_with is None and tensor.role != "kv_cache"


def _parameters(layer: Layer) -> float:
    return sum(tensor.elements for tensor in layer.stored if _is_own_weight(tensor))


def _pieces(layer: Layer, most: float | None) -> int:
    return max(1, math.ceil(_parameters(layer) / most)) if most else 1


def _weights_of(values: Values) -> set[str]:
    """Stored tensors that the layer's operations read and its gradients read again: all but biases and table rows."""
    symbols = {"W", "G", "B"}
    return {o.stored for op in values.layer.ops for o in op.operands if o.stored is not None and o.symbol in symbols}


def _share(builder: LayerBuilder, layer: str, tensor: StoredTensor) -> None:
    origin = tensor.shared_with or f"{layer}.{tensor.name}"
    builder.tensors[tensor.name] = replace(tensor, shared_with=origin)


def _forward(values: Values, kept: dict[str, Operand]) -> Layer:
    """The forward pass, which writes what is kept where it is stored."""
    tensors = tuple(StoredTensor(name, "activations", o.elements, o.format) for name, o in kept.items())
    steps = tuple(_with_kept(step, kept) for step in values.layer.steps)
    return Layer(values.layer.name, steps, (*values.layer.stored, *tensors))


def _with_kept(step: Step, kept: dict[str, Operand]) -> Step:
    if isinstance(step, Collective):
        return step
    operands = tuple(
        operand if operand.activation not in kept else _where_kept(operand, kept[operand.activation])
        for operand in step.operands
    )
    return replace(step, operands=operands)


def _where_kept(operand: Operand, whole: Operand) -> Operand:
    """A row that several experts take is read once from where it is kept."""
    elements = min(operand.elements, whole.elements)
    return replace(operand, stored=operand.activation, activation=None, elements=elements)


def _again_steps(values: Values, again: frozenset[str], kept: dict[str, Operand]) -> dict[str, Step]:
    """The operations called ``again``, from what was kept; of a whole forward pass the exchanges too.

    What they make that is kept all the same stands beside it.
    """
    whole = all(op.name in again for op in values.layer.ops)
    found: dict[str, Step] = {}
    for step in values.layer.steps:
        if step.name not in again and not (whole and isinstance(step, Collective)):
            continue
        if isinstance(step, Op):
            step = from_sum(values, step)
            beside = tuple(
                replace(o, activation=f"{o.activation}_again") if o.access == "write" and o.activation in kept else o
                for o in step.operands
            )
            found[step.name] = _with_kept(replace(step, operands=beside), kept)
        else:
            found[step.name] = step
    return {
        name: replace(step, name=f"{name}_again", after=tuple(f"{before}_again" for before in step.after))
        for name, step in found.items()
    }
