"""Operations of a training step as an eager framework runs them: each elementwise step a kernel of its own.

Written from the expressions of torchtitan's Llama (pytorch/torchtitan at 0199cbc, torchtitan/models/llama/model.py, and
at 026e23a, torchtitan/models/norms.py) and the gradients that PyTorch's autograd has for each of their steps
(tools/autograd/derivatives.yaml, pytorch/pytorch):

- norm: the sum with the residual; a cast to 32 bits, square, mean, product with the root's inverse, cast back, gain.
  The square's gradient is taken for an exponent: a power of one, a product with two, a product with what comes.
- rotation: casts to 32 bits, a complex product, casts back; keys and values written again for each query head.
- gated activation: the activation, and a product.
- loss: logits in 32 bits, their log-softmax, which is kept; a gradient of zeros that labels are marked in, one of the
  log-softmax, and a cast. It stays outside what is compiled: ``blocks`` False leaves layers as they are.

Gradients of one value from several products are added one after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from workloads.transforms.edit import edit_layers, make_op, substitute
from workloads.workload import Layer, Op, Operand, Step, StoredTensor, Workload

__all__ = ["eager"]

_WIDE = "fp32"
_SUMMED = "_dgrad"


def eager(workload: Workload, *, blocks: bool = True, norms: bool = True) -> Workload:
    """``workload`` with elementwise steps apart: of the head and, where ``blocks``, of the layers.

    ``norms`` False leaves norms fused kernels, of their own all the same: the sum with the residual stands apart.
    """

    def edit(layer: Layer) -> Layer:
        if not blocks and not layer.name.startswith("head"):
            return layer
        names = [step.name for step in layer.steps if isinstance(step, Op)]
        for name in names:
            (op,) = (op for op in layer.ops if op.name == name)
            steps = _apart(op, norms)
            if steps:
                layer = substitute(layer, name, steps)
        return _kept(_added(layer), norms)

    return edit_layers(workload, edit)


_Operands = dict[tuple[str, str], Operand]
"""By symbol and access."""


@dataclass
class _Kernels:
    """Kernels in a row in place of ``op``: rows of ``d`` elements, ``t`` of them."""

    op: Op
    steps: list[Op] = field(default_factory=list)

    def run(
        self,
        what: str,
        cascade: str,
        sizes: dict[str, int],
        reads: Sequence[tuple[str, Operand]],
        write: tuple[str, Operand],
        kind: str = "elementwise",
    ) -> Operand:
        """A kernel that writes ``write``; returns what it wrote, to be read."""
        operands = [replace(o, symbol=symbol, access="read") for symbol, o in reads]
        operands.append(replace(write[1], symbol=write[0], access="write"))
        after = (self.steps[-1].name,) if self.steps else self.op.after
        name = f"{self.op.name}_{what}" if what else self.op.name
        self.steps.append(make_op(self.op, name, kind, cascade, sizes, operands, after))
        return replace(write[1], access="read")

    def value(self, what: str, elements: float, form: str) -> Operand:
        """A value between kernels."""
        return Operand("", "write", elements, form, activation=f"{self.op.name}_{what}_value")


def _apart(op: Op, norms: bool) -> Sequence[Step]:
    """The kernels in place of ``op``; none where it is one kernel already."""
    name = op.cascade.name
    of: _Operands = {(o.symbol, o.access): o for o in op.operands}
    kernels = _Kernels(op)
    if name in ("add-rms-norm", "add-rms-norm-statistics", "rms-norm", "rms-norm-statistics"):
        _norm(kernels, of, norms)
    elif name in ("add-rms-norm-backward", "rms-norm-backward"):
        _norm_backward(kernels, of, norms)
    elif name == "rotary-append":
        _rotary(kernels, of, op.cascade.name, ("Q", "K", "V"))
    elif name == "rotary-append-backward":
        _rotary(kernels, of, op.cascade.name, ("DQ", "DK", "DV"))
    elif name == "swiglu":
        sizes = dict(op.sizes)
        half = kernels.value("silu", of["H", "write"].elements, of["H", "write"].format)
        half = kernels.run("silu", "silu", sizes, [("U", of["G", "read"])], ("H", half))
        point = {"t": sizes["t"], "d": sizes["s"]}
        kernels.run("gate", "multiply", point, [("X", half), ("F", of["U", "read"])], ("Y", of["H", "write"]))
    elif name == "swiglu-backward":
        _swiglu_backward(kernels, of)
    elif name == "softmax-cross-entropy":
        _loss(kernels, of)
    elif name == "softmax-cross-entropy-backward":
        _loss_backward(kernels, of)
    return kernels.steps


def _norm(kernels: _Kernels, of: _Operands, norms: bool) -> None:
    sizes = dict(kernels.op.sizes)
    source = of["X", "read"]
    summed = ("R", "read") in of and ("S", "write") in of
    if summed:
        source = kernels.run(
            "add", "residual-add", sizes, [("X", source), ("F", of["R", "read"])], ("Y", of["S", "write"])
        )
    result, many = of["Y", "write"], of["X", "read"].elements
    scales = of.get(("IR", "write")) or of.get(("R", "write")) or kernels.value("scale", float(sizes["t"]), _WIDE)
    if not norms:
        if summed:
            reads = [("X", source), ("G", of["G", "read"])]
            kernels.run("norm", "rms-norm-statistics", sizes, reads, ("Y", result), "norm")
            statistics = replace(scales, symbol="R", access="write")
            kernels.steps[-1] = replace(kernels.steps[-1], operands=(*kernels.steps[-1].operands, statistics))
        return
    wide = kernels.run("wide", "copy", sizes, [("X", source)], ("Y", kernels.value("wide", many, _WIDE)))
    square = kernels.value("square", many, _WIDE)
    square = kernels.run("square", "multiply", sizes, [("X", wide)], ("Y", square))
    scales = kernels.run("mean", "row-sums", sizes, [("X", square)], ("S", scales))
    scaled = kernels.value("scaled", many, _WIDE)
    scaled = kernels.run("scale", "multiply-rows", sizes, [("X", wide), ("R", scales)], ("Y", scaled))
    narrow = kernels.value("narrow", many, result.format)
    narrow = kernels.run("narrow", "copy", sizes, [("X", scaled)], ("Y", narrow))
    kernels.run("gain", "multiply-columns", sizes, [("X", narrow), ("G", of["G", "read"])], ("Y", result))


def _norm_backward(kernels: _Kernels, of: _Operands, norms: bool) -> None:
    sizes = dict(kernels.op.sizes)
    comes, gain, gains = of["DY", "read"], of["G", "read"], of["DG", "write"]
    source, scales = of.get(("S", "read")) or of["X", "read"], of.get(("IR", "read")) or of["R", "read"]
    many, narrow = comes.elements, comes.format
    rest, result = of.get(("DS", "read")), of["DX", "write"]
    end = result if rest is None else kernels.value("own", many, narrow)
    if not norms:
        if rest is None:
            return
        reads = [("X", source), ("G", gain), ("R", scales), ("DY", comes)]
        end = kernels.run("norm", "rms-norm-backward", sizes, reads, ("DX", end), "norm")
        kernels.run("add", "residual-add", sizes, [("X", end), ("F", rest)], ("Y", result))
        return

    def wide(what: str) -> Operand:
        return kernels.value(what, many, _WIDE)

    # What is kept of the forward pass is the input in 32 bits and the scaled input in 16.
    kept_wide, kept_narrow = replace(source, format=_WIDE), replace(source, format=narrow)
    by_gain = kernels.value("by_gain", many, narrow)
    by_gain = kernels.run("by_gain", "multiply-columns", sizes, [("X", comes), ("G", gain)], ("Y", by_gain))
    product = kernels.value("for_gain", many, narrow)
    product = kernels.run("for_gain", "multiply", sizes, [("X", comes), ("F", kept_narrow)], ("Y", product))
    kernels.run("gain", "bias-backward", sizes, [("DY", product)], ("DB", gains))
    d_scaled = kernels.run("wide", "copy", sizes, [("X", by_gain)], ("Y", wide("wide")))
    direct = kernels.run("scale", "multiply-rows", sizes, [("X", d_scaled), ("R", scales)], ("Y", wide("direct")))
    crossed = [("X", d_scaled), ("F", kept_wide)]
    crossed_value = kernels.run("for_scale", "multiply", sizes, crossed, ("Y", wide("for_scale")))
    sums = kernels.value("sums", float(sizes["t"]), _WIDE)
    sums = kernels.run("sums", "row-sums", sizes, [("X", crossed_value)], ("S", sums))
    mean = kernels.run("mean", "spread-rows", sizes, [("R", sums)], ("Y", wide("mean")))
    power = kernels.run("power", "copy", sizes, [("X", kept_wide)], ("Y", wide("power")))
    twice = kernels.run("twice", "copy", sizes, [("X", power)], ("Y", wide("twice")))
    by_mean = kernels.run("by_mean", "multiply", sizes, [("X", mean), ("F", twice)], ("Y", wide("by_mean")))
    both = kernels.run("both", "residual-add", sizes, [("X", direct), ("F", by_mean)], ("Y", wide("both")))
    end = kernels.run("narrow", "copy", sizes, [("X", both)], ("Y", end))
    if rest is not None:
        kernels.run("add", "residual-add", sizes, [("X", end), ("F", rest)], ("Y", result))


def _rotary(kernels: _Kernels, of: _Operands, cascade: str, symbols: tuple[str, str, str]) -> None:
    """Queries and keys turned in 32 bits; values stay where they are but for the copies for each query head."""
    sizes = dict(kernels.op.sizes)
    queries, keys, values = (of[symbol, "read"] for symbol in symbols)
    to_queries, to_keys = of["QL", "write"], of["KL", "write"]
    rows, group = sizes["t"], max(1, round(queries.elements / keys.elements))
    backward = cascade.endswith("backward")

    def shape(operand: Operand, times: int = 1) -> dict[str, int]:
        return {"t": rows, "d": max(1, round(times * operand.elements / rows))}

    if backward and group > 1:
        for symbol, operand in (("keys", keys), ("values", values)):
            many = replace(operand, elements=group * operand.elements)
            kernels.run(f"{symbol}_sum", "copy", shape(operand), [("X", many)], ("Y", operand))
    turned = []
    for symbol, operand in (("queries", queries), ("keys", keys)):
        wide = kernels.value(f"{symbol}_wide", operand.elements, _WIDE)
        turned.append(kernels.run(f"{symbol}_wide", "copy", shape(operand), [("X", operand)], ("Y", wide)))
    after = (kernels.steps[-1].name,)
    results = [
        kernels.value(f"{symbol}_turned", o.elements, _WIDE)
        for symbol, o in zip(("queries", "keys"), turned, strict=True)
    ]
    operands = [replace(o, symbol=symbol) for symbol, o in zip(symbols, turned, strict=False)]
    operands += [replace(o, symbol=symbol) for symbol, o in zip(("QL", "KL"), results, strict=True)]
    kernels.steps.append(make_op(kernels.op, f"{kernels.op.name}_turn", "elementwise", cascade, sizes, operands, after))
    ends = (to_queries, replace(to_keys, elements=keys.elements, whole_elements=to_keys.elements))
    for symbol, wide, end in zip(("queries", "keys"), results, ends, strict=True):
        kernels.run(f"{symbol}_narrow", "copy", shape(wide), [("X", wide)], ("Y", end))
    if not backward and group > 1:
        # All query heads of a group get keys and values of their own.
        for symbol, operand in (("keys", ends[1]), ("values", values)):
            many = replace(to_keys, elements=group * operand.elements, whole_elements=group * to_keys.elements)
            kernels.run(f"{symbol}_again", "copy", shape(operand, group), [("X", operand)], ("Y", many))


def _swiglu_backward(kernels: _Kernels, of: _Operands) -> None:
    sizes = dict(kernels.op.sizes)
    point = {"t": sizes["t"], "d": sizes["s"]}
    comes, up, gate = of["DH", "read"], of["U", "read"], of["G", "read"]
    to_up, to_gate = of["DU", "write"], of["DG", "write"]
    # The activation of the gate was kept, or made again.
    kernels.run("up", "multiply", point, [("X", comes), ("F", gate)], ("Y", to_up))
    inner = kernels.value("inner", comes.elements, comes.format)
    inner = kernels.run("inner", "multiply", point, [("X", comes), ("F", up)], ("Y", inner))
    kernels.run("silu", "silu-backward", sizes, [("U", gate), ("DH", inner)], ("DU", to_gate))


def _loss(kernels: _Kernels, of: _Operands) -> None:
    sizes, logits = dict(kernels.op.sizes), of["L", "read"]
    wide = kernels.run("wide", "copy", sizes, [("X", logits)], ("Y", _loss_value("logits_wide", logits)))
    # The last one keeps the name, by which a step's halves are told apart.
    kernels.run("", "softmax", sizes, [("X", wide)], ("Y", _loss_value("log_softmax", logits)), "softmax")


def _loss_backward(kernels: _Kernels, of: _Operands) -> None:
    sizes, logits, result = dict(kernels.op.sizes), of["L", "read"], of["DL", "write"]
    kept = replace(_loss_value("log_softmax", logits), access="read")
    zeros = kernels.value("zeros", logits.elements, _WIDE)
    zeros = kernels.run("zeros", "spread-rows", sizes, [], ("Y", zeros))
    wide = kernels.value("wide", logits.elements, _WIDE)
    reads = [("L", kept), ("L", zeros), ("LSE", of["LSE", "read"])]
    wide = kernels.run("log_softmax", "softmax-cross-entropy-backward", sizes, reads, ("DL", wide), "softmax")
    kernels.run("narrow", "copy", sizes, [("X", wide)], ("Y", result))


def _loss_value(what: str, logits: Operand) -> Operand:
    return Operand("", "write", logits.elements, _WIDE, activation=what)


def _added(layer: Layer) -> Layer:
    """Gradients of one value added as they come, after each product but the first."""
    seen: dict[str, int] = {}
    for op in layer.ops:
        if not op.name.endswith(_SUMMED) or op.kind != "gemm":
            continue
        (result,) = (o for o in op.operands if o.access == "write")
        if result.activation is None:
            continue
        seen[result.activation] = seen.get(result.activation, 0) + 1
        if seen[result.activation] == 1:
            continue
        rows = dict(op.sizes)["m"]
        own = replace(result, activation=f"{op.name}_own")
        product = replace(op, operands=tuple(own if o is result else o for o in op.operands))
        kernels = _Kernels(replace(op, after=(op.name,)))
        sizes = {"t": rows, "d": dict(op.sizes)["n1"]}
        kernels.run("sum", "residual-add", sizes, [("X", result), ("F", own)], ("Y", result))
        layer = substitute(layer, op.name, (product, *kernels.steps))
    return layer


def _kept(layer: Layer, norms: bool) -> Layer:
    """What eager steps keep for their gradients where fused ones keep less: a norm's input in 32 bits and its scaled
    input, for which the sum is not kept, and the activation of a gate."""
    names = {tensor.name for tensor in layer.stored if tensor.role == "activations"}
    places: dict[tuple[str, str], str] = {}
    stored: list[StoredTensor] = []
    for tensor in layer.stored:
        norm = tensor.name.removeprefix("residual_of_")
        if norms and norm != tensor.name and {norm, tensor.name} <= names:
            stored += [replace(tensor, format=_WIDE), _beside(tensor, f"{norm}_scaled", tensor.elements)]
            places |= {(f"{norm}_narrow", "Y"): f"{norm}_scaled", (f"{norm}_gain", "X"): f"{norm}_scaled"}
            places[f"{norm}_grad_for_gain", "F"] = f"{norm}_scaled"
            continue
        stored.append(tensor)
        if tensor.name == "ffn_up" and {"ffn_up", "ffn_activated"} <= names:
            stored.append(_beside(tensor, "ffn_silu", tensor.elements / 2))
            places |= {("ffn_activated_silu", "H"): "ffn_silu", ("ffn_activated_gate", "X"): "ffn_silu"}
            places["ffn_activated_grad_up", "F"] = "ffn_silu"
    if not places:
        return layer
    steps = tuple(
        replace(step, operands=tuple(_placed(step, o, places) for o in step.operands)) if isinstance(step, Op) else step
        for step in layer.steps
    )
    return replace(layer, steps=steps, stored=tuple(stored))


def _beside(tensor: StoredTensor, name: str, elements: float) -> StoredTensor:
    """A tensor that is kept beside ``tensor``, in the same layer."""
    origin = tensor.shared_with and f"{tensor.shared_with.rpartition('.')[0]}.{name}"
    return replace(tensor, name=name, elements=elements, shared_with=origin)


def _placed(op: Op, operand: Operand, places: dict[tuple[str, str], str]) -> Operand:
    name = places.get((op.name, operand.symbol))
    return operand if name is None else replace(operand, stored=name, activation=None)
