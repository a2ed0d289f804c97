"""Turns a planned decode step into the layers of several, each fetching what its collection's stream says.

Layers that need alike are mapped and laid out once; `Unrolled.order` says how they follow each other.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import NamedTuple

from mappers.mapped import MappedLayer, MappedOp, MappedWorkload
from mappers.planner.placement import LayerPlan, MemoryPlan, PlannedRun
from simulator.collections.cached import CachedCollection, CacheOutcome, LayerNeed, run_cache
from simulator.collections.elsewhere import split_layer
from simulator.collections.narrowed import narrowed_layer
from workloads.errors import InputError
from workloads.formats import storage_format
from workloads.traces.neurons import NeuronStream
from workloads.workload import Layer, Op, StoredTensor, Workload

__all__ = ["LayerVisit", "Unrolled", "cache_room", "chunk_bytes", "unroll_steps"]


@dataclass(frozen=True)
class LayerVisit:
    """A placed layer, and ``ahead_bytes`` of its collection that may travel once ``after`` has finished.

    ``after`` is a task and how many layers ago it ran; None where nothing travels ahead.
    """

    placed: LayerPlan
    ahead_bytes: float = 0.0
    after: tuple[str, int] | None = None


@dataclass(frozen=True, eq=False)
class Unrolled:
    """Distinct ``visits`` and the ``order`` in which the timed steps make them; ``plan`` counts them."""

    mapped: MappedWorkload
    plan: MemoryPlan
    visits: tuple[LayerVisit, ...]
    order: tuple[int, ...]
    outcome: CacheOutcome

    def ahead(self) -> Iterator[tuple[str, float]]:
        """Tier and bytes of everything that travels ahead in all steps."""
        for visit, run in zip(self.visits, self.plan.runs, strict=True):
            if visit.ahead_bytes:
                tensor, _ = visit.placed.missed_bytes[0]
                yield visit.placed.tier(tensor), run.count * visit.ahead_bytes

    def note(self, collection: CachedCollection) -> str:
        """What a reader of the result must know of the caches."""
        found, stream = self.outcome, collection.stream
        text = f"{' and '.join(collection.tensors)}: {collection.slots} of {stream.experts} pieces cached per layer"
        if collection.misses_on is not None:
            text += f", the most used, others computed by {collection.misses_on}"
        elif collection.slots:
            text += f" by {collection.replacement.name}, fetched {collection.fetch.kind}"
        else:
            text += f", fetched {collection.fetch.kind}"
        text += f", hit rate {found.hit_rate:.4f} over {len(found.needs)} steps after {collection.warmup} of warm-up"
        if found.wrong.sum():
            text += f"; {found.wrong.sum() / len(found.needs):,.1f} pieces a step travelled in vain"
        return text


def cache_room(workload: Workload, collection: CachedCollection) -> float:
    """Bytes the collection's caches and buffers take in the home tier, over all layers that have its tensor.

    Raises `InputError` when the workload has no such layer, or the stream another number of layers or pieces.
    """
    found = [(held, count) for layer, count in workload.layers() if (held := _held(layer, collection))]
    layers = sum(count for _, count in found)
    experts = "experts_weight" in collection.tensors
    if not layers:
        raise InputError(
            f"{workload.model} has no tensor {' or '.join(map(repr, collection.tensors))} to cache",
            expected="a mixture-of-experts model" if experts else "a model with such weights",
            field="collections",
        )
    stream = collection.stream
    if layers != stream.layers:
        raise InputError(
            f"a {'routing' if experts else 'neuron'} stream of {stream.layers} layers for {layers} "
            + ("mixture-of-experts layers" if experts else "layers"),
            expected=f"{layers} layers",
            field="collections.stream",
        )
    held = found[0][0]
    if collection.formats is None:
        piece = _piece_bytes(held, stream.experts)
        there = layers * min(collection.slots, stream.experts) + sum(map(len, collection.resident or ()))
        return there * piece + _buffers(collection, piece)
    sizes = [
        sorted((_piece_bytes(held, stream.experts, name) for name in row), reverse=True) for row in collection.formats
    ]
    kept = sum(sum(row[: collection.slots]) for row in sizes)
    return kept + _buffers(collection, max(row[0] for row in sizes))


def chunk_bytes(workload: Workload, collection: CachedCollection) -> float | None:
    """Bytes of a neuron that lie together in its home; None for experts, which are large enough to be read in order."""
    if not isinstance(collection.stream, NeuronStream):
        return None
    held = next(found for layer, _ in workload.layers() if (found := _held(layer, collection)))
    return _piece_bytes(held if collection.bundled else held[:1], collection.stream.neurons)


def _buffers(collection: CachedCollection, piece_bytes: float) -> float:
    """Room for pieces that only pass through: those of a layer in use, and of the layers fetched ahead."""
    if collection.misses_on is not None or (collection.slots and collection.fetch.kind == "on-demand"):
        return 0.0
    if collection.fetch.kind == "prefetch-all":
        most = collection.stream.experts - min(collection.slots, collection.stream.experts)
    else:
        stream = collection.stream
        most = max(stream.distinct(step, layer).size for step in range(stream.steps) for layer in range(stream.layers))
    ahead = 0 if collection.fetch.kind in ("on-demand", "as-routed") else collection.fetch.ahead
    in_use = max(most, collection.table or 0) if collection.slots == 0 else 0
    return (ahead * most + in_use) * piece_bytes


def unroll_steps(
    mapped: MappedWorkload, plan: MemoryPlan, map_op: Callable[[Op], MappedOp], collection: CachedCollection
) -> Unrolled:
    """The timed steps of the stream, one after another: layers that need alike are mapped once."""
    outcome = run_cache(collection)
    template = [layer_plan for run in plan.runs for layer_plan in run.pattern * run.count]
    layers = dict(mapped.layers)
    numbers: dict[LayerVisit, int] = {}
    known: dict[tuple[int, _Amounts | None], int] = {}
    order = []
    tensors = [_held(placed.layer, collection) for placed in template]
    homes = [at for at, held in enumerate(tensors) if held]
    for needs in outcome.needs:
        of_layer = 0
        for at, (placed, held) in enumerate(zip(template, tensors, strict=True)):
            amounts = None
            if held:
                amounts = _amounts(collection, held, of_layer, needs[of_layer])
                of_layer += 1
            if (at, amounts) not in known:
                visit = LayerVisit(placed)
                if amounts is not None:
                    after = _after(collection, homes, of_layer - 1)
                    visit = _visit(collection, placed, held, amounts, after, layers, map_op)
                known[at, amounts] = numbers.setdefault(visit, len(numbers))
            order.append(known[at, amounts])
    visits = tuple(numbers)
    times = Counter(order)
    runs = tuple(PlannedRun((visit.placed,), times[number]) for number, visit in enumerate(visits))
    return Unrolled(replace(mapped, layers=layers), replace(plan, runs=runs), visits, tuple(order), outcome)


def _after(collection: CachedCollection, homes: list[int], of_layer: int) -> tuple[str, int] | None:
    """What a transfer ahead for the collection's layer ``of_layer`` waits for: a task and how many layers ago."""
    fetch, at = collection.fetch, homes[of_layer]
    if fetch.kind == "on-demand" or (fetch.asks_a_gate and of_layer < fetch.ahead):
        return None
    if fetch.kind == "as-routed":
        return "route", 0
    if fetch.asks_a_gate:
        return "route", at - homes[of_layer - fetch.ahead]
    # Room is there, and the choice known, when the layer ``ahead`` before begins, in this step at the earliest.
    begins = homes[of_layer - fetch.ahead] if of_layer >= fetch.ahead else 0
    return "done", at - begins + 1


class _Amounts(NamedTuple):
    """What decides how long a layer takes: counts of pieces and of rows, and bytes."""

    touched: int
    elsewhere: int
    rows: int
    late_bytes: float
    early_bytes: float


def _amounts(collection: CachedCollection, held: tuple[StoredTensor, ...], of_layer: int, need: LayerNeed) -> _Amounts:
    pieces_in_all = collection.stream.experts

    def size(pieces: tuple[int, ...]) -> float:
        if collection.formats is None:
            return len(pieces) * _piece_bytes(held, pieces_in_all)
        return sum(_piece_bytes(held, pieces_in_all, collection.formats[of_layer][piece]) for piece in pieces)

    return _Amounts(len(need.touched), len(need.elsewhere), need.rows, size(need.late), size(need.early))


def _visit(
    collection: CachedCollection,
    placed: LayerPlan,
    held: tuple[StoredTensor, ...],
    amounts: _Amounts,
    after: tuple[str, int] | None,
    layers: dict[str, MappedLayer],
    map_op: Callable[[Op], MappedOp],
) -> LayerVisit:
    if isinstance(collection.stream, NeuronStream):
        variant = narrowed_layer(placed.layer, held, amounts.touched, collection.stream.neurons)
    else:
        variant = _touching(placed.layer, held[0], amounts.touched, collection)
    if collection.fetch.kind == "as-routed":
        variant = _router_first(variant)
    if amounts.elsewhere:
        variant = split_layer(variant, held[0], 1 - amounts.elsewhere / amounts.touched, amounts.rows)
    if variant.name not in layers:
        layers[variant.name] = MappedLayer(variant, {op.name: map_op(op) for op in variant.ops})
    whole = sum(tensor.bytes for tensor in held)
    late = tuple((tensor.name, amounts.late_bytes * tensor.bytes / whole) for tensor in held)
    missed = LayerPlan(layers[variant.name].layer, placed.tiers, late)
    return LayerVisit(missed, amounts.early_bytes, after if amounts.early_bytes else None)


def _held(layer: Layer, collection: CachedCollection) -> tuple[StoredTensor, ...]:
    """The collection's tensors that the layer has and reads: a decode step reads none of an encoder's."""
    read = {operand.stored for op in layer.ops for operand in op.operands}
    return tuple(tensor for tensor in layer.stored if tensor.name in read and tensor.name in collection.tensors)


def _piece_bytes(held: tuple[StoredTensor, ...], pieces: int, name: str | None = None) -> float:
    """Bytes of one of ``pieces`` pieces over all tensors, in the format ``name`` or in theirs."""
    return sum(storage_format(name or tensor.format).storage_bytes(tensor.elements / pieces) for tensor in held)


def _router_first(layer: Layer) -> Layer:
    """``layer`` with its router in front where it waits for nothing: engines take operations in their order."""
    router = next((step for step in layer.steps if step.name == "router"), None)
    if router is None or router.after:
        return layer
    front = tuple(step for step in layer.steps if step is router or step.after == ("router",))
    return replace(layer, steps=(*front, *(step for step in layer.steps if step not in front)))


def _touching(layer: Layer, tensor: StoredTensor, pieces: int, collection: CachedCollection) -> Layer:
    """The layer with its operations touching ``pieces`` pieces of the tensor instead of the expected number."""
    touched_now = sum(operand.elements for op in layer.ops for operand in op.operands if operand.stored == tensor.name)
    scale = pieces * tensor.elements / collection.stream.experts / touched_now

    def rescaled(op: Op) -> Op:
        operands = tuple(
            replace(operand, elements=operand.elements * scale) if operand.stored == tensor.name else operand
            for operand in op.operands
        )
        return replace(op, operands=operands)

    steps = tuple(rescaled(step) if isinstance(step, Op) else step for step in layer.steps)
    return Layer(f"{layer.name} touching {pieces}", steps, layer.stored)
