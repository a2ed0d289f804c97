"""Cycles of a skewed systolic array: a contraction runs in folds, each of which fills, streams and drains the array.

The ranks of the contraction fall into four groups: M (input and output), N (weight and output), K (summed over) and
batch (all three). A dataflow lays two of the groups on the array and streams the third through it:

=====================  =======  =======  ======  ==============================================
dataflow               rows     columns  stream  cycles of one fold, R rows and C columns
=====================  =======  =======  ======  ==============================================
``os`` output stays    M        N        K       stream + R + C - 2
``ws`` weights stay    K        N        M       R to load, then stream + R + C - 2
``is`` inputs stay     K        M        N       R to load, then stream + R + C - 2
=====================  =======  =======  ======  ==============================================

A fold at the edge, which leaves rows or columns idle, takes as long as a full one: data marches through idle elements
too. Folds do not overlap. Cycles are counted as SCALE-Sim 3.0.0 counts them (scalesim-project/SCALE-Sim, checked by
runs of it): ``compute_cycles`` is the number of the last cycle, the first being 0; before that, half of each operand's
buffer is filled, at most with all of the operand; after it, the results left in the output buffer drain. SCALE-Sim
keeps account of operand buffers in hundredths of their size, sends every fold's sums through the output buffer, also
those that later folds add to, drains it by halves, closes a line when a half overflows, and lets the last two drains
overlap. All of that is followed here. What it does not know is a batch: batches run one after the other.
"""

from __future__ import annotations

import bisect
import itertools
import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

from mappers.mapspace.problem import EinsumProblem
from workloads.errors import InputError

__all__ = [
    "DATAFLOWS",
    "Buffer",
    "Buffers",
    "Dataflow",
    "GemmRanks",
    "Packing",
    "SystolicCycles",
    "array_packing",
    "gemm_ranks",
    "systolic_cycles",
]

Dataflow: TypeAlias = Literal["ws", "os", "is"]
DATAFLOWS: tuple[Dataflow, ...] = ("ws", "os", "is")

_PARTS = 100
"""SCALE-Sim fills operand buffers in steps of one hundredth (read_buffer_estimate_bw)."""


@dataclass(frozen=True, slots=True)
class Buffer:
    """An on-chip buffer: ``words`` of one tensor's elements, moved at ``words_per_cycle`` from or to the next level."""

    words: int
    words_per_cycle: float


@dataclass(frozen=True, slots=True)
class Buffers:
    """The buffers of the three tensors. None: data is at hand at once, results are gone at once."""

    input: Buffer | None = None
    weight: Buffer | None = None
    output: Buffer | None = None


@dataclass(frozen=True, slots=True)
class GemmRanks:
    """The ranks of a contraction by the tensors that have them; each group from the outermost to the innermost."""

    m: tuple[str, ...]
    n: tuple[str, ...]
    k: tuple[str, ...]
    batch: tuple[str, ...]

    def laid_out(self, dataflow: Dataflow) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
        """The groups on the rows, on the columns and in the stream."""
        groups = {"os": (self.m, self.n, self.k), "ws": (self.k, self.n, self.m), "is": (self.k, self.m, self.n)}
        return groups[dataflow]


@dataclass(frozen=True, slots=True)
class Packing:
    """A group of ranks on one side of the array: the tile of each rank, and the lanes that each fold occupies."""

    tiles: tuple[tuple[str, int], ...]
    lanes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SystolicCycles:
    """``total_cycles`` is the sum of the three parts before it.

    ``mapping_efficiency`` is the mean share of elements that a fold occupies; ``utilisation`` the multiply-accumulates
    over elements times ``compute_cycles``.
    """

    folds: int
    compute_cycles: int
    prefetch_cycles: int
    drain_cycles: int
    total_cycles: int
    mapping_efficiency: float
    utilisation: float


def gemm_ranks(problem: EinsumProblem) -> GemmRanks:
    """The ranks of ``problem`` in groups. Raises `InputError` unless it contracts two operands."""
    if not problem.contraction or len(problem.operands) != 2:
        raise InputError(
            f"Einsum {problem.name!r} has {len(problem.operands)} operands or is no contraction",
            "a contraction of two operands for a systolic array",
            problem.name,
        )
    first, second = (use.ranks for use in problem.operands)
    output = problem.output.ranks
    groups: dict[str, list[str]] = {"m": [], "n": [], "k": [], "batch": []}
    for rank in problem.ranks:
        if rank not in output:
            groups["k"].append(rank)
        elif rank not in first:
            groups["n"].append(rank)
        else:
            groups["batch" if rank in second else "m"].append(rank)
    return GemmRanks(*(tuple(groups[name]) for name in ("m", "n", "k", "batch")))


def array_packing(problem: EinsumProblem, ranks: tuple[str, ...], width: int) -> Packing:
    """``ranks`` on ``width`` lanes: innermost ranks first, an outer one beside whole inner ones only.

    With one rank this is the cut into pieces of ``width`` that SCALE-Sim makes.
    """
    tiles: dict[str, int] = {}
    free = width
    for rank in reversed(ranks):
        size = problem.size[rank]
        tiles[rank] = min(size, free)
        free = free // size if size <= free else 1
    pieces = [_pieces(problem.size[rank], tiles[rank]) for rank in ranks]
    lanes = tuple(math.prod(chosen) for chosen in itertools.product(*pieces))
    return Packing(tuple((rank, tiles[rank]) for rank in ranks), lanes)


def systolic_cycles(
    problem: EinsumProblem, rows: int, columns: int, dataflow: Dataflow, buffers: Buffers | None = None
) -> SystolicCycles:
    """Cycles of a contraction on an array of ``rows`` x ``columns``; the module says how they are counted.

    Without ``buffers`` nothing is prefetched or drained. Raises `InputError` for what is no contraction of two
    operands and for an array without elements.
    """
    if rows < 1 or columns < 1:
        raise InputError(f"an array of {rows} x {columns}", "at least one row and one column", "fanout")
    ranks = gemm_ranks(problem)
    row_ranks, column_ranks, stream_ranks = ranks.laid_out(dataflow)
    run = _Run(
        rows,
        columns,
        array_packing(problem, row_ranks, rows).lanes,
        array_packing(problem, column_ranks, columns).lanes,
        _product(problem, stream_ranks),
        _product(problem, ranks.batch),
        dataflow == "os",
    )
    last = run.folds * run.fold_cycles - 1
    buffers = buffers or Buffers()
    prefetch = _prefetch_cycles(problem, rows, dataflow, buffers)
    drain = _drain_cycles(run, buffers.output) if buffers.output else 0
    elements = rows * columns
    return SystolicCycles(
        folds=run.folds,
        compute_cycles=last,
        prefetch_cycles=prefetch,
        drain_cycles=drain,
        total_cycles=last + prefetch + drain,
        mapping_efficiency=run.batches * sum(run.row_lanes) * sum(run.column_lanes) / (run.folds * elements),
        utilisation=problem.points / (max(last, 1) * elements),
    )


@dataclass(frozen=True, slots=True)
class _Run:
    """All folds of a contraction, in the order batch, columns, rows from the outermost to the innermost loop."""

    rows: int
    columns: int
    row_lanes: tuple[int, ...]
    column_lanes: tuple[int, ...]
    stream: int
    batches: int
    output_stays: bool

    @property
    def folds(self) -> int:
        return self.batches * len(self.row_lanes) * len(self.column_lanes)

    @property
    def fold_cycles(self) -> int:
        load = 0 if self.output_stays else self.rows
        return load + self.stream + self.rows + self.columns - 2

    @property
    def words_out(self) -> int:
        """Sums that leave the array, those of every fold."""
        per_batch = sum(self.row_lanes) if self.output_stays else len(self.row_lanes) * self.stream
        return self.batches * per_batch * sum(self.column_lanes)

    def emission(self, fold: int) -> tuple[int, int, int]:
        """Of a fold: columns in use, words from each, and the cycle of the first word from the first column."""
        column, row = divmod(fold % (len(self.row_lanes) * len(self.column_lanes)), len(self.row_lanes))
        if not self.output_stays:
            return self.column_lanes[column], self.stream, 2 * self.rows - 1
        used = self.row_lanes[row]  # results leave from the last row on, so idle rows come first
        return self.column_lanes[column], used, self.stream - 1 + self.rows - used

    def cycle_of_word(self, word: int) -> int:
        """The cycle in which the ``word``-th sum leaves, counted from 1."""
        fold, after = self.folds - 1, self.words_out
        while True:  # from the end, near which the word is
            columns, each, start = self.emission(fold)
            before = after - columns * each
            if before < word:
                break
            fold, after = fold - 1, before
        return (
            fold * self.fold_cycles
            + bisect.bisect_left(
                range(start, start + each + columns),
                word - before,
                key=lambda cycle: _sent(cycle - start, columns, each),
            )
            + start
        )


def _prefetch_cycles(problem: EinsumProblem, rows: int, dataflow: Dataflow, buffers: Buffers) -> int:
    """Cycles before the array starts, in which the operand that takes longer fills half of its buffer."""
    stays = {"ws": "weight", "is": "input"}.get(dataflow)
    earliest = 0
    for use, buffer in zip(problem.operands, (buffers.input, buffers.weight), strict=True):
        if buffer is None:
            continue
        part = max(1, buffer.words // _PARTS)
        half = _PARTS // 2 * part
        words = use.elements(problem.size)
        if words < half:
            start = -math.ceil(math.ceil(words / part) * part / buffer.words_per_cycle)
        else:  # a full half is timed to be there when it is first asked for: the stream waits for the loading
            wanted = 0 if stays in (None, use.role) else rows
            start = wanted - math.ceil(half / buffer.words_per_cycle)
        earliest = min(earliest, start)
    return -earliest


def _drain_cycles(run: _Run, buffer: Buffer) -> int:
    """Cycles after the last one of the array until the output buffer is empty."""
    line = max(1, int(buffer.words_per_cycle))
    half = buffer.words - math.ceil(buffer.words / 2)
    half_lines = max(1, math.ceil(half / line))
    written = lines = held = sent = 0  # held: words that the buffer believes it has, idle places in lines included
    while written + (needed := max(1, half + 1 - held)) <= run.words_out:
        written += needed
        lines += math.ceil(needed / line)
        sent = min(half_lines, lines)
        lines -= sent
        idle = -needed % line if lines == 0 else 0
        held += needed - (sent * line - idle)
    last = run.folds * run.fold_cycles - 1
    end = last + max(0, lines + math.ceil((run.words_out - written) / line) - 1)
    if sent:
        end = max(end, run.cycle_of_word(written) + sent - 1)
    return end - last


def _sent(cycle: int, columns: int, each: int) -> int:
    """Words sent by ``columns`` columns, each one cycle after its neighbour, up to and in ``cycle`` of the first."""
    return sum(min(max(cycle - column + 1, 0), each) for column in range(columns))


def _pieces(size: int, tile: int) -> list[int]:
    return [min(tile, size - start) for start in range(0, size, tile)]


def _product(problem: EinsumProblem, ranks: tuple[str, ...]) -> int:
    return math.prod(problem.size[rank] for rank in ranks)
