"""A lowered training step taken apart: what each layer, the embedding and the head run, keep and weigh on a device."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

from mappers.planner.liveness import activation_peak_bytes
from workloads.workload import Layer, Op, StoredTensor, Workload

__all__ = ["Piece", "Pieces", "makes_weights_gradient", "pieces_of", "split_head"]

_LOSS = ("loss", "loss_reduce")


@dataclass(frozen=True, eq=False)
class Piece:
    """One layer's forward pass, backward pass and update, which may run ``updates`` times on equal parts; the head's
    ``backward`` is its ``forward`` layer.

    Bytes and elements of one device, before data-parallel devices divide anything: ``kept_bytes`` of activations for a
    micro-batch, ``parameters``, of them ``expert_parameters`` that lie on devices of their own, and what passes hold
    while they run. ``borrowed_parameters`` are those of another piece, an embedding's that the head shares.
    """

    name: str
    forward: Layer
    backward: Layer
    update: Layer
    updates: int = 1

    @cached_property
    def kept_bytes(self) -> float:
        return sum(tensor.bytes for tensor in self.forward.stored if tensor.role == "activations")

    @cached_property
    def parameters(self) -> float:
        return sum(t.elements for t in self._weights)

    @cached_property
    def expert_parameters(self) -> float:
        return sum(t.elements for t in self._weights if t.role == "experts")

    @cached_property
    def borrowed_parameters(self) -> float:
        roles = ("activations", "gradients", "optimizer")
        return sum(t.elements for t in self.forward.stored if t.role not in roles and t.shared_with is not None)

    @cached_property
    def weight_bytes(self) -> float:
        return sum(t.bytes for t in self._weights)

    @property
    def _weights(self) -> tuple[StoredTensor, ...]:
        taken = ("activations", "gradients", "optimizer", "kv_cache")
        return tuple(t for t in self.forward.stored if t.role not in taken and t.shared_with is None)

    @cached_property
    def gradient_bytes(self) -> float:
        return sum(t.bytes for t in self.backward.stored if t.role == "gradients")

    @cached_property
    def state_bytes(self) -> float:
        return self.updates * sum(t.bytes for t in self.update.stored if t.role == "optimizer")

    @cached_property
    def forward_transient_bytes(self) -> float:
        return activation_peak_bytes(self.forward)

    @cached_property
    def backward_transient_bytes(self) -> float:
        return activation_peak_bytes(self.backward)

    @property
    def is_head(self) -> bool:
        return self.forward is self.backward


@dataclass(frozen=True)
class Pieces:
    """Embedding, layers in the model's order, and head. Equal layers are one and the same piece."""

    embedding: Piece
    layers: tuple[Piece, ...]
    head: Piece

    def distinct(self) -> tuple[Piece, ...]:
        """Each piece once."""
        return tuple(dict.fromkeys((self.embedding, *self.layers, self.head)))

    def of_stage(self, stages: int, chunks: int, position: int) -> tuple[Piece, ...]:
        """Layers of the model's ``position``-th part of stages x chunks, with embedding and head at its ends."""
        parts, count = stages * chunks, len(self.layers)
        layers = self.layers[position * count // parts : (position + 1) * count // parts]
        first = (self.embedding,) if position == 0 else ()
        last = (self.head,) if position == parts - 1 else ()
        return (*first, *layers, *last)


def pieces_of(workload: Workload) -> Pieces:
    """Take a lowered training step apart (`workloads.models.lower_train`)."""
    by_name = {layer.name: layer for layer, _ in workload.layers()}
    ends = {layer.name: run.count for run in workload.runs if len(run.pattern) == 1 for layer in run.pattern}
    made: dict[str, Piece] = {}

    def piece(name: str) -> Piece:
        if name not in made:
            forward = by_name[name]
            backward, update = by_name.get(f"{name}_backward", forward), by_name[f"{name}_update"]
            updates = ends[update.name] if name in ("embedding", "head") else 1
            made[name] = Piece(name, forward, backward, update, updates)
        return made[name]

    order = []
    for run in workload.runs:
        names = [layer.name for layer in run.pattern]
        if names == ["head"]:
            break
        if names != ["embedding"]:
            order += [piece(name) for name in names] * run.count
    return Pieces(piece("embedding"), tuple(order), piece("head"))


def split_head(layer: Layer) -> tuple[frozenset[str], frozenset[str]]:
    """Names of the head's steps up to the loss, and of those after it."""
    names = [step.name for step in layer.steps]
    at = 1 + max(names.index(name) for name in _LOSS if name in names)
    return frozenset(names[:at]), frozenset(names[at:])


def makes_weights_gradient(layer: Layer, op: Op) -> bool:
    """Whether ``op`` makes gradients of weights and nothing that other layers wait for."""
    roles = {tensor.name: tensor.role for tensor in layer.stored}
    writes = [operand for operand in op.operands if operand.access == "write"]
    return bool(writes) and all(o.stored is not None and roles[o.stored] == "gradients" for o in writes)
