"""The protocol checker: rules by hand, its twin on random logs, and the controller's logs at large."""

from __future__ import annotations

import os
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.memory.dram.checker import Event, Report, Violation, check, names_of
from simulator.memory.dram.checker_twin import check_slowly
from simulator.memory.dram.controller import PAGE_POLICIES, REFRESHES, SCHEDULERS, Controller
from simulator.memory.dram.device import Device
from simulator.memory.dram.devices import device_names, load_device
from simulator.memory.dram.kernel import run_channel
from simulator.memory.dram.outcome import CommandLog
from simulator.memory.dram.requests import Requests
from simulator.memory.dram.tables import RD, RDA, WR, WRA
from workloads.errors import InputError

WIDE = ("PREab", "REFab", "RFMab")
Step = tuple[int, str, int, int]  # tick, command, bank (rank for commands to all its banks) and row


def log_of(device: Device, steps: list[Step]) -> CommandLog:
    names, per_rank = names_of(device), device.banks // device.shape[0]
    out = []
    for tick, command, place, row in steps:
        wide = command in WIDE
        rank, bank = (place, -1) if wide else (place // per_rank, place)
        out.append((tick, names.index(command), rank, bank, row))
    return CommandLog(*np.array(out, dtype=np.int64).reshape(-1, 5).T.copy())


def broken(device: Device, steps: list[Step], *, refresh_rate: bool = False) -> list[tuple[str, int, int]]:
    """(rule, needed, found) of every violation, on which both checkers agree."""
    log = log_of(device, steps)
    report = check(device, log, limit=1000, refresh_rate=refresh_rate)
    assert in_any_order(report) == in_any_order(check_slowly(device, log, limit=1000, refresh_rate=refresh_rate))
    return [(v.rule, v.needed, v.found) for v in report.violations]


def in_any_order(report: Report) -> tuple[int, int, list[str]]:
    return report.commands, report.count, sorted(map(repr, report.violations))


# By hand. DDR4-3200: nRCD 22, nRAS 52, nRP 22, nRC 74, nRTP 12, nCL 22, nCWL 16, nBL 4, nRFC 576, nREFI 12480

OPEN: list[Step] = [(1, "ACT", 0, 5), (23, "RD", 0, 5)]


def test_a_row_cycle_at_the_limits_is_legal() -> None:
    cycle = [*OPEN, (53, "PREpb", 0, -1), (75, "ACT", 0, 6), (97, "WRA", 0, 6), (163, "REFab", 0, -1)]
    assert broken(load_device("DDR4-3200"), cycle) == []


def test_a_violation_says_what_came_after_what() -> None:
    report = check(load_device("DDR4-3200"), log_of(load_device("DDR4-3200"), [OPEN[0], (22, "RD", 0, 5)]))
    before, after = Event("ACT", 1, 0, 0, 5), Event("RD", 22, 0, 0, 5)
    assert report == Report(2, 1, (Violation("tRCD", before, after, 22, 21),))


def test_all_violations_are_counted_and_the_first_told() -> None:
    device = load_device("DDR4-3200")
    steps: list[Step] = [(100 * i, "RD", 0, 1) for i in range(20)]
    report = check(device, log_of(device, steps), limit=3)
    assert (report.commands, report.count, len(report.violations)) == (20, 20, 3)
    assert check(device, log_of(device, steps), limit=0).violations == ()


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([(200, "ACT", 0, 6)], ("activation of an open bank", -1, 5)),
        ([(200, "RD", 0, 6)], ("column of a row that is not open", 6, 5)),
        ([(200, "WR", 1, 6)], ("column of a row that is not open", 6, -1)),
        ([(200, "RDA", 0, 5), (300, "RD", 0, 5)], ("column of a row that is not open", 5, -1)),
        ([(200, "PREab", 0, -1), (300, "RD", 0, 5)], ("column of a row that is not open", 5, -1)),
        ([(200, "REFab", 0, -1)], ("refresh of an open bank", -1, 5)),
        ([(200, "PREpb", 3, -1), (200, "PREpb", 4, -1)], ("bus busy", 1, 0)),
    ],
)
def test_states_of_banks_and_bus(steps: list[Step], expected: tuple[str, int, int]) -> None:
    assert broken(load_device("DDR4-3200"), [*OPEN, *steps]) == [expected]


def test_precharges_of_closed_banks_are_legal() -> None:
    steps: list[Step] = [(1, "PREpb", 0, -1), (30, "PREab", 0, -1), (60, "REFab", 0, -1)]
    assert broken(load_device("DDR4-3200"), steps) == []


def test_the_data_bus_carries_one_burst() -> None:
    """A read's data lie at 22 to 25 after it, a write's at 16 to 19: a write 3 to 9 ticks after a read meets them."""
    device = load_device("DDR4-3200", ranks=2)
    opened: list[Step] = [(1, "ACT", 0, 5), (5, "ACT", 16, 5)]
    for apart in range(2, 14):
        names = [rule for rule, *_ in broken(device, [*opened, (100, "RD", 0, 5), (100 + apart, "WR", 16, 5)])]
        assert ("data bus busy" in names) == (3 <= apart <= 9), (apart, names)


def test_pseudo_channels_have_a_data_bus_each() -> None:
    """HBM2: commands of one tick's distance to two pseudo-channels, bursts of two ticks."""
    device = load_device("HBM2-2000")
    opened: list[Step] = [(1, "ACT", 0, 5), (5, "ACT", 16, 5), (9, "ACT", 4, 5)]
    assert broken(device, [*opened, (100, "RD", 0, 5), (101, "RD", 16, 5)]) == []
    names = {rule for rule, *_ in broken(device, [*opened, (100, "RD", 0, 5), (101, "RD", 4, 5)])}
    assert names == {"read burst", "tCCD_S read", "data bus busy"}


# LPDDR5-6400: nAAD 8, nRCD 15; the clock runs 17 + 2 + 1 = 20 after a read, 9 + 2 + 1 = 12 after a write

SPLIT: list[Step] = [(1, "ACT1", 0, 5), (9, "ACT2", 0, 5), (15, "CAS_RD", 0, 5), (16, "RD", 0, 5)]
UNCLOCKED = ("column without data clock", 36, 36)


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        (SPLIT, []),
        ([*SPLIT, (35, "RD", 0, 5)], []),
        ([*SPLIT, (36, "RD", 0, 5)], [UNCLOCKED]),
        ([*SPLIT, (35, "CAS_WR", 0, 5), (36, "WR", 0, 5)], []),
        (
            [*SPLIT, (34, "CAS_WR", 0, 5), (36, "WR", 0, 5)],
            [("CAS without its column", 1, 2), UNCLOCKED],
        ),
        (
            [*SPLIT, (35, "CAS_RD", 0, 5), (36, "WR", 0, 5)],
            [("CAS without its column", 1, 1), UNCLOCKED],
        ),
        ([*SPLIT[:1], (10, "ACT2", 0, 5)], [("ACT2 too late", 8, 9)]),
        ([*SPLIT[:1], (2, "ACT2", 1, 5)], [("ACT2 without its ACT1", 0, 0)]),
        ([(2, "ACT2", 0, 5)], [("ACT2 without its ACT1", 0, 0)]),
        ([*SPLIT[:1], (6, "ACT1", 4, 5), (7, "ACT2", 4, 5)], [("two split activations", 0, 1)]),
        ([*SPLIT[:1], (50, "PREpb", 0, -1)], [("command between ACT1 and ACT2", 0, 1)]),
        ([*SPLIT[:1], (30, "REFpb", 1, -1)], [("ACT2 too late", 8, 29)]),
    ],
)
def test_split_activations_and_the_data_clock(steps: list[Step], expected: list[tuple[str, int, int]]) -> None:
    assert broken(load_device("LPDDR5-6400"), steps) == expected


@pytest.mark.parametrize(
    ("steps", "expected"),
    [
        ([(2, "ACT", 0, 5)], [("even tick", 3, 2)]),
        ([(1, "ACT", 0, 5), (4, "PREpb", 1, -1)], []),
        ([(1, "REFpb", 0, -1), (2, "PREpb", 1, -1)], []),
        ([(1, "PREpb", 1, -1), (2, "PREab", 1, -1)], []),
        ([(1, "REFpb", 40, -1), (2, "PREab", 0, -1)], []),
        ([(1, "ACT", 0, 5), (4, "PREab", 0, -1)], [("tRAS all", 92, 3), ("paired tick", 5, 4)]),
        ([(1, "REFpb", 0, -1), (2, "PREpb", 0, -1)], [("tRFCpb", 640, 1), ("paired tick", 3, 2)]),
    ],
)
def test_half_clocks(steps: list[Step], expected: list[tuple[str, int, int]]) -> None:
    """HBM3-6400: an activation's paired tick is its third, another row command's its first; each for its own rank."""
    assert broken(load_device("HBM3-6400"), steps) == expected


def test_refresh_may_lag_by_what_may_be_postponed_and_one() -> None:
    """DDR4: 8 + 1. Before the tick 10 x 12480 nothing is amiss, at it one is."""
    device = load_device("DDR4-3200")
    last = 10 * 12480
    assert broken(device, [(last, "REFab", 0, -1)], refresh_rate=True) == []
    late = broken(device, [(last + 1, "REFab", 0, -1)], refresh_rate=True)
    assert late == [("refresh rate", 1, 0)] * 16
    assert broken(device, [(last + 1, "REFab", 0, -1)]) == []
    assert broken(device, [(last + 1, "PREab", 0, -1)], refresh_rate=True) == []  # a log without refresh asks for none
    assert broken(device, [(1, "REFab", 0, -1), (last, "PREab", 0, -1)], refresh_rate=True) == []
    ended = broken(device, [(1, "REFab", 0, -1), (last + 12480, "PREab", 0, -1)], refresh_rate=True)
    assert ended == [("refresh rate", 2, 1)] * 16


def test_logs_of_something_else_are_refused() -> None:
    device = load_device("DDR4-3200")
    good = log_of(device, OPEN)
    for field, values in (
        ("tick", [5, 4]),
        ("tick", [-1, 4]),
        ("command", [0, 9]),  # ACT2
        ("command", [0, 2]),  # PREab of one bank
        ("rank", [0, 1]),
        ("bank", [0, 16]),
        ("bank", [0, -1]),
    ):
        fields = {**vars(good), field: np.array(values, dtype=np.int64)}
        with pytest.raises(InputError):
            check(device, CommandLog(**fields))
    assert check(device, log_of(device, [])) == Report(0, 0, ())


# Checker and twin on anything

DEVICES = [load_device(name) for name in device_names()] + [
    load_device("DDR4-3200", ranks=2), load_device("LPDDR5-6400", ranks=4)
]  # fmt: skip


@st.composite
def logs(draw: st.DrawFn) -> tuple[Device, CommandLog]:
    """Commands at random, or transactions of open, column and close whose gaps are now enough and now not."""
    device = draw(st.sampled_from(DEVICES))
    banks = st.one_of(st.integers(0, 2), st.integers(0, device.banks - 1))
    rows = st.integers(0, 1)
    steps: list[Step] = []
    tick = draw(st.integers(0, 3))
    one = st.tuples(st.sampled_from((0, 1, 1, 2, 3, 6, 30)), st.sampled_from(device.commands), banks, rows)
    opening = ["ACT1", "ACT2"] if "ACT2" in device.commands else ["ACT"]
    clocks = ["CAS_RD", "CAS_WR"] if device.clock_sync_ticks else []
    for gap, command, bank, row in draw(st.lists(one, max_size=40)):
        whole = gap > 2 and command in ("RD", "WR", "RDA", "WRA")
        chain = [*opening, *([clocks[command in ("WR", "WRA")]] if clocks else []), command]
        for each in chain if whole else [command]:
            tick += 60 if whole and each in ("ACT", "ACT1") else 1 if each == "ACT2" or (whole and clocks) else gap
            steps.append((tick, each, bank // (device.banks // device.shape[0]) if each in WIDE else bank, row))
    return device, log_of(device, steps)


@settings(max_examples=150, deadline=None)
@given(logs(), st.booleans())
def test_twin_finds_the_same(case: tuple[Device, CommandLog], refresh_rate: bool) -> None:
    device, log = case
    fast, slow = (f(device, log, limit=10**6, refresh_rate=refresh_rate) for f in (check, check_slowly))
    assert in_any_order(fast) == in_any_order(slow)
    assert check(device, log, limit=2).violations == fast.violations[:2]


# The controller's logs


def random_requests(device: Device, rng: np.random.Generator, count: int) -> Requests:
    """Runs in a row of random length over few or many banks and rows, reads and writes mixed."""
    moves = np.cumsum(rng.random(count) >= rng.choice([0.0, 0.5, 0.9, 0.99])) % count
    pool = rng.choice([1, 2, 5, device.banks])
    bank = rng.integers(0, device.banks, count)[rng.integers(0, pool, count) if pool < device.banks else slice(None)]
    row = rng.integers(0, rng.choice([2, 8, device.rows]), count)
    column = rng.integers(0, rng.choice([2, device.bursts_per_row]), count)
    write = rng.random(count) < rng.choice([0.0, 0.1, 0.5, 1.0])
    return Requests(bank[moves], row[moves], column, write)


def random_controller(device: Device, rng: np.random.Generator) -> Controller:
    refresh = str(rng.choice([r for r in REFRESHES if r != "per-bank" or device.has_bank_refresh]))
    put_off = refresh == "all-bank"
    low, high = sorted(rng.choice([0.01, 0.2, 0.5, 0.8, 1.0], 2, replace=False))
    return Controller(
        scheduler=str(rng.choice(SCHEDULERS)),
        read_queue=int(rng.choice([1, 2, 8, 32, 128])),
        write_queue=int(rng.choice([1, 2, 8, 32, 128])),
        write_high=float(high),
        write_low=float(low),
        page=str(rng.choice(PAGE_POLICIES)),
        timeout_ticks=int(rng.choice([1, 20, 200])),
        hit_cap=int(rng.choice([1, 4, 16])),
        refresh=refresh,
        postpone=int(rng.integers(0, device.most_postponed + 1)) if put_off else 0,
        pull_in=int(rng.integers(0, device.most_pulled_in + 1)) if put_off else 0,
        tries_per_tick=int(rng.choice([1, 2, 4])),
        interval_ticks=int(rng.choice([0, 0, 1, 7, 100])),
    )


def served_and_checked(device: Device, seed: int, count: int) -> int:
    """Commands in the log of a random run; fails on any violation, or a request without its column command."""
    rng = np.random.default_rng(seed)
    controller, requests = random_controller(device, rng), random_requests(device, rng, count)
    outcome, log = run_channel(device, controller, requests)
    report = check(device, log, limit=3, refresh_rate=True)
    assert report.count == 0, (device.name, device.shape, seed, controller, report)
    columns = np.bincount(log.command, minlength=12)
    assert columns[RD] + columns[RDA] == outcome.reads - outcome.forwarded
    assert columns[WR] + columns[WRA] == outcome.writes - outcome.merged
    return report.commands


def with_ranks(name: str, ranks: int) -> Device:
    return load_device(name, ranks=ranks) if load_device(name).levels[0].name == "rank" else load_device(name)


def first_of_each_standard() -> tuple[str, ...]:
    first: dict[str, str] = {}
    for name in device_names():
        first.setdefault(load_device(name).standard, name)
    return tuple(first.values())


@pytest.mark.parametrize("name", first_of_each_standard())
def test_campaign(name: str) -> None:
    checked = sum(served_and_checked(with_ranks(name, (1, 2, 4)[seed % 3]), seed, 3000) for seed in range(9))
    assert checked > 25_000, checked


@pytest.mark.parametrize(
    "rule",
    [
        *("tRCD", "tRP", "tRAS", "tRTP", "tWR", "tRRD_S", "tRRD_L", "tFAW", "tCCD_L read", "tCCD_L write", "tWTR_L"),
        *("read to write", "rank switch read to read", "rank switch read to write", "tRP before refresh", "tRFC"),
    ],
)
def test_a_controller_that_is_a_tick_too_fast_is_caught(rule: str) -> None:
    """The campaign finds what it is meant to find: it serves a device with one rule a tick short."""
    device = load_device("DDR4-3200", ranks=2)
    assert rule in {each.name for each in device.constraints}
    rules = tuple(replace(each, ticks=each.ticks - (each.name == rule)) for each in device.constraints)
    broken = set()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        controller, requests = random_controller(device, rng), random_requests(device, rng, 3000)
        _, log = run_channel(replace(device, constraints=rules), controller, requests)
        broken |= {violation.rule for violation in check(device, log, limit=100).violations}
        if rule in broken:
            break
    assert rule in broken


@pytest.mark.slow
def test_long_campaign() -> None:
    """10^8 commands in all; TIERCADE_CAMPAIGN sets another number."""
    wanted, checked, seed = int(os.environ.get("TIERCADE_CAMPAIGN", "100_000_000")), 0, 1000
    names = device_names()
    while checked < wanted:
        device = with_ranks(names[seed % len(names)], (1, 2, 4)[seed // len(names) % 3])
        checked += served_and_checked(device, seed, 200_000)
        seed += 1
    assert checked >= wanted
