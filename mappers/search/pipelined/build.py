"""The cost report of a pipelined mapping, and bounds that hold whatever the mapping."""

from __future__ import annotations

import math

from mappers.mapspace.mapping import Branch, Mapping
from mappers.mapspace.problem import CascadeProblem
from mappers.mapspace.report import EinsumCost, MappingCost, Traffic
from mappers.search.pipelined.bound import Part
from mappers.search.pipelined.machine import Machine
from mappers.search.pipelined.region import Region
from mappers.search.pipelined.tiling import Tiling
from mappers.search.pipelined.trees import region_nest

__all__ = ["bounds_of", "build"]


def build(
    problem: CascadeProblem, machine: Machine, chosen: tuple[tuple[Part, Tiling], ...]
) -> tuple[Mapping, MappingCost]:
    """The tree and the costs of regions under their tilings."""
    nests = tuple(region_nest(machine, part, tiling) for part, tiling in chosen)
    nest = nests[0] if len(nests) == 1 else (Branch("sequential", nests),)
    latency_s = energy_j = 0.0
    einsums: list[EinsumCost] = []
    useful: dict[str, float] = {array.name: 0.0 for array in machine.arrays}
    for part, tiling in chosen:
        costs = [_einsum_cost(machine, part, tiling, index) for index in range(len(part.places))]
        einsums += costs
        busiest: dict[str, float] = {}
        for one in costs:
            energy_j += sum(one.energy_j.values())
            for name, seconds in one.times_s.items():
                busiest[name] = busiest.get(name, 0.0) + seconds
        ports = _port_seconds(machine, costs)
        latency_s += max(part.steady_s, *busiest.values(), *ports) + part.fill_s
        for placement, local in zip(part.placements, part.locals, strict=True):
            useful[machine.arrays[placement.array].name] += local.busy_s * local.useful
    usage = {machine.buffer: max(tiling.usage_bits for _, tiling in chosen)}
    cost = MappingCost(
        einsums=tuple(einsums),
        latency_s=latency_s,
        energy_j=energy_j,
        usage_bits=usage,
        utilisation={name: seconds / latency_s if latency_s else 0.0 for name, seconds in useful.items()},
    )
    return Mapping(problem.name, machine.hierarchy.name, nest), cost


def _port_seconds(machine: Machine, costs: list[EinsumCost]) -> tuple[float, float]:
    totals = []
    for level in (machine.root, machine.buffer):
        moved = [bits for cost in costs for bits in cost.traffic.get(level, {}).values()]
        totals.append((sum(t.read_bits for t in moved), sum(t.write_bits for t in moved)))
    return machine.root_seconds(*totals[0]), machine.buffer_seconds(*totals[1])


def _einsum_cost(machine: Machine, part: Part, tiling: Tiling, index: int) -> EinsumCost:
    """One Einsum's share: a tensor's way between root and buffer belongs to the first Einsum that touches it."""
    region, local = part.region, part.locals[index]
    einsum = region.einsums[index]
    array = machine.arrays[part.placements[index].array]
    root: dict[str, Traffic] = {}
    buffer = {tensor: Traffic(read, write) for tensor, (read, write) in local.buffer.items()}
    for tensor, (read, write) in tiling.root.items():
        first = min((*region.writers.get(tensor, ()), *region.readers.get(tensor, ())))
        if first == index and (read or write):
            root[tensor] = Traffic(read, write)
            old = buffer.get(tensor, Traffic(0.0, 0.0))
            buffer[tensor] = Traffic(old.read_bits + write, old.write_bits + read)
    traffic = {machine.root: root, machine.buffer: buffer}
    if array.registers is not None:
        traffic[array.registers] = {tensor: Traffic(r, w) for tensor, (r, w) in local.registers.items()}
    energy = {array.name: local.operations_j}
    for level, tensors in traffic.items():
        spec = machine.hierarchy.levels[level]
        energy[level] = sum(
            bits.read_bits * spec.read_energy_j_per_bit + bits.write_bits * spec.write_energy_j_per_bit
            for bits in tensors.values()
        )
    times = {array.name: local.busy_s}
    moved = [
        (sum(t.read_bits for t in row.values()), sum(t.write_bits for t in row.values())) for row in (root, buffer)
    ]
    times[machine.root] = machine.root_seconds(*moved[0])
    times[machine.buffer] = machine.buffer_seconds(*moved[1])
    return EinsumCost(einsum.name, array.name, times, energy, traffic, local.useful)


def bounds_of(machine: Machine, whole: Region) -> dict[str, float]:
    """Bits that must pass the root, the time that takes, each unit's least time, and the least energy.

    ``{root}_bits``, ``{root}_s``; ``{unit}_s`` is the time of what only that unit computes, with all lanes at work;
    ``latency_s`` is the longest of these times; ``energy_j`` is every operation at its cheapest and the compulsory
    bits; ``edp`` is their product.
    """
    reads, writes = whole.compulsory_bits
    root = machine.root_level
    only = {array.name: 0.0 for array in machine.arrays}
    energy_j = reads * root.read_energy_j_per_bit + writes * root.write_energy_j_per_bit
    for einsum in whole.einsums:
        able = [array for array in machine.arrays if array.missing(einsum) is None]
        energy_j += min(array.point_cost(einsum)[1] for array in able) * einsum.points
        if len(able) == 1:
            (array,) = able
            lanes = math.prod(dimension.size for dimension in array.dimensions)
            rate = lanes * array.unit.width * array.unit.clock_hz
            only[array.name] += array.point_cost(einsum)[0] * einsum.points / rate
    root_s = machine.root_seconds(reads, writes)
    latency_s = max(root_s, *only.values())
    return {
        f"{machine.root}_bits": reads + writes,
        f"{machine.root}_s": root_s,
        **{f"{name}_s": seconds for name, seconds in only.items()},
        "energy_j": energy_j,
        "latency_s": latency_s,
        "edp": energy_j * latency_s,
    }
