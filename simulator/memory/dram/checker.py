"""The protocol checker: a command log against a device's constraints and the state rules of DRAM, after the fact.

It shares nothing with the controller but the log. Timing rules come from `Device.constraints`; the rest is here:

* a command leaves its bus busy for its length, and no data bus carries two bursts at once;
* rows: activations of closed banks only, columns of the open row only, refresh of closed banks only;
* a split activation (LPDDR5): one at a time in the channel; ACT2 to the same bank in time; nothing to it in between;
* the data clock (LPDDR5), one for all ranks: once stopped, a CAS of the kind comes one tick before the column command;
* half clocks (HBM3): odd ticks for all but precharges; no precharge on the even tick paired with a row command;
* if asked for, the rate of refresh: no bank falls behind by more than may be postponed, and one.

After a command that breaks a rule the replay goes on as if the command had been carried out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numba import njit

from simulator.memory.dram.device import Device
from simulator.memory.dram.outcome import CommandLog
from simulator.memory.dram.tables import COMMANDS
from workloads.errors import InputError

__all__ = ["STATE_RULES", "CheckedLog", "Event", "Report", "Violation", "check", "checked_log", "names_of"]

STATE_RULES = (
    "bus busy",
    "data bus busy",
    "activation of an open bank",
    "column of a row that is not open",
    "refresh of an open bank",
    "command between ACT1 and ACT2",
    "two split activations",
    "ACT2 without its ACT1",
    "ACT2 too late",
    "column without data clock",
    "CAS without its column",
    "even tick",
    "paired tick",
    "refresh rate",
)
_BUS, _DATA, _ACTIVATE, _COLUMN, _REFRESH, _BETWEEN, _TWO, _ALONE, _LATE, _CLOCK, _CAS, _EVEN, _PAIRED, _RATE = range(
    len(STATE_RULES)
)
_NAMES = (*COMMANDS, "RFMab", "RFMpb")
_ACT, _PRE, _PREA, _RD, _WR, _RDA, _WRA, _REF, _REFB, _ACT2, _CAS_RD, _CAS_WR, _RFM, _RFMB = range(len(_NAMES))
_CLOSED, _ACTIVATING, _OPEN = range(3)


@dataclass(frozen=True)
class Event:
    """One command of a log; bank and row are -1 where the command has none."""

    command: str
    tick: int
    rank: int
    bank: int
    row: int


@dataclass(frozen=True)
class Violation:
    """A broken rule: ``after`` came too early after ``before``, or met a state it must not meet.

    ``rule`` is the constraint's name or one of `STATE_RULES`. For timing ``needed`` and ``found`` count ticks, for rows
    they are rows (-1: closed), for the refresh rate refreshes. ``before`` is None where no command stands for the
    state, ``after`` where one is missing at the end of the log.
    """

    rule: str
    before: Event | None
    after: Event | None
    needed: int
    found: int


@dataclass(frozen=True)
class Report:
    """Commands checked, how many rules they broke, and the first of these violations in the order of the log."""

    commands: int
    count: int
    violations: tuple[Violation, ...]


@dataclass(frozen=True)
class CheckedLog:
    """A log whose entries make sense for its device, and violations as rows of numbers turned into words.

    A row is rule (past the constraints: `STATE_RULES`), command before, command after (-1: none), needed, found.
    """

    device: Device
    log: CommandLog

    def report(self, rows: list[tuple[int, int, int, int, int]], count: int) -> Report:
        """The report of ``count`` violations of which ``rows`` are the first."""
        rules = (*(rule.name for rule in self.device.constraints), *STATE_RULES)
        found = (Violation(rules[r], self._event(b), self._event(a), needed, got) for r, b, a, needed, got in rows)
        return Report(len(self.log), count, tuple(found))

    def _event(self, number: int) -> Event | None:
        if number < 0:
            return None
        log = self.log
        place = (int(values[number]) for values in (log.tick, log.rank, log.bank, log.row))
        return Event(names_of(self.device)[log.command[number]], *place)


def names_of(device: Device) -> tuple[str, ...]:
    """Commands by number: the controller's, then refresh management, which a log may hold too."""
    return ("ACT1" if "ACT2" in device.commands else "ACT", *_NAMES[1:])


def checked_log(device: Device, log: CommandLog) -> CheckedLog:
    """``log`` as it is. Raises `InputError` if it is no log of ``device``: out of order, or names what is not there."""
    names, per_rank = names_of(device), device.banks // device.shape[0]
    numbers = [i for i, name in enumerate(names) if name in device.commands]
    wide = np.isin(log.command, (_PREA, _REF, _RFM))
    bank_fits = np.where(wide, log.bank == -1, (log.bank >= 0) & (log.bank // per_rank == log.rank))
    for fits, expected in (
        (np.isin(log.command, numbers), f"commands of {device.name}: {', '.join(device.commands)}"),
        ((log.rank >= 0) & (log.rank < device.shape[0]), f"ranks below {device.shape[0]}"),
        (bank_fits, f"{per_rank} banks in a rank, and -1 for commands to all of them"),
        (np.diff(log.tick, prepend=0) >= 0, "ticks from 0 on, none before the last"),
    ):
        if not fits.all():
            raise InputError(f"command {int(np.argmin(fits))} of the log does not fit", expected, "log")
    for rule in device.constraints:
        if rule.sibling and rule.window > 1:
            raise InputError(f"{rule.name} counts a window over siblings", "a window within one node", "constraints")
    return CheckedLog(device, log)


def check(device: Device, log: CommandLog, *, limit: int = 10, refresh_rate: bool = False) -> Report:
    """Replay ``log`` and report every broken rule, the first ``limit`` of them in full.

    ``refresh_rate`` adds that check if the log holds any refresh. Raises `InputError` for a log that is not one of
    ``device``.
    """
    checked = checked_log(device, log)
    names = names_of(device)
    levels = ("channel", *(level.name for level in device.levels))
    counts = np.array([1, *(level.count for level in device.levels)], dtype=np.int64)
    rules = [
        (
            names.index(rule.after),
            number,
            names.index(rule.before),
            levels.index(rule.scope),
            rule.ticks,
            rule.window,
            int(rule.sibling),
        )
        for number, rule in enumerate(device.constraints)
        if rule.ticks > 0
    ]
    flat = np.array(sorted(rules), dtype=np.int64).reshape(-1, 7)
    first = np.searchsorted(flat[:, 0], np.arange(len(names) + 1))
    depth = 1 << (max((rule.window for rule in device.constraints), default=1) - 1).bit_length()
    bus = np.array([next((i for i, b in enumerate(device.buses) if n in b), 0) for n in names], dtype=np.int64)
    length = np.array([device.command_ticks.get(name, 1) for name in names], dtype=np.int64)
    latency = (device.read_latency_ticks, device.write_latency_ticks)
    sync = device.clock_sync_ticks or (-1, -1)
    refreshes = np.isin(log.command, (_REF, _REFB)).any() if refresh_rate else False
    out = np.zeros((max(limit, 0), 5), dtype=np.int64)
    count = _replay(
        log.tick, log.command, log.rank, log.bank, log.row, flat, first, depth, counts,
        int(levels[1] in ("rank", "pseudochannel")), bus, length, device.data_buses, latency, device.burst_ticks,
        "ACT2" in device.commands, device.second_activate_within, sync, device.half_clock,
        device.timing.get("nREFI", 0) if refreshes else 0, 1 + device.most_postponed, len(device.constraints), out,
    )  # fmt: skip
    rows = [(int(r), int(b), int(a), int(n), int(f)) for r, b, a, n, f in out[: min(count, limit)]]
    return checked.report(rows, int(count))


@njit(cache=True)
def _note(out, count, rule, before, after, needed, found):  # type: ignore[no-untyped-def]
    if count < len(out):
        out[count, 0] = rule
        out[count, 1] = before
        out[count, 2] = after
        out[count, 3] = needed
        out[count, 4] = found
    return count + 1


@njit(cache=True)
def _replay(  # type: ignore[no-untyped-def]
    tick, command, rank, bank, row, rules, first, depth, counts, has_ranks, bus, length, data_buses, latency,
    burst, split, within, sync, half_clock, refresh_interval, may_owe, state, out,
):  # fmt: skip
    levels = len(counts)
    nodes = np.cumprod(counts)
    start = np.cumsum(nodes) - nodes
    banks = nodes[-1]
    span = banks // nodes  # banks below one node
    ranks = nodes[1] if has_ranks else 1
    per_rank = banks // ranks
    seen = np.zeros((start[-1] + banks, 14), np.int64)
    ring = np.zeros((start[-1] + banks, 14, depth), np.int64)  # the last commands per node and kind
    on_bus = np.full(len(bus), -1, np.int64)
    window = 1
    while window <= max(latency[0], latency[1]):
        window *= 2
    data_tick = np.full((data_buses, window), -1, np.int64)  # which tick an entry stands for, and whose burst
    data_of = np.zeros((data_buses, window), np.int64)
    status = np.zeros(banks, np.int64)
    opener = np.full(banks, -1, np.int64)
    pending = cas = row_command = -1
    clock_until = 0
    got = np.zeros(banks, np.int64)
    last_refresh = np.full(banks, -1, np.int64)
    node = np.zeros(levels, np.int64)
    count = 0
    for i in range(len(tick)):
        t, c, b = tick[i], command[i], bank[i]
        from_bank, to_bank = (b, b + 1) if b >= 0 else (rank[i] * per_rank, (rank[i] + 1) * per_rank)
        for k in range(levels):
            if b >= 0:
                node[k] = start[k] + b // span[k]
            else:  # to all banks of a rank: rules of the channel and of the rank alone
                node[k] = 0 if k == 0 else (start[k] + rank[i] if k <= has_ranks else -1)
        # Timing: buses, then the rules for this command
        j = on_bus[bus[c]]
        if j >= 0 and t - tick[j] < length[command[j]]:
            count = _note(out, count, state + _BUS, j, i, length[command[j]], t - tick[j])
        on_bus[bus[c]] = i
        for r in range(first[c], first[c + 1]):
            before, k = rules[r, 2], rules[r, 3]
            own = node[k]
            if own < 0:
                continue
            j = -1
            if rules[r, 6]:
                eldest = own - (own - start[k]) % counts[k]
                for other in range(eldest, eldest + counts[k]):
                    if other != own and seen[other, before]:
                        j = max(j, ring[other, before, (seen[other, before] - 1) & (depth - 1)])
            elif seen[own, before] >= rules[r, 5]:
                j = ring[own, before, (seen[own, before] - rules[r, 5]) & (depth - 1)]
            if j >= 0 and t - tick[j] < rules[r, 4]:
                count = _note(out, count, rules[r, 1], j, i, rules[r, 4], t - tick[j])
        for k in range(levels):
            if node[k] >= 0:
                ring[node[k], c, seen[node[k], c] & (depth - 1)] = i
                seen[node[k], c] += 1
        # The data clock, and half clocks
        is_column = c >= _RD and c <= _WRA
        is_write = c in (_WR, _WRA)
        if cas >= 0:
            fits = is_column and t == tick[cas] + 1 and b == bank[cas] and is_write == (command[cas] == _CAS_WR)
            if not fits:
                count = _note(out, count, state + _CAS, cas, i, 1, t - tick[cas])
                cas = -1
        if is_column and sync[0] >= 0:
            if t >= clock_until and cas < 0:
                count = _note(out, count, state + _CLOCK, -1, i, clock_until, t)
            clock_until = max(clock_until, t + sync[int(is_write)])
        cas = i if c in (_CAS_RD, _CAS_WR) else -1
        if half_clock:
            if t % 2 == 0 and c != _PRE and c != _PREA:
                count = _note(out, count, state + _EVEN, -1, i, t + 1, t)
            j = row_command
            if t % 2 == 0 and (c in (_PRE, _PREA)) and j >= 0:
                same = rank[j] == rank[i] and (b == bank[j] or b < 0 or bank[j] < 0)
                if same and t == tick[j] + length[command[j]]:
                    count = _note(out, count, state + _PAIRED, j, i, t + 1, t)
            if t % 2 and not is_column:
                row_command = i
        # Rows
        if c == _ACT:
            if status[b] != _CLOSED:
                count = _note(out, count, state + _ACTIVATE, opener[b], i, -1, row[opener[b]])
            if split and pending >= 0:
                count = _note(out, count, state + _TWO, pending, i, 0, 1)
            status[b] = _ACTIVATING if split else _OPEN
            opener[b] = i
            pending = i if split else -1
        elif c == _ACT2:
            if pending < 0 or bank[pending] != b:
                count = _note(out, count, state + _ALONE, pending, i, 0, 0)
            else:
                if t - tick[pending] > within:
                    count = _note(out, count, state + _LATE, pending, i, within, t - tick[pending])
                status[b] = _OPEN
                pending = -1
        elif is_column:
            if status[b] != _OPEN:
                count = _note(out, count, state + _COLUMN, opener[b] if status[b] else -1, i, row[i], -1)
            elif row[opener[b]] != row[i]:
                count = _note(out, count, state + _COLUMN, opener[b], i, row[i], row[opener[b]])
            data = rank[i] if data_buses > 1 else 0
            end = t + latency[int(is_write)]
            clash = -1
            for moment in range(end - burst, end):
                slot = moment & (window - 1)
                if clash < 0 and data_tick[data, slot] == moment:
                    clash = data_of[data, slot]
                data_tick[data, slot] = moment
                data_of[data, slot] = i
            if clash >= 0:
                clash_end = tick[clash] + latency[int(command[clash] == _WR or command[clash] == _WRA)]
                count = _note(out, count, state + _DATA, clash, i, burst, abs(end - clash_end))
        elif c != _CAS_RD and c != _CAS_WR:
            refresh = c != _PRE and c != _PREA
            for other in range(from_bank, to_bank):
                if status[other] == _ACTIVATING:
                    count = _note(out, count, state + _BETWEEN, opener[other], i, 0, 1)
                elif refresh and status[other] == _OPEN:
                    count = _note(out, count, state + _REFRESH, opener[other], i, -1, row[opener[other]])
        if c in (_PRE, _PREA, _RDA, _WRA):
            status[from_bank:to_bank] = _CLOSED
            if pending >= 0 and from_bank <= bank[pending] and bank[pending] < to_bank:
                pending = -1
        # The rate of refresh
        if refresh_interval > 0 and (c in (_REF, _REFB)):
            owed = (t - 1) // refresh_interval - may_owe
            for other in range(from_bank, to_bank):
                if got[other] < owed:
                    count = _note(out, count, state + _RATE, last_refresh[other], i, owed, got[other])
                got[other] += 1
                last_refresh[other] = i
    if len(tick) and pending >= 0 and tick[-1] - tick[pending] > within:
        count = _note(out, count, state + _LATE, pending, -1, within, tick[-1] - tick[pending])
    if len(tick) and refresh_interval > 0:
        owed = tick[-1] // refresh_interval - may_owe
        for other in range(banks):
            if got[other] < owed:
                count = _note(out, count, state + _RATE, last_refresh[other], -1, owed, got[other])
    return count
