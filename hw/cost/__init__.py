"""Area, energy, leakage and time of on-chip memories from their geometry and published technology parameters."""

from hw.cost.sram import SramCost, sram

__all__ = ["SramCost", "sram"]
