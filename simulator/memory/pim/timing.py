"""When a command to a set of banks may be sent: the DRAM's rules and the device's own, over what was sent before.

Banks that no command of a program tells apart are kept as one. A rule between two commands holds where their sets share
a node of its scope; the clocks a command takes on its bus are counted besides.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from functools import cached_property

import numpy as np

from simulator.memory.dram.device import Constraint
from simulator.memory.pim.device import PimCommand, PimDevice

__all__ = ["Timing"]

_DEPTH = {"channel": 0, "rank": 1, "pseudochannel": 1, "sid": 2, "bankgroup": 3, "bank": 4}
_NEVER = -(1 << 40)
_COLUMNS = ("RD", "WR")
_Check = tuple[list[int], tuple[int, ...], int]  # last ticks by node, the nodes to look at, ticks to add
_Windowed = tuple[tuple[deque[int], ...], int]


class Timing:
    """The history of one channel, as far as rules look back."""

    def __init__(self, pim: PimDevice, sets: Iterable[str]) -> None:
        self.pim = pim
        device = pim.dram
        self.members = {name: pim.sets[name] for name in sets}
        alike: dict[tuple[bool, ...], int] = {}
        atom = [
            alike.setdefault(tuple(bank in banks for banks in self.members.values()), len(alike))
            for bank in range(device.banks)
        ]
        place = np.array(np.unravel_index(np.arange(device.banks), device.shape))
        span = [1, *np.cumprod(device.shape).tolist()]
        numbers = [np.ravel_multi_index(tuple(place[:depth]), device.shape[:depth]) for depth in (1, 2, 3)]
        node = [np.zeros(device.banks, int), *numbers, np.array(atom)]
        self._count = [*span[:4], len(alike)]
        self._shape = device.shape
        self.nodes = {
            name: [tuple(sorted({int(node[depth][bank]) for bank in banks})) for depth in range(5)]
            for name, banks in self.members.items()
        }
        self._last: dict[tuple[str, int], list[int]] = {}
        self._rings: dict[tuple[str, int, int], deque[int]] = {}
        self._bus = {command: number for number, bus in enumerate(device.buses) for command in bus}
        self._bus_free = [0] * len(device.buses)
        self._checks: dict[tuple[str, str, bool], tuple[list[_Check], list[_Windowed]]] = {}
        for command in pim.commands.values():  # all of them now: nothing sent may go unnoticed
            for where in self.nodes:
                self._table(command, where, False)

    @cached_property
    def _keys(self) -> frozenset[str]:
        """Names under which commands of this device are remembered."""
        commands = self.pim.commands.values()
        return frozenset({c.like for c in commands} | {c.name for c in commands})

    def _own(self, command: PimCommand) -> list[Constraint]:
        base = [rule for rule in self.pim.dram.constraints if command.like and rule.after == command.like]
        return [rule for rule in (*base, *self._extra(command)) if rule.before in self._keys and rule.ticks > 0]

    def _extra(self, command: PimCommand) -> list[Constraint]:
        return [rule for rule in self.pim.rules if rule.after == command.name]

    def _table(self, command: PimCommand, where: str, columns: bool) -> tuple[list[_Check], list[_Windowed]]:
        found = self._checks.get((command.name, where, columns))
        if found is not None:
            return found
        plain: list[_Check] = []
        windowed: list[_Windowed] = []
        rows = {c.name for c in self.pim.commands.values() if c.like and c.like not in _COLUMNS}
        for rule in self._own(command):
            if columns and (rule.before in rows or rule.before in ("ACT", "PREpb", "REFab")):
                continue
            depth = _DEPTH[rule.scope]
            at = self.nodes[where][depth]
            if rule.sibling:
                width = self._shape[depth - 1]
                at = tuple(sorted({n - n % width + k for n in at for k in range(width) if at != (n - n % width + k,)}))
            if rule.window > 1:
                rings = tuple(self._ring(rule.before, depth, n, rule.window) for n in at)
                windowed.append((rings, rule.ticks))
            else:
                plain.append((self._ticks(rule.before, depth), at, rule.ticks))
        self._checks[command.name, where, columns] = (plain, windowed)
        return plain, windowed

    def _ticks(self, key: str, depth: int) -> list[int]:
        return self._last.setdefault((key, depth), [_NEVER] * self._count[depth])

    def _ring(self, key: str, depth: int, node: int, window: int) -> deque[int]:
        ring = self._rings.setdefault((key, depth, node), deque(maxlen=window))
        assert ring.maxlen == window, f"two windows for {key}"
        return ring

    def earliest(self, command: PimCommand, where: str, now: int) -> int:
        """The first tick from ``now`` on at which ``command`` may go to the set ``where``."""
        plain, windowed = self._table(command, where, False)
        tick = max(now, self._bus_free[self._bus_of(command)])
        for last, nodes, ticks in plain:
            for node in nodes:
                if last[node] + ticks > tick:
                    tick = last[node] + ticks
        for rings, ticks in windowed:
            for ring in rings:
                if len(ring) == ring.maxlen and ring[0] + ticks > tick:
                    tick = ring[0] + ticks
        return tick + (self.pim.dram.half_clock and tick % 2 == 0)

    def after_columns(self, command: PimCommand, where: str) -> int:
        """The same, were column commands and moves the only ones that had been sent."""
        plain, _ = self._table(command, where, True)
        return max((last[node] + ticks for last, nodes, ticks in plain for node in nodes), default=0)

    def _bus_of(self, command: PimCommand) -> int:
        return self._bus[command.like] if command.like else self._bus["RD"]

    def send(self, command: PimCommand, where: str, tick: int) -> None:
        """Note that ``command`` went to the set ``where``."""
        for key in {command.like, command.name} - {""}:
            for depth in range(5):
                found = self._last.get((key, depth))
                if found is not None:
                    for node in self.nodes[where][depth]:
                        found[node] = tick
        for (key, depth, node), ring in self._rings.items():
            if key in (command.like, command.name) and node in self.nodes[where][depth]:
                ring.append(tick)
        length = self.pim.dram.command_ticks.get(command.like or "RD", 1)
        self._bus_free[self._bus_of(command)] = tick + length

    def shape(self, now: int) -> tuple[object, ...]:
        """All that decides what may be sent from ``now`` on, relative to it; too long ago for any rule is one value."""
        far = self._longest
        return (
            tuple(tuple(max(tick - now, far) for tick in ticks) for _, ticks in sorted(self._last.items())),
            tuple(tuple(max(tick - now, far) for tick in ring) for _, ring in sorted(self._rings.items())),
            tuple(max(free - now, far) for free in self._bus_free),
            now % 2 if self.pim.dram.half_clock else 0,
        )

    @cached_property
    def _longest(self) -> int:
        ticks = [rule.ticks for rule in (*self.pim.dram.constraints, *self.pim.rules)]
        return -max(ticks) - 1

    def move(self, ticks: int) -> None:
        """Let ``ticks`` pass for everything that was sent."""
        for last in self._last.values():
            last[:] = [tick + ticks for tick in last]
        for ring in self._rings.values():
            values = [tick + ticks for tick in ring]
            ring.clear()
            ring.extend(values)
        self._bus_free = [tick + ticks for tick in self._bus_free]
