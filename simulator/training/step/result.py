"""What a simulated training step over many devices took, held and sent."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from simulator.training.pipeline.execution import PipelineRun
from simulator.training.step.inventory import StageMemory, lacking
from workloads.errors import InfeasibleError

__all__ = ["StepResult"]


@dataclass(frozen=True)
class StepResult:
    """One step. ``time_s`` are the busiest stage's seconds by what they go to and add up to ``latency_s``; ``memory``
    is by stage, of one device; ``sent_bytes`` of one device for weights and gradients; ``energy_j`` of all devices by
    engine, tier, link, ``fabric`` and ``network``, with ``static`` for idle power (`simulator.training.step.energy`).

    ``mfu`` is the share of the devices' peak that the model's own FLOPs take (`workloads.models.flops.model_flops`).
    """

    model: str
    system: str
    layout: str
    schedule: str
    fidelity: str
    devices: int
    global_batch: int
    micro_batch: int
    micro_batches: int
    context: int
    latency_s: float
    tokens: int
    mfu: float
    time_s: dict[str, float]
    bubble_share: float
    memory: tuple[StageMemory, ...]
    home: str
    capacity_bytes: dict[str, float]
    sent_bytes: dict[str, float]
    energy_j: dict[str, float]
    notes: tuple[str, ...]
    run: PipelineRun = field(repr=False)

    @property
    def tokens_per_s(self) -> float:
        """Tokens through the model per second, over all devices."""
        return self.tokens / self.latency_s

    @property
    def tokens_per_s_per_device(self) -> float:
        """Of these each device's share."""
        return self.tokens_per_s / self.devices

    @property
    def total_energy_j(self) -> float:
        """All joules of the step."""
        return sum(self.energy_j.values())

    @property
    def fullest(self) -> int:
        """The stage whose devices hold most."""
        return max(range(len(self.memory)), key=lambda stage: self.memory[stage].total)

    @property
    def peak_bytes(self) -> float:
        """Bytes of the fullest device."""
        return self.memory[self.fullest].total

    def lacking(self) -> tuple[str, float, float] | None:
        """Tier, bytes needed and bytes there of the first tier that is too small; None where everything fits."""
        return lacking(self.memory, self.home, self.capacity_bytes.__getitem__)

    def require_fit(self, hint: str | None = None) -> None:
        """Raise `InfeasibleError` where a device's memory does not suffice."""
        lacking = self.lacking()
        if lacking is not None:
            raise InfeasibleError(f"memory {lacking[0]} of a device", lacking[1], lacking[2], "B", hint)

    def to_json(self) -> dict[str, Any]:
        """Everything but the run, as plain values; the derived figures are written out."""
        document = {name: value for name, value in vars(self).items() if name not in ("run", "memory", "notes")}
        return document | {
            "tokens_per_s": self.tokens_per_s,
            "tokens_per_s_per_device": self.tokens_per_s_per_device,
            "total_energy_j": self.total_energy_j,
            "peak_bytes": self.peak_bytes,
            "memory": [
                {**asdict(each), "elsewhere": dict(each.elsewhere), "total": each.total} for each in self.memory
            ],
            "notes": list(self.notes),
        }
