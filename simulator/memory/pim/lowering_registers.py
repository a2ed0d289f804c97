"""Programs for units with vector registers beside two banks, as SAITPublic/PIMSimulator drives them.

Matrix-vector product. The 16 lanes of a unit hold 16 columns of one row of the matrix; a unit owns ``results`` rows at
a time, one result register each, so a *tile* is ``inputs`` vectors of 16 columns by ``results`` rows: 64 bursts. Input
tiles alternate between even and odd banks; all even ones come first. A tile's inputs are written to the registers of
all units, then its bursts are multiplied and added in groups of ``results``. After the last tile the results are
written to the odd banks, 16 partial sums each, which the host reads (Samsung's benchmark does not) and adds up.

Element-wise, addition and multiplication alike. Elements lie in the same columns of both operands' rows. Eight bursts
of each bank are read into registers, eight of the other operand added on the way, eight written; even banks, then odd
ones; then one write more.

Modes. A row of registers at the top of every bank is written to. All 16 banks are read once ("park"); four writes
switch to all-bank mode, instructions are written, one write starts computing and one ends it; two writes go back, and
two banks are read once more. (src/tests/PIMKernel.cpp at 2efbd27; facts only.)
"""

from __future__ import annotations

from math import ceil

from simulator.memory.pim.device import PimDevice
from simulator.memory.pim.program import COMPUTE, DRAIN, FILL, MODE, MOVE, Group, Loop, Op, Pass, Program
from workloads.errors import InputError

__all__ = ["eltwise_registers", "gemv_registers"]

_PARK_ROW, _TO_ALL_ROW, _TO_SINGLE_ROW, _REGISTER_ROW = 0x1000, 0x17FF, 0x1FFF, 0x3FFF
_ELEMENT_BYTES = 2
_EVEN, _ODD = "compute_even", "compute_odd"
_OPERAND_ROWS = (0, 128, 256)  # first rows of both operands and of the result


def _one(op: Op) -> Group:
    return Group((op,))


def _begin(pim: PimDevice, instructions: int) -> tuple[Loop, ...]:
    groups, banks = pim.dram.shape[2], pim.dram.shape[3]
    order = [f"bank{group * banks + bank}" for bank in range(banks) for group in range(groups)]
    park = Group(tuple(Op("read", where, _PARK_ROW, 1, MODE) for where in order))
    two = 2 * banks
    switch = Group(tuple(Op("write", f"bank{bank}", _TO_ALL_ROW, 1, MODE) for bank in (0, 1, two, two + 1)))
    per_burst = pim.dram.burst_bytes * 8 // pim.registers.instruction_bits
    program = _one(Op("write", _ODD, _REGISTER_ROW, ceil(instructions / per_burst), MODE))
    return (Loop((park, switch, program)),)


def _mode() -> Group:
    return _one(Op("write", _EVEN, _REGISTER_ROW, 1, MODE))


def _end() -> tuple[Loop, ...]:
    back = Group((Op("write", _EVEN, _TO_SINGLE_ROW, 1, MODE), Op("write", _ODD, _TO_SINGLE_ROW, 1, MODE)))
    park = Group((Op("read", "bank0", _PARK_ROW, 1, MODE), Op("read", "bank1", _PARK_ROW, 1, MODE)))
    return (Loop((back, park)),)


def _tile(pim: PimDevice, where: str, row_step: int) -> tuple[Group, ...]:
    inputs, results = pim.registers.inputs, pim.registers.results
    per_row = pim.dram.bursts_per_row
    fill = _one(Op("fill", _ODD, _REGISTER_ROW, inputs, FILL))
    compute = (
        _one(Op("compute", where, at // per_row, results, COMPUTE, row_step))
        for at in range(0, inputs * results, results)
    )
    return (fill, *compute)


def gemv_registers(pim: PimDevice, rows: int, columns: int, batch: int, *, read_results: bool = False) -> Program:
    """``rows`` x ``columns`` in fp16 times ``batch`` vectors; with ``read_results`` the host reads the partial sums.

    Raises `InputError` if the matrix does not fit.
    """
    inputs, results, lanes = pim.registers.inputs, pim.registers.results, pim.lanes
    row_tiles = ceil(rows / (pim.channels * pim.units * results))
    tiles = ceil(columns / (lanes * inputs))
    even, odd = ceil(tiles / 2), tiles // 2
    row_step = inputs * results // pim.dram.bursts_per_row
    needed = row_tiles * even * row_step
    if needed >= _PARK_ROW:
        raise InputError(f"a matrix of {needed:,} rows of each bank", f"at most {_PARK_ROW:,}", "rows")
    loops = [Loop((_mode(),)), Loop(_tile(pim, _EVEN, row_step), even)]
    if odd:
        loops.append(Loop(_tile(pim, _ODD, row_step), odd))
    loops.append(Loop((_one(Op("drain", _ODD, needed, results, DRAIN)), _mode())))
    tiles_of_rows = Pass(tuple(loops), batch) if row_tiles == 1 else Pass(tuple(loops), row_tiles, even * row_step)
    middle = (tiles_of_rows,) if row_tiles == 1 else (tiles_of_rows,) * batch
    odd_banks = sorted(pim.sets[_ODD])
    back = Group(tuple(Op("read", f"bank{bank}", needed, results, DRAIN) for bank in odd_banks))
    read = (Pass((Loop((back,), row_tiles * batch),)),) if read_results else ()
    bursts = row_tiles * tiles * inputs * results * batch * pim.units
    burst = pim.dram.burst_bytes
    return Program(
        (Pass(_begin(pim, 6)), *middle, Pass(_end()), *read),
        bytes_inside=(bursts + row_tiles * batch * results * pim.units) * burst,
        bytes_in=row_tiles * batch * tiles * inputs * burst,
        bytes_out=row_tiles * batch * len(odd_banks) * results * burst if read_results else 0,
        multiply_adds=bursts * lanes,
    )


def eltwise_registers(pim: PimDevice, elements: int) -> Program:
    """One operation on two vectors of ``elements`` in fp16. Raises `InputError` for vectors the rows cannot hold."""
    registers, burst, per_row = pim.registers.results, pim.dram.burst_bytes, pim.dram.bursts_per_row
    tiles = ceil(elements * _ELEMENT_BYTES / (pim.dram.banks * pim.channels * registers * burst))
    if tiles * registers > _OPERAND_ROWS[1] * per_row:
        raise InputError(
            f"{tiles * registers:,} bursts of each bank", f"at most {_OPERAND_ROWS[1] * per_row:,}", "elements"
        )
    loops = [Loop((_mode(),))]

    def tile(row: int) -> tuple[Group, ...]:
        groups = []
        for where in (_EVEN, _ODD):
            first, second, result = (base + row for base in _OPERAND_ROWS)
            groups.append(_one(Op("read", where, first, registers, MOVE, 1)))
            groups.append(_one(Op("compute", where, second, registers, COMPUTE, 1)))
            groups.append(_one(Op("write", where, result, registers, DRAIN, 1)))
        groups.append(_one(Op("write", _ODD, _OPERAND_ROWS[2] + row, 1, DRAIN, 1)))
        return tuple(groups)

    per = per_row // registers
    whole, rest = divmod(tiles, per)
    if whole:
        loops.append(Loop(tile(0) * per, whole))
    if rest:
        loops.append(Loop(tile(whole) * rest))
    loops.append(Loop((_mode(),)))
    moved = 3 * tiles * pim.dram.banks * registers * burst
    passes = (Pass(_begin(pim, 8)), Pass(tuple(loops)), Pass(_end()))
    operations = tiles * pim.dram.banks * registers * pim.lanes
    return Program(passes, moved + tiles * pim.units * burst, 0, 0, operations)
