"""Designs evaluated one by one on the road, at any fidelity."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.evaluate.design import Design, DesignWorkload, design_of, system_names_of
from dse.evaluate.format_error import format_error
from dse.evaluate.limits import early_constraints, quantities, violated
from dse.evaluate.outcomes import FAILED, INFEASIBLE, OK, Outcomes
from dse.space.parameter import Value
from dse.space.space import METRICS, Space
from simulator.policies import named_policy
from simulator.policy import Policy
from simulator.result import Result
from simulator.road import simulate
from workloads.errors import ImpossibleError, InfeasibleError, InputError

__all__ = ["evaluate_on_road", "known_of", "metric_columns", "result_of", "summed", "system_names"]


def evaluate_on_road(space: Space, ordinals: NDArray[np.int64], fidelity: str) -> Outcomes:
    """Each design of ``ordinals`` simulated at ``fidelity``. What cannot be built or does not fit is infeasible.

    Raises `InputError` for a fidelity at which no workload of its kind is simulated.
    """
    if any(spec.phase == "train" for spec in space.workloads.values()):
        from dse.evaluate.trained import check_fidelity

        check_fidelity(fidelity)
    columns = metric_columns(space)
    count = len(ordinals)
    status = np.full(count, OK, dtype=np.int8)
    reason, bottleneck = np.full(count, "", dtype=object), np.full(count, "", dtype=object)
    metrics = {name: np.full(count, np.nan) for name in columns}
    for at, choices in enumerate(space.codec.decode(ordinals)):
        values = space.codec.named(choices)
        try:
            found, status[at], reason[at], bottleneck[at] = _one(space, values, fidelity)
        except (InputError, InfeasibleError) as error:
            found, status[at], reason[at] = {}, INFEASIBLE, _short(error)
        except Exception as error:
            found, status[at], reason[at] = {}, FAILED, f"{type(error).__name__}: {error}"
        for name in columns:
            if name in found:
                metrics[name][at] = found[name]
    return Outcomes(np.asarray(ordinals, dtype=np.int64), status, reason, bottleneck, metrics)


def metric_columns(space: Space) -> tuple[str, ...]:
    """Names of what is kept of each design: metrics, then the space's own quantities."""
    return (*space.metric_names, *space.quantities)


def _short(error: InputError | InfeasibleError) -> str:
    if isinstance(error, InfeasibleError):
        return "does not fit"
    if isinstance(error, ImpossibleError):
        return f"does not divide: {(error.field or '').removeprefix('sets.').removeprefix('workloads.')}"
    return f"cannot be built: {error}"


def system_names(space: Space) -> list[str]:
    """The ``system.`` names that quantities and constraints use."""
    expressions = (*space.quantity_expressions.values(), *space.constraint_expressions)
    return list(dict.fromkeys(n for e in expressions for n in e.names if n.startswith("system.")))


def _one(space: Space, values: Mapping[str, Value], fidelity: str) -> tuple[dict[str, float], int, str, str]:
    design = design_of(space, values)
    numbers: dict[str, Any] = {**values, **system_names_of(design.system, system_names(space)), **known_of(design)}
    known = quantities(space, numbers)
    early = early_constraints(space, known)
    broken = violated(space, early, known, 1, lambda at: space.constraints[at].text)[0]
    if broken:
        return {name: value for name, value in known.items() if not isinstance(value, str)}, INFEASIBLE, broken, ""
    per_workload: dict[str, dict[str, float]] = {}
    charged: dict[str, float] = {}
    for name, workload in design.workloads.items():
        found, bounds = _simulated(space, design, name, fidelity)
        per_workload[name] = found
        for part, seconds in bounds.items():
            charged[part] = charged.get(part, 0.0) + workload.spec.weight * seconds
    weights = {name: workload.spec.weight for name, workload in design.workloads.items()}
    numbers |= summed(per_workload, weights)
    known = quantities(space, numbers)
    late = [at for at in range(len(space.constraints)) if at not in early]
    broken = violated(space, late, known, 1, lambda at: space.constraints[at].text)[0]
    bottleneck = max(charged, key=lambda part: (charged[part], part))
    found = {name: float(value) for name, value in known.items() if not isinstance(value, str)}
    return found, INFEASIBLE if broken else OK, broken, bottleneck


def known_of(design: Design) -> dict[str, float]:
    """`dse.space.space.DESIGN_METRICS`. Formats are those of the first workload: all are set the same."""
    formats = next(iter(design.workloads.values())).formats
    areas = [engine.rtl.area_mm2 for engine in design.system.engines.values() if engine.rtl is not None]
    return {
        "weights_error": format_error(formats.weights),
        "kv_cache_error": format_error(formats.kv_cache),
        "rtl_area_mm2": sum(area for area in areas if area is not None),
    }


def _simulated(space: Space, design: Design, name: str, fidelity: str) -> tuple[dict[str, float], dict[str, float]]:
    workload = design.workloads[name]
    if workload.spec.phase == "serve":
        from dse.evaluate.served import served  # the serving engine: other spaces do without

        return served(design, workload, fidelity)
    if workload.spec.phase == "train":
        from dse.evaluate.trained import trained  # many devices and their pipeline: other spaces do without

        return trained(space, design, name, fidelity)
    result = result_of(space, design, workload, fidelity)
    energy_j = result.total_energy_j
    found = {
        "latency_s": result.latency_s,
        "tokens_per_s": result.tokens_per_s,
        "energy_j": energy_j,
        "power_w": energy_j / result.latency_s,
        "peak_bytes": result.peak_bytes[result.plan.home],
    }
    return found, result.time_by_bound_s


def result_of(space: Space, design: Design, workload: DesignWorkload, fidelity: str) -> Result:
    """One workload of a design, a step of its own, under the space's policies. Raises `InputError` for served traces
    and divided training steps."""
    if workload.spec.phase in ("serve", "train"):
        raise InputError(f"phase {workload.spec.phase}", "prefill or decode", "phase")
    policy = Policy()
    for text in space.base.policy:
        policy = named_policy(policy, design.system, text.format(**design.values))
    return simulate(
        workload.model, workload.phase, design.system, formats=workload.formats, policy=policy, fidelity=fidelity
    )


def summed(per_workload: Mapping[str, Mapping[str, Any]], weights: Mapping[str, float]) -> dict[str, Any]:
    """Metrics of each workload under its name, and of all together (`dse.space.space.METRICS`); arrays or numbers."""
    found = {f"{name}.{metric}": value for name, one in per_workload.items() for metric, value in one.items()}
    latency = sum(weights[name] * one["latency_s"] for name, one in per_workload.items())
    energy = sum(weights[name] * one["energy_j"] for name, one in per_workload.items())
    tokens = sum(weights[name] * one["tokens_per_s"] * one["latency_s"] for name, one in per_workload.items())
    peak: Any = 0.0
    for one in per_workload.values():
        peak = np.maximum(peak, one["peak_bytes"])
    totals = (latency, tokens / latency, energy, energy / latency, peak)
    return {**found, **dict(zip(METRICS, totals, strict=True))}
