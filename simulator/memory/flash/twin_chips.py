"""Channels and chips once more, in plain Python; see `twin` for the rules."""

from __future__ import annotations

import heapq
from collections import deque
from dataclasses import dataclass, field

from simulator.memory.flash.drive import Drive, page_type
from simulator.memory.flash.twin_ftl import Table
from simulator.memory.flash.twin_state import Operation, Plane

__all__ = ["Chips", "nearest_ns"]

_READS = ("map read", "move read", "read")
_OUT = {"map read": 0, "map merge": 0, "read": 1, "merge read": 1, "move read": 2}


_COUNTS = ("read_commands", "multi_reads", "program_commands", "multi_programs", "erases", "suspensions", "absorbed")


@dataclass(eq=False)
class _Chip:
    does: str = "idle"
    until: int = 0
    run: int = 0
    out: int = 0
    operations: list[Operation] = field(default_factory=list)
    held: tuple[str, int, list[Operation]] | None = None


def nearest_ns(value: float) -> int:
    """Whole nanoseconds."""
    return int(value + 0.5)


class Chips:
    """The chips of a drive and their channels, the clock, and the events to come."""

    def __init__(self, drive: Drive, table: Table) -> None:
        self.drive, self.table = drive, table
        self.now = self.seq = 0
        self.events: list[tuple[int, int, str, tuple[int, ...], Operation | None]] = []
        self.chips = [_Chip() for _ in range(drive.geometry.chips)]
        self.bus_busy = [False] * drive.geometry.channels
        self.turn = [0] * drive.geometry.channels
        self.out: list[list[deque[Operation]]] = [[deque(), deque(), deque()] for _ in range(drive.geometry.channels)]
        self.log: list[tuple[int, int, int, int, int]] = []
        self.counts = dict.fromkeys(_COUNTS, 0)

    def post(self, time: int, kind: str, *numbers: int, op: Operation | None = None) -> None:
        heapq.heappush(self.events, (time, self.seq, kind, numbers, op))
        self.seq += 1

    def bus_ns(self, size_bytes: int) -> int:
        return (size_bytes * nearest_ns(1e12 / self.drive.channel.bytes_per_s) + 500) // 1000

    def issue(self, chip: int, queue: str, partner: str | None, suspended_ns: int | None = None) -> None:
        geometry, channel = self.drive.geometry, self.drive.channel
        first = min((op for plane in self.planes_of(chip) for op in plane.queues[queue]), key=lambda op: op.seq)
        self.table.planes[first.plane].queues[queue].remove(first)
        operations = [first]
        base = first.plane - first.plane % geometry.planes_per_die
        for number in range(base, base + geometry.planes_per_die):
            if number == first.plane:
                continue
            for name in (queue, partner):
                waiting = self.table.planes[number].queues[name] if name else []
                same = [op for op in waiting if queue == "erase" or op.page == first.page]
                if same:
                    waiting.remove(same[0])
                    operations.append(same[0])
                    break
        n, kind = len(operations), page_type(first.page, len(self.drive.cells.read_us))
        if queue in _READS:
            what, bus = 0, nearest_ns(channel.read_command_ns(n))
            inside = nearest_ns(self.drive.cells.read_us[kind] * 1e3) + nearest_ns(self.drive.cells.ready_ns)
            self.counts["multi_reads" if n > 1 else "read_commands"] += 1
        elif queue == "erase":
            what, bus = 2, nearest_ns(channel.erase_command_ns(n))
            inside = nearest_ns(self.drive.cells.erase_us * 1e3)
            self.counts["erases"] += n
            self.table.erases_due[chip] -= n
        else:
            what, bus = (
                1,
                nearest_ns(channel.program_command_ns(n)) + sum(self.bus_ns(op.size_bytes) for op in operations),
            )
            inside = nearest_ns(self.drive.cells.program_us[kind] * 1e3)
            self.counts["multi_programs" if n > 1 else "program_commands"] += 1
        if suspended_ns is not None:
            bus += nearest_ns(channel.suspend_command_ns)
            inside += suspended_ns
            what += 4
        state = self.chips[chip]
        state.does, state.operations, state.until = "command", operations, self.now + bus + inside
        state.run += 1
        self.bus_busy[chip // geometry.chips_per_channel] = True
        page = first.block * geometry.pages_per_block + first.page
        self.log.append((self.now, chip, what, n, page))
        self.post(self.now + bus, "sent", chip, {0: 0, 2: 2}.get(what % 4, 1))

    def planes_of(self, chip: int) -> list[Plane]:
        count = self.drive.geometry.dies_per_chip * self.drive.geometry.planes_per_die
        return self.table.planes[chip * count : (chip + 1) * count]

    def serve(self, chip: int) -> None:
        waits = {name for plane in self.planes_of(chip) for name, queue in plane.queues.items() if queue}
        due = self.table.erases_due[chip] > 0
        if self.serve_read(chip, waits, due) or self.chips[chip].does != "idle":
            return
        if "move" in waits:
            self.issue(chip, "move", "map" if "map" in waits else "write")
        elif "map" in waits:
            self.issue(chip, "map", "write")
        elif "write" in waits and not due:
            self.issue(chip, "write", None)
        elif "erase" in waits:
            self.issue(chip, "erase", None)

    def serve_read(self, chip: int, waits: set[str], due: bool) -> bool:
        if "map read" in waits:
            queue, partner = "map read", "move read" if "move read" in waits else "read"
        elif "move read" in waits:
            queue, partner = "move read", "read"
        elif "read" in waits and "move" not in waits and not due:
            queue, partner = "read", ""
        else:
            return False
        state, may = self.chips[chip], self.drive.suspension
        if state.does == "idle":
            self.issue(chip, queue, partner)
            return True
        left = state.until - self.now
        for doing, allowed, least_us, takes_us in (
            ("erasing", may.erase, may.least_left_erase_us, may.erase_us),
            ("programming", may.program, may.least_left_program_us, may.program_us),
        ):
            if state.does == doing and allowed and state.held is None and left >= nearest_ns(least_us * 1e3):
                state.held = (doing, left, state.operations)
                self.counts["suspensions"] += 1
                self.issue(chip, queue, partner, nearest_ns(takes_us * 1e3))
                return True
        return False

    def look(self, channel: int) -> None:
        per_channel = self.drive.geometry.chips_per_channel
        for _ in range(per_channel):
            if self.bus_busy[channel]:
                return
            chip = channel * per_channel + self.turn[channel]
            self.turn[channel] = (self.turn[channel] + 1) % per_channel
            self.serve(chip)
        if self.drive.channel.commands_first and not self.bus_busy[channel]:
            self.move_next_out(channel)

    def move_out(self, channel: int, op: Operation) -> None:
        self.bus_busy[channel] = True
        self.chips[self.table.chip_of(op.plane)].does = "out"
        self.post(self.now + self.bus_ns(op.size_bytes), "moved", op=op)

    def move_next_out(self, channel: int) -> bool:
        for waiting in self.out[channel]:
            if waiting:
                self.move_out(channel, waiting.popleft())
                return True
        return False

    def bus_free(self, channel: int) -> None:
        self.bus_busy[channel] = False
        if self.drive.channel.commands_first or not self.move_next_out(channel):
            self.table.touched.add(channel)

    def idle(self, chip: int) -> None:
        state = self.chips[chip]
        if state.held is None:
            state.does = "idle"
        else:
            state.does, left, state.operations = state.held
            state.held = None
            state.until = self.now + left
            state.run += 1
            self.post(state.until, "inside", chip, state.run)
        self.table.touched.add(chip // self.drive.geometry.chips_per_channel)

    def inside_done(self, chip: int, run: int) -> list[Operation]:
        """The chip is done inside; the operations that are finished with that, after which it is idle."""
        state = self.chips[chip]
        if state.run != run:
            return []
        channel = chip // self.drive.geometry.chips_per_channel
        if state.does == "reading":
            state.does, state.out = "out", len(state.operations)
            for op in state.operations:
                if self.bus_busy[channel]:
                    self.out[channel][_OUT[op.kind]].append(op)
                else:
                    self.move_out(channel, op)
            return []
        return state.operations
