"""How fast an engine inside a drive is fed: lists of pages, and pieces of one size, read without the host's link."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from simulator.memory.flash.drive import SECTOR_BYTES, Drive
from simulator.memory.flash.run import simulate_drive
from simulator.memory.flash.trace import DriveTrace, simulate_trace
from simulator.memory.flash.workload import DriveWorkload
from workloads.errors import InputError

__all__ = ["Held", "PageReading", "inside_read_rate", "read_pages", "read_steadily", "steady"]

Model = TypeVar("Model")
_FEW_REQUESTS = 2048
_MOST_REQUESTS = 2**18
_LARGEST_REQUEST = 2**20
_SLICE_PAGES = 2**16
_STEADY = 0.01  # a rate is steady when doubling the list changes it by less


@dataclass(frozen=True)
class PageReading:
    """Pages read from inside a drive: how long; of the ``simulated`` of them, commands to dies, and what part of the
    time dies were busy."""

    pages: int = 0
    seconds: float = 0.0
    simulated: int = 0
    commands: int = 0
    dies_busy: float = 0.0

    def then(self, other: PageReading) -> PageReading:
        """This and, when it is done, ``other``."""
        seconds = self.seconds + other.seconds
        busy = self.seconds * self.dies_busy + other.seconds * other.dies_busy
        return PageReading(
            self.pages + other.pages,
            seconds,
            self.simulated + other.simulated,
            self.commands + other.commands,
            busy / seconds if seconds else 0.0,
        )


def read_pages(drive: Drive, pages: NDArray[np.int64], outstanding: int) -> PageReading:
    """Read logical ``pages`` in order, ``outstanding`` of them at a time, from inside ``drive``.

    The engine knows where its pages are, so no mapping table is read. Raises `InputError` for pages beyond the drive.
    """
    if not len(pages):
        return PageReading()
    size = drive.geometry.page_bytes
    sizes = np.full(len(pages), size, dtype=np.int64)
    trace = DriveTrace(pages * size, sizes, np.zeros(len(pages), dtype=np.bool_), queue_depth=outstanding)
    done = simulate_trace(drive, trace, ideal_mapping=True, inside=True)
    commands = done.flash.reads + done.flash.multiplane_reads
    return PageReading(len(pages), done.seconds, len(pages), commands, done.flash.chip_utilisation)


def read_steadily(drive: Drive, pages: NDArray[np.int64], outstanding: int, *, copies: float = 1.0) -> PageReading:
    """As `read_pages`, of ``copies`` times as many ``pages``: the first are simulated until their rate is steady."""
    if not len(pages):
        return PageReading()
    done: dict[int, PageReading] = {}

    def seconds(n: int) -> float:
        done[n] = read_pages(drive, pages[:n], outstanding)
        return done[n].seconds

    simulated, each = steady(seconds, _SLICE_PAGES, len(pages))
    count = round(copies * len(pages))
    return replace(done[simulated], pages=count, seconds=done[simulated].seconds + (count - simulated) * each)


def steady(seconds: Callable[[int], float], first: int, most: int) -> tuple[int, float]:
    """Time ever longer starts of a list until its rate is steady.

    ``seconds(n)`` is the time of the first n entries, n from ``first`` on, doubling, up to ``most``. Returns n and the
    seconds per entry over its second half or more: what a longer list adds for each.
    """
    times = {min(first, most): seconds(min(first, most))}
    n, each = min(first, most), times[min(first, most)] / min(first, most)
    while n < most:
        n = min(2 * n, most)
        times[n] = seconds(n)
        half = max((shorter for shorter in times if 2 * shorter <= n), default=0)
        each, before = (times[n] - times.get(half, 0.0)) / (n - half), each
        if abs(each - before) <= _STEADY * each:
            break
    return n, each


def inside_read_rate(drive: Drive, granule_bytes: int, *, streams: int, drives: int = 1) -> float:
    """Bytes per second that an engine inside each of ``drives`` gets for aligned pieces of ``granule_bytes`` at random
    places, ``streams`` of them outstanding; steady, from the drive's simulation.

    Pieces are read in whole sectors; pieces above 1 MiB as pieces of 1 MiB. Raises `InputError` for numbers below 1 and
    more streams than a drive takes.
    """
    for field, value in (("granule_bytes", granule_bytes), ("streams", streams), ("drives", drives)):
        if value < 1:
            raise InputError(f"found {value}", "at least 1", field)
    size = min(-(-granule_bytes // SECTOR_BYTES) * SECTOR_BYTES, _LARGEST_REQUEST)
    useful = min(granule_bytes / size, 1.0)
    return drives * useful * _rate(Held(drive), size, streams)


class Held(Generic[Model]):
    """A model as a key: the same object is the same key, as comparing all of its fields would take longer."""

    def __init__(self, model: Model) -> None:
        self.model = model

    def __hash__(self) -> int:
        return id(self.model)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Held) and other.model is self.model


@lru_cache(maxsize=1024)
def _rate(held: Held[Drive], size_bytes: int, streams: int) -> float:
    def seconds(requests: int) -> float:
        asked = DriveWorkload("rand-read", size_bytes, streams, requests=requests, ideal_mapping=True, inside=True)
        return simulate_drive(held.model, asked).seconds

    _, each = steady(seconds, max(_FEW_REQUESTS, 4 * streams), _MOST_REQUESTS)
    return size_bytes / each
