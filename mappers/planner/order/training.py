"""One step of training a convolutional network as a graph of operations: forward, loss, backward, update.

What the backward pass reads is kept until it has run, which the lifetimes of the graph say by themselves: inputs of
convolutions whose weights are updated (of the updated channels only), and masks of where a quantised output was
clipped, since no gradient passes there. Biases need the gradient alone. Pruned, the gradient goes no further back than
the first convolution that learns, and no gradient is made of weights that do not. Unpruned, every gradient is made.

The operations are those of mit-han-lab/tiny-training at c29157f (compilation/autodiff/diff_ops.py), fused as
mit-han-lab/tinyengine at 28ed334 fuses them (code_generator/constant.py, ``FUSHION_CONFIG``), but for one thing: what
comes back through an addition reaches both of its inputs here, and only the branch in the graph published there
(assets/49kb-int8-graph.json).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from mappers.planner.order.graph import Op, OrderGraph, Tensor
from mappers.planner.order.lowering import Counting, Patches, patched_graph
from mappers.planner.order.networks import Block, ConvNet, Layer
from mappers.planner.order.training_networks import convolutions
from mappers.planner.order.update import BIAS_BYTES, Update, check_update, updated_channels, weight_count
from workloads.errors import InputError

__all__ = ["FRAMEWORK", "Engine", "TrainingGraph", "first_with_gradient", "training_graph"]

FLOAT_BYTES = 4
"""Bytes of an element of the classifier, of the loss, and of a sum before it is rounded."""


@dataclass(frozen=True, slots=True)
class Engine:
    """How a step is carried out. The default is TinyEngine's: 8-bit activations and weights, gradients in floats.

    ``gradient_bytes``: 4, or 1 for gradients rounded to 8 bits, which needs the whole tensor of sums first, since they
    are scaled by their largest. ``mask_bits`` an element of a convolution's output, ``add_mask_bits`` of an addition's.
    ``in_place``: depthwise convolutions, and their gradients where the stride is 1, overwrite their input. ``fused``:
    masking and scaling overwrite the gradient, kernels read 8-bit weights and activations as they are; without it
    each is an operation with its own result, and operands are widened first. ``at_once``: each gradient of a parameter
    is applied before the next is made, and with ``fused`` as it is made; else all are held until the backward pass is
    over. ``pruned``: no gradient is made that no update reads. ``from_flash``: parameters that do not change are read
    where they lie; else all are in memory. ``accumulated``: sums of the gradients of several steps are kept, as wide as
    the parameters they belong to.
    """

    activation_bytes: int = 1
    weight_bytes: int = 1
    gradient_bytes: int = FLOAT_BYTES
    mask_bits: int = 1
    add_mask_bits: int = 8
    in_place: bool = True
    fused: bool = True
    at_once: bool = True
    pruned: bool = True
    from_flash: bool = True
    accumulated: bool = False
    batch: int = 1


FRAMEWORK = Engine(
    activation_bytes=FLOAT_BYTES,
    weight_bytes=FLOAT_BYTES,
    mask_bits=8 * FLOAT_BYTES,
    add_mask_bits=0,
    in_place=False,
    fused=False,
    at_once=False,
    pruned=False,
    from_flash=False,
)
"""The tensors of a framework for servers: floats, what an activation function saw kept for its gradient, every gradient
made and held until the update, parameters in memory."""


@dataclass(frozen=True)
class TrainingGraph:
    """A step's operations, and the order in which its engine runs them."""

    graph: OrderGraph
    order: tuple[str, ...]
    parameters_bytes: int
    """Of the graph's bytes those of parameters, which are there all the time."""


def first_with_gradient(net: ConvNet, update: Update, pruned: bool = True) -> int:
    """The first convolution that a gradient reaches, their number where none is reached."""
    return len(convolutions(net)) - update.biases if pruned else 0


def training_graph(net: ConvNet, update: Update, engine: Engine, patches: Patches | None = None) -> TrainingGraph:
    """One step on one batch. With ``patches`` the first blocks of the forward pass run patch by patch.

    Raises `InputError` where the network has not what is updated, and for patches of blocks that a gradient reaches.
    """
    check_update(net, update)
    if engine.batch < 1:
        raise InputError(f"a batch of {engine.batch}", "1 or more", "batch")
    step = _Step(net, update, engine)
    parameters = step.tensor("parameters", step.parameter_bytes())
    always = (parameters, step.tensor("sums", step.learnt_bytes())) if engine.accumulated else (parameters,)
    at = step.begin(patches)
    for index, block in step.indexed[patches.blocks if patches else 0 :]:
        at = step.forward(block, at, index)
    gradient = step.classifier(at)
    for index, block in reversed(step.indexed):
        if index < len(step.layers) and index + len(block.layers) > step.first:
            gradient = step.backward(block, gradient, index)
    graph = OrderGraph(net.name, tuple(step.tensors), tuple(step.ops), always)
    later = set(step.last)
    order = (*(op.name for op in step.ops if op.name not in later), *step.last)
    return TrainingGraph(graph, order, graph.tensors[0].bytes)


class _Step:
    """Collects tensors and operations."""

    def __init__(self, net: ConvNet, update: Update, engine: Engine) -> None:
        self.net, self.update, self.engine = net, update, engine
        self.layers = convolutions(net)
        self.first = first_with_gradient(net, update, engine.pruned)
        self.indexed: list[tuple[int, Block]] = []
        """Blocks, each with the number of its first convolution."""
        self.tensors: list[Tensor] = []
        self.ops: list[Op] = []
        self.last: list[str] = []
        """Operations that are run when all others have."""
        self.kept: dict[str, str] = {}
        """What the gradient of each layer's weights reads."""
        count = 0
        for block in net.blocks:
            self.indexed.append((count, block))
            count += sum(layer.kind in ("conv", "depthwise") for layer in block.layers)

    def tensor(self, name: str, size: int) -> str:
        self.tensors.append(Tensor(name, size))
        return name

    def op(
        self,
        name: str,
        reads: Sequence[str],
        size: int,
        *,
        over: Sequence[str] = (),
        scratch: int = 0,
        also: Sequence[tuple[str, int]] = (),
    ) -> str:
        """An operation, whose result of ``size`` bytes has its name; ``also`` are further results. Returns the name."""
        self.tensors += [Tensor(name, size), *(Tensor(other, more) for other, more in also)]
        writes: tuple[str, ...] = (name, *(other for other, _ in also))
        self.ops.append(Op(name, tuple(dict.fromkeys(reads)), writes, tuple(over), scratch))
        return name

    def channels(self, index: int) -> int:
        """Input channels of a convolution whose weights are updated."""
        return updated_channels(self.layers[index], self.update.weights.get(index, 0.0))

    def made_channels(self, index: int) -> int:
        """Input channels of whose weights a gradient is made."""
        return self.channels(index) if self.engine.pruned else self.layers[index].channels_in

    def learns(self, index: int) -> bool:
        """Whether a convolution's bias is updated."""
        return index >= len(self.layers) - self.update.biases

    def learnt_bytes(self) -> int:
        """Parameters that change: those of the classifier, in floats, and of convolutions."""
        dense = self.net.blocks[-1].layers[-1]
        total = FLOAT_BYTES * (weight_count(dense) + dense.channels_out)
        for index, layer in enumerate(self.layers):
            total += self.engine.weight_bytes * weight_count(layer, self.channels(index))
            total += BIAS_BYTES * layer.channels_out * self.learns(index)
        return total

    def parameter_bytes(self) -> int:
        """Parameters in memory: copies of those that change (their originals are in flash), or all."""
        total = self.learnt_bytes()
        if not self.engine.from_flash:
            for index, layer in enumerate(self.layers):
                frozen = weight_count(layer) - weight_count(layer, self.channels(index))
                total += self.engine.weight_bytes * frozen + BIAS_BYTES * layer.channels_out * (not self.learns(index))
        return total

    def mask(self, name: str, layer: Layer, bits: int) -> tuple[tuple[str, int], ...]:
        """The mask of a layer's output, whole bytes for each pixel; none of 0 bits."""
        size = self.engine.batch * -(-layer.channels_out * bits // 8) * layer.side_out**2
        return ((f"{name} mask", size),) if bits else ()

    def begin(self, patches: Patches | None) -> str:
        """The image, or the first blocks patch by patch: the tensor that the next block reads."""
        size = self.engine.activation_bytes * self.engine.batch
        if patches is None:
            return self.tensor("image", size * _input_elements(self.layers[0]))
        staged = self.net.blocks[: patches.blocks]
        if not staged or sum(len(block.layers) for block in staged) > self.first:
            raise InputError(f"{patches.blocks} blocks in patches", "blocks that no gradient reaches", "patches")
        stage = patched_graph(replace(self.net, blocks=staged), patches, Counting(in_place=self.engine.in_place))
        self.tensors += [Tensor(tensor.name, size * tensor.bytes) for tensor in stage.tensors]
        self.ops += stage.ops
        return stage.outputs[0]

    def forward(self, block: Block, source: str, index: int) -> str:
        """One block; returns the tensor it ends with."""
        engine, at = self.engine, source
        for i, layer in enumerate(block.layers, index):
            back = layer.kind in ("conv", "depthwise") and i >= self.first
            if back or layer.kind == "dense":
                self.kept[layer.name] = at
            if back and 0 < (channels := self.made_channels(i)) < layer.channels_in:
                part = engine.activation_bytes * engine.batch * channels * layer.side_in**2
                self.kept[layer.name] = self.op(f"{layer.name} keep", (at,), part)
            over: tuple[str, ...] = (at,) if engine.in_place and layer.kind == "depthwise" else ()
            each = FLOAT_BYTES if layer.kind == "dense" else engine.activation_bytes
            mask = self.mask(layer.name, layer, engine.mask_bits) if back else ()
            at = self.op(layer.name, (at,), each * engine.batch * _output_elements(layer), over=over, also=mask)
        if block.residual:
            last, name = block.layers[-1], f"{block.name} add"
            mask = self.mask(name, last, engine.add_mask_bits) if index + len(block.layers) > self.first else ()
            over = (at, source) if engine.in_place else ()
            size = engine.activation_bytes * engine.batch * _output_elements(last)
            at = self.op(name, (at, source), size, over=over, also=mask)
        return at

    def classifier(self, logits: str) -> str:
        """Loss, and what the classifier learns; returns the last gradient made on the way back."""
        engine = self.engine
        pool, dense = self.net.blocks[-2].layers[-1], self.net.blocks[-1].layers[-1]
        loss = self.op("loss", (logits,), FLOAT_BYTES * engine.batch * dense.channels_out)

        def parameters() -> None:
            self.parameter(f"{dense.name} bias", (loss,), FLOAT_BYTES * dense.channels_out)
            reads, size = (loss, self.kept[dense.name]), FLOAT_BYTES * weight_count(dense)
            self.parameter(f"{dense.name} weights", reads, size, within=engine.fused)

        if engine.at_once:
            parameters()
        at = loss
        if self.first < len(self.layers):
            at = self.op(f"{dense.name} back", (loss,), FLOAT_BYTES * engine.batch * dense.channels_in)
            at = self.op(f"{pool.name} back", (at,), engine.gradient_bytes * engine.batch * _input_elements(pool))
        if not engine.at_once:
            parameters()
        return at

    def backward(self, block: Block, gradient: str, index: int) -> str:
        """One block from its end; returns the last gradient made."""
        engine, last = self.engine, block.layers[-1]
        if block.residual and engine.add_mask_bits:
            size = engine.gradient_bytes * engine.batch * _output_elements(last)
            gradient = self.masked(f"{block.name} add", gradient, size)
        at = gradient
        for i in reversed(range(index, index + len(block.layers))):
            if i >= self.first:
                at = self.layer_back(self.layers[i], at, i)
        if block.residual and index > self.first:
            over = (at, gradient) if engine.fused else ()
            size = engine.gradient_bytes * engine.batch * _input_elements(block.layers[0])
            at = self.op(f"{block.name} add back", (at, gradient), size, over=over)
        return at

    def masked(self, name: str, gradient: str, size: int) -> str:
        """The gradient where the output was not clipped, zero elsewhere; not fused, beside a tensor of zeros."""
        reads = (gradient, f"{name} mask")
        if self.engine.fused:
            return self.op(f"{name} masked", reads, size, over=(gradient,))
        return self.op(f"{name} masked", reads, size, scratch=size)

    def layer_back(self, layer: Layer, gradient: str, index: int) -> str:
        """One convolution: mask, scale, its parameters and, where anything before it learns, its input."""
        engine = self.engine
        size = engine.gradient_bytes * engine.batch * _output_elements(layer)
        gradient = self.masked(layer.name, gradient, size)
        if not engine.fused:
            gradient = self.op(f"{layer.name} scaled", (gradient,), size)
        if engine.at_once:
            self.parameters(layer, gradient, index)
        at = gradient
        if index > self.first:
            elements = engine.batch * _input_elements(layer)
            scratch = 0 if engine.gradient_bytes == FLOAT_BYTES else FLOAT_BYTES * elements
            if engine.weight_bytes < FLOAT_BYTES and not engine.fused:
                scratch += FLOAT_BYTES * weight_count(layer)
            over = (gradient,) if engine.in_place and layer.kind == "depthwise" and layer.stride == 1 else ()
            size = engine.gradient_bytes * elements
            at = self.op(f"{layer.name} back", (gradient,), size, over=over, scratch=scratch)
        if not engine.at_once:
            self.parameters(layer, gradient, index)
        return at

    def parameters(self, layer: Layer, gradient: str, index: int) -> None:
        """Gradients of a convolution's bias and weights, and their application."""
        engine, channels = self.engine, self.made_channels(index)
        self.parameter(f"{layer.name} bias", (gradient,), FLOAT_BYTES * layer.channels_out, applied=self.learns(index))
        if not channels:
            return
        size, scratch = engine.gradient_bytes * weight_count(layer, channels), 0
        if engine.gradient_bytes < FLOAT_BYTES:
            scratch += FLOAT_BYTES * weight_count(layer, channels)
        if engine.activation_bytes < FLOAT_BYTES and not engine.fused:
            scratch += FLOAT_BYTES * engine.batch * channels * layer.side_in**2
        self.parameter(
            f"{layer.name} weights",
            (gradient, self.kept[layer.name]),
            size,
            scratch=scratch,
            applied=self.channels(index) > 0,
            within=engine.fused,
        )

    def parameter(
        self,
        what: str,
        reads: Sequence[str],
        size: int,
        *,
        scratch: int = 0,
        applied: bool = True,
        within: bool = False,
    ) -> None:
        """The gradient of a parameter, of ``size`` bytes, and its application.

        ``within``: where gradients are applied at once, each part is as it is made, so that none is ever whole. A
        gradient that nothing applies is held to the end too, where gradients are.
        """
        if within and applied and self.engine.at_once:
            self.op(f"{what} update", reads, 0, scratch=scratch)
            return
        made = self.op(f"{what} gradient", reads, size, scratch=scratch)
        if not self.engine.at_once:
            self.last.append(self.op(f"{what} update", (made,), 0))
        elif applied:
            self.op(f"{what} update", (made,), 0)


def _input_elements(layer: Layer) -> int:
    return layer.channels_in * layer.side_in**2


def _output_elements(layer: Layer) -> int:
    return layer.channels_out * layer.side_out**2
