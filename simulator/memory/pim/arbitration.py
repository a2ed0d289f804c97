"""Host and units on the same banks: taking turns, or both at once.

Taking turns (*exclusive*): the memory belongs to the units for whole programs. A program opens and closes with the
commands that switch modes, if it has any, and all rows are closed in between: those ticks are the price of a turn.

Both at once (*overlapped*), with a second row buffer for the host (NeuPIMs): each goes on at its own rate as long as
the command buses have room for both; when they have not, both slow down alike. It is the best that overlap can do: the
two are not interleaved command by command.
"""

from __future__ import annotations

from dataclasses import dataclass

from simulator.memory.pim.device import PimDevice
from simulator.memory.pim.executor import Timeline, execute
from simulator.memory.pim.host import HostResult
from simulator.memory.pim.program import MODE, Program
from workloads.errors import InputError

__all__ = ["Shares", "share"]


@dataclass(frozen=True)
class Shares:
    """Ticks until both are done, and how they divide.

    ``pim_share`` and ``host_share`` are parts of ``cycles`` in which each has the memory (they add up to more than 1
    when overlapped); ``switch_share`` goes to changing modes and closing rows. ``bus_load`` is the part of the busiest
    command bus in use.
    """

    cycles: int
    pim_share: float
    host_share: float
    switch_share: float
    bus_load: float


def share(pim: PimDevice, program: Program, host: HostResult, turns: int = 1) -> Shares:
    """``turns`` runs of ``program`` and, between them, ``host``'s traffic in as many equal parts.

    Overlapped where ``pim.two_row_buffers``, else exclusive. Raises `InputError` for less than one turn.
    """
    if turns < 1:
        raise InputError(f"found {turns} turns", "at least 1", "turns")
    time = execute(pim, program)
    load = _bus_ticks(pim, time, host, turns)
    if pim.two_row_buffers:
        cycles = max(turns * time.cycles, host.cycles, load)
        return Shares(cycles, turns * time.cycles / cycles, host.cycles / cycles, 0.0, load / cycles)
    modes = sum(ticks for (purpose, _), ticks in time.ticks_by_cause.items() if purpose == MODE)
    close = pim.dram.timing["nRP"]
    switch = turns * (modes + 2 * close)
    cycles = turns * time.cycles + host.cycles + turns * 2 * close
    return Shares(
        cycles,
        turns * (time.cycles - modes) / cycles,
        host.cycles / cycles,
        switch / cycles,
        load / cycles,
    )


def _bus_ticks(pim: PimDevice, time: Timeline, host: HostResult, turns: int) -> int:
    """Ticks that the commands of both take on the busiest bus of a channel."""
    device = pim.dram
    taken = [0] * len(device.buses)
    for role, count in time.commands.items():
        name = pim.commands[role].like or "RD"
        bus = next(i for i, sent in enumerate(device.buses) if name in sent)
        taken[bus] += turns * count * device.command_ticks[name]
    for phase in host.phases:
        for name, count in phase.commands.items():
            bus = next((i for i, sent in enumerate(device.buses) if name in sent), 0)
            taken[bus] += count // phase.channels * device.command_ticks.get(name, 1)
    return max(taken)
