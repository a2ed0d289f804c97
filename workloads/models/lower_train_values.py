"""A forward layer as values: every activation under a name of its own, and which of them a backward pass needs.

Where a serving layer writes one name twice (the residual stream), a backward pass must tell the two apart. Keys and
values go to no cache: where nothing turns them, attention reads them where their projection wrote them. Operations also
write the statistics that their gradients are made from.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from workloads.cascades import load_cascade
from workloads.einsum import tensor_elements
from workloads.errors import InputError
from workloads.models.lower_feed_forward import CASCADES
from workloads.models.lower_train_experts import with_kept_experts
from workloads.workload import Collective, Layer, Op, Operand, Step, StoredTensor

__all__ = ["Values", "as_values", "found", "from_sum", "kept_values"]

STATISTICS_FORMAT = "fp32"
"""Log-sums, means and scales of rows, one number a row, are kept as kernels compute them; so are experts' numbers."""

WITH_STATISTICS = {
    "add-layer-norm": ("add-layer-norm-statistics", ("MU", "IS")),
    "add-rms-norm": ("add-rms-norm-statistics", ("IR",)),
    "attention-1pass": ("attention-1pass-lse", ("LSE",)),
    "attention-1pass-causal": ("attention-1pass-causal-lse", ("LSE",)),
    "attention-1pass-window": ("attention-1pass-window-lse", ("LSE",)),
    "moe-route": ("moe-route", ("TI",)),
    "rms-norm": ("rms-norm-statistics", ("R",)),
}
"""The cascade that also writes what its gradients are made from, and what that is."""

NEEDED = {
    "add-layer-norm-statistics": ("S", "MU", "IS"),
    "add-rms-norm-statistics": ("S", "IR"),
    "attention-1pass-causal-lse": ("Q", "K", "V", "AV", "LSE"),
    "attention-1pass-lse": ("Q", "K", "V", "AV", "LSE"),
    "attention-1pass-window-lse": ("Q", "K", "V", "AV", "LSE"),
    "embedding": (),
    "gated-sum": ("F", "S"),
    "gemm": ("A",),
    "gemm-bias": ("A",),
    "latent-append": (),
    "layer-norm-statistics": ("X", "MU", "R"),
    "moe-combine": ("X", "P"),
    "moe-route": ("P", "TI"),
    "residual-add": (),
    "rms-norm-statistics": ("X", "R"),
    "rotary-append": (),
    **{name: ("G", "U") if gated else ("U",) for (_, gated), name in CASCADES.items()},
}
"""By cascade the tensors that its gradients are made from, weights aside."""

FROM_SUM = {
    "add-layer-norm-statistics": "layer-norm-statistics",
    "add-rms-norm-statistics": "rms-norm-statistics",
}
"""The norm alone, where the sum before it is kept."""


@dataclass(frozen=True)
class Values:
    """A layer whose operations read and write values, each written once; ``outputs`` go to the layer after."""

    layer: Layer
    written: dict[str, Operand]
    outputs: tuple[str, ...]

    @property
    def from_before(self) -> frozenset[str]:
        """Values that the layer before has made."""
        read = {o.activation for op in self.layer.ops for o in op.operands if o.activation and o.access == "read"}
        return frozenset(read) - frozenset(self.written)

    def readers(self, value: str) -> int:
        """How many operations read ``value``."""
        return sum(any(o.activation == value and o.access == "read" for o in op.operands) for op in self.layer.ops)


def found(op: Op, symbol: str) -> Operand:
    """The operand of ``op`` that stands for ``symbol``."""
    return next(operand for operand in op.operands if operand.symbol == symbol)


def as_values(layer: Layer) -> Values:
    """``layer`` with each activation renamed at every write but its first, and with statistics written.

    Raises `InputError` for an operation whose gradient is not in the library.
    """
    layer = with_kept_experts(layer)
    caches = {tensor.name: f"keys_values{'' if at == 0 else at}" for at, tensor in enumerate(_caches(layer))}
    steps: list[Step] = []
    current: dict[str, str] = {}
    written: dict[str, Operand] = {}
    known: set[str] = set()
    left_out: dict[str, tuple[str, ...]] = {}
    # Two norms of one sum (attention and feed-forward side by side) make it once.
    sums: dict[tuple[str, str], tuple[str, str]] = {}
    for step in layer.steps:
        step = replace(step, after=tuple(name for before in step.after for name in left_out.get(before, (before,))))
        if isinstance(step, Collective):
            steps.append(step)
            continue
        if step.cascade.name == "cache-append":
            source = found(step, "K").activation or ""
            current[caches.get(found(step, "KC").stored or "", found(step, "KC").activation or "")] = source
            left_out[step.name] = step.after
            continue
        op = _with_statistics(step)
        if op.cascade.name not in NEEDED:
            raise InputError(f"no gradient of {op.cascade.name!r} is known", "another model", "phase")
        operands = []
        for operand in op.operands:
            if operand.stored in caches:
                operand = replace(operand, stored=None, activation=caches[operand.stored])
            operands.append(operand)
        renamed = replace(op, operands=tuple(_renamed(operand, current, known) for operand in operands))
        if op.cascade.name in FROM_SUM:
            summed = (found(renamed, "X").activation or "", found(op, "R").activation or "")
            if summed in sums:
                renamed = replace(_norm_of(renamed, written[sums[summed][0]]), after=(sums[summed][1],))
            else:
                sums[summed] = (f"{summed[1]}_of_{op.name}", op.name)
        reads = [operand for operand in renamed.operands if operand.access == "read"]
        writes = []
        for operand in renamed.operands:
            if operand.access == "read":
                continue
            name = operand.activation or ""
            value = name if name not in known else f"{name}_of_{op.name}"
            known.add(value)
            current[name] = value
            written[value] = replace(operand, activation=value)
            writes.append(written[value])
        steps.append(replace(renamed, operands=(*reads, *writes)))
    kept = tuple(tensor for tensor in layer.stored if tensor.name not in caches)
    valued = Layer(layer.name, tuple(steps), kept)
    read = {o.activation for op in valued.ops for o in op.operands if o.access == "read"}
    statistics = {symbol for _, symbols in WITH_STATISTICS.values() for symbol in symbols}
    unread = {v for v, operand in written.items() if v not in read and operand.symbol not in statistics}
    # The residual stream goes on also where the layer itself has read it.
    leaving = unread | ({current["residual"]} & written.keys() if "residual" in current else set())
    ends = tuple(value for value in written if value in leaving)
    return Values(valued, written, ends)


def _caches(layer: Layer) -> list[StoredTensor]:
    return [tensor for tensor in layer.stored if tensor.role == "kv_cache"]


def _renamed(operand: Operand, current: dict[str, str], known: set[str]) -> Operand:
    if operand.activation is None or operand.access == "write":
        return operand
    known.add(operand.activation)
    return replace(operand, activation=current.get(operand.activation, operand.activation))


def _with_statistics(op: Op) -> Op:
    if op.cascade.name not in WITH_STATISTICS:
        return op
    name, symbols = WITH_STATISTICS[op.cascade.name]
    cascade = load_cascade(name)
    shapes = tensor_elements(cascade, dict(op.sizes))
    more = (
        Operand(symbol, "write", shapes[symbol], STATISTICS_FORMAT, activation=f"{op.name}_{symbol.lower()}")
        for symbol in symbols
    )
    return replace(op, cascade=cascade, operands=(*op.operands, *more))


def kept_values(values: Values, again: frozenset[str]) -> dict[str, Operand]:
    """What the forward pass must keep when the operations called ``again`` run again before the backward pass.

    What other operations read of theirs is kept: it is these that keep their inputs.
    Raises `InputError` where that would be what the layer before has made.
    """
    needed: dict[str, None] = {}
    made: set[str] = set()
    for op in values.layer.ops:
        operands = {operand.symbol: operand for operand in op.operands}
        symbols: list[str] = list(NEEDED[op.cascade.name])
        if op.name in again:
            from_kept = _sum_is_kept(values, op)
            symbols += ["S"] if from_kept else [o.symbol for o in op.operands if o.access == "read"]
            made |= {o.activation or "" for o in op.operands if o.access == "write"} - (
                {found(op, "S").activation or ""} if from_kept else set()
            )
        read = [operands[symbol].activation or "" for symbol in symbols if symbol in operands]
        needed |= dict.fromkeys(read)
        if op.name not in again:
            made -= set(read)
    names = [name for name in needed if name and name not in made]
    for name in names:
        if name not in values.written:
            raise InputError(f"layer {values.layer.name!r} reads {name!r} of the layer before in its backward pass",
                             "a layer that begins with a norm", "phase")  # fmt: skip
    return {name: values.written[name] for name in names}


def _sum_is_kept(values: Values, op: Op) -> bool:
    """Whether the sum that a norm begins with is all that a layer gets from the one before."""
    if op.cascade.name not in FROM_SUM:
        return False
    return {found(op, "X").activation, found(op, "R").activation} <= values.from_before


def from_sum(values: Values, op: Op) -> Op:
    """``op`` as it runs again: a norm whose sum is kept reads that."""
    if not _sum_is_kept(values, op):
        return op
    return _norm_of(op, found(op, "S"))


def _norm_of(op: Op, total: Operand) -> Op:
    """A sum and the norm after it, as the norm alone of the sum ``total``."""
    symbols = {"IR": "R", "IS": "R"}
    others = (
        replace(operand, symbol=symbols.get(operand.symbol, operand.symbol))
        for operand in op.operands
        if operand.symbol not in ("X", "R", "S")
    )
    cascade = load_cascade(FROM_SUM[op.cascade.name])
    return replace(op, cascade=cascade, operands=(replace(total, symbol="X", access="read"), *others))
