"""Experts on devices, with copies of the busy ones: the heaviest device decides a step of expert parallelism.

Every expert is on at least one device, and a device has room for so many copies. The load of an expert with copies may
be divided among them in any way. Few experts are placed exactly, by a mixed-integer program; many by giving the next
copy to the expert with the largest load per copy, the largest share to the device with the least load, and then
dividing loads anew by a linear program, which is the best division of the copies as they stand.

Copies of busy experts to even out devices: DeepSeek-V3 (arXiv 2412.19437, section 3.4.1) calls them redundant experts.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mappers.planner.tiers.linear import LinearProgram
from workloads.errors import InfeasibleError, InputError

__all__ = ["ExpertPlacement", "least_heaviest", "place_experts"]

_EXACT = 120
"""Experts x devices up to which the program is asked."""


@dataclass(frozen=True)
class ExpertPlacement:
    """``copies`` gives the devices of each expert with the share of its load; ``heaviest`` is the largest load.

    No placement has a heaviest device below ``bound``.
    """

    copies: tuple[tuple[tuple[int, float], ...], ...]
    heaviest: float
    bound: float
    status: Literal["proved_optimal", "feasible"]

    @property
    def gap(self) -> float:
        """How far the heaviest device is above the bound, as a share of it."""
        return self.heaviest / self.bound - 1 if self.bound else 0.0


def least_heaviest(loads: Sequence[float], devices: int, slots: int) -> float:
    """A bound on the heaviest device: the mean; the heaviest copy; two experts that must meet.

    The j busiest experts have at most j copies and all that are to spare, so one copy carries at least their load over
    that number. With none to spare, two of the busiest devices + 1 experts are on one device.
    """
    spare = devices * slots - len(loads)
    ordered = sorted(loads, reverse=True)
    best, total = sum(loads) / devices, 0.0
    for count, load in enumerate(ordered, start=1):
        total += load
        best = max(best, total / min(devices * count, count + spare))
    if spare == 0 and len(ordered) > devices:
        best = max(best, ordered[devices - 1] + ordered[devices])
    return best


def place_experts(loads: Sequence[float], devices: int, slots: int, *, time_limit_s: float = 10.0) -> ExpertPlacement:
    """Place experts with these loads on ``devices`` with ``slots`` copies each.

    Raises `InputError` for loads below 0 or no devices, and `InfeasibleError` for fewer slots than experts.
    """
    if devices < 1 or slots < 1 or not loads:
        raise InputError(f"{len(loads)} experts on {devices} devices of {slots}", "at least one of each", "experts")
    if min(loads) < 0:
        raise InputError(f"a load of {min(loads):g}", "0 or more", "loads")
    if len(loads) > devices * slots:
        raise InfeasibleError("room for one copy of each expert", len(loads), devices * slots, "copies")
    bound = least_heaviest(loads, devices, slots)
    where = _by_largest(loads, devices, slots)
    heaviest, shares = _divide(loads, devices, where)
    if heaviest > bound * (1 + 1e-9) and len(loads) * devices <= _EXACT:
        exact, proven = _exact(loads, devices, slots, time_limit_s)
        bound = max(bound, proven)
        if exact is not None:
            better, other = _divide(loads, devices, exact)
            if better < heaviest:
                heaviest, shares = better, other
    bound = min(bound, heaviest)
    status: Literal["proved_optimal", "feasible"] = "proved_optimal" if heaviest <= bound * (1 + 1e-6) else "feasible"
    return ExpertPlacement(tuple(tuple(sorted(row.items())) for row in shares), heaviest, bound, status)


def _by_largest(loads: Sequence[float], devices: int, slots: int) -> list[set[int]]:
    """Copies to where loads per copy are largest, then longest processing time first (Graham, 1969)."""
    counts = [1] * len(loads)
    heap = [(-load, expert) for expert, load in enumerate(loads)]
    heapq.heapify(heap)
    spare = devices * slots - len(loads)
    while spare and heap:
        _, expert = heapq.heappop(heap)
        if counts[expert] < devices and loads[expert] > 0:
            counts[expert] += 1
            spare -= 1
            heapq.heappush(heap, (-loads[expert] / counts[expert], expert))
    where: list[set[int]] = [set() for _ in loads]
    weight, free = [0.0] * devices, [slots] * devices
    pieces = [(load / counts[expert], expert) for expert, load in enumerate(loads) for _ in range(counts[expert])]
    placed_once = [False] * len(loads)
    pieces.sort(key=lambda piece: (-piece[0], piece[1]))
    for piece, expert in pieces:
        open_to = [device for device in range(devices) if free[device] and device not in where[expert]]
        if not open_to:
            continue  # every device with room has a copy already: one copy fewer
        # Room must remain for the experts that have no copy yet.
        if placed_once[expert] and sum(free) <= placed_once.count(False):
            continue
        device = min(open_to, key=lambda device: (weight[device], device))
        where[expert].add(device)
        placed_once[expert] = True
        weight[device] += piece
        free[device] -= 1
    return where


def _divide(loads: Sequence[float], devices: int, where: Sequence[set[int]]) -> tuple[float, list[dict[int, float]]]:
    """The division of loads among copies with the lightest heaviest device."""
    program = LinearProgram()
    scale = max(loads) or 1.0
    heaviest = program.variable(cost=1.0)
    parts = [{device: program.variable() for device in sorted(places)} for places in where]
    for part in parts:
        program.row(dict.fromkeys(part.values(), 1.0), low=1.0, high=1.0)
    for device in range(devices):
        row = {part[device]: load / scale for part, load in zip(parts, loads, strict=True) if device in part}
        program.row({**row, heaviest: -1.0}, high=0.0)
    solution = program.solve()
    assert solution is not None  # every expert has a copy
    shares = [{device: solution.values[column] for device, column in part.items()} for part in parts]
    weights = [0.0] * devices
    for row_of, load in zip(shares, loads, strict=True):
        for device, share in row_of.items():
            weights[device] += share * load
    return max(weights), shares


def _exact(
    loads: Sequence[float], devices: int, slots: int, time_limit_s: float
) -> tuple[list[set[int]] | None, float]:
    """Copies by the mixed-integer program, and its bound."""
    program = LinearProgram()
    scale = max(loads) or 1.0
    heaviest = program.variable(cost=1.0)
    copy, part = {}, {}
    for expert in range(len(loads)):
        for device in range(devices):
            copy[expert, device] = program.variable(0.0, 1.0, integer=True)
            part[expert, device] = program.variable(0.0, 1.0)
            program.row({part[expert, device]: 1.0, copy[expert, device]: -1.0}, high=0.0)
        program.row({part[expert, device]: 1.0 for device in range(devices)}, low=1.0, high=1.0)
    for device in range(devices):
        row = {part[expert, device]: load / scale for expert, load in enumerate(loads)}
        program.row({**row, heaviest: -1.0}, high=0.0)
        program.row({copy[expert, device]: 1.0 for expert in range(len(loads))}, high=float(slots))
    for device in range(devices - 1):  # devices are alike: the heaviest first
        row = {part[expert, device]: -load / scale for expert, load in enumerate(loads)}
        for expert, load in enumerate(loads):
            row[part[expert, device + 1]] = load / scale
        program.row(row, high=0.0)
    solution = program.solve(time_limit_s=time_limit_s)
    proven = program.bound * scale if program.bound > 0 else 0.0
    if solution is None:
        return None, proven
    where = [
        {device for device in range(devices) if solution.values[copy[expert, device]] > 0.5}
        for expert in range(len(loads))
    ]
    return where, proven
