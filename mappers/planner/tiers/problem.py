"""Placement over tiers with deadlines, as a problem: tensors, what reads them when, and what carries them there.

Time is a row of intervals between operation boundaries. In an interval the operations compute on one tier, and every
tensor they read must be whole in that tier when the interval begins. A problem that is ``cyclic`` repeats for ever:
what stands at its end stands at its beginning, as in the steps of a decode. One that is not starts with every tensor
where the plan likes, at no cost.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

from workloads.errors import InputError, unknown_name

__all__ = ["Interval", "Route", "Tensor", "Tier", "TierProblem"]


@dataclass(frozen=True)
class Tier:
    """``capacity_bytes`` that can be had at ``price_per_byte``, in any currency (0: it counts for nothing)."""

    name: str
    capacity_bytes: float
    price_per_byte: float = 0.0


@dataclass(frozen=True)
class Route:
    """A way from tier to tier: the seconds per byte for which it occupies each resource, and joules per byte.

    Routes that name the same resource (a host bridge, a tier's port) take turns on it. ``latency_s`` is the time to
    the first byte, which a plan leaves to the simulator.
    """

    source: str
    target: str
    s_per_byte: tuple[tuple[str, float], ...]
    energy_j_per_byte: float = 0.0
    latency_s: float = 0.0


@dataclass(frozen=True)
class Interval:
    """Operations that take ``duration_s`` when nothing is missing.

    ``busy_s`` is what they occupy of resources that routes use as well; ``arena_bytes`` what they need in the compute
    tier beside the tensors.
    """

    name: str
    duration_s: float
    busy_s: tuple[tuple[str, float], ...] = ()
    arena_bytes: float = 0.0


@dataclass(frozen=True)
class Tensor:
    """``bytes`` that the intervals ``reads`` need in the compute tier.

    ``written`` lists (interval, bytes) that operations add to it or change: every copy that is kept elsewhere is
    brought up to date in that interval. A tensor that is ``produced`` in an interval comes to life in the compute tier
    then and dies after its last read; the others always exist. ``home`` names a tier that keeps a copy throughout;
    ``group`` is what the tensor is for.
    """

    name: str
    bytes: float
    reads: tuple[int, ...]
    written: tuple[tuple[int, float], ...] = ()
    produced: int | None = None
    home: str | None = None
    group: str = "other"


@dataclass(frozen=True)
class TierProblem:
    """Raises `InputError` for names that are given twice or unknown, for sizes below 0, and for intervals outside."""

    name: str
    compute: str
    tiers: tuple[Tier, ...]
    routes: tuple[Route, ...]
    intervals: tuple[Interval, ...]
    tensors: tuple[Tensor, ...]
    cyclic: bool = True
    static_power_w: float = 0.0

    def __post_init__(self) -> None:
        _unique("tier", (tier.name for tier in self.tiers))
        _unique("tensor", (tensor.name for tensor in self.tensors))
        _unique("route", (f"{route.source} to {route.target}" for route in self.routes))
        names = {tier.name for tier in self.tiers}
        if not self.intervals:
            raise InputError("no intervals", "at least one", "intervals")
        for name in (self.compute, *(end for route in self.routes for end in (route.source, route.target))):
            if name not in names:
                raise unknown_name("tier", name, names)
        sizes = [("capacity", tier.name, tier.capacity_bytes) for tier in self.tiers]
        sizes += [("size", tensor.name, tensor.bytes) for tensor in self.tensors]
        sizes += [("duration", interval.name, interval.duration_s) for interval in self.intervals]
        sizes += [("arena", interval.name, interval.arena_bytes) for interval in self.intervals]
        sizes += [("rate", f"{r.source} to {r.target}", rate) for r in self.routes for _, rate in r.s_per_byte]
        for what, name, size in sizes:
            if not (size >= 0 and math.isfinite(size)):
                raise InputError(f"{what} {size!r} of {name!r}", "a finite number of 0 or more")
        for tensor in self.tensors:
            self._check(tensor, names)

    def _check(self, tensor: Tensor, tiers: set[str]) -> None:
        if tensor.home is not None and tensor.home not in tiers:
            raise unknown_name("tier", tensor.home, tiers, field=f"{tensor.name}.home")
        produced = () if tensor.produced is None else (tensor.produced,)
        for at in (*tensor.reads, *produced, *(at for at, _ in tensor.written)):
            if not 0 <= at < len(self.intervals):
                raise InputError(f"interval {at} of {tensor.name!r}", f"0 to {len(self.intervals) - 1}")
        if tuple(sorted(set(tensor.reads))) != tensor.reads:
            raise InputError(f"reads of {tensor.name!r} are not in rising order", "each interval once")
        if tensor.produced is not None:
            if self.cyclic:
                raise InputError(f"{tensor.name!r} is produced", "no produced tensors in a cyclic problem")
            if not tensor.reads or tensor.reads[0] <= tensor.produced:
                raise InputError(f"{tensor.name!r} is not read after it is produced", "a later read")

    @cached_property
    def tier(self) -> dict[str, Tier]:
        """Tiers by name."""
        return {tier.name: tier for tier in self.tiers}

    @cached_property
    def tensor(self) -> dict[str, Tensor]:
        """Tensors by name."""
        return {tensor.name: tensor for tensor in self.tensors}

    @cached_property
    def route(self) -> dict[tuple[str, str], Route]:
        """Routes by source and target."""
        return {(route.source, route.target): route for route in self.routes}

    @cached_property
    def resources(self) -> tuple[str, ...]:
        """Every resource that routes occupy, in the order in which they name them."""
        return tuple(dict.fromkeys(name for route in self.routes for name, _ in route.s_per_byte))

    @property
    def compute_s(self) -> float:
        """Duration of all intervals without a stall."""
        return sum(interval.duration_s for interval in self.intervals)

    def alive(self, tensor: Tensor) -> range:
        """The intervals in which the tensor exists."""
        if tensor.produced is None:
            return range(len(self.intervals))
        return range(tensor.produced, tensor.reads[-1] + 1)

    def route_bandwidth(self, source: str, target: str) -> float:
        """Bytes per second over a route that nothing else uses."""
        slowest = max((rate for _, rate in self.route[source, target].s_per_byte), default=0.0)
        return 1 / slowest if slowest else math.inf

    def order(self) -> tuple[str, ...]:
        """The compute tier, then the others by falling bandwidth into it; those without a route come last."""

        def slowness(name: str) -> float:
            there = (name, self.compute) in self.route
            return 1 / self.route_bandwidth(name, self.compute) if there else math.inf

        return (self.compute, *sorted((t.name for t in self.tiers if t.name != self.compute), key=slowness))


def _unique(what: str, names: Iterable[str]) -> None:
    seen: set[str] = set()
    for name in names:
        if name in seen:
            raise InputError(f"{what} {name!r} is given twice", "each name once")
        seen.add(name)
