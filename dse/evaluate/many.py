"""Many designs at once at roofline fidelity: the road's own sums, written over arrays.

Where all tensors of a design lie in the tier its engines compute in, on one device and without policies, the road's
latency is the sum of its operations' roofline times. Designs that differ only in numbers of engines and tiers (rates,
energies, capacities) then need one lowering between them; all other settings split a batch into groups. Designs beyond
that (tensors elsewhere, several devices, policies, served traces, training steps) go down the road itself, one by one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.evaluate.design import Design, DesignWorkload, design_of, system_names_of
from dse.evaluate.limits import early_constraints, quantities, violated
from dse.evaluate.on_road import evaluate_on_road, known_of, metric_columns, summed, system_names
from dse.evaluate.outcomes import INFEASIBLE, OK, Outcomes, joined
from dse.space.space import Space
from hw.spec.system import Engine, System
from mappers.assign import engines_with
from mappers.roofline import VECTOR_FORMAT, roofline_workload
from simulator.road import simulate
from workloads.errors import InfeasibleError, InputError
from workloads.formats import FormatChoice
from workloads.models.architecture import Model
from workloads.models.lower import lower
from workloads.phases import Decode, Prefill
from workloads.workload import Op, Workload

__all__ = ["evaluate_many", "in_arrays"]

Array = NDArray[Any]

_NUMERIC = re.compile(
    r"static_power|engines\.[^.]+\.(throughput\.[^.]+|energy\.[^.]+|launch_overhead)"
    r"|tiers\.[^.]+\.(read_bandwidth|write_bandwidth|bandwidth|capacity|read_energy|write_energy|static_power)"
)
"""Settings of a system that the sums below take as arrays."""


@dataclass(frozen=True)
class _Fields:
    """Numbers of a group's system, by YAML's paths: arrays where the space sets them, else the system's own."""

    system: System
    arrays: Mapping[str, Array]

    def __call__(self, path: str) -> Any:
        if path in self.arrays:
            return self.arrays[path]
        kind, name, field, *rest = path.split(".")
        if kind == "tiers":
            tier = self.system.tiers[name]
            if f"tiers.{name}.bandwidth" in self.arrays and field in ("read_bandwidth", "write_bandwidth"):
                return self.arrays[f"tiers.{name}.bandwidth"]
            return {
                "read_bandwidth": tier.read_bandwidth_bytes_per_s,
                "write_bandwidth": tier.write_bandwidth_bytes_per_s,
                "capacity": tier.capacity_bytes,
                "read_energy": tier.read_energy_j_per_bit,
                "write_energy": tier.write_energy_j_per_bit,
                "static_power": tier.static_power_w,
            }[field]
        engine = self.system.engines[name]
        if field == "launch_overhead":
            return engine.launch_overhead_s
        return (engine.throughput_ops_per_s if field == "throughput" else engine.energy_j_per_op)[".".join(rest)]

    def rate(self, name: str, format_name: str) -> Any:
        """Operations a second of an engine, by the rule of `Engine.throughput`."""
        return self(f"engines.{name}.throughput.{_listed(self.system.engines[name], format_name)}")

    def joules(self, name: str, format_name: str) -> Any:
        """Joules an operation, by the rule of `Engine.energy`."""
        engine = self.system.engines[name]
        if not engine.energy_j_per_op:
            return 0.0
        return self(f"engines.{name}.energy.{_listed(engine, format_name, engine.energy_j_per_op)}")


def _listed(engine: Engine, format_name: str, listed: Mapping[str, float] | None = None) -> str:
    return engine._computed_as(format_name, engine.throughput_ops_per_s if listed is None else listed)


def in_arrays(space: Space) -> bool:
    """Whether designs of the space can be many at once: others go down the road one by one, all of them."""
    return not space.base.policy and all(spec.phase in ("prefill", "decode") for spec in space.workloads.values())


def evaluate_many(space: Space, ordinals: NDArray[np.int64]) -> Outcomes:
    """The designs of ``ordinals`` at roofline fidelity, in that order; equal to `evaluate_on_road` of them."""
    ordinals = np.asarray(ordinals, dtype=np.int64)
    if not in_arrays(space):
        return evaluate_on_road(space, ordinals, "roofline")
    choices = space.codec.decode(ordinals)
    columns = _columns(space, choices)
    parts, places = [], []
    for group in _groups(space, choices):
        places.append(group)
        parts.append(_group(space, ordinals[group], {name: values[group] for name, values in columns.items()}))
    order = np.argsort(np.concatenate(places), kind="stable")
    return joined(parts).take(order)


def _columns(space: Space, choices: NDArray[np.int64]) -> dict[str, Array]:
    """The values of each parameter in each design."""
    columns = {}
    for at, (name, values) in enumerate(space.codec.values.items()):
        numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
        table = np.array(values, dtype=float if numbers else object)
        columns[name] = table[choices[:, at]]
    return columns


def _is_numeric(path: str) -> bool:
    root, _, rest = path.partition(".")
    return root == "system" and _NUMERIC.fullmatch(rest) is not None


def _groups(space: Space, choices: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Places of designs that agree in every parameter behind a setting that is no mere number."""
    names = list(space.codec.values)
    split = sorted({names.index(n) for p, e in space.set_expressions.items() if not _is_numeric(p) for n in e.names})
    if not split:
        yield np.arange(len(choices))
        return
    _, inverse = np.unique(choices[:, split], axis=0, return_inverse=True)
    inverse = inverse.reshape(-1)
    order = np.argsort(inverse, kind="stable")
    ends = np.flatnonzero(np.diff(inverse[order])) + 1
    yield from np.split(order, ends)


def _group(space: Space, ordinals: NDArray[np.int64], columns: Mapping[str, Array]) -> Outcomes:
    """Outcomes of designs that differ in numbers only."""
    count = len(ordinals)
    first = {name: values[0] for name, values in columns.items()}
    try:
        design = design_of(space, first)
    except InputError:
        return evaluate_on_road(space, ordinals, "roofline")  # some numbers cannot be had: it is said one by one
    if design.system.devices > 1:
        return evaluate_on_road(space, ordinals, "roofline")
    arrays = {
        path.partition(".")[2]: np.broadcast_to(np.asarray(e.value(columns), dtype=float), (count,))
        for path, e in space.set_expressions.items()
        if _is_numeric(path)
    }
    bad = np.zeros(count, dtype=np.bool_)
    for path, values in arrays.items():
        least = 0.0 if path.endswith(("energy", "power", "overhead")) or ".energy." in path else 1e-30
        bad |= ~(np.isfinite(values) & (values >= least))
    fields = _Fields(design.system, arrays)
    assigned = _assignments(design, fields, count)
    parts, places = [], []
    for key in np.unique(assigned[~bad]) if (~bad).any() else []:
        which = np.flatnonzero((assigned == key) & ~bad)
        parts.append(_alike(space, ordinals[which], _cut(columns, which), _cut(arrays, which)))
        places.append(which)
    if bad.any():
        which = np.flatnonzero(bad)
        parts.append(evaluate_on_road(space, ordinals[which], "roofline"))
        places.append(which)
    return joined(parts).take(np.argsort(np.concatenate(places), kind="stable"))


def _cut(arrays: Mapping[str, Array], which: Array) -> dict[str, Array]:
    return {name: values[which] for name, values in arrays.items()}


def _assignments(design: Design, fields: _Fields, count: int) -> NDArray[np.int64]:
    """A number for each design; equal where the fastest engine is the same for every compute format, and the fastest
    engine for the rest. Ties go to the last name, as in `mappers.assign`."""
    names = sorted(design.system.engines)
    formats = sorted({workload.formats.compute for workload in design.workloads.values()} | {"bf16", VECTOR_FORMAT})
    keys = [np.stack([np.broadcast_to(fields.rate(name, fmt), (count,)) for name in names]) for fmt in formats]
    rates = [
        np.max([np.broadcast_to(fields.rate(n, f), (count,)) for f in design.system.engines[n].throughput_ops_per_s], 0)
        for n in names
    ]
    total = np.zeros(count, dtype=np.int64)
    for key in (*keys, np.stack(rates)):
        ranks = np.argsort(key, axis=0, kind="stable")  # equal rates keep the order of names: the last wins
        for row in ranks:
            total = total * len(names) + row
    return total


def _alike(
    space: Space,
    ordinals: NDArray[np.int64],
    columns: dict[str, Array],
    arrays: dict[str, Array],
) -> Outcomes:
    """Outcomes of designs that also run every operation on the same engines."""
    count = len(ordinals)
    first = design_of(space, {name: values[0] for name, values in columns.items()})
    system, fields = first.system, _Fields(first.system, arrays)
    weights = {name: workload.spec.weight for name, workload in first.workloads.items()}
    numbers: dict[str, Any] = {**columns, **_system_numbers(space, system, fields)}
    numbers |= known_of(first)
    known = quantities(space, numbers)
    early = early_constraints(space, known)
    reason = violated(space, early, known, count, lambda at: space.constraints[at].text)
    late = np.flatnonzero(reason == "")
    per_workload: dict[str, dict[str, Any]] = {}
    charged: dict[str, Array] = {}
    fits = np.ones(count, dtype=np.bool_)
    for name, workload in first.workloads.items():
        lowered = _lowered(workload)
        mapped = roofline_workload(lowered, system)
        home = mapped.home
        ops = [(op.op, n) for layer, n in lowered.layers() for op in mapped.layers[layer.name].ops.values()]
        if any(op.home != home for layer in mapped.layers.values() for op in layer.ops.values()):
            return evaluate_on_road(space, ordinals, "roofline")
        found, charges = _sums(ops, system, fields, home, count)
        room = _room(space, first, name, home)
        if room is None:
            return evaluate_on_road(space, ordinals, "roofline")
        needed, peak, tokens, others = room
        fits &= fields(f"tiers.{home}.capacity") >= needed
        if others and not np.all(fits | (reason != "")):
            return evaluate_on_road(space, ordinals, "roofline")
        found |= {"tokens_per_s": tokens / found["latency_s"], "peak_bytes": np.full(count, peak)}
        idle = _idle_w(system, fields)
        found["energy_j"] = found["energy_j"] + idle * found["latency_s"]
        found["power_w"] = found["energy_j"] / found["latency_s"]
        per_workload[name] = found
        for part, seconds in charges.items():
            charged[part] = charged.get(part, np.zeros(count)) + weights[name] * seconds
    numbers |= summed(per_workload, weights)
    known = quantities(space, numbers)
    unfit = late[~np.broadcast_to(fits, (count,))[late]]
    reason[unfit] = "does not fit"
    simulated = reason == ""
    broken = violated(
        space,
        [at for at in range(len(space.constraints)) if at not in early],
        known,
        count,
        lambda at: space.constraints[at].text,
    )
    reason[simulated] = broken[simulated]
    parts = sorted(charged)
    table = np.stack([np.broadcast_to(charged[part], (count,)) for part in parts])
    most = len(parts) - 1 - np.argmax(table[::-1], axis=0)  # equal shares: the last name, as on the road
    bottleneck = np.where(simulated, np.array(parts, dtype=object)[most], "")
    metrics = {}
    not_simulated = set(quantities(space, _before_simulation(numbers, per_workload))) if not simulated.all() else set()
    for column in metric_columns(space):
        values = np.array(np.broadcast_to(np.asarray(known[column], dtype=float), (count,)))
        if column not in not_simulated:
            values[~simulated] = np.nan
        values[unfit] = np.nan
        metrics[column] = values
    status = np.where(reason == "", OK, INFEASIBLE).astype(np.int8)
    return Outcomes(ordinals, status, reason, bottleneck, metrics)


def _before_simulation(numbers: Mapping[str, Any], per_workload: Mapping[str, Any]) -> dict[str, Any]:
    """``numbers`` without what only a simulation tells."""
    simulated = set(summed(per_workload, dict.fromkeys(per_workload, 1.0)))
    return {name: value for name, value in numbers.items() if name not in simulated}


def _system_numbers(space: Space, system: System, fields: _Fields) -> dict[str, Any]:
    own = system_names_of(system, system_names(space))
    for name in own:
        path = name.partition(".")[2]
        if path in fields.arrays:
            own[name] = fields.arrays[path]  # type: ignore[assignment]
    return own


def _idle_w(system: System, fields: _Fields) -> Any:
    arrays = fields.arrays
    total: Any = system.idle_power_w
    if "static_power" in arrays:
        total = total + system.devices * (arrays["static_power"] - system.static_power_w)
    for name, tier in system.tiers.items():
        path = f"tiers.{name}.static_power"
        if path in arrays:
            total = total + (system.devices // (system.node_devices if tier.shared else 1)) * (
                arrays[path] - tier.static_power_w
            )
    return total


@lru_cache(maxsize=512)
def _lowered_once(model: Model, phase: Prefill | Decode, formats: FormatChoice) -> Workload:
    return lower(model, phase, formats)


def _lowered(workload: DesignWorkload) -> Workload:
    return _lowered_once(workload.model, workload.phase, workload.formats)


_Room = tuple[float, float, int, bool] | None
_rooms: dict[tuple[Any, ...], _Room] = {}
_MOST_ROOMS = 4096


def _room(space: Space, design: Design, name: str, home: str) -> _Room:
    """Bytes the home tier must have, the peak the road reports, tokens of a step, and whether other tiers could help;
    None where even a boundless home leaves tensors elsewhere.

    None of them depends on rates, energies or capacities, so designs that differ in these alone ask once.
    """
    others = tuple((p, e.value(design.values)) for p, e in space.set_expressions.items() if not _is_numeric(p))
    key = (space.fingerprint, name, home, others)
    if key not in _rooms:
        if len(_rooms) >= _MOST_ROOMS:
            _rooms.clear()
        _rooms[key] = _asked_room(design, name, home)
    return _rooms[key]


def _asked_room(design: Design, name: str, home: str) -> _Room:
    workload = design.workloads[name]
    boundless = design.system.tiers[home].model_copy(update={"capacity_bytes": 1e18})
    system = design.system.model_copy(update={"tiers": {**design.system.tiers, home: boundless}})
    try:
        result = simulate(workload.model, workload.phase, system, formats=workload.formats)
    except InfeasibleError:
        return None
    plan = result.plan
    if plan.buffer_bytes or any(size for tier, size in plan.resident_bytes.items() if tier != home):
        return None
    needed = plan.resident_bytes[home] + plan.workspace_bytes
    return needed, result.peak_bytes[home], result.tokens, len(plan.capacity_bytes) > 1


def _sums(
    ops: list[tuple[Op, int]], system: System, fields: _Fields, home: str, count: int
) -> tuple[dict[str, Any], dict[str, Array]]:
    """Latency and dynamic energy of one step, and the time charged to each part: `mappers.roofline.roofline_op`, with
    arrays for numbers."""
    latency, energy = np.zeros(count), np.zeros(count)
    charged: dict[str, Array] = {}
    read_rate, write_rate = fields(f"tiers.{home}.read_bandwidth"), fields(f"tiers.{home}.write_bandwidth")
    read_j, write_j = fields(f"tiers.{home}.read_energy"), fields(f"tiers.{home}.write_energy")
    assignments = {fmt: _fastest(system, fmt) for fmt in {op.compute_format for op, _ in ops}}
    for op, times in ops:
        assignment = assignments[op.compute_format]
        seconds: dict[str, Any] = {}
        for engine, operations, fmt in (
            (assignment.contraction, op.work.contraction, op.compute_format),
            (assignment.other, op.work.other, VECTOR_FORMAT),
        ):
            seconds[engine] = seconds.get(engine, 0.0) + operations / fields.rate(engine, fmt)
            energy += times * operations * fields.joules(engine, fmt)
        read_bytes, write_bytes = op.bytes("read"), op.bytes("write")
        main = system.engines[assignment.contraction]
        inside = main.home_bandwidth_bytes_per_s
        inside_bytes = 0.0
        if inside is not None and main.beside:
            inside_bytes = sum(o.bytes for o in op.operands if o.stored is not None and o.access == "read")
            read_bytes -= inside_bytes
            name = assignment.contraction
            seconds[name] = np.maximum(seconds[name], inside_bytes / inside)
        rates = (inside, inside) if inside is not None and not main.beside else (read_rate, write_rate)
        port = read_bytes / rates[0] + write_bytes / rates[1]
        energy += times * 8 * ((read_bytes + inside_bytes) * read_j + write_bytes * write_j)
        overhead: Any = 0.0
        for engine in seconds:
            overhead = np.maximum(overhead, fields(f"engines.{engine}.launch_overhead"))
        parts = {**{e: s for e, s in seconds.items() if _works(op, e, assignment)}, home: port}
        names = list(parts)
        table = np.stack([np.broadcast_to(parts[part], (count,)) for part in names])
        slowest, longest = np.argmax(table, axis=0), np.max(table, axis=0)
        latency += times * (longest + overhead)
        for at, part in enumerate(names):
            charged[part] = charged.get(part, np.zeros(count)) + np.where(slowest == at, times * longest, 0.0)
        charged["overhead"] = charged.get("overhead", np.zeros(count)) + times * overhead
    return {"latency_s": latency, "energy_j": energy}, charged


def _works(op: Op, engine: str, assignment: Any) -> bool:
    """Whether the engine has any of the operation's work: one without has no share in it."""
    mine = op.work.contraction if engine == assignment.contraction else 0.0
    mine += op.work.other if engine == assignment.other else 0.0
    return mine > 0


def _fastest(system: System, compute_format: str) -> Any:
    engines = system.engines
    best = max(engines, key=lambda name: (engines[name].throughput(compute_format), name))
    return engines_with(best, system)
