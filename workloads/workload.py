"""A workload: layers of operations, each a cascade of Einsums with its sizes, operands and storage formats.

Equal layers stand once: a `Run` is a pattern of layers and how often it repeats. Everything here is per device: a
model split over devices has one device's share of every shape, and `Collective` steps where devices must exchange.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import Literal

from workloads.einsum import Cascade, operation_counts
from workloads.formats import storage_format
from workloads.phases import Phase

__all__ = ["Collective", "Layer", "Op", "Operand", "Role", "Run", "Step", "StoredTensor", "Work", "Workload"]

Role = Literal[
    "embedding",
    "attention",
    "feed_forward",
    "experts",
    "norm",
    "head",
    "kv_cache",
    "optimizer",
    "activations",
    "gradients",
]
"""What a stored tensor is for; placement policies decide by role. Activations are those kept for a backward pass."""


@dataclass(frozen=True)
class StoredTensor:
    """A tensor that outlives single operations: a weight, a KV cache, optimizer state. ``name`` is unique in its layer.

    ``shared_with`` names ("layer.tensor") a tensor that holds the same values, as tied embeddings do: then this one
    takes no room of its own. `Workload.origins` tells which repetition's tensor that is.
    """

    name: str
    role: Role
    elements: float
    format: str
    shared_with: str | None = None

    @property
    def bytes(self) -> float:
        """Bytes of its own in storage, scales included."""
        if self.shared_with is not None:
            return 0.0
        return storage_format(self.format).storage_bytes(self.elements)


@dataclass(frozen=True)
class Operand:
    """One tensor that an operation reads or writes.

    ``symbol`` is the tensor's name in the cascade. ``stored`` names the layer's `StoredTensor` behind it, or is None
    for an activation, which then is identified by ``activation``. ``elements`` is what one execution touches: for
    gathered rows or chosen experts less than what is stored. ``whole_elements`` is given where an execution touches a
    part of an activation that is made in parts: how many elements all of it has, and so how much room it takes.
    """

    symbol: str
    access: Literal["read", "write"]
    elements: float
    format: str
    stored: str | None = None
    activation: str | None = None
    whole_elements: float | None = None

    @property
    def bytes(self) -> float:
        """Bytes touched, scales included."""
        return storage_format(self.format).storage_bytes(self.elements)

    @property
    def room_bytes(self) -> float:
        """Bytes of the whole activation of which this is touched."""
        elements = self.elements if self.whole_elements is None else self.whole_elements
        return storage_format(self.format).storage_bytes(elements)


@dataclass(frozen=True)
class Work:
    """Operations of one execution, a multiply-add counting two: ``contraction`` can run on a matrix engine."""

    contraction: float
    other: float

    @property
    def total(self) -> float:
        """All operations."""
        return self.contraction + self.other


@lru_cache(maxsize=4096)
def _cascade_work(cascade: Cascade, sizes: tuple[tuple[str, int], ...]) -> Work:
    """Operations that the cascade's masks leave; Einsums that write one tensor are counted together."""
    contracted = {einsum.label for einsum in cascade.einsums if einsum.is_contraction}
    contraction = other = 0.0
    for label, counts in operation_counts(cascade, dict(sizes), skip_masked=True).items():
        if label in contracted:
            contraction += sum(counts.values())
        else:
            other += sum(counts.values())
    return Work(contraction, other)


@dataclass(frozen=True)
class Op:
    """One execution of a cascade: sizes, operands, the format computed in, and what it waits for.

    ``lane`` tells the parts of a batch apart that go through the layers each on its own (see `Layer`). ``launched`` is
    False for what runs within the kernel of an operation before it.
    """

    name: str
    kind: str
    cascade: Cascade
    sizes: tuple[tuple[str, int], ...]
    operands: tuple[Operand, ...]
    compute_format: str
    after: tuple[str, ...]
    lane: int = 0
    launched: bool = True

    @cached_property
    def work(self) -> Work:
        """Operations of one execution, masked-out points left out."""
        return _cascade_work(self.cascade, self.sizes)

    def bytes(self, access: Literal["read", "write"]) -> float:
        """Bytes read or written, each operand once: the compulsory traffic of the fused cascade."""
        return sum(operand.bytes for operand in self.operands if operand.access == access)


@dataclass(frozen=True)
class Collective:
    """An exchange between devices: every device holds ``elements`` values in ``format`` before and after.

    ``devices`` says how many take part where that is not the workload's number: experts may be divided over more.
    ``stride`` is how far apart their numbers are: neighbours, or one of every so many. In a ``ring_pass`` each hands on
    its part to the next until all have seen all.
    """

    name: str
    kind: Literal["all_reduce", "all_gather", "reduce_scatter", "all_to_all", "ring_pass"]
    elements: float
    format: str
    after: tuple[str, ...]
    devices: int | None = None
    lane: int = 0
    stride: int = 1

    @property
    def bytes(self) -> float:
        """Payload bytes per device."""
        return storage_format(self.format).storage_bytes(self.elements)


Step = Op | Collective


ALL_BUT = 0.999
"""Expected shares of experts touched reach 1 only in the limit: from here on all of them are."""


@dataclass(frozen=True)
class Layer:
    """Steps in program order, and the tensors that stay. A step with an empty ``after`` waits for the layer before.

    Where steps have lanes it waits for its own lane in the layer before. Lanes do the same work on other sequences: as
    many steps each, in the same order. What all of them read whole, weights, is brought in once for all. In a layer
    that ``keeps``, what one operation has brought in whole stays for the later ones that read it.
    """

    name: str
    steps: tuple[Step, ...]
    stored: tuple[StoredTensor, ...]
    keeps: bool = False

    def __post_init__(self) -> None:
        seen: set[str] = set()
        for step in self.steps:
            if step.name in seen:
                raise ValueError(f"layer {self.name!r} has two steps called {step.name!r}")
            for name in step.after:
                if name not in seen:
                    raise ValueError(
                        f"step {step.name!r} of layer {self.name!r} waits for {name!r}, which does not stand before it"
                    )
            seen.add(step.name)

    @property
    def ops(self) -> tuple[Op, ...]:
        """The computing steps."""
        return tuple(step for step in self.steps if isinstance(step, Op))

    @cached_property
    def _from_before(self) -> dict[tuple[str, str], float]:
        """By operation and stored tensor the share of what it reads that no earlier operation here has written."""
        written: dict[str, float] = {}
        shares = {}
        for op in self.ops:
            reads: dict[str, float] = {}
            for operand in op.operands:
                if operand.stored is not None and operand.access == "read":
                    reads[operand.stored] = reads.get(operand.stored, 0.0) + operand.elements
            for tensor, elements in reads.items():
                made = min(elements, written.get(tensor, 0.0))
                shares[op.name, tensor] = 1.0 - made / elements if elements else 0.0
            for operand in op.operands:
                if operand.stored is not None and operand.access == "write":
                    written[operand.stored] = written.get(operand.stored, 0.0) + operand.elements
        return shares

    def from_storage(self, op: Op) -> tuple[Operand, ...]:
        """Operands ``op`` reads from where they are stored, without what this layer has itself just made.

        In prefill that leaves out the cache, and of a prompt read in pieces all of it but the past.
        """
        found = []
        for operand in op.operands:
            if operand.stored is None or operand.access == "write" or self._brought_before(op, operand):
                continue
            if operand.stored in self._kept_from and self._kept_from[operand.stored] != op.name:
                continue
            share = self._from_before[op.name, operand.stored]
            if share == 1.0:
                found.append(operand)
            elif share:
                found.append(replace(operand, elements=share * operand.elements))
        return tuple(found)

    @cached_property
    def _kept_from(self) -> dict[str, str]:
        """By stored tensor, where the layer keeps it, the operation that first reads all of it."""
        found: dict[str, str] = {}
        whole = {tensor.name: tensor.elements for tensor in self.stored if self.keeps}
        for op in self.ops:
            reads: dict[str, float] = {}
            for operand in op.operands:
                if operand.stored in whole and operand.access == "read":
                    reads[operand.stored] = reads.get(operand.stored, 0.0) + operand.elements
            for tensor, elements in reads.items():
                if elements >= ALL_BUT * whole[tensor]:
                    found.setdefault(tensor, op.name)
        return found

    def leaving(self, op: Op) -> tuple[Operand, ...]:
        """What ``op`` writes that is stored in whole tensors: all but the rows that it adds to a cache."""
        rows = {tensor.name for tensor in self.stored if tensor.role == "kv_cache"}
        written = (operand for operand in op.operands if operand.access == "write" and operand.stored is not None)
        return tuple(operand for operand in written if operand.stored not in rows)

    @property
    def lanes(self) -> int:
        """How many lanes the steps have."""
        return 1 + max((step.lane for step in self.steps), default=0)

    @cached_property
    def _copies(self) -> dict[str, tuple[Op, ...]]:
        """By operation the same one of every lane, the first lane's first."""
        by_lane = [[op for op in self.ops if op.lane == lane] for lane in range(self.lanes)]
        return {op.name: copies for copies in zip(*by_lane, strict=True) for op in copies}

    @cached_property
    def _whole(self) -> frozenset[str]:
        """Stored tensors that a lane reads to the last element."""
        touched: dict[str, float] = {}
        for op in self.ops:
            for operand in op.operands:
                if operand.stored is not None and operand.access == "read" and op.lane == 0:
                    touched[operand.stored] = touched.get(operand.stored, 0.0) + operand.elements
        return frozenset(t.name for t in self.stored if touched.get(t.name, 0.0) >= ALL_BUT * t.elements)

    def _brought_before(self, op: Op, operand: Operand) -> bool:
        """Whether the first lane has brought ``operand`` in for all lanes."""
        if not op.lane or operand.stored not in self._whole:
            return False
        return any(read.stored == operand.stored for read in self._copies[op.name][0].operands)

    def readers(self, op: Op, operand: Operand) -> tuple[str, ...]:
        """Names of the operations that read ``operand`` once it is brought in for ``op``."""
        if self._kept_from.get(operand.stored or "") == op.name:
            return tuple(
                other.name
                for other in self.ops[self.ops.index(op) :]
                if any(o.stored == operand.stored and o.access == "read" for o in other.operands)
            )
        shared = (copy for copy in self._copies[op.name] if copy.lane and self._brought_before(copy, operand))
        return (op.name, *(copy.name for copy in shared)) if op.lane == 0 else (op.name,)

    @property
    def last_steps(self) -> tuple[str, ...]:
        """Names of the steps nothing else in the layer waits for."""
        waited = {name for step in self.steps for name in step.after}
        return tuple(step.name for step in self.steps if step.name not in waited)


@dataclass(frozen=True)
class Run:
    """A pattern of layers, repeated ``count`` times.

    ``mirrored`` repetitions go through the model from its end, as a backward pass does: what they share with layers
    that are not mirrored is, in the first repetition, the last one's.
    """

    pattern: tuple[Layer, ...]
    count: int
    mirrored: bool = False


@dataclass(frozen=True)
class Workload:
    """One phase of one model on one of ``devices`` equal devices."""

    model: str
    phase: Phase
    runs: tuple[Run, ...]
    devices: int = 1
    notes: tuple[str, ...] = field(default=())

    def layers(self) -> Iterator[tuple[Layer, int]]:
        """Each distinct layer with how often it stands in the workload, in order."""
        for run in self.runs:
            for layer in run.pattern:
                yield layer, run.count

    def origins(self) -> dict[tuple[int, int, int, str], tuple[int, int, int, str]]:
        """For each tensor that is shared the one that it is shared with, both by run, repetition, position and name.

        A layer that stands as often as the one shared with shares with its like, counted in the order of the model;
        else all share with the last one.
        """
        places: dict[str, list[tuple[int, int, int]]] = {}
        for at, run in enumerate(self.runs):
            for repetition in range(run.count):
                for position, layer in enumerate(run.pattern):
                    places.setdefault(layer.name, []).append((at, repetition, position))
        mirrored = {layer.name: run.mirrored for run in self.runs for layer in run.pattern}
        found = {}
        for layer, _ in self.layers():
            for tensor in layer.stored:
                if tensor.shared_with is None:
                    continue
                other, _, name = tensor.shared_with.partition(".")
                own, theirs = places[layer.name], places[other]
                if len(theirs) != len(own):
                    theirs = theirs[-1:] * len(own)
                elif mirrored[layer.name] != mirrored[other]:
                    theirs = theirs[::-1]
                for mine, its in zip(own, theirs, strict=True):
                    found[*mine, tensor.name] = (*its, name)
        return found

    def __str__(self) -> str:
        phase = self.phase
        lines = [
            f"{self.model}, {phase.name}, batch {phase.batch}, context {phase.context}, per device of {self.devices}"
        ]
        for layer, count in self.layers():
            work, read = sum(op.work.total for op in layer.ops), sum(op.bytes("read") for op in layer.ops)
            stored = sum(tensor.bytes for tensor in layer.stored)
            lines.append(
                f"{count:4} x {layer.name:14} {len(layer.steps):3} steps {work:10.3e} operations "
                f"{read:10.3e} B read {stored:10.3e} B stored"
            )
        return "\n".join(lines)

    def total_work(self) -> Work:
        """Operations per device over all layers."""
        pairs = [(op.work, count) for layer, count in self.layers() for op in layer.ops]
        return Work(sum(w.contraction * c for w, c in pairs), sum(w.other * c for w, c in pairs))

    def stored_bytes(self, role: Role | None = None) -> float:
        """Bytes of stored tensors per device, of one role or of all."""
        return sum(
            tensor.bytes * count
            for layer, count in self.layers()
            for tensor in layer.stored
            if role is None or tensor.role == role
        )

    def touched_bytes(self, access: Literal["read", "write"]) -> float:
        """Bytes read or written per device over all operations."""
        return sum(op.bytes(access) * count for layer, count in self.layers() for op in layer.ops)
