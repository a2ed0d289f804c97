"""The backward pass of a layer, operation by operation, from its forward pass.

A product has two gradients, one for its input and one for its weights; attention's come from one kernel that makes the
scores again; norms and activations have theirs in the library. A sum passes its result's gradient on to both summands.
Split over devices, what a norm hands to divided products is the same on every device, so its gradient is summed over
them (Megatron-LM, arXiv 1909.08053, section 3: the operator f), while weights' gradients are made beside it.

Where tokens went to experts on other devices, the gradients of what came back go there first and those of what was
sent come back (GShard, arXiv 2006.16668, section 3.2, mirrored). The choice of experts has no slope: gradients reach
the router through the weights of the chosen ones. With experts cut over devices each has a part of these weights'
gradients, and everything up to the router's is linear in them, so its own gradient is summed at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from workloads.models.layer_builder import LayerBuilder, Ref, activation, stored
from workloads.models.lower_train_experts import DISPATCH, RECEIVED, RETURN
from workloads.models.lower_train_values import Values, found
from workloads.workload import Collective, Op, Operand, Step

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

_GATES = frozenset({"router", "shared_gate"})
"""Products that are whole on every device, while their results' gradients come from a device's part of the experts."""

_LATENT_DOWN = frozenset({"q_down", "kv_down"})
"""Products that are whole on every device, as are their results' gradients: their inputs' are not summed."""


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
        self.exchanges = {step.name: step for step in values.layer.steps if isinstance(step, Collective)}
        self.further: dict[str, int] = {}
        # Values of which several operations make the gradients of parts that do not overlap.
        self.in_parts: set[str] = set()
        self.normed = {found(op, "Y").activation for op in values.layer.ops if op.cascade.name in _NORMS}

    def add(self) -> None:
        """The gradients of all operations, last one first."""
        of_cascade = {
            "embedding": self._rows,
            "gated-sum": self._gated,
            "gemm": self._product,
            "gemm-bias": self._product,
            "latent-append": self._latent,
            "moe-combine": self._combined,
            "moe-route": self._routed,
            "residual-add": self._summed,
            "rotary-append": self._turned,
            **dict.fromkeys(_NORMS, self._norm),
            **dict.fromkeys(_ATTENTION, self._attention),
        }
        for op in reversed(self.values.layer.ops):
            if op.name in self.again:
                self._run_again(op)
            if op.name == RECEIVED:
                self._sent_back(op)
            else:
                of_cascade.get(op.cascade.name, self._activated)(op)

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
            # Rows that go to several experts are read once from where they were kept.
            return stored(name, min(operand.elements, self.values.written[name].elements))
        return Ref(name, False, operand.elements, operand.format)

    def _emit(
        self, name: str, kind: str, cascade: str, sizes: dict[str, int], reads: dict[str, Ref], writes: dict[str, Ref]
    ) -> None:  # fmt: skip
        self.builder.op(name, kind, cascade, sizes, reads, writes, after=self.ends)
        self.ends = (name,)

    def _into(self, value: str) -> str:
        """A name for a first or further contribution to the gradient of ``value``."""
        return f"d_{value}" if value not in self.of else f"d_{value}_more{self._number(value)}"

    def _number(self, value: str) -> str:
        further = self.further.get(value, 0)
        return str(further + 1) if further else ""

    def _contribute(self, value: str, name: str, rows: int, width: int) -> None:
        """Count the activation ``name`` in to the gradient of ``value``, which others may have begun."""
        if value in self.of:
            number = self._number(value)
            total = f"d_{value}_sum{number}"
            self._emit(
                f"{value}_grad_sum{number}", "elementwise", "residual-add", {"t": rows, "d": width},
                {"X": activation(self.of[value]), "F": activation(name)}, {"Y": activation(total)},
            )  # fmt: skip
            name = total
            self.further[value] = self.further.get(value, 0) + 1
        self.of[value] = name

    def _weights_gradient(self, weights: Operand, elements: float) -> Ref:
        return stored(TIED_GRADIENTS if weights.stored in self.tied else GRADIENTS, elements)

    def _product(self, op: Op) -> None:
        size = dict(op.sizes)
        rows, inner, outer = size["m"], size["n0"], size["n1"]
        source, weights = found(op, "A"), found(op, "W")
        given = self.gradient(found(op, "Z"))
        value = source.activation or ""
        grouped = op.kind == "grouped_gemm"
        gathered = grouped and value in self.normed
        into = f"d_{op.name}_rows" if gathered else self._into(value)
        if grouped and value != RECEIVED and not gathered and RETURN in self.exchanges:
            self.ends = (*self.ends, f"{RETURN}_grad")
        self._emit(
            f"{op.name}_dgrad", op.kind, "gemm", {"m": rows, "n0": outer, "n1": inner},
            {"A": activation(given), "W": self.value(weights)}, {"Z": activation(into)},
        )  # fmt: skip
        if gathered:
            self._add_copies(value, into, rows * inner)
        else:
            self._contribute(value, into, rows, inner)
        if self.devices > 1 and value in self.normed and op.name not in _LATENT_DOWN:
            self.partial[value] = self.ends
        made = weights.elements if grouped else float(inner * outer)
        self._emit(
            f"{op.name}_wgrad", op.kind, "gemm", {"m": inner, "n0": rows, "n1": outer},
            {"A": self.value(source), "W": activation(given)}, {"Z": self._weights_gradient(weights, made)},
        )  # fmt: skip
        if self.devices > 1 and op.name in _GATES:
            self.builder.all_reduce(f"{op.name}_wgrad_reduce", made, after=self.ends)
        if op.cascade.name == "gemm-bias":
            self._emit(
                f"{op.name}_bgrad", "elementwise", "bias-backward", {"t": rows, "d": outer},
                {"DY": activation(given)}, {"DB": self._weights_gradient(found(op, "B"), outer)},
            )  # fmt: skip

    def _add_copies(self, value: str, copies: str, elements: float) -> None:
        """Sum the gradients of the copies that ``value``'s rows were given to experts in."""
        size = dict(next(op for op in self.values.layer.ops if op.cascade.name == "moe-route").sizes)
        width = dict(next(op for op in self.values.layer.ops if op.cascade.name == "moe-combine").sizes)["d"]
        into = self._into(value)
        self._emit(
            f"{DISPATCH}_sum", "elementwise", "moe-dispatch-backward", {"t": size["t"], "k": size["k"], "d": width},
            {"DXK": activation(copies, elements)}, {"DX": activation(into)},
        )  # fmt: skip
        self._contribute(value, into, size["t"], width)

    def _sent_back(self, op: Op) -> None:
        """The gradients of received rows, put back in order and sent where the rows came from.

        The weights' gradients are made meanwhile.
        """
        size, source, here = dict(op.sizes), found(op, "E"), f"d_{DISPATCH}_here"
        beside, self.ends = self.ends, ("experts_up_dgrad",)
        self._emit(
            f"{op.name}_grad", "gather", "embedding-backward", size,
            {"DX": activation(self.gradient(found(op, "X")))}, {"DE": activation(here, source.elements)},
        )  # fmt: skip
        self.ends = (*beside, self._exchange_back(DISPATCH))
        value, sent = source.activation or "", self.exchanges[DISPATCH]
        self._add_copies(value, here, min(sent.elements, source.elements))
        if self.devices > 1:
            self.partial[value] = self.ends

    def _exchange_back(self, name: str) -> str:
        step = self.exchanges[name]
        assert step.devices is not None
        return self.builder.all_to_all(f"{name}_grad", step.elements, step.devices, after=self.ends)

    def _combined(self, op: Op) -> None:
        outputs, weights = found(op, "X"), found(op, "P")
        into, into_weights = f"d_{outputs.activation}", f"d_{weights.activation}"
        outputs_value = self.value(outputs)
        self._emit(
            f"{op.name}_grad", "elementwise", "moe-combine-backward", dict(op.sizes),
            {"X": outputs_value, "P": self.value(weights), "DY": activation(self.gradient(found(op, "Y")))},
            {"DX": activation(into, outputs_value.elements), "DP": activation(into_weights)},
        )  # fmt: skip
        self.of |= {outputs.activation or "": into, weights.activation or "": into_weights}
        if RETURN in self.exchanges:
            self._exchange_back(RETURN)

    def _routed(self, op: Op) -> None:
        weights, logits = found(op, "P"), found(op, "L")
        into = f"d_{logits.activation}"
        self._emit(
            f"{op.name}_grad", "elementwise", "moe-route-backward", dict(op.sizes),
            {"P": self.value(weights), "TI": self.value(found(op, "TI")), "DP": activation(self.gradient(weights))},
            {"DL": activation(into)},
        )  # fmt: skip
        self.of[logits.activation or ""] = into

    def _summed(self, op: Op) -> None:
        gradient = self.gradient(found(op, "Y"))
        self.of |= {found(op, symbol).activation or "": gradient for symbol in ("X", "F")}

    def _gated(self, op: Op) -> None:
        given, summand, gate = self.gradient(found(op, "Y")), found(op, "F"), found(op, "S")
        into, into_gate = f"d_{summand.activation}", f"d_{gate.activation}"
        self._emit(
            f"{op.name}_grad", "elementwise", "gated-sum-backward", dict(op.sizes),
            {"F": self.value(summand), "S": self.value(gate), "DY": activation(given)},
            {"DF": activation(into), "DS": activation(into_gate)},
        )  # fmt: skip
        self.of |= {found(op, "X").activation or "": given, summand.activation or "": into}
        self.of[gate.activation or ""] = into_gate

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
        into = f"d_{value}" if "S" in symbols or value in self.in_parts else self._into(value)
        writes = {"DX": activation(into), "DG": stored(GRADIENTS, size["d"])}
        if "B" in symbols:
            writes["DB"] = stored(GRADIENTS, size["d"])
        self._emit(f"{op.name}_grad", "norm", with_sum if past is not None else alone, size, reads, writes)
        if "S" in symbols:
            self.of |= {symbols[symbol].activation or "": into for symbol in "XR"}
        elif value not in self.in_parts:
            self._contribute(value, into, size["t"], size["d"])

    def _attention(self, op: Op) -> None:
        query, key, value = (found(op, symbol) for symbol in "QKV")
        symbols = {symbol: self.value(found(op, symbol)) for symbol in ("Q", "K", "V", "AV", "LSE")}
        ranks = {"b", "h", "g", "p", "m", "e", "f", "window"}
        into_query, into_key, into_value = (f"d_{operand.activation}" for operand in (query, key, value))
        self._emit(
            f"{op.name}_grad", "attention", _ATTENTION[op.cascade.name],
            {rank: size for rank, size in op.sizes if rank in ranks},
            symbols | {"DAV": activation(self.gradient(found(op, "AV")))},
            {
                "DQ": activation(into_query, query.elements),
                "DK": activation(into_key, key.elements),
                "DV": activation(into_value, value.elements),
            },
        )  # fmt: skip
        self.of |= {query.activation or "": into_query, key.activation or "": into_key}
        self.of[value.activation or ""] = into_value

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

    def _latent(self, op: Op) -> None:
        """The latent's gradient is the sum from keys and values; its key's position part has one from every head."""
        query, key, latent = (found(op, symbol) for symbol in "QKC")
        size = dict(op.sizes)
        attended = next(found(other, "K") for other in self.values.layer.ops if other.cascade.name in _ATTENTION)
        into, into_key = f"d_{query.activation}", f"d_{key.activation}"
        self._emit(
            f"{op.name}_grad", "elementwise", "latent-append-backward", {rank: size[rank] for rank in "tai"},
            {
                "DQ": activation(self.gradient(found(op, "QL")), query.elements),
                "DKA": activation(self.gradient(attended), size["t"] * size["a"] * 2 * size["i"]),
            },
            {"QL": activation(into, query.elements), "KL": activation(into_key, key.elements)},
        )  # fmt: skip
        latents = self.gradient(found(op, "CC"))
        self.of |= {query.activation or "": into, key.activation or "": into_key, latent.activation or "": latents}
        self.in_parts.add(key.activation or "")
        if self.devices > 1:
            # Each device has the gradients of its own heads; latent vector and key are the same on all.
            reduced = latent.elements + key.elements
            self.ends = (self.builder.all_reduce(f"{op.name}_grad_reduce", reduced, after=self.ends),)

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
