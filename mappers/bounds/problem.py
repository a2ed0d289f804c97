"""All bounds of a mapping problem on a machine, put together so that no mapping can go below their sum.

**Root traffic.** The compulsory charges of the cascade, plus, for Einsums that share no operand and no result with one
another, what each moves beyond its own charges. Without fusing, no store below the root outlives its Einsum and all
Einsums count.

**Energy.** Root bits at the root's energies, operations on the cheapest unit, and for each Einsum the least that its
operands and its result move at the levels (`energy_floor`).

**Latency.** An Einsum takes at least its points over the lanes that can run side by side, and the time of the root
traffic that is its own. Sequential machines add these up, and the root moves all its bits. On a pipelined machine the
Einsums overlap: the bound is the busiest resource, which for units is, over every set of units, the work that fits
nowhere else divided by their number.

**What is assumed.** The map space of `mappers.mapspace`: stores follow the machine's keep rules, masked points are
mapped like all others, a branch runs as the machine does (``execution``). ``recompute=False`` also assumes that no
Einsum stands inside a loop over a rank that it lacks, which would repeat it. The user's constraints only ever make the
map space smaller, apart from ``keep``, which is heeded.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import replace

from hw.spec.hierarchy import Hierarchy, Level
from mappers.bounds.attention_io import attention_io_asymptote_words, find_attention
from mappers.bounds.charges import Charge, Charges, root_charges
from mappers.bounds.contraction import Mode, any_schedule_words, as_contraction, tiled_io_bits
from mappers.bounds.energy import EnergyFloor, energy_floor
from mappers.bounds.machine import Machine
from mappers.bounds.report import EinsumBounds, ProblemBounds
from mappers.mapspace.checks import point_actions
from mappers.mapspace.constraints import Constraints
from mappers.mapspace.problem import CascadeProblem, EinsumProblem, TensorUse

__all__ = ["problem_bounds"]

_ROUNDING = 1.0 - 1e-12
"""Sums of floats may end a few units in the last place above the true value; the bounds are lowered by more."""


def problem_bounds(
    problem: CascadeProblem,
    hierarchy: Hierarchy,
    *,
    fuse: bool = True,
    constraints: Constraints | None = None,
    recompute: bool = False,
) -> ProblemBounds:
    """Lower bounds of root traffic, energy, latency and EDP for ``problem`` on ``hierarchy``.

    ``fuse`` False sends every intermediate through the root. With ``recompute`` the bounds also hold for mappings that
    repeat an Einsum inside a loop over a rank it lacks. Raises `InputError` when no unit runs one of the Einsums.
    """
    limits = constraints or Constraints()
    machine = Machine(hierarchy, replace(limits, fuse=fuse and limits.fuse))
    charges = root_charges(problem, machine)
    ios = tuple(
        _io_bits(problem, einsum, own, charges, machine, recompute)
        for einsum, own in zip(problem.einsums, charges.einsums, strict=True)
    )
    own_bits = tuple(math.fsum(charge.bits for charge in own.values()) for own in charges.einsums)
    excess = tuple(max(0.0, io - bits) for io, bits in zip(ios, own_bits, strict=True))
    adding = _adding(problem, charges, excess)
    floors = tuple(
        energy_floor(problem, einsum, own, more if place in adding else 0.0, machine)
        for place, (einsum, own, more) in enumerate(zip(problem.einsums, charges.einsums, excess, strict=True))
    )
    einsums = tuple(
        _einsum_bounds(einsum, own, charges, io, place in adding, floor, machine)
        for place, (einsum, own, io, floor) in enumerate(
            zip(problem.einsums, charges.einsums, ios, floors, strict=True)
        )
    )
    root = hierarchy.levels[hierarchy.root]
    compulsory = math.fsum(charge.bits for charge in charges.cascade)
    more = math.fsum(excess[place] for place in adding)
    root_j = math.fsum(
        c.read_bits * root.read_energy_j_per_bit + c.write_bits * root.write_energy_j_per_bit for c in charges.cascade
    )
    operations_j = math.fsum(floor.operations_j for floor in floors)
    movement_j = math.fsum(floor.movement_j for floor in floors)
    root_s = max(_root_seconds(root, charges.cascade), _port_seconds(root, compulsory + more, 0.0, 0.0))
    compute_s, latency = _latency(problem, einsums, root_s, machine)
    energy = root_j + operations_j + movement_j
    parts = {"operations": operations_j, "compulsory root traffic": root_j, "traffic beyond the compulsory": movement_j}
    return ProblemBounds(
        cascade=problem.name,
        hierarchy=hierarchy.name,
        fuse=machine.constraints.fuse,
        tensors=charges.cascade,
        einsums=einsums,
        compulsory_bits=compulsory,
        root_bits=(compulsory + more) * _ROUNDING,
        root_s=root_s,
        compute_s=compute_s,
        energy_j=energy * _ROUNDING,
        latency_s=latency * _ROUNDING,
        binding={
            "root_bits": "capacity of the chip" if more > 0 else "compulsory: each element once",
            "energy": max(parts, key=lambda name: parts[name]),
            "latency": _what_decides(hierarchy, einsums, compute_s, root_s, latency),
        },
        indicative=_indicative(problem, machine),
    )


def _io_bits(
    problem: CascadeProblem,
    einsum: EinsumProblem,
    own: dict[str, Charge],
    charges: Charges,
    machine: Machine,
    recompute: bool,
) -> float:
    compulsory = math.fsum(charge.bits for charge in own.values())
    contraction = as_contraction(einsum)
    if contraction is None:
        return compulsory
    modes = tuple(_mode(problem, use, own, charges, recompute) for use in einsum.uses)
    stores = tuple(machine.largest_store_bits(use) for use in einsum.uses)
    tiled = tiled_io_bits(contraction, (modes[0], modes[1], modes[2]), (stores[0], stores[1], stores[2]))
    return max(compulsory, tiled, _any_schedule_bits(einsum, own, machine) or 0.0)


def _mode(problem: CascadeProblem, use: TensorUse, own: dict[str, Charge], charges: Charges, recompute: bool) -> Mode:
    if use.tensor in own:
        return "root"
    writers = sum(einsum.output.tensor == use.tensor for einsum in problem.einsums)
    if not use.intermediate or use.tensor in charges.spilled or writers != 1:
        return "free"
    if use.role != "output" and recompute:
        return "free"
    return "either"


def _any_schedule_bits(einsum: EinsumProblem, own: dict[str, Charge], machine: Machine) -> float | None:
    """The bound for every order of operations, in bits: words of the narrowest tensor, of which most fit."""
    contraction = as_contraction(einsum)
    capacity = machine.on_chip_bits()
    if contraction is None or math.isinf(capacity) or any(use.tensor not in own for use in einsum.uses):
        return None
    width = min(contraction.bits)
    results = float(contraction.batch * contraction.m * contraction.n)
    return width * any_schedule_words(float(contraction.volume), results, capacity / width)


def _adding(problem: CascadeProblem, charges: Charges, excess: tuple[float, ...]) -> frozenset[int]:
    """Einsums whose traffic is their own: the largest excess first, then those that share nothing with them."""
    chosen: list[int] = []
    taken: set[str] = set()
    for place in sorted(range(len(excess)), key=lambda index: -excess[index]):
        shared = {use.tensor for use in problem.einsums[place].uses} & charges.shared
        if excess[place] > 0 and not shared & taken:
            chosen.append(place)
            taken |= shared
    return frozenset(chosen)


def _einsum_bounds(
    einsum: EinsumProblem,
    own: dict[str, Charge],
    charges: Charges,
    io_bits: float,
    adds: bool,
    floor: EnergyFloor,
    machine: Machine,
) -> EinsumBounds:
    hierarchy = machine.hierarchy
    seconds = {unit: _compute_seconds(einsum, unit, machine) for unit in machine.units(einsum)}
    unit = min(seconds, key=lambda name: seconds[name])
    root = hierarchy.levels[hierarchy.root]
    alone = tuple(charge for name, charge in own.items() if name not in charges.shared)
    root_s = _root_seconds(root, alone)
    if adds and len(alone) == len(own):
        root_s = max(root_s, _port_seconds(root, io_bits, 0.0, 0.0))
    any_schedule = _any_schedule_bits(einsum, own, machine)
    return EinsumBounds(
        einsum=einsum.name,
        unit=unit,
        compulsory_bits=math.fsum(charge.bits for charge in own.values()),
        io_bits=io_bits,
        any_schedule_bits=None if any_schedule is None else max(0.0, any_schedule),
        adds=adds,
        compute_s=seconds[unit],
        root_s=root_s,
        operations_j=floor.operations_j,
        movement_j=floor.movement_j,
    )


def _compute_seconds(einsum: EinsumProblem, unit: str, machine: Machine) -> float:
    """Points over the lanes that can run side by side; every lane starts ``width`` operations a cycle."""
    spec = machine.hierarchy.units[unit]
    cycles = math.fsum(
        number * spec.cost(action)[0] for action, number in point_actions(einsum, unit, machine.hierarchy).items()
    )
    steps = math.ceil(einsum.points / machine.parallel(einsum, unit) * (1.0 - 1e-15))
    return steps * cycles / spec.width / spec.clock_hz


def _port_seconds(level: Level, both: float, read: float, written: float) -> float:
    """Time of a level's slowest port for bits in both directions together, and for each."""
    rates = (
        (both, level.bandwidth_bytes_per_s),
        (read, level.read_bandwidth_bytes_per_s),
        (written, level.write_bandwidth_bytes_per_s),
    )
    return max((bits / 8.0 / rate for bits, rate in rates if rate is not None), default=0.0)


def _root_seconds(root: Level, charges: tuple[Charge, ...]) -> float:
    read = math.fsum(charge.read_bits for charge in charges)
    written = math.fsum(charge.write_bits for charge in charges)
    return _port_seconds(root, read + written, read, written)


def _latency(
    problem: CascadeProblem, einsums: tuple[EinsumBounds, ...], root_s: float, machine: Machine
) -> tuple[float, float]:
    """Seconds of compute, and of the whole cascade."""
    if machine.hierarchy.execution == "sequential":
        return math.fsum(e.compute_s for e in einsums), max(root_s, math.fsum(e.latency_s for e in einsums))
    times = [
        {unit: _compute_seconds(einsum, unit, machine) for unit in machine.units(einsum)} for einsum in problem.einsums
    ]
    names = sorted({unit for row in times for unit in row})
    compute = 0.0
    for count in range(1, len(names) + 1):
        for group in itertools.combinations(names, count):
            captive = math.fsum(min(row.values()) for row in times if set(row) <= set(group))
            compute = max(compute, captive / count)
    return compute, max(compute, root_s)


def _what_decides(
    hierarchy: Hierarchy, einsums: tuple[EinsumBounds, ...], compute_s: float, root_s: float, latency: float
) -> str:
    if latency <= compute_s * (1.0 + 1e-12):
        units = ", ".join(dict.fromkeys(e.unit for e in einsums))
        return f"operations on {units}"
    if latency <= root_s * (1.0 + 1e-12):
        return f"port of {hierarchy.root}"
    return f"operations and the port of {hierarchy.root} in turn"


def _indicative(problem: CascadeProblem, machine: Machine) -> dict[str, float]:
    shape = find_attention(problem)
    capacity = machine.on_chip_bits()
    if shape is None or math.isinf(capacity):
        return {}
    words = attention_io_asymptote_words(shape.keys, shape.width, capacity / shape.bits, queries=shape.queries)
    return {"attention": shape.batch * words * shape.bits}
