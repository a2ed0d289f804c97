"""What the plain twin remembers: banks, requests, every command sent; and when, after those, a command may start."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field
from itertools import product

from simulator.memory.dram.controller import Controller
from simulator.memory.dram.device import Constraint, Device
from simulator.memory.dram.outcome import ChannelOutcome
from simulator.memory.dram.tables import COMMANDS, command_number

__all__ = ["Bank", "Channel", "Place", "Refresh", "Request", "Row", "earliest", "legal", "new_channel", "record"]
__all__ += ["rank_banks", "waiting"]

Place = tuple[int, ...]
"""Where a command goes: (rank,) for all banks of a rank, else (rank, stack, group, bank); or a node above such."""

_DEPTH = {"channel": 0, "rank": 1, "pseudochannel": 1, "sid": 2, "bankgroup": 3, "bank": 4}


@dataclass
class Bank:
    """One bank: its row is open, or being opened (between ACT1 and ACT2), or there is none (closed)."""

    number: int
    place: Place
    state: str = "closed"
    row: int = -1
    columns_served: int = 0
    last: int = 0  # tick of the last column command or of the activation
    timeout: int = 0
    row_closed_by_timeout: int = -1


@dataclass(eq=False)
class Request:
    """One accepted request; ``seq`` counts them, ``arrive`` is the tick of acceptance."""

    seq: int
    arrive: int
    bank: Bank
    row: int
    column: int
    write: bool
    counted: bool = False

    def hits(self) -> bool:
        """Whether its row is open."""
        return self.bank.state == "open" and self.bank.row == self.row


@dataclass(eq=False)
class Refresh:
    """An entry of the maintenance queue: REFab of ``rank``, or REFpb of ``bank``."""

    rank: int
    bank: Bank | None = None


@dataclass(frozen=True)
class Row:
    """One line of the log."""

    tick: int
    command: str
    place: Place
    bank: int
    row: int


@dataclass
class Channel:
    """The whole state of one channel between two ticks."""

    device: Device
    controller: Controller
    banks: list[Bank]
    rules: dict[str, list[Constraint]]  # by the later command
    clk: int = 0
    offered: int = 0
    read_queue: list[Request] = field(default_factory=list)
    write_queue: list[Request] = field(default_factory=list)
    active: list[Request] = field(default_factory=list)
    maintenance: list[Refresh] = field(default_factory=list)
    write_mode: bool = False
    batch_end: dict[bool, int] = field(default_factory=lambda: {False: -1, True: -1})
    debt: list[int] = field(default_factory=list)  # refreshes owed, by rank
    next_refreshed: int = 0  # the bank of each rank that the next per-bank refresh takes
    split: Request | None = None  # given its ACT1, not yet its ACT2
    deadline: int = 0  # of that ACT2
    after_cas: Request | None = None  # its CAS was sent in the previous tick
    clock_until: int = 0
    open_since: list[int] = field(default_factory=list)
    log: list[Row] = field(default_factory=list)
    sent_at: defaultdict[tuple[str, Place], list[int]] = field(default_factory=lambda: defaultdict(list))
    ready: dict[tuple[str, Place], int] = field(default_factory=dict)
    last_odd_row_command: Row | None = None
    accepted_ticks: int = 0
    drained_ticks: int = 0
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def outcome(self) -> ChannelOutcome:
        """The counts, once the run has ended."""
        open_ticks = self.counts["open_ticks"]
        for rank, since in enumerate(self.open_since):
            if any(bank.state != "closed" for bank in rank_banks(self, rank)):
                open_ticks += self.drained_ticks - since
        names = ("reads", "writes", "forwarded", "merged", "hits", "misses", "conflicts", "read_latency_ticks")
        numbers = [command_number(line.command) for line in self.log]
        return ChannelOutcome(
            accepted_ticks=self.accepted_ticks,
            drained_ticks=self.drained_ticks,
            **{name: self.counts[name] for name in names},
            open_ticks=open_ticks,
            commands=tuple(numbers.count(number) for number in range(len(COMMANDS))),
        )


def new_channel(device: Device, controller: Controller) -> Channel:
    """A channel with all banks closed and nothing sent."""
    places = product(*(range(count) for count in device.shape))
    banks = [Bank(number, place, timeout=controller.timeout_ticks) for number, place in enumerate(places)]
    rules: dict[str, list[Constraint]] = defaultdict(list)
    for rule in device.constraints:
        rules[rule.after].append(rule)
    ranks = device.shape[0]
    return Channel(device, controller, banks, rules, debt=[0] * ranks, open_since=[0] * ranks)


def rank_banks(channel: Channel, rank: int) -> list[Bank]:
    """The banks of ``rank``, by number."""
    return [bank for bank in channel.banks if bank.place[0] == rank]


def waiting(channel: Channel) -> bool:
    """Whether any accepted request still waits for its column command."""
    return bool(channel.read_queue or channel.write_queue or channel.active or channel.split)


def earliest(channel: Channel, command: str, place: Place) -> int:
    """The first tick at which the device takes ``command`` at ``place``, after all commands sent so far."""
    if (command, place) not in channel.ready:
        tick = 0
        for rule in channel.rules[command]:
            depth = _DEPTH[rule.scope]
            if depth > len(place):
                continue  # a command to all banks of a rank keeps only the rules of rank and channel
            for node in _siblings(channel, place[:depth]) if rule.sibling else [place[:depth]]:
                before = channel.sent_at[rule.before, node]
                if len(before) >= rule.window:
                    tick = max(tick, before[-rule.window] + rule.ticks)
        channel.ready[command, place] = tick
    return channel.ready[command, place]


def _siblings(channel: Channel, node: Place) -> list[Place]:
    count = channel.device.shape[len(node) - 1]
    return [(*node[:-1], number) for number in range(count) if number != node[-1]]


def legal(channel: Channel, command: str, place: Place) -> bool:
    """Whether ``command`` may start at ``place`` in this tick: all constraints, and HBM3's odd and even ticks."""
    return channel.clk >= earliest(channel, command, place) and _in_phase(channel, command, place)


def _in_phase(channel: Channel, command: str, place: Place) -> bool:
    if not channel.device.half_clock or channel.clk % 2 == 1:
        return True
    if command not in ("PREpb", "PREab"):
        return False
    last = channel.last_odd_row_command
    if last is None or channel.clk != last.tick + (3 if last.command == "ACT" else 1):
        return True
    if place[0] != last.place[0]:
        return True
    all_banks = len(place) == 1 or len(last.place) == 1
    return not all_banks and place != last.place


def record(channel: Channel, command: str, place: Place, bank: int = -1, row: int = -1) -> None:
    """Note that ``command`` was sent in this tick: in the log, and for every node that it concerns."""
    line = Row(channel.clk, command, place, bank, row)
    channel.log.append(line)
    for depth in range(len(place) + 1):
        channel.sent_at[command, place[:depth]].append(channel.clk)
    channel.ready.clear()
    if channel.clk % 2 == 1 and command not in ("RD", "WR", "RDA", "WRA"):
        channel.last_odd_row_command = line
