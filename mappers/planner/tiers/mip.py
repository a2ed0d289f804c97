"""Placement over tiers as a mixed-integer program over intervals, after the stages of rematerialisation programs.

For tensor t, tier m and interval k: ``room`` (whole number: t takes its room in m), ``come`` (the share of t that is
there when k begins), ``ready`` (whole number: all of it is there, so that it can be copied on), ``move`` (the share
that travels over a route during k). Room is taken from the first byte: come + what moves in <= room. A copy fed by
moves needs ``ready`` at its source during each of them. Dropping a copy costs nothing; a tensor must be ready
somewhere as long as it lives. Each interval lasts as long as its operations or the busiest resource.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from mappers.planner.tiers.linear import LinearProgram, Solution
from mappers.planner.tiers.plan import Move, Objective, Stay, TierPlan
from mappers.planner.tiers.problem import Tensor, TierProblem

__all__ = ["TimedProgram"]

_WHOLE = 1e-6  # of a tensor: what a solver's tolerance leaves
_SLACK = 1e-7  # of the objective, that may be given for fewer bytes

Key = tuple[str, str, int]


@dataclass
class TimedProgram:
    """The program of a problem under an objective, with the way to plans and back.

    An ``elastic`` program may add capacity to tiers, and minimises what it adds, in units of `size_scale`.
    """

    problem: TierProblem
    objective: Objective
    elastic: bool = False

    def __post_init__(self) -> None:
        problem = self.problem
        self.program = LinearProgram()
        self.length = len(problem.intervals)
        slowest = max((rate for route in problem.routes for _, rate in route.s_per_byte), default=0.0)
        every = sum(tensor.bytes for tensor in problem.tensors) * slowest
        self.time_scale = problem.compute_s + every or 1.0  # of the time of everything, one after another
        self.room: dict[Key, int] = {}
        self.come: dict[Key, int] = {}
        self.ready: dict[Key, int] = {}
        self.move: dict[tuple[str, str, str, int], int] = {}
        biggest = max((tensor.bytes for tensor in problem.tensors), default=1.0) or 1.0
        self.size_scale = biggest
        self.peak: dict[str, int] = {}
        self.extra: dict[str, int] = {}
        self._weights()
        self.interval = [
            self.program.variable(interval.duration_s / self.time_scale, cost=self.time_cost)
            for interval in problem.intervals
        ]
        for tensor in problem.tensors:
            self._tensor(tensor)
        self._capacities()
        self._resources()
        if self.elastic:
            self.program.costs = [0.0] * len(self.program.costs)
            for column in self.extra.values():
                self.program.costs[column] = 1.0

    def _weights(self) -> None:
        """Scale the objective to about 1."""
        problem, objective = self.problem, self.objective
        total = sum(tensor.bytes for tensor in problem.tensors) or 1.0
        if objective == "latency":
            self.unit = self.time_scale
        elif objective == "energy":
            dearest = max((route.energy_j_per_byte for route in problem.routes), default=0.0)
            self.unit = max(problem.static_power_w * self.time_scale, dearest * total, 1e-30)
        else:
            self.unit = max(total * max(tier.price_per_byte for tier in problem.tiers), 1e-30)
        power = {"latency": 1.0, "energy": problem.static_power_w, "cost": 0.0}[objective]
        self.time_cost = power * self.time_scale / self.unit

    def _next(self, at: int) -> int | None:
        if at + 1 < self.length:
            return at + 1
        return 0 if self.problem.cyclic else None

    def _tensor(self, tensor: Tensor) -> None:
        problem, program = self.problem, self.program
        alive = problem.alive(tensor)
        sources = {route.source for route in problem.routes}
        for tier in problem.tiers:
            for at in alive:
                key = (tensor.name, tier.name, at)
                needed = tier.name == problem.compute and (at in tensor.reads or at == tensor.produced)
                absent = at == tensor.produced and tier.name != problem.compute
                pinned = tier.name == tensor.home
                low, high = (1.0 if needed or pinned else 0.0), (0.0 if absent else 1.0)
                self.room[key] = program.variable(low, high, integer=True)
                # Where time begins, a tensor is in a tier or not: a part of it has no moves that brought it.
                self.come[key] = program.variable(low, high, integer=at == 0 and not problem.cyclic)
                # The compute tier's copy needs no ready of its own where nothing is carried on from there.
                self.ready[key] = program.variable(low, high, integer=tier.name in sources)
                program.row({self.come[key]: 1.0, self.ready[key]: -1.0}, low=0.0)
        for route in problem.routes:
            for at in alive:
                if at == tensor.produced:
                    continue
                energy = tensor.bytes * route.energy_j_per_byte / self.unit
                cost = energy if self.objective == "energy" else 0.0
                moved = program.variable(0.0, 1.0, cost=cost)
                self.move[tensor.name, route.source, route.target, at] = moved
                program.row({self.ready[tensor.name, route.source, at]: 1.0, moved: -1.0}, low=0.0)
        for at in alive:
            program.row({self.ready[tensor.name, tier.name, at]: 1.0 for tier in problem.tiers}, low=1.0)
            for tier in problem.tiers:
                self._arrive(tensor, tier.name, at)

    def _arrive(self, tensor: Tensor, tier: str, at: int) -> None:
        problem, program = self.problem, self.program
        moved = [
            self.move.get((tensor.name, route.source, tier, at)) for route in problem.routes if route.target == tier
        ]
        arriving = {column: 1.0 for column in moved if column is not None}
        key = (tensor.name, tier, at)
        program.row({self.room[key]: 1.0, self.come[key]: -1.0, **dict.fromkeys(arriving, -1.0)}, low=0.0)
        after = self._next(at)
        if after is not None and (tensor.name, tier, after) in self.come:
            program.row({self.come[key]: 1.0, self.come[tensor.name, tier, after]: -1.0, **arriving}, low=0.0)

    def _capacities(self) -> None:
        problem = self.problem
        for tier in problem.tiers:
            if self.elastic:
                self.extra[tier.name] = self.program.variable()
            if self.objective == "cost" and tier.price_per_byte:
                self.peak[tier.name] = self.program.variable(cost=tier.price_per_byte * self.size_scale / self.unit)
            for at, interval in enumerate(problem.intervals):
                arena = interval.arena_bytes if tier.name == problem.compute else 0.0
                row = {
                    self.room[tensor.name, tier.name, at]: tensor.bytes / self.size_scale
                    for tensor in problem.tensors
                    if (tensor.name, tier.name, at) in self.room
                }
                added = {self.extra[tier.name]: -1.0} if self.elastic else {}
                self.program.row({**row, **added}, high=(tier.capacity_bytes - arena) / self.size_scale)
                if tier.name in self.peak:
                    self.program.row({**row, self.peak[tier.name]: -1.0}, high=-arena / self.size_scale)

    def _resources(self) -> None:
        problem = self.problem
        rows: list[dict[str, dict[int, float]]] = [{name: {} for name in problem.resources} for _ in problem.intervals]
        for (name, source, target, at), moved in self.move.items():
            for resource, rate in problem.route[source, target].s_per_byte:
                rows[at][resource][moved] = problem.tensor[name].bytes * rate / self.time_scale
        for tensor in problem.tensors:
            for at, size in tensor.written:
                for tier in problem.tiers:
                    route = problem.route.get((problem.compute, tier.name))
                    if tier.name == problem.compute or (tensor.name, tier.name, at) not in self.room:
                        continue
                    room = self.room[tensor.name, tier.name, at]
                    if route is None:
                        self.program.row({room: 1.0}, high=0.0)
                        continue
                    if self.objective == "energy":
                        self.program.costs[room] += size * route.energy_j_per_byte / self.unit
                    for resource, rate in route.s_per_byte:
                        row = rows[at][resource]
                        row[room] = row.get(room, 0.0) + size * rate / self.time_scale
        for at, interval in enumerate(problem.intervals):
            busy = dict(interval.busy_s)
            for resource, row in rows[at].items():
                if row:
                    high = -busy.get(resource, 0.0) / self.time_scale
                    self.program.row({**row, self.interval[at]: -1.0}, high=high)

    # Plans

    def start_from(self, plan: TierPlan) -> list[float]:
        """The values of all variables that stand for ``plan``."""
        values = [0.0] * len(self.program.costs)
        for column, length in zip(self.interval, plan.lengths_s(self.problem), strict=True):
            values[column] = length / self.time_scale
        for name, size in plan.peak_bytes(self.problem).items():
            if name in self.peak:
                values[self.peak[name]] = size / self.size_scale
        shares: dict[Key, float] = {}
        for move in plan.moves:
            column = self.move[move.tensor, move.source, move.target, move.interval]
            values[column] += move.share
            key = (move.tensor, move.target, move.interval)
            shares[key] = shares.get(key, 0.0) + move.share
        for stay in plan.stays:
            have = 0.0 if stay.arriving else 1.0
            for step in range(stay.count):
                key = (stay.tensor, stay.tier, (stay.first + step) % self.length)
                whole = step >= stay.arriving
                values[self.room[key]] = 1.0
                values[self.come[key]] = 1.0 if whole else have
                values[self.ready[key]] = 1.0 if whole else 0.0
                have = min(1.0, have + shares.get(key, 0.0))
        return values

    def plan_of(self, solution: Solution) -> TierPlan:
        """The plan a solution stands for: room that is neither filled nor being filled is given back."""
        values = solution.values
        stays: list[Stay] = []
        moves: list[Move] = []
        carried: dict[Key, list[tuple[str, float]]] = {}
        for (name, source, target, at), column in self.move.items():
            if values[column] > 1e-7:
                carried.setdefault((name, target, at), []).append((source, values[column]))
        for tensor in self.problem.tensors:
            for tier in self.problem.tiers:
                found, used = self._stays(tensor, tier.name, values, carried)
                stays += found
                moves += used
        return TierPlan(tuple(stays), tuple(moves))

    def _stays(
        self, tensor: Tensor, tier: str, values: Sequence[float], carried: Mapping[Key, list[tuple[str, float]]]
    ) -> tuple[list[Stay], list[Move]]:
        """The stays of one tensor in one tier, each with the moves that fill it."""
        name = tensor.name
        come, moved = {}, {}
        for at in self.problem.alive(tensor):
            key = (name, tier, at)
            moved[at] = sum(share for _, share in carried.get(key, ()))
            come[at] = values[self.come[key]] if values[self.room[key]] > 0.5 else 0.0
        stays, moves = [], []
        for part in self._parts(come, moved):
            whole = next((step for step, at in enumerate(part) if come[at] >= 1 - _WHOLE), None)
            if whole is None:
                continue
            shares = [(at, source, share) for at in part[:whole] for source, share in carried.get((name, tier, at), ())]
            total = sum(share for *_, share in shares)
            stays.append(Stay(name, tier, part[0], len(part), whole))
            moves += [Move(name, source, tier, at, share / total) for at, source, share in shares]
        return stays, moves

    def _parts(self, come: Mapping[int, float], moved: Mapping[int, float]) -> list[list[int]]:
        """Intervals in a row in which the tensor is there or coming, cut where it is dropped and comes anew."""
        taken = [at for at in come if come[at] > _WHOLE or moved[at] > 0]
        parts: list[list[int]] = []
        for at in taken:
            goes_on = parts and parts[-1][-1] == at - 1 and come[at] >= come[at - 1] + moved[at - 1] - _WHOLE
            if goes_on:
                parts[-1].append(at)
            else:
                parts.append([at])
        ends = self.problem.cyclic and len(parts) > 1 and parts[0][0] == 0 and parts[-1][-1] == self.length - 1
        if ends and come[0] >= come[self.length - 1] + moved[self.length - 1] - _WHOLE:
            first = parts.pop(0)
            parts[-1] += first
        elif (
            self.problem.cyclic and len(parts) == 1 and len(parts[0]) == self.length and min(come.values()) < 1 - _WHOLE
        ):
            # It takes room throughout, and comes anew once: the stay begins where it is least whole.
            start = min(come, key=lambda at: come[at])
            parts = [[*range(start, self.length), *range(start)]]
        return parts

    def prefer_fewer_bytes(self, value: float) -> None:
        """From now on minimise the bytes that are moved, at an objective of no more than ``value`` times `unit`."""
        costs = self.program.costs
        self.program.row(dict(enumerate(costs)), high=value * (1 + _SLACK) + _SLACK)
        self.program.costs = [0.0] * len(costs)
        for (name, *_), column in self.move.items():
            self.program.costs[column] = self.problem.tensor[name].bytes / self.size_scale
