"""The backward pass of a layer, operation by operation, from its forward pass.

A product has two gradients, one for its input and one for its weights; attention's come from one kernel that makes the
scores again; norms and activations have theirs in the library. A sum passes its result's gradient on to both summands.
Split over devices, what a norm hands to divided products is the same on every device, so its gradient is summed over
them (Megatron-LM, arXiv 1909.08053, section 3: the operator f), while weights' gradients are made beside it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from workloads.models.layer_builder import LayerBuilder, Ref, activation, stored
from workloads.models.lower_train_values import Values, found
from workloads.workload import Op, Operand, Step

__all__ = ["GRADIENTS", "TIED_GRADIENTS", "Gradients"]

GRADIENTS = "gradients"
TIED_GRADIENTS = "tied_gradients"
"""Names of the stored tensors that a layer's weights' gradients go to: its own, and those of weights held elsewhere."""

_ATTENTION = {
    "attention-1pass-causal-lse": "attention-backward",
    "attention-1pass-lse": "attention-backward-full",
    "attention-1pass-window-lse": "attention-backward-window",
}
_NORMS = {
    "add-layer-norm-statistics": ("add-layer-norm-backward", "layer-norm-backward"),
    "add-rms-norm-statistics": ("add-rms-norm-backward", "rms-norm-backward"),
    "layer-norm-statistics": ("", "layer-norm-backward"),
    "rms-norm-statistics": ("", "rms-norm-backward"),
}
"""The gradient of a norm where the sum before it goes on past it, and where it does not."""


class Gradients:
    """Appends to ``builder`` the gradients of ``values``, whose results have the gradients ``of`` by value.

    ``kept`` values are read from storage, all others are activations. Weights and the tensor `GRADIENTS` must be
    declared, and `TIED_GRADIENTS` where ``tied`` names weights. ``begun`` says that an embedding's gradient is there
    already, from a head that shares its table. ``again`` are steps that run again just before their own gradients, by
    the operation. ``ends`` is what the first operation waits for.
    """

    def __init__(
        self,
        builder: LayerBuilder,
        values: Values,
        kept: frozenset[str],
        of: dict[str, str],
        *,
        devices: int,
        tied: frozenset[str] = frozenset(),
        begun: bool = False,
        again: Mapping[str, Step] | None = None,
        ends: tuple[str, ...] = (),
    ) -> None:
        self.builder, self.values, self.kept, self.of = builder, values, kept, dict(of)
        self.devices, self.tied, self.begun, self.ends = devices, tied, begun, ends
        self.again = again or {}
        self.made_again: frozenset[str] = frozenset()
        self.partial: dict[str, tuple[str, ...]] = {}
        self.normed = {found(op, "Y").activation for op in values.layer.ops if op.cascade.name in _NORMS}

    def add(self) -> None:
        """The gradients of all operations, last one first."""
        for op in reversed(self.values.layer.ops):
            name = op.cascade.name
            if op.name in self.again:
                self._run_again(op)
            if name in ("gemm", "gemm-bias"):
                self._product(op)
            elif name in _NORMS:
                self._norm(op)
            elif name in _ATTENTION:
                self._attention(op)
            elif name == "rotary-append":
                self._turned(op)
            elif name == "residual-add":
                gradient = self.gradient(found(op, "Y"))
                self.of |= {found(op, symbol).activation or "": gradient for symbol in ("X", "F")}
            elif name == "embedding":
                self._rows(op)
            else:
                self._activated(op)

    def _run_again(self, op: Op) -> None:
        step = self.again[op.name]
        self.builder.steps.append(replace(step, after=self.ends))
        self.ends = (step.name,)
        self.made_again = frozenset(o.activation or "" for o in op.operands if o.access == "write")

    def gradient(self, operand: Operand) -> str:
        """The activation that holds the gradient of what ``operand`` writes."""
        return self.of[operand.activation or ""]

    def value(self, operand: Operand) -> Ref:
        """What the forward pass wrote, from where it lies now."""
        name = operand.activation or ""
        if operand.stored is not None:
            return stored(operand.stored, operand.elements)
        if name in self.made_again and name in self.kept:
            return Ref(f"{name}_again", False, operand.elements, operand.format)
        if name in self.kept:
            return stored(name, operand.elements)
        return Ref(name, False, operand.elements, operand.format)

    def _emit(
        self, name: str, kind: str, cascade: str, sizes: dict[str, int], reads: dict[str, Ref], writes: dict[str, Ref]
    ) -> None:  # fmt: skip
        self.builder.op(name, kind, cascade, sizes, reads, writes, after=self.ends)
        self.ends = (name,)

    def _into(self, value: str) -> str:
        """A name for a first or further contribution to the gradient of ``value``."""
        return f"d_{value}" if value not in self.of else f"d_{value}_more"

    def _contribute(self, value: str, name: str, rows: int, width: int) -> None:
        """Count the activation ``name`` in to the gradient of ``value``, which others may have begun."""
        if value in self.of:
            total = f"d_{value}_sum"
            self._emit(
                f"{value}_grad_sum", "elementwise", "residual-add", {"t": rows, "d": width},
                {"X": activation(self.of[value]), "F": activation(name)}, {"Y": activation(total)},
            )  # fmt: skip
            name = total
        self.of[value] = name

    def _weights_gradient(self, weights: Operand, elements: float) -> Ref:
        return stored(TIED_GRADIENTS if weights.stored in self.tied else GRADIENTS, elements)

    def _product(self, op: Op) -> None:
        size = dict(op.sizes)
        rows, inner, outer = size["m"], size["n0"], size["n1"]
        source, weights = found(op, "A"), found(op, "W")
        given = self.gradient(found(op, "Z"))
        value = source.activation or ""
        into = self._into(value)
        self._emit(
            f"{op.name}_dgrad", op.kind, "gemm", {"m": rows, "n0": outer, "n1": inner},
            {"A": activation(given), "W": self.value(weights)}, {"Z": activation(into)},
        )  # fmt: skip
        self._contribute(value, into, rows, inner)
        if self.devices > 1 and value in self.normed:
            self.partial[value] = self.ends
        self._emit(
            f"{op.name}_wgrad", op.kind, "gemm", {"m": inner, "n0": rows, "n1": outer},
            {"A": self.value(source), "W": activation(given)},
            {"Z": self._weights_gradient(weights, inner * outer)},
        )  # fmt: skip
        if op.cascade.name == "gemm-bias":
            self._emit(
                f"{op.name}_bgrad", "elementwise", "bias-backward", {"t": rows, "d": outer},
                {"DY": activation(given)}, {"DB": self._weights_gradient(found(op, "B"), outer)},
            )  # fmt: skip

    def _norm(self, op: Op) -> None:
        size = dict(op.sizes)
        result = found(op, "Y").activation or ""
        if result in self.partial:
            # Summed over the devices while the weights' gradients are made.
            reduce = self.builder.all_reduce(
                f"{op.name}_grad_reduce", float(size["t"] * size["d"]), after=self.partial.pop(result)
            )
            self.ends = (*self.ends, reduce)
        with_sum, alone = _NORMS[op.cascade.name]
        symbols = {operand.symbol: operand for operand in op.operands}
        total = symbols.get("S", symbols["X"])
        past = self.of.get(total.activation or "") if "S" in symbols else None
        scale = symbols["IR"] if "IR" in symbols else symbols["IS"] if "IS" in symbols else symbols["R"]
        reads = {"G": self.value(symbols["G"]), "DY": activation(self.of[result])}
        if past is not None:
            reads |= {"S": self.value(total), scale.symbol: self.value(scale), "DS": activation(past)}
        else:
            reads |= {"X": self.value(total), "R": self.value(scale)}
        if "MU" in symbols:
            reads["MU"] = self.value(symbols["MU"])
        value = symbols["X"].activation or ""
        into = f"d_{value}" if "S" in symbols else self._into(value)
        writes = {"DX": activation(into), "DG": stored(GRADIENTS, size["d"])}
        if "B" in symbols:
            writes["DB"] = stored(GRADIENTS, size["d"])
        self._emit(f"{op.name}_grad", "norm", with_sum if past is not None else alone, size, reads, writes)
        if "S" in symbols:
            self.of |= {symbols[symbol].activation or "": into for symbol in "XR"}
        else:
            self._contribute(value, into, size["t"], size["d"])

    def _attention(self, op: Op) -> None:
        query, key, value = (found(op, symbol) for symbol in "QKV")
        symbols = {symbol: self.value(found(op, symbol)) for symbol in ("Q", "K", "V", "AV", "LSE")}
        ranks = {"b", "h", "g", "p", "m", "e", "f", "window"}
        into_query, into_key = f"d_{query.activation}", f"d_{key.activation}"
        self._emit(
            f"{op.name}_grad", "attention", _ATTENTION[op.cascade.name],
            {rank: size for rank, size in op.sizes if rank in ranks},
            symbols | {"DAV": activation(self.gradient(found(op, "AV")))},
            {
                "DQ": activation(into_query, query.elements),
                "DK": activation(into_key, key.elements),
                "DV": activation(into_key, value.elements),
            },
        )  # fmt: skip
        self.of |= {query.activation or "": into_query, key.activation or "": into_key}

    def _turned(self, op: Op) -> None:
        query, key, value = (found(op, symbol) for symbol in "QKV")
        from_query, from_key = self.gradient(found(op, "QL")), self.gradient(found(op, "KL"))
        into = f"d_{query.activation}"
        self._emit(
            f"{op.name}_grad", "elementwise", "rotary-append-backward", dict(op.sizes),
            {
                "DQ": activation(from_query, query.elements),
                "DK": activation(from_key, key.elements),
                "DV": activation(from_key, value.elements),
            },
            {"QL": activation(into, query.elements), "KL": activation(into, key.elements + value.elements)},
        )  # fmt: skip
        self.of[query.activation or ""] = into

    def _activated(self, op: Op) -> None:
        into = f"d_{found(op, 'U').activation}"
        inputs = {operand.symbol: operand for operand in op.operands if operand.access == "read"}
        self._emit(
            f"{op.name}_grad", "elementwise", f"{op.cascade.name}-backward", dict(op.sizes),
            {symbol: self.value(operand) for symbol, operand in inputs.items()}
            | {"DH": activation(self.gradient(found(op, "H")))},
            {f"D{symbol}": activation(into, operand.elements) for symbol, operand in inputs.items()},
        )  # fmt: skip
        self.of[found(op, "U").activation or ""] = into

    def _rows(self, op: Op) -> None:
        """Rows are added to the gradient of the whole table, which is made here unless the head has begun it."""
        size = dict(op.sizes)
        elements = (size["t"] if self.begun else size["v"]) * size["d"]
        self._emit(
            f"{op.name}_grad", "gather", "embedding-backward", size,
            {"DX": activation(self.gradient(found(op, "X")))}, {"DE": stored(GRADIENTS, elements)},
        )  # fmt: skip
