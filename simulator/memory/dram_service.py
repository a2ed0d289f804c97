"""What a tier made of DRAM serves: the part of its nominal rate that a kind of traffic gets, from the command engine.

Traffic is told apart by three numbers (`Demand`): the bytes that lie together, how many streams run at once, and the
share that is written. One channel is simulated with its part of that traffic; the others do the same at the same time.

Bytes are dealt to the channels in blocks of `BLOCK_BYTES`, so a piece of the traffic reaches a channel as one block or,
when it is longer than a block for every channel, as its share of the channels. Streams take turns of a block. Where a
piece lies is drawn at random: what real controllers get from hashing addresses. A vendor publishes neither mapping nor
queues nor the hash, so these are assumptions, the same for every machine; the note of each result names them.

`MAPPING` and `QUEUE` were chosen once, on reads of 1 to 64 sequential streams from HBM3-5200 and HBM2E-3200. GPUs
stream at about nine tenths of their nominal rate however many thread blocks read. With 128 requests in each queue,
RoBaRaCoCh serves 0.76 to 0.89 of the nominal rate, MOP4CLXOR 0.50 to 0.90 and BankGroupLow 0.25 to 0.90; with 256,
RoBaRaCoCh serves 0.87 to 0.89 (refresh leaves 0.91) and the others still break in with many streams. So deep a queue
stands for the controller and the misses that wait in the cache in front of it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hw.spec.system import Tier
from simulator.memory.dram.controller import Controller, check_controller
from simulator.memory.dram.device import Device
from simulator.memory.dram.devices import device_names, load_device
from simulator.memory.dram.mapping import Mapping, address_mapping
from simulator.memory.dram.run import run
from simulator.memory.dram.streams import Sequential, Stream, splitmix64
from simulator.memory.traffic import SEQUENTIAL_BYTES, WRITE_STEPS, Demand
from workloads.errors import InputError

__all__ = ["BLOCK_BYTES", "MAPPING", "QUEUE", "DramService", "dram_service"]

MAPPING = "RoBaRaCoCh"
QUEUE = 256
"""Requests in the read and in the write queue of a channel; synthetic, as is `MAPPING`."""

BLOCK_BYTES = 256
"""Neighbouring bytes on one channel; stated for AMD's GPUs (AMD OpenCL Optimization Guide), taken for all."""

_REFRESH_INTERVALS = 40  # the run's length: its first and last refresh then weigh at most 0.3 %
_LONG_ROWS = 64  # rows that an endless stream reads in one place
_AGREEMENT = 0.15  # between the stated bandwidth and that of the device's channels


@dataclass
class DramService:
    """``channels`` channels of ``device``, each with ``controller`` and ``mapping``; answers are kept.

    ``runs`` counts the simulations behind them.
    """

    device: Device
    channels: int
    mapping: Mapping
    controller: Controller
    runs: int = 0
    _known: dict[tuple[int, int, int], float] = field(default_factory=dict, repr=False)

    def fraction(self, demand: Demand) -> float:
        """Part of the nominal rate that ``demand`` gets, above 0 and at most 1."""
        asked = demand.quantised(self.device.burst_bytes)
        granule, streams = self._on_one_channel(asked)
        key = (granule, streams, round(asked.write_share * WRITE_STEPS))
        if key not in self._known:
            self._known[key] = self._simulate(*key)
            self.runs += 1
        return self._known[key]

    def _on_one_channel(self, demand: Demand) -> tuple[int, int]:
        """Bytes of a piece on one channel, 0 for an endless one, and how many of the streams are there at once."""
        granule = int(demand.granule_bytes)
        if granule >= SEQUENTIAL_BYTES:
            return 0, demand.streams
        share = 1 << int(math.log2(max(1, granule // self.channels)))
        own = max(self.device.burst_bytes, min(granule, BLOCK_BYTES), share)
        reached = min(self.channels, max(1, granule // BLOCK_BYTES))
        return own, max(1, round(demand.streams * reached / self.channels))

    def _simulate(self, granule_bytes: int, streams: int, writes_of_eight: int) -> float:
        device = self.device
        burst = device.burst_bytes
        ideal_ticks = _REFRESH_INTERVALS * device.timing["nREFI"]
        count = round(ideal_ticks * device.tick_s * device.peak_bytes_per_s / burst)
        stream: Stream
        if (granule_bytes, streams, writes_of_eight) == (0, 1, 0):
            stream = Sequential(burst, device.capacity_bytes)
        else:
            # Long streams move on now and then, or the banks they happened to begin in would decide.
            piece = granule_bytes or _LONG_ROWS * device.row_bytes
            turn = max(burst, min(BLOCK_BYTES, piece))
            stream = _Turns(burst, device.capacity_bytes, turn, piece // turn, streams, writes_of_eight)
        done = run(device, stream, self.controller, mapping=self.mapping, count=count, workers=1)
        return min(1.0, done.fraction_of_peak)

    def __str__(self) -> str:
        queues = f"{self.controller.read_queue} reads and {self.controller.write_queue} writes"
        return f"{self.channels} x {self.device.name}, mapping {self.mapping.name}, queues of {queues}"


def dram_service(name: str, tier: Tier) -> DramService:
    """The service of tier ``name``, which names a DRAM device.

    Raises `InputError` with the tier's field for a device, mapping or queue that does not exist, and for channels whose
    nominal rate is more than 15 % from the tier's bandwidth.
    """
    assert tier.device is not None
    assert tier.channels is not None
    try:
        bundled = tier.device in device_names()  # a file may change between two runs
        service = (_bundled_service if bundled else _service)(
            tier.device, tier.channels, tier.mapping or MAPPING, tier.read_queue or QUEUE, tier.write_queue or QUEUE
        )
    except InputError as error:
        of_tier = error.file is None  # a device file's own fields are told as they are
        raise replace(error, field=f"tiers.{name}.{error.field or 'device'}") if of_tier else error from None
    peak = service.device.peak_bytes_per_s * service.channels
    for direction, stated in (("read", tier.read_bandwidth_bytes_per_s), ("write", tier.write_bandwidth_bytes_per_s)):
        if abs(peak / stated - 1) > _AGREEMENT:
            raise InputError(
                f"{tier.channels} channels of {service.device.name} give {peak / 1e9:,.1f} GB/s, "
                f"{direction}_bandwidth says {stated / 1e9:,.1f} GB/s",
                f"the two within {_AGREEMENT:.0%}",
                f"tiers.{name}.channels",
            )
    return service


def _service(device_name: str, channels: int, mapping: str, read_queue: int, write_queue: int) -> DramService:
    device = load_device(device_name)
    controller = Controller(read_queue=read_queue, write_queue=write_queue, tries_per_tick=2)
    check_controller(controller, device)
    return DramService(device, channels, address_mapping(mapping, device), controller)


# Equal tiers of bundled devices share a service: what was simulated for one run serves the next.
_bundled_service = lru_cache(maxsize=64)(_service)


@dataclass(frozen=True)
class _Turns:
    """Streams that take turns of ``turn_bytes``; each reads or writes pieces of ``turns`` turns that lie anywhere.

    Of eight turns ``writes_of_eight`` are writes, spread evenly; they have streams
    of their own, as many as their share, at least one.
    """

    burst_bytes: int
    region_bytes: int
    turn_bytes: int
    turns: int
    streams: int
    writes_of_eight: int

    def addresses(self, start: int, count: int) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """As in `Stream`."""
        share = self.writes_of_eight
        writers = 0 if share == 0 else max(1, round(self.streams * share / WRITE_STEPS))
        readers = 0 if share == WRITE_STEPS else max(1, self.streams - writers)
        turn, burst = np.divmod(np.arange(start, start + count, dtype=np.int64), self.turn_bytes // self.burst_bytes)
        written = turn * share // WRITE_STEPS
        writes = (turn + 1) * share // WRITE_STEPS > written
        own = np.where(writes, written, turn - written)
        lap, stream = np.divmod(own, np.where(writes, max(1, writers), max(1, readers)))
        piece, within = np.divmod(lap, self.turns)
        number = piece * (readers + writers) + stream + writes * readers
        first = int(number.min())
        drawn = splitmix64(1, first, int(number.max()) - first + 1)[number - first]
        place = (drawn % np.uint64(self.region_bytes // self.turn_bytes)).astype(np.int64)
        at = (place + within) * self.turn_bytes + burst * self.burst_bytes
        return at % self.region_bytes, writes

    def period(self, unit_bytes: int, count: int | None = None) -> None:
        """None: pieces lie anywhere."""

    def top_bytes(self, count: int) -> int:  # noqa: ARG002
        """As in `Stream`."""
        return self.region_bytes
