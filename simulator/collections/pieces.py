"""How much slower than in order the devices behind tiers and links move pieces that lie apart."""

from __future__ import annotations

from simulator.cycle import CycleService
from simulator.interconnect.links import protocol_efficiency
from simulator.memory.traffic import SEQUENTIAL_BYTES, Demand
from simulator.transport import Slowness

__all__ = ["piece_slowness"]


def piece_slowness(cycle: CycleService, piece_bytes: float) -> Slowness:
    """The slowness of reading pieces of ``piece_bytes`` from where they live; they are written side by side."""
    piece = min(piece_bytes, float(SEQUENTIAL_BYTES))

    def slower(component: str, writes: bool) -> float:
        if writes:
            return 1.0
        if component in cycle.tiers:
            service = cycle.tiers[component]
            return max(1.0, service.fraction(Demand(SEQUENTIAL_BYTES)) / service.fraction(Demand(piece)))
        if component in cycle.links:
            link = cycle.links[component]
            return max(1.0, protocol_efficiency(link, SEQUENTIAL_BYTES) / protocol_efficiency(link, piece))
        return 1.0

    return slower
