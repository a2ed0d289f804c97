"""Requests and commands in the short form of the sequences that the tests of the DRAM controller work out by hand."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from simulator.memory.dram.controller import Controller
from simulator.memory.dram.device import Device
from simulator.memory.dram.devices import load_device
from simulator.memory.dram.outcome import ChannelOutcome
from simulator.memory.dram.requests import Requests
from simulator.memory.dram.tables import COMMANDS
from simulator.memory.dram.twin import run_channel

__all__ = ["DDR4", "HBM2", "HBM3", "LPDDR5", "Access", "Sent", "requests_of", "run", "without"]

Access = tuple[int, int, int, str]
"""A request: bank, row, column, "R" or "W"."""

Sent = list[tuple[int, str, int]]
"""Commands in the order sent: tick, command, bank; bank -1 for all banks of a rank."""

DDR4 = load_device("DDR4-3200")  # four groups of four banks: bank 4g + b
LPDDR5 = load_device("LPDDR5-6400")
HBM2 = load_device("HBM2-2000")  # bank 16 is the first of the second pseudo-channel
HBM3 = load_device("HBM3-6400")  # bank 32 is the first of the second pseudo-channel


def requests_of(accesses: list[Access]) -> Requests:
    """``accesses`` as arrays."""
    bank, row, column = (np.array([access[i] for access in accesses], dtype=np.int64) for i in range(3))
    return Requests(bank, row, column, np.array([access[3] == "W" for access in accesses], dtype=np.bool_))


def run(device: Device, accesses: list[Access], interval: int = 0, **options: Any) -> tuple[ChannelOutcome, Sent]:
    """Serve ``accesses``, offered at times 0, ``interval``, 2 ``interval``, ...; without refresh unless asked for.

    A request offered at time t can have its first command in tick t + 1.
    """
    controller = Controller(**{"refresh": "none", "interval_ticks": interval, **options})
    outcome, log = run_channel(device, controller, requests_of(accesses))
    names = [COMMANDS[number] for number in log.command]
    return outcome, list(zip(log.tick.tolist(), names, log.bank.tolist(), strict=True))


def without(device: Device, *names: str) -> Device:
    """``device`` without the constraints called ``names``: shows a controller's rule that they would hide."""
    return replace(device, constraints=tuple(rule for rule in device.constraints if rule.name not in names))
