"""The same operations done by a host that reads and writes the memory: what computing in memory is measured against.

The host pattern is that of SAITPublic/PIMSimulator's benchmark: operands are read one burst after the other over all
channels, channel in the lowest address bits, then bank, bank group and column; then the result is written. A
matrix-vector product reads the matrix and the vector, writes the result, reads the vector once more and writes the
result again. Phases wait for one another. Only memory time counts; the host computes for nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

from simulator.memory.dram.controller import Controller
from simulator.memory.dram.mapping import address_mapping
from simulator.memory.dram.run import Run, run
from simulator.memory.dram.streams import Sequential, WriteEvery
from simulator.memory.pim.device import PimDevice

__all__ = ["HostResult", "host_eltwise", "host_gemv"]

_QUEUE = 64  # CMD_QUEUE_DEPTH of system_hbm_64ch.ini
_ELEMENT_BYTES = 2


@dataclass(frozen=True)
class HostResult:
    """Ticks until the last byte, bytes over the pins, and the runs behind them, one per phase."""

    cycles: int
    seconds: float
    bytes_moved: int
    energy_j: float | None
    phases: tuple[Run, ...]

    @property
    def bandwidth_bytes_per_s(self) -> float:
        """Bytes over seconds."""
        return self.bytes_moved / self.seconds if self.seconds else 0.0


def _phase(pim: PimDevice, size_bytes: int, write: bool) -> Run:
    device = pim.dram
    stream = Sequential(device.burst_bytes)
    mapping = address_mapping("rocobgbach" if device.shape[0] == 1 else "BankGroupLow", device, pim.channels)
    controller = Controller(read_queue=_QUEUE, write_queue=_QUEUE)
    count = max(1, -(-size_bytes // device.burst_bytes))
    return run(
        device,
        WriteEvery(stream, 1) if write else stream,
        controller,
        mapping=mapping,
        channels=pim.channels,
        count=count,
    )


def _all(pim: PimDevice, phases: list[tuple[int, bool]]) -> HostResult:
    runs = tuple(_phase(pim, size, write) for size, write in phases)
    energies = [one.energy for one in runs]
    known = [energy.total_j for energy in energies if energy is not None]
    return HostResult(
        cycles=sum(one.cycles for one in runs),
        seconds=sum(one.seconds for one in runs),
        bytes_moved=sum(one.requests * pim.dram.burst_bytes for one in runs),
        energy_j=sum(known) if len(known) == len(runs) else None,
        phases=runs,
    )


def host_gemv(pim: PimDevice, rows: int, columns: int, batch: int = 1) -> HostResult:
    """A ``rows`` x ``columns`` matrix in fp16 times ``batch`` vectors, the matrix read once."""
    matrix, vector, result = (_ELEMENT_BYTES * n for n in (rows * columns, columns * batch, rows * batch))
    return _all(pim, [(matrix + vector, False), (result, True), (vector, False), (result, True)])


def host_eltwise(pim: PimDevice, elements: int) -> HostResult:
    """One operation on two vectors of ``elements`` in fp16."""
    size = _ELEMENT_BYTES * elements
    return _all(pim, [(2 * size, False), (size, True)])
