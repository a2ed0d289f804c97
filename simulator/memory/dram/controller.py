"""The memory controller of one channel: its settings, and the rules that the kernel and its plain twin both follow.

One tick
    1. *Front end.* The next request of the stream is offered when its time has come (``interval_ticks`` apart, or at
       once), at most ``tries_per_tick`` requests per tick, in order; it arrives at the tick before. Before the first
       tick only one is offered: the front end's clock, of that many offers per tick, starts together with the
       memory's. A read of an address in the write queue is answered from there: it departs one tick after it arrived
       and takes no part in anything below. A write to an address in the write queue merges with that one. A request
       whose queue is full is offered again next tick, and nothing behind it passes.
    2. *Refresh.* What falls due joins the maintenance queue (below).
    3. *Commands.* At most one per command bus. On a single bus, in this order: a request of the active list; the head
       of the maintenance queue; if that queue is empty, the read or the write queue. With separate column and row
       buses (HBM) the column bus is served first, by the active list and then the queues; then the row bus, by the
       maintenance queue and, if it is empty, the queues.

Requests
    The next command of a request is its column command when its row is open, a precharge when another row is, else an
    activation. A request that was given its activation moves to the active list, which frees its place in the queue.
    A precharge (or a refresh) of a bank for which the active list holds a request is not sent. A request counts as
    row hit, miss (bank closed) or conflict by the state its bank has when its first command is sent.

    Write mode begins when the write queue holds more than ``write_high`` of its size or no read waits; it ends when
    the write queue holds less than ``write_low`` of its size and a read waits. It is decided whenever the queues are
    consulted.

Schedulers (which request of the served queue; always among those whose command is legal at this tick, the oldest; in
the active list the one that arrived first, and of those that arrived together the one activated first)
    ``frfcfs``      every request.
    ``row-hit``     as frfcfs, but no precharge of a bank on behalf of a request when one in the same queue that
                    arrived no later hits the open row. (FRFCFSRowHit of Ramulator 2.1.)
    ``capped``      as row-hit, but once ``hit_cap`` columns were served from an open row, hits on it that are younger
                    than the oldest request of the bank in this queue, which wants another row, no longer count.
    ``batch``       as row-hit, but hits outside the batch do not count in a bank whose oldest request of this queue is
                    in the batch and wants another row. The batch is everything in the queue when the last one ran
                    empty. (The batching of Mutlu and Moscibroda, ISCA 2008, for one source of requests.)
    ``fcfs``        only the oldest request of the queue.

Pages
    ``open``      rows stay open until another is wanted or a refresh is due.
    ``closed``    a column command precharges by itself when no other waiting request, in either queue or the active
                  list, wants its row.
    ``timeout``   when a tick leaves the (row) command bus unused and no maintenance waits, a bank that no waiting
                  request hits is precharged once ``timeout_ticks`` have passed since its last column command or
                  activation; of several, the one idle longest, then the lowest-numbered.
    ``adaptive``  as timeout, with a time per bank that starts at ``timeout_ticks``: it halves (not below a sixteenth)
                  when a request finds another row open, and doubles (not above sixteen times) when an activation
                  reopens the row that the timeout had closed.

Refresh
    ``all-bank``  every nREFI ticks each rank owes one more REFab. One is sent when it owes more than ``postpone``, or
                  when it owes more than ``-pull_in`` and no request waits; one per rank waits at a time. Before
                  it, open banks are precharged by one PREab. Ranks are asked in order.
    ``per-bank``  every nREFI / banks ticks each rank refreshes its next bank, in turn: REFpb, after a PREpb if the
                  bank is open. Ranks are asked in order. While it waits nothing else is begun, as in all refreshes;
                  so it costs more than all-bank refresh here, where a real controller would let other banks go on.
    ``none``      no refresh, for comparison.

LPDDR5
    A row is opened by ACT1, then ACT2 within nAAD. Until its ACT2 a bank is neither precharged nor refreshed, and no
    other ACT1 is sent. An ACT2 goes out at its deadline before anything else, or in a tick that has nothing else to
    send. A column command needs the data clock: unless it still runs from the last one, a CAS takes the tick before,
    and the column command follows in the next tick; when that would pass a deadline, the ACT2 goes first.

HBM3
    Ticks are half clocks. All commands but precharges start on odd ticks. A precharge may start on an even tick, but
    not on the one paired with a row command of the same pseudo-channel (3 ticks after an ACT, else 1) when that went
    to the same bank or either of the two concerns all banks.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from simulator.memory.dram.device import Device
from workloads.errors import InputError, nearest_name

__all__ = ["PAGE_POLICIES", "REFRESHES", "SCHEDULERS", "Controller", "check_controller"]

Scheduler = Literal["frfcfs", "row-hit", "capped", "batch", "fcfs"]
PagePolicy = Literal["open", "closed", "timeout", "adaptive"]
Refresh = Literal["all-bank", "per-bank", "none"]

SCHEDULERS: tuple[str, ...] = get_args(Scheduler)
PAGE_POLICIES: tuple[str, ...] = get_args(PagePolicy)
REFRESHES: tuple[str, ...] = get_args(Refresh)


@dataclass(frozen=True)
class Controller:
    """Settings of one channel's controller; the module says what each does.

    Raises `InputError`, with the setting as its field, for a value outside its range.
    """

    scheduler: str = "row-hit"
    read_queue: int = 32
    write_queue: int = 32
    write_high: float = 0.8
    write_low: float = 0.2
    page: str = "open"
    timeout_ticks: int = 200
    hit_cap: int = 4
    refresh: str = "all-bank"
    postpone: int = 0
    pull_in: int = 0
    tries_per_tick: int = 1
    interval_ticks: int = 0

    def __post_init__(self) -> None:
        for name, valid in (("scheduler", SCHEDULERS), ("page", PAGE_POLICIES), ("refresh", REFRESHES)):
            value = getattr(self, name)
            if value not in valid:
                expected = f"one of {', '.join(valid)}"
                raise InputError(f"unknown {name} {value!r}", expected, name, nearest=nearest_name(value, valid))
        for name, least, most in (
            ("read_queue", 1, 1024),
            ("write_queue", 1, 1024),
            ("timeout_ticks", 1, 10**9),
            ("hit_cap", 1, 10**9),
            ("postpone", 0, 64),
            ("pull_in", 0, 64),
            ("tries_per_tick", 1, 64),
            ("interval_ticks", 0, 10**9),
        ):
            value = getattr(self, name)
            if not least <= value <= most:
                raise InputError(f"found {value}", f"a whole number from {least} to {most:,}", name)
        if not 0 < self.write_low < self.write_high <= 1:
            problem = f"found write_low {self.write_low:g} and write_high {self.write_high:g}"
            raise InputError(problem, "0 < write_low < write_high <= 1: write mode must end", "write_low")


def check_controller(controller: Controller, device: Device) -> None:
    """Raise `InputError` when ``device`` cannot do what ``controller`` asks for."""
    if controller.refresh == "per-bank" and not device.has_bank_refresh:
        raise InputError(
            f"{device.name} has no per-bank refresh", "all-bank or none (LPDDR5, HBM and GDDR6 have it)", "refresh"
        )
    for name, most in (("postpone", device.most_postponed), ("pull_in", device.most_pulled_in)):
        value = getattr(controller, name)
        if value > most:
            raise InputError(f"{device.standard} allows {most}, found {value}", f"at most {most}", name)
        if value and controller.refresh != "all-bank":
            raise InputError(f"{name} = {value} with refresh {controller.refresh}", "refresh all-bank", name)
