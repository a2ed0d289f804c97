"""A controller with the ten settings of DRAMSys that ArchGym's DRAM space varies, for devices of one rank.

The rules are those of DRAMSys (tukl-msd/DRAMSys; files below src/libdramsys/DRAMSys at a549044, the arbiter at
3ff9a99), with no delays but those of the device. One thread sends requests, at most one a tick and each no sooner than
its tick in the trace; a request that is not taken is offered again, and nothing behind it passes.

One tick
    1. *Responses.* At most one leaves the controller's response queue for the arbiter, and at most one the arbiter for
       the thread.
    2. *Requests.* At most one enters the arbiter and at most one the controller, if the buffer has room; they may be
       the same.
    3. *Refresh* decides whether it wants a command.
    4. *One command.* Each bank has one request it is at, and so one command. Of those legal in this tick, one of the
       refresh goes first, then that of the oldest request (controller/cmdmux/CmdMuxOldest.cpp).
    5. A column command takes its request out of the buffer; a request that waited for the room may enter in the same
       tick, if none did. Refresh decides again.

Settings
    ``page`` (controller/BankMachine.cpp)
        ``Open``: a row stays open until another is wanted. ``OpenAdaptive``: a column command precharges if the bank
        has further requests and none for the row. ``Closed``: every column command precharges. ``ClosedAdaptive``: it
        does unless the bank has a further request for the row.
    ``scheduler`` (controller/scheduler/): which of its requests a bank is at, the oldest or
        ``Fifo``: always the oldest; only the one behind it can be a further request for the row. ``FrFcfs``: the oldest
        for the open row. ``FrFcfsGrp``: of those for the open row the oldest that reads or writes as the last column
        command of the channel did and has none for the same address before it, else the oldest.
    ``buffer`` (controller/scheduler/BufferCounter*.cpp), what ``buffer_size`` limits
        ``Bankwise``: requests of the bank to which the *last* request went, for that of the next one is not looked at.
        ``ReadWrite``: reads and writes apart; room must be for either. ``Shared``: all.
    ``responses`` (controller/respqueue/)
        ``Fifo``: in the order of the column commands. ``Reorder``: in the order of the requests.
    ``refresh`` (controller/refresh/RefreshManagerAllBank.cpp)
        ``NoRefresh``. ``AllBank``: at each interval, if any request waits and fewer than ``max_postponed`` were
        postponed, one more is; else all banks are precharged and refreshed, and if so many were postponed nothing else
        is begun meanwhile, from the next tick on. After a refresh, others are pulled in one by one while no request
        waits, until ``max_pulled_in`` are ahead; each takes one off what is postponed. So under constant load the count
        stays where it once got.
    ``arbiter`` (simulation/Arbiter.cpp)
        ``Simple``: a request is taken when the controller takes it. ``Fifo``: when fewer than ``max_active`` are
        between arbiter and thread; responses go back as they come. ``Reorder``: as Fifo, but in the order of the
        requests.

Where a refresh is forced, the command that a bank was about to send in that very tick still goes: so it was in the
versions of DRAMSys before 09f6dcb (BankMachine.cpp: ``block`` leaves what is found), one of which ArchGym has; later
ones drop it. Departure: DRAMSys's Simple arbiter can hand over several responses in one tick, here it is one.

Not modelled: more than one rank, separate command buses, commands of several ticks, activations in two commands; power
down, which the space does not vary. `check_device` refuses such devices.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from simulator.memory.dram.device import Device
from simulator.memory.dram.mapping import address_mapping
from simulator.memory.dram.requests import decode
from simulator.memory.dram.tables import COMMANDS
from workloads.errors import InputError, nearest_name

__all__ = ["BUFFER_SIZES", "CHOICES", "QueuedController", "QueuedOutcome", "QueuedTrace", "check_device", "placed"]

CHOICES: dict[str, tuple[str, ...]] = {
    "page": ("Open", "OpenAdaptive", "Closed", "ClosedAdaptive"),
    "scheduler": ("Fifo", "FrFcfsGrp", "FrFcfs"),
    "buffer": ("Bankwise", "ReadWrite", "Shared"),
    "responses": ("Fifo", "Reorder"),
    "refresh": ("NoRefresh", "AllBank"),
    "arbiter": ("Simple", "Fifo", "Reorder"),
}
"""The words that each setting may have, in the order of the space (arXiv 2211.16385, table of the DRAM controller)."""

BUFFER_SIZES = (1, 1024)
"""The least and the most of a buffer size and of active transactions."""


@dataclass(frozen=True)
class QueuedController:
    """The ten settings; the module says what each does. Raises `InputError`, with the setting as its field, for a value
    that is none of its."""

    page: str = "Open"
    scheduler: str = "FrFcfs"
    buffer: str = "Shared"
    buffer_size: int = 8
    responses: str = "Fifo"
    refresh: str = "AllBank"
    max_postponed: int = 8
    max_pulled_in: int = 8
    arbiter: str = "Simple"
    max_active: int = 128

    def __post_init__(self) -> None:
        for name, words in CHOICES.items():
            value = getattr(self, name)
            if value not in words:
                nearest = nearest_name(str(value), words)
                raise InputError(f"found {value!r}", f"one of {', '.join(words)}", name, nearest=nearest)
        for name, (least, most) in {
            "buffer_size": BUFFER_SIZES,
            "max_active": BUFFER_SIZES,
            "max_postponed": (1, 8),
            "max_pulled_in": (1, 8),
        }.items():
            value = getattr(self, name)
            if not isinstance(value, int) or not least <= value <= most:
                raise InputError(f"found {value!r}", f"a whole number from {least} to {most:,}", name)

    @property
    def numbers(self) -> tuple[int, ...]:
        """The settings in their order, words as their places in `CHOICES`."""
        found = []
        for field in fields(self):
            value = getattr(self, field.name)
            found.append(CHOICES[field.name].index(value) if field.name in CHOICES else value)
        return tuple(found)


@dataclass(frozen=True)
class QueuedTrace:
    """Requests of one channel; arrays of one length. ``tick`` is the first at which each may be sent, and never falls;
    ``bank`` counts the banks of the channel, ``column`` the bursts of a row."""

    tick: NDArray[np.int64]
    bank: NDArray[np.int64]
    row: NDArray[np.int64]
    column: NDArray[np.int64]
    write: NDArray[np.bool_]

    def __len__(self) -> int:
        return len(self.tick)


@dataclass(frozen=True)
class QueuedOutcome:
    """Counts of a run that has ended: every response is back.

    ``total_ticks`` is the tick of the last response; ``latency_ticks`` sums, over all requests, the ticks from being
    offered to being answered; ``open_ticks`` counts those with any row open; ``commands`` by role (`tables.COMMANDS`).
    ``needed`` are the least buffer size, active transactions, postponed and pulled-in refreshes with which the run
    would have gone the very same way: all limits between these and those given yield this outcome.
    """

    total_ticks: int
    latency_ticks: int
    open_ticks: int
    requests: int
    commands: tuple[int, ...]
    needed: tuple[int, int, int, int]

    def mean_latency_s(self, device: Device) -> float:
        """From being offered to being answered, over all requests."""
        return self.latency_ticks * device.tick_s / self.requests

    def total_s(self, device: Device) -> float:
        """Until the last response."""
        return self.total_ticks * device.tick_s

    def energy_j(self, device: Device) -> float:
        """Of the device until the last response. Raises `InputError` where it has no energies."""
        given = device.energy
        if given is None:
            raise InputError(f"{device.name} has no energies", "a device with currents or energies", "device")
        sent = dict(zip(COMMANDS, self.commands, strict=True))
        open_s = self.open_ticks * device.tick_s
        return (
            sent["ACT"] * given.activate_j
            + (sent["RD"] + sent["RDA"]) * given.read_j
            + (sent["WR"] + sent["WRA"]) * given.write_j
            + sent["REFab"] * given.refresh_j
            + open_s * given.open_w
            + (self.total_s(device) - open_s) * given.closed_w
        )

    def power_w(self, device: Device) -> float:
        """Energy over total time."""
        return self.energy_j(device) / self.total_s(device)


def check_device(device: Device) -> None:
    """Raise `InputError` for a device this controller cannot have."""
    for wrong, problem, expected in (
        (device.shape[0] != 1, f"{device.name} has {device.shape[0]} {device.rank_name}s", "one rank"),
        (len(device.buses) != 1, f"{device.name} has {len(device.buses)} command buses", "one"),
        (device.second_activate_within > 0, f"{device.name} activates in two commands", "a device that needs one"),
        (device.half_clock, f"{device.name} starts commands at half clocks", "whole clocks"),
        (device.clock_sync_ticks is not None, f"{device.name} has a data clock that stops", "one that does not"),
        (
            any(ticks != 1 for ticks in device.command_ticks.values()),
            f"{device.name} has commands of several ticks",
            "commands of one",
        ),
    ):
        if wrong:
            raise InputError(problem, f"{expected}: DDR3 or DDR4", "device")


def placed(
    device: Device, mapping: str, ticks: NDArray[np.int64], addresses: NDArray[np.int64], writes: NDArray[np.bool_]
) -> QueuedTrace:
    """Requests at byte ``addresses``, one channel. Raises `InputError` for ticks that fall, addresses beyond the device
    and unknown mappings."""
    if not len(ticks) == len(addresses) == len(writes) or not len(ticks):
        raise InputError(f"found {len(ticks)} ticks and {len(addresses)} addresses", "as many, one at least", "trace")
    if (np.diff(ticks, prepend=0) < 0).any():
        raise InputError("ticks fall", "ticks from 0 on, none before the last", "trace")
    if (addresses < 0).any() or (addresses >= device.capacity_bytes).any():
        problem = f"address {int(addresses.max()):#x}"
        raise InputError(problem, f"addresses below the {device.capacity_bytes:#x} of {device.name}", "trace")
    _, requests = decode(device, address_mapping(mapping, device), addresses, writes)
    return QueuedTrace(
        np.ascontiguousarray(ticks, np.int64), requests.bank, requests.row, requests.column, requests.write
    )
