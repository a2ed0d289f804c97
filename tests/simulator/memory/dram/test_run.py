"""Whole runs: many channels, energy, what counts as bandwidth, stopping, and the limits of a run."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

from simulator.memory.dram.controller import Controller
from simulator.memory.dram.devices import load_device
from simulator.memory.dram.kernel import Channel
from simulator.memory.dram.mapping import address_mapping
from simulator.memory.dram.requests import Requests
from simulator.memory.dram.run import Run, explain_run, run
from simulator.memory.dram.steady import PeriodicRequests, run_periodic
from simulator.memory.dram.streams import Interleaved, RandomGranules, Recorded, Sequential, Stream
from workloads.errors import InputError

DDR4 = load_device("DDR4-3200")


def _run(stream: Stream, count: int, *, mapping: str = "BankGroupLow", channels: int = 1, **settings: object) -> Run:
    workers = settings.pop("workers", None)
    controller = replace(Controller(), **settings)
    chosen = address_mapping(mapping, DDR4, channels)
    return run(DDR4, stream, controller, mapping=chosen, channels=channels, count=count, workers=workers)


def test_channels_share_a_sequential_stream_evenly() -> None:
    # A channel's burst in turn: each of four channels gets a quarter, and the whole takes a quarter of the time.
    one = _run(Sequential(64), 40_000)
    four = _run(Sequential(64), 160_000, channels=4)
    assert four.cycles == one.cycles
    assert four.bandwidth_bytes_per_s == pytest.approx(4 * one.bandwidth_bytes_per_s)
    assert {outcome.reads for outcome in four.outcomes} == {40_000}


def test_the_number_of_threads_changes_nothing() -> None:
    stream = RandomGranules(64, 1 << 30, 256, 3)
    found = [_run(stream, 50_000, channels=8, workers=workers) for workers in (1, 2, 5)]
    assert found[0].outcomes == found[1].outcomes == found[2].outcomes


def test_a_sequential_stream_that_starts_over_is_as_one_that_goes_on() -> None:
    # 4 MiB is 32 units of this mapping; skipping must agree with running through the ends, start or not.
    for start in (0, 4928):
        stream = Sequential(64, 4 << 20, start)
        chosen = address_mapping("BankGroupLow", DDR4)
        skipped = run(DDR4, stream, mapping=chosen, count=300_007)
        whole = run(DDR4, stream, mapping=chosen, count=300_007, skip=False)
        assert skipped.outcomes == whole.outcomes
        assert (skipped.skipped_requests > 0) == (start == 0)


def test_energy_counts_commands_by_hand() -> None:
    # DDR4-3200 by Micron's currents: 4.2 nJ an activation, 2.784 nJ a read (test_energy.py), 0.499 W open, 0.355 W not.
    found = _run(Sequential(64), 64, mapping="RoBaRaCoCh", refresh="none")
    assert found.energy is not None
    assert found.energy.activate_j == pytest.approx(4.2e-9)
    assert found.energy.read_j == pytest.approx(64 * 2.784e-9)
    assert found.energy.refresh_j == 0
    # One row open from tick 1 to the end of the last byte, closed for the tick before.
    open_s, closed_s = (found.cycles - 1) * 0.625e-9, 0.625e-9
    assert found.energy.background_j == pytest.approx(open_s * 0.4992 + closed_s * 0.3552)
    parts = found.energy
    assert parts.total_j == parts.activate_j + parts.read_j + parts.write_j + parts.refresh_j + parts.background_j


def test_channels_that_wait_refresh_too() -> None:
    # All requests in one channel of 16: the others rest, but refresh every nREFI as it does.
    addresses = np.zeros(200_000, dtype=np.int64)
    stream = Recorded(64, addresses, np.zeros(len(addresses), dtype=np.bool_))
    one, sixteen = (_run(stream, len(addresses), mapping="RoBaRaCoCh", channels=channels) for channels in (1, 16))
    assert one.energy is not None
    assert sixteen.energy is not None
    assert sixteen.energy.refresh_j == pytest.approx(16 * one.energy.refresh_j, rel=0.02)


def test_bandwidth_is_what_the_bus_moved() -> None:
    # Writes and reads of one address: merged or forwarded, most never reach the bus.
    addresses = np.zeros(10_000, dtype=np.int64)
    found = _run(Recorded(64, addresses, np.arange(10_000) % 2 == 0), 10_000)
    assert found.bursts < 10_000
    assert found.fraction_of_peak <= 1


def test_a_run_can_be_stopped_from_outside() -> None:
    period = Requests(*(np.zeros(4, dtype=np.int64) for _ in range(3)), np.zeros(4, dtype=np.bool_))
    stop = threading.Event()
    threading.Timer(0.3, stop.set).start()
    started = time.monotonic()
    with pytest.raises(InterruptedError):  # requests that fall behind their interval: never a state twice
        run_periodic(DDR4, Controller(interval_ticks=3), PeriodicRequests(period, 1, 10**9), stop)
    assert time.monotonic() - started < 30
    assert not Channel.new(DDR4, Controller()).stop.is_set()


def test_limits_of_a_run() -> None:
    with pytest.raises(InputError, match="at least 1"):
        _run(Sequential(64), 0)
    with pytest.raises(InputError, match="ticks"):
        _run(Sequential(64), 10**10, interval_ticks=10**9)
    with pytest.raises(InputError, match="a mapping made for the channels"):
        run(DDR4, Sequential(64), mapping=address_mapping("RoBaRaCoCh", DDR4), channels=2, count=10)


def test_a_run_is_explained_by_all_of_its_length() -> None:
    # First a row after the other, then random bursts: the four-activate window shows only in what comes later.
    generator = np.random.default_rng(5)
    addresses = np.concatenate([np.arange(60_000) * 64, generator.integers(0, 1 << 24, 60_000) * 64])
    stream = Recorded(64, addresses, np.zeros(len(addresses), dtype=np.bool_))
    found = _run(stream, len(addresses))
    why = explain_run(found, stream)
    assert why.lost_ticks["tFAW"] / why.total_ticks > 0.15
    assert why.busy_ticks / why.total_ticks == pytest.approx(found.fraction_of_peak, abs=0.05)


def test_aliased_streams_are_charged_to_their_bank() -> None:
    stream = Interleaved(64, 16, 64 << 20, 64)
    why = explain_run(_run(stream, 20_000, mapping="RoBaRaCoCh"), stream)
    assert next(iter(why.lost_ticks)) in ("tRC", "tRTP", "row cycle")
