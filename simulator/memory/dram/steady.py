"""Periodic streams: one channel's run, with whole cycles of the controller's state skipped exactly.

A periodic stream comes back to the same banks and columns, in rows that lie a fixed step further; often it does so
sooner but for the names of the banks (`steady_shift`). When the controller comes back to a state that differs only in
those names, in rows and in absolute time (`steady_state`), everything between the two moments will happen again and
again; so the counts of that stretch are multiplied and the clock is put forward, as often as it fits. States are
compared whole (as bytes), not by a hash.

With refresh this is done at two scales. States at the same point of the refresh interval, after an all-bank refresh
when banks are closed and little of the past is left, tell when whole intervals repeat. Until they do, intervals that go
like an earlier one for a while are put forward to the next refresh. Without refresh states are compared each time
requests are wanted.
"""

from __future__ import annotations

import threading

import numpy as np
from numpy.typing import NDArray

from simulator.memory.dram.controller import Controller
from simulator.memory.dram.device import Device
from simulator.memory.dram.kernel import DRAINED, NEED_REQUESTS, Channel
from simulator.memory.dram.kernel_state import FAR
from simulator.memory.dram.requests import Requests
from simulator.memory.dram.steady_walk import ALL_BANK, PER_BANK, PeriodicRequests, Place, Walk
from simulator.memory.dram.tables import ACT, REF

__all__ = ["PeriodicRequests", "run_periodic"]

_CHUNK = 1 << 13  # requests given to the kernel at once, about; ...
_CHUNK_WITHOUT_REFRESH = 1 << 11  # ... fewer where states are compared each time
_MOST_BYTES = 1 << 26  # of states kept for either comparison; without a repeat by then all the rest is run
_COPIES = 32  # states kept to go on from
_LEAST_STRETCH = 128  # requests: looking at a state costs about as much
_FIRST_INTERVALS = 8  # before stretches within an interval are looked for
_FRUITLESS_INTERVALS = 16  # after which they no longer are


def run_periodic(
    device: Device, controller: Controller, stream: PeriodicRequests, stop: threading.Event | None = None
) -> tuple[Channel, int]:
    """The channel after all requests, drained, and how many requests were skipped.

    Raises `InterruptedError` soon after another thread has set ``stop``.
    """
    channel = Channel.new(device, controller, stop=stop)
    if stream.count == 0:
        channel.advance(stream.period[:0], 0, last=True)
        return channel, 0
    walk = Walk(channel, stream)
    step, pause_at = _pauses(channel)
    intervals, stretches = _Intervals(walk), _Stretches(walk)
    feed = _Feed(stream, walk.shift, _CHUNK if step < FAR else _CHUNK_WITHOUT_REFRESH)
    skipped, first, chunk = 0, 0, feed.chunk(0)
    while True:
        last = first + len(chunk) == stream.count
        code = channel.advance(chunk, first, last=last, pause_at=pause_at)
        if code == DRAINED:
            return channel, skipped
        if code == NEED_REQUESTS and step < FAR:
            skipped += stretches.skip(pause_at)
        else:
            if not intervals.done:
                skipped += intervals.skip()
            stretches.begin(intervals)
            done = step == FAR or (intervals.done and stretches.done)
            pause_at = FAR if done else walk.tick + 1 + step
        first = walk.at
        chunk = feed.chunk(first, stretches.left(first))


def _pauses(channel: Channel) -> tuple[int, int]:
    """After how many ticks refresh stands where it stood, and the first tick to compare states at; FAR without refresh.

    After an all-bank refresh that falls due in time, banks are still closed at that tick.
    """
    c = channel.settings
    if c.refresh == ALL_BANK:
        busy = int(channel.tables["same_rank"][0, REF, ACT])
        return c.refresh_interval, c.refresh_interval + min(busy, c.refresh_interval // 2)
    if c.refresh == PER_BANK:
        return c.bank_interval * c.rank_banks, c.bank_interval * c.rank_banks
    return FAR, FAR


class _Feed:
    """Hands out the stream piece by piece."""

    def __init__(self, stream: PeriodicRequests, shift: int, size: int) -> None:
        part = stream.period
        self._size = size // shift * shift or size  # whole shifts, so that pieces begin alike
        self._count = stream.count
        periods = -(-self._size // len(part))
        self._rows = periods * stream.row_step
        if periods > 1:
            steps = np.arange(periods, dtype=np.int64)[:, None] * stream.row_step
            row = (part.row[None, :] + steps).reshape(-1)
            part = Requests(
                np.tile(part.bank, periods), row, np.tile(part.column, periods), np.tile(part.write, periods)
            )
        self._given = part

    def chunk(self, first: int, most: int = FAR) -> Requests:
        """A piece of the stream, of at most ``most`` requests, that begins with request ``first``."""
        turn, begin = divmod(first, len(self._given))
        part = self._given[begin : begin + min(self._size, self._count - first, most)]
        return Requests(part.bank, part.row + turn * self._rows, part.column, part.write)


class _Intervals:
    """States at the same point of each refresh interval, and what can be skipped once one of them returns.

    ``done`` when that has happened, or there is no more room for states.
    """

    def __init__(self, walk: Walk) -> None:
        self.done = False
        self.places: list[Place] = []
        self._walk = walk
        self._numbers: dict[bytes, int] = {}
        self._bytes = 0
        self._copies: dict[int, NDArray[np.int64]] = {}  # of some of the states, by number
        self._every = 1

    def skip(self) -> int:
        """Skip what can be skipped if the present state was met before; the requests skipped."""
        key = self._walk.key()
        self.places.append(self._walk.place())
        found = self._numbers.get(key)
        if found is not None:
            self.done = True
            return self._skip(found)
        number = len(self._numbers)
        self._numbers[key] = number
        self._bytes += len(key)
        self.done = self._bytes > _MOST_BYTES
        self._keep(number)
        return 0

    def _keep(self, number: int) -> None:
        """Copy every so many-th state; when there is no more room, every other copy goes."""
        if len(self._copies) == _COPIES:
            self._every *= 2
            self._copies = {kept: copy for kept, copy in self._copies.items() if kept % self._every == 0}
        if number % self._every == 0:
            self._copies[number] = self._walk.copy()

    def _skip(self, found: int) -> int:
        """Go on from the last place that is whole cycles after a state kept; one request at least is left.

        The present state is that of number ``found`` again.
        """
        present = len(self.places) - 1
        begin, end = self.places[found], self.places[present]
        cycle, most = end.requests - begin.requests, self._walk.count - 1
        if cycle == 0:
            return 0
        copies = {number: copy for number, copy in self._copies.items() if number > found}
        copies[present] = self._walk.copy()
        best = min(copies, key=lambda number: (most - self.places[number].requests) % cycle)
        times = (most - self.places[best].requests) // cycle
        landing = self.places[best].requests + times * cycle
        if landing <= end.requests:
            return 0
        counts = self.places[best].counts + (end.counts - begin.counts) * times
        self._walk.jump(copies[best], times * cycle, times * (end.tick - begin.tick), counts)
        return landing - end.requests


class _Stretches:
    """States within a refresh interval, looked at every so many requests, and the way from each to the next.

    A way without a refresh is known from then on: whenever its first state is met again, it is taken without being run,
    and so are those that follow it, up to the next refresh. ``done`` when there is nothing to be had from it.
    """

    def __init__(self, walk: Walk) -> None:
        self._walk = walk
        self._length = _stretch(walk.shift)
        self._interval = walk.channel.settings.refresh_interval
        self._numbers: dict[bytes, int] = {}
        self._bytes = 0
        self._copies: dict[int, tuple[Place, NDArray[np.int64]]] = {}  # of states met twice, and where they were made
        self._ways: dict[int, tuple[int, Place]] = {}  # number of a state: that of the next, and how far it is
        self._last: tuple[int, Place] | None = None
        self._looking = False
        self._fruitless = 0
        self.done = walk.channel.settings.refresh != ALL_BANK

    def begin(self, intervals: _Intervals) -> None:
        """A refresh has just been."""
        places = intervals.places
        if self.done or len(places) < _FIRST_INTERVALS:
            return
        if not intervals.done and places[-1].requests - places[-2].requests < 4 * self._length:
            self.done = True
        self.done = self.done or self._fruitless > _FRUITLESS_INTERVALS
        self._looking = not self.done
        self._fruitless += 1
        self._last = None

    def left(self, at: int) -> int:
        """Requests to the next look."""
        return self._length - at % self._length if self._looking else FAR

    def skip(self, pause_at: int) -> int:
        """Skip what is known up to the next refresh or tick ``pause_at``; the requests skipped."""
        walk = self._walk
        if not self._looking or walk.at % self._length:
            return 0
        key, here = walk.key(), walk.place()
        number = self._numbers.get(key)
        if number is None:
            number = len(self._numbers)
            if self._bytes > _MOST_BYTES:
                self._looking = False
                return 0
            self._numbers[key] = number
            self._bytes += len(key)
        elif number not in self._copies:
            self._copies[number] = here, walk.copy()
            self._bytes += self._copies[number][1].nbytes
        if self._last is not None and self._last[1].tick // self._interval == here.tick // self._interval:
            self._ways[self._last[0]] = number, _between(self._last[1], here)
        due = (here.tick // self._interval + 1) * self._interval
        reached, place = self._follow(number, here, min(due, pause_at - 1) - 1)
        self._last = reached, place
        self._looking = reached not in self._ways or self._ways[reached][0] not in self._copies
        if place is here:
            return 0
        self._fruitless = 0
        made, copy = self._copies[reached]
        walk.jump(copy, place.requests - made.requests, place.tick - made.tick, place.counts)
        return place.requests - here.requests

    def _follow(self, number: int, place: Place, most_ticks: int) -> tuple[int, Place]:
        """Along known ways from a state at ``place``: the last state with a copy by ``most_ticks``, and where."""
        reached = number, place
        while number in self._ways:
            following, way = self._ways[number]
            requests, tick = place.requests + way.requests, place.tick + way.tick
            if tick > most_ticks or requests >= self._walk.count:
                break
            number, place = following, Place(requests, tick, place.counts + way.counts)
            if number in self._copies:
                reached = number, place
        return reached


def _stretch(shift: int) -> int:
    """Requests from look to look: at least `_LEAST_STRETCH`, and a part or a multiple of ``shift``."""
    if shift <= _LEAST_STRETCH:
        return -(-_LEAST_STRETCH // shift) * shift
    return next(length for length in range(_LEAST_STRETCH, shift + 1) if shift % length == 0)


def _between(begin: Place, end: Place) -> Place:
    return Place(end.requests - begin.requests, end.tick - begin.tick, end.counts - begin.counts)
