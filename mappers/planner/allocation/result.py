"""What an allocation found, and what is known about how good it is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["Allocation", "Status"]

Status = Literal["proved_optimal", "feasible", "infeasible", "unknown"]


@dataclass(frozen=True)
class Allocation:
    """Offsets, and their standing.

    ``proved_optimal``: no plan has a lower peak. ``feasible``: a plan (within the capacity where one was given) whose
    peak may not be the lowest. ``infeasible``: it is proved that nothing fits the capacity. ``unknown``: the time ran
    out before a plan that fits was found and before it was proved that there is none. In the last two cases
    ``offsets`` is the lowest plan found, which exceeds the capacity, or None when there is no plan at all. ``crowd``
    are buffers alive together that do not fit the capacity, none of them needless for that; none where it is not so.
    """

    status: Status
    offsets: tuple[int, ...] | None
    peak_bytes: int | None
    lower_bound_bytes: int
    capacity_bytes: int | None
    certificate: str
    backend: str
    nodes: int
    seconds: float
    stopped: str | None = None
    hints_kept: int = 0
    crowd: tuple[str, ...] = ()

    @property
    def gap(self) -> float | None:
        """How far the peak is above the proven bound, as a share of the bound; None without a plan or a bound of 0."""
        if self.peak_bytes is None or self.lower_bound_bytes == 0:
            return 0.0 if self.peak_bytes == 0 else None
        return self.peak_bytes / self.lower_bound_bytes - 1

    @property
    def fits(self) -> bool:
        return self.status in ("proved_optimal", "feasible")

    @property
    def extra_bytes(self) -> tuple[int, int | None]:
        """Capacity that is missing: at least, and what would do (None when no plan is known); (0, 0) when it fits."""
        if self.fits or self.capacity_bytes is None:
            return 0, 0
        most = None if self.peak_bytes is None else self.peak_bytes - self.capacity_bytes
        return max(0, self.lower_bound_bytes - self.capacity_bytes), most

    def to_json(self) -> dict[str, Any]:
        """Every figure but the offsets, as plain values."""
        least, most = self.extra_bytes
        return {
            "status": self.status,
            "peak_bytes": self.peak_bytes,
            "lower_bound_bytes": self.lower_bound_bytes,
            "gap": self.gap,
            "capacity_bytes": self.capacity_bytes,
            "extra_bytes": {"at_least": least, "enough": most},
            "certificate": self.certificate,
            "backend": self.backend,
            "nodes": self.nodes,
            "seconds": self.seconds,
            "stopped": self.stopped,
            "hints_kept": self.hints_kept,
            "crowd": list(self.crowd),
        }
