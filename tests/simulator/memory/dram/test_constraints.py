"""Every constraint of every bundled device: the later command is refused a tick too early and allowed in time.

Each constraint is tried twice, against the protocol checker and against the controller's tables: *alone*, in a device
that has no other, and *beside the others*, after the history in which they bind least. What is expected comes from the
constraint list by the definition in `device.Constraint`, read once more here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import product
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.memory.dram.checker import check, names_of
from simulator.memory.dram.device import Constraint, Device
from simulator.memory.dram.devices import device_names, load_device
from simulator.memory.dram.outcome import CommandLog
from simulator.memory.dram.tables import ACT, Tables, command_number, compile_tables

COLUMNS = ("RD", "WR", "RDA", "WRA")
CLOCKED = (*COLUMNS, "CAS_RD", "CAS_WR")
WIDE = ("PREab", "REFab", "RFMab")
DEPTH = {"channel": 0, "rank": 1, "pseudochannel": 1, "sid": 2, "bankgroup": 3, "bank": 4}
REFRESHES = ("REFab", "REFpb", "RFMab", "RFMpb")


class Sent(NamedTuple):
    tick: int
    command: str
    rank: int
    bank: int = -1
    row: int = 0


@lru_cache
def roomy(name: str) -> Device:
    """The device with two ranks, if it has ranks: rules between ranks need another one."""
    device = load_device(name)
    return load_device(name, ranks=2) if device.levels[0].name == "rank" and device.shape[0] == 1 else device


def first_of_each_standard() -> tuple[str, ...]:
    first: dict[str, str] = {}
    for name in device_names():
        first.setdefault(load_device(name).standard, name)
    return tuple(first.values())


EVERY_DEVICE = [
    name if name in first_of_each_standard() else pytest.param(name, marks=pytest.mark.slow) for name in device_names()
]


# The definition of a constraint, once more


def place(device: Device, sent: Sent) -> tuple[int, ...]:
    """(rank, stack, group, bank), cut after the rank for commands to all its banks."""
    return tuple(map(int, np.unravel_index(sent.bank, device.shape))) if sent.bank >= 0 else (sent.rank,)


def concerns(device: Device, rule: Constraint, before: Sent, after: Sent) -> bool:
    if (before.command, after.command) != (rule.before, rule.after):
        return False
    one, other, levels = place(device, before), place(device, after), DEPTH[rule.scope]
    if min(len(one), len(other)) < levels:
        return False
    if rule.sibling:
        return one[: levels - 1] == other[: levels - 1] and one[levels - 1] != other[levels - 1]
    return one[:levels] == other[:levels]


def bound(device: Device, rule: Constraint, history: Sequence[Sent], after: Sent) -> int:
    """The tick from which ``rule`` allows ``after``; 0 if it says nothing, as one of 0 ticks or fewer."""
    if rule.ticks <= 0:
        return 0
    ticks = [sent.tick for sent in history if concerns(device, rule, sent, after)]
    return ticks[-rule.window] + rule.ticks if len(ticks) >= rule.window else 0


def bounds(device: Device, rules: Sequence[Constraint], history: Sequence[Sent], after: Sent) -> int:
    return max((bound(device, rule, history, after) for rule in rules), default=0)


# Histories


def log_of(device: Device, history: Sequence[Sent]) -> CommandLog:
    names = names_of(device)
    fields = zip(*((s.tick, names.index(s.command), s.rank, s.bank, s.row) for s in history), strict=True)
    return CommandLog(*(np.array(field, dtype=np.int64) for field in fields))


def sent(device: Device, command: str, bank: int, tick: int = 0) -> Sent:
    """``command`` to ``bank``, or to its whole rank."""
    rank = bank * device.shape[0] // device.banks
    return Sent(tick, command, rank) if command in WIDE else Sent(tick, command, rank, bank)


def with_helpers(device: Device, history: Sequence[Sent], after: Sent) -> list[Sent]:
    """``after`` with the CAS it needs before it, and ACT1 with its ACT2."""
    commands = [after]
    if after.command == "ACT1":
        commands.append(after._replace(tick=after.tick + 1, command="ACT2"))
    if device.clock_sync_ticks and after.command in COLUMNS:
        clocks = dict(zip(COLUMNS, device.clock_sync_ticks * 2, strict=True))
        until = max((s.tick + clocks[s.command] for s in history if s.command in COLUMNS), default=0)
        cas = {"R": "CAS_RD", "W": "CAS_WR"}[after.command[0]]
        if after.tick >= until and not (history and history[-1].command == cas):
            commands.insert(0, after._replace(tick=after.tick - 1, command=cas))
    return commands


def fits_clock(device: Device, history: Sequence[Sent], after: Sent) -> bool:
    """One command per bus and tick, and where commands may start on half clocks."""
    for command in with_helpers(device, history, after)[:2]:
        bus = next(bus for bus in device.buses if command.command in bus)
        if command.tick <= max((s.tick for s in history if s.command in bus), default=-1):
            return False
    if not device.half_clock or after.tick % 2:
        return True
    if after.command not in ("PREpb", "PREab"):
        return False
    rows = [s for s in history if s.tick % 2 and s.command not in COLUMNS]
    last = rows[-1] if rows else None
    if last is None or last.rank != after.rank or last.tick + (3 if last.command == "ACT" else 1) != after.tick:
        return True
    return -1 not in (last.bank, after.bank) and last.bank != after.bank


def earliest(device: Device, rules: Sequence[Constraint], history: Sequence[Sent], after: Sent, least: int = 0) -> int:
    """The first tick from ``least`` on at which ``after`` may follow; brute force over ``rules`` and the bus."""
    tick = max([least, bounds(device, rules, history, after), *(s.tick for s in history)])
    while not fits_clock(device, history, after._replace(tick=tick)):
        tick += 1
    return tick


def send(device: Device, history: Sequence[Sent], command: Sent, least: int = 0) -> list[Sent]:
    """The history with ``command`` at the first legal tick from ``least`` on."""
    command = command._replace(tick=earliest(device, device.constraints, history, command, least))
    return [*history, *with_helpers(device, history, command)]


def rows_allow(device: Device, history: Sequence[Sent]) -> bool:
    """Whether every command finds its banks as it must."""
    opened: set[int] = set()
    for s in history:
        own = {b for b in opened if s.bank == b or (s.bank < 0 and b * device.shape[0] // device.banks == s.rank)}
        if own if s.command in ("ACT", "ACT1", *REFRESHES) else s.command in CLOCKED and not own:
            return False
        if s.command in ("ACT", "ACT1"):
            opened.add(s.bank)
        elif s.command in ("PREpb", "PREab", "RDA", "WRA"):
            opened -= own
    return True


def histories(device: Device, rule: Constraint) -> Iterator[tuple[list[Sent], Sent]]:
    """Short legal histories that end, but for one command that changes a bank's state, with ``rule.before``."""
    _, stacks, groups, banks = device.shape
    per_rank = stacks * groups * banks
    others = (0, 1, banks, groups * banks, per_rank, per_rank + 1)
    spread = sorted(range(per_rank), key=lambda b: (b % banks, b // banks))  # groups and stacks change fastest
    gap = 2 * (max(r.ticks for r in device.constraints) // 2) + 64
    bridges = (None, "PREpb", "PREab", "RDA", "WRA")
    for number, bridge, parity in product(dict.fromkeys(others), bridges, (0, 1) if device.half_clock else (1,)):
        firsts, last = (spread[: rule.window], spread[rule.window]) if rule.window > 1 else ([0], number)
        after = sent(device, rule.after, last) if last < device.banks else None
        if after is None or not concerns(device, rule, sent(device, rule.before, 0), after):
            continue
        if bridge and (bridge not in device.commands or number):
            continue
        history: list[Sent] = []
        to_open = [0] if rule.before in CLOCKED else []
        if rule.after in CLOCKED and last not in to_open and (last or rule.before not in ("ACT", "ACT1")):
            to_open.append(last)
        opening = "ACT1" if "ACT2" in device.commands else "ACT"
        for turn, bank in enumerate(to_open):
            history = send(device, history, sent(device, opening, bank), turn * gap + 1)
        for turn, bank in enumerate(firsts):
            history = send(device, history, sent(device, rule.before, bank), 0 if turn else 4 * gap + parity)
        if bridge:
            history = send(device, history, sent(device, bridge, 0))
        if rows_allow(device, [*history, after]):
            yield history, after


class Tried(NamedTuple):
    """How a constraint stands among the others: the slackest history, what it and what the others allow."""

    history: list[Sent]
    after: Sent
    bound: int
    rest: int

    @property
    def alone(self) -> bool:
        return self.rest < self.bound


@lru_cache
def beside_the_others(name: str) -> tuple[Tried, ...]:
    """Each constraint of a device in the history in which it binds most; fails if there is none to show it."""
    device, out = roomy(name), []
    for number, rule in enumerate(device.constraints):
        others = [*device.constraints[:number], *device.constraints[number + 1 :]]
        tried = [
            Tried(history, after, bound(device, rule, history, after), earliest(device, others, history, after))
            for history, after in histories(device, rule)
        ]
        assert tried, f"{name}: nothing shows {rule}"
        out.append(max(tried, key=lambda one: one.bound - one.rest))
    return tuple(out)


def dominators(device: Device, number: int, tried: Tried) -> set[str]:
    """Rules that allow ``tried.after`` no sooner than rule ``number``; "" is the clock, and the order of commands."""
    least = max(tried.bound - device.half_clock, 1)  # an even tick is as good as the odd one after it
    rules = [rule for i, rule in enumerate(device.constraints) if i != number and tried.bound]
    return {rule.name for rule in rules if bound(device, rule, tried.history, tried.after) >= least} or {""}


# The controller's tables, asked as a kernel asks them


def by_tables(device: Device, tables: Tables, history: Sequence[Sent], after: Sent) -> int:
    number, there = command_number(after.command), place(device, after)
    ready, activations = 0, []
    for s in history:
        before, here = command_number(s.command), place(device, s)
        kinds = ["same_rank" if here[0] == there[0] else "other_rank"]
        if min(len(here), len(there)) == 4 and here[0] == there[0]:
            kinds += ["same_group"] if here[:3] == there[:3] else []
            kinds += ["same_stack"] if here[:2] == there[:2] and here[2] != there[2] else []
            kinds += ["other_stack"] if here[1] != there[1] else []
            kinds += ["same_bank"] if here == there else []
        for kind in kinds:
            ticks = int(tables[0][kind][before, number])
            ready = max(ready, s.tick + ticks if ticks else 0)
        if before == ACT and here[0] == there[0]:
            activations.append(s.tick)
    window = int(tables[0]["four_activates"])
    if number == ACT and window and len(activations) >= 4:
        ready = max(ready, activations[-4] + window)
    return ready


def controlled(rule: Constraint) -> bool:
    """Whether the controller sends both commands of ``rule`` (it sends no refresh management)."""
    return command_number(rule.before) >= 0 and command_number(rule.after) >= 0


# Alone


@pytest.mark.parametrize("name", EVERY_DEVICE)
def test_each_constraint_alone_is_kept_to_the_tick(name: str) -> None:
    device = roomy(name)
    done = []
    for rule, tried in zip(device.constraints, beside_the_others(name), strict=True):
        single = replace(device, constraints=(rule,))
        history, after, found = [s for s in tried.history if s.command == rule.before], tried.after, tried.bound
        for tick in range(max(found - 2, history[-1].tick), max(found, history[-1].tick) + 2):
            broken = check(single, log_of(device, [*history, after._replace(tick=tick)])).violations
            mine = [(v.needed, v.found) for v in broken if v.rule == rule.name]
            first = history[-rule.window].tick
            assert mine == ([(rule.ticks, tick - first)] if tick < first + rule.ticks else []), (name, rule, tick)
        if controlled(rule):
            assert by_tables(device, compile_tables(single), history, after) == found, (name, rule)
        done.append(rule)
    assert tuple(done) == device.constraints


# Beside the others


@pytest.mark.parametrize("name", EVERY_DEVICE)
def test_each_constraint_binds_beside_the_others_or_is_dominated(name: str) -> None:
    device = roomy(name)
    tables = compile_tables(device)
    for number, (rule, tried) in enumerate(zip(device.constraints, beside_the_others(name), strict=True)):
        history, after, found, rest = tried
        ready = earliest(device, device.constraints, history, after)
        if controlled(rule):
            whole = bounds(device, device.constraints, history, after)
            assert by_tables(device, tables, history, after) == whole, (name, rule)
        if not tried.alone:
            by = dominators(device, number, tried)
            assert ready == rest >= found, (name, rule, by)
            assert by != {""} or rule.ticks <= 1 + device.half_clock, f"{name}: what dominates {rule}?"
            continue
        assert found <= ready <= found + device.half_clock, (name, rule)
        for tick in range(max(rest, ready - 4), ready):
            if fits_clock(device, history, after._replace(tick=tick)):
                report = check(device, log_of(device, follow(device, history, after, tick)))
                # What two commands on a bus, or two bursts, also break when they come too close
                both = rule.before in COLUMNS and rule.after in COLUMNS
                allowed = {rule.name, "bus busy" if rule.name.endswith(" bus") else "data bus busy" if both else ""}
                names = {violation.rule for violation in report.violations}
                assert rule.name in names <= allowed, (name, rule, tick, report)
        report = check(device, log_of(device, follow(device, history, after, ready)))
        assert report.count == 0, (name, rule, report)


def follow(device: Device, history: list[Sent], after: Sent, tick: int) -> list[Sent]:
    """``history`` and ``after`` at ``tick``, with its CAS; an ACT1 at the end needs no ACT2 any more."""
    commands = with_helpers(device, history, after._replace(tick=tick))
    return [*history, *(s for s in commands if s.command != "ACT2" or after.command == "ACT2")]


Pair = tuple[str, str, str]


def pairs(name: str, before: Sequence[str], after: Sequence[str], by: str) -> dict[Pair, str]:
    return {(name, *pair): by for pair in product(before, after)}


READS, WRITES = ("RD", "RDA"), ("WR", "WRA")
# Worked out by hand from the timings, with what dominates ("": the clock, or the order of commands). nBL = nCCDS in all
# of these, so the two rules tie where they meet; with two ranks write bursts are alone in spacing writes to different
# ranks, reads there have to wait nCS more.
TIES = (
    pairs("read burst", READS, READS, "tCCD_S read")
    | pairs("tCCD_S read", READS, READS, "read burst")
    | pairs("tCCD_S write", WRITES, WRITES, "write burst")
)
DOMINATED: dict[str, dict[Pair, str]] = {
    "DDR4-3200": TIES | pairs("rank switch write to read", WRITES, READS, ""),  # 16 + 4 + 2 - 22 = 0
    # columns are at least nBL = 8 apart, in every rank; they hold the bus for 2
    "DDR5-4800": TIES
    | pairs("command bus", READS, READS, "read burst")
    | pairs("command bus", WRITES, WRITES, "write burst")
    | pairs("command bus", READS, WRITES, "rank switch read to write")
    | pairs("command bus", WRITES, READS, "rank switch write to read"),
    # nFAW = 15 < 4 x nRRDS = 16; nRRDL = nRRDS
    "HBM2-2000": TIES
    | pairs("write burst", WRITES, WRITES, "tCCD_S write")
    | {("tFAW", "ACT", "ACT"): "tRRD_S", ("tRRD_L", "ACT", "ACT"): "tRRD_S"},
    # columns start on odd ticks, which are 2 apart without a rule
    "HBM3-6400": TIES | pairs("column bus", COLUMNS, COLUMNS, ""),
    # nFAW = 16 = 4 x nRRDS; nRRDL = nRRDS; nCAS = 0; 9 + 2 + 2 - 17 < 0
    "LPDDR5-6400": TIES
    | {("tFAW", "ACT1", "ACT1"): "tRRD_S", ("tRRD_L", "ACT1", "ACT1"): "tRRD_S"}
    | pairs("data clock before read", ("CAS_RD",), READS, "")
    | pairs("data clock before write", ("CAS_WR",), WRITES, "")
    | pairs("rank switch write to read", WRITES, READS, ""),
}


@pytest.mark.parametrize("name", DOMINATED)
def test_what_never_binds_is_known_with_what_dominates_it(name: str) -> None:
    device, never = roomy(name), {}
    for number, (rule, tried) in enumerate(zip(device.constraints, beside_the_others(name), strict=True)):
        if not tried.alone:
            never[rule.name, rule.before, rule.after] = dominators(device, number, tried)
    assert set(never) == set(DOMINATED[name])
    for pair, by in DOMINATED[name].items():
        assert by in never[pair], (pair, never[pair])


def test_every_standard_is_covered() -> None:
    counts = {name: len(load_device(name).constraints) for name in device_names()}
    assert {"DDR4", "DDR5", "HBM2", "HBM3", "LPDDR5"} <= {load_device(name).standard for name in counts}
    # Pairs counted by hand from the rules of JESD79-4 in ddr4.yaml: 4 for each of 12 rules between columns and for
    # tRCD, 3 for tRFC, 2 for tRP before refresh, 1 for each of the other 17
    assert counts["DDR4-3200"] == 4 * 12 + 4 + 3 + 2 + 17, counts


# The tables against the list, after anything


@st.composite
def anything(draw: st.DrawFn) -> tuple[Device, list[Sent], Sent]:
    device = roomy(draw(st.sampled_from(first_of_each_standard())))
    commands = st.sampled_from([c for c in device.commands if command_number(c) >= 0])
    banks = st.one_of(st.integers(0, 3), st.integers(0, device.banks - 1))
    one = st.tuples(st.integers(0, 12), commands, banks)
    history, tick = [], 0
    for gap, command, bank in draw(st.lists(one, max_size=25)):
        tick += gap
        history.append(sent(device, command, bank, tick))
    return device, history, sent(device, draw(commands), draw(banks))


@settings(max_examples=100, deadline=None)
@given(anything())
def test_tables_say_what_the_list_says(case: tuple[Device, list[Sent], Sent]) -> None:
    device, history, after = case
    whole = bounds(device, device.constraints, history, after)
    assert by_tables(device, compile_tables(device), history, after) == whole
