"""Time, energy and area of one floating-point operation in a lane, for each kind of cell, from its gate list."""

from __future__ import annotations

from dataclasses import dataclass

from hw.cost.bit_serial import CELLS
from simulator.memory.arrays.floats import FLOAT_LAYOUTS
from simulator.memory.arrays.operations import ArrayName, OperationName, operation_cost, operation_counts
from workloads.errors import unknown_name

__all__ = ["GATES_OF", "FloatCost", "float_costs"]

GATES_OF: dict[str, ArrayName] = {
    "memristor-nor": "nor",
    "memristor-circuit": "nor",
    "sot-fast": "sot",
    "sot-measured": "sot",
    "sot-slow": "sot",
    "dram-row": "bulk",
}
"""The gate lists that run on each of `hw.cost.bit_serial.CELLS`."""

_OPERATIONS: tuple[OperationName, ...] = ("add", "multiply")


@dataclass(frozen=True)
class FloatCost:
    """One operation of one lane: all lanes take ``latency_s`` together, ``energy_j`` and ``area_um2`` are a lane's.

    ``status`` is that of the cell's values. ``area_um2`` None: the cell's area is not known.
    """

    cell: str
    status: str
    layout: str
    operation: OperationName
    steps: int
    writes: int
    cells: int
    latency_s: float
    energy_j: float
    area_um2: float | None


def float_costs(*cells: str, subnormals: bool = False) -> tuple[FloatCost, ...]:
    """Addition and multiplication in every layout on ``cells`` (all of them when none is named).

    Without ``subnormals`` operands and results are zero or normal. Raises `InputError` for a cell that is not there.
    """
    rows = []
    for name in cells or tuple(CELLS):
        if name not in CELLS:
            raise unknown_name("cell", name, CELLS)
        for layout in FLOAT_LAYOUTS:
            for operation in _OPERATIONS:
                counts = operation_counts(GATES_OF[name], operation, layout, subnormals=subnormals)
                cost = operation_cost(CELLS[name], counts)
                rows.append(
                    FloatCost(
                        cell=name,
                        status=CELLS[name].source.kind,
                        layout=layout,
                        operation=operation,
                        steps=counts.steps,
                        writes=counts.writes + counts.presets,
                        cells=counts.cells,
                        latency_s=cost.latency_s,
                        energy_j=cost.energy_j,
                        area_um2=cost.area_um2,
                    )
                )
    return tuple(rows)
