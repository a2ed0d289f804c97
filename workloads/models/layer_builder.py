"""Collects the steps and stored tensors of one layer while it is lowered."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from workloads.cascades import load_cascade
from workloads.einsum import tensor_elements
from workloads.formats import FormatChoice
from workloads.workload import Collective, Layer, Op, Operand, Role, Step, StoredTensor

__all__ = ["LayerBuilder", "Ref", "activation", "stored"]


@dataclass(frozen=True)
class Ref:
    """A tensor an operation touches, before its size is known: ``elements`` None means the whole cascade tensor."""

    name: str
    is_stored: bool
    elements: float | None = None
    format: str | None = None


def activation(name: str, elements: float | None = None) -> Ref:
    """An activation called ``name``."""
    return Ref(name, False, elements)


def stored(name: str, elements: float | None = None) -> Ref:
    """The layer's stored tensor ``name``, of which ``elements`` are touched (all that the cascade names, if None)."""
    return Ref(name, True, elements)


@dataclass
class LayerBuilder:
    """Steps in program order; each waits for the one before unless ``after`` says otherwise.

    Where only some operations are ``wanted``, by name, the others are left out.
    """

    name: str
    formats: FormatChoice
    wanted: frozenset[str] | None = None
    steps: list[Step] = field(default_factory=list)
    tensors: dict[str, StoredTensor] = field(default_factory=dict)

    def store(
        self, name: str, role: Role, elements: float, *, shared_with: str | None = None, format: str | None = None
    ) -> Ref:
        """Declare a stored tensor in ``format``, or the one its role calls for, and return a reference to it."""
        if format is not None:
            fmt = format
        elif role == "kv_cache":
            fmt = self.formats.kv_cache
        elif role == "experts":
            fmt = self.formats.experts or self.formats.weights
        elif role in ("attention", "feed_forward"):
            fmt = self.formats.weights
        else:
            fmt = self.formats.activations
        self.tensors[name] = StoredTensor(name, role, elements, fmt, shared_with)
        return stored(name)

    def op(
        self,
        name: str,
        kind: str,
        cascade: str,
        sizes: dict[str, int],
        reads: dict[str, Ref],
        writes: dict[str, Ref],
        *,
        after: tuple[str, ...] | None = None,
    ) -> str:
        """Append an operation, return its name; ``reads`` and ``writes`` say what stands for which cascade tensor."""
        if self.wanted is not None and name not in self.wanted:
            return name
        loaded = load_cascade(cascade)
        shapes = tensor_elements(loaded, sizes)
        operands = [self._operand(symbol, "read", ref, shapes) for symbol, ref in reads.items()]
        operands += [self._operand(symbol, "write", ref, shapes) for symbol, ref in writes.items()]
        step = Op(
            name=name,
            kind=kind,
            cascade=loaded,
            sizes=tuple(sorted(sizes.items())),
            operands=tuple(operands),
            compute_format=self.formats.compute,
            after=self._after(after),
        )
        self.steps.append(step)
        return name

    def all_reduce(self, name: str, elements: float, *, after: tuple[str, ...] | None = None) -> str:
        """Append a sum over all devices of ``elements`` activations and return its name."""
        self.steps.append(Collective(name, "all_reduce", elements, self.formats.activations, self._after(after)))
        return name

    def all_gather(self, name: str, elements: float, *, after: tuple[str, ...] | None = None) -> str:
        """Append a gathering of ``elements`` activations, spread evenly over the devices, and return its name."""
        self.steps.append(Collective(name, "all_gather", elements, self.formats.activations, self._after(after)))
        return name

    def all_to_all(self, name: str, elements: float, devices: int, *, after: tuple[str, ...] | None = None) -> str:
        """Append an exchange: each of ``devices`` sends others its ``elements`` activations. Return its name."""
        step = Collective(name, "all_to_all", elements, self.formats.activations, self._after(after), devices)
        self.steps.append(step)
        return name

    def build(self) -> Layer:
        """The finished layer."""
        return Layer(self.name, tuple(self.steps), tuple(self.tensors.values()))

    def _after(self, after: tuple[str, ...] | None) -> tuple[str, ...]:
        if after is not None:
            return after
        return (self.steps[-1].name,) if self.steps else ()

    def _operand(self, symbol: str, access: Literal["read", "write"], ref: Ref, shapes: dict[str, float]) -> Operand:
        elements = shapes[symbol] if ref.elements is None else ref.elements
        if ref.is_stored:
            return Operand(symbol, access, elements, self.tensors[ref.name].format, stored=ref.name)
        return Operand(symbol, access, elements, ref.format or self.formats.activations, activation=ref.name)
