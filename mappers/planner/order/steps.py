"""What one operation costs when a set of others has run: the moves of every search, on bit sets.

How much an operation holds, and what it leaves, depends only on which operations have run, not on their order: so the
sets of operations that may have run (closed under "needs the result of") are the states of the search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from mappers.planner.order.graph import OrderGraph, bits

__all__ = ["Moves", "Step", "profile"]


@dataclass(frozen=True, slots=True)
class Step:
    """One operation of an order: bytes held while it runs, bytes left after it, the input its output overwrites."""

    op: int
    during_bytes: int
    after_bytes: int
    overwrites: int | None


class Moves:
    """A graph prepared for asking what the next operation costs."""

    def __init__(self, graph: OrderGraph) -> None:
        sizes = [tensor.bytes for tensor in graph.tensors]
        self.graph = graph
        self.count = len(graph.ops)
        self.full = (1 << self.count) - 1
        self.adds: list[int] = []
        """Outputs and scratch, in bytes."""
        self.stays: list[int] = []
        """Outputs that anybody wants, in bytes."""
        self.frees: list[tuple[tuple[int, int], ...]] = []
        """Inputs that may end: (readers, bytes)."""
        self.saves: list[tuple[tuple[int, int, int], ...]] = []
        """Inputs that may be overwritten, most saved first: (readers, bytes saved, tensor)."""
        for op in graph.ops:
            reads, writes = graph.positions(op.reads), graph.positions(op.writes)
            self.adds.append(sum(sizes[t] for t in writes) + op.scratch_bytes)
            self.stays.append(sum(sizes[t] for t in writes if graph.wanted(t)))
            self.frees.append(tuple((graph.readers[t], sizes[t]) for t in reads if t not in graph.kept and sizes[t]))
            over = [(graph.readers[t], min(sizes[t], sizes[writes[0]]), t) for t in graph.positions(op.in_place)]
            over = [save for save in over if save[2] not in graph.kept]
            self.saves.append(tuple(sorted(over, key=lambda save: -save[1])))
        self.near: list[int] = []
        """Operations that read the same inputs, as bits: the cost depends on which of them have run."""
        for op in graph.ops:
            near = 0
            for t in graph.positions(op.reads):
                near |= graph.readers[t]
            self.near.append(near)
        self._known: list[dict[int, tuple[int, int]]] = [{} for _ in graph.ops]
        self.before = graph.before
        self.after = tuple(tuple(bits(mask)) for mask in graph.after)

    def start(self) -> tuple[int, int]:
        """Bytes held at the start, and the operations that may run, as bits."""
        return self.graph.start_bytes, sum(1 << i for i in range(self.count) if not self.before[i])

    def cost(self, op: int, done: int) -> tuple[int, int]:
        """Bytes more that are held while ``op`` runs, and after it, than before, when ``done`` have run."""
        known = self._known[op]
        key = done & self.near[op]
        found = known.get(key)
        if found is None:
            after = key | 1 << op
            saved = next((saved for readers, saved, _ in self.saves[op] if not readers & ~after), 0)
            freed = sum(size for readers, size in self.frees[op] if not readers & ~after)
            found = known[key] = self.adds[op] - saved, self.stays[op] - freed
        return found

    def ready_after(self, op: int, done: int, ready: int) -> int:
        """What may run once ``op`` has; ``done`` is without ``op``."""
        done |= 1 << op
        ready &= ~(1 << op)
        for other in self.after[op]:
            if not self.before[other] & ~done:
                ready |= 1 << other
        return ready


def profile(graph: OrderGraph, order: Sequence[int]) -> list[Step]:
    """Each step of ``order`` (positions of operations, each once, after what it needs)."""
    moves = Moves(graph)
    held, done, steps = graph.start_bytes, 0, []
    for op in order:
        over = next((t for readers, _, t in moves.saves[op] if not readers & ~(done | 1 << op)), None)
        during, grows = moves.cost(op, done)
        steps.append(Step(op, held + during, held + grows, over))
        held += grows
        done |= 1 << op
    return steps
