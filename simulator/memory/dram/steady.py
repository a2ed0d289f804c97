"""Periodic streams: one channel's run, with whole cycles of the controller's state skipped exactly.

A periodic stream comes back to the same banks and columns, in rows that lie a fixed step further; often it does so sooner but
for the names of the banks (`steady_shift`). When the controller comes back to a state that differs only in those names, in
rows and in absolute time (`steady_state`), everything between the two moments will happen again and again; so the counts of
that stretch are multiplied and the clock is put forward, as often as it fits. What is left then is run, from the last
of some states kept along the way.

States are compared once per refresh interval, after an all-bank refresh, when banks are closed and little of the past is left;
without refresh, each time more requests are wanted. They are compared whole (as bytes), not by a hash.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.memory.dram.controller import REFRESHES, Controller
from simulator.memory.dram.device import Device
from simulator.memory.dram.kernel import DRAINED, NEED_REQUESTS, Channel
from simulator.memory.dram.kernel_state import FAR, STATE, Register
from simulator.memory.dram.requests import Requests
from simulator.memory.dram.steady_shift import first_requests, smallest_shift
from simulator.memory.dram.steady_state import copy_state, key_room, move, write_key
from simulator.memory.dram.tables import ACT, REF

__all__ = ["PeriodicRequests", "run_periodic", "shift_of"]

_CHUNK = 1 << 13  # requests given to the kernel at once, about; so many ...
_CHUNK_WITHOUT_REFRESH = 1 << 11  # ... and fewer where states are compared each time
_MOST_BYTES = 1 << 27  # of states kept for comparison; a stream that has not repeated by then is run to its end
_COPIES = 32  # states kept to go on from

_R = Register
_COUNTED = slice(_R.READS, _R.COUNTED_END)
_TIMEOUT_PAGE = 2
_ALL_BANK, _PER_BANK = REFRESHES.index("all-bank"), REFRESHES.index("per-bank")


@dataclass(frozen=True)
class PeriodicRequests:
    """``count`` requests: ``period`` over and over, ``row_step`` rows further on each time."""

    period: Requests
    row_step: int
    count: int


def shift_of(channel: Channel, stream: PeriodicRequests) -> int:
    """Requests after which the stream is the same but for the names of banks and the places of rows.

    It divides the period. No bank may change its name where the controller goes by bank numbers: pages closed by timeouts,
    refresh bank by bank.
    """
    c, part = channel.settings, stream.period
    fixed = c.page >= _TIMEOUT_PAGE or c.refresh == _PER_BANK
    return int(smallest_shift(channel.tables, part.bank, part.row, part.column, part.write, stream.row_step, fixed))


def run_periodic(device: Device, controller: Controller, stream: PeriodicRequests) -> tuple[Channel, int]:
    """The channel after all requests, drained, and how many requests were skipped."""
    channel = Channel.new(device, controller)
    step, pause_at = _pauses(channel)
    watch: _Watch | None = _Watch(channel, stream)
    feed = _Feed(stream, watch.shift, _CHUNK if step < FAR else _CHUNK_WITHOUT_REFRESH)
    skipped = 0
    first, chunk = 0, feed.chunk(0)
    while True:
        last = first + len(chunk) == stream.count
        code = channel.advance(chunk, first, last=last, pause_at=FAR if watch is None else pause_at)
        if code == DRAINED:
            return channel, skipped
        if watch is not None and (code != NEED_REQUESTS or step == FAR):
            pause_at += step if step < FAR else 0
            skipped = watch.look()
            watch = None if watch.done else watch
        at = int(channel.state["regs"][0, _R.NEXT])
        if not first <= at < first + len(chunk):
            first, chunk = at, feed.chunk(at)


def _pauses(channel: Channel) -> tuple[int, int]:
    """The ticks after which refresh stands where it stood, and the first tick to compare states at; FAR without refresh.

    After an all-bank refresh that falls due in time, banks are still closed at that tick.
    """
    c = channel.settings
    if c.refresh == _ALL_BANK:
        busy = int(channel.tables["same_rank"][0, REF, ACT])
        return c.refresh_interval, c.refresh_interval + min(busy, c.refresh_interval // 2)
    if c.refresh == _PER_BANK:
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
            row = (part.row + np.arange(periods, dtype=np.int64)[:, None] * stream.row_step).reshape(-1)
            bank, column, write = (np.tile(array, periods) for array in (part.bank, part.column, part.write))
            part = Requests(bank, row, column, write)
        self._given = part

    def chunk(self, first: int) -> Requests:
        """A piece of the stream that begins with request ``first``."""
        turn, begin = divmod(first, len(self._given))
        part = self._given[begin : begin + min(self._size, self._count - first)]
        return Requests(part.bank, part.row + turn * self._rows, part.column, part.write)


@dataclass(frozen=True)
class _Met:
    """Where a run stood, and what it had counted, when it met a state."""

    requests: int
    tick: int
    counted: NDArray[np.int64]
    commands: NDArray[np.int64]


class _Watch:
    """The states that a run has met so far, and what can be skipped once one of them returns."""

    def __init__(self, channel: Channel, stream: PeriodicRequests) -> None:
        self.shift = shift_of(channel, stream)
        self.done = False
        self._channel, self._count = channel, stream.count
        part, c = stream.period, channel.settings
        self._stream = (part.bank, part.row, stream.row_step, first_requests(part.bank))
        self._slots = int(channel.state["regs"][0, _R.FREE])  # all of them, before the first request
        waiting = len(channel.state["maintenance"][0])
        self._key = np.empty(key_room(c.ranks, c.groups, c.banks, self._slots, waiting), dtype=np.int64)
        self._numbers: dict[bytes, int] = {}
        self._met: list[_Met] = []
        self._bytes = 0
        self._copies = np.empty(_COPIES + 1, dtype=STATE)  # little of each is ever touched
        self._kept: dict[int, int] = {}  # the number of a state kept: its place among the copies
        self._every = 1

    def look(self) -> int:
        """Skip what can be skipped if the present state was met before; the requests skipped."""
        channel = self._channel
        fixed = (channel.tables, channel.settings, channel.state)
        key = self._key[: write_key(*fixed, *self._stream, self.shift, self._key)].tobytes()
        found = self._numbers.get(key)
        regs, commands = channel.state["regs"][0], channel.state["commands"][0]
        self._met.append(_Met(int(regs[_R.NEXT]), int(regs[_R.CLK]), regs[_COUNTED].copy(), commands.copy()))
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
        if len(self._kept) == _COPIES:
            self._every *= 2
            self._kept = {kept: place for kept, place in self._kept.items() if kept % self._every == 0}
        if number % self._every == 0:
            self._kept[number] = min(set(range(_COPIES)).difference(self._kept.values()))
            self._copy(self._kept[number])

    def _copy(self, place: int) -> None:
        channel = self._channel
        copy_state(channel.settings, self._slots, channel.state, 0, self._copies, place)

    def _skip(self, found: int) -> int:
        """Go on from the last place that is whole cycles after a state kept; one request at least is left.

        The present state is that of number ``found`` again.
        """
        present = len(self._met) - 1
        begin, end = self._met[found], self._met[present]
        cycle = end.requests - begin.requests
        if cycle == 0:
            return 0
        self._copy(_COPIES)
        places = {number: place for number, place in self._kept.items() if number > found} | {present: _COPIES}
        left = {number: (self._count - 1 - self._met[number].requests) % cycle for number in places}
        best = min(places, key=lambda number: left[number])
        times = (self._count - 1 - self._met[best].requests) // cycle
        landing = self._met[best].requests + times * cycle
        if landing <= end.requests:
            return 0
        channel = self._channel
        move(
            channel.tables,
            channel.settings,
            channel.state,
            *self._stream,
            times * cycle,
            times * (end.tick - begin.tick),
            self._slots,
            self._copies,
            places[best],
        )
        channel.state["regs"][0, _COUNTED] += (end.counted - begin.counted) * times
        channel.state["commands"][0] += (end.commands - begin.commands) * times
        return landing - end.requests
