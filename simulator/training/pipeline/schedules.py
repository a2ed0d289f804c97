"""Pipeline schedules: in which order each stage does the passes of all micro-batches.

    schedule = make_schedule("1f1b", stages=8, micro_batches=128)

Every schedule is a building block, the passes of one micro-batch at nominal times, repeated for every micro-batch; the
order of nominal times is the order of each stage (arXiv 2405.15362, section 3). What times really are is found by
execution (`simulator.training.pipeline.execution`): stages only keep to the order.

============== ============================================================================= =======================
name           source                                                                        micro-batches held
============== ============================================================================= =======================
gpipe          all forwards, then all backwards (arXiv 1811.06965)                           m
1f1b           one forward, one backward (arXiv 2006.09503; 2104.04473, section 2.2)         p - i on stage i
interleaved    stages in chunks, visited in turn (arXiv 2104.04473, section 2.2)             (2(p-i-1) + (v-1)p + 1)/v
gis            the same in groups of p, backward in two (arXiv 2503.01328)                   p - i/v
gis-h          in groups of p/2 (the same)                                                   (p(v+1)/2 - i)/v
gis(-h)-even   one by one, chunks' lifetimes spread evenly (the same)                        a chunk or two more
zb-h1, zb-h2   backward in two, weights' part delayed (arXiv 2401.10241, section 2)          p, 2p - 1
v-half, v-min  two chunks, there and back again (arXiv 2405.15362, section 4)                about p/2, p/3
1f1b-vocab-1   output layer over all stages, two barriers (arXiv 2411.05288, section 4)      p - i + 2
1f1b-vocab-2   the same with one barrier                                                     p - i + 1
interlaced     the same, all stages at once and waiting (nnScaler, OSDI 2024)                about 1.5 (p - i)
============== ============================================================================= =======================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from workloads.errors import InputError, unknown_name

__all__ = ["SCHEDULES", "Pass", "Schedule", "make_schedule"]

Ints = NDArray[np.int64]


class Pass(IntEnum):
    """A forward; a backward (for the input alone where the weights' part is apart); a backward for the weights; and of
    an output layer that is divided over all stages the parts before (S) and after (T) its first barrier."""

    F = 0
    B = 1
    W = 2
    S = 3
    T = 4


@dataclass(frozen=True, eq=False)
class Schedule:
    """For each of ``stages`` the passes in order: ``kind`` (`Pass`), ``chunk`` and ``micro``, each [stages, passes].

    ``chunks`` pieces of the model stand on each stage; piece ``chunk`` of stage ``i`` is the ``position``-th of the
    model: chunk x p + i, or, for a ``v_shape``, i there and 2p - 1 - i back. ``split``: backwards are in two. The last
    piece's backward waits for a barrier after all stages' ``waits_for`` of the micro-batch, where there is one;
    ``blocking``: all stages wait for it.
    """

    name: str
    stages: int
    micro_batches: int
    chunks: int
    kind: NDArray[np.int8]
    chunk: NDArray[np.int8]
    micro: NDArray[np.int32]
    v_shape: bool = False
    split: bool = False
    waits_for: Literal[Pass.S, Pass.T] | None = None
    blocking: bool = False

    @property
    def positions(self) -> int:
        """Pieces of the model."""
        return self.stages * self.chunks

    def position(self, stage: int, chunk: int) -> int:
        """Where in the model ``chunk`` of ``stage`` stands."""
        if self.v_shape and chunk:
            return 2 * self.stages - 1 - stage
        return chunk * self.stages + stage

    def place(self, position: int) -> tuple[int, int]:
        """Stage and chunk of a position."""
        chunk, stage = divmod(position, self.stages)
        return (self.stages - 1 - stage if self.v_shape and chunk else stage), chunk

    def order(self, stage: int) -> list[tuple[Pass, int, int]]:
        """(pass, chunk, micro-batch) in the order of a stage."""
        rows = zip(self.kind[stage].tolist(), self.chunk[stage].tolist(), self.micro[stage].tolist(), strict=True)
        return [(Pass(kind), chunk, micro) for kind, chunk, micro in rows]

    def text(self, stage: int) -> str:
        """The order in short, such as "F0 F1 B0 B1"; a chunk above the first adds its number: "F0.1"."""
        return " ".join(
            f"{kind.name}{micro}" + (f".{chunk}" if chunk else "") for kind, chunk, micro in self.order(stage)
        )


@dataclass(frozen=True)
class _Passes:
    """Passes of one kind and chunk: ``times`` [stages, micro-batches], nominal; equal times go as listed."""

    kind: Pass
    times: Ints
    chunk: int = 0


def _block(
    name: str,
    passes: list[_Passes],
    *,
    v_shape: bool = False,
    split: bool = False,
    waits_for: Literal[Pass.S, Pass.T] | None = None,
    blocking: bool = False,
) -> Schedule:
    """The schedule whose stages go by nominal times."""
    stages, micro_batches = passes[0].times.shape
    order = np.argsort(np.concatenate([each.times for each in passes], axis=1), axis=1, kind="stable")
    kinds = np.repeat(np.array([each.kind for each in passes], np.int8), micro_batches)
    chunks = np.repeat(np.array([each.chunk for each in passes], np.int8), micro_batches)
    micros = np.tile(np.arange(micro_batches, dtype=np.int32), len(passes))
    count = max(each.chunk for each in passes) + 1
    return Schedule(
        name,
        stages,
        micro_batches,
        count,
        kinds[order],
        chunks[order],
        micros[order],
        v_shape,
        split,
        waits_for,
        blocking,
    )


def _grid(stages: int, micro_batches: int) -> tuple[Ints, Ints]:
    """Stage numbers as a column, micro-batch numbers as a row."""
    return np.arange(stages, dtype=np.int64)[:, None], np.arange(micro_batches, dtype=np.int64)[None, :]


def _gpipe(p: int, m: int) -> Schedule:
    i, k = _grid(p, m)
    return _block("gpipe", [_Passes(Pass.F, k + 0 * i), _Passes(Pass.B, 2 * m - 1 - k + 0 * i)])


def _1f1b(p: int, m: int) -> Schedule:
    i, k = _grid(p, m)
    return _block("1f1b", [_Passes(Pass.F, 2 * k + i), _Passes(Pass.B, 2 * k + 2 * p - 1 - i)])


def _interleaved(p: int, m: int, chunks: int) -> Schedule:
    """Micro-batches go in groups of p: all of a group through the first chunks, then through the second, and so on."""
    if m % p:
        raise InputError(f"{m} micro-batches over {p} stages", "a multiple of the stages", "micro_batches")
    i, k = _grid(p, m)
    warm = 2 * (p - 1 - i) + (chunks - 1) * p
    passes = []
    for chunk in range(chunks):
        forward = (k // p) * p * chunks + chunk * p + k % p
        backward = (k // p) * p * chunks + (chunks - 1 - chunk) * p + k % p
        passes.append(_Passes(Pass.F, 2 * (forward - warm), chunk))
        passes.append(_Passes(Pass.B, 2 * backward + 1 + 0 * i, chunk))
    return _block("interleaved", passes)


def _grouped(p: int, m: int, chunks: int, group: int, least: int, name: str) -> Schedule:
    """Micro-batches in groups: all of a group through the first chunks, then through the second, as interleaved, but
    forwards and backwards in turn from the beginning on. A group enters the next chunk after ``least`` forwards and
    backwards, rounded up to whole groups, and a new one comes when all chunks have had this one. With groups of p or
    p/2 (``least`` the same) these are the generalised interleaved schedules; with groups of one, all passes of a chunk
    come at even distances, so that as many micro-batches wait in it as its activations live long. Where distance and
    chunks have a common divisor, passes of some chunks would come at the same time and are put off by a group. The
    stage before waits for the backward for the input alone (PipeOffload, arXiv 2503.01328;
    sail-sg/zero-bubble-pipeline-parallelism at 3ee9a35, group_interleaved_1f1b.py)."""
    i, k = _grid(p, m)
    groups = -(-least // group)
    apart = chunks // math.gcd(chunks, groups)
    entered = 3 * (group * chunks * (k // group) + k % group)
    starts = [3 * group * (groups * chunk + chunk // apart) for chunk in range(chunks)]
    turned = starts[-1] + i + 3 * (p - 1 - i) + 1
    passes = []
    for chunk in range(chunks):
        passes.append(_Passes(Pass.F, entered + starts[chunk] + i, chunk))
        back = entered + turned + starts[chunks - 1 - chunk]
        passes += [_Passes(Pass.B, back, chunk), _Passes(Pass.W, back + 1, chunk)]
    return _block(name, passes, split=True)


def _zero_bubble(p: int, m: int, ahead: int) -> Schedule:
    """``ahead`` 1: p - i forwards before the first backward, i backwards before the first weights' part, so that p
    micro-batches are held everywhere; ``ahead`` 2: twice as many, less one."""
    i, k = _grid(p, m)
    before = ahead * (p - i) - (ahead - 1)
    passes = [
        _Passes(Pass.B, 3 * k + 0 * i),
        _Passes(Pass.W, 3 * (k + ahead * i) + 1),
        _Passes(Pass.F, 3 * (k - before) + 2),
    ]
    return _block(f"zb-h{ahead}", passes, split=True)


def _v(p: int, m: int, name: str) -> Schedule:
    """Offsets of one micro-batch's passes in slots of equal length, a new micro-batch every 6 (section 4.1; numbers of
    sail-sg/zero-bubble-pipeline-parallelism@064369d6, zbv_greedy.py). Weights' parts take the next free slots. The
    authors go on to reorder the beginning and the end, which shortens these; here they are as repetition gives them."""
    i, k = _grid(p, m)
    if name == "v-half":
        gap = 3 if p % 2 == 0 else 0
        offsets = [2 * i, 3 * p - i - 2, 3 * p + gap + 2 * i - 1, 6 * p + gap - i - 2]
    else:
        gap = 2 if p % 3 == 0 else 0
        offsets = [i, 2 * p - i - 1, 2 * p + gap + i, 4 * p + gap - i - 1]
    back, first = offsets[2], offsets[3]
    taken = [offset % 6 for offset in offsets]
    weights = []
    for done in (back, first):
        slot = done + 1
        for _ in range(5):
            busy = np.logical_or.reduce([slot % 6 == other for other in taken])
            slot = np.where(busy, slot + 1, slot)
        taken.append(slot % 6)
        weights.append(slot)
    kinds = [(Pass.F, 0), (Pass.F, 1), (Pass.B, 1), (Pass.B, 0), (Pass.W, 1), (Pass.W, 0)]
    passes = [
        _Passes(kind, 6 * k + offset, chunk) for (kind, chunk), offset in zip(kinds, [*offsets, *weights], strict=True)
    ]
    return _block(name, passes, v_shape=True, split=True)


def _vocabulary(p: int, m: int, wait: int) -> Schedule:
    """1F1B with T and S after every forward, the same on all stages, so that between neighbours the time of T and S is
    left for transfers. S is of the latest micro-batch that the last stage has done by then, if a forward is a third of
    forward and backward; T is of the one before. The last stage's backward comes ``wait`` intervals later, one for each
    barrier that is to be hidden. Where it is one, the gradient for the last stage comes out of S, and T is the weights'
    part alone."""
    i, k = _grid(p, m)
    behind = -(-(p - 1 - i) // 3)
    passes = [
        _Passes(Pass.F, k + 0 * i),
        _Passes(Pass.T, k + 1 + behind),
        _Passes(Pass.S, k + behind),
        _Passes(Pass.B, k + wait + p - 1 - i),
    ]
    if wait == 1:
        return _block("1f1b-vocab-2", passes, waits_for=Pass.S)
    return _block("1f1b-vocab-1", passes, waits_for=Pass.T)


def _interlaced(p: int, m: int) -> Schedule:
    """All stages do a micro-batch's S and T at the same time, after the last stage's forward, and wait for each other.

    In units of half a forward, backwards twice as long: between two such times lie 6, and a stage has its forward
    either first or last in them. Stages do so in turn, so two stages on a forward is 6 later and a backward 12, where
    1F1B has 4 and 8: 1.5 times the micro-batches (arXiv 2411.05288, on the interlaced pipeline)."""
    i, k = _grid(p, m)
    pairs, odd = np.divmod(p - 1 - i, 2)
    together = 6 * k + 6 + 0 * i
    passes = [
        _Passes(Pass.S, together),
        _Passes(Pass.T, together),
        _Passes(Pass.F, 6 * k + 4 - 6 * pairs - 4 * odd),
        _Passes(Pass.B, together + 12 * pairs + 8 * odd),
    ]
    return _block("interlaced", passes, waits_for=Pass.T, blocking=True)


SCHEDULES: Mapping[str, Callable[[int, int, int], Schedule]] = {
    "gpipe": lambda p, m, _: _gpipe(p, m),
    "1f1b": lambda p, m, _: _1f1b(p, m),
    "interleaved": _interleaved,
    "gis": lambda p, m, chunks: _grouped(p, m, chunks, p, p, "gis"),
    "gis-h": lambda p, m, chunks: _grouped(p, m, chunks, (p + 1) // 2, (p + 1) // 2, "gis-h"),
    "gis-even": lambda p, m, chunks: _grouped(p, m, chunks, 1, p, "gis-even"),
    "gis-h-even": lambda p, m, chunks: _grouped(p, m, chunks, 1, (p + 1) // 2, "gis-h-even"),
    "zb-h1": lambda p, m, _: _zero_bubble(p, m, 1),
    "zb-h2": lambda p, m, _: _zero_bubble(p, m, 2),
    "v-half": lambda p, m, _: _v(p, m, "v-half"),
    "v-min": lambda p, m, _: _v(p, m, "v-min"),
    "1f1b-vocab-1": lambda p, m, _: _vocabulary(p, m, 2),
    "1f1b-vocab-2": lambda p, m, _: _vocabulary(p, m, 1),
    "interlaced": lambda p, m, _: _interlaced(p, m),
}
"""Schedules by name; those whose number of chunks is free take it."""

_CHUNKS = {"v-half": 2, "v-min": 2}
_FREE = ("interleaved", "gis", "gis-h", "gis-even", "gis-h-even")
"""Schedules of any number of chunks."""


def make_schedule(name: str, stages: int, micro_batches: int, chunks: int | None = None) -> Schedule:
    """The schedule ``name`` of ``micro_batches`` over ``stages``; ``chunks``, 2 where left out, are those of
    "interleaved" and of the schedules after PipeOffload.

    Raises `InputError` for an unknown name, for counts below 1, for chunks that the schedule does not have, and where
    interleaved micro-batches do not divide into groups of ``stages``.
    """
    if name not in SCHEDULES:
        raise unknown_name("schedule", name, SCHEDULES, field="schedule")
    usual = 2 if name in _FREE else _CHUNKS.get(name, 1)
    count = usual if chunks is None else chunks
    for field, value in (("stages", stages), ("micro_batches", micro_batches), ("chunks", count)):
        if value < 1:
            raise InputError(f"found {value}", "1 or more", field)
    if name not in _FREE and count != usual:
        raise InputError(f"{count} chunks in {name}", f"{usual}, or the schedule 'interleaved'", "chunks")
    return SCHEDULES[name](stages, micro_batches, count)
