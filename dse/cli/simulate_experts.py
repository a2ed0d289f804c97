"""The caches of experts that options of ``tiercade simulate`` ask for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Protocol

import numpy as np

from hw.spec.system import System
from simulator.collections import CachedCollection, Fetch, replacement
from simulator.collections.gathered import gathered_experts
from simulator.policy import Transform, unchanged
from workloads.errors import InputError, unknown_name
from workloads.formats import FormatChoice, storage_format
from workloads.models.architecture import MixtureOfExperts, Model
from workloads.models.lower import lower
from workloads.models.stored_formats import stored_formats
from workloads.phases import Phase
from workloads.traces import RoutingStream, synthetic_routing
from workloads.workload import Workload

__all__ = ["ExpertRequest", "expert_collections", "in_attention_parts"]


class ExpertRequest(Protocol):
    """The options that bear on caches of experts."""

    @property
    def expert_cache(self) -> int | None: ...
    @property
    def expert_home(self) -> str: ...
    @property
    def weights(self) -> str | None: ...
    @property
    def replacement(self) -> str: ...
    @property
    def fetch(self) -> str: ...
    @property
    def fetch_ahead(self) -> int: ...
    @property
    def recall(self) -> float: ...
    @property
    def precision(self) -> float: ...
    @property
    def misses_on(self) -> str | None: ...
    @property
    def cold_experts(self) -> str | None: ...
    @property
    def routing(self) -> str | None: ...
    @property
    def router(self) -> str | None: ...
    @property
    def steps(self) -> int: ...
    @property
    def warmup(self) -> int: ...
    @property
    def routing_skew(self) -> float: ...
    @property
    def routing_repeat(self) -> float: ...
    @property
    def seed(self) -> int: ...


def expert_collections(
    request: ExpertRequest, model: Model, phase: Phase, system: System
) -> tuple[CachedCollection, ...]:
    """The collection that ``request`` describes, or none without ``--expert-cache``.

    Raises `InputError` for a model without experts, for routing of another shape, for an engine that is not at home
    where the experts live, and for options that need ``--expert-cache``.
    """
    if request.expert_cache is None:
        for option in ("misses_on", "cold_experts", "routing", "router"):
            if getattr(request, option) is not None:
                raise InputError(
                    "no cache of experts", "--expert-cache SLOTS beside it", f"--{option.replace('_', '-')}"
                )
        return ()
    layers = [model.blocks[index].feed_forward for index in model.order[model.encoder_layers :]]
    mixtures = [layer for layer in layers if isinstance(layer, MixtureOfExperts)]
    if not mixtures:
        raise InputError(
            f"{model.name} has no experts to cache", expected="a mixture-of-experts model", field="--expert-cache"
        )
    if request.misses_on is not None:
        if request.misses_on not in system.engines:
            raise unknown_name("engine", request.misses_on, system.engines, field="--misses-on")
        home = system.engines[request.misses_on].home
        if home != request.expert_home:
            raise InputError(
                f"engine {request.misses_on!r} is at home in {home!r}, the experts in {request.expert_home!r}",
                expected="both in one tier",
                field="--misses-on",
            )
    stream, warmup = _stream(request, mixtures[0], len(mixtures), phase)
    formats = _formats(request, stream, model)
    return (
        CachedCollection(
            stream,
            request.expert_home,
            request.expert_cache,
            warmup,
            replacement=replacement(request.replacement),
            fetch=Fetch(request.fetch, request.fetch_ahead, request.recall, request.precision, request.seed),
            misses_on=request.misses_on,
            formats=formats,
        ),
    )


def in_attention_parts(count: int, model: Model, phase: Phase, formats: FormatChoice, system: System) -> Transform:
    """The transform that runs attention over ``count`` parts of the batch and experts over all of it.

    Raises `InputError` where the batch has no so many equal parts; the transform does for a model without experts.
    """
    if count == 1:
        return unchanged
    if count < 1 or phase.batch % count:
        raise InputError(
            f"a batch of {phase.batch} in {count} parts", f"a divisor of {phase.batch}", "--attention-parts"
        )

    def gathered(workload: Workload) -> Workload:
        part = lower(model, replace(phase, batch=phase.batch // count), formats, devices=system.devices)
        try:
            return gathered_experts(workload, part, count)
        except InputError as error:
            raise replace(error, field="--attention-parts") from None

    return gathered


def _stream(request: ExpertRequest, mixture: MixtureOfExperts, layers: int, phase: Phase) -> tuple[RoutingStream, int]:
    """The routing, and how many of its steps warm the caches."""
    steps = request.warmup + request.steps
    if request.routing is not None and request.router is not None:
        raise InputError("a routing trace and a router", expected="one of the two", field="--router")
    if request.routing is not None:
        from workloads.traces.routing_files import read_routing

        stream = read_routing(Path(request.routing)).stream
        if stream.steps < steps:
            raise InputError(
                f"{stream.steps} steps, {request.warmup} of warm-up and {request.steps} timed are {steps}",
                expected="at least as many",
                field="--steps",
            )
        stream = RoutingStream(stream.picks[:steps], stream.experts)
        found = {"sequences": stream.picks.shape[2], "experts": stream.experts, "top-k": stream.picks.shape[3]}
        wanted = {"sequences": phase.batch, "experts": mixture.experts, "top-k": mixture.top_k}
        _require_alike(found, wanted, "--routing")
        return stream, request.warmup
    if request.router is not None:
        from workloads.traces.routing_fitted import fitted_router
        from workloads.traces.routing_sticky import sticky_routing

        router = fitted_router(request.router, layers=layers)
        _require_alike(
            {"experts": router.experts, "top-k": router.top_k},
            {"experts": mixture.experts, "top-k": mixture.top_k},
            "--router",
        )
        return sticky_routing(router, steps=steps, batch=phase.batch, seed=request.seed), request.warmup
    stream = synthetic_routing(
        steps=steps,
        layers=layers,
        batch=phase.batch,
        experts=mixture.experts,
        top_k=mixture.top_k,
        skew=request.routing_skew,
        repeat=request.routing_repeat,
        seed=request.seed,
    )
    return stream, request.warmup


def _require_alike(found: dict[str, int], wanted: dict[str, int], option: str) -> None:
    for name, number in wanted.items():
        if found[name] != number:
            raise InputError(f"{found[name]} {name}", expected=f"{number} as in the model and batch", field=option)


def _formats(request: ExpertRequest, stream: RoutingStream, model: Model) -> list[list[str]] | None:
    """A format for each expert: the least used share of a layer's in the cold one."""
    if request.cold_experts is None:
        return None
    cold, colon, text = request.cold_experts.partition(":")
    try:
        share = float(text) if colon else 0.5
    except ValueError:
        share = -1.0
    if not 0 <= share <= 1:
        raise InputError(f"a share of {text!r}", expected="FORMAT:SHARE with 0 to 1", field="--cold-experts")
    storage_format(cold)
    stored = stored_formats(model)
    hot = request.weights or stored.experts or stored.weights
    count = round(share * stream.experts)
    formats = []
    for layer in range(stream.layers):
        uses = np.bincount(stream.picks[:, layer].ravel(), minlength=stream.experts)
        coldest = set(np.argsort(uses, kind="stable")[:count].tolist())
        formats.append([cold if expert in coldest else hot for expert in range(stream.experts)])
    return formats
