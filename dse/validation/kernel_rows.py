"""Predictions of measured kernels, all rows of one GPU and software at once.

Shapes become arrays here; the models behind them are those of `mappers.kernels`, as in a simulation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dse.validation.machines import FORMATS
from dse.validation.measurements import Measurement
from hw.spec.system import System
from mappers.assign import fastest_in
from mappers.kernels.attention import AttentionConstants, attention_shapes, attention_time
from mappers.kernels.constants import Choice, Entry, constants, typed
from mappers.kernels.gemm import GemmConstants, GemmShapes, gemm_time
from mappers.kernels.grouped import GroupedConstants, GroupedShapes, grouped_time, padded_loads
from mappers.kernels.machine import KernelMachine, kernel_machine
from mappers.kernels.routing import expert_loads
from mappers.kernels.rows import RowConstants, RowShapes, row_time
from mappers.kernels.time import intervals
from workloads.formats import storage_format

__all__ = ["FAMILIES", "TYPES", "KernelRows", "Predicted", "estimate", "predict_kernels"]

Numbers = NDArray[np.float64]

FAMILIES = {
    "attention": "attention",
    "gemm": "gemm",
    "moe_ffn": "grouped",
    "softmax": "softmax",
    "layernorm": "norm",
    "gelu": "elementwise",
}
"""The family of constants that a measured operation tests."""


@dataclass(frozen=True, eq=False)
class Predicted:
    """Seconds by row: the estimate, the interval around it, and what no kernel can be faster than."""

    best_s: Numbers
    low_s: Numbers
    high_s: Numbers
    floor_s: Numbers


@dataclass(frozen=True, eq=False)
class KernelRows:
    """Rows of one operation, phase, GPU, framework and dtype, with the machine they ran on."""

    rows: Sequence[Measurement]
    system: System
    machine: KernelMachine
    software: str
    given: tuple[Entry, ...] = ()

    @classmethod
    def of(
        cls, rows: Sequence[Measurement], system: System, software: str, given: tuple[Entry, ...] = ()
    ) -> KernelRows:
        """Raises `InputError` for a system whose kernels are not known."""
        chosen = fastest_in(FORMATS[rows[0].dtype].compute, system)
        return cls(rows, system, kernel_machine(system, chosen.contraction, chosen.other), software, given)

    @property
    def family(self) -> str:
        """The family of constants that the rows test."""
        return FAMILIES[self.rows[0].op]

    @property
    def measured_s(self) -> Numbers:
        """The measured seconds."""
        return np.array([row.latency_s for row in self.rows])

    def choice(self, family: str) -> Choice:
        """The constants of ``family`` here."""
        return constants(family, self.machine.architecture, self.software, gpu=self.machine.name, given=self.given)

    def column(self, name: str) -> Numbers:
        """A shape column."""
        return np.array([row.numbers[name] for row in self.rows], float)

    @property
    def peak_ops_per_s(self) -> float:
        """Peak rate of the format computed in."""
        compute = FORMATS[self.rows[0].dtype].compute
        return self.system.engines[fastest_in(compute, self.system).contraction].throughput(compute)

    def bytes_of(self, part: str) -> float:
        """Bytes of an element of ``part`` of the formats: weights, activations..."""
        return storage_format(getattr(FORMATS[self.rows[0].dtype], part)).bits_per_element / 8

    @property
    def narrow(self) -> bool:
        """Whether the rows compute in a format of one byte."""
        return storage_format(FORMATS[self.rows[0].dtype].compute).element_bits <= 8


def predict_kernels(group: KernelRows) -> Predicted:
    """The estimate of every row with the constants of its family."""
    choice = group.choice(group.family)
    best, floor = estimate(group, typed(TYPES[group.family], choice.entry))
    return Predicted(best, *intervals(best, choice.entry.spread), floor)


def estimate(group: KernelRows, fitted: Any) -> tuple[Numbers, Numbers]:
    """Seconds of every row with the constants ``fitted`` of its family, and the roofline's, which bound them."""
    seconds, floor = _ESTIMATES[group.rows[0].op](group, fitted)
    return np.maximum(seconds, floor), floor


def _gemm(group: KernelRows, fitted: GemmConstants) -> tuple[Numbers, Numbers]:
    m, n, k = (group.column(name) for name in ("m", "n", "k"))
    moved = group.bytes_of("weights") * k * n + group.bytes_of("activations") * (m * k + m * n)
    peak = np.full(len(m), group.peak_ops_per_s)
    shapes = GemmShapes(m, n, k, moved, peak, np.full(len(m), group.narrow))
    return gemm_time(group.machine, fitted, shapes).best_s, _floor(group, 2 * m * n * k, moved)


def _floor(group: KernelRows, operations: Numbers, moved_bytes: Numbers) -> Numbers:
    floor: Numbers = np.maximum(operations / group.peak_ops_per_s, moved_bytes / group.machine.read_bytes_per_s)
    return floor


def _attention(group: KernelRows, fitted: AttentionConstants) -> tuple[Numbers, Numbers]:
    """Timed in a loop over the same tensors, so contexts may lie in the last cache."""
    names = ("batch", "q_len", "kv_len", "heads", "kv_heads", "head_dim")
    shapes = attention_shapes(
        *(group.column(name) for name in names),
        peak_ops_per_s=group.peak_ops_per_s,
        bytes_per_element=group.bytes_of("kv_cache"),
        causal=True,
    )
    unmasked = shapes.q_len * shapes.kv_len - np.where(shapes.q_len > 1, shapes.q_len * (shapes.q_len - 1) / 2, 0.0)
    floor = _floor(
        group,
        4 * shapes.batch * shapes.heads * shapes.head_dim * unmasked,
        shapes.cache_bytes + shapes.query_bytes,
    )
    seconds = attention_time(group.machine, fitted, shapes, warm=True).best_s
    # A context that stays in the last cache passes the memory's port only once for all calls.
    held = shapes.cache_bytes + shapes.query_bytes <= group.machine.cache_bytes
    return seconds, np.where(held, np.minimum(floor, seconds), floor)


def _mixture(group: KernelRows, fitted: GroupedConstants) -> tuple[Numbers, Numbers]:
    """Two grouped products with the activation between, the weights of the touched experts only."""
    tokens, hidden, inner, top_k = (group.column(name) for name in ("m", "k", "inter", "topk"))
    pairs = [
        expert_loads(row.routing, row.numbers["m"], row.numbers["experts"], row.numbers["topk"]) for row in group.rows
    ]
    loads, experts = padded_loads(pairs)
    touched, choices = experts.sum(axis=1), tokens * top_k
    weight, activation = group.bytes_of("weights"), group.bytes_of("activations")
    peak = np.full(len(tokens), group.peak_ops_per_s)
    middle = typed(RowConstants, group.choice("elementwise").entry)
    streamed = RowShapes(activation * choices * 3 * inner, np.zeros(len(tokens)), np.zeros(len(tokens)))
    seconds = row_time(group.machine, middle, streamed).best_s
    floor = streamed.moved_bytes / group.machine.read_bytes_per_s
    for n, k in ((2 * inner, hidden), (hidden, inner)):
        moved = weight * touched * n * k + activation * choices * (n + k)
        seconds = seconds + grouped_time(group.machine, fitted, GroupedShapes(loads, experts, n, k, moved, peak)).best_s
        floor = floor + _floor(group, 2 * choices * n * k, moved)
    return seconds, floor


def _rows(group: KernelRows, fitted: RowConstants) -> tuple[Numbers, Numbers]:
    m, n = group.column("m"), group.column("n")
    element = group.bytes_of("activations")
    moved = 2 * element * m * n
    shapes = RowShapes(moved, element * n, np.zeros(len(m)))
    return row_time(group.machine, fitted, shapes).best_s, moved / group.machine.read_bytes_per_s


TYPES: dict[str, type[Any]] = {
    "attention": AttentionConstants,
    "gemm": GemmConstants,
    "grouped": GroupedConstants,
    "norm": RowConstants,
    "softmax": RowConstants,
    "elementwise": RowConstants,
}
"""The type of each family's constants."""

_ESTIMATES: dict[str, Callable[[KernelRows, Any], tuple[Numbers, Numbers]]] = {
    "attention": _attention,
    "gemm": _gemm,
    "moe_ffn": _mixture,
    "softmax": _rows,
    "layernorm": _rows,
    "gelu": _rows,
}
