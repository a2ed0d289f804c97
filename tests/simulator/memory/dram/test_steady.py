"""Skipping what repeats changes no count: against runs of every request, and against what can be worked out by hand."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from simulator.memory.dram import steady
from simulator.memory.dram.controller import PAGE_POLICIES, REFRESHES, SCHEDULERS, Controller
from simulator.memory.dram.device import Device
from simulator.memory.dram.devices import device_names, load_device
from simulator.memory.dram.kernel import Channel, run_channel
from simulator.memory.dram.mapping import MAPPINGS, Mapping, address_mapping
from simulator.memory.dram.requests import Requests, decode
from simulator.memory.dram.run import run
from simulator.memory.dram.steady_walk import PeriodicRequests, Walk
from simulator.memory.dram.streams import Interleaved, Sequential, Stream, Strided, WriteEvery
from simulator.memory.dram.tables import compile_tables

DDR4 = load_device("DDR4-3200")  # 16 banks in 4 groups, rows of 128 bursts of 64 bytes
TERABYTE = (1 << 40) // 64  # requests of DDR4
NO_REFRESH = Controller(refresh="none")
INTERLEAVED_BITS = "co0=0,co1=1,co2=2,co3=3,co4=4,co5=5,co6=6,bg0=7,ba0=8,bg1=9,ba1=10"


def same(
    device: Device, stream: Stream, controller: Controller, mapping: Mapping, count: int, channels: int = 1
) -> int:
    """How many requests were skipped without changing any count of any channel."""
    skipping = run(device, stream, controller, mapping=mapping, channels=channels, count=count)
    whole = run(device, stream, controller, mapping=mapping, channels=channels, count=count, skip=False)
    assert whole.skipped_requests == 0
    assert skipping.outcomes == whole.outcomes
    return skipping.skipped_requests


# Shifts


def shift_of(device: Device, mapping: Mapping, controller: Controller = NO_REFRESH, every: int | None = None) -> int:
    sequential = Sequential(device.burst_bytes)
    stream: Stream = sequential if every is None else WriteEvery(sequential, every)
    unit_bytes = device.burst_bytes << mapping.translation_bits
    length, moved_bytes = stream.period(unit_bytes) or (0, 0)
    _, requests = decode(device, mapping, *stream.addresses(0, length))
    periodic = PeriodicRequests(requests, moved_bytes // unit_bytes * mapping.row_step(), 10**9)
    return Walk(Channel.new(device, controller), periodic).shift


@pytest.mark.parametrize(
    ("mapping", "shift"),
    [
        ("RoBaRaCoCh", 128),  # row after row: the next group, and from the last the next bank of the first
        ("RoRaBaCoCh", 128),
        ("BankGroupLow", 512),  # a row of each of four groups, then the next bank of all
        ("Permutation", 16384),  # 8 times 16 rows further on, the lowest row bits differ in the highest one alone
        ("MOP4CLXOR", 16384),  # 3 row bits hashed with the column of 11 bits: all of its period
        (INTERLEAVED_BITS, 512),  # +1 and +2 would send banks of one group to two; +4 changes bg1, and ba1 by its carry
    ],
)
def test_the_shift_of_a_sequential_stream(mapping: str, shift: int) -> None:
    assert shift_of(DDR4, address_mapping(mapping, DDR4)) == shift


def test_the_groups_alone_reject_a_shift() -> None:
    # The same order of 16 banks as above is a cycle without a flaw once all of them are in one group.
    flat = "co0=0,co1=1,co2=2,co3=3,co4=4,co5=5,co6=6,ba0=7,ba1=8,ba2=9,ba3=10"
    groupless = replace(DDR4, levels=(DDR4.levels[0], replace(DDR4.levels[-1], count=16)))
    groupless = replace(groupless, constraints=tuple(c for c in groupless.constraints if c.scope != "bankgroup"))
    assert shift_of(groupless, address_mapping(flat, groupless)) == 128


def test_ranks_keep_their_places() -> None:
    # Of two ranks the rank is the lowest bit above the column: only every other row is of the same one.
    device = load_device("DDR4-3200", ranks=2)
    assert shift_of(device, address_mapping("RoBaRaCoCh", device)) == 256


@pytest.mark.parametrize("page", ["timeout", "adaptive"])
def test_banks_keep_their_names_where_numbers_decide(page: str) -> None:
    assert shift_of(DDR4, address_mapping("RoBaRaCoCh", DDR4), Controller(page=page, refresh="none")) == 16 * 128
    lpddr5 = load_device("LPDDR5-6400")  # 16 banks, rows of 64 bursts
    assert shift_of(lpddr5, address_mapping("RoBaRaCoCh", lpddr5), Controller(refresh="per-bank")) == 16 * 64


def test_writes_take_part_in_the_shift() -> None:
    assert shift_of(DDR4, address_mapping("RoBaRaCoCh", DDR4), every=3) == 3 * 128


def is_shift(period: Requests, row_step: int, shift: int, fixed: bool) -> bool:
    """The definition: a renaming of banks that keeps groups and ranks together, and a move of the rows of each."""
    length = len(period)
    renamed: dict[tuple[str, int], int] = {}
    for i in range(length):
        j = (i + shift) % length
        rows = int(period.row[j]) + (row_step if i + shift >= length else 0) - int(period.row[i])
        bank, new = int(period.bank[i]), int(period.bank[j])
        kept = [("bank", bank, new), ("group", bank // 4, new // 4), ("rows", bank, rows)]
        if any(renamed.setdefault((kind, old), value) != value for kind, old, value in kept):
            return False
        if period.column[i] != period.column[j] or period.write[i] != period.write[j]:
            return False
        if bank // 16 != new // 16 or (fixed and bank != new):
            return False
    return True


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_the_shift_is_the_smallest_by_its_definition(data: st.DataObject) -> None:
    # A short pattern repeated with banks turned within what may be turned, so that shifts are found often.
    length, turns = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 8))
    pattern = data.draw(st.lists(st.integers(0, 31), min_size=length, max_size=length))
    turn, rows = data.draw(st.integers(0, 15)), data.draw(st.integers(0, 3))
    flips = data.draw(st.booleans())
    step = rows * turns
    bank = np.array([(b ^ turn * (k % 2) if flips else b) for k in range(turns) for b in pattern], dtype=np.int64)
    row = np.array([7 * i + rows * k for k in range(turns) for i in range(length)], dtype=np.int64)
    writes = np.array(data.draw(st.lists(st.booleans(), min_size=length, max_size=length)) * turns)
    column = np.zeros(length * turns, dtype=np.int64)
    fixed = data.draw(st.booleans())
    device = load_device("DDR4-3200", ranks=2)
    controller = Controller(page="timeout" if fixed else "open", refresh="none")
    period = Requests(bank, row, column, writes)
    found = Walk(Channel.new(device, controller), PeriodicRequests(period, step, 1 << 20)).shift
    divisors = [d for d in range(1, len(period) + 1) if len(period) % d == 0]
    assert found == next(d for d in divisors if is_shift(period, step, d, fixed))
    assert compile_tables(device)["group_of_bank"][0, 31] == 7  # banks in fours, as in the definition


# A terabyte, by hand


def test_a_terabyte_without_refresh_moves_a_burst_every_four_ticks() -> None:
    # ACT in tick 1, RD nRCD = 22 later, then one RD every nCCDS = 4; the last one's burst ends nCL + nBL = 26 later.
    mapping = address_mapping("BankGroupLow", DDR4)
    done = run(DDR4, Sequential(64), NO_REFRESH, mapping=mapping, count=TERABYTE)
    assert done.cycles == 1 + 22 + 4 * (TERABYTE - 1) + 26
    assert done.fraction_of_peak == pytest.approx(1.0, abs=1e-6)
    # Every row misses once (16 banks' first rows) or finds another row open; all others of its 128 requests hit.
    outcome = done.outcomes[0]
    assert (outcome.reads, outcome.misses, outcome.conflicts) == (TERABYTE, 16, TERABYTE // 128 - 16)
    assert outcome.hits == TERABYTE - TERABYTE // 128


def test_a_terabyte_from_one_bank_takes_a_row_cycle_per_request() -> None:
    # RoBaRaCoCh: the same bank again after 16 rows of 8 KiB. ACT to ACT nRC = 74; the last ACT, RD and burst: 22 + 26.
    stride, count = 16 * 8192, 1 << 34
    stream = Strided(64, stride, stride * count)
    done = run(DDR4, stream, NO_REFRESH, mapping=address_mapping("RoBaRaCoCh", DDR4), count=count)
    assert done.cycles == 1 + 74 * (count - 1) + 22 + 26
    assert (done.outcomes[0].misses, done.outcomes[0].conflicts) == (1, count - 1)
    assert done.commands == {"ACT": count, "PREpb": count - 1, "RD": count}


@pytest.mark.parametrize("mapping", MAPPINGS)
def test_a_terabyte_has_the_rate_of_its_beginning(mapping: str) -> None:
    # A beginning of 1,000 refresh intervals or more differs by about one of them, of which 5 % stand still.
    made, stream = address_mapping(mapping, DDR4), Sequential(64)
    beginning = run(DDR4, stream, mapping=made, count=4_000_000, skip=False)
    done = run(DDR4, stream, mapping=made, count=TERABYTE)
    assert done.fraction_of_peak == pytest.approx(beginning.fraction_of_peak, abs=1e-4)
    assert done.commands["RD"] == TERABYTE
    # One REFab per nREFI = 12480 ticks; the last may not have been sent any more.
    assert done.commands["REFab"] in (done.cycles // 12480, done.cycles // 12480 - 1)


@pytest.mark.parametrize("mapping", ["RoBaRaCoCh", "RoRaBaCoCh", "BankGroupLow"])
def test_a_terabyte_takes_few_requests(mapping: str) -> None:
    done = run(DDR4, Sequential(64), mapping=address_mapping(mapping, DDR4), count=TERABYTE)
    assert TERABYTE - done.skipped_requests < 100_000


@pytest.mark.parametrize("interval", [7, 100])
def test_arrivals_on_a_grid_keep_it(interval: int) -> None:
    # Slower than the 4 ticks a burst takes, so that every request is accepted in its time and the latency is bounded.
    controller = Controller(refresh="none", interval_ticks=interval)
    mapping, count = address_mapping("BankGroupLow", DDR4), 1 << 32
    done = run(DDR4, Sequential(64), controller, mapping=mapping, count=count)
    assert done.accepted_cycles == interval * (count - 1)
    assert done.skipped_requests > count - 100_000
    # A hit takes RD in the next tick and 26 more; an opened row 22 + 22 at most on top.
    assert 27 <= done.mean_read_latency_cycles <= 28


def test_arrivals_on_a_grid_in_step_with_refresh() -> None:
    # 7 ticks a request on the average over any number of refreshes; 128 a row, and 12480 a refresh: no short cycle.
    for interval in (7, 13, 100, 1009):
        controller = Controller(interval_ticks=interval)
        for mapping in ("RoBaRaCoCh", "BankGroupLow"):
            same(DDR4, Sequential(64), controller, address_mapping(mapping, DDR4), 60_000)
    done = run(
        DDR4, Sequential(64), Controller(interval_ticks=7), mapping=address_mapping("BankGroupLow", DDR4), count=1 << 32
    )
    assert done.skipped_requests > 0.99 * (1 << 32)
    assert 0 <= done.accepted_cycles - 7 * ((1 << 32) - 1) < 1000


@pytest.mark.parametrize("channels", [8, 32])
def test_channels_of_a_sequential_stream_are_alike(channels: int) -> None:
    # The channel stands in the lowest bits: each gets every so many-th burst, which is a sequential stream of its own.
    device = load_device("HBM2-2000")
    count = 30_000
    one = run(device, Sequential(32), mapping=address_mapping("RoBaRaCoCh", device), count=count)
    many = run(
        device,
        Sequential(32),
        mapping=address_mapping("RoBaRaCoCh", device, channels),
        channels=channels,
        count=count * channels,
    )
    assert many.outcomes == one.outcomes * channels
    assert many.skipped_requests == one.skipped_requests * channels > 0


# Against runs of every request


@pytest.mark.parametrize("mapping", MAPPINGS)
@pytest.mark.parametrize("device_name", ["DDR4-3200", "DDR5-4800", "HBM2-2000", "HBM3-6400", "LPDDR5-6400"])
def test_sequential_streams(device_name: str, mapping: str) -> None:
    device = load_device(device_name)
    for count in (70_001, 70_002):
        same(device, Sequential(device.burst_bytes), Controller(), address_mapping(mapping, device), count)
    assert same(device, Sequential(device.burst_bytes), NO_REFRESH, address_mapping(mapping, device), 250_000) > 0


@pytest.mark.parametrize(
    ("device_name", "mapping", "count"),
    [
        ("DDR4-3200", "RoBaRaCoCh", 120_000),
        ("DDR4-3200", "BankGroupLow", 120_000),
        ("DDR4-3200", "MOP4CLXOR", 250_000),
        ("DDR5-4800", "BankGroupLow", 120_000),
        ("LPDDR5-6400", "BankGroupLow", 60_000),
    ],
)
def test_streams_whose_intervals_repeat_late_or_never_are_skipped_in_part(
    device_name: str, mapping: str, count: int
) -> None:
    # Compared by whole sweeps over all banks, and at refreshes alone, all of these would be run whole.
    device = load_device(device_name)
    assert same(device, Sequential(device.burst_bytes), Controller(), address_mapping(mapping, device), count) > 0


@pytest.mark.parametrize("room", [0, 1 << 16])
def test_a_stream_that_finds_no_room_is_run_whole(room: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(steady, "_MOST_BYTES", room)
    for mapping in ("MOP4CLXOR", "BankGroupLow"):
        same(DDR4, Sequential(64), Controller(), address_mapping(mapping, DDR4), 100_000)


def test_a_channel_without_requests_may_still_refresh() -> None:
    # Nothing waits, and one refresh may be pulled in: it goes out in the only tick there is.
    empty = np.zeros(0, dtype=np.int64)
    none = Requests(empty, empty, empty, np.zeros(0, dtype=np.bool_))
    channel, skipped = steady.run_periodic(DDR4, Controller(pull_in=1), PeriodicRequests(none, 0, 0))
    assert (channel.outcome().drained_ticks, sum(channel.outcome().commands), skipped) == (0, 1, 0)


@st.composite
def devices(draw: st.DrawFn) -> Device:
    """With refresh more often than in truth, so that a short run has many."""
    names = ["DDR4-3200", "DDR5-4800", "HBM2-2000", "HBM3-6400", "LPDDR5-6400", "GDDR6-14000"]
    name = draw(st.sampled_from(names))
    has_ranks = load_device(name).levels[0].name == "rank"
    device = load_device(name, ranks=draw(st.sampled_from([1, 2])) if has_ranks else None)
    often = draw(st.none() | st.integers(device.timing["nRFC"] + 150, device.timing["nREFI"]))
    return replace(device, timing={**device.timing, "nREFI": often}) if often else device


@st.composite
def controllers(draw: st.DrawFn, device: Device) -> Controller:
    often = device.timing["nREFI"] < load_device(device.name).timing["nREFI"]
    refreshes = [name for name in REFRESHES if name != "per-bank" or (device.has_bank_refresh and not often)]
    refresh = draw(st.sampled_from(refreshes))
    low = draw(st.sampled_from([0.1, 0.2, 0.5]))
    return Controller(
        scheduler=draw(st.sampled_from(SCHEDULERS)),
        read_queue=draw(st.sampled_from([1, 3, 8, 32])),
        write_queue=draw(st.sampled_from([1, 3, 8, 32])),
        write_low=low,
        write_high=draw(st.sampled_from([0.6, 0.8, 1.0])),
        page=draw(st.sampled_from(PAGE_POLICIES)),
        timeout_ticks=draw(st.sampled_from([1, 17, 100, 500])),
        hit_cap=draw(st.integers(1, 6)),
        refresh=refresh,
        postpone=draw(st.integers(0, device.most_postponed)) if refresh == "all-bank" else 0,
        pull_in=draw(st.integers(0, device.most_pulled_in)) if refresh == "all-bank" else 0,
        tries_per_tick=draw(st.integers(1, 4)),
        interval_ticks=draw(st.sampled_from([0, 0, 0, 1, 4, 7, 60])),
    )


@st.composite
def streams(draw: st.DrawFn, device: Device, count: int) -> Stream:
    burst = device.burst_bytes
    kind = draw(st.sampled_from(["sequential", "strided", "interleaved"]))
    stream: Stream
    if kind == "sequential":
        region = draw(st.none() | st.sampled_from([64, 96, 1024, 5000, 1 << 20]))
        stream = Sequential(burst, None if region is None else region * burst, draw(st.integers(0, 3)) * burst * 100)
    elif kind == "strided":
        stride = draw(st.sampled_from([2, 3, 8, 16, 64, 100, 1024, 4096, 1 << 16])) * burst
        stream = Strided(burst, stride, stride * draw(st.sampled_from([1, 4, 50, count])))
    else:
        chunk = draw(st.sampled_from([1, 2, 16, 100]))
        spacing = draw(st.sampled_from([100, 1 << 10, 1 << 17, (1 << 17) + 64])) * burst
        stream = Interleaved(burst, draw(st.integers(1, 5)), spacing, chunk * burst)
    every = draw(st.none() | st.sampled_from([1, 2, 3, 8, 1000]))
    return stream if every is None else WriteEvery(stream, every)


def check_at_random(data: st.DataObject, most: int) -> None:
    device = data.draw(devices())
    channels = data.draw(st.sampled_from([1, 1, 2]))
    names = [*MAPPINGS, "robaracoch", "rocobabgsirach" if device.shape[1] > 1 else "rocobabgrach"]
    mapping = address_mapping(data.draw(st.sampled_from(names)), device, channels)
    count = data.draw(st.integers(most // 3, most))
    skipped = same(device, data.draw(streams(device, count)), data.draw(controllers(device)), mapping, count, channels)
    event("skipped" if skipped else "run whole")


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_periodic_stream(data: st.DataObject) -> None:
    check_at_random(data, 40_000)


def repeated(stream: PeriodicRequests) -> Requests:
    turn, at = np.divmod(np.arange(stream.count, dtype=np.int64), len(stream.period))
    part = stream.period
    return Requests(part.bank[at], part.row[at] + turn * stream.row_step, part.column[at], part.write[at])


def turned_patterns(device: Device, rng: np.random.Generator) -> PeriodicRequests:
    """A random pattern, then the same with banks and groups turned, and so on; all of that is the period."""
    _, _, groups, banks = device.shape
    length, turns = int(rng.integers(1, 60)), int(rng.choice([1, 2, 4, 8]))
    bank = rng.choice(rng.integers(0, device.banks, size=rng.integers(1, 9)), size=length)
    rows, columns = rng.integers(0, rng.integers(1, 5), size=length), rng.integers(0, rng.integers(1, 9), size=length)
    writes = rng.random(length) < rng.choice([0.0, 0.1, 0.5, 1.0])
    step, group_step, bank_step = rng.integers(0, 3), rng.integers(0, groups), rng.integers(0, banks)
    group, own = bank // banks, bank % banks
    stack, group = group // groups, group % groups
    parts = []
    for turn in range(turns):
        new_group, new_own = (group + turn * group_step) % groups, (own + turn * bank_step) % banks
        parts.append((stack * groups + new_group) * banks + new_own)
    # All rows move on by more than a turn uses, or every period finds the same rows.
    row = np.concatenate([rows + turn * step * 8 for turn in range(turns)])
    period = Requests(np.concatenate(parts), row, np.tile(columns, turns), np.tile(writes, turns))
    return PeriodicRequests(period, int(step) * 8 * turns, int(rng.integers(5_000, 30_000)))


def check_turned(data: st.DataObject) -> None:
    device = data.draw(devices())
    controller = data.draw(controllers(device))
    stream = turned_patterns(device, np.random.default_rng(data.draw(st.integers(0, 2**32))))
    channel, skipped = steady.run_periodic(device, controller, stream)
    assert channel.outcome() == run_channel(device, controller, repeated(stream), log=False)[0]
    event("skipped" if skipped else "run whole")


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_short_period(data: st.DataObject) -> None:
    check_turned(data)


@pytest.mark.slow
@settings(max_examples=3000, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_very_many_short_periods(data: st.DataObject) -> None:
    check_turned(data)


@pytest.mark.slow
@settings(max_examples=1500, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.data())
def test_any_periodic_stream_at_length(data: st.DataObject) -> None:
    check_at_random(data, 100_000)


@pytest.mark.slow
@pytest.mark.parametrize("device_name", device_names())
def test_sequential_streams_of_a_million_requests(device_name: str) -> None:
    device = load_device(device_name)
    refreshes = ["all-bank", "none", *(["per-bank"] if device.has_bank_refresh else [])]
    for mapping, refresh, page in itertools.product(MAPPINGS, refreshes, ("open", "closed", "timeout")):
        controller = Controller(refresh=refresh, page=page)
        same(device, Sequential(device.burst_bytes), controller, address_mapping(mapping, device), 1_000_003)
