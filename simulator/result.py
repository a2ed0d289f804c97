"""What a simulation returns: latency, energy, use and capacity of every part, and where the time went."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from mappers.planner.placement import MemoryPlan
from simulator.engine import Execution
from workloads.workload import Role

__all__ = ["Bounds", "OpRow", "Result"]


@dataclass(frozen=True)
class OpRow:
    """One operation of one kind of layer: ``count`` executions of ``time_s`` each, with operands in the home tier."""

    layer: str
    op: str
    kind: str
    count: int
    time_s: float
    bound: str
    operations: float
    bytes: float

    @property
    def total_s(self) -> float:
        """Time of all executions."""
        return self.count * self.time_s

    @property
    def intensity_ops_per_byte(self) -> float:
        """Operational intensity against the home tier."""
        return self.operations / self.bytes if self.bytes else 0.0


@dataclass(frozen=True)
class Bounds:
    """Times that no schedule beats: all operations at peak rate, all bytes of a tier or fabric at full bandwidth."""

    compute_s: float
    bytes_s: float

    @property
    def latency_s(self) -> float:
        """The larger of the two."""
        return max(self.compute_s, self.bytes_s)


@dataclass(frozen=True)
class Result:
    """One simulated phase. Energies are of all devices together, everything else of one device.

    ``steps`` is how many steps were simulated one after another; ``latency_s`` is the time of one (their mean).
    ``energy_j`` goes by component, with ``static`` for idle power over the time, per step.
    ``time_by_bound_s`` adds up to ``latency_s``. ``mfu`` is a training step's share of the devices' peak that the
    model's own FLOPs take (`workloads.models.flops.model_flops`), None of other phases.
    """

    model: str
    system: str
    phase: str
    batch: int
    context: int
    devices: int
    fidelity: str
    formats: dict[str, str]
    steps: int
    latency_s: float
    tokens: int
    energy_j: dict[str, float]
    utilisation: dict[str, float]
    moved_bytes: dict[str, float]
    peak_bytes: Mapping[str, float]
    capacity_bytes: dict[str, float]
    placement_bytes: dict[Role, dict[str, float]]
    time_by_bound_s: dict[str, float]
    bounds: Bounds
    ops: tuple[OpRow, ...]
    notes: tuple[str, ...]
    plan: MemoryPlan
    execution: Execution
    mfu: float | None = None

    @property
    def tokens_per_s(self) -> float:
        """Tokens through the model per second, over the whole batch."""
        return self.tokens / self.latency_s

    @property
    def total_energy_j(self) -> float:
        """Energy of all components and devices for one step."""
        return sum(self.energy_j.values())

    @property
    def bottleneck(self) -> str:
        """What most of the time is charged to."""
        return max(self.time_by_bound_s, key=lambda name: (self.time_by_bound_s[name], name))

    def to_json(self) -> dict[str, Any]:
        """Everything but plan and execution, as plain values; the derived figures are written out."""
        document = {
            name: value
            for name, value in vars(self).items()
            if name not in ("execution", "plan", "ops", "bounds", "notes", "mfu")
        }
        if self.mfu is not None:
            document["mfu"] = self.mfu
        document |= {
            "tokens_per_s": self.tokens_per_s,
            "total_energy_j": self.total_energy_j,
            "bottleneck": self.bottleneck,
            "bounds": {**asdict(self.bounds), "latency_s": self.bounds.latency_s},
            "ops": [
                {**asdict(row), "total_s": row.total_s, "intensity_ops_per_byte": row.intensity_ops_per_byte}
                for row in self.ops
            ],
            "notes": list(self.notes),
        }
        return document
