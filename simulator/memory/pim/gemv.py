"""Matrix-vector products and element-wise operations in memory, as a system model asks for them."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from simulator.memory.pim.device import PimDevice
from simulator.memory.pim.executor import Timeline, execute
from simulator.memory.pim.lowering_buffer import gemv_buffer
from simulator.memory.pim.lowering_registers import eltwise_registers, gemv_registers
from simulator.memory.pim.program import COMPUTE, DRAIN, FILL, MODE, MOVE, Program
from workloads.errors import InputError

__all__ = ["Loss", "PimResult", "gemv_program", "losses", "pim_eltwise", "pim_gemv"]

_FP16_BITS = 16
_MOST = 1 << 24


@dataclass(frozen=True)
class PimResult:
    """What an operation took on all channels, which do the same at the same time.

    ``cycles`` are DRAM ticks up to the last byte; ``commands`` count one channel's by role; ``bytes_inside`` went
    between banks and units, ``bytes_outside`` over the pins, of all channels. ``bound_cycles`` are what the compute
    commands alone would take at their shortest interval for so many vectors; ``why`` names where most of the time went.
    """

    cycles: int
    seconds: float
    commands: dict[str, int]
    energy_j: float
    bytes_inside: int
    bytes_outside: int
    multiply_adds: int
    bound_cycles: int
    ticks_by_cause: dict[tuple[str, str], int]
    why: str

    @property
    def inside_bytes_per_s(self) -> float:
        """Bytes between banks and units over `seconds`."""
        return self.bytes_inside / self.seconds

    @property
    def fraction_of_bound(self) -> float:
        """How much of its time the operation spent at the rate of compute commands."""
        return self.bound_cycles / self.cycles


@dataclass(frozen=True)
class Loss:
    """Ticks that went to one cause, and what part of all they are."""

    cause: str
    ticks: int
    share: float


_WAITS = {"refresh": "refresh", "rows": "opening rows", "turnaround": "turning the bus", "end": "the last byte"}
_WORK = {COMPUTE: "computing", FILL: "writing inputs", DRAIN: "moving results", MOVE: "moving operands"}


def losses(result: PimResult) -> list[Loss]:
    """Where the ticks of ``result`` went, each tick once; computing is what the bound allows."""
    ticks = dict.fromkeys((*_WORK.values(), "changing modes", *_WAITS.values()), 0)
    for (purpose, cause), count in result.ticks_by_cause.items():
        named = _WAITS.get(cause) if purpose != MODE or cause == "refresh" else None
        ticks[named or _WORK.get(purpose, "changing modes")] += count
    return [Loss(name, count, count / result.cycles) for name, count in ticks.items()]


def gemv_program(
    pim: PimDevice, rows: int, columns: int, format_bits: int = 16, batch: int = 1, *, read_results: bool = False
) -> Program:
    """The program of one channel for `pim_gemv`."""
    for field, value in (("rows", rows), ("columns", columns), ("batch", batch)):
        if not 1 <= value <= _MOST:
            raise InputError(f"found {value}", f"1 to {_MOST:,}", field)
    if format_bits != _FP16_BITS:
        raise InputError(f"found {format_bits} bits", "16: the units compute in fp16 or bf16", "format_bits")
    if pim.layout == "registers":
        return gemv_registers(pim, rows, columns, batch, read_results=read_results)
    return gemv_buffer(pim, rows, columns, batch)


def pim_gemv(
    pim: PimDevice, rows: int, columns: int, format_bits: int = 16, batch: int = 1, *, read_results: bool = False
) -> PimResult:
    """A ``rows`` x ``columns`` matrix that lies in ``pim``, times ``batch`` vectors that the host holds.

    Units with registers leave 16 partial sums a row in their banks; ``read_results`` counts the host's reading them.
    Other devices' results always leave.

    Raises `InputError` for numbers below 1, formats the units do not have, and matrices that do not fit.
    """
    gemv_program(pim, rows, columns, format_bits, batch)  # for its errors
    return _gemv(_Held(pim), rows, columns, batch, read_results)


@dataclass(frozen=True)
class _Held:
    """A device as a key: the same object is the same key."""

    pim: PimDevice

    def __hash__(self) -> int:
        return id(self.pim)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Held) and other.pim is self.pim


@lru_cache(maxsize=4096)
def _gemv(held: _Held, rows: int, columns: int, batch: int, read_results: bool) -> PimResult:
    program = gemv_program(held.pim, rows, columns, _FP16_BITS, batch, read_results=read_results)
    return _result(held.pim, program)


def pim_eltwise(pim: PimDevice, elements: int) -> PimResult:
    """One addition or multiplication per element of two vectors that lie in ``pim``; the result lies there too.

    Raises `InputError` for devices whose units have no vector registers.
    """
    if pim.layout != "registers":
        raise InputError(f"{pim.name} has no element-wise operations", "a device with vector registers", "elements")
    if not 1 <= elements <= 1 << 40:
        raise InputError(f"found {elements:,}", f"1 to {1 << 40:,}", "elements")
    return _result(pim, eltwise_registers(pim, elements))


def _result(pim: PimDevice, program: Program) -> PimResult:
    time = execute(pim, program)
    outside = program.bytes_in + program.bytes_out
    return PimResult(
        cycles=time.cycles,
        seconds=time.cycles * pim.dram.tick_s,
        commands=dict(time.commands),
        energy_j=pim.channels * _energy_j(pim, program, time),
        bytes_inside=pim.channels * program.bytes_inside,
        bytes_outside=pim.channels * outside,
        multiply_adds=pim.channels * program.multiply_adds,
        bound_cycles=program.least_ticks(COMPUTE, pim.compute_ticks),
        ticks_by_cause=dict(time.ticks_by_cause),
        why=_why(time),
    )


def _energy_j(pim: PimDevice, program: Program, time: Timeline) -> float:
    """Of one channel. Refresh and standby are the DRAM device's where it has figures."""
    burst, given, device = pim.dram.burst_bytes, pim.energy, pim.dram.energy
    dynamic = (
        time.activated_banks * given.activate_j
        + program.bytes_inside / burst * given.column_j
        + (program.bytes_in + program.bytes_out) / burst * given.pins_j
        + program.multiply_adds * given.multiply_add_j
    )
    if device is None:
        return dynamic
    seconds, ranks = time.cycles * pim.dram.tick_s, pim.dram.shape[0]
    return dynamic + ranks * (time.commands["refresh"] * device.refresh_j + seconds * device.open_w)


def _why(time: Timeline) -> str:
    parts = [(ticks, f"{purpose} {cause}") for (purpose, cause), ticks in time.ticks_by_cause.items() if ticks]
    named = [f"{name} {ticks / time.cycles:.0%}" for ticks, name in sorted(parts, reverse=True)[:5]]
    return ", ".join(named)
