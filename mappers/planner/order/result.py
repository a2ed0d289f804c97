"""An order of operations, the offsets of its tensors, and what is known about how good they are."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mappers.planner.allocation.problem import AllocationProblem
from mappers.planner.allocation.result import Allocation, Status

__all__ = ["OrderPlan", "PlannedMemory", "standing"]


@dataclass(frozen=True)
class OrderPlan:
    """Operations in order, and the standing of their peak.

    The words are those of `Allocation`: ``proved_optimal``, ``feasible``, ``infeasible``, ``unknown``. There is always
    an order; in the last two cases its peak exceeds the capacity. The peak is that of the bytes held (contention):
    what offsets make of it is for `PlannedMemory`.
    """

    status: Status
    order: tuple[str, ...]
    peak_bytes: int
    lower_bound_bytes: int
    capacity_bytes: int | None
    certificate: str
    backend: str
    nodes: int
    seconds: float
    stopped: str | None = None

    @property
    def fits(self) -> bool:
        return self.status in ("proved_optimal", "feasible")

    @property
    def extra_bytes(self) -> tuple[int, int]:
        """Capacity that is missing: at least, and what would do; (0, 0) when it fits."""
        if self.fits or self.capacity_bytes is None:
            return 0, 0
        return max(0, self.lower_bound_bytes - self.capacity_bytes), self.peak_bytes - self.capacity_bytes


@dataclass(frozen=True)
class PlannedMemory:
    """An order with an offset for each buffer; tensors that overwrite one another share a buffer.

    The bound holds for every order and all offsets, as no offsets take less than the bytes held at once.
    """

    order: OrderPlan
    problem: AllocationProblem
    allocation: Allocation
    buffer_of: dict[str, str]
    """The buffer of each tensor that has bytes."""

    @property
    def peak_bytes(self) -> int:
        return max(self.allocation.peak_bytes or 0, self.order.peak_bytes)

    @property
    def lower_bound_bytes(self) -> int:
        return self.order.lower_bound_bytes

    @property
    def status(self) -> Status:
        return standing(self.peak_bytes, self.lower_bound_bytes, self.order.capacity_bytes)

    @property
    def fits(self) -> bool:
        return self.status in ("proved_optimal", "feasible")

    @property
    def extra_bytes(self) -> tuple[int, int]:
        """As `OrderPlan.extra_bytes`, with offsets."""
        if self.fits or self.order.capacity_bytes is None:
            return 0, 0
        capacity = self.order.capacity_bytes
        return max(0, self.lower_bound_bytes - capacity), self.peak_bytes - capacity

    @property
    def gap(self) -> float | None:
        """How far the peak is above the bound, as a share of the bound; None for a bound of 0."""
        return self.peak_bytes / self.lower_bound_bytes - 1 if self.lower_bound_bytes else None

    def to_json(self) -> dict[str, Any]:
        """Every figure, as plain values."""
        least, enough = self.extra_bytes
        order = self.order
        return {
            "status": self.status,
            "peak_bytes": self.peak_bytes,
            "held_peak_bytes": order.peak_bytes,
            "lower_bound_bytes": self.lower_bound_bytes,
            "gap": self.gap,
            "capacity_bytes": order.capacity_bytes,
            "extra_bytes": {"at_least": least, "enough": enough},
            "certificate": order.certificate,
            "backend": order.backend,
            "offsets_by": self.allocation.backend,
            "nodes": order.nodes,
            "seconds": order.seconds,
            "stopped": order.stopped,
            "order": list(order.order),
        }


def standing(peak_bytes: int, lower_bound_bytes: int, capacity_bytes: int | None) -> Status:
    """What a known peak and a proven bound say together."""
    if capacity_bytes is None or peak_bytes <= capacity_bytes:
        return "proved_optimal" if peak_bytes <= lower_bound_bytes else "feasible"
    return "infeasible" if lower_bound_bytes > capacity_bytes else "unknown"
