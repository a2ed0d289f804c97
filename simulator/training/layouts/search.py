"""The fastest layouts of a training step over given devices, of all that divide and fit.

    best_layouts(Setup(model("llama-3.1-70b"), Train(1, 8192), 512), system, fidelity="kernel")

All degrees that divide the devices are tried with every micro-batch, chunk and depth of recomputation, and with the
least of ZeRO that makes them fit: a further stage exchanges more and computes no less. A layout is executed only where
its bound, its passes without what travels beside them, is not above the slowest of the best so far.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from hw.spec.system import System
from mappers.planner.placement import tier_capacity
from simulator.training.step.inventory import stage_memories
from simulator.training.step.layout import Parallel
from simulator.training.step.pieces import Pieces, pieces_of
from simulator.training.step.result import StepResult
from simulator.training.step.setup import Setup, check_setup, lowered
from simulator.training.step.simulate import Prepared, prepare_step, simulate_step
from workloads.errors import InfeasibleError, InputError
from workloads.models.architecture import MixtureOfExperts, Model
from workloads.phases import Checkpoint, Train

if TYPE_CHECKING:
    from mappers.kernels.constants import Entry

__all__ = ["Ranked", "Searched", "best_layouts"]

_RECOMPUTED: tuple[tuple[Checkpoint, int], ...] = (("none", 1), ("full", 4), ("full", 2), ("full", 1))
"""Layers that are recomputed: none, every fourth, every second, all."""

_MOST_MICRO_BATCH = 16
_MOST_CHUNKS = 8


@dataclass(frozen=True)
class Ranked:
    """A layout with what it was executed as."""

    setup: Setup
    result: StepResult


@dataclass(frozen=True)
class Searched:
    """The fastest first; how many layouts divide, with how many depths of recomputation they fit, and how many of these
    were executed; ``complete`` where none that was left out could be faster."""

    best: tuple[Ranked, ...]
    divided: int
    fitting: int
    executed: int
    complete: bool


def best_layouts(
    setup: Setup,
    system: System,
    *,
    keep: int = 10,
    fidelity: str = "roofline",
    software: str | None = None,
    constants: tuple[Entry, ...] = (),
    progress: Callable[[str, int, int], None] | None = None,
    should_stop: Callable[[], bool] = lambda: False,
) -> Searched:
    """The ``keep`` fastest layouts of ``setup``'s model and batch on all of the system's devices.

    ``setup`` gives all but layout, micro-batch and recomputation. ``progress`` is told what is done, how many of how
    many. Where ``should_stop`` says so the best so far are returned. Raises `InfeasibleError` where none fits, with the
    least that one lacks.
    """
    options = {"fidelity": fidelity, "software": software, "constants": constants}
    divided = list(_divided(setup, system))
    if not divided:
        raise InputError(
            f"no layout divides {setup.global_batch} sequences of {setup.model.name} over {system.devices} devices",
            "another number of devices, or a larger batch",
            "devices",
        )
    pieces: dict[object, Pieces] = {}
    fitting = list(_fitting(divided, system, pieces))
    prepared: dict[object, Prepared] = {}

    shares = {_share(each): each for each in fitting}
    for done, (key, each) in enumerate(shares.items()):
        if progress is not None:
            progress("mapped", done, len(shares))
        if should_stop():
            break
        prepared[key] = prepare_step(each, system, **options)  # type: ignore[arg-type]
    known = [(at, prepared[_share(each)]) for at, each in enumerate(fitting) if _share(each) in prepared]
    bounds = sorted((_bound_s(fitting[at], each), at) for at, each in known)
    best: list[tuple[float, int, Ranked]] = []
    executed = 0
    complete = len(prepared) == len(shares)
    for bound, at in bounds:
        if len(best) == keep and bound >= -best[0][0]:
            break
        if executed and should_stop():
            complete = False
            break
        if progress is not None:
            progress("executed", executed, len(bounds))
        setup = fitting[at]
        result = simulate_step(setup, system, prepared=prepared[_share(setup)], **options)  # type: ignore[arg-type]
        executed += 1
        heapq.heappush(best, (-result.latency_s, -at, Ranked(setup, result)))
        if len(best) > keep:
            heapq.heappop(best)
    ranked = tuple(each for _, _, each in sorted(best, key=lambda entry: (-entry[0], -entry[1])))
    return Searched(ranked, len(divided), len(fitting), executed, complete)


def _share(setup: Setup) -> object:
    """What one micro-batch's share hangs on."""
    parallel = setup.parallel
    return setup.phase, parallel.tensor, parallel.context, parallel.expert, parallel.sequence


def _divided(setup: Setup, system: System) -> Iterator[Setup]:
    """All layouts that divide, with no ZeRO and nothing recomputed."""
    for parallel in _layouts(setup.model, system):
        for micro in _powers(setup.global_batch // parallel.data, _MOST_MICRO_BATCH):
            for chunks in (1, *_powers_above(parallel.pipeline)):
                phase = replace(setup.phase, batch=micro, checkpoint="none", every=1)
                candidate = replace(setup, phase=phase, parallel=replace(parallel, chunks=chunks))
                try:
                    check_setup(candidate, system)
                except (InputError, InfeasibleError):
                    continue
                yield candidate


def _layouts(model: Model, system: System) -> Iterator[Parallel]:
    devices, layers = system.devices, len(model.order)
    experts = max((b.feed_forward.experts for b in model.blocks if isinstance(b.feed_forward, MixtureOfExperts)),
                  default=1)  # fmt: skip
    for tensor in _divisors(system.node_devices):
        for pipeline in _divisors(devices // tensor):
            if layers % pipeline:
                continue
            for context in _divisors(devices // tensor // pipeline):
                data = devices // tensor // pipeline // context
                for expert in _divisors(experts):
                    if (data * context) % expert == 0:
                        yield Parallel(tensor, pipeline, data, context, expert, sequence=tensor > 1)


def _divisors(count: int) -> list[int]:
    return [each for each in range(1, count + 1) if count % each == 0]


def _powers(up_to: int, most: int) -> list[int]:
    return [1 << at for at in range(min(up_to, most).bit_length()) if up_to % (1 << at) == 0]


def _powers_above(stages: int) -> list[int]:
    return [1 << at for at in range(1, _MOST_CHUNKS.bit_length())] if stages > 1 else []


def _fitting(divided: list[Setup], system: System, pieces: dict[object, Pieces]) -> Iterator[Setup]:
    """Of each layout and depth of recomputation the one with the least of ZeRO that fits; deeper ones only where a
    shallower one needs more than the first stage of it, or does not fit."""
    lacks: list[tuple[float, float]] = []
    found = False
    for candidate in divided:
        for checkpoint, every in _RECOMPUTED:
            phase: Train = replace(candidate.phase, checkpoint=checkpoint, every=every)
            some = replace(candidate, phase=phase)
            if (key := _share(some)) not in pieces:
                pieces[key] = pieces_of(lowered(some))
            fits = _least_zero(some, system, pieces[key], lacks)
            if fits is not None:
                found = True
                yield fits
                if fits.parallel.zero <= 1:
                    break
    if not found:
        needed, there = min(lacks, key=lambda lack: lack[0])
        raise InfeasibleError(
            f"memory of a device in the smallest of {len(divided):,} layouts",
            needed / 1e9,
            there / 1e9,
            "GB",
            "more devices",
        )


def _least_zero(setup: Setup, system: System, pieces: Pieces, lacks: list[tuple[float, float]]) -> Setup | None:
    alone = setup.parallel.data * setup.parallel.context == 1
    home = next(iter(system.engines.values())).home
    for zero in (0,) if alone else (1, 2, 3):
        candidate = replace(setup, parallel=replace(setup.parallel, zero=zero))
        memories = stage_memories(candidate, pieces)
        needed, there = max(each.total for each in memories), tier_capacity(system, home)
        if needed <= there and all(
            size <= tier_capacity(system, tier) for each in memories for tier, size in each.elsewhere
        ):
            return candidate
        lacks.append((needed, there))
    return None


def _bound_s(setup: Setup, prepared: Prepared) -> float:
    """A stage does all its passes one after the other, the first when the micro-batch has come through the stages
    before it, and after its last backward the micro-batch goes back through them."""
    parallel, costs = setup.parallel, prepared.costs
    passes = []  # of each position of the model, both ways
    for position in range(parallel.pipeline * parallel.chunks):
        held = prepared.pieces.of_stage(parallel.pipeline, parallel.chunks, position)
        passes.append(sum(costs[p.name].forward.span_s + costs[p.name].backward.span_s for p in held))
    return max(
        sum(passes[:stage]) + setup.micro_batches * sum(passes[stage :: parallel.pipeline])
        for stage in range(parallel.pipeline)
    )
