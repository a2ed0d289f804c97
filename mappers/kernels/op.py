"""Operation cost at kernel fidelity: what the kernel that would run it takes, on the machine and with the software.

No kernel is faster than the roofline of the same operation: computing and moving are each at least what they are there.
Operations on engines whose kernels are not known stay at the roofline.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from hw.spec.system import System
from mappers.assign import Assign, Assignment, fastest_engines
from mappers.kernels.attention import AttentionConstants, AttentionShapes, attention_shapes, attention_time
from mappers.kernels.constants import Choice, Entry, constants, typed
from mappers.kernels.gemm import GemmConstants, GemmShapes, gemm_time
from mappers.kernels.grouped import GroupedConstants, GroupedShapes, grouped_time, padded_loads
from mappers.kernels.machine import KernelMachine, kernel_machine
from mappers.kernels.rows import RowConstants, RowShapes, row_time
from mappers.kernels.software import DEFAULT_SOFTWARE, software
from mappers.kernels.time import KernelTime, Spread, class_name
from mappers.map_workload import OpMapping
from mappers.mapped import EngineShare, MappedOp
from mappers.roofline import roofline_op, sharers
from workloads.errors import InputError
from workloads.formats import storage_format
from workloads.workload import Op

__all__ = ["FAMILIES", "KernelMapper", "family_of", "kernel_op"]

FAMILIES = {
    "attention": "attention",
    "gemm": "gemm",
    "grouped_gemm": "grouped",
    "norm": "norm",
    "layernorm": "norm",
    "softmax": "softmax",
    "elementwise": "elementwise",
    "gelu": "elementwise",
    "gather": "gather",
    "optimizer": "elementwise",
}
"""The family of kernels that runs operations of each kind."""


def family_of(op: Op) -> str | None:
    """The family of an operation's kernel; None where no kernel is known."""
    return FAMILIES.get(op.kind)


@dataclass
class KernelMapper:
    """Maps operations of one system to kernels of one software epoch, each distinct shape once.

    ``given`` constants stand before the bundled ones. ``choices`` tells, by family and architecture, what was taken.
    """

    system: System
    assign: Assign = fastest_engines
    software: str | None = None
    given: tuple[Entry, ...] = ()
    choices: dict[tuple[str, str], Choice] = field(default_factory=dict)
    _times: dict[tuple[Any, ...], tuple[KernelTime, Spread]] = field(default_factory=dict)
    _machines: dict[Assignment, KernelMachine | str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.software = software(self.software or DEFAULT_SOFTWARE).name

    def __call__(self, op: Op) -> OpMapping:
        """Map one operation. Raises `InputError` for an assignment the system cannot meet."""
        roofline = roofline_op(op, self.system, self.assign)
        family = family_of(op)
        if family is None:
            return OpMapping(roofline, roofline, None, f"no kernel of kind {op.kind!r} is known")
        assignment = self.assign(op, self.system)
        machine = self._machine(assignment)
        if isinstance(machine, str):
            return OpMapping(roofline, roofline, None, machine)
        time, spread = self._time(op, family, machine, assignment)
        return OpMapping(
            _mapped(roofline, time, spread, assignment, sharers(self.system, roofline.home)), roofline, None, None
        )

    def notes(self) -> list[str]:
        """The software, and each family whose constants are another machine's or software's."""
        said = [f"kernels of {self.software}"]
        return said + sorted({choice.note for choice in self.choices.values() if choice.note})

    def choice(self, family: str, machine: KernelMachine) -> Choice:
        """The constants a family takes on a machine."""
        key = (family, machine.architecture)
        if key not in self.choices:
            assert self.software is not None
            self.choices[key] = constants(
                family, machine.architecture, self.software, gpu=machine.name, given=self.given
            )
        return self.choices[key]

    def _machine(self, assignment: Assignment) -> KernelMachine | str:
        if assignment not in self._machines:
            try:
                self._machines[assignment] = kernel_machine(self.system, assignment.contraction, assignment.other)
            except InputError as error:
                self._machines[assignment] = error.problem
        return self._machines[assignment]

    def _time(self, op: Op, family: str, machine: KernelMachine, assignment: Assignment) -> tuple[KernelTime, Spread]:
        engine = self.system.engines[assignment.contraction]
        peak = engine.throughput(op.compute_format)
        moved = tuple((operand.symbol, operand.bytes) for operand in op.operands)
        key = (family, op.cascade.name, op.sizes, moved, op.compute_format, assignment)
        if key not in self._times:
            choice = self.choice(family, machine)
            narrow = storage_format(op.compute_format).element_bits <= 8 and peak > engine.throughput("fp16")
            time = _kernel_time(op, family, machine, choice.entry, peak, narrow)
            spread = choice.entry.spread[class_name(float(time.best_s[0]))]
            self._times[key] = (time, spread)
        return self._times[key]


def kernel_op(op: Op, system: System, assign: Assign = fastest_engines, software: str | None = None) -> MappedOp:
    """Map one operation to its kernel, or by the roofline where none is known."""
    return KernelMapper(system, assign, software)(op).mapped


def _kernel_time(op: Op, family: str, machine: KernelMachine, entry: Entry, peak: float, narrow: bool) -> KernelTime:
    sizes = dict(op.sizes)
    total = op.bytes("read") + op.bytes("write")
    if family == "gemm":
        # Products that share no operand run side by side as one kernel, one behind the other along the columns.
        columns = sizes["n1"] * sizes.get("h", 1)
        m, n, k, moved, peaks = _columns(sizes["m"], columns, sizes["n0"], total, peak)
        shapes = GemmShapes(m, n, k, moved, peaks, np.array([narrow]))
        return gemm_time(machine, typed(GemmConstants, entry), shapes)
    if family == "grouped":
        (weights,) = (operand.elements for operand in op.operands if operand.symbol == "W")
        touched = max(1.0, weights / (sizes["n0"] * sizes["n1"]))
        loads, experts = padded_loads([((sizes["m"] / touched, touched),)])
        rest = _columns(sizes["n1"], sizes["n0"], total, peak)
        return grouped_time(machine, typed(GroupedConstants, entry), GroupedShapes(loads, experts, *rest))
    if family == "attention":
        forward = attention_time(machine, typed(AttentionConstants, entry), _attention_shapes(op, sizes, peak))
        return _backward_time(forward) if "DAV" in {operand.symbol for operand in op.operands} else forward
    width = max((size for rank, size in op.sizes if rank in ("d", "s")), default=0)
    element_bytes = max(storage_format(operand.format).bits_per_element for operand in op.operands) / 8
    shapes_of_rows = RowShapes(*_columns(total, width * element_bytes, op.work.other))
    return row_time(machine, typed(RowConstants, entry), shapes_of_rows)


_BACKWARD_PRODUCTS = 5 / 2
"""Attention's gradients take five matrix products where its result takes two (FlashAttention-2, arXiv 2307.08691)."""


_BACKWARD_RATE = 0.63 / 0.73
"""Of the forward kernel's rate: FlashAttention-2 attains up to 73 % of an A100's peak forward and 63 % backward (the
same source, section 4.1)."""


def _backward_time(forward: KernelTime) -> KernelTime:
    """The gradients' kernel at its part of the forward kernel's rate, for want of measurements of its own."""
    return replace(forward, compute_s=_BACKWARD_PRODUCTS / _BACKWARD_RATE * forward.compute_s)


def _attention_shapes(op: Op, sizes: dict[str, int], peak: float) -> AttentionShapes:
    """One call; K and V may differ in width and share their bytes, as in a latent cache."""
    width = (sizes["e"] + sizes["f"]) / 2
    cached = sum(operand.bytes for operand in op.operands if operand.symbol in ("K", "V", "KI", "VI"))
    return attention_shapes(
        sizes["b"],
        sizes["p"],
        sizes["m"],
        sizes["h"] * sizes.get("g", 1),
        sizes["h"],
        width,
        peak_ops_per_s=peak,
        bytes_per_element=cached / (2 * sizes["b"] * sizes["m"] * sizes["h"] * width),
        causal=op.cascade.name == "attention-backward" or "causal" in op.cascade.name or "window" in op.cascade.name,
        window=sizes.get("window", np.inf),
    )


def _columns(*values: float) -> tuple[Any, ...]:
    return tuple(np.array([float(value)]) for value in values)


def _mapped(roofline: MappedOp, time: KernelTime, spread: Spread, assignment: Assignment, turns: int) -> MappedOp:
    """The kernel's times on the roofline's engines and port, which both bound them from below."""
    compute_s, memory_s, overhead_s = (float(part[0]) for part in (time.compute_s, time.memory_s, time.overhead_s))
    busiest = assignment.contraction if roofline.op.work.contraction else assignment.other
    shares = tuple(
        replace(share, seconds=max(share.seconds, turns * compute_s)) if share.engine == busiest else share
        for share in roofline.shares
    )
    if busiest not in {share.engine for share in shares}:
        shares = (*shares, EngineShare(busiest, 0.0, turns * compute_s, 0.0))
    return replace(
        roofline,
        shares=shares,
        port_s=max(roofline.port_s, turns * memory_s),
        overhead_s=overhead_s,
        spread=(spread.low, spread.high),
    )
