"""Operation cost at mapped fidelity: the roofline, with what the best mapping onto the engine's buffers adds to it.

The search decides tiles, loop orders and fusion of an operation's contractions. Three things can come on top of the
roofline: operands that pass the home's port more than once and intermediates that do not fit on chip, processing
elements without work, and outer buffers whose ports are slower than the engine. All three are counted on the mapping of
one execution and applied to the operation's own work and bytes, so storage formats, masks and touched experts stay
those of the workload, and no mapped time is below the roofline's. Engines, buffers and the home work at the same time,
as in the roofline. Operations without a contraction stream each operand once, row by row, and stay at the roofline.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal

from hw.spec.hierarchy import Hierarchy
from hw.spec.system import System
from mappers.assign import Assign, fastest_engines, on_engine
from mappers.from_system import engine_hierarchy
from mappers.kernel_problem import kernel_problem, with_joined_ranks, without_batch
from mappers.mapped import EngineShare, MappedLayer, MappedOp, MappedWorkload
from mappers.mapspace.problem import CascadeProblem, cascade_problem
from mappers.mapspace.report import SearchResult
from mappers.roofline import roofline_op, roofline_workload, sharers
from workloads.einsum import Cascade, resolve_sizes
from workloads.einsum.passes import count_passes
from workloads.errors import InfeasibleError, InputError, unknown_name
from workloads.formats import storage_format
from workloads.workload import Op, Workload

if TYPE_CHECKING:
    from mappers.kernels.constants import Entry

__all__ = ["FIDELITIES", "OpMapper", "OpMapping", "map_workload", "op_mapper", "op_problem"]
__all__ += ["searched"]

FIDELITIES = ("roofline", "mapped", "kernel")
"""How deep an operation's cost is modelled."""

UNSEARCHED = frozenset(
    {
        "attention-backward",
        "attention-backward-full",
        "attention-backward-window",
        "cross-entropy-backward",
        "cut-cross-entropy-lse",
        "linear-attention-chunks",
        "linear-attention-chunks-backward",
    }
)
"""Cascades of training that walk their operands again and share tiles between products: a search takes minutes."""

Objective = Literal["latency", "energy", "edp"]


@dataclass(frozen=True)
class OpMapping:
    """One operation as mapped, beside the roofline of the same operation.

    ``result`` is the search behind it; where there is none, ``reason`` says why and ``mapped`` is the roofline's.
    """

    mapped: MappedOp
    roofline: MappedOp
    result: SearchResult | None
    reason: str | None


@dataclass
class OpMapper:
    """Maps operations of one system, each distinct shape once: results are kept by problem and machine.

    ``hits`` counts the operations that found their shape already mapped.
    """

    system: System
    assign: Assign = fastest_engines
    objective: Objective = "latency"
    should_stop: Callable[[], bool] | None = None
    hits: int = 0
    results: dict[tuple[CascadeProblem, str], SearchResult] = field(default_factory=dict)
    _machines: dict[tuple[str, str, str], Hierarchy] = field(default_factory=dict)

    def __call__(self, op: Op) -> OpMapping:
        """Map one operation. Raises `InputError` for an assignment the system cannot meet."""
        roofline = roofline_op(op, self.system, self.assign)
        assignment = self.assign(op, self.system)
        engine = self.system.engines[assignment.contraction]
        if not op.work.contraction:
            return OpMapping(roofline, roofline, None, "no contraction to tile")
        if op.cascade.name in UNSEARCHED:
            return OpMapping(roofline, roofline, None, "one kernel of many products")
        if not engine.buffers:
            return OpMapping(roofline, roofline, None, f"engine {assignment.contraction!r} states no buffers")
        machine = self._machine(assignment.contraction, assignment.other, op.compute_format)
        problem, times = op_problem(op)
        try:
            result = self._search(problem, machine)
        except InfeasibleError as error:
            return OpMapping(roofline, roofline, None, f"{error}")
        mapped = _mapped_op(op, roofline, result, problem, machine, times, self.system)
        # A contraction that leaves an array nearly empty (a weighted sum of a few rows) belongs on the engine beside.
        beside = roofline_op(op, self.system, on_engine(assignment.other))
        if roofline.time_s <= beside.time_s < mapped.time_s:
            return OpMapping(beside, roofline, None, f"faster on engine {assignment.other!r}")
        return OpMapping(mapped, roofline, result, None)

    def _machine(self, contraction: str, other: str, compute_format: str) -> Hierarchy:
        key = (contraction, other, compute_format)
        if key not in self._machines:
            self._machines[key] = engine_hierarchy(self.system, contraction, other, compute_format)
        return self._machines[key]

    def _search(self, problem: CascadeProblem, machine: Hierarchy) -> SearchResult:
        key = (problem, machine.name)
        if key in self.results:
            self.hits += 1
            return self.results[key]
        found = searched(problem, machine, self.objective, self.should_stop)
        self.results[key] = found
        return found


_searched: OrderedDict[tuple[CascadeProblem, str, str], SearchResult] = OrderedDict()
_MOST_SEARCHED = 1024
"""Results kept, of some 10 KB each: enough for neighbours in a sweep of designs."""


def searched(
    problem: CascadeProblem,
    machine: Hierarchy,
    objective: Objective = "latency",
    should_stop: Callable[[], bool] | None = None,
) -> SearchResult:
    """`mappers.search.search`, which is not asked twice in this process: designs that differ elsewhere (capacity of the
    home, formats of other tensors) share their mappings. What could be stopped early is not kept."""
    from mappers.search import search  # compiles on import; the roofline does without

    if should_stop is not None:
        return search(problem, machine, objective=objective, should_stop=should_stop)
    key = problem, machine.model_dump_json(by_alias=True), objective
    if key in _searched:
        _searched.move_to_end(key)
        return _searched[key]
    found = _searched[key] = search(problem, machine, objective=objective)
    if len(_searched) > _MOST_SEARCHED:
        _searched.popitem(last=False)
    return found


def map_workload(
    workload: Workload,
    system: System,
    assign: Assign = fastest_engines,
    fidelity: str = "mapped",
    *,
    mapper: Callable[[Op], OpMapping] | None = None,
    software: str | None = None,
) -> MappedWorkload:
    """Every distinct layer mapped once, at ``fidelity`` roofline, mapped or kernel.

    ``mapper`` keeps mapped shapes between calls; it must be one of ``system``, ``assign`` and, at kernel fidelity,
    ``software``, the epoch whose kernels run (`op_mapper` makes it). The result's notes say which operations stayed at
    the roofline and why. Raises `InputError` for an unknown fidelity or software, and for software at a fidelity
    without kernels.
    """
    if fidelity not in FIDELITIES:
        raise unknown_name("fidelity", fidelity, FIDELITIES, field="fidelity")
    made = op_mapper(system, assign, fidelity, software)
    found = roofline_workload(workload, system, assign)
    if fidelity == "roofline":
        return found
    mapper = mapper or made
    layers: dict[str, MappedLayer] = {}
    kept: dict[str, list[str]] = {}
    for name, layer in found.layers.items():
        ops = {}
        for op in layer.layer.ops:
            mapping = mapper(op)
            ops[op.name] = mapping.mapped
            if mapping.reason is not None:
                kept.setdefault(mapping.reason, []).append(f"{name}.{op.name}")
        layers[name] = MappedLayer(layer.layer, ops)
    at_roofline = tuple((reason, tuple(names)) for reason, names in kept.items())
    remarks: tuple[str, ...] = tuple(getattr(mapper, "notes", tuple)())
    return MappedWorkload(workload, fidelity, found.home, layers, at_roofline, remarks)


def op_mapper(
    system: System,
    assign: Assign = fastest_engines,
    fidelity: str = "mapped",
    software: str | None = None,
    constants: tuple[Entry, ...] = (),
) -> Callable[[Op], OpMapping]:
    """What maps single operations at ``fidelity``, and keeps the shapes it has mapped.

    ``constants`` of kernels stand before the bundled ones. Raises `InputError` for an unknown software, and for one at
    a fidelity without kernels.
    """
    if fidelity == "kernel":
        from mappers.kernels.op import KernelMapper  # which returns this module's types

        return KernelMapper(system, assign, software, constants)
    if software is not None:
        raise InputError(f"{software!r} at {fidelity} fidelity", "fidelity kernel with a software", field="software")
    return OpMapper(system, assign)


def op_problem(op: Op) -> tuple[CascadeProblem, float]:
    """The mapping problem of one execution of ``op``, reduced to what a mapping decides, and how often it is run.

    Tensors have the widths of their storage formats, scales included and rounded up, but at most that of the format
    computed in. A grouped product is the product of one group, with its mean number of rows rounded
    up, run once for each group.
    """
    widths: dict[str, int] = {}
    most = storage_format(op.compute_format).element_bits
    for operand in op.operands:
        if operand.symbol in op.cascade.tensors:
            bits = math.ceil(storage_format(operand.format).bits_per_element)
            widths[operand.symbol] = min(max(bits, widths.get(operand.symbol, 1)), most)
    sizes = dict(op.sizes)
    times = 1.0
    if op.kind == "grouped_gemm":
        (weights,) = (operand.elements for operand in op.operands if operand.symbol == "W")
        times = max(1.0, weights / (sizes["n0"] * sizes["n1"]))
        sizes["m"] = math.ceil(sizes["m"] / times)
    problem = cascade_problem(op.cascade, sizes, widths)
    if not _walks_again(op.cascade, dict(op.sizes)):
        problem = kernel_problem(problem)
    problem, batch = without_batch(problem)
    return with_joined_ranks(problem), times * batch


def _walks_again(cascade: Cascade, sizes: dict[str, int]) -> bool:
    """Whether some fiber is walked more than once, pieces of split ranks aside: then tiles do not pass by once."""
    values = resolve_sizes(cascade, sizes)
    return any(count.passes.evaluate(values) > 1 for count in count_passes(cascade) if not count.of_piece)


def _mapped_op(
    op: Op,
    roofline: MappedOp,
    result: SearchResult,
    problem: CascadeProblem,
    machine: Hierarchy,
    times: float,
    system: System,
) -> MappedOp:
    busy: dict[str, float] = {}
    ideal: dict[str, float] = {}
    buffers_j: dict[str, float] = {}
    for einsum, cost in zip(problem.einsums, result.cost.einsums, strict=True):
        unit = machine.units[cost.unit]
        cycles = sum(unit.cost(operator)[0] * count for operator, count in einsum.operations)
        on_chip = [seconds for name, seconds in cost.times_s.items() if name.split()[0] != machine.root]
        joules = sum(j for name, j in cost.energy_j.items() if name in machine.levels and name != machine.root)
        busy[cost.unit] = busy.get(cost.unit, 0.0) + max(on_chip, default=0.0)
        ideal[cost.unit] = ideal.get(cost.unit, 0.0) + cycles / (unit.clock_hz * _instances(machine, cost.unit))
        buffers_j[cost.unit] = buffers_j.get(cost.unit, 0.0) + joules
    whole = not all(einsum.contraction for einsum in problem.einsums)
    engine, turns = system.engines[next(iter(ideal))], sharers(system, roofline.home)
    shares = []
    for share in roofline.shares:
        if share.engine not in ideal:
            shares.append(share)
            continue
        # What is executed over what was mapped: less where a mask drops points, more for each group of a product.
        mapped_s = share.seconds if whole else turns * op.work.contraction / engine.throughput(op.compute_format)
        executed = mapped_s / ideal[share.engine]
        waiting_s = max(0.0, busy[share.engine] * executed - mapped_s)
        energy_j = share.energy_j + buffers_j[share.engine] * executed
        shares.append(EngineShare(share.engine, share.operations, share.seconds + waiting_s, energy_j))
    read, write = _excess_bytes(op, problem, result, machine.root, times)
    home = machine.levels[machine.root]
    read_bandwidth = home.bandwidth_bytes_per_s or home.read_bandwidth_bytes_per_s or math.inf
    write_bandwidth = home.bandwidth_bytes_per_s or home.write_bandwidth_bytes_per_s or math.inf
    return replace(
        roofline,
        shares=tuple(shares),
        read_bytes=roofline.read_bytes + read,
        write_bytes=roofline.write_bytes + write,
        port_s=roofline.port_s + turns * (read / read_bandwidth + write / write_bandwidth),
    )


def _instances(machine: Hierarchy, unit: str) -> int:
    """How many copies of a unit the whole machine has."""
    levels = math.prod(machine.levels[name].instances for name in machine.path(unit))
    return levels * machine.units[unit].instances * machine.units[unit].width


def _excess_bytes(
    op: Op, problem: CascadeProblem, result: SearchResult, root: str, times: float
) -> tuple[float, float]:
    """Bytes read from and written to the home beyond each operand once."""
    operands = {operand.symbol: operand for operand in op.operands}
    once: dict[str, float] = {}
    for einsum in problem.einsums:
        for use in einsum.uses:
            once[use.tensor] = max(once.get(use.tensor, 0.0), float(use.elements(einsum.size) * use.bits))
    read = write = 0.0
    for tensor, bits in result.cost.traffic().get(root, {}).items():
        reads, writes = bits.read_bits / once[tensor], bits.write_bits / once[tensor]
        operand = operands.get(tensor)
        # The workload's own bytes for one pass: its formats keep scales, its groups touch what they touch.
        per_pass = operand.bytes if operand is not None else times * once[tensor] / 8
        made_here = problem.producer(tensor) is not None
        leaves = made_here and tensor not in problem.intermediates
        read += per_pass * (reads if made_here else max(0.0, reads - 1))
        write += per_pass * max(0.0, writes - (1 if leaves else 0))
    return read, write
