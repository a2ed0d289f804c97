"""Changes of a training step that make its devices hold less, kind by kind, from the smallest to the largest.

A kind's changes go one way: each takes a step further than the one before it (``zero`` 1, 2, 3; micro-batches of a
half, a quarter). What the layout of the setup does not have, a second device that shares a sequence say, has no change.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from hw.spec.system import System
from mappers.planner.placement import path_bandwidth
from simulator.training.step.setup import Setup
from workloads.errors import InputError

__all__ = ["KINDS", "Step", "steps"]


@dataclass(frozen=True)
class Step:
    """One change: what it is in words, and the setup with it."""

    words: str
    setup: Setup


KINDS = (
    "loss",
    "reshard",
    "sequence",
    "master",
    "prefetch",
    "zero",
    "schedule",
    "micro-batch",
    "checkpoint",
    "optimizer",
    "activations",
    "tensor",
    "context",
    "pipeline",
    "data",
    "more tensor",
    "more context",
    "more pipeline",
)
"""Kinds of changes; what costs alike is named in this order. From "data" on they take more devices."""

_EVERY = (8, 7, 6, 5, 4, 3, 2, 1)
_MOST_PARTS = 1024
_FACTORS = (2, 4, 8, 16, 32, 64)
_DEGREES = {"tensor": "tp", "context": "cp", "pipeline": "pp"}


def steps(kind: str, setup: Setup, system: System, home: str) -> tuple[Step, ...]:
    """The changes of a kind, the smallest first; what comes out may still be a layout that cannot be."""
    return tuple(_steps(kind, setup, system, home))


def _steps(kind: str, setup: Setup, system: System, home: str) -> Iterator[Step]:
    parallel = setup.parallel
    shares = parallel.data * parallel.context > 1
    if kind in _DEGREES or kind == "data" or kind.startswith("more "):
        yield from _degrees(kind, setup)
    elif kind == "zero" and shares:
        for level in range(parallel.zero + 1, 4):
            yield Step(f"zero={level}", replace(setup, parallel=replace(parallel, zero=level)))
    elif kind == "reshard" and not parallel.reshard and parallel.zero >= 2:
        yield Step("reshard=1", replace(setup, parallel=replace(parallel, reshard=True)))
    elif kind == "sequence" and parallel.tensor > 1 and not parallel.sequence:
        yield Step("sp=1", replace(setup, parallel=replace(parallel, sequence=True)))
    elif kind == "master" and parallel.zero >= 3 and not setup.from_master:
        yield Step("weights cast from the master copy", replace(setup, from_master=True))
    elif kind == "prefetch" and parallel.zero >= 3 and parallel.reshard and shares:
        # With the embedding and the head there are two pieces more than layers: further ahead is nothing.
        for ahead in range(min(setup.prefetch, len(setup.model.order) + 2) - 1, -1, -1):
            layers = "layer" if ahead == 1 else "layers"
            yield Step(f"prefetch of {ahead} {layers}", replace(setup, prefetch=ahead))
    elif kind == "schedule" and parallel.pipeline > 1 and setup.schedule in ("gpipe", "zb-h2"):
        yield Step("schedule 1f1b", replace(setup, schedule="1f1b"))
    elif kind == "loss" and setup.phase.loss != "cut":
        yield Step("logits made tile by tile", replace(setup, phase=replace(setup.phase, loss="cut")))
    elif kind == "micro-batch":
        for part in range(2, min(setup.phase.batch, _MOST_PARTS) + 1):
            if setup.phase.batch % part == 0:
                size = setup.phase.batch // part
                yield Step(f"micro-batches of {size}", replace(setup, phase=replace(setup.phase, batch=size)))
    elif kind == "checkpoint":
        yield from _checkpoints(setup)
    elif kind in ("optimizer", "activations"):
        what = "optimizer states" if kind == "optimizer" else "activations"
        for tier in _elsewhere(system, home):
            if tier == getattr(setup, kind):
                continue
            moved = replace(setup, optimizer=tier) if kind == "optimizer" else replace(setup, activations=tier)
            yield Step(f"{what} in {tier}", moved)


def _checkpoints(setup: Setup) -> Iterator[Step]:
    phase = setup.phase
    if phase.checkpoint == "none":
        yield Step("checkpoint selective", replace(setup, phase=replace(phase, checkpoint="selective", every=1)))
    for every in _EVERY:
        if every >= len(setup.model.order) or (phase.checkpoint == "full" and every >= phase.every):
            continue
        words = "checkpoint full" + (f", one of {every} layers" if every > 1 else "")
        yield Step(words, replace(setup, phase=replace(phase, checkpoint="full", every=every)))


def _degrees(kind: str, setup: Setup) -> Iterator[Step]:
    """Degrees times 2, 4, and so on: with as many fewer replicas, or on more devices."""
    parallel = setup.parallel
    for factor in _FACTORS:
        if kind == "data":
            # More replicas hold less each only where they divide something.
            if parallel.zero:
                data = factor * parallel.data
                more = replace(parallel, data=data)
                yield Step(f"dp={data} on {more.devices} devices", replace(setup, parallel=more))
            continue
        name = kind.removeprefix("more ")
        degree = factor * getattr(parallel, name)
        data = parallel.data if kind.startswith("more ") else parallel.data // factor
        if kind in _DEGREES and parallel.data % factor:
            return
        divided = replace(parallel, data=data, **{name: degree})
        words = f"{_DEGREES[name]}={degree}"
        words += f" on {divided.devices} devices" if divided.devices > parallel.devices else f" with dp={data}"
        yield Step(words, replace(setup, parallel=divided))


def _elsewhere(system: System, home: str) -> Sequence[str]:
    """Other tiers that take tensors, the fastest to reach first."""
    rates = {}
    for name, tier in system.tiers.items():
        if name == home or tier.holds != "tensors":
            continue
        try:
            rates[name] = min(path_bandwidth(system, home, name), path_bandwidth(system, name, home))
        except InputError:
            continue  # no way there
    return sorted(rates, key=lambda name: -rates[name])
