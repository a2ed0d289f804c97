"""The controller's rules once more, in plain Python that looks at every tick: the twin that the kernel must equal.

It is written to be read beside the rules in `controller`: one function per rule, no tables, nothing computed ahead. The
state it works on is `twin_state.Channel`. It is slow and meant for tests.
"""

from __future__ import annotations

import numpy as np

from simulator.memory.dram.controller import Controller, check_controller
from simulator.memory.dram.device import Device
from simulator.memory.dram.outcome import ChannelOutcome, CommandLog
from simulator.memory.dram.requests import Requests
from simulator.memory.dram.tables import command_number
from simulator.memory.dram.twin_requests import (
    COLUMN,
    Choice,
    activate_second,
    close,
    column_command,
    from_active,
    from_queue,
    serve,
    time_out,
)
from simulator.memory.dram.twin_state import Channel, Refresh, Request, legal, new_channel, rank_banks, record, waiting

__all__ = ["run_channel"]

Stream = list[tuple[int, int, int, bool]]  # bank, row, column, write


def run_channel(device: Device, controller: Controller, requests: Requests) -> tuple[ChannelOutcome, CommandLog]:
    """Serve ``requests`` on one channel until the last is done; counts, and every command in the order sent.

    Raises `InputError` when ``device`` cannot do what ``controller`` asks for.
    """
    check_controller(controller, device)
    columns = (requests.bank, requests.row, requests.column, requests.write)
    stream: Stream = list(zip(*(values.tolist() for values in columns), strict=True))
    channel = new_channel(device, controller)
    channel.clk = 1
    while True:
        tick(channel, stream)
        if channel.offered == len(stream) and not waiting(channel):
            break
        channel.clk = _next_tick(channel)
    lines = channel.log
    log = CommandLog(
        tick=np.array([line.tick for line in lines], dtype=np.int64),
        command=np.array([command_number(line.command) for line in lines], dtype=np.int64),
        rank=np.array([line.place[0] for line in lines], dtype=np.int64),
        bank=np.array([line.bank for line in lines], dtype=np.int64),
        row=np.array([line.row for line in lines], dtype=np.int64),
    )
    return channel.outcome(), log


def tick(channel: Channel, stream: Stream) -> None:
    """One tick: the front end, what falls due, the command buses."""
    offer(channel, stream)
    fall_due(channel)
    if channel.device.second_activate_within:
        split_activation_bus(channel)
    elif len(channel.device.buses) == 1:
        single_bus(channel)
    else:
        column_bus(channel)
        row_bus(channel)


def _next_tick(channel: Channel) -> int:
    """The next tick, or the next offer or refresh when this one found nothing to do and so will all before that."""
    controller = channel.controller
    acted = bool(channel.log) and channel.log[-1].tick == channel.clk
    may_close = controller.page in ("timeout", "adaptive") and any(bank.state == "open" for bank in channel.banks)
    if acted or may_close or waiting(channel) or channel.maintenance:
        return channel.clk + 1
    ticks = [max(channel.clk, channel.offered * controller.interval_ticks) + 1]
    if controller.refresh != "none":
        interval = refresh_interval(channel)
        ticks.append((channel.clk // interval + 1) * interval)
    return min(ticks)


# The front end


def offer(channel: Channel, stream: Stream) -> None:
    """Offer requests of the stream, in order, at the tick before this one; the first refusal ends it.

    Before the first tick only one is offered.
    """
    now = channel.clk - 1
    for _ in range(channel.controller.tries_per_tick if now > 0 else 1):
        i = channel.offered
        if i == len(stream) or now < i * channel.controller.interval_ticks or not accept(channel, *stream[i]):
            return
        channel.offered += 1
        channel.accepted_ticks = now


def accept(channel: Channel, bank: int, row: int, column: int, write: bool) -> bool:
    """Forward, merge or queue one request; False when its queue is full."""
    now, controller = channel.clk - 1, channel.controller
    queued = any((r.bank.number, r.row, r.column) == (bank, row, column) for r in channel.write_queue)
    queue, size = channel.read_queue, controller.read_queue
    if write:
        queue, size = channel.write_queue, controller.write_queue
    if queued and write:
        channel.counts["merged"] += 1
    elif queued:
        channel.counts["forwarded"] += 1
        channel.counts["read_latency_ticks"] += 1
        channel.drained_ticks = max(channel.drained_ticks, now + 1)
    elif len(queue) == size:
        return False
    else:
        queue.append(Request(channel.offered, now, channel.banks[bank], row, column, write))
    channel.counts["writes" if write else "reads"] += 1
    return True


# Refresh


def refresh_interval(channel: Channel) -> int:
    """Ticks between two refreshes that fall due in one rank."""
    banks = len(rank_banks(channel, 0)) if channel.controller.refresh == "per-bank" else 1
    return channel.device.timing["nREFI"] // banks


def fall_due(channel: Channel) -> None:
    """Put the refreshes of this tick into the maintenance queue."""
    controller, ranks = channel.controller, range(channel.device.shape[0])
    if controller.refresh == "none":
        return
    due = channel.clk % refresh_interval(channel) == 0
    if controller.refresh == "per-bank":
        if due:
            for rank in ranks:
                channel.maintenance.append(Refresh(rank, rank_banks(channel, rank)[channel.next_refreshed]))
            channel.next_refreshed = (channel.next_refreshed + 1) % len(rank_banks(channel, 0))
        return
    for rank in ranks:
        channel.debt[rank] += due
        queued = any(entry.rank == rank for entry in channel.maintenance)
        idle = not waiting(channel) and channel.debt[rank] > -controller.pull_in
        if not queued and (channel.debt[rank] > controller.postpone or idle):
            channel.maintenance.append(Refresh(rank))
            channel.debt[rank] -= 1


def maintenance_command(channel: Channel) -> str | None:
    """The next command of the head of the maintenance queue, if it may be sent now."""
    if not channel.maintenance:
        return None
    head = channel.maintenance[0]
    banks = rank_banks(channel, head.rank) if head.bank is None else [head.bank]
    if any(request.bank in banks for request in channel.active) or any(bank.state == "activating" for bank in banks):
        return None
    is_open = any(bank.state == "open" for bank in banks)
    if head.bank is None:
        command, place = "PREab" if is_open else "REFab", banks[0].place[:1]
    else:
        command, place = "PREpb" if is_open else "REFpb", head.bank.place
    return command if legal(channel, command, place) else None


def send_maintenance(channel: Channel, command: str) -> None:
    """Send ``command`` for the head of the maintenance queue, which leaves with its refresh."""
    head = channel.maintenance[0]
    if command == "PREpb" and head.bank is not None:
        close(channel, head.bank)
    if command == "PREab":
        for bank in rank_banks(channel, head.rank):
            close(channel, bank)
    if command in ("REFab", "REFpb"):
        channel.maintenance.pop(0)
    if head.bank is None:
        record(channel, command, (head.rank,))
    else:
        record(channel, command, head.bank.place, head.bank.number)


# Command buses


def first_choice(channel: Channel) -> Choice | str | None:
    """The command of a single bus, in the order active list, maintenance (its command alone), queue."""
    choice = from_active(channel) or maintenance_command(channel)
    return choice or (None if channel.maintenance else from_queue(channel))


def carry_out(channel: Channel, choice: Choice | str) -> None:
    """Send what was chosen."""
    if isinstance(choice, str):
        send_maintenance(channel, choice)
    else:
        serve(channel, *choice)


def single_bus(channel: Channel) -> None:
    """DDR: at most one command per tick."""
    choice = first_choice(channel)
    if choice:
        carry_out(channel, choice)
    else:
        time_out(channel)


def column_bus(channel: Channel) -> None:
    """HBM's column bus: the active list, then, with no maintenance waiting, the queue."""
    choice = from_active(channel)
    if not choice and not channel.maintenance:
        choice = from_queue(channel, COLUMN)
    if choice:
        serve(channel, *choice)


def row_bus(channel: Channel) -> None:
    """HBM's row bus: maintenance, or else the queue."""
    command = maintenance_command(channel)
    choice = None if channel.maintenance else from_queue(channel, ("ACT", "PREpb"))
    if command:
        send_maintenance(channel, command)
    elif choice:
        serve(channel, *choice)
    else:
        time_out(channel)


def split_activation_bus(channel: Channel) -> None:
    """LPDDR5: an activation in two halves, and the CAS that starts the data clock."""
    clk, second_is_due = channel.clk, channel.split is not None and channel.deadline <= channel.clk
    if second_is_due:
        activate_second(channel)
        return
    if channel.after_cas is not None:
        request, channel.after_cas = channel.after_cas, None
        serve(channel, request, column_command(channel, request))
        return
    choice = first_choice(channel)
    if choice is None and channel.split is not None:
        activate_second(channel)
    elif choice is None:
        time_out(channel)
    elif not isinstance(choice, str) and choice[1] in COLUMN and clk >= channel.clock_until:
        request = choice[0]
        if channel.split is not None and channel.deadline <= clk + 1:
            activate_second(channel)
        else:
            channel.after_cas = request
            command = "CAS_WR" if request.write else "CAS_RD"
            record(channel, command, request.bank.place, request.bank.number, request.row)
    else:
        carry_out(channel, choice)
