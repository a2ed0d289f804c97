"""A stream of requests on the channels of a device: bandwidth, latency, row hits, energy."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from simulator.memory.dram.controller import Controller, check_controller
from simulator.memory.dram.device import Device
from simulator.memory.dram.explain import Explanation, explain, together
from simulator.memory.dram.kernel import Channel, run_channel
from simulator.memory.dram.mapping import Mapping
from simulator.memory.dram.outcome import ChannelOutcome, CommandLog
from simulator.memory.dram.requests import decode, split_channels
from simulator.memory.dram.steady import PeriodicRequests, run_periodic
from simulator.memory.dram.streams import Sequential, Stream, WriteEvery
from simulator.memory.dram.tables import COMMANDS
from workloads.errors import InputError

__all__ = ["EnergyParts", "Run", "explain_run", "run"]

_CHUNK = 1 << 19  # requests decoded at once
_LONGEST_PERIOD = 1 << 21
_LEAST_PERIODS = 3  # a shorter stream is run whole
_LEAST_UNITS, _LEAST_BURSTS = 4, 1 << 14  # far more than queues hold
_MOST_TICKS = 1 << 61
_SAMPLES, _SAMPLE = 2, 1 << 12  # stretches looked at to explain a run, and requests of one


@dataclass(frozen=True)
class EnergyParts:
    """Joules of a run by what they went to."""

    activate_j: float
    read_j: float
    write_j: float
    refresh_j: float
    background_j: float

    @property
    def total_j(self) -> float:
        """All of it."""
        return self.activate_j + self.read_j + self.write_j + self.refresh_j + self.background_j


@dataclass(frozen=True)
class Run:
    """A drained run. ``cycles`` are ticks of the slowest channel up to the last byte.

    ``skipped_requests`` counts what was known from repetition and not run. ``logs`` holds a command log per channel
    when they were asked for. ``cpu_s`` is processor time without that of loading compiled code.
    """

    device: Device
    controller: Controller
    mapping: Mapping
    requests: int
    outcomes: tuple[ChannelOutcome, ...]
    skipped_requests: int
    cpu_s: float
    logs: tuple[CommandLog, ...] = ()

    @property
    def channels(self) -> int:
        """Channels of the run."""
        return len(self.outcomes)

    @property
    def cycles(self) -> int:
        """Ticks until the last byte of the last request has moved."""
        return max(outcome.drained_ticks for outcome in self.outcomes)

    @property
    def accepted_cycles(self) -> int:
        """Ticks until the last request was accepted."""
        return max(outcome.accepted_ticks for outcome in self.outcomes)

    @property
    def seconds(self) -> float:
        """`cycles` in seconds."""
        return self.cycles * self.device.tick_s

    @property
    def bursts(self) -> int:
        """Bursts that the data buses moved."""
        return sum(self.commands.get(name, 0) for name in ("RD", "RDA", "WR", "WRA"))

    @property
    def bandwidth_bytes_per_s(self) -> float:
        """Bytes that the data buses moved over `seconds`; forwarded reads and merged writes moved none."""
        return self.bursts * self.device.burst_bytes / self.seconds if self.cycles else 0.0

    @property
    def fraction_of_peak(self) -> float:
        """Bandwidth over the nominal rate of all channels."""
        return self.bandwidth_bytes_per_s / (self.device.peak_bytes_per_s * self.channels)

    @property
    def mean_read_latency_cycles(self) -> float:
        """Ticks from arrival in the controller to the last byte, over all reads; 0 when there was none."""
        reads = sum(outcome.reads for outcome in self.outcomes)
        return sum(outcome.read_latency_ticks for outcome in self.outcomes) / reads if reads else 0.0

    @property
    def row_hit_rate(self) -> float:
        """Row hits over requests that reached a bank; 0 when none did."""
        reached = sum(outcome.hits + outcome.misses + outcome.conflicts for outcome in self.outcomes)
        return sum(outcome.hits for outcome in self.outcomes) / reached if reached else 0.0

    @property
    def commands(self) -> dict[str, int]:
        """Commands sent, by name; those never sent are left out."""
        totals = np.sum([outcome.commands for outcome in self.outcomes], axis=0)
        return {name: int(total) for name, total in zip(COMMANDS, totals, strict=True) if total}

    @property
    def energy(self) -> EnergyParts | None:
        """Energy of all channels until the slowest has drained; None where the device has no figures."""
        given, sent, tick_s = self.device.energy, self.commands, self.device.tick_s
        if given is None:
            return None
        refresh_j = sent.get("REFab", 0) * given.refresh_j + sent.get("REFpb", 0) * given.refresh_bank_j
        open_s = sum(outcome.open_ticks for outcome in self.outcomes) * tick_s
        all_s = self.channels * self.device.shape[0] * self.cycles * tick_s
        return EnergyParts(
            activate_j=sent.get("ACT", 0) * given.activate_j,
            read_j=(sent.get("RD", 0) + sent.get("RDA", 0)) * given.read_j,
            write_j=(sent.get("WR", 0) + sent.get("WRA", 0)) * given.write_j,
            refresh_j=refresh_j + self._refreshes_after_draining() * given.refresh_j,
            background_j=open_s * given.open_w + (all_s - open_s) * given.closed_w,
        )

    def _refreshes_after_draining(self) -> int:
        """All-bank refreshes (or as many banks) that fall due in channels that wait for the slowest."""
        if self.controller.refresh == "none":
            return 0
        interval = self.device.timing["nREFI"]
        due = sum(self.cycles // interval - outcome.drained_ticks // interval for outcome in self.outcomes)
        return due * self.device.shape[0]


def run(
    device: Device,
    stream: Stream,
    controller: Controller | None = None,
    *,
    mapping: Mapping,
    channels: int = 1,
    count: int,
    workers: int | None = None,
    log: bool = False,
    skip: bool = True,
    progress: Callable[[int], None] | None = None,
) -> Run:
    """Serve the first ``count`` requests of ``stream`` on ``channels`` channels of ``device``, drained.

    ``mapping`` must have been made for as many channels. Every channel takes its own requests as fast as it can; they
    do not wait for one another. Channels run in up to ``workers`` threads (default: all processors); the result does
    not depend on it. Periodic streams are not run longer than it takes to come back to the same state (exact;
    ``skip=False`` or ``log`` runs everything). ``progress`` is told the requests done so far.

    Raises `InputError` for a controller the device cannot have, and counts below 1.
    """
    controller = controller or Controller()
    check_controller(controller, device)
    if count < 1:
        raise InputError(f"found {count} requests", "at least 1", "count")
    if 1 << mapping.widths[0] != channels:
        problem = f"{channels} channels with a mapping for {1 << mapping.widths[0]}"
        raise InputError(problem, "a mapping made for the channels", "channels")
    if count * max(controller.interval_ticks, device.timing["nRC"]) >= _MOST_TICKS:
        problem = f"{count:,} requests, one every {max(controller.interval_ticks, 1):,} ticks"
        raise InputError(problem, f"a run of fewer than {_MOST_TICKS:.3g} ticks", "count")
    _load_compiled(device, mapping)
    started = time.process_time()
    periodic = _periodic(device, stream, mapping, channels, count) if skip and not log else None
    if periodic is not None:
        finished, skipped = _run_periodic(device, controller, periodic, workers)
    else:
        finished = _run_whole(device, controller, stream, mapping, channels, count, workers, log, progress)
        skipped = 0
    logs = tuple(channel.log() for channel in finished) if log else ()
    outcomes = tuple(channel.outcome() for channel in finished)
    cpu_s = time.process_time() - started
    return Run(device, controller, mapping, count, outcomes, skipped, cpu_s, logs)


_compiled: list[bool] = []


def _load_compiled(device: Device, mapping: Mapping) -> None:
    """Compile or load the kernel before the clock starts: once per process, so that speeds are speeds."""
    if not _compiled:
        _, one = decode(device, mapping, np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.bool_))
        run_channel(device, Controller(), one, log=False)
        run_periodic(device, Controller(), PeriodicRequests(one, 1, 1 << 15))
        _compiled.append(True)


def explain_run(result: Run, stream: Stream) -> Explanation:
    """Where the ticks of the busiest channel went, over stretches from the whole length of ``stream``.

    Each of `_SAMPLES` stretches is run by itself, from a memory at rest: `_SAMPLE` requests of that channel, or as many
    as a few refresh intervals take. A run that is no longer is explained whole.
    """
    device, channels = result.device, result.channels
    refreshes = 3.5 * (1 + result.controller.postpone) * device.timing["nREFI"]
    per_request = max(1.0, result.cycles / max(1, result.requests / channels))
    wanted = min(1 << 16, max(_SAMPLE, math.ceil(refreshes / per_request))) * channels
    busiest = max(range(channels), key=lambda number: result.outcomes[number].reads + result.outcomes[number].writes)
    if result.requests <= _SAMPLES * wanted:
        starts, length = [0], result.requests
    else:
        starts, length = [result.requests * i // _SAMPLES for i in range(_SAMPLES)], wanted
    found = []
    for start in starts:
        channel_of, requests = decode(device, result.mapping, *stream.addresses(start, length))
        own = split_channels(channel_of, requests, channels)[busiest]
        found.append(explain(device, run_channel(device, result.controller, own)[1]))
    return together(found)


def _run_whole(
    device: Device,
    controller: Controller,
    stream: Stream,
    mapping: Mapping,
    channels: int,
    count: int,
    workers: int | None,
    log: bool,
    progress: Callable[[int], None] | None,
) -> list[Channel]:
    stop = threading.Event()
    running = [Channel.new(device, controller, log=log, stop=stop) for _ in range(channels)]
    given = [0] * channels
    with ThreadPoolExecutor(min(channels, workers or os.cpu_count() or 1)) as pool, _stopping(stop):
        for start in range(0, count, _CHUNK):
            size = min(_CHUNK, count - start)
            last = start + size == count
            channel_of, requests = decode(device, mapping, *stream.addresses(start, size))
            parts = split_channels(channel_of, requests, channels)

            feeds = [
                pool.submit(channel.advance, part, done, last=last)
                for channel, part, done in zip(running, parts, given, strict=True)
            ]
            for feed in feeds:
                feed.result()
            given = [done + len(part) for done, part in zip(given, parts, strict=True)]
            if progress is not None:
                progress(start + size)
    return running


@contextmanager
def _stopping(stop: threading.Event) -> Iterator[None]:
    """Tell the threads to stop when this one is interrupted, before their pool waits for them."""
    try:
        yield
    except BaseException:
        stop.set()
        raise


def _periodic(
    device: Device, stream: Stream, mapping: Mapping, channels: int, count: int
) -> list[PeriodicRequests] | None:
    """The stream by channel when it repeats often enough within ``count`` requests, else None."""
    unit_bytes = device.burst_bytes << mapping.translation_bits
    stream = _unwrapped(stream, unit_bytes)
    period = stream.period(unit_bytes, count)
    if period is None or period[0] > _LONGEST_PERIOD or count < _LEAST_PERIODS * period[0]:
        return None
    length, moved_bytes = period
    channel_of, requests = decode(device, mapping, *stream.addresses(0, length))
    row_step = moved_bytes // unit_bytes * mapping.row_step()
    whole, rest = divmod(count, length)
    out = []
    for number, part in enumerate(split_channels(channel_of, requests, channels)):
        share = whole * len(part) + int(np.count_nonzero(channel_of[:rest] == number))
        out.append(PeriodicRequests(part, row_step, share))
    return out


def _unwrapped(stream: Stream, unit_bytes: int) -> Stream:
    """A sequential stream that starts over, as one that goes on: to a controller, new rows are as good as old ones.

    Only whether rows are equal matters. Where the region is whole units, of which one holds all rows that are open or
    wanted at once, the rows after its end differ from those before it whether they are its first or ever new ones.
    """
    if isinstance(stream, WriteEvery):
        return replace(stream, stream=_unwrapped(stream.stream, unit_bytes))
    if isinstance(stream, Sequential) and stream.region_bytes is not None:
        units, rest = divmod(stream.region_bytes, unit_bytes)
        rest += stream.start_bytes % unit_bytes
        if not rest and units >= _LEAST_UNITS and stream.region_bytes // stream.burst_bytes >= _LEAST_BURSTS:
            return replace(stream, region_bytes=None)
    return stream


def _run_periodic(
    device: Device, controller: Controller, streams: list[PeriodicRequests], workers: int | None
) -> tuple[list[Channel], int]:
    """Every channel; channels that get the very same requests are run once."""
    distinct: dict[bytes, PeriodicRequests] = {}
    keys = []
    for stream in streams:
        key = _bytes_of(stream)
        distinct.setdefault(key, stream)
        keys.append(key)

    stop = threading.Event()
    with ThreadPoolExecutor(min(len(distinct), workers or os.cpu_count() or 1)) as pool, _stopping(stop):
        found = pool.map(lambda stream: run_periodic(device, controller, stream, stop), distinct.values())
        results = dict(zip(distinct, found, strict=True))
    return [results[key][0] for key in keys], sum(results[key][1] for key in keys)


def _bytes_of(stream: PeriodicRequests) -> bytes:
    part = stream.period
    arrays: tuple[NDArray[np.int64] | NDArray[np.bool_], ...] = (part.bank, part.row, part.column, part.write)
    return b"".join(array.tobytes() for array in arrays) + f"{stream.row_step} {stream.count}".encode()
