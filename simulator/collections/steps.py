"""Unrolls a planned decode step into several, each layer touching and missing what its collection's stream says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import groupby

from mappers.mapped import MappedLayer, MappedOp, MappedWorkload
from mappers.planner.placement import LayerPlan, MemoryPlan, PlannedRun
from simulator.collections.cached import CachedCollection, CacheOutcome, run_cache
from workloads.errors import InputError
from workloads.formats import storage_format
from workloads.workload import Layer, Op, StoredTensor, Workload

__all__ = ["cache_room", "unroll_steps"]


def cache_room(workload: Workload, collection: CachedCollection) -> float:
    """Bytes the collection's caches take in the home tier over all layers that have the collection's tensor.

    Raises `InputError` when the workload has no such layer, or the stream another number of layers or pieces.
    """
    layers = sum(count for layer, count in workload.layers() if _tensor(layer, collection) is not None)
    if not layers:
        raise InputError(
            f"{workload.model} has no tensor {collection.tensor!r} to cache",
            expected="a mixture-of-experts model",
            field="collections",
        )
    if layers != collection.stream.layers:
        raise InputError(
            f"a routing stream of {collection.stream.layers} layers for {layers} mixture-of-experts layers",
            expected=f"{layers} layers",
            field="collections.stream",
        )
    tensor = next(found for layer, _ in workload.layers() if (found := _tensor(layer, collection)) is not None)
    return layers * min(collection.slots, collection.stream.experts) * _piece_bytes(tensor, collection)


def unroll_steps(
    mapped: MappedWorkload, plan: MemoryPlan, map_op: Callable[[Op], MappedOp], collection: CachedCollection
) -> tuple[MappedWorkload, MemoryPlan, CacheOutcome]:
    """The timed steps of the stream, one after another: layers that touch the same number of pieces are mapped once."""
    outcome = run_cache(collection)
    layers = dict(mapped.layers)
    placed: list[LayerPlan] = []
    for step in range(outcome.touched.shape[0]):
        at = 0
        for run in plan.runs:
            for layer_plan in run.pattern * run.count:
                tensor = _tensor(layer_plan.layer, collection)
                if tensor is None:
                    placed.append(layer_plan)
                    continue
                touched, missed = int(outcome.touched[step, at]), int(outcome.missed[step, at])
                at += 1
                variant = _touching(layer_plan.layer, tensor, touched, collection)
                if variant.name not in layers:
                    ops = {op.name: map_op(op) for op in variant.ops}
                    layers[variant.name] = MappedLayer(variant, ops)
                size = missed * _piece_bytes(tensor, collection)
                placed.append(LayerPlan(layers[variant.name].layer, layer_plan.tiers, ((tensor.name, size),)))
    runs = tuple(PlannedRun((layer,), len(list(group))) for layer, group in groupby(placed))
    return replace(mapped, layers=layers), replace(plan, runs=runs), outcome


def _tensor(layer: Layer, collection: CachedCollection) -> StoredTensor | None:
    return next((tensor for tensor in layer.stored if tensor.name == collection.tensor), None)


def _piece_bytes(tensor: StoredTensor, collection: CachedCollection) -> float:
    return storage_format(tensor.format).storage_bytes(tensor.elements / collection.stream.experts)


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
