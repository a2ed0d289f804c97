"""Requests of one channel, cut into bank, row and column; and how addresses become that."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit
from numpy.typing import NDArray

from simulator.memory.dram.device import Device
from simulator.memory.dram.mapping import Mapping

__all__ = ["Requests", "decode", "split_channels"]


@dataclass(frozen=True)
class Requests:
    """Requests of one channel in the order they are offered; arrays of one length.

    ``bank`` counts the channel's banks in the order rank, stack, group, bank; ``column`` counts bursts of a row.
    """

    bank: NDArray[np.int64]
    row: NDArray[np.int64]
    column: NDArray[np.int64]
    write: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.bank)

    def __getitem__(self, part: slice) -> Requests:
        return Requests(self.bank[part], self.row[part], self.column[part], self.write[part])


def decode(
    device: Device, mapping: Mapping, addresses: NDArray[np.int64], writes: NDArray[np.bool_]
) -> tuple[NDArray[np.int64], Requests]:
    """The channel of each byte address, and the requests of all channels together."""
    shape = np.array(device.shape, dtype=np.int64)
    shift = device.burst_bytes.bit_length() - 1
    channel, bank, row, column = _decode(mapping.terms(), shape, shift, np.ascontiguousarray(addresses, np.int64))
    return channel, Requests(bank, row, column, np.ascontiguousarray(writes, np.bool_))


def split_channels(channel: NDArray[np.int64], requests: Requests, channels: int) -> tuple[Requests, ...]:
    """``requests`` by channel, each in the order given."""
    if channels == 1:
        return (requests,)
    out = []
    for number in range(channels):
        own = np.flatnonzero(channel == number)
        out.append(Requests(requests.bank[own], requests.row[own], requests.column[own], requests.write[own]))
    return tuple(out)


@njit(cache=True)
def _decode(terms, shape, shift, addresses):  # type: ignore[no-untyped-def]
    count = len(addresses)
    channel = np.empty(count, np.int64)
    bank = np.empty(count, np.int64)
    row = np.empty(count, np.int64)
    column = np.empty(count, np.int64)
    field = np.empty(7, np.int64)
    for i in range(count):
        burst = addresses[i] >> shift
        field[:] = 0
        for t in range(len(terms)):
            field[terms[t, 0]] ^= ((burst >> terms[t, 1]) & ((1 << terms[t, 2]) - 1)) << terms[t, 3]
        channel[i] = field[0]
        bank[i] = ((field[1] * shape[1] + field[2]) * shape[2] + field[3]) * shape[3] + field[4]
        column[i] = field[5]
        row[i] = field[6]
    return channel, bank, row, column
