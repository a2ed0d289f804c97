"""One channel on its way through a periodic stream: what its state is equal to, copies of it, and jumps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.memory.dram.controller import REFRESHES
from simulator.memory.dram.kernel import Channel
from simulator.memory.dram.kernel_state import Register
from simulator.memory.dram.requests import Requests
from simulator.memory.dram.steady_shift import first_requests, smallest_shift
from simulator.memory.dram.steady_state import carry_state, move, room, write_key

__all__ = ["ALL_BANK", "PER_BANK", "PeriodicRequests", "Place", "Walk"]

ALL_BANK, PER_BANK = REFRESHES.index("all-bank"), REFRESHES.index("per-bank")
_TIMEOUT_PAGE = 2

_R = Register
_COUNTED = slice(_R.READS, _R.COUNTED_END)


@dataclass(frozen=True)
class PeriodicRequests:
    """``count`` requests: ``period`` over and over, ``row_step`` rows further on each time."""

    period: Requests
    row_step: int
    count: int


@dataclass(frozen=True)
class Place:
    """Where a run stands: requests accepted, ticks processed, and all that it has counted."""

    requests: int
    tick: int
    counts: NDArray[np.int64]


class Walk:
    """A channel and the stream it serves.

    ``shift`` requests further on the stream is the same but for the names of banks and the places of rows; it divides
    the period. No bank may change its name where the controller goes by bank numbers: pages closed by timeouts, refresh
    bank by bank.
    """

    def __init__(self, channel: Channel, stream: PeriodicRequests) -> None:
        self.channel, self.count = channel, stream.count
        part, c = stream.period, channel.settings
        fixed = c.page >= _TIMEOUT_PAGE or c.refresh == PER_BANK
        columns = (part.bank, part.row, part.column, part.write)
        self.shift = int(smallest_shift(channel.tables, *columns, stream.row_step, fixed))
        self._stream = (part.bank, part.row, stream.row_step, first_requests(part.bank))
        self._slots = int(channel.state["regs"][0, _R.FREE])  # all of them, before the first request
        self._flat = np.empty(room(c, self._slots), dtype=np.int64)
        self._spare = channel.state.copy()

    @property
    def at(self) -> int:
        """Requests accepted so far."""
        return int(self.channel.state["regs"][0, _R.NEXT])

    @property
    def tick(self) -> int:
        """Ticks processed so far."""
        return int(self.channel.state["regs"][0, _R.CLK])

    def key(self) -> bytes:
        """The present state, equal to another if and only if both have the same future."""
        channel = self.channel
        size = write_key(channel.tables, channel.settings, channel.state, *self._stream, self.shift, self._flat)
        return self._flat[:size].tobytes()

    def place(self) -> Place:
        """Where the run stands; counts are comparable after `key`."""
        regs, commands = self.channel.state["regs"][0], self.channel.state["commands"][0]
        return Place(int(regs[_R.NEXT]), int(regs[_R.CLK]), np.concatenate((regs[_COUNTED], commands)))

    def copy(self) -> NDArray[np.int64]:
        """The present state, to go on from."""
        channel = self.channel
        size = carry_state(channel.settings, self._slots, channel.state, self._flat, True)
        return self._flat[:size].copy()

    def jump(self, copy: NDArray[np.int64], requests: int, ticks: int, counts: NDArray[np.int64]) -> None:
        """Go on from ``copy`` as it is ``requests`` and ``ticks`` later, with ``counts``."""
        channel = self.channel
        fixed = (channel.tables, channel.settings, channel.state, *self._stream)
        move(*fixed, self._slots, copy, requests, ticks, self._spare)
        counted = _COUNTED.stop - _COUNTED.start
        channel.state["regs"][0, _COUNTED] = counts[:counted]
        channel.state["commands"][0] = counts[counted:]
