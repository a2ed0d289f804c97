"""What a device of a stage asks its allocator for during a step, pass by pass and operation by operation.

The inventory adds peaks that come one after the other; here every tensor is asked for when it is written and given back
after its last reader: activations that are kept at their last use in the backward pass, gathered weights and whole
gradients with the piece after theirs. A caching allocator that replays the requests shows what a framework reserves
(`mappers.planner.allocation.caching`), a static plan what it could do with.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mappers.planner.allocation.caching import CachingResult, replay_requests
from mappers.planner.allocation.requests import Request
from mappers.planner.liveness import activation_bytes, activation_spans
from simulator.training.pipeline.execution import PipelineRun
from simulator.training.pipeline.schedules import Pass, Schedule
from simulator.training.step.exchange import sharing_groups
from simulator.training.step.inventory import stage_memory
from simulator.training.step.pieces import Piece, Pieces, split_head
from simulator.training.step.setup import Setup
from workloads.errors import InputError
from workloads.workload import Layer, Op

__all__ = ["MemoryTrace", "trace_memory"]


@dataclass(frozen=True)
class MemoryTrace:
    """``requests`` in order, each at ``times_s``; ``held_bytes`` after each."""

    requests: tuple[Request, ...]
    times_s: NDArray[np.float64]

    @property
    def held_bytes(self) -> NDArray[np.float64]:
        """Bytes asked for and not given back, after each request."""
        return np.cumsum([request.size if request.wanted else -request.size for request in self.requests])

    @property
    def peak_bytes(self) -> int:
        """The most bytes held at once."""
        return int(self.held_bytes.max(initial=0))

    def cached(self) -> CachingResult:
        """What a caching allocator reserves for the requests."""
        return replay_requests(self.requests)


def trace_memory(setup: Setup, pieces: Pieces, run: PipelineRun, stage: int) -> MemoryTrace:
    """The requests of one device of ``stage`` in a step that ran as ``run``; those of a pass stand evenly in its time.

    Raises `InputError` where activations leave the device: what is in transit is not traced.
    """
    if setup.activations is not None:
        raise InputError("a trace of activations that leave", "activations that stay", "activations")
    tracer = _Tracer(setup, pieces, run.schedule, stage)
    requests, times = list(tracer.resident()), list[float]()
    times += [0.0] * len(requests)
    for index, (kind, chunk, micro) in enumerate(run.schedule.order(stage)):
        found = tracer.run_pass(kind, chunk, micro)
        begin, finish = run.begin_s[stage, index], run.finish_s[stage, index]
        times += np.linspace(begin, finish, len(found)).tolist()
        requests += found
    return MemoryTrace(tuple(requests), np.array(times))


class _Tracer:
    def __init__(self, setup: Setup, pieces: Pieces, schedule: Schedule, stage: int) -> None:
        self.setup, self.stage = setup, stage
        self.memory = stage_memory(setup, pieces, schedule, stage)
        self.chunks = [
            pieces.of_stage(schedule.stages, schedule.chunks, schedule.position(stage, chunk))
            for chunk in range(schedule.chunks)
        ]
        parallel = setup.parallel
        divided = sharing_groups(parallel)[0].size > 1 and parallel.reshard
        self.gathers, self.scatters = divided and parallel.zero >= 3, divided and parallel.zero >= 2
        self.steps: dict[tuple[str, bool], list[_OpRequests]] = {}
        self.live: dict[str, int] = {}

    def resident(self) -> Iterator[Request]:
        """What stands for the whole step; whole weights and gradients that stand for it too."""
        static = {name: getattr(self.memory, name) for name in ("weights", "gradients", "optimizer")}
        if not (self.gathers or self.scatters):
            static["gathered"] = self.memory.gathered
        for name, size in static.items():
            if size:
                yield Request(True, name, round(size))

    def run_pass(self, kind: Pass, chunk: int, micro: int) -> list[Request]:
        """The requests of a pass of a micro-batch."""
        if kind not in (Pass.F, Pass.B):
            return []
        forward = kind == Pass.F
        held: Sequence[Piece] = self.chunks[chunk] if forward else self.chunks[chunk][::-1]
        number = list(range(len(held))) if forward else list(range(len(held)))[::-1]
        out: list[Request] = []
        handed: list[str] = []
        for at, piece in enumerate(held):
            if self.gathers:
                window = range(at + self.setup.prefetch if at else 0, at + self.setup.prefetch + 1)
                due = [ahead for ahead in window if ahead < len(held)]
                out += [self._take(f"gathered {kind.name}{ahead}", held[ahead].weight_bytes) for ahead in due]
            if self.scatters and not forward:
                out.append(self._take(f"whole gradients {at}", piece.gradient_bytes))
            handed = self._piece(out, piece, f"{micro}.{chunk}.{number[at]}", handed, forward=forward)
            if self.gathers:
                out.append(self._give(f"gathered {kind.name}{at}"))
            if self.scatters and not forward and at:
                out.append(self._give(f"whole gradients {at - 1}"))
        if self.scatters and not forward:
            out.append(self._give(f"whole gradients {len(held) - 1}"))
        out += [self._give(name) for name in handed]
        return out

    def _piece(self, out: list[Request], piece: Piece, label: str, handed: list[str], *, forward: bool) -> list[str]:
        """The requests of a piece's operations; returns what it hands on."""
        ops = self._requests_of(piece, forward)
        out += [self._give(name) for name in handed]
        for step in ops:
            out += [self._take(f"{label} {'F' if forward else 'B'} {name}", size) for name, size in step.made]
            out += [self._take(f"{label} kept {name}", size) for name, size in step.kept]
            out += [self._give(f"{label} {'F' if forward else 'B'} {name}") for name in step.done]
            out += [self._give(f"{label} kept {name}") for name in step.read_last]
        return [f"{label} {'F' if forward else 'B'} {name}" for name in ops[-1].left] if ops else []

    def _requests_of(self, piece: Piece, forward: bool) -> list[_OpRequests]:
        key = piece.name, forward
        if key not in self.steps:
            self.steps[key] = list(_op_requests(piece, forward))
        return self.steps[key]

    def _take(self, name: str, size: float) -> Request:
        self.live[name] = round(size)
        return Request(True, name, round(size))

    def _give(self, name: str) -> Request:
        return Request(False, name, self.live.pop(name))


@dataclass(frozen=True)
class _OpRequests:
    """What an operation makes, what of it is kept for the backward pass, what nobody reads after it, and what is left
    for the piece after (of the last operation)."""

    made: tuple[tuple[str, float], ...]
    kept: tuple[tuple[str, float], ...]
    done: tuple[str, ...]
    read_last: tuple[str, ...]
    left: tuple[str, ...]


def _op_requests(piece: Piece, forward: bool) -> Iterator[_OpRequests]:
    layer = piece.forward if forward else piece.backward
    ops = _ops_of(piece, layer, forward)
    sizes, spans = activation_bytes(layer), activation_spans(layer)
    index = {op.name: at for at, op in enumerate(layer.ops)}
    kept = {tensor.name: tensor.bytes for tensor in piece.forward.stored if tensor.role == "activations"}
    writes = {o.stored: op.name for op in layer.ops for o in op.operands if o.access == "write" and o.stored in kept}
    reads = {o.stored: op.name for op in layer.ops for o in op.operands if o.access == "read" and o.stored in kept}
    first, last = index[ops[0].name], index[ops[-1].name]
    spans = {name: (max(start, first), end) for name, (start, end) in spans.items() if start <= last and end >= first}
    over = len(layer.ops) - 1
    for op in ops:
        at = index[op.name]
        keeps = [(name, kept[name]) for name, writer in writes.items() if forward and writer == op.name and name]
        freed = [name for name, reader in reads.items() if not forward and reader == op.name and name]
        if not forward and at == last:
            freed += [name for name in kept if name not in reads]
        yield _OpRequests(
            tuple((name, sizes[name]) for name, (start, _) in spans.items() if start == at),
            tuple(keeps),
            tuple(name for name, (_, end) in spans.items() if end == at != over),
            tuple(freed),
            tuple(name for name, (_, end) in spans.items() if end > last or end == over) if at == last else (),
        )


def _ops_of(piece: Piece, layer: Layer, forward: bool) -> list[Op]:
    if not piece.is_head:
        return list(layer.ops)
    names = split_head(layer)[0 if forward else 1]
    return [op for op in layer.ops if op.name in names]
