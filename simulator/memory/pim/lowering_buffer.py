"""Programs for units that hold input vectors in a buffer beside them, as AttAcc and Duplex drive theirs.

A unit owns whole rows of the matrix, or ``row_split`` units share one and each take a part of its columns. Input
vectors are written to the buffers of all units at once; as much of them as a buffer holds makes a *slice* of columns.
Compute commands then run down the bursts of the open row, one row of every bank after the other, each burst serving
``vectors`` input vectors; bank sets take turns of a row each. Results leave a burst at a time as they are finished,
from every unit in turn, both pseudo-channels at once. Where ``moves_overlap`` that goes on beside computing, since
results and inputs have a path of their own. (The bank-level score phase of pim_ramulator_src/trace_gen of
scale-snu/attacc_simulator c600051; facts only.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import ceil

from simulator.memory.pim.device import PimDevice
from simulator.memory.pim.program import COMPUTE, DRAIN, FILL, Group, Loop, Op, Pass, Program
from workloads.errors import InputError

__all__ = ["Slicing", "gemv_buffer", "slicing"]

_ELEMENT_BYTES = 2


@dataclass(frozen=True)
class Slicing:
    """How a product is cut: vectors at a time, passes over the matrix, bursts of a unit per row and slice, slices."""

    vectors: int
    passes: int
    bursts: int
    slices: int
    rows_per_unit: int


def slicing(pim: PimDevice, rows: int, columns: int, batch: int) -> Slicing:
    """The cut of a ``rows`` x ``columns`` product with ``batch`` vectors that reads the matrix least often."""
    vectors = min(batch, pim.vectors_per_read)
    burst = pim.dram.burst_bytes
    part = ceil(columns * _ELEMENT_BYTES / pim.row_split / burst)
    held = max(1, pim.buffer_bytes // (burst * vectors))
    slices = ceil(part / held)
    owners = pim.channels * _owners(pim) * len(pim.column_sets)
    return Slicing(vectors, ceil(batch / vectors), ceil(part / slices), slices, ceil(rows / owners))


def _owners(pim: PimDevice) -> int:
    """Matrix rows that one compute command works on."""
    return pim.units_per_command // pim.row_split


def gemv_buffer(pim: PimDevice, rows: int, columns: int, batch: int) -> Program:
    """``rows`` x ``columns`` in fp16 times ``batch`` vectors. Raises `InputError` if the matrix does not fit."""
    cut = slicing(pim, rows, columns, batch)
    burst, per_row = pim.dram.burst_bytes, pim.dram.bursts_per_row
    total = cut.rows_per_unit * cut.bursts  # of one set, one slice
    dram_rows = ceil(total / per_row)
    if dram_rows * cut.slices > pim.dram.rows:
        raise InputError(
            f"a matrix of {dram_rows * cut.slices:,} rows of each bank", f"at most {pim.dram.rows:,}", "rows"
        )
    fills = cut.bursts * pim.row_split * cut.vectors
    lanes_out = burst // _ELEMENT_BYTES
    per_owner = ceil(cut.rows_per_unit * cut.vectors / lanes_out) * len(pim.column_sets)
    drains = ceil(per_owner * _owners(pim) / pim.dram.data_buses)
    interval = pim.interval_ticks(cut.vectors)
    fill = Loop((Group((Op("fill", "all", None, fills, FILL),)),))
    slices = Pass((fill, *_sweep(pim, total, drains, interval)), cut.slices, dram_rows)
    computes = cut.passes * cut.slices * total * len(pim.column_sets)
    units = pim.units_per_command
    return Program(
        (slices,) * cut.passes if cut.slices > 1 else (replace(slices, count=cut.passes, advance=0),),
        bytes_inside=computes * units * burst,
        bytes_in=cut.passes * cut.slices * fills * burst,
        bytes_out=cut.passes * cut.slices * drains * burst * pim.dram.data_buses,
        multiply_adds=computes * units * (burst // _ELEMENT_BYTES) * cut.vectors,
    )


def _sweep(pim: PimDevice, bursts: int, drains: int, interval: int) -> list[Loop]:
    """All bursts of a slice, with the moves of results dealt evenly over the rows."""
    whole, rest = divmod(bursts, pim.dram.bursts_per_row)
    spread = drains // (whole + 1) if pim.moves_overlap else 0
    loops = []
    if whole:
        loops.append(Loop(_row(pim, 0, pim.dram.bursts_per_row, spread, interval), whole))
    if rest:
        loops.append(Loop(_row(pim, whole, rest, 0, interval)))
    left = drains - spread * whole
    if left:
        loops.append(Loop((Group((Op("drain", "all", None, left, DRAIN),)),)))
    return loops


def _row(pim: PimDevice, row: int, bursts: int, moves: int, interval: int) -> tuple[Group, ...]:
    sets, groups = pim.column_sets, []
    for number, where in enumerate(sets):
        share = moves // len(sets) + (number < moves % len(sets))
        ops = [Op("compute", where, row, bursts, COMPUTE, 1, interval)]
        if share:
            ops.append(Op("drain", "all", None, share, DRAIN, stream=1))
        groups.append(Group(tuple(ops)))
    return tuple(groups)
