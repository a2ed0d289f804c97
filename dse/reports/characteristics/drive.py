"""What a drive does: bandwidth, requests a second and latency against size and depth, and what writing costs it.

Every point is a run of the simulated drive. The bounds are the host link's payload rate, all channels together, and all
planes at work at once: a page each in the mean time of a read or a program.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dse.reports.characteristics.sheet import Axis, Chart, Curve, Limit, Progress, Sheet
from dse.reports.units_text import bytes_text, engineering
from simulator.memory.flash.drive import Drive
from simulator.memory.flash.run import DriveResult, simulate_drive
from simulator.memory.flash.theory import greedy_write_amplification
from simulator.memory.flash.workload import DriveWorkload
from workloads.errors import InputError

__all__ = ["array_bytes_per_s", "drive_sheet", "one_plane"]

_SIZES = tuple(4096 << i for i in range(9))  # 4 KiB to 1 MiB
_DEPTHS = (1, 8, 64, 256)
_WRITE_DEPTHS = (1, 64)
_INSIDE = 64
_LATENCY_DEPTHS = tuple(1 << i for i in range(9))
_LEAST_REQUESTS, _MOST_REQUESTS, _BYTES, _TURNS = 256, 2000, 64 << 20, 4
_SPARES = (0.07, 0.1, 0.14, 0.2, 0.28, 0.4)
_BLOCKS, _PAGES, _OUT_OF_CIRCULATION = 256, 128, 4

_SIZE = Axis("request_bytes", "request", "B", "log2")
_BANDWIDTH = Axis("bandwidth_bytes_per_s", "bandwidth", "B/s", "log10")
_RATE = Axis("requests_per_s", "requests per second", "", "log10")


def array_bytes_per_s(drive: Drive, *, writes: bool) -> float:
    """What all planes read or program at once, a whole page each."""
    times_us = drive.cells.program_us if writes else drive.cells.read_us
    return drive.geometry.planes * drive.geometry.page_bytes / (sum(times_us) / len(times_us) * 1e-6)


def drive_sheet(drive: Drive, progress: Progress = lambda _: None) -> Sheet:
    """The charts of ``drive``. Depths end with its queue; what its mapping cache cannot serve is left out."""
    progress("random reads")
    random = _reads(drive, "rand-read")
    progress("sequential reads")
    sequential = _reads(drive, "seq-read")
    sequential[f"inside, {_INSIDE} at once"] = _sizes(drive, "seq-read", _INSIDE, inside=True)
    progress("writes")
    writes = _writes(drive)
    progress("latency against depth")
    latency = _latency(drive)
    progress("write amplification")
    amplification = _amplification(drive)
    charts = (
        _by_size("random_read_bandwidth", "Random reads", drive, random, lambda run: run.bandwidth_bytes_per_s),
        _by_size("random_read_rate", "Random reads a second", drive, random, lambda run: run.iops, rate=True),
        _by_size("sequential_read_bandwidth", "Sequential reads", drive, sequential, lambda r: r.bandwidth_bytes_per_s),
        _by_size(
            "write_bandwidth", "Writes past the cache", drive, writes, lambda r: r.bandwidth_bytes_per_s, writes=True
        ),
        latency,
        amplification,
    )
    geometry = drive.geometry
    headline = (
        f"{drive.name}: {bytes_text(drive.capacity_bytes)}, {geometry.channels} channels, {geometry.planes} planes, "
        f"pages of {geometry.page_bytes:,} bytes, host link {engineering(drive.host.bytes_per_s, 'B/s')}"
    )
    notes = [
        "random requests go anywhere in half of the drive, aligned to their size; what fits of the mapping is held",
        "write amplification: uniform random writes of a page, cache and mapping table left out, on one plane of "
        f"{_BLOCKS} blocks of {_PAGES} pages, collected {drive.mapping.collection.policy}; the closed form is that of "
        "the best choice with large blocks",
    ]
    if drive.note:
        notes.append(drive.note)
    settings = {"working_set": 0.5, "seed": 1, "requests_at_least": _LEAST_REQUESTS, "requests_at_most": _MOST_REQUESTS}
    return Sheet(drive.name, "drive", headline, charts, settings, tuple(notes))


Runs = dict[str, list[tuple[int, DriveResult]]]


def _ask(drive: Drive, pattern: Any, size_bytes: int, depth: int, **more: Any) -> DriveResult | None:
    """One run, long enough for the queue to be filled several times; None where the drive cannot be asked."""
    count = max(min(_MOST_REQUESTS, max(_LEAST_REQUESTS, _BYTES // size_bytes)), _TURNS * depth)
    try:
        return simulate_drive(drive, DriveWorkload(pattern, size_bytes, depth, requests=count, **more))
    except InputError:
        return None


def _reads(drive: Drive, pattern: str) -> Runs:
    return {f"{depth} outstanding": _sizes(drive, pattern, depth) for depth in _depths(drive, _DEPTHS)}


def _sizes(drive: Drive, pattern: str, depth: int, **more: Any) -> list[tuple[int, DriveResult]]:
    return [(size, run) for size in _SIZES if (run := _ask(drive, pattern, size, depth, **more)) is not None]


def _writes(drive: Drive) -> Runs:
    return {
        f"{name}, {depth} outstanding": _sizes(drive, pattern, depth, cached=False)
        for name, pattern in (("random", "rand-write"), ("sequential", "seq-write"))
        for depth in _depths(drive, _WRITE_DEPTHS)
    }


def _depths(drive: Drive, wanted: tuple[int, ...]) -> list[int]:
    """The depths wanted, no deeper than the host's queue."""
    return sorted({min(depth, drive.host.queue_entries) for depth in wanted})


def _by_size(
    name: str,
    title: str,
    drive: Drive,
    runs: Runs,
    value: Callable[[DriveResult], float],
    *,
    rate: bool = False,
    writes: bool = False,
) -> Chart:
    """``value`` of every run against its size. Bounds of a rate of requests are those of bytes over the size."""
    bounds = {
        "host link": drive.host.bytes_per_s,
        "all channels": drive.internal_bytes_per_s,
        f"all planes {'programming' if writes else 'reading'}": array_bytes_per_s(drive, writes=writes),
    }
    curves = [Curve(label, tuple((size, value(run)) for size, run in found)) for label, found in runs.items() if found]
    if not rate:
        limits = tuple(Limit(label, "y", bound) for label, bound in bounds.items())
        return Chart(name, title, _SIZE, _BANDWIDTH, tuple(curves), limits)
    ends = (_SIZES[0], _SIZES[-1])
    curves += [
        Curve(label, tuple((size, bound / size) for size in ends), bound=True) for label, bound in bounds.items()
    ]
    return Chart(name, title, _SIZE, _RATE, tuple(curves))


def _latency(drive: Drive) -> Chart:
    curves = []
    for label, pattern, more in (
        ("random read", "rand-read", {}),
        ("sequential read", "seq-read", {}),
        ("random write, cached", "rand-write", {}),
        ("random write past the cache", "rand-write", {"cached": False}),
    ):
        found = [(depth, _ask(drive, pattern, 4096, depth, **more)) for depth in _depths(drive, _LATENCY_DEPTHS)]
        points = tuple((depth, run.mean_latency_s) for depth, run in found if run is not None)
        if points:
            curves.append(Curve(label, points))
    depth_axis = Axis("outstanding", "outstanding requests of 4 KiB", "", "log2")
    return Chart("latency", "Latency", depth_axis, Axis("mean_latency_s", "mean latency", "s", "log10"), tuple(curves))


def one_plane(drive: Drive, spare: float) -> Drive:
    """One plane of ``drive``, small enough to be written over several times, with a share ``spare`` kept from the host.

    As little as possible is kept free, so that nearly all of it is in circulation.
    """
    shape = {"channels": 1, "chips_per_channel": 1, "dies_per_chip": 1, "planes_per_die": 1}
    shape |= {"blocks_per_plane": _BLOCKS, "pages_per_block": _PAGES}
    kept = {"start_share": 1.5 / _BLOCKS, "most_at_once": 1, "stop_blocks": 2}
    collection = drive.mapping.collection.model_copy(update=kept)
    changed = {"over_provisioning": spare, "collection": collection}
    return drive.model_copy(
        update={
            "geometry": drive.geometry.model_copy(update=shape),
            "mapping": drive.mapping.model_copy(update=changed),
        }
    )


def _amplification(drive: Drive) -> Chart:
    points, closed = [], []
    for spare in _SPARES:
        small = one_plane(drive, spare)
        asked = DriveWorkload(
            "rand-write", small.geometry.page_bytes, 8, True, requests=small.geometry.pages, occupancy=1.0,
            working_set=1.0, overwrites=3.0, cached=False,
        )  # fmt: skip
        points.append((spare, simulate_drive(small, asked).write_amplification))
        # Two blocks are kept free, one holds the mapping table, and two more are half written on average.
        used = small.logical_pages / ((_BLOCKS - _OUT_OF_CIRCULATION) * _PAGES)
        closed.append((spare, greedy_write_amplification(used)))
    return Chart(
        "write_amplification",
        "What random writes cost",
        Axis("over_provisioning", "share kept from the host"),
        Axis("write_amplification", "programmed over written"),
        (Curve("simulated", tuple(points)), Curve("closed form", tuple(closed), bound=True)),
        (Limit("none collected", "y", 1.0),),
    )
