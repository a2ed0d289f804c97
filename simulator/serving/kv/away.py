"""Tiers beside the one that computes, where keys and values may wait or stay."""

from __future__ import annotations

from dataclasses import dataclass, field

from hw.spec.system import System
from mappers.planner.placement import path_bandwidth, tier_capacity
from simulator.transport import transfer_latency_s
from workloads.errors import InputError

__all__ = ["AwayTier", "AwayTiers", "away_tier", "remote_tier"]


@dataclass(frozen=True)
class AwayTier:
    """A tier as all devices of a replica see it together. ``in_bytes_per_s`` is towards the tier that computes."""

    name: str
    capacity_bytes: float
    in_bytes_per_s: float
    out_bytes_per_s: float
    in_latency_s: float = 0.0
    out_latency_s: float = 0.0

    def in_s(self, amount_bytes: float) -> float:
        """Seconds to bring ``amount_bytes`` back."""
        return self.in_latency_s + amount_bytes / self.in_bytes_per_s

    def out_s(self, amount_bytes: float) -> float:
        """Seconds to move ``amount_bytes`` out."""
        return self.out_latency_s + amount_bytes / self.out_bytes_per_s


@dataclass
class AwayTiers:
    """``tiers`` in the order in which they are filled, with what is taken of each."""

    tiers: tuple[AwayTier, ...]
    taken: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not self.tiers:
            raise InputError("no tier to move keys and values to", "at least one", "tiers")
        self.taken = [0] * len(self.tiers)

    def room(self, tier: int) -> int:
        """Free bytes of tier number ``tier``."""
        return int(self.tiers[tier].capacity_bytes) - self.taken[tier]

    def first_with(self, amount_bytes: int) -> int | None:
        """The first tier with room for ``amount_bytes`` in one."""
        return next((tier for tier in range(len(self.tiers)) if self.room(tier) >= amount_bytes), None)

    @property
    def capacity_bytes(self) -> int:
        """Of all tiers."""
        return sum(int(tier.capacity_bytes) for tier in self.tiers)

    @property
    def used_bytes(self) -> int:
        """Taken of all tiers."""
        return sum(self.taken)


def away_tier(system: System, name: str, home: str, capacity_bytes: float | None = None) -> AwayTier:
    """Tier ``name`` of ``system`` beside ``home``, for all its devices: bandwidth and latency of the route.

    ``capacity_bytes`` replaces the tier's whole capacity. Raises `InputError` for a tier that is not there, cannot be
    reached, or is ``home``.
    """
    if name == home:
        raise InputError(f"tier {name!r} is the one that computes", "another tier", "kv")
    reaches_in = path_bandwidth(system, name, home) * system.devices
    return AwayTier(
        name=name,
        capacity_bytes=tier_capacity(system, name) * system.devices if capacity_bytes is None else capacity_bytes,
        in_bytes_per_s=reaches_in,
        out_bytes_per_s=path_bandwidth(system, home, name) * system.devices,
        in_latency_s=transfer_latency_s(system, name, home),
        out_latency_s=transfer_latency_s(system, home, name),
    )


def remote_tier(system: System, capacity_bytes: float) -> AwayTier:
    """Memory of other devices behind the system's fabric, as Infinite-LLM (arXiv 2401.02669) borrows it."""
    if system.fabric is None:
        raise InputError(f"{system.name} has no fabric to other devices", "a system with a fabric", "kv")
    bandwidth, latency = system.fabric.bandwidth_bytes_per_s * system.devices, system.fabric.latency_s
    return AwayTier("remote", capacity_bytes, bandwidth, bandwidth, latency, latency)
