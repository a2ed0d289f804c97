"""What a search minimises, and what a part of a cascade tells about the whole.

Energy and latency add up over Einsums, their product does not. To judge one Einsum's nest by the whole cascade's
product, the rest must be bounded from below: by its least energy, by its least latency, and by the least of a mix of
both, which no choice of its nests can undercut either. The product is concave along a line of equal mix, so its least
value over all that the three bounds leave lies at one of two corners.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

__all__ = ["CODES", "Floor", "Goal", "total"]

CODES = {"energy": 0, "latency": 1, "edp": 2, "mix": 3}
"""The numbers by which the compiled enumeration knows the objectives; ``mix`` is ``exchange * energy + latency``."""


@dataclass(frozen=True)
class Floor:
    """The least energy, latency and mix (in seconds) of some Einsums, each by itself."""

    energy_j: float = 0.0
    latency_s: float = 0.0
    mix_s: float = 0.0

    def without(self, other: Floor) -> Floor:
        """The floor of the Einsums but those of ``other``."""
        return Floor(self.energy_j - other.energy_j, self.latency_s - other.latency_s, self.mix_s - other.mix_s)


@dataclass(frozen=True)
class Goal:
    """An objective, the floor of everything else, and ``exchange``: seconds that weigh as much as a joule."""

    objective: str
    exchange: float = 0.0
    rest: Floor = Floor()

    def measure(self, energy_j: float, latency_s: float) -> tuple[float, float]:
        """What the whole comes to at least, and the measure that breaks ties."""
        energy, latency = energy_j + self.rest.energy_j, latency_s + self.rest.latency_s
        if self.objective == "energy":
            return energy, latency
        if self.objective == "latency":
            return latency, energy
        if self.objective == "mix":
            return self.exchange * energy + latency, energy
        value = energy * latency
        if self.exchange > 0.0:
            slow = max(self.rest.latency_s, self.rest.mix_s - self.exchange * self.rest.energy_j)
            hungry = max(self.rest.energy_j, (self.rest.mix_s - self.rest.latency_s) / self.exchange)
            value = max(value, min(energy * (latency_s + slow), (energy_j + hungry) * latency))
        return value, energy


def total(floors: Iterable[Floor]) -> Floor:
    """The floor of several Einsums together."""
    energy = latency = mix = 0.0
    for floor in floors:
        energy, latency, mix = energy + floor.energy_j, latency + floor.latency_s, mix + floor.mix_s
    return Floor(energy, latency, mix)
