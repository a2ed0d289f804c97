"""Periodic streams: one channel's run, with whole periods of the controller's state skipped exactly.

A periodic stream comes back to the same banks and columns, in rows that lie a fixed step further. When the controller
comes back to a state that differs only in those rows and in absolute time, everything between the two moments will happen
again and again; so the counts of that stretch are multiplied and the clock is put forward, as often as it fits.

States are compared where refresh is in phase: at each multiple of the refresh interval; without refresh, each time
requests for another chunk are wanted. They are compared whole (as bytes), not by a hash.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.memory.dram.controller import Controller
from simulator.memory.dram.device import Device
from simulator.memory.dram.kernel import DRAINED, NEED_REQUESTS, Channel
from simulator.memory.dram.kernel_state import FAR, Register
from simulator.memory.dram.requests import Requests

__all__ = ["PeriodicRequests", "run_periodic"]

_CHUNK = 1 << 13  # requests given to the kernel at once, at least
_MOST_STATES = 4096  # kept for comparison; a stream that has not repeated by then is run to its end

_R = Register
_COUNTED = slice(_R.READS, _R.COUNTED_END)
_TICKS = (_R.ACCEPTED, _R.DRAINED, _R.PENDING_DEADLINE, _R.CLOCK_UNTIL, _R.PAIR_TICK)


@dataclass(frozen=True)
class PeriodicRequests:
    """``count`` requests: ``period`` over and over, ``row_step`` rows further on each time."""

    period: Requests
    row_step: int
    count: int

    def chunk(self, number: int, periods: int) -> Requests:
        """Requests of the ``number``-th group of ``periods`` periods, cut at ``count``."""
        length = len(self.period)
        first = number * periods * length
        size = min(periods * length, self.count - first)
        steps = (np.arange(periods, dtype=np.int64) + number * periods) * self.row_step
        row = (self.period.row[None, :] + steps[:, None]).reshape(-1)[:size]
        part = self.period
        bank, column = np.tile(part.bank, periods)[:size], np.tile(part.column, periods)[:size]
        return Requests(bank, np.ascontiguousarray(row), column, np.tile(part.write, periods)[:size])


@dataclass
class _Seen:
    """What was counted when a state was first met."""

    requests: int
    tick: int
    counted: NDArray[np.int64]
    commands: NDArray[np.int64]


def run_periodic(device: Device, controller: Controller, stream: PeriodicRequests) -> tuple[Channel, int]:
    """The channel after all requests, drained, and how many requests were skipped."""
    channel = Channel.new(device, controller)
    length = len(stream.period)
    periods = max(1, -(-_CHUNK // length))
    step = _phase_ticks(controller, channel)
    seen: dict[bytes, _Seen] | None = {}
    skipped, number = 0, 0
    pause_at = step
    chunk = stream.chunk(0, periods)
    while True:
        first = number * periods * length
        last = first + len(chunk) >= stream.count
        code = channel.advance(chunk, first, last=last, pause_at=pause_at if seen is not None else FAR)
        if code == DRAINED:
            return channel, skipped
        if code == NEED_REQUESTS:
            number += 1
            chunk = stream.chunk(number, periods)
        if seen is None or (code == NEED_REQUESTS and step < FAR):
            continue
        if code != NEED_REQUESTS:
            pause_at += step
        found = _find(channel, stream, seen)
        if found is None:
            seen = None if len(seen) >= _MOST_STATES else seen
            continue
        repeats = (stream.count - periods * length - _at(channel)) // (_at(channel) - found.requests)
        if repeats > 0:
            skipped += _skip(channel, stream, found, repeats)
            number = _at(channel) // (periods * length)
            chunk = stream.chunk(number, periods)
        seen = None


def _at(channel: Channel) -> int:
    return int(channel.state["regs"][0, _R.NEXT])


def _phase_ticks(controller: Controller, channel: Channel) -> int:
    """After so many ticks refresh stands where it stood; FAR without refresh."""
    if controller.refresh == "all-bank":
        return int(channel.settings.refresh_interval)
    if controller.refresh == "per-bank":
        return int(channel.settings.bank_interval * channel.settings.rank_banks)
    return FAR


def _find(channel: Channel, stream: PeriodicRequests, seen: dict[bytes, _Seen]) -> _Seen | None:
    key = _canonical(channel, stream)
    if key in seen:
        return seen[key]
    state = channel.state[0]
    regs = state["regs"]
    seen[key] = _Seen(_at(channel), int(regs[_R.CLK]), regs[_COUNTED].copy(), state["commands"].copy())
    return None


def _canonical(channel: Channel, stream: PeriodicRequests) -> bytes:
    """The state with times counted from now, rows from the stream's present period and ages from the next request."""
    state, regs, c = channel.state[0], channel.state["regs"][0], channel.settings
    now, following = int(regs[_R.CLK]) + 1, _at(channel)
    _count_open_ticks(channel, now)
    period, phase = divmod(following, len(stream.period))
    row_base = period * stream.row_step
    ranks, groups, banks = c.ranks, c.groups, c.banks
    relative = [
        np.maximum(state["ready_rank"][:ranks] - now, 0),
        np.maximum(state["ready_group"][:groups] - now, 0),
        np.maximum(state["ready_bank"][:banks] - now, 0),
        _in_order(
            state["activates"][:ranks], state["activates_at"][:ranks], now - int(channel.tables["four_activates"][0])
        )
        - now,
    ]
    rows = state["open_row"][:banks]
    relative.append(np.where(rows >= 0, rows - row_base, rows))
    if c.page >= 2:  # timeout and adaptive pages look at the past of a bank
        timed_out = state["timed_out_row"][:banks]
        relative += [np.where(rows >= 0, now - state["last_use"][:banks], 0), state["timeout"][:banks]]
        relative.append(np.where(timed_out >= 0, timed_out - row_base, -FAR))
    relative.append(np.minimum(state["columns"][:banks], c.hit_cap))
    for field in ("debt", "refresh_waits", "next_bank"):
        relative.append(state[field][:ranks])
    ring = state["maintenance"]
    head, waiting = int(regs[_R.MAINTENANCE_HEAD]), int(regs[_R.MAINTENANCE_COUNT])
    relative.append(ring[(head + np.arange(waiting)) % len(ring)])
    for queue in range(2):
        slots = _waiting_slots(state, queue)
        relative += [np.array([len(slots)]), _request_values(state, slots, row_base, now, following)]
        oldest = int(state["slot_age"][slots[0]]) if len(slots) else FAR
        batch = int(state["batch_end"][queue])
        relative.append(np.array([batch - following if batch >= oldest else FAR]))
    active = state["active_slot"][state["active_bank"][: int(regs[_R.ACTIVE])]]
    active = active[np.argsort(state["slot_promoted"][active], kind="stable")]
    relative += [np.array([len(active)]), _request_values(state, active, row_base, now, following)]
    single = [slot for slot in (int(regs[_R.PENDING_SLOT]), int(regs[_R.CAS_SLOT])) if slot >= 0]
    relative.append(_request_values(state, np.array(single, dtype=np.int64), row_base, now, following))
    pair = int(regs[_R.PAIR_TICK])
    scalars = [
        phase,
        int(regs[_R.OFFERED]),
        int(regs[_R.WRITE_MODE]),
        int(regs[_R.PENDING_SLOT]) >= 0,
        int(regs[_R.PENDING_DEADLINE]) - now if regs[_R.PENDING_SLOT] >= 0 else 0,
        int(regs[_R.CAS_SLOT]) >= 0,
        int(regs[_R.CAS_ACTIVE]) if regs[_R.CAS_SLOT] >= 0 else 0,
        max(int(regs[_R.CLOCK_UNTIL]) - now, 0),
        max(pair - now, -1),
        int(regs[_R.PAIR_RANK]) if pair >= now else -1,
        int(regs[_R.PAIR_BANK]) if pair >= now else -1,
        following * c.interval - now if c.interval else 0,
        now & 1 if channel.tables["half_clock"][0] else 0,
        max(int(regs[_R.DRAINED]) - now, 0),
        len(single),
    ]
    relative.append(np.array(scalars, dtype=np.int64))
    return b"".join(np.ascontiguousarray(part, dtype=np.int64).tobytes() for part in relative)


def _count_open_ticks(channel: Channel, now: int) -> None:
    """Count the ticks with rows open up to now, so that how long they have been open is no part of the state."""
    state = channel.state[0]
    is_open = state["open_banks"] > 0
    state["regs"][_R.OPEN_TICKS] += int((now - state["open_since"][is_open]).sum())
    state["open_since"][is_open] = now


def _in_order(rings: NDArray[np.int64], starts: NDArray[np.int64], oldest: int) -> NDArray[np.int64]:
    """The last four activations of each rank, oldest first; those too old to matter are all alike."""
    turned = np.take_along_axis(rings, (starts[:, None] + np.arange(4)) % 4, axis=1)
    return np.maximum(turned, oldest)


def _waiting_slots(state: NDArray[np.void], queue: int) -> NDArray[np.int64]:
    """Slots of a queue, the oldest first."""
    slots = []
    for bank in state["waiting"][queue, : int(state["waiting_count"][queue])]:
        slot = int(state["head"][queue, bank])
        while slot >= 0:
            slots.append(slot)
            slot = int(state["slot_next"][slot])
    found = np.array(slots, dtype=np.int64)
    return found[np.argsort(state["slot_age"][found])]


def _request_values(
    state: NDArray[np.void], slots: NDArray[np.int64], row_base: int, now: int, following: int
) -> NDArray[np.int64]:
    return np.stack(
        [
            state["slot_bank"][slots],
            state["slot_row"][slots] - row_base,
            state["slot_column"][slots],
            state["slot_write"][slots],
            state["slot_counted"][slots],
            state["slot_arrive"][slots] - now,
            state["slot_age"][slots] - following,
        ]
    )


def _skip(channel: Channel, stream: PeriodicRequests, found: _Seen, repeats: int) -> int:
    """Put the channel forward by ``repeats`` times the stretch since ``found``; the requests skipped."""
    state, c = channel.state[0], channel.settings
    regs = state["regs"]
    requests = (_at(channel) - found.requests) * repeats
    ticks = (int(regs[_R.CLK]) - found.tick) * repeats
    rows = requests // len(stream.period) * stream.row_step
    regs[_COUNTED] += (regs[_COUNTED] - found.counted) * repeats
    state["commands"] += (state["commands"] - found.commands) * repeats
    regs[_R.CLK] += ticks
    regs[_R.NEXT] += requests
    for register in _TICKS:
        regs[register] += ticks
    for field in ("ready_rank", "ready_group", "ready_bank", "last_use", "open_since", "slot_arrive"):
        state[field] += ticks
    state["activates"] = np.where(state["activates"] > -FAR // 2, state["activates"] + ticks, state["activates"])
    for field in ("open_row", "timed_out_row"):
        values = state[field][: c.banks]
        values[values >= 0] += rows
    state["slot_row"] += rows
    state["slot_age"] += requests
    state["batch_end"] += np.where(state["batch_end"] >= 0, requests, 0)
    regs[_R.DIRTY] = 1
    return requests
