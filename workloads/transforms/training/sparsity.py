"""Less of a training step: few channels or tokens that are kept and worked on, few weights that learn.

Mixture-of-Channels keeps of each token the channels with the largest gates (Wu et al., arXiv 2511.09323): products stay
whole, activations that are kept shrink. Token sparsity leaves out whole tokens of a layer's attention or feed-forward
(Wang et al., Jenga, ATC 2025; LeMo, arXiv 2501.09767): both shrink. With low-rank adapters (Hu et al., LoRA, arXiv
2106.09685) all other weights are frozen: no gradient, no state, and no input kept for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

from workloads.cascades import load_cascade
from workloads.errors import InputError
from workloads.phases import Train
from workloads.transforms.edit import edit_layers, kept_of, make_op, require_share, substitute, with_stored
from workloads.workload import Layer, Op, Operand, Step, StoredTensor, Workload

__all__ = ["INDEX_FORMAT", "PARTS", "keeping_also", "kept_tokens", "low_rank_adapters", "top_k_channels"]

INDEX_FORMAT = "int16"
"""Places of channels are kept in 16 bits."""

PARTS = ("attention", "feed_forward")
"""Parts of a layer that tokens may be left out of."""

_FROZEN = ("embedding_backward", "embedding_update", "head_update")


def top_k_channels(workload: Workload, share: float, *, again: bool = False) -> Workload:
    """Of a gated feed-forward's channels ``share`` of each token go on and are kept, those with the largest gates.

    Kept are their gates, inputs and places, and their results unless those are made ``again``. Products are those of
    all channels. Raises `InputError` for another phase than training and where nothing keeps a SwiGLU's gates.
    """
    _require_training(workload, "channels kept")
    require_share(share, "a share of channels")
    edited = False

    def edit(layer: Layer) -> Layer:
        nonlocal edited
        ops = {op.name: op for op in layer.ops}
        stored = {tensor.name for tensor in layer.stored}
        if "ffn_activated" in ops and "ffn_up" in stored and ops["ffn_activated"].cascade.name == "swiglu":
            edited = True
            return _channels_forward(layer, ops["ffn_activated"], share, again=again)
        if "ffn_activated_grad" in ops and "ffn_up" in stored and "swiglu" in ops["ffn_activated_grad"].cascade.name:
            return _channels_backward(layer, ops["ffn_activated_grad"], share, again=again)
        return layer

    found = edit_layers(workload, edit)
    if not edited:
        raise InputError(
            f"{workload.model} keeps no gates of a SwiGLU", "such a model, without recomputation", "policy"
        )
    return found


def _channel_tensors(layer: Layer, act: Op, share: float, *, again: bool) -> tuple[dict[str, int], dict[str, Operand]]:
    """Sizes, and as operands what is kept of each token."""
    sizes = dict(act.sizes) | {"k": kept_of(share, dict(act.sizes)["s"])}
    picked = float(sizes["t"] * sizes["k"])
    form = next(tensor.format for tensor in layer.stored if tensor.name == "ffn_up")
    names = {"GK": "ffn_up", "UK": "ffn_up"} | ({} if again else {"ZK": "ffn_activated"})
    operands = {symbol: Operand(symbol, "read", picked, form, stored=name) for symbol, name in names.items()}
    return sizes, operands | {"CI": Operand("CI", "read", picked, INDEX_FORMAT, stored="ffn_channels")}


def _channel_storage(layer: Layer, kept: dict[str, Operand], *, shared: bool) -> Layer:
    """``layer`` with the tensors of ``kept`` in place of those of all channels."""
    sizes: dict[str, tuple[float, str]] = {}
    for operand in kept.values():
        before = sizes.get(operand.stored or "", (0.0, ""))[0]
        sizes[operand.stored or ""] = (before + operand.elements, operand.format)
    origin = next(tensor.shared_with for tensor in layer.stored if tensor.name == "ffn_up")
    other = (origin or "").partition(".")[0]
    layer = replace(layer, stored=tuple(t for t in layer.stored if t.name not in ("ffn_up", "ffn_activated")))
    return with_stored(
        layer,
        *(
            StoredTensor(name, "activations", elements, form, f"{other}.{name}" if shared else None)
            for name, (elements, form) in sizes.items()
        ),
    )


def _channels_forward(layer: Layer, act: Op, share: float, *, again: bool) -> Layer:
    was_kept = any(tensor.name == "ffn_activated" for tensor in layer.stored)
    sizes, kept = _channel_tensors(layer, act, share, again=again or not was_kept)
    reads = [replace(o, stored=None, activation="ffn_gates") for o in act.operands if o.access == "read"]
    result = next(o for o in act.operands if o.access == "write")
    whole = replace(result, stored=None, activation="ffn_all_activated")
    writes = [replace(operand, access="write") for operand in kept.values()]
    picking = make_op(act, act.name, act.kind, "swiglu-top-k", sizes, (*reads, *writes, whole), act.after)
    made = substitute(_channel_storage(layer, kept, shared=False), act.name, [picking])
    return _redirected(made, {"ffn_up": "ffn_gates", "ffn_activated": "ffn_all_activated"}, skip=(act.name,))


def _channels_backward(layer: Layer, act: Op, share: float, *, again: bool) -> Layer:
    needed = any(op.name == "ffn_down_wgrad" for op in layer.ops)
    sizes, kept = _channel_tensors(layer, act, share, again=again or not needed)
    made = _channel_storage(layer, kept, shared=True)
    own = [kept[symbol] for symbol in ("GK", "UK", "CI")]
    rest = [o for o in act.operands if o.symbol in ("DH", "DG", "DU")]
    made = substitute(
        made, act.name, [make_op(act, act.name, act.kind, "swiglu-top-k-backward", sizes, (*own, *rest), act.after)]
    )
    if not needed:
        return made
    product = next(op for op in made.ops if op.name == "ffn_down_wgrad")
    whole = next(o for o in product.operands if o.symbol == "A")
    into = Operand("H", "write", whole.elements, whole.format, activation="ffn_all_activated")
    name, reads = ("swiglu-top-k-again", own) if again else ("channels-back", [kept["ZK"], kept["CI"]])
    put = make_op(product, "ffn_channels_back", "elementwise", name, sizes, (*reads, into), product.after)
    operands = (replace(o, stored=None, activation="ffn_all_activated") if o is whole else o for o in product.operands)
    after = tuple(dict.fromkeys((*product.after, put.name)))
    return substitute(made, product.name, [put, replace(product, operands=tuple(operands), after=after)])


def _redirected(layer: Layer, names: dict[str, str], skip: Iterable[str]) -> Layer:
    """``layer`` whose operations, but for those to ``skip``, find what was stored under ``names`` as activations."""
    steps: list[Step] = []
    for step in layer.steps:
        if isinstance(step, Op) and step.name not in skip:
            operands = tuple(
                replace(o, stored=None, activation=names[o.stored]) if o.stored in names else o for o in step.operands
            )
            step = replace(step, operands=operands)
        steps.append(step)
    return replace(layer, steps=tuple(steps))


def kept_tokens(workload: Workload, share: float, parts: Iterable[str] = PARTS) -> Workload:
    """``share`` of every sequence's tokens take part in the ``parts`` of each layer; the others pass it by.

    They neither attend nor are attended to. Norms and sums see all tokens, and read and write of a part what is there:
    tokens are picked where they lie. Raises `InputError` for another phase than training and where a layer is split
    over devices, experts or windows.
    """
    _require_training(workload, "tokens left out")
    require_share(share, "a share of tokens")
    chosen = frozenset(parts)
    if not chosen <= set(PARTS):
        raise InputError(f"parts {', '.join(sorted(chosen))}", f"of {', '.join(PARTS)}", "policy")
    context = workload.phase.context
    kept = kept_of(share, context)

    def edit(layer: Layer) -> Layer:
        if not layer.name.startswith("layer") or layer.name.endswith("_update") or kept == context:
            return layer
        return _fewer_tokens(layer, chosen, kept, context)

    return edit_layers(workload, edit)


def _part(op: Op) -> str:
    """The part of a layer that an operation is of; norms and sums are of none."""
    if op.kind == "norm" or op.cascade.name == "residual-add":
        return ""
    return "feed_forward" if op.name.startswith("ffn_") else "attention"


def _fewer_tokens(layer: Layer, chosen: frozenset[str], kept: int, context: int) -> Layer:
    tensors = {tensor.name: tensor for tensor in layer.stored}
    inside = [op for op in layer.ops if _part(op) in chosen]
    for op in inside:
        if op.kind not in ("gemm", "attention", "elementwise") or "window" in dict(op.sizes):
            raise InputError(f"tokens left out of {op.cascade.name}", "dense layers with whole attention", "policy")

    def is_value(operand: Operand) -> bool:
        return operand.stored is None or tensors[operand.stored].role == "activations"

    touched = {o.stored or o.activation for op in inside for o in op.operands if is_value(o)}

    def shrunk(operand: Operand) -> Operand:
        if not is_value(operand) or (operand.stored or operand.activation) not in touched:
            return operand
        return replace(operand, elements=operand.elements * kept / context)

    steps: list[Step] = []
    for step in layer.steps:
        if isinstance(step, Op):
            size = dict(step.sizes)
            if step in inside:
                ranks = ("p", "m") if step.kind == "attention" else (_token_rank(step),)
                size |= {rank: size[rank] * kept // context for rank in ranks}
            step = replace(step, sizes=tuple(sorted(size.items())), operands=tuple(map(shrunk, step.operands)))
        elif any(op.name in step.after for op in inside):
            step = replace(step, elements=step.elements * kept / context)
        steps.append(step)
    stored = tuple(
        replace(t, elements=t.elements * kept / context) if t.role == "activations" and t.name in touched else t
        for t in layer.stored
    )
    return replace(layer, steps=tuple(steps), stored=stored)


def _token_rank(op: Op) -> str:
    if op.kind == "elementwise":
        return "t"
    return "n0" if op.name.endswith("_wgrad") else "m"


def low_rank_adapters(workload: Workload, rank: int, targets: Iterable[str] = ("qkv", "output")) -> Workload:
    """Only adapters of ``rank`` beside the products ``targets`` learn; every other weight is frozen.

    An adapter is two products, one to the rank and one back, whose sum with the frozen product is made by the latter.
    Raises `InputError` for another phase than training and where no product is of those.
    """
    _require_training(workload, "adapters")
    if rank < 1:
        raise InputError(f"adapters of rank {rank}", "at least 1", "policy")
    chosen = tuple(targets)
    forward = {layer.name: layer for layer, _ in workload.layers()}
    if not any(op.name in chosen for layer in forward.values() for op in layer.ops):
        raise InputError(f"{workload.model} has no products {', '.join(chosen)}", "products of its layers", "policy")
    reads = {
        layer.name.removesuffix("_backward"): {o.stored for op in _without_gradients(layer, chosen).ops
                                               for o in op.operands if o.access == "read"}
        for layer in forward.values() if layer.name.endswith("_backward")
    }  # fmt: skip

    def edit(layer: Layer) -> Layer:
        name, _, kind = layer.name.rpartition("_")
        if layer.name in _FROZEN:
            return Layer(layer.name, (), ())
        if layer.name == "head":
            return _stored_only(_without_gradients(layer, ()), lambda t: t.role != "gradients")
        if kind == "update":
            return _adapter_update(layer, forward[name], chosen, rank)
        if kind == "backward":
            made = _without_gradients(layer, chosen)
            made = _stored_only(made, lambda t: t.role != "activations" or t.name in reads[name])
            return _adapters(made, forward[name], chosen, rank, backward=True)
        if layer.name in reads:
            dropped = {t.name for t in layer.stored if t.role == "activations"} - reads[layer.name]
            made = _redirected(layer, {tensor: tensor for tensor in dropped}, ())
            made = _stored_only(made, lambda t: t.name not in dropped)
            return _adapters(made, layer, chosen, rank, backward=False)
        return layer

    return edit_layers(workload, edit)


def _stored_only(layer: Layer, keep: Callable[[StoredTensor], bool]) -> Layer:
    return replace(layer, stored=tuple(filter(keep, layer.stored)))


def _without_gradients(layer: Layer, targets: tuple[str, ...]) -> Layer:
    """``layer`` without gradients of frozen weights; the input of a target is still read, by its adapter's."""
    gradients = {tensor.name for tensor in layer.stored if tensor.role == "gradients"}
    instead: dict[str, tuple[str, ...]] = {}
    steps: list[Step] = []
    for step in layer.steps:
        after = tuple(dict.fromkeys(name for waited in step.after for name in instead.get(waited, (waited,))))
        base, _, end = step.name.rpartition("_")
        if end in ("wgrad", "bgrad") and base not in targets:
            instead[step.name] = after
            continue
        step = replace(step, after=after)
        if isinstance(step, Op) and end != "wgrad":
            step = replace(step, operands=tuple(o for o in step.operands if o.stored not in gradients))
        steps.append(step)
    return replace(layer, steps=tuple(steps))


def _adapters(layer: Layer, forward: Layer, targets: tuple[str, ...], rank: int, *, backward: bool) -> Layer:
    """``layer`` with the adapters' products, or in a backward layer with their gradients in place of the weights'."""
    made = layer
    for product in forward.ops:
        if product.name not in targets:
            continue
        size = dict(product.sizes)
        rows, inner, outer = size["m"], size["n0"], size["n1"]
        form = next(o.format for o in product.operands if o.symbol == "A")
        made = with_stored(made, *_adapter_weights(product, rank, form, forward.name if backward else None))
        down, up = (f"{product.name}_adapter_{end}" for end in ("down", "up"))
        if not backward:
            source = next(o for op in made.ops if op.name == product.name for o in op.operands if o.symbol == "A")
            middle = Operand("Z", "write", float(rows * rank), form, activation=down)
            into = next(replace(o, symbol="Z") for o in product.operands if o.symbol == "Z")
            first = _gemm(product, down, (rows, inner, rank), source, _weight(down, inner * rank, form), middle, ())
            second = _gemm(
                product, up, (rows, rank, outer), replace(middle, symbol="A", access="read"),
                _weight(up, rank * outer, form), replace(into, access="write"), (down,),
            )  # fmt: skip
            last = next(op for op in made.ops if op.name == product.name)
            made = substitute(made, product.name, [first, second, replace(last, after=(*last.after, up))])
            continue
        gradient = next(op for op in made.ops if op.name == f"{product.name}_wgrad")
        source, given = (next(o for o in gradient.operands if o.symbol == symbol) for symbol in "AW")
        into = next(o for op in made.ops if op.name == f"{product.name}_dgrad" for o in op.operands if o.symbol == "Z")
        narrow = Operand("Z", "write", float(rows * rank), form, activation=f"d_{down}")
        again = Operand("Z", "write", float(rows * rank), form, activation=f"{down}_again")
        sums = {name: Operand("Z", "write", float(n), form, stored="gradients")
                for name, n in ((down, inner * rank), (up, rank * outer))}  # fmt: skip
        wide = replace(given, symbol="A")
        steps = [
            _gemm(product, f"{down}_again", (rows, inner, rank), source, _weight(down, inner * rank, form), again, ()),
            _gemm(product, f"{up}_dgrad", (rows, outer, rank), wide, _weight(up, rank * outer, form), narrow, ()),
            _gemm(product, f"{up}_wgrad", (rank, rows, outer), replace(again, symbol="A", access="read"), given,
                  sums[up], (f"{down}_again",)),
            _gemm(product, f"{down}_wgrad", (inner, rows, rank), source,
                  replace(narrow, symbol="W", access="read"), sums[down], (f"{up}_dgrad",)),
            _gemm(product, f"{down}_dgrad", (rows, rank, inner), replace(narrow, symbol="A", access="read"),
                  _weight(down, inner * rank, form), into, (f"{up}_dgrad",)),
        ]  # fmt: skip
        made = substitute(made, gradient.name, steps)
    if backward:
        count = _learnt(forward, targets, rank)
        made = with_stored(made, *(replace(t, elements=count) for t in made.stored if t.role == "gradients"))
    return made


def _gemm(
    like: Op, name: str, sizes: tuple[int, int, int], a: Operand, w: Operand, z: Operand, after: tuple[str, ...]
) -> Op:
    rows, inner, outer = sizes
    operands = (replace(a, symbol="A"), replace(w, symbol="W"), replace(z, symbol="Z"))
    return make_op(like, name, "gemm", "gemm", {"m": rows, "n0": inner, "n1": outer}, operands, after)


def _weight(name: str, elements: int, form: str) -> Operand:
    return Operand("W", "read", float(elements), form, stored=f"{name}_weight")


def _adapter_weights(product: Op, rank: int, form: str, origin: str | None) -> tuple[StoredTensor, StoredTensor]:
    size = dict(product.sizes)
    names = (f"{product.name}_adapter_down_weight", f"{product.name}_adapter_up_weight")
    counts = (float(size["n0"] * rank), float(rank * size["n1"]))
    first, second = (
        StoredTensor(name, "attention", count, form, f"{origin}.{name}" if origin else None)
        for name, count in zip(names, counts, strict=True)
    )
    return first, second


def _learnt(forward: Layer, targets: tuple[str, ...], rank: int) -> float:
    """Weights of a layer's adapters."""
    sizes = [dict(op.sizes) for op in forward.ops if op.name in targets]
    return float(sum(rank * (size["n0"] + size["n1"]) for size in sizes))


def _adapter_update(layer: Layer, forward: Layer, targets: tuple[str, ...], rank: int) -> Layer:
    """The optimizer's step over the adapters alone."""
    count = _learnt(forward, targets, rank)
    learnt = {"optimizer", "gradients"}
    stored = tuple(replace(t, elements=count) for t in layer.stored if t.role in learnt)
    names = {tensor.name for tensor in stored}
    steps: list[Step] = []
    for step in layer.steps:
        assert isinstance(step, Op)
        operands = tuple(replace(o, elements=count) for o in step.operands if o.stored in names)
        steps.append(
            Op(step.name, step.kind, load_cascade("adam"), (("d", round(count)),), operands, step.compute_format,
               step.after, step.lane)
        )  # fmt: skip
    return replace(layer, steps=tuple(steps), stored=stored)


def keeping_also(workload: Workload, extras: Iterable[tuple[str, str, float, str]]) -> Workload:
    """Kept activations beside those that gradients need, as frameworks keep them that run operation by operation.

    Each is a name, the kept tensor it goes with, how many times its elements, and a format. Only room is taken.
    """
    chosen = tuple(extras)

    def edit(layer: Layer) -> Layer:
        own = {t.name: t for t in layer.stored if t.role == "activations" and t.shared_with is None}
        more = (
            StoredTensor(name, "activations", own[of].elements * times, form)
            for name, of, times, form in chosen
            if of in own
        )
        return with_stored(layer, *more)

    return edit_layers(workload, edit)


def _require_training(workload: Workload, what: str) -> None:
    if not isinstance(workload.phase, Train):
        raise InputError(f"{what} in {workload.phase.name}", expected="train", field="phase")
