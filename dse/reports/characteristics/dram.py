"""What one channel of DRAM does: latency under load, and bandwidth against granule, streams and writes.

Every point is a run of the command-level controller with its default settings. The bounds are the nominal rate of the
pins and what all-bank refresh leaves of it: 1 - nRFC / nREFI.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from dse.reports.characteristics.sheet import Axis, Chart, Curve, Limit, Progress, Sheet
from dse.reports.units_text import engineering
from simulator.memory.dram.controller import Controller
from simulator.memory.dram.device import Device
from simulator.memory.dram.mapping import Mapping, address_mapping
from simulator.memory.dram.run import Run, run
from simulator.memory.dram.streams import Interleaved, RandomGranules, Sequential, Stream, WriteShare

__all__ = ["DRAM_MAPPING", "dram_sheet", "refresh_share"]

DRAM_MAPPING = "MOP4CLXOR"
_REQUESTS = 100_000  # at 400,000 no point of DDR4-3200 or HBM3-6400 moves by more than 1.1 %
_SLOWEST = 64  # times the interval that would fill the pins
_BURSTS = tuple(1 << i for i in range(9))
_STREAMS = (16, 64)
_SHARES = tuple(tenth / 10 for tenth in range(11))

_BANDWIDTH = Axis("bandwidth_bytes_per_s", "bandwidth", "B/s")
_GRANULE = Axis("granule_bytes", "read in one piece", "B", "log2")


@dataclass(frozen=True)
class _Bench:
    """A device with what every run of it takes."""

    device: Device
    mapping: Mapping

    def run(self, stream: Stream, interval_ticks: int = 0) -> Run:
        return run(
            self.device,
            stream,
            Controller(interval_ticks=interval_ticks),
            mapping=self.mapping,
            count=_REQUESTS,
            workers=1,
        )

    @property
    def sequential(self) -> Stream:
        return Sequential(self.device.burst_bytes, self.device.capacity_bytes)

    def random(self, granule_bytes: int | None = None) -> Stream:
        burst = self.device.burst_bytes
        return RandomGranules(burst, self.device.capacity_bytes, granule_bytes or burst)


def refresh_share(device: Device) -> float:
    """The part of time that all-bank refresh leaves: 1 - nRFC / nREFI."""
    return 1 - device.timing["nRFC"] / device.timing["nREFI"]


def dram_sheet(device: Device, progress: Progress = lambda _: None, *, mapping: str = DRAM_MAPPING) -> Sheet:
    """The charts of one channel of ``device``, every rank and pseudo-channel of it in use.

    Raises `InputError` with the field ``mapping`` for one that the device cannot have.
    """
    bench = _Bench(device, address_mapping(mapping, device))
    charts = []
    for what, draw in (
        ("latency under load", _loaded),
        ("granules and streams", _granules),
        ("shares of writes", _writes),
        ("energy", _energy),
    ):
        progress(what)
        chart = draw(bench)
        if chart is not None:
            charts.append(chart)
    settings = {
        "mapping": bench.mapping.name,
        "requests": _REQUESTS,
        "scheduler": Controller().scheduler,
        "page": Controller().page,
        "refresh": Controller().refresh,
        "read_queue": Controller().read_queue,
        "write_queue": Controller().write_queue,
    }
    levels = ", ".join(f"{level.name} {level.count}" for level in device.levels)
    headline = f"one channel of {device.name}: {engineering(device.peak_bytes_per_s, 'B/s')}, {levels}"
    notes = (
        "requests are bursts; the latency is from arrival in the controller to the last byte, so without the wait of "
        "requests that find its queue full",
        f"streams take turns of one piece each; they begin 1/{max(_STREAMS)} of the channel apart, askew: a row more",
    )
    return Sheet(device.name, "dram", headline, tuple(charts), settings, notes)


def _limits(device: Device, along: str = "y") -> tuple[Limit, ...]:
    peak = device.peak_bytes_per_s
    where: tuple[Limit, ...] = (
        Limit("peak of the pins", "y", peak),
        Limit("less refresh", "y", peak * refresh_share(device)),
    )
    return tuple(Limit(limit.name, "x", limit.value) for limit in where) if along == "x" else where


def _loaded(bench: _Bench) -> Chart:
    """Read latency against what is served, as requests come at falling intervals and at last at once."""
    device = bench.device
    streams = {
        "sequential": bench.sequential,
        "random": bench.random(),
        "random, 1/3 writes": WriteShare(bench.random(), 1 / 3),
    }
    curves = [Curve(name, tuple(_under_load(bench, stream))) for name, stream in streams.items()]
    return Chart(
        "loaded_latency",
        "Latency under load",
        Axis("throughput_bytes_per_s", "served", "B/s"),
        Axis("read_latency_s", "mean read latency", "s"),
        tuple(curves),
        _limits(device, "x"),
    )


def _under_load(bench: _Bench, stream: Stream) -> Iterable[tuple[float, float]]:
    device = bench.device
    filling = device.burst_bytes / (device.peak_bytes_per_s * device.tick_s)  # ticks of one burst at the peak
    most = max(1, round(_SLOWEST * filling))
    for interval in [*_intervals(most), 0]:
        found = bench.run(stream, interval)
        yield found.bandwidth_bytes_per_s, found.mean_read_latency_cycles * device.tick_s


def _intervals(most: int) -> list[int]:
    """Whole ticks from ``most`` down to 1: half an octave apart, where little happens, then a quarter or one tick."""
    out = [most]
    while out[-1] > 1:
        step = 2**0.5 if out[-1] > most / 8 else 2**0.25
        out.append(min(out[-1] - 1, round(out[-1] / step)))
    return out


def _granules(bench: _Bench) -> Chart:
    device = bench.device
    sizes = [device.burst_bytes * count for count in _BURSTS]
    curves = [Curve("random places", tuple((size, _rate(bench, bench.random(size))) for size in sizes))]
    apart = device.capacity_bytes // max(_STREAMS)
    for streams, skew in itertools.product(_STREAMS, (0, device.row_bytes)):
        made = (Interleaved(device.burst_bytes, streams, apart + skew, size, apart // 2) for size in sizes)
        points = tuple((size, _rate(bench, stream)) for size, stream in zip(sizes, made, strict=True))
        curves.append(Curve(f"{streams}, a row askew" if skew else f"{streams} streams", points))
    return Chart("granules", "Granule and streams", _GRANULE, _BANDWIDTH, tuple(curves), _limits(device))


def _rate(bench: _Bench, stream: Stream) -> float:
    return bench.run(stream).bandwidth_bytes_per_s


def _writes(bench: _Bench) -> Chart:
    page = 4096 // bench.device.burst_bytes * bench.device.burst_bytes
    streams = {"sequential": bench.sequential, "random 4 KiB": bench.random(page), "random bursts": bench.random()}
    curves = [
        Curve(name, tuple((share, _rate(bench, WriteShare(stream, share))) for share in _SHARES))
        for name, stream in streams.items()
    ]
    share = Axis("write_share", "share of writes")
    return Chart("writes", "Writes among reads", share, _BANDWIDTH, tuple(curves), _limits(bench.device))


def _energy(bench: _Bench) -> Chart | None:
    """Joules per bit against the granule; None where the device has no energies."""
    device = bench.device
    if device.energy is None:
        return None
    points = []
    for size in (device.burst_bytes * count for count in _BURSTS):
        found = bench.run(bench.random(size))
        assert found.energy is not None
        points.append((size, found.energy.total_j / (8 * device.burst_bytes * found.bursts)))
    least = min(device.energy.read_j, device.energy.write_j) / (8 * device.burst_bytes)
    return Chart(
        "energy",
        "Energy of a bit read",
        _GRANULE,
        Axis("energy_j_per_bit", "energy", "J/bit"),
        (Curve("random places", tuple(points)),),
        (Limit("the column access alone", "y", least),),
    )
