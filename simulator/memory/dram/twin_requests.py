"""The plain twin's rules for requests: their next command, which of them may have it, and what sending it changes."""

from __future__ import annotations

from simulator.memory.dram.twin_state import Bank, Channel, Request, legal, rank_banks, record

__all__ = ["ACTIVATE", "COLUMN", "Choice", "activate_second", "close", "column_command"]
__all__ += ["from_active", "from_queue", "serve", "time_out"]

ACTIVATE = ("ACT", "ACT1")
COLUMN = ("RD", "WR", "RDA", "WRA")

Choice = tuple[Request, str]
"""A request and the command to send for it."""


def column_command(channel: Channel, request: Request) -> str:
    """RD or WR; with closed pages RDA or WRA when no other request waits for the row."""
    command = "WR" if request.write else "RD"
    if channel.controller.page != "closed":
        return command
    others = (*channel.read_queue, *channel.write_queue, *channel.active)
    wanted = any(r is not request and r.bank is request.bank and r.row == request.row for r in others)
    return command if wanted else command + "A"


def next_command(channel: Channel, request: Request) -> str | None:
    """What a queued request needs next; None while its bank is between ACT1 and ACT2."""
    if request.bank.state == "activating":
        return None
    if request.bank.state == "closed":
        return "ACT1" if channel.device.second_activate_within else "ACT"
    return column_command(channel, request) if request.hits() else "PREpb"


def served_queue(channel: Channel) -> list[Request]:
    """The queue consulted now, after write mode is decided; a batch that has run empty is formed anew."""
    controller, reads, writes = channel.controller, channel.read_queue, channel.write_queue
    if not channel.write_mode:
        if len(writes) > controller.write_high * controller.write_queue or not reads:
            channel.write_mode = True
    elif len(writes) < controller.write_low * controller.write_queue and reads:
        channel.write_mode = False
    queue = writes if channel.write_mode else reads
    if queue and all(request.seq > channel.batch_end[channel.write_mode] for request in queue):
        channel.batch_end[channel.write_mode] = queue[-1].seq
    return queue


def hit_counts(channel: Channel, queue: list[Request], hit: Request) -> bool:
    """Whether a hit of ``queue`` counts; always, but for the limits of capped and batch."""
    oldest = next(request for request in queue if request.bank is hit.bank)
    if oldest.hits():
        return True
    if channel.controller.scheduler == "capped":
        return hit.bank.columns_served < channel.controller.hit_cap
    if channel.controller.scheduler == "batch":
        batch_end = channel.batch_end[hit.write]
        return oldest.seq > batch_end or hit.seq <= batch_end
    return True


def eligible(channel: Channel, queue: list[Request], request: Request, command: str) -> bool:
    """Whether the scheduler may give ``request`` of ``queue`` its next command, were it legal."""
    scheduler = channel.controller.scheduler
    if scheduler == "fcfs" and request is not queue[0]:
        return False
    if command == "ACT1" and channel.split is not None:
        return False
    if command == "PREpb" and any(r.bank is request.bank for r in channel.active):
        return False
    if scheduler in ("frfcfs", "fcfs"):
        return True
    if command == "PREpb":
        return not any(
            r.bank is request.bank and r.arrive <= request.arrive and r.hits() and hit_counts(channel, queue, r)
            for r in queue
        )
    return command in ACTIVATE or hit_counts(channel, queue, request)


def from_active(channel: Channel) -> Choice | None:
    """The request of the active list whose column command is legal: the first to arrive, then the first to join."""
    for request in sorted(channel.active, key=lambda r: r.arrive):
        command = column_command(channel, request)
        if legal(channel, command, request.bank.place):
            return request, command
    return None


def from_queue(channel: Channel, commands: tuple[str, ...] = ()) -> Choice | None:
    """The oldest eligible request of the served queue whose next command is legal; of ``commands`` only, if any."""
    queue = served_queue(channel)
    for request in queue:
        command = next_command(channel, request)
        if command is None or (commands and command not in commands):
            continue
        if not legal(channel, command, request.bank.place):
            continue
        if eligible(channel, queue, request, command):
            return request, command
    return None


# Sending


def serve(channel: Channel, request: Request, command: str) -> None:
    """Send ``command`` for ``request``."""
    bank, clk = request.bank, channel.clk
    if not request.counted:
        request.counted = True
        kind = "hits" if command in COLUMN else "misses" if command in ACTIVATE else "conflicts"
        channel.counts[kind] += 1
        if kind == "conflicts" and channel.controller.page == "adaptive":
            least = max(1, channel.controller.timeout_ticks // 16)
            bank.timeout = max(least, bank.timeout // 2)
    if command in ACTIVATE:
        activate(channel, request)
    elif command == "PREpb":
        close(channel, bank)
    else:
        bank.last = clk
        bank.columns_served += 1
        leave(channel, request)
        if command in ("RDA", "WRA"):
            close(channel, bank)
    record(channel, command, bank.place, bank.number, -1 if command == "PREpb" else request.row)


def leave(channel: Channel, request: Request) -> None:
    """Take ``request`` out, now that its column command is sent."""
    device, clk = channel.device, channel.clk
    for requests in (channel.read_queue, channel.write_queue, channel.active):
        if request in requests:
            requests.remove(request)
    departs = clk + (device.write_latency_ticks if request.write else device.read_latency_ticks)
    channel.drained_ticks = max(channel.drained_ticks, departs)
    if not request.write:
        channel.counts["read_latency_ticks"] += departs - request.arrive
    if device.clock_sync_ticks is not None:
        channel.clock_until = max(channel.clock_until, clk + device.clock_sync_ticks[request.write])


def activate(channel: Channel, request: Request) -> None:
    """Open the row of ``request``, which leaves its queue for the active list (with an ACT2 to come, not yet)."""
    bank, clk, rank = request.bank, channel.clk, request.bank.place[0]
    if all(other.state == "closed" for other in rank_banks(channel, rank)):
        channel.open_since[rank] = clk
    if channel.controller.page == "adaptive" and bank.row_closed_by_timeout == request.row:
        bank.timeout = min(16 * channel.controller.timeout_ticks, bank.timeout * 2)
    bank.row_closed_by_timeout = -1
    bank.row, bank.columns_served, bank.last = request.row, 0, clk
    (channel.write_queue if request.write else channel.read_queue).remove(request)
    if channel.device.second_activate_within:
        bank.state = "activating"
        channel.split, channel.deadline = request, clk + channel.device.second_activate_within
    else:
        bank.state = "open"
        channel.active.append(request)


def close(channel: Channel, bank: Bank) -> None:
    """Close ``bank``, if it is not."""
    if bank.state == "closed":
        return
    bank.state = "closed"
    rank = bank.place[0]
    if all(other.state == "closed" for other in rank_banks(channel, rank)):
        channel.counts["open_ticks"] += channel.clk - channel.open_since[rank]


def activate_second(channel: Channel) -> None:
    """Send the ACT2 that is pending; its request joins the active list."""
    request = channel.split
    if request is None:
        return
    request.bank.state, request.bank.last = "open", channel.clk
    channel.split = None
    channel.active.append(request)
    record(channel, "ACT2", request.bank.place, request.bank.number, request.row)


def time_out(channel: Channel) -> None:
    """Precharge the bank that has been idle longest, of those idle for their timeout and wanted by nobody."""
    if channel.controller.page not in ("timeout", "adaptive") or channel.maintenance:
        return
    waits = (*channel.read_queue, *channel.write_queue, *channel.active)
    idle = [
        bank
        for bank in channel.banks
        if bank.state == "open"
        and channel.clk >= bank.last + bank.timeout
        and legal(channel, "PREpb", bank.place)
        and not any(request.bank is bank and request.hits() for request in waits)
    ]
    if idle:
        bank = min(idle, key=lambda b: (b.last, b.number))
        bank.row_closed_by_timeout = bank.row
        close(channel, bank)
        record(channel, "PREpb", bank.place, bank.number)
