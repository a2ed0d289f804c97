"""The rules of `queued` once more, in plain Python that looks at every tick: the twin that its kernel must equal.

Nothing is kept that could be looked up: which request a bank is at, what waits and when a command is legal are found
anew in every tick from lists of requests and from every command sent (`twin_state.earliest`).
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from simulator.memory.dram.controller import Controller
from simulator.memory.dram.device import Device
from simulator.memory.dram.outcome import CommandLog
from simulator.memory.dram.queued import QueuedController, QueuedOutcome, QueuedTrace, check_device
from simulator.memory.dram.tables import COMMANDS, command_number
from simulator.memory.dram.twin_state import Bank, Channel, earliest, new_channel, record

__all__ = ["run_queued_twin"]


@dataclass(eq=False)
class _Request:
    number: int
    tick: int  # in the trace
    bank: Bank
    row: int
    column: int
    write: bool
    offered: int = -1
    answer_from: int = -1  # tick at which its last byte has moved


@dataclass
class _Run:
    settings: QueuedController
    channel: Channel
    to_come: list[_Request]
    arbiter: list[_Request] = field(default_factory=list)
    buffer: list[_Request] = field(default_factory=list)
    responses: list[_Request] = field(default_factory=list)  # in the order of the column commands
    returning: list[_Request] = field(default_factory=list)  # at the reordering arbiter
    next_answer: int = 0  # number of the next request in order, at the controller
    next_return: int = 0  # ... at the arbiter
    active: int = 0
    answered: int = 0
    latency: int = 0
    taken_at: int = -1
    entered_at: int = -1
    last_bank: Bank | None = None
    last_write: bool | None = None
    trigger: int = 0
    postponed: int = 0
    pulling_in: bool = False
    forced: bool = False
    forced_at: int = -1
    wants: str | None = None


def run_queued_twin(
    device: Device, trace: QueuedTrace, controller: QueuedController
) -> tuple[QueuedOutcome, CommandLog]:
    """As `queued_kernel.run_queued` with a log, but ``needed`` is not found out: zeros."""
    check_device(device)
    channel = new_channel(device, Controller())
    columns = (trace.tick, trace.bank, trace.row, trace.column, trace.write)
    rows = zip(*(values.tolist() for values in columns), strict=True)
    requests = [
        _Request(i, t, channel.banks[b], row, column, write) for i, (t, b, row, column, write) in enumerate(rows)
    ]
    run = _Run(controller, channel, list(requests), trigger=device.timing["nREFI"])
    while True:
        _respond(run)
        if run.answered == len(requests):
            break
        _take(run)
        _enter(run)
        _refresh(run)
        _command(run)
        _refresh(run)
        channel.clk += 1
    lines = channel.log
    numbers = [command_number(line.command) for line in lines]
    outcome = QueuedOutcome(
        total_ticks=channel.clk,
        latency_ticks=run.latency,
        open_ticks=_open_ticks(run),
        requests=len(requests),
        commands=tuple(numbers.count(number) for number in range(len(COMMANDS))),
        needed=(0, 0, 0, 0),
    )
    log = CommandLog(
        tick=np.array([line.tick for line in lines], dtype=np.int64),
        command=np.array(numbers, dtype=np.int64),
        rank=np.array([line.place[0] for line in lines], dtype=np.int64),
        bank=np.array([line.bank for line in lines], dtype=np.int64),
        row=np.array([line.row for line in lines], dtype=np.int64),
    )
    return outcome, log


def _open_ticks(run: _Run) -> int:
    """Ticks from each one on in which a row was opened with none open, to that in which the last one was closed."""
    opened: set[int] = set()
    since = total = 0
    for line in run.channel.log:
        before = bool(opened)
        if line.command == "ACT":
            opened.add(line.bank)
        elif line.command == "PREab":
            opened.clear()
        elif line.command in ("PREpb", "RDA", "WRA"):
            opened.discard(line.bank)
        if opened and not before:
            since = line.tick
        elif before and not opened:
            total += line.tick - since
    return total + (run.channel.clk - since if opened else 0)


def _respond(run: _Run) -> None:
    clk = run.channel.clk
    in_order = run.settings.responses == "Reorder"
    candidates = [r for r in run.responses if r.number == run.next_answer] if in_order else run.responses[:1]
    gone = [r for r in candidates if r.answer_from <= clk]
    for request in gone:
        run.responses.remove(request)
        run.next_answer += 1
    if run.settings.arbiter == "Reorder":
        run.returning += gone
        gone = [r for r in run.returning if r.number == run.next_return]
        for request in gone:
            run.returning.remove(request)
            run.next_return += 1
    for request in gone:
        run.active -= 1
        run.answered += 1
        run.latency += clk - request.offered


def _offer(run: _Run) -> _Request | None:
    """The request that the thread sends in this tick, if any."""
    clk = run.channel.clk
    if not run.to_come or run.to_come[0].tick > clk or run.taken_at == clk:
        return None
    request = run.to_come[0]
    if request.offered < 0:
        request.offered = clk
    return request


def _take(run: _Run) -> None:
    """A request enters an arbiter with room; the Simple one has none of its own."""
    request = _offer(run)
    if run.settings.arbiter != "Simple" and request is not None and run.active < run.settings.max_active:
        run.arbiter.append(run.to_come.pop(0))
        run.active += 1
        run.taken_at = run.channel.clk


def _enter(run: _Run) -> None:
    """A request enters the controller."""
    simple = run.settings.arbiter == "Simple"
    request = _offer(run) if simple else next(iter(run.arbiter), None)
    if request is None or run.entered_at == run.channel.clk or not _has_room(run):
        return
    if simple:
        run.to_come.pop(0)
        run.active += 1
        run.taken_at = run.channel.clk
    else:
        run.arbiter.pop(0)
    run.entered_at = run.channel.clk
    run.last_bank = request.bank
    run.buffer.append(request)


def _has_room(run: _Run) -> bool:
    size = run.settings.buffer_size
    if run.settings.buffer == "Bankwise":
        bank = run.last_bank or run.channel.banks[0]
        return sum(r.bank is bank for r in run.buffer) < size
    if run.settings.buffer == "Shared":
        return len(run.buffer) < size
    writes = sum(r.write for r in run.buffer)
    return writes < size and len(run.buffer) - writes < size


def _refresh(run: _Run) -> None:
    """What refresh wants in this tick."""
    run.wants = None
    clk, interval = run.channel.clk, run.channel.device.timing["nREFI"]
    if run.settings.refresh == "NoRefresh" or clk < run.trigger:
        return
    if clk >= run.trigger + interval:
        run.trigger += interval
        run.pulling_in = False
    busy = bool(run.buffer)
    if run.pulling_in:
        if busy:
            run.pulling_in = False
            run.trigger += interval
        else:
            run.wants = "REFab"
        return
    if not run.forced and run.postponed == run.settings.max_postponed:
        run.forced, run.forced_at = True, clk
    if busy and not run.forced:
        run.postponed += 1
        run.trigger += interval
        return
    any_open = any(bank.state == "open" for bank in run.channel.banks)
    run.wants = "PREab" if any_open else "REFab"


def _at(run: _Run, bank: Bank) -> _Request | None:
    """The request the bank is at."""
    own = [r for r in run.buffer if r.bank is bank]
    if not own:
        return None
    hits = [r for r in own if bank.state == "open" and r.row == bank.row]
    if run.settings.scheduler == "Fifo" or not hits:
        return own[0]
    if run.settings.scheduler == "FrFcfsGrp":
        for at, request in enumerate(hits):
            if request.write == run.last_write and all(other.column != request.column for other in hits[:at]):
                return request
    return hits[0]


def _command_for(run: _Run, request: _Request) -> str:
    bank, settings = request.bank, run.settings
    if bank.state == "closed":
        return "ACT"
    if request.row != bank.row:
        return "PREpb"
    own = [r for r in run.buffer if r.bank is bank]
    others = [r for r in own if r is not request]
    if settings.scheduler == "Fifo":
        further_hit = len(own) > 1 and own[1].row == bank.row
    else:
        further_hit = any(r.row == bank.row for r in others)
    closing = {
        "Open": False,
        "OpenAdaptive": bool(others) and not further_hit,
        "Closed": True,
        "ClosedAdaptive": not further_hit,
    }[settings.page]
    return ("WR" if request.write else "RD") + ("A" if closing else "")


def _command(run: _Run) -> None:
    """At most one command."""
    channel = run.channel
    clk = channel.clk
    if run.wants is not None and earliest(channel, run.wants, (0,)) <= clk:
        _maintain(run, run.wants)
        return
    if run.forced and run.forced_at != clk:
        return
    at = [request for bank in channel.banks if (request := _at(run, bank)) is not None]
    for request in sorted(at, key=lambda r: r.number):
        command = _command_for(run, request)
        if earliest(channel, command, request.bank.place) <= clk:
            _serve(run, request, command)
            return


def _maintain(run: _Run, command: str) -> None:
    record(run.channel, command, (0,))
    if command == "PREab":
        for bank in run.channel.banks:
            bank.state = "closed"
        return
    run.forced = False
    if run.pulling_in:
        run.postponed -= 1
    run.pulling_in = True
    if run.postponed == -run.settings.max_pulled_in:
        run.pulling_in = False
        run.trigger += run.channel.device.timing["nREFI"]


def _serve(run: _Run, request: _Request, command: str) -> None:
    bank, device = request.bank, run.channel.device
    record(run.channel, command, bank.place, bank.number, -1 if command == "PREpb" else request.row)
    if command == "ACT":
        bank.state, bank.row = "open", request.row
        return
    if command != "RD" and command != "WR":
        bank.state = "closed"
    if command == "PREpb":
        return
    run.buffer.remove(request)
    run.last_write = request.write
    request.answer_from = run.channel.clk + (device.write_latency_ticks if request.write else device.read_latency_ticks)
    run.responses.append(request)
    _enter(run)
