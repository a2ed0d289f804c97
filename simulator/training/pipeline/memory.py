"""Activations in a pipeline over time, and which of them are worth sending to the host."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulator.training.pipeline.execution import Activations, Offload, PipelineRun, StageTimes
from simulator.training.pipeline.schedules import Pass, Schedule

__all__ = [
    "activation_timeline",
    "longest_offload",
    "offload_ratio",
    "peak_activation_bytes",
    "selective_offload",
]

Floats = NDArray[np.float64]


def activation_timeline(
    run: PipelineRun, activations: Activations, stage: int, offload: Offload | None = None
) -> tuple[Floats, Floats]:
    """(times, bytes held from each of them on) of a stage; what is given back at a time goes before what is taken."""
    schedule = run.schedule
    kind, chunk, micro = schedule.kind[stage], schedule.chunk[stage], schedule.micro[stage]
    begin, finish, moved = run.begin_s[stage], run.finish_s[stage], run.moved[stage]
    size = activations.bytes[stage, chunk]
    away = size * (offload.share[stage, chunk] if offload is not None else 0.0) * moved
    kept = size * (activations.kept_share if schedule.split else 0.0)
    is_f, is_b, is_w = (kind == each for each in (Pass.F, Pass.B, Pass.W))
    times = [begin[is_f], finish[is_b], finish[is_w]]
    changes = [size[is_f], (kept - size)[is_b], -kept[is_w]]
    if moved.any():
        places = np.array([schedule.position(stage, piece) for piece in range(schedule.chunks)])
        gone, back = is_f & moved, is_b & moved
        times += [run.out_end_s[places[chunk[gone]], micro[gone]], run.in_begin_s[places[chunk[back]], micro[back]]]
        changes += [-away[gone], away[back]]
    if activations.output_bytes.size:
        for which, instants, sign in ((Pass.S, begin, 1.0), (Pass.T, finish, -1.0)):
            times.append(instants[kind == which])
            changes.append(np.full(times[-1].size, sign * activations.output_bytes[stage]))
    instant, change = np.concatenate(times), np.concatenate(changes)
    order = np.lexsort((change, instant))
    return instant[order], np.cumsum(change[order])


def peak_activation_bytes(run: PipelineRun, activations: Activations, offload: Offload | None = None) -> Floats:
    """The most that each stage holds, [stages]."""
    held = (activation_timeline(run, activations, stage, offload)[1] for stage in range(run.schedule.stages))
    return np.array([each.max() for each in held])


def offload_ratio(times: StageTimes, activations: Activations, bytes_per_s: float) -> Floats:
    """k of each stage (PipeOffload, arXiv 2503.01328): seconds to move a micro-batch's activations one way over seconds
    of its passes, 0 for a stage that holds nothing. At 1 or less all of them can leave beside the passes, at k the part
    1/k."""
    passes = (times.forward_s + times.backward_s + times.weight_s).sum(axis=1)
    passes += times.output_first_s + times.output_second_s
    moved = activations.bytes.sum(axis=1) / bytes_per_s
    return np.asarray(np.divide(moved, passes, out=np.zeros_like(moved), where=moved > 0))


def selective_offload(
    schedule: Schedule,
    times: StageTimes,
    activations: Activations,
    run: PipelineRun,
    bytes_per_s: float,
    buffers: int = 2,
) -> Offload:
    """As much as hides, of those chunks first whose activations live longest in ``run``, the run without offload (the
    same source: the peak then falls by more than what leaves is of the whole)."""
    ratio = offload_ratio(times, activations, bytes_per_s)
    share = np.zeros_like(activations.bytes)
    for stage in range(schedule.stages):
        budget = activations.bytes[stage].sum() / max(1.0, ratio[stage])
        for chunk in _longest_first(run, stage):
            size = activations.bytes[stage, chunk]
            if size > 0:
                share[stage, chunk] = min(1.0, budget / size)
                budget -= share[stage, chunk] * size
    return Offload(share, bytes_per_s, bytes_per_s, buffers)


def longest_offload(run: PipelineRun, count: int, bytes_per_s: float, buffers: int = 2) -> Offload:
    """All activations of the ``count`` chunks of each stage that live longest in ``run``, whether it hides or not."""
    schedule = run.schedule
    share = np.zeros((schedule.stages, schedule.chunks))
    for stage in range(schedule.stages):
        share[stage, _longest_first(run, stage)[:count]] = 1.0
    return Offload(share, bytes_per_s, bytes_per_s, buffers)


def _longest_first(run: PipelineRun, stage: int) -> list[int]:
    """Chunks by how long their activations live, the longest first."""
    lives = [_lifetime_s(run, stage, chunk) for chunk in range(run.schedule.chunks)]
    return sorted(range(run.schedule.chunks), key=lambda each: -lives[each])


def _lifetime_s(run: PipelineRun, stage: int, chunk: int) -> float:
    """Mean seconds from a forward's start to its backward's end."""
    ours = run.schedule.chunk[stage] == chunk
    kind = run.schedule.kind[stage]
    ends = run.finish_s[stage][ours & (kind == Pass.B)].mean()
    return float(ends - run.begin_s[stage][ours & (kind == Pass.F)].mean())
