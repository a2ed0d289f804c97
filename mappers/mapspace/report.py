"""What a mapping costs, and what a search found: values that print themselves and turn into JSON."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from mappers.mapspace.mapping import Mapping

__all__ = ["EinsumCost", "MappingCost", "SearchResult", "Traffic"]


@dataclass(frozen=True, slots=True)
class Traffic:
    """Bits read from and written to one level for one tensor, summed over instances."""

    read_bits: float
    write_bits: float


@dataclass(frozen=True)
class EinsumCost:
    """One Einsum under a mapping.

    ``times_s`` names every resource (``dram``, ``glb read``, ``mac``, ...) with the time it is busy; ``energy_j`` names
    levels and units. ``cycles`` are those of a systolic array (``total``, of it ``compute``, ``prefetch`` and
    ``drain``), empty elsewhere.
    """

    einsum: str
    unit: str
    times_s: dict[str, float]
    energy_j: dict[str, float]
    traffic: dict[str, dict[str, Traffic]]
    utilisation: float
    cycles: dict[str, int] = field(default_factory=dict)

    @property
    def latency_s(self) -> float:
        """Time of the Einsum alone: its busiest resource."""
        return max(self.times_s.values())

    @property
    def bound(self) -> str:
        """The busiest resource."""
        return max(self.times_s, key=lambda name: self.times_s[name])


@dataclass(frozen=True)
class MappingCost:
    """A whole mapping: ``usage_bits`` is the most that each level's fullest instance holds at any time.

    ``utilisation`` is each unit's share of useful cycles over the latency.
    """

    einsums: tuple[EinsumCost, ...]
    latency_s: float
    energy_j: float
    usage_bits: dict[str, float]
    utilisation: dict[str, float]

    @property
    def edp(self) -> float:
        """Energy-delay product in joule-seconds."""
        return self.energy_j * self.latency_s

    def traffic(self) -> dict[str, dict[str, Traffic]]:
        """Bits by level and tensor, summed over Einsums."""
        total: dict[str, dict[str, Traffic]] = {}
        for einsum in self.einsums:
            for level, tensors in einsum.traffic.items():
                row = total.setdefault(level, {})
                for tensor, bits in tensors.items():
                    old = row.get(tensor, Traffic(0.0, 0.0))
                    row[tensor] = Traffic(old.read_bits + bits.read_bits, old.write_bits + bits.write_bits)
        return total


@dataclass(frozen=True)
class SearchResult:
    """The best mapping found, its cost, and the proof.

    ``lower_bound`` is a value of the objective that no mapping of the map space goes below: ``gap`` is how far the
    result may be from it, relative to the result, and 0 when the search was exhausted. ``bounds`` holds bounds that
    hold for every execution whatever its mapping (joules, seconds, bits).
    """

    objective: str
    mapping: Mapping
    cost: MappingCost
    lower_bound: float
    bounds: dict[str, float]
    candidates: int
    seconds: float

    @property
    def value(self) -> float:
        """The objective reached."""
        values = {"energy": self.cost.energy_j, "latency": self.cost.latency_s, "edp": self.cost.edp}
        return values[self.objective]

    @property
    def gap(self) -> float:
        """Relative distance from the proven bound: 0 when nothing better is left in the map space."""
        return max(0.0, 1.0 - self.lower_bound / self.value) if self.value > 0 else 0.0

    @property
    def optimal(self) -> bool:
        """True when the gap is 0 up to rounding."""
        return self.gap <= 1e-9

    def to_json(self) -> dict[str, Any]:
        """The result without its mapping, as JSON values."""
        return {
            "objective": self.objective,
            "energy_j": self.cost.energy_j,
            "latency_s": self.cost.latency_s,
            "edp": self.cost.edp,
            "traffic_bits": {
                level: {name: {"read": t.read_bits, "write": t.write_bits} for name, t in row.items()}
                for level, row in self.cost.traffic().items()
            },
            "utilisation": self.cost.utilisation,
            "usage_bits": self.cost.usage_bits,
            "lower_bound": {"value": self.lower_bound, **self.bounds},
            "gap": self.gap,
            "optimal": self.optimal,
            "candidates": self.candidates,
            "seconds": self.seconds,
        }
