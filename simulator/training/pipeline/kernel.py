"""The compiled execution of a pipeline schedule: every stage does its passes in order, each as soon as it may.

The rules are those of `simulator.training.pipeline.execution`; its engine graph is the twin they are tested against.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numba import njit

from simulator.memory.compiled import sources_stamp

__all__ = ["run_passes"]

_F, _B, _W, _S, _T = range(5)
_NONE = -1.0


def _cached(stamp: int) -> Callable[..., int]:
    """The entry, kept compiled on disk; ``stamp`` as `simulator.memory.compiled` says."""

    @njit(cache=True, nogil=True, error_model="numpy")
    def run(  # type: ignore[no-untyped-def]
        shape, kind, chunk, micro, moved, seconds, hop, latency, shared, offload, buffers,
        begin, finish, out_end, in_begin,
    ):  # fmt: skip
        """Fill ``begin`` and ``finish`` [stages, passes]; the number of passes that could be done.

        shape: v_shape, waits_for (-1 for none), blocking; seconds [5, stages, chunks]; hop [stages, 2] a link's seconds
        to the next and to the previous stage, latency [stages, 2]; shared: broadcast and barrier; offload [2, stages,
        chunks] seconds out and in; moved marks forwards and backwards whose activations leave, through so many buffers.
        """
        if stamp < 0:
            raise ValueError("no sources")
        stages, length = kind.shape
        chunks, micros = seconds.shape[2], out_end.shape[1]
        v_shape, waits_for, blocking = shape[0], shape[1], shape[2]
        last = stages * chunks - 1
        at = np.zeros(stages, np.int64)
        queue, queued = np.zeros(stages, np.int64), np.zeros(stages, np.int64)
        head, waiting, done = 0, stages, 0
        for stage in range(stages):
            queue[stage] = stage
            queued[stage] = 1
        free, out_free, in_free = np.full(stages, 0.0), np.full(stages, 0.0), np.full(stages, 0.0)
        link_free = np.full(2 * stages, 0.0)
        forward, backward = np.full((last + 1) * micros, _NONE), np.full((last + 1) * micros, _NONE)
        # Ends of the latest offloads and of the latest backwards that needed a fetch, in turn.
        left, gave_back = np.full((stages, buffers), 0.0), np.full((stages, buffers), 0.0)
        sent, fetched = np.zeros(stages, np.int64), np.zeros(stages, np.int64)
        output = np.full(micros, _NONE)
        counts, barrier = np.zeros(2 * micros, np.int64), np.full(2 * micros, 0.0)
        while waiting > 0:
            stage = queue[head]
            head = (head + 1) % stages
            waiting -= 1
            queued[stage] = 0
            wake_all = False
            wake = 0
            while at[stage] < length:
                index = at[stage]
                what, piece, item = kind[stage, index], chunk[stage, index], micro[stage, index]
                position = piece * stages + stage
                if v_shape and piece == 1:
                    position = 2 * stages - 1 - stage
                ready = 0.0
                if blocking and index > 0 and kind[stage, index - 1] == _T:
                    before = micros + micro[stage, index - 1]
                    if counts[before] < stages:
                        break
                    ready = barrier[before]
                if what == _F:
                    if position > 0:
                        ready = max(ready, forward[position * micros + item])
                        if forward[position * micros + item] < 0:
                            break
                    if moved[stage, index]:
                        ready = max(ready, left[stage, sent[stage] % buffers])
                elif what == _B:
                    if position < last:
                        if backward[position * micros + item] < 0:
                            break
                        ready = max(ready, backward[position * micros + item])
                    elif waits_for >= 0:
                        which = (waits_for - _S) * micros + item
                        if counts[which] < stages:
                            break
                        ready = max(ready, barrier[which])
                    if moved[stage, index]:
                        start = max(out_end[position, item], in_free[stage])
                        start = max(start, gave_back[stage, fetched[stage] % buffers])
                        in_begin[position, item] = start
                        in_free[stage] = start + offload[1, stage, piece]
                        ready = max(ready, in_free[stage])
                elif what == _S:
                    if output[item] < 0:
                        break
                    ready = max(ready, output[item] + (shared[0] if stage < stages - 1 else 0.0))
                elif what == _T:
                    if counts[item] < stages:
                        break
                    ready = max(ready, barrier[item])
                start = max(free[stage], ready)
                end = start + seconds[what, stage, piece]
                begin[stage, index] = start
                finish[stage, index] = end
                free[stage] = end
                at[stage] = index + 1
                done += 1
                if what == _F and moved[stage, index]:
                    out_free[stage] = max(out_free[stage], end) + offload[0, stage, piece]
                    out_end[position, item] = out_free[stage]
                    left[stage, sent[stage] % buffers] = out_free[stage]
                    sent[stage] += 1
                if what == _B and moved[stage, index]:
                    gave_back[stage, fetched[stage] % buffers] = end
                    fetched[stage] += 1
                if what in (_F, _B):
                    to = position + 1 if what == _F else position - 1
                    if to > last:
                        output[item] = end
                        wake_all = wake_all or waits_for >= 0
                    elif to >= 0:
                        other = to % stages
                        if v_shape and to >= stages:
                            other = stages - 1 - other
                        arrival = end
                        if other != stage:
                            # Forwards go to the next stage (around, from the last), backwards to the one before;
                            # on a v's way back it is the other way around.
                            way = int((what == _B) != (v_shape and piece == 1))
                            link_free[2 * stage + way] = max(link_free[2 * stage + way], end) + hop[stage, way]
                            arrival = link_free[2 * stage + way] + latency[stage, way]
                            wake |= 1 << way
                        if what == _F:
                            forward[to * micros + item] = arrival
                        else:
                            backward[to * micros + item] = arrival
                elif what in (_S, _T):
                    which = (what - _S) * micros + item
                    counts[which] += 1
                    barrier[which] = max(barrier[which], end)
                    if counts[which] == stages:
                        barrier[which] += shared[1]
                        wake_all = True
            if wake_all:
                for other in range(stages):
                    if queued[other] == 0:
                        queue[(head + waiting) % stages] = other
                        waiting += 1
                        queued[other] = 1
            else:
                for way in range(2):
                    other = (stage + 1) % stages if way == 0 else (stage - 1) % stages
                    if wake & (1 << way) and queued[other] == 0:
                        queue[(head + waiting) % stages] = other
                        waiting += 1
                        queued[other] = 1
        return done

    return run


run_passes = _cached(sources_stamp((Path(__file__),)))
