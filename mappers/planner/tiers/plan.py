"""A plan over tiers: where each tensor stays during which intervals, and what moves in which interval."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mappers.planner.tiers.problem import TierProblem

__all__ = ["Arrival", "Move", "Objective", "PlacementResult", "Status", "Stay", "TierPlan"]

Status = Literal["proved_optimal", "feasible", "infeasible", "unknown"]
Objective = Literal["latency", "energy", "cost"]


@dataclass(frozen=True)
class Stay:
    """A tensor takes its whole room in a tier for ``count`` intervals from ``first`` on, round the end where cyclic.

    During the first ``arriving`` of them it is on its way; it is whole from then on.
    """

    tensor: str
    tier: str
    first: int
    count: int
    arriving: int = 0

    def whole(self, length: int) -> Iterator[int]:
        """The intervals, of ``length`` in a cycle, at whose beginning the tensor is whole there."""
        return ((self.first + step) % length for step in range(self.arriving, self.count))

    def covered(self, length: int) -> Iterator[int]:
        """The intervals in which it takes room."""
        return ((self.first + step) % length for step in range(self.count))


@dataclass(frozen=True)
class Move:
    """``share`` of a tensor travels from tier to tier during ``interval``."""

    tensor: str
    source: str
    target: str
    interval: int
    share: float


@dataclass(frozen=True)
class Arrival:
    """A transfer with its deadline: the interval at whose beginning it must be whole, and the time to spare."""

    tensor: str
    source: str
    target: str
    first: int
    last: int
    deadline: int
    slack_s: float


@dataclass(frozen=True)
class TierPlan:
    """Stays and moves; what follows from them is computed against the problem."""

    stays: tuple[Stay, ...]
    moves: tuple[Move, ...]

    def loads_s(self, problem: TierProblem) -> list[dict[str, float]]:
        """Seconds for which each resource is occupied in each interval: operations, moves and updates of copies."""
        loads = [dict.fromkeys(problem.resources, 0.0) for _ in problem.intervals]
        for load, interval in zip(loads, problem.intervals, strict=True):
            for name, seconds in interval.busy_s:
                load[name] = load.get(name, 0.0) + seconds
        for at, source, target, size in self.traffic(problem):
            for name, rate in problem.route[source, target].s_per_byte:
                loads[at][name] += size * rate
        return loads

    def traffic(self, problem: TierProblem) -> Iterator[tuple[int, str, str, float]]:
        """Interval, source, target and bytes of everything that travels, updates of copies included."""
        for move in self.moves:
            yield move.interval, move.source, move.target, move.share * problem.tensor[move.tensor].bytes
        for stay in self.stays:
            tensor = problem.tensor[stay.tensor]
            if tensor.written and stay.tier != problem.compute:
                held = set(stay.covered(len(problem.intervals)))
                for at, size in tensor.written:
                    if at in held:
                        yield at, problem.compute, stay.tier, size

    def lengths_s(self, problem: TierProblem) -> list[float]:
        """How long each interval takes: its operations, or the resource that is occupied longest."""
        loads = self.loads_s(problem)
        return [
            max(interval.duration_s, *load.values(), 0.0)
            for interval, load in zip(problem.intervals, loads, strict=True)
        ]

    def latency_s(self, problem: TierProblem) -> float:
        """All intervals with their stalls."""
        return sum(self.lengths_s(problem))

    def stall_s(self, problem: TierProblem) -> float:
        """Time beyond the intervals' own."""
        return self.latency_s(problem) - problem.compute_s

    def moved_bytes(self, problem: TierProblem) -> float:
        """Bytes that travel."""
        return sum(size for *_, size in self.traffic(problem))

    def energy_j(self, problem: TierProblem) -> float:
        """Energy of what travels, and of the static power over the latency; that of the operations is not in it."""
        moved = sum(size * problem.route[a, b].energy_j_per_byte for _, a, b, size in self.traffic(problem))
        return moved + problem.static_power_w * self.latency_s(problem)

    def occupied_bytes(self, problem: TierProblem) -> dict[str, list[float]]:
        """Bytes taken in each tier in each interval, the arena included."""
        length = len(problem.intervals)
        taken = {tier.name: [0.0] * length for tier in problem.tiers}
        taken[problem.compute] = [interval.arena_bytes for interval in problem.intervals]
        for stay in self.stays:
            for at in stay.covered(length):
                taken[stay.tier][at] += problem.tensor[stay.tensor].bytes
        return taken

    def peak_bytes(self, problem: TierProblem) -> dict[str, float]:
        """The most bytes each tier holds."""
        return {name: max(taken) for name, taken in self.occupied_bytes(problem).items()}

    def price(self, problem: TierProblem) -> float:
        """What the peaks cost."""
        return sum(size * problem.tier[name].price_per_byte for name, size in self.peak_bytes(problem).items())

    def objective(self, problem: TierProblem, objective: Objective) -> float:
        """The value that is minimised: seconds, joules or money."""
        value = {"latency": self.latency_s, "energy": self.energy_j, "cost": self.price}[objective]
        return value(problem)

    def arrivals(self, problem: TierProblem) -> list[Arrival]:
        """Every transfer with its deadline, in the order of the deadlines.

        The slack is the time between the end of the interval of the last byte and the deadline, and what is left of
        that interval on the route's busiest resource.
        """
        length = len(problem.intervals)
        lengths, loads = self.lengths_s(problem), self.loads_s(problem)
        moves: dict[tuple[str, str], list[Move]] = {}
        for move in self.moves:
            moves.setdefault((move.tensor, move.target), []).append(move)
        found = []
        for stay in self.stays:
            window = {(stay.first + step) % length: step for step in range(stay.arriving)}
            mine = [m for m in moves.get((stay.tensor, stay.tier), ()) if m.interval in window]
            if not mine:
                continue
            steps = sorted(window[move.interval] for move in mine)
            last = (stay.first + steps[-1]) % length
            route = problem.route[mine[0].source, stay.tier]
            spare = lengths[last] - max((loads[last][name] for name, _ in route.s_per_byte), default=0.0)
            wait = sum(lengths[(stay.first + step) % length] for step in range(steps[-1] + 1, stay.arriving))
            first, deadline = (stay.first + steps[0]) % length, (stay.first + stay.arriving) % length
            found.append(Arrival(stay.tensor, mine[0].source, stay.tier, first, last, deadline, wait + max(0.0, spare)))
        return sorted(found, key=lambda arrival: (arrival.deadline, arrival.tensor))


@dataclass(frozen=True)
class PlacementResult:
    """A plan and what is known about how good it is.

    ``bound`` is below the objective of every plan, in its unit. ``certificate`` says why; ``backend`` what found the
    plan. When nothing fits, ``extra_bytes`` of capacity are missing: no plan exists with less added to the tiers
    together. ``extra_by_tier`` is an addition with which one exists, as small as that when both sums agree.
    """

    status: Status
    objective: Objective
    plan: TierPlan | None
    value: float | None
    bound: float
    certificate: str
    backend: str
    seconds: float
    extra_bytes: float | None = None
    extra_by_tier: tuple[tuple[str, float], ...] | None = None

    @property
    def gap(self) -> float | None:
        """How far the value is above the bound, as a share of the bound."""
        if self.value is None or self.bound <= 0:
            return 0.0 if self.value == 0 else None
        return max(0.0, self.value / self.bound - 1)

    def to_json(self) -> dict[str, Any]:
        """Plain values; the plan is listed stay by stay and move by move."""
        document = {name: value for name, value in vars(self).items() if name != "plan"} | {"gap": self.gap}
        if self.plan is not None:
            document["stays"] = [asdict(stay) for stay in self.plan.stays]
            document["moves"] = [asdict(move) for move in self.plan.moves]
        return document
