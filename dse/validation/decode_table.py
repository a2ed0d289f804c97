"""Decode steps of four models at three batch sizes, beside their lower bounds and whatever was measured near them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dse.validation.measurements import Measurement
from dse.validation.predict import GPUS
from hw.spec.load import load_system, override
from simulator.road import simulate
from workloads.errors import InfeasibleError
from workloads.models.catalogue import model
from workloads.phases import Decode

__all__ = ["CASES", "DecodeRow", "decode_rows"]

CASES = (("Llama-2-7B", 1), ("Llama-3.1-8B", 1), ("Llama-2-70B", 4), ("Mixtral-8x7B", 2))
"""Model and tensor-parallel degree; Mixtral's 93 GB need two GPUs."""
BATCHES = (1, 16, 64)
CONTEXT = 1024
GPU = "H100-SXM-80GB"


@dataclass(frozen=True)
class DecodeRow:
    """One simulated step; ``measured_s`` of ``measured`` is the row nearest in context, None when there is none.

    ``latency_s`` is simulated at kernel fidelity, at the context of the measured row where there is one: kernels and
    collectives, without the engine's time on the host. ``bound_s`` is the data sheet's.
    """

    model: str
    devices: int
    batch: int
    context: int
    latency_s: float | None
    bound_s: float | None
    measured: Measurement | None

    @property
    def error(self) -> float | None:
        """Simulated / measured - 1."""
        if self.measured is None or self.latency_s is None:
            return None
        return self.latency_s / self.measured.latency_s - 1


def decode_rows(measurements: Sequence[Measurement]) -> list[DecodeRow]:
    """All cases on H100 SXM in 16 bit; a batch that does not fit the GPUs has no latency."""
    rows = []
    for name, devices in CASES:
        system = override(load_system(GPUS[GPU]), [f"devices={devices}"])
        for batch in BATCHES:
            near = _nearest(measurements, name, devices, batch)
            context = CONTEXT if near is None else (near.numbers["q_len"] + near.numbers["kv_len"]) // 2
            try:
                result = simulate(model(name), Decode(batch, context), system, fidelity="kernel")
                bound = simulate(model(name), Decode(batch, context), system).bounds.latency_s
            except InfeasibleError:
                rows.append(DecodeRow(name, devices, batch, context, None, None, near))
            else:
                rows.append(DecodeRow(name, devices, batch, context, result.latency_s, bound, near))
    return rows


def _nearest(measurements: Sequence[Measurement], name: str, devices: int, batch: int) -> Measurement | None:
    """The measured decode row of the same model, devices and batch whose final context is nearest to `CONTEXT`."""
    rows = [
        row
        for row in measurements
        if row.op == "e2e"
        and row.phase == "tpot"
        and row.gpu == GPU
        and name.casefold() in row.model.casefold()
        and row.numbers.get("tp") == devices
        and row.numbers.get("batch") == batch
        and row.dtype in ("", "bf16", "fp16")
    ]
    return min(rows, key=lambda row: (abs(row.numbers["kv_len"] - CONTEXT), row.id), default=None)
