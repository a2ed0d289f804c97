"""One pass of a micro-batch through the pieces of a stage, with what travels beside it.

Weights that are divided over devices are gathered ahead of the piece that needs them, gradients leave after it, on one
exchange stream; activations go to another tier after a piece's forward and come back before its backward, on a stream
in each direction, through two buffers by turns (MEMO, arXiv 2407.12117, section 4). The event engine says when each
runs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from simulator.engine import Demand, Execution, Resource, Segment, Task, TaskGraph, execute

__all__ = ["PassStep", "pass_graph", "run_pass"]

_COMPUTE, _EXCHANGE, _OUT, _IN = "compute", "exchange", "out", "in"
_RESOURCES = (
    Resource(_COMPUTE, "engine"),
    Resource(_EXCHANGE, "fabric"),
    Resource(_OUT, "link"),
    Resource(_IN, "link"),
)
BUFFERS = 2
"""Of each kind that is in transit, by turns."""


@dataclass(frozen=True)
class PassStep:
    """A piece's pass: seconds of its computation, of gathering its weights before and of its gradients' exchange after,
    and of its activations' way out after and in before."""

    name: str
    compute_s: float
    before_s: float = 0.0
    after_s: float = 0.0
    out_s: float = 0.0
    in_s: float = 0.0


def run_pass(steps: Sequence[PassStep], prefetch: int = 1) -> Execution:
    """Execute the pieces in order, with weights gathered at most ``prefetch`` pieces ahead."""
    return execute(pass_graph(steps, prefetch), unroll=True)


def pass_graph(steps: Sequence[PassStep], prefetch: int = 1) -> TaskGraph:
    """The pieces' tasks; each stream serves them in order."""
    tasks: list[Task] = []
    for at, step in enumerate(steps):
        first = at == 0
        tasks += _ahead(steps, range(0 if first else at + prefetch, at + prefetch + 1), _GATHER, 1 + prefetch)
        tasks += _ahead(steps, range(0 if first else at + BUFFERS - 1, at + BUFFERS), _FETCH, BUFFERS)
        waits = [name for name, seconds in ((f"gather {at}", step.before_s), (f"in {at}", step.in_s)) if seconds]
        if at >= BUFFERS and steps[at - BUFFERS].out_s:
            waits.append(f"out {at - BUFFERS}")
        name = f"{step.name} {at}"
        work = Demand(_COMPUTE, step.compute_s, step.compute_s, "s")
        tasks.append(Task(name, "compute", (work,), held=(_COMPUTE,), after=tuple(waits)))
        if step.out_s:
            tasks.append(Task(f"out {at}", "transfer", (Demand(_OUT, step.out_s),), after=(name,)))
        if step.after_s:
            tasks.append(Task(f"reduce {at}", "collective", (Demand(_EXCHANGE, step.after_s),), after=(name,)))
    return TaskGraph(_RESOURCES, (Segment("pass", tuple(tasks)),))


_GATHER, _FETCH = "gather", "in"


def _ahead(steps: Sequence[PassStep], which: range, kind: str, buffers: int) -> Iterator[Task]:
    """Gathers or fetches of pieces, each into the buffer of the piece ``buffers`` before it."""
    for at in which:
        seconds = 0.0 if at >= len(steps) else steps[at].before_s if kind == _GATHER else steps[at].in_s
        if not seconds:
            continue
        after = (f"{steps[at - buffers].name} {at - buffers}",) if at >= buffers else ()
        if kind == _GATHER:
            yield Task(f"gather {at}", "collective", (Demand(_EXCHANGE, seconds),), after=after)
        else:
            yield Task(f"in {at}", "transfer", (Demand(_IN, seconds),), after=after)
