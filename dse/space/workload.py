"""Workloads of a space: one step of a model, a served trace, or a training step divided over all devices."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from workloads.errors import InputError, unknown_name
from workloads.validation import annotation_at, field_error

__all__ = ["LayoutSpec", "PlaceSpec", "WorkloadSpec", "check_path", "set_fields"]

Phase = Literal["prefill", "decode", "serve", "train"]

_OF_STEPS = ("batch", "past")
_OF_TRAINING = (
    "global_batch", "micro_batch", "parallel", "checkpoint", "checkpoint_every", "loss", "schedule",
    "context_exchange", "prefetch", "from_master", "place",
)  # fmt: skip


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class LayoutSpec(_Part):
    """How a training step is divided over devices: `simulator.training.step.layout.Parallel`, by its names.

    Whether degrees divide and multiply to the devices is seen of each design: one whose do not is infeasible.
    """

    tensor: PositiveInt = 1
    pipeline: PositiveInt = 1
    data: PositiveInt = 1
    context: PositiveInt = 1
    expert: PositiveInt = 1
    zero: int = Field(0, ge=0, le=3)
    chunks: PositiveInt = 1
    sequence: bool = False
    reshard: bool = True


class PlaceSpec(_Part):
    """Tiers where kept activations and the optimizer's states live; left out, or the home tier: on the device."""

    activations: str | None = None
    optimizer: str | None = None


class WorkloadSpec(_Part):
    """One workload; ``weight`` is its share in what is summed over workloads.

    ``phase`` prefill or decode is one step of ``batch`` sequences of ``context`` tokens (``past`` of a prompt cached);
    ``serve`` is the request trace ``requests`` through the serving engine; ``train`` is one training step on
    ``global_batch`` sequences, of which a replica takes ``micro_batch`` at a time, divided as ``parallel`` says over
    all devices of the system. Its other fields are those of `simulator.training.step.setup.Setup` and
    `workloads.phases.Train`.
    """

    model: str
    phase: Phase = "decode"
    batch: PositiveInt = 1
    context: PositiveInt = 2048
    past: NonNegativeInt = 0
    requests: str | None = None
    weight: PositiveFloat = 1.0
    global_batch: PositiveInt | None = None
    micro_batch: PositiveInt = 1
    parallel: LayoutSpec = LayoutSpec()
    checkpoint: Literal["none", "selective", "full"] = "none"
    checkpoint_every: PositiveInt = 1
    loss: Literal["logits", "cut"] = "logits"
    schedule: str = "1f1b"
    context_exchange: Literal["ring", "gather", "ulysses"] = "ring"
    prefetch: NonNegativeInt = 1
    from_master: bool = False
    place: PlaceSpec = PlaceSpec()

    @model_validator(mode="after")
    def _fields_of_its_phase(self) -> WorkloadSpec:
        if (self.phase == "serve") != (self.requests is not None):
            expected = "a trace, such as 'azure-code-like:200@2'" if self.phase == "serve" else "phase: serve"
            raise field_error(InputError(f"phase is {self.phase}", expected, "requests"))
        if (self.phase == "train") != (self.global_batch is not None):
            expected = "the sequences of a step, such as 512" if self.phase == "train" else "phase: train"
            raise field_error(InputError(f"phase is {self.phase}", expected, "global_batch"))
        training = self.phase == "train"
        for name in sorted(self.model_fields_set & set(_OF_STEPS if training else _OF_TRAINING)):
            if getattr(self, name) != type(self).model_fields[name].default:
                expected = "global_batch and micro_batch" if training else "phase: train"
                raise field_error(InputError(f"phase is {self.phase}", expected, name))
        if training:
            from simulator.training.pipeline.schedules import SCHEDULES  # slow to import: other spaces do without

            if self.schedule not in SCHEDULES:
                raise field_error(unknown_name("schedule", self.schedule, SCHEDULES, field="schedule"))
        return self


def check_path(path: str, field: str) -> None:
    """See that ``path`` is a field of a workload, such as ``parallel.tensor``. Raises `InputError` about ``field``."""
    parts = tuple(path.split("."))
    for at, part in enumerate(parts):
        known = _fields(annotation_at(WorkloadSpec, parts[:at]))
        if not known:
            raise InputError(f"{'.'.join(parts[:at])} has no fields, found {path!r}", "a field of a workload", field)
        if part not in known:
            raise unknown_name("field", part, known, field=field)
    inner = _fields(annotation_at(WorkloadSpec, parts))
    if inner:
        raise InputError(f"{path} has fields of its own", f"one of them, such as {path}.{inner[0]}", field)


def _fields(annotation: Any) -> list[str]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return list(annotation.model_fields)
    return []


def set_fields(spec: WorkloadSpec, changes: Mapping[str, Any]) -> dict[str, Any]:
    """``spec`` as plain values with ``changes`` by their paths. Raises `InputError` for paths that are none."""
    plain = spec.model_dump(exclude_unset=True)
    for path, value in changes.items():
        *outer, last = path.split(".")
        holder = plain
        for part in outer:
            holder = holder.setdefault(part, {})
        holder[last] = value
    return plain
