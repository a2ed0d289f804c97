"""Designs that are memory controllers: each serves the space's trace on its device, command by command."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.evaluate.limits import quantities, violated
from dse.evaluate.outcomes import FAILED, INFEASIBLE, OK, Outcomes
from dse.space.parameter import Value
from dse.space.space import Space
from simulator.memory.dram.device import Device
from simulator.memory.dram.devices import load_device
from simulator.memory.dram.queued import QueuedController, QueuedOutcome
from simulator.memory.dram.queued_kernel import Runner, outcome_of
from simulator.memory.dram.queued_traces import queued_trace
from simulator.memory.dram.tables import ACT
from workloads.errors import InputError, unknown_name

__all__ = ["check_memory", "controller_of", "evaluate_memory", "metrics_of"]


def check_memory(space: Space) -> None:
    """Raise `InputError` where the base cannot be had, or no design of it can be built."""
    try:
        _runner(space.base.device, space.base.trace, space.base.requests, space.base.mapping)
    except InputError as error:
        raise error if error.file else replace(error, field=f"base.{error.field or 'device'}") from None
    ordinals = np.linspace(0, space.codec.product - 1, 16).astype(np.int64)
    first: InputError | None = None
    for choices in space.codec.canonical(space.codec.decode(ordinals)):
        try:
            controller_of(space, space.codec.named(choices))
            return
        except InputError as error:
            first = first or error
    assert first is not None
    raise first


def controller_of(space: Space, values: Mapping[str, Value]) -> QueuedController:
    """The controller with those parameters. Raises `InputError` where there is none."""
    settings: dict[str, Any] = {}
    for path, expression in space.set_expressions.items():
        name = path.partition(".")[2]
        if name not in QueuedController.__dataclass_fields__:
            raise unknown_name("setting", name, QueuedController.__dataclass_fields__, field=f"sets.{path}")
        value = expression.value(values)
        settings[name] = int(value) if isinstance(value, float) and value.is_integer() else value
    try:
        return QueuedController(**settings)
    except InputError as error:
        raise replace(error, field=f"sets.controller.{error.field}") from None


def evaluate_memory(space: Space, ordinals: NDArray[np.int64], fidelity: str) -> Outcomes:
    """Each design of ``ordinals`` on the space's trace. Raises `InputError` for a fidelity other than cycle, the only
    one that there is."""
    if fidelity != space.default_fidelity:
        raise InputError(f"a memory controller has no fidelity {fidelity!r}", "cycle", "--fidelity")
    base = space.base
    device, runner = _runner(base.device, base.trace, base.requests, base.mapping)
    count = len(ordinals)
    columns = (*space.metric_names, *space.quantities)
    status, metrics = np.full(count, OK, dtype=np.int8), {name: np.full(count, np.nan) for name in columns}
    reason, bottleneck = np.full(count, "", dtype=object), np.full(count, "", dtype=object)
    for at, choices in enumerate(space.codec.decode(ordinals)):
        values = space.codec.named(choices)
        try:
            settings = np.array([controller_of(space, values).numbers], dtype=np.int64)
            outcome = outcome_of(runner.run(settings)[0], base.requests)
            known = quantities(space, {**values, **metrics_of(device, outcome)})
            every = list(range(len(space.constraints)))
            broken = violated(space, every, known, 1, lambda at: space.constraints[at].text)[0]
        except InputError as error:
            status[at], reason[at] = INFEASIBLE, f"cannot be built: {error}"
            continue
        except Exception as error:
            status[at], reason[at] = FAILED, f"{type(error).__name__}: {error}"
            continue
        status[at], reason[at], bottleneck[at] = INFEASIBLE if broken else OK, broken, _bound_by(device, outcome)
        for name in columns:
            metrics[name][at] = known[name]
    return Outcomes(np.asarray(ordinals, dtype=np.int64), status, reason, bottleneck, metrics)


def metrics_of(device: Device, outcome: QueuedOutcome) -> dict[str, float]:
    """`dse.space.space.MEMORY_METRICS` of a run."""
    return {
        "latency_s": outcome.mean_latency_s(device),
        "total_s": outcome.total_s(device),
        "energy_j": outcome.energy_j(device),
        "power_w": outcome.power_w(device),
        "activations": float(outcome.commands[ACT]),
    }


def _bound_by(device: Device, outcome: QueuedOutcome) -> str:
    """The data bus where it is busy more than half of the time, else the banks."""
    return "data bus" if 2 * outcome.requests * device.burst_ticks > outcome.total_ticks else "banks"


@lru_cache(maxsize=4)
def _runner(device: str, trace: str, requests: int, mapping: str) -> tuple[Device, Runner]:
    loaded = load_device(device)
    return loaded, Runner.of(loaded, queued_trace(loaded, trace, requests, mapping))
