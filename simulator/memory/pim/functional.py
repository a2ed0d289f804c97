"""What the programs compute, in numpy: data laid out in banks, then worked on in the order of the commands.

Units with registers round every product and every sum to fp16, as src/FP16.cpp of SAITPublic/PIMSimulator does; the
host adds the 16 partial sums of a row in the same format, one after the other. How the units of AttAcc and Duplex round
is not published; here products and sums are fp32 and results fp16.
"""

from __future__ import annotations

from math import ceil

import numpy as np
from numpy.typing import NDArray

from simulator.memory.pim.device import PimDevice
from simulator.memory.pim.lowering_buffer import slicing

__all__ = ["eltwise_in_banks", "gemv_in_banks", "place_matrix"]

Half = NDArray[np.float16]


def place_matrix(pim: PimDevice, matrix: Half) -> Half:
    """``matrix`` as it lies in banks: [row tile, channel, unit, parity, tile pair, input, result, lane], zero-padded.

    The last four count the bursts of a bank: a burst holds 16 columns of one row; eight rows, then the next 16 columns.
    """
    inputs, results, lanes = pim.registers.inputs, pim.registers.results, pim.lanes
    rows, columns = matrix.shape
    row_tiles = ceil(rows / (pim.channels * pim.units * results))
    pairs = ceil(ceil(columns / (lanes * inputs)) / 2)
    padded = np.zeros((row_tiles * pim.channels * pim.units * results, pairs * 2 * inputs * lanes), np.float16)
    padded[:rows, :columns] = matrix
    cut = padded.reshape(row_tiles, pim.channels, pim.units, results, pairs, 2, inputs, lanes)
    return np.ascontiguousarray(cut.transpose(0, 1, 2, 5, 4, 6, 3, 7))


def gemv_in_banks(pim: PimDevice, matrix: Half, vector: Half) -> Half:
    """``matrix`` times ``vector`` as the program of `simulator.memory.pim.gemv` does it."""
    if pim.layout != "registers":
        return _gemv_buffer(pim, matrix, vector)
    banks = place_matrix(pim, matrix)
    row_tiles, channels, units, _, pairs, inputs, results, lanes = banks.shape
    padded = np.zeros(pairs * 2 * inputs * lanes, np.float16)
    padded[: len(vector)] = vector
    registers = padded.reshape(pairs, 2, inputs, lanes)
    total = np.zeros((row_tiles, channels, units, results, lanes), np.float16)
    for parity in range(2):
        for pair in range(pairs):
            for number in range(inputs):
                product = (banks[:, :, :, parity, pair, number] * registers[pair, parity, number]).astype(np.float16)
                total = (total + product).astype(np.float16)
    out = total[..., 0]
    for lane in range(1, lanes):
        out = (out + total[..., lane]).astype(np.float16)
    return np.ascontiguousarray(out.reshape(-1)[: len(matrix)])


def _gemv_buffer(pim: PimDevice, matrix: Half, vector: Half) -> Half:
    rows, columns = matrix.shape
    cut = slicing(pim, rows, columns, 1)
    lanes = pim.dram.burst_bytes // 2
    width = cut.bursts * cut.slices * lanes
    wide = np.zeros((rows, pim.row_split * width), np.float32)
    wide[:, :columns] = matrix
    held = np.zeros(pim.row_split * width, np.float32)
    held[:columns] = vector
    parts = (wide * held).reshape(rows, pim.row_split, cut.slices, cut.bursts, lanes)
    total = np.zeros((rows, pim.row_split), np.float32)
    for number in range(cut.slices):
        for burst in range(cut.bursts):
            total += parts[:, :, number, burst].sum(axis=-1, dtype=np.float32)
    result: Half = total.sum(axis=1, dtype=np.float32).astype(np.float16)
    return result


def eltwise_in_banks(pim: PimDevice, first: Half, second: Half, *, multiply: bool = False) -> Half:
    """Element by element, tile by tile: eight bursts of every even bank, then of every odd one."""
    registers, lanes = pim.registers.results, pim.lanes
    groups, per_group = pim.dram.shape[2], pim.dram.shape[3]
    banks = groups * per_group
    tiles = ceil(len(first) / (registers * banks * pim.channels * lanes))
    placed = []
    for operand in (first, second):
        padded = np.zeros(tiles * registers * banks * pim.channels * lanes, np.float16)
        padded[: len(operand)] = operand
        placed.append(padded.reshape(tiles, registers, groups, per_group, pim.channels, lanes))
    result = np.zeros_like(placed[0])
    for tile in range(tiles):
        for parity in range(2):
            at = (tile, slice(None), slice(None), slice(parity, None, 2))
            one, other = placed[0][at], placed[1][at]
            result[at] = one * other if multiply else one + other
    return np.ascontiguousarray(result.reshape(-1)[: len(first)])
