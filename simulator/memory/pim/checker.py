"""A command log of a memory that computes against every rule, after the fact.

It shares with the executor only the device and the log. Every rule of the DRAM device and of the memory itself is
looked up bank by bank: for each node of the rule's scope, each later command that touches it, and the earlier ones that
did. Then what is not timing: buses, odd ticks, rows, refresh, operands, modes.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.memory.dram.device import Constraint
from simulator.memory.pim.device import PimDevice
from simulator.memory.pim.executor import Entry

__all__ = ["Broken", "broken_rules"]

_LEVELS = ("channel", "rank", "sid", "bankgroup", "bank")
_TO_ALL_ROW, _TO_SINGLE_ROW = 0x17FF, 0x1FFF


@dataclass(frozen=True)
class Broken:
    """A rule's name, the commands before and after it by number (-1: none), ticks needed and found."""

    rule: str
    before: int
    after: int
    needed: int
    found: int


def broken_rules(pim: PimDevice, log: list[Entry]) -> tuple[Broken, ...]:
    """All rules that ``log`` breaks, timing first."""
    tick = np.array([entry.tick for entry in log], dtype=np.int64)
    touched = np.zeros((len(log), pim.dram.banks), dtype=np.bool_)
    for number, entry in enumerate(log):
        touched[number, list(pim.sets[entry.where])] = True
    out: list[Broken] = []
    for rule in (*pim.dram.constraints, *pim.rules):
        if rule.ticks > 0:
            out += _timing(pim, log, tick, touched, rule)
    return (*out, *_buses(pim, log), *_rows(pim, log), *_refresh_rate(pim, log), *_operands(log), *_modes(pim, log))


def _timing(
    pim: PimDevice, log: list[Entry], tick: NDArray[np.int64], touched: NDArray[np.bool_], rule: Constraint
) -> Iterator[Broken]:
    commands = [pim.commands[entry.role] for entry in log]
    before = np.array([rule.before in (command.like, command.name) for command in commands])
    after = np.array([rule.after in (command.like, command.name) for command in commands])
    if not before.any() or not after.any():
        return
    depth = _LEVELS.index("rank" if rule.scope == "pseudochannel" else rule.scope)
    shape = pim.dram.shape
    banks = np.arange(pim.dram.banks)
    node = banks // int(np.prod(shape[depth:]))
    parent = banks // int(np.prod(shape[depth - 1 :])) if depth else node
    for number in range(int(node.max()) + 1):
        mine = node == number
        others = (parent == parent[mine][0]) & ~mine if rule.sibling else mine
        earlier = np.flatnonzero(before & touched[:, others].any(axis=1))
        later = np.flatnonzero(after & touched[:, mine].any(axis=1))
        at = np.searchsorted(earlier, later) - rule.window
        for i, j in zip(later[at >= 0], earlier[at[at >= 0]], strict=True):
            if tick[i] - tick[j] < rule.ticks:
                yield Broken(rule.name, int(j), int(i), rule.ticks, int(tick[i] - tick[j]))


def _buses(pim: PimDevice, log: list[Entry]) -> Iterator[Broken]:
    device = pim.dram
    last: dict[int, int] = {}
    for number, entry in enumerate(log):
        name = pim.commands[entry.role].like or "RD"
        bus = next(i for i, sent in enumerate(device.buses) if name in sent)
        if bus in last:
            previous = log[last[bus]]
            length = device.command_ticks[pim.commands[previous.role].like or "RD"]
            if entry.tick - previous.tick < length:
                yield Broken("bus busy", last[bus], number, length, entry.tick - previous.tick)
        last[bus] = number
        if device.half_clock and entry.tick % 2 == 0:
            yield Broken("even tick", -1, number, entry.tick + 1, entry.tick)


def _rows(pim: PimDevice, log: list[Entry]) -> Iterator[Broken]:
    row = dict.fromkeys(range(pim.dram.banks), -1)
    for number, entry in enumerate(log):
        like, banks = pim.commands[entry.role].like, pim.sets[entry.where]
        for bank in sorted(banks):
            if like == "ACT" and row[bank] >= 0:
                yield Broken("activation of an open bank", -1, number, -1, row[bank])
            if like in ("RD", "WR") and row[bank] != entry.row:
                yield Broken("column of a row that is not open", -1, number, entry.row, row[bank])
            if like == "REFab" and row[bank] >= 0:
                yield Broken("refresh of an open bank", -1, number, -1, row[bank])
            if like in ("ACT", "PREpb"):
                row[bank] = entry.row if like == "ACT" else -1


def _refresh_rate(pim: PimDevice, log: list[Entry]) -> Iterator[Broken]:
    interval, got = pim.dram.timing["nREFI"], 0
    for number, entry in enumerate(log):
        owed = 0 if entry.tick < pim.first_refresh_ticks else 1 + (entry.tick - pim.first_refresh_ticks) // interval
        if entry.role == "refresh":
            got += 1
        elif owed - got > 1:
            yield Broken("refresh rate", -1, number, owed, got)


def _operands(log: list[Entry]) -> Iterator[Broken]:
    """Units need inputs before they compute: registers or buffers written, or an operand read into registers."""
    given = False
    for number, entry in enumerate(log):
        given = given or entry.role == "fill" or (entry.role == "read" and not entry.where.startswith("bank"))
        if entry.role == "compute" and not given:
            yield Broken("compute without operands", -1, number, 1, 0)


def _modes(pim: PimDevice, log: list[Entry]) -> Iterator[Broken]:
    """Units with registers: commands reach sets of banks only in all-bank mode, single banks only outside it."""
    if pim.layout != "registers":
        return
    switches: set[str] = set()
    all_banks = False
    for number, entry in enumerate(log):
        if entry.role == "write" and entry.row == _TO_ALL_ROW:
            switches.add(entry.where)
            all_banks = len(switches) == 4
        single = entry.where.startswith("bank")
        if entry.role not in ("precharge", "refresh") and single == all_banks and entry.row != _TO_ALL_ROW:
            yield Broken("wrong mode", -1, number, int(not single), int(all_banks))
        if entry.role == "write" and entry.row == _TO_SINGLE_ROW and entry.where == pim.column_sets[-1]:
            all_banks, switches = False, set()
