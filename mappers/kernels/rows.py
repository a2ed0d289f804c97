"""The time of kernels that stream their operands once: norms, softmax, element-wise work, gathers.

Bytes pass at a share of the memory's bandwidth; rows wider than ``WIDE_ROW_BYTES`` do not stay in a unit between the
passes over them, and a library kernel reads them again. A call takes ``launch_s`` beside; where each is called from the
host by itself, none ends before the host has made it, ``host_s``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mappers.kernels.machine import KernelMachine
from mappers.kernels.time import KernelTime

__all__ = ["WIDE_ROW_BYTES", "RowConstants", "RowShapes", "row_time"]

Numbers = NDArray[np.float64]

WIDE_ROW_BYTES = 16 * 1024
"""Where the measured layer norms begin to read rows again: between 8192 and 16384 elements of 16 bits on an A100."""


@dataclass(frozen=True)
class RowConstants:
    """What was fitted for one kind: share of the bandwidth, the factor on the time of wide rows, seconds per call."""

    memory_efficiency: float
    wide_row_factor: float
    launch_s: float
    host_s: float


@dataclass(frozen=True, eq=False)
class RowShapes:
    """Kernels, an entry each: bytes read and written once, bytes of one row (0: no rows), operations in fp32."""

    moved_bytes: Numbers
    row_bytes: Numbers
    operations: Numbers


def row_time(machine: KernelMachine, constants: RowConstants, shapes: RowShapes) -> KernelTime:
    """Seconds of every kernel."""
    again = np.where(shapes.row_bytes > WIDE_ROW_BYTES, constants.wide_row_factor, 1.0)
    memory = shapes.moved_bytes / (machine.read_bytes_per_s * constants.memory_efficiency) * again
    compute = shapes.operations / machine.vector_ops_per_s
    busy = np.maximum(memory, compute)
    return KernelTime(compute, memory, np.maximum(constants.launch_s, constants.host_s - busy))
