"""Which kind of unit suits how much reuse: rate against operations per byte, each from its own commands.

Operations per byte (Op/B) as Duplex counts them: a matrix of fp16 read once for b vectors does 2 b operations on two
bytes, so Op/B is b.
"""

from __future__ import annotations

from dataclasses import dataclass

from simulator.memory.pim.device import PimDevice
from simulator.memory.pim.gemv import pim_gemv

__all__ = ["Point", "crossover", "rates"]


@dataclass(frozen=True)
class Point:
    """``operations_per_s`` reached at ``operations_per_byte``; ``bound_per_s`` with rows open and operands at hand."""

    operations_per_byte: int
    operations_per_s: float
    bound_per_s: float
    energy_j: float
    seconds: float


def rates(pim: PimDevice, rows: int, columns: int, batches: tuple[int, ...] = (1, 2, 4, 8, 16, 32)) -> list[Point]:
    """A ``rows`` x ``columns`` product at each batch, from its commands, and its bound."""
    out = []
    for batch in batches:
        result = pim_gemv(pim, rows, columns, 16, batch)
        vectors = min(batch, pim.vectors_per_read)
        bursts_per_s = pim.inside_bytes_per_s / pim.dram.burst_bytes * pim.compute_ticks / pim.interval_ticks(vectors)
        bound = bursts_per_s * pim.dram.burst_bytes * vectors
        useful = 2.0 * rows * columns * batch
        out.append(Point(batch, useful / result.seconds, bound, result.energy_j, result.seconds))
    return out


def crossover(first: list[Point], second: list[Point]) -> int | None:
    """The smallest Op/B at which ``second`` is faster than ``first``; None if it never is."""
    for one, other in zip(first, second, strict=True):
        if other.operations_per_s > one.operations_per_s:
            return one.operations_per_byte
    return None
