"""The bounds of a mapping problem as values that print themselves and turn into JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mappers.bounds.charges import Charge

__all__ = ["EinsumBounds", "ProblemBounds"]


@dataclass(frozen=True)
class EinsumBounds:
    """One Einsum, whatever its mapping.

    ``compulsory_bits`` and ``io_bits`` cross the root for it: each element once, and with the chip's capacity taken
    into account. ``any_schedule_bits`` is the weaker bound that also holds for orders that are no loop nest (None
    where none is known). In a fused cascade Einsums may share traffic: only those marked ``adds`` enter the cascade's
    sum with their ``io_bits``. ``compute_s`` is the time on its best unit ``unit``, ``root_s`` that of its own root
    traffic; ``operations_j`` and ``movement_j`` are joules of arithmetic and of traffic beyond the compulsory.
    """

    einsum: str
    unit: str
    compulsory_bits: float
    io_bits: float
    any_schedule_bits: float | None
    adds: bool
    compute_s: float
    root_s: float
    operations_j: float
    movement_j: float

    @property
    def latency_s(self) -> float:
        """Time of the Einsum alone, at least."""
        return max(self.compute_s, self.root_s)


@dataclass(frozen=True)
class ProblemBounds:
    """What no mapping of a problem onto a machine goes below, independent of the mapping.

    ``root_bits`` is the traffic of the root in both directions; ``energy_j``, ``latency_s`` and ``edp`` are the
    objectives. ``binding`` says for each which part decides. ``indicative`` holds asymptotes whose constants nobody has
    proven: they are for plots and enforce nothing.
    """

    cascade: str
    hierarchy: str
    fuse: bool
    tensors: tuple[Charge, ...]
    einsums: tuple[EinsumBounds, ...]
    compulsory_bits: float
    root_bits: float
    root_s: float
    compute_s: float
    energy_j: float
    latency_s: float
    binding: dict[str, str]
    indicative: dict[str, float]

    @property
    def edp(self) -> float:
        """Energy-delay product in joule-seconds: no mapping has less of either factor."""
        return self.energy_j * self.latency_s

    def value(self, objective: str) -> float:
        """The bound of ``energy``, ``latency`` or ``edp``."""
        return {"energy": self.energy_j, "latency": self.latency_s, "edp": self.edp}[objective]

    def as_dict(self) -> dict[str, float]:
        """The bounds by name, with their units in the names."""
        return {
            "energy_j": self.energy_j,
            "latency_s": self.latency_s,
            "edp": self.edp,
            "root_bits": self.root_bits,
            "compulsory_bits": self.compulsory_bits,
        }

    def to_json(self) -> dict[str, Any]:
        """Everything as JSON values."""
        return {
            "cascade": self.cascade,
            "hierarchy": self.hierarchy,
            "fuse": self.fuse,
            **self.as_dict(),
            "root_s": self.root_s,
            "compute_s": self.compute_s,
            "binding": self.binding,
            "indicative": self.indicative,
            "tensors": [
                {"tensor": c.tensor, "read_bits": c.read_bits, "write_bits": c.write_bits, "why": c.why}
                for c in self.tensors
            ],
            "einsums": [
                {
                    "einsum": e.einsum,
                    "unit": e.unit,
                    "compulsory_bits": e.compulsory_bits,
                    "io_bits": e.io_bits,
                    "any_schedule_bits": e.any_schedule_bits,
                    "adds": e.adds,
                    "compute_s": e.compute_s,
                    "root_s": e.root_s,
                    "operations_j": e.operations_j,
                    "movement_j": e.movement_j,
                }
                for e in self.einsums
            ],
        }

    def __str__(self) -> str:
        kind = "fused" if self.fuse else "unfused"
        lines = [f"Bounds of {self.cascade} on {self.hierarchy}, {kind}: no mapping goes below them"]
        rows = (
            ("root traffic", f"{self.root_bits:,.0f} bit", "root_bits"),
            ("energy", f"{self.energy_j:.6g} J", "energy"),
            ("latency", f"{self.latency_s:.6g} s", "latency"),
            ("EDP", f"{self.edp:.6g} J s", ""),
        )
        for name, value, key in rows:
            lines.append(f"  {name:<13}{value:>24}" + (f"  {self.binding[key]}" if key else ""))
        lines.extend(
            f"  {name:<13}{value:>24,.0f}  indicative, not enforced" for name, value in self.indicative.items()
        )
        return "\n".join(lines)
