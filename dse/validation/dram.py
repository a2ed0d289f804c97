"""Our DRAM controller beside runs of Ramulator 2.1 and DRAMsim3, row by row.

Ramulator's rows are run on the same device with the same rules, so what differs is an error. DRAMsim3 has other rules
(its queues above all): its rows are run on a device with its timings under our controller, to see what rules are worth.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from dse.validation.dram_rows import DramRow
from simulator.memory.dram.controller import Controller
from simulator.memory.dram.device import Device
from simulator.memory.dram.devices import load_device
from simulator.memory.dram.mapping import address_mapping
from simulator.memory.dram.patterns import PATTERNS, Geometry, Options, build_pattern
from simulator.memory.dram.run import Run, run
from simulator.memory.dram.streams import Stream
from workloads.errors import InputError

__all__ = ["MACHINES", "DramComparison", "Machine", "compare_dram", "dram_document", "predict_dram", "stream_of"]

_FOLDER = Path(__file__).parent / "dramsim3"


@dataclass(frozen=True)
class Machine:
    """What a preset's rows run on: a device, how many channels, and what its patterns were cut to where that differs.

    ``row_bytes`` and ``banks`` are those the measured requests were generated for; None: the device's.
    """

    device: str
    channels: int = 1
    row_bytes: int | None = None
    banks: int | None = None

    def load(self) -> Device:
        """The device."""
        return _device(self.device)

    def geometry(self) -> Geometry:
        """What patterns are cut to."""
        device = self.load()
        row_bytes, banks = self.row_bytes or device.row_bytes, self.banks or device.banks
        return Geometry(device.burst_bytes, row_bytes, banks, device.capacity_bytes * self.channels)


_HBM2 = str(_FOLDER / "hbm2-whole-channel.yaml")
MACHINES: dict[tuple[str, str], Machine] = {
    ("Ramulator", "DDR4_3200AA"): Machine("DDR4-3200"),
    ("Ramulator", "DDR5_4800AN"): Machine("DDR5-4800"),
    ("Ramulator", "DDR5_5600AN"): Machine("DDR5-5600"),
    ("Ramulator", "HBM2_2000"): Machine("HBM2-2000"),
    ("Ramulator", "HBM3_6400"): Machine("HBM3-6400"),
    ("Ramulator", "LPDDR5_6400"): Machine("LPDDR5-6400"),
    ("DRAMsim3", "ddr4_3200_default"): Machine(str(_FOLDER / "ddr4-3200-two-ranks.yaml"), banks=16),
    ("DRAMsim3", "ddr4_3200_matched_robabgraco"): Machine("DDR4-3200"),
    ("DRAMsim3", "ddr4_3200_matched_bglsb"): Machine("DDR4-3200"),
    ("DRAMsim3", "hbm2_1ch_robabgraco"): Machine(_HBM2, row_bytes=1024),
    ("DRAMsim3", "hbm2_1ch_bglsb"): Machine(_HBM2, row_bytes=1024),
    ("DRAMsim3", "hbm2_8ch_default"): Machine(_HBM2, channels=8, row_bytes=1024, banks=128),
    ("DRAMsim3", "lpddr4_2400_default"): Machine(str(_FOLDER / "lpddr4-2400.yaml"), banks=8),
}
"""By simulator and preset."""

_LIST, _BANK_QUEUE = 32, 8  # DRAMsim3's reads or writes that wait per channel, and its queue of each bank
_SCHEDULERS = {"FRFCFSRowHit": "row-hit", "FRFCFS": "frfcfs"}


@dataclass(frozen=True)
class DramComparison:
    """A row beside our run. Ramulator's clock ends with the last acceptance, DRAMsim3's with the last byte.

    ``deep`` is a second run, for DRAMsim3's rows: one read queue as long as its list and bank queues together.
    """

    row: DramRow
    run: Run
    deep: Run | None = None

    @property
    def same_rules(self) -> bool:
        """Whether the row's simulator has the rules of our controller."""
        return self.row.simulator == "Ramulator"

    @property
    def cycles(self) -> int:
        """Ours, counted as the row's simulator counts."""
        return self.run.accepted_cycles if self.same_rules else self.run.cycles

    @property
    def cycles_error(self) -> float:
        """Relative."""
        return self.cycles / self.row.cycles - 1

    @property
    def latency_error(self) -> float:
        """Relative, of the mean read latency."""
        return self.run.mean_read_latency_cycles / self.row.latency_cycles - 1

    @property
    def deep_errors(self) -> tuple[float, float] | None:
        """As `cycles_error` and `latency_error`, of the second run."""
        if self.deep is None:
            return None
        return self.deep.cycles / self.row.cycles - 1, self.deep.mean_read_latency_cycles / self.row.latency_cycles - 1

    @property
    def hit_difference(self) -> float:
        """Our row-hit rate less theirs."""
        return self.run.row_hit_rate - self.row.hit_rate

    @property
    def energy_error(self) -> float | None:
        """Relative; None where either has none."""
        ours = self.run.energy
        return None if ours is None or self.row.energy_j is None else ours.total_j / self.row.energy_j - 1


def stream_of(row: DramRow, machine: Machine) -> Stream:
    """The requests of ``row``. Raises `InputError` when they are not those whose SHA-256 it gives."""
    stream = build_pattern(row.pattern, machine.geometry(), Options())
    addresses, writes = stream.addresses(0, row.requests)
    found = hashlib.sha256((addresses.astype("<u8") | writes.astype("<u8") << np.uint64(63)).tobytes()).hexdigest()
    if row.trace_sha256 and found != row.trace_sha256:
        problem = f"line {row.line}: {row.requests} requests of {row.pattern} have SHA-256 {found}"
        raise InputError(problem, f"{row.trace_sha256}", "trace_sha256")
    return stream


def predict_dram(row: DramRow) -> DramComparison | str:
    """``row`` beside our run of it, or why there is none."""
    machine = MACHINES.get((row.simulator, row.preset))
    if machine is None:
        return f"no device for {row.simulator} {row.preset}"
    if row.pattern not in PATTERNS:
        return f"no pattern {row.pattern}"
    if row.interval_ticks and machine.channels > 1:
        return "one request per n cycles over several channels: ours is per channel"
    if row.simulator == "Ramulator":
        if row.scheduler not in _SCHEDULERS or row.refresh not in ("all-bank", "none"):
            return f"no scheduler {row.scheduler} with refresh {row.refresh}"
        sizes = (row.read_queue, row.write_queue)
        if not all(size.isdecimal() for size in sizes):
            return f"no queues of {row.read_queue} and {row.write_queue}"
        rules: dict[str, Any] = {"scheduler": _SCHEDULERS[row.scheduler], "refresh": row.refresh}
        rules |= {"read_queue": int(row.read_queue), "write_queue": int(row.write_queue)}
    else:
        rules = {"scheduler": "row-hit", "refresh": "all-bank", "read_queue": _LIST, "write_queue": _LIST}
    device, stream = machine.load(), stream_of(row, machine)
    mapping = address_mapping(row.mapping, device, machine.channels)
    controller = Controller(**rules, tries_per_tick=row.tries_per_tick, interval_ticks=row.interval_ticks)

    def served(controller: Controller) -> Run:
        channels, count = machine.channels, row.requests
        return run(device, stream, controller, mapping=mapping, channels=channels, count=count, workers=1)

    if row.simulator == "Ramulator":
        return DramComparison(row, served(controller))
    window = _LIST + _BANK_QUEUE * device.banks
    return DramComparison(row, served(controller), served(replace(controller, read_queue=window)))


def compare_dram(rows: Iterable[DramRow]) -> tuple[list[DramComparison], Counter[str]]:
    """Run every row; returns the comparisons and how many rows were skipped for which reason."""
    compared, skipped = [], Counter[str]()
    for row in rows:
        found = predict_dram(row)
        if isinstance(found, str):
            skipped[found] += 1
        else:
            compared.append(found)
    return compared, skipped


def dram_document(compared: list[DramComparison], skipped: Counter[str]) -> dict[str, Any]:
    """The whole comparison as plain values."""
    return {
        "rows": [
            {
                "line": one.row.line,
                "simulator": one.row.simulator,
                "preset": one.row.preset,
                "mapping": one.row.mapping,
                "pattern": one.row.pattern,
                "same_rules": one.same_rules,
                "cycles": {"theirs": one.row.cycles, "ours": one.cycles, "error": one.cycles_error},
                "read_latency_cycles": {
                    "theirs": one.row.latency_cycles,
                    "ours": one.run.mean_read_latency_cycles,
                    "error": one.latency_error,
                },
                "row_hit_rate": {"theirs": one.row.hit_rate, "ours": one.run.row_hit_rate},
                "energy_error": one.energy_error,
            }
            for one in compared
        ],
        "skipped": dict(skipped.most_common()),
    }


@lru_cache
def _device(name: str) -> Device:
    return load_device(name)
