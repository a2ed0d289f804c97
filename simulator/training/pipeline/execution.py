"""Execution of a pipeline schedule: when every pass runs, how long a step takes, how much of it stages stand idle.

    run = run_pipeline(make_schedule("1f1b", 8, 128), stage_times(8, forward_s=0.01, backward_s=0.01, weight_s=0.01))
    run.time_s, run.bubble_share

Each stage does one pass at a time, in the schedule's order, as soon as what the pass needs has arrived. An output goes
to the neighbouring stage over a link that carries one tensor at a time in each direction, beside the passes. Where the
output layer is divided over all stages, S waits for the last stage's forward and a broadcast, T for all stages' S and
an all-reduce. Times of a step do not include the optimizer.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike, NDArray

from simulator.training.pipeline.kernel import run_passes
from simulator.training.pipeline.schedules import Pass, Schedule
from workloads.errors import InputError

__all__ = [
    "NO_LINKS",
    "Activations",
    "Offload",
    "PipelineRun",
    "StageLinks",
    "StageTimes",
    "leaving",
    "run_pipeline",
    "stage_times",
]

Floats = NDArray[np.float64]
_NOTHING = np.zeros((0, 0))


@dataclass(frozen=True, eq=False)
class StageTimes:
    """Seconds of one micro-batch's passes: forward, backward for the input and for the weights [stages, chunks]; the
    divided output layer before and after its first barrier [stages]. Where a schedule keeps backwards whole, both parts
    are one pass."""

    forward_s: Floats
    backward_s: Floats
    weight_s: Floats
    output_first_s: Floats
    output_second_s: Floats

    def slowed(self, factors: Mapping[int, float]) -> StageTimes:
        """The same with stragglers: all passes of these stages take so many times as long."""
        scale = np.ones(len(self.forward_s))
        for stage, factor in factors.items():
            if not 0 <= stage < len(scale):
                raise InputError(f"no stage {stage}", f"0 to {len(scale) - 1}", "stragglers")
            scale[stage] = factor
        wide = scale[:, None]
        return StageTimes(
            self.forward_s * wide,
            self.backward_s * wide,
            self.weight_s * wide,
            self.output_first_s * scale,
            self.output_second_s * scale,
        )

    def with_ends(
        self, embedding_s: tuple[float, float, float], head_s: tuple[float, float, float], *, v_shape: bool = False
    ) -> StageTimes:
        """With (forward, backward for the input, for the weights) of the embedding added to the model's first piece,
        and of the output layer to its last; a ``v_shape`` has both on the first stage."""
        head_stage = 0 if v_shape and self.forward_s.shape[1] > 1 else -1
        parts = []
        for each, first, last in zip(
            (self.forward_s, self.backward_s, self.weight_s), embedding_s, head_s, strict=True
        ):
            part = each.copy()
            part[0, 0] += first
            part[head_stage, -1] += last
            parts.append(part)
        return replace(self, forward_s=parts[0], backward_s=parts[1], weight_s=parts[2])

    def seconds(self, schedule: Schedule) -> Floats:
        """By kind of pass, stage and chunk."""
        shape = (schedule.stages, schedule.chunks)
        if self.forward_s.shape != shape:
            raise InputError(f"times of {self.forward_s.shape} stages and chunks", f"of {shape}", "times")
        backward = self.backward_s if schedule.split else self.backward_s + self.weight_s
        ends = [np.repeat(each[:, None], schedule.chunks, 1) for each in (self.output_first_s, self.output_second_s)]
        return np.stack([self.forward_s, backward, self.weight_s, *ends])


def stage_times(
    stages: int,
    chunks: int = 1,
    *,
    forward_s: ArrayLike,
    backward_s: ArrayLike,
    weight_s: ArrayLike = 0.0,
    output_first_s: ArrayLike = 0.0,
    output_second_s: ArrayLike = 0.0,
) -> StageTimes:
    """Times by stage and chunk; what is one number, or one for each stage ([stages, 1]), holds for all.

    Raises `InputError` for negative times.
    """
    wide = [np.array(np.broadcast_to(each, (stages, chunks)), float) for each in (forward_s, backward_s, weight_s)]
    ends = [np.array(np.broadcast_to(each, stages), float) for each in (output_first_s, output_second_s)]
    if any((each < 0).any() or not np.isfinite(each).all() for each in (*wide, *ends)):
        raise InputError("a time below 0, or none", "seconds of 0 or more", "times")
    return StageTimes(*wide, *ends)


@dataclass(frozen=True)
class StageLinks:
    """Between neighbouring stages: ``transfer_s`` that a tensor holds the link, ``latency_s`` until it is there after
    that; one number, or [stages, 2] for each stage's links to the next and to the one before. Over all stages:
    ``broadcast_s`` of the last stage's output, ``barrier_s`` of an all-reduce."""

    transfer_s: ArrayLike = 0.0
    latency_s: ArrayLike = 0.0
    broadcast_s: float = 0.0
    barrier_s: float = 0.0


NO_LINKS = StageLinks()
"""Neighbours to which everything is at once."""


@dataclass(frozen=True, eq=False)
class Activations:
    """Bytes that a micro-batch leaves from a forward to its backward, [stages, chunks]. Where backwards are in two,
    ``kept_share`` of them stay until the weights' part (1, all, is the safe side). ``output_bytes`` [stages] stand from
    S to T."""

    bytes: Floats
    kept_share: float = 1.0
    output_bytes: Floats = field(default_factory=lambda: np.zeros(0))


@dataclass(frozen=True, eq=False)
class Offload:
    """``share`` [stages, chunks] of the activations goes to the host after its forward and comes back for its backward.

    A stage has one stream in each direction, and ``buffers`` for each, taken in turn: a forward waits until what the
    forward so many before it left is out, and coming back begins once the backward so many before is done. What has at
    most ``apart`` passes between forward and backward stays.
    """

    share: Floats
    out_bytes_per_s: float
    in_bytes_per_s: float
    buffers: int = 2
    apart: int = 2


@dataclass(frozen=True, eq=False)
class PipelineRun:
    """When passes run: ``begin_s`` and ``finish_s`` [stages, passes in order], from the step's start. Where activations
    leave: when each is out and when it begins to come back, [positions, micro-batches], and ``moved`` [stages, passes]
    marks forwards and backwards of which they do."""

    schedule: Schedule
    seconds: Floats
    begin_s: Floats
    finish_s: Floats
    moved: NDArray[np.bool_]
    out_end_s: Floats
    in_begin_s: Floats

    @cached_property
    def time_s(self) -> float:
        """From the first pass's start to the last one's end."""
        return float(self.finish_s[:, -1].max())

    @cached_property
    def busy_s(self) -> Floats:
        """Seconds of passes on each stage."""
        return np.asarray((self.finish_s - self.begin_s).sum(axis=1))

    @property
    def bubble_share(self) -> float:
        """Part of the stages' time in which they stand idle."""
        return max(0.0, 1.0 - float(self.busy_s.mean()) / self.time_s) if self.time_s else 0.0

    @cached_property
    def span_s(self) -> Floats:
        """From each stage's first start to its last end: what a step adds where the next one may begin on a stage
        before this one ends on the others (arXiv 2401.10241, section 4)."""
        return np.asarray(self.finish_s[:, -1] - self.begin_s[:, 0])


def leaving(schedule: Schedule, offload: Offload) -> NDArray[np.bool_]:
    """Forwards and backwards [stages, passes] of which activations leave and come back."""
    moved = np.zeros(schedule.kind.shape, np.bool_)
    key = schedule.chunk.astype(np.int64) * schedule.micro_batches + schedule.micro
    for stage in range(schedule.stages):
        ends = []
        for kind in (Pass.F, Pass.B):
            where = np.flatnonzero(schedule.kind[stage] == kind)
            ends.append(where[np.argsort(key[stage, where])])
        far = (ends[1] - ends[0] > 1 + offload.apart) & (np.repeat(offload.share[stage], schedule.micro_batches) > 0)
        for where in ends:
            moved[stage, where[far]] = True
    return moved


def run_pipeline(
    schedule: Schedule,
    times: StageTimes,
    links: StageLinks = NO_LINKS,
    *,
    activations: Activations | None = None,
    offload: Offload | None = None,
) -> PipelineRun:
    """Execute ``schedule``. Raises `InputError` where times are not those of its stages and chunks, where its stages
    wait for each other for ever, and for an ``offload`` without ``activations``."""
    seconds = times.seconds(schedule)
    moved, away, buffers = np.zeros(schedule.kind.shape, np.bool_), np.zeros((2, *seconds.shape[1:])), 1
    if offload is not None:
        if activations is None:
            raise InputError("offload without activations", "their bytes", "activations")
        moved, buffers = leaving(schedule, offload), offload.buffers
        size = offload.share * activations.bytes
        away = np.stack([size / offload.out_bytes_per_s, size / offload.in_bytes_per_s])
    hop, latency = (
        np.array(np.broadcast_to(each, (schedule.stages, 2)), float) for each in (links.transfer_s, links.latency_s)
    )
    waits_for = -1 if schedule.waits_for is None else int(schedule.waits_for)
    begin_s, finish_s = np.zeros(schedule.kind.shape), np.zeros(schedule.kind.shape)
    held = (schedule.positions if moved.any() else 1, schedule.micro_batches)
    out_end_s, in_begin_s = np.zeros(held), np.zeros(held)
    done = run_passes(
        np.array([schedule.v_shape, waits_for, schedule.blocking], np.int64),
        schedule.kind,
        schedule.chunk,
        schedule.micro,
        moved,
        seconds,
        hop,
        latency,
        np.array([links.broadcast_s, links.barrier_s]),
        away,
        buffers,
        begin_s,
        finish_s,
        out_end_s,
        in_begin_s,
    )
    if done < schedule.kind.size:
        raise InputError(
            f"{schedule.kind.size - done:,} passes wait for ever", "orders that stages can keep to", "schedule"
        )
    return PipelineRun(schedule, seconds, begin_s, finish_s, moved, out_end_s, in_begin_s)
