"""Command sequences of one channel worked out by hand, tick by tick: banks, constraints between them, and queues."""

from __future__ import annotations

from dataclasses import replace
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.memory.dram.controller import PAGE_POLICIES, REFRESHES, SCHEDULERS, Controller
from simulator.memory.dram.device import Device
from simulator.memory.dram.devices import load_device
from simulator.memory.dram.outcome import ChannelOutcome
from simulator.memory.dram.requests import Requests
from simulator.memory.dram.tables import COMMANDS
from simulator.memory.dram.twin import run_channel
from tests.simulator.memory.dram.hand_worked import DDR4, Access, requests_of, run, without

# One bank: nRCD 22, nCL 22, nBL 4, nRAS 52, nRP 22, nRTP 12, nCWL 16, nWR 24


def test_a_read_of_a_closed_bank_takes_activation_and_column() -> None:
    outcome, sent = run(DDR4, [(0, 5, 3, "R")])
    assert sent == [(1, "ACT", 0), (23, "RD", 0)]  # 1 + nRCD
    # Departs 23 + nCL + nBL = 49, having arrived at 0; the row is open from 1 until the end.
    assert outcome == ChannelOutcome(
        accepted_ticks=0,
        drained_ticks=49,
        reads=1,
        writes=0,
        forwarded=0,
        merged=0,
        hits=0,
        misses=1,
        conflicts=0,
        read_latency_ticks=49,
        open_ticks=48,
        commands=(1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0),
    )


def test_the_log_names_rank_bank_and_row() -> None:
    _, log = run_channel(
        load_device("DDR4-3200", ranks=2), Controller(), requests_of([(17, 5, 3, "R"), (17, 6, 0, "R")])
    )
    assert [COMMANDS[number] for number in log.command] == ["ACT", "RD", "PREpb", "ACT", "RD"]
    assert log.rank.tolist() == [1] * 5  # bank 17 is the second of the second rank of 16 banks
    assert log.bank.tolist() == [17] * 5
    assert log.row.tolist() == [5, 5, -1, 6, 6]


def test_a_conflict_waits_for_nras_and_nrp() -> None:
    outcome, sent = run(DDR4, [(0, 1, 0, "R"), (0, 2, 0, "R")])
    # PRE: max(1 + nRAS, 23 + nRTP) = 53; ACT: 53 + nRP = 75 = 1 + nRC; RD: 75 + nRCD.
    assert sent == [(1, "ACT", 0), (23, "RD", 0), (53, "PREpb", 0), (75, "ACT", 0), (97, "RD", 0)]
    assert (outcome.misses, outcome.conflicts, outcome.hits) == (1, 1, 0)
    assert outcome.drained_ticks == 97 + 26
    assert outcome.open_ticks == (53 - 1) + (123 - 75)
    assert outcome.read_latency_ticks == 49 + (123 - 1)  # the second arrived at 1


def test_write_recovery_delays_the_precharge() -> None:
    _, sent = run(DDR4, [(0, 1, 0, "W"), (0, 2, 0, "W")])
    # PRE: 23 + nCWL + nBL + nWR = 67, later than nRAS.
    assert sent == [(1, "ACT", 0), (23, "WR", 0), (67, "PREpb", 0), (89, "ACT", 0), (111, "WR", 0)]


def test_a_full_queue_refuses_until_an_activation_frees_a_place() -> None:
    outcome, sent = run(DDR4, [(0, 1, 0, "R"), (0, 2, 0, "R"), (0, 3, 0, "R")], read_queue=1)
    # The third is refused from tick 3 on; ACT of the second at 75 frees the place; it arrives at 75, before tick 76.
    assert outcome.accepted_ticks == 75
    # PRE: max(75 + nRAS, 97 + nRTP) = 127; ACT 149; RD 171.
    assert sent[5:] == [(127, "PREpb", 0), (149, "ACT", 0), (171, "RD", 0)]


# Several banks: nRRDS 4, nRRDL 8, nFAW 34, nCCDS 4, nCCDL 8


def test_the_fifth_activation_waits_for_the_first_of_four() -> None:
    _, sent = run(DDR4, [(0, 1, 0, "R"), (4, 1, 0, "R"), (8, 1, 0, "R"), (12, 1, 0, "R"), (1, 1, 0, "R")], interval=5)
    # Activations on arrival at 1, 6, 11, 16; the fifth at 1 + nFAW = 35, not at its arrival 21. Reads nRCD after each.
    assert sent == [
        *[(1, "ACT", 0), (6, "ACT", 4), (11, "ACT", 8), (16, "ACT", 12)],
        *[(23, "RD", 0), (28, "RD", 4), (33, "RD", 8), (35, "ACT", 1), (38, "RD", 12), (57, "RD", 1)],
    ]


def test_activated_requests_come_before_the_queue() -> None:
    _, sent = run(DDR4, [(0, 1, 0, "R"), (4, 1, 0, "R"), (8, 1, 0, "R"), (12, 1, 0, "R"), (1, 1, 0, "R")])
    # Activations nRRDS apart: 1, 5, 9, 13. At 35 both the fifth ACT and the read of bank 12 are legal: the read goes.
    assert sent == [
        *[(1, "ACT", 0), (5, "ACT", 4), (9, "ACT", 8), (13, "ACT", 12)],
        *[(23, "RD", 0), (27, "RD", 4), (31, "RD", 8), (35, "RD", 12), (36, "ACT", 1), (58, "RD", 1)],
    ]


def test_activations_of_a_group_are_further_apart() -> None:
    _, sent = run(DDR4, [(0, 1, 0, "R"), (1, 1, 0, "R")])
    assert sent == [(1, "ACT", 0), (9, "ACT", 1), (23, "RD", 0), (31, "RD", 1)]  # nRRDL = 8


def test_columns_of_a_group_are_further_apart() -> None:
    outcome, sent = run(DDR4, [(0, 1, 0, "R"), (0, 1, 1, "R"), (4, 1, 0, "R")])
    # Another group nCCDS = 4 after; the same group nCCDL = 8 after, 23 + 8 = 27 + 4 = 31.
    assert sent == [(1, "ACT", 0), (5, "ACT", 4), (23, "RD", 0), (27, "RD", 4), (31, "RD", 0)]
    assert (outcome.hits, outcome.misses) == (1, 2)


def test_another_rank_waits_for_the_data_bus_only() -> None:
    _, sent = run(load_device("DDR4-3200", ranks=2), [(0, 1, 0, "R"), (16, 1, 0, "R")])
    # No nRRD between ranks; the reads are nBL + nCS = 6 apart, and not at 2 + nRCD = 24.
    assert sent == [(1, "ACT", 0), (2, "ACT", 16), (23, "RD", 0), (29, "RD", 16)]


@pytest.mark.parametrize(("bank", "read_at"), [(0, 55), (4, 47)])
def test_a_read_after_a_write_waits_for_the_turnaround(bank: int, read_at: int) -> None:
    _, sent = run(DDR4, [(0, 1, 0, "W"), (bank, 1, 1, "R")])
    # nCWL + nBL + nWTRL = 32 after 23 in the same group, with nWTRS 24 in another.
    assert sent[-2:] == [(23, "WR", 0), (read_at, "RD", bank)]


def test_a_write_after_a_read_waits_for_the_bus() -> None:
    _, sent = run(DDR4, [(0, 1, 0, "R"), (4, 1, 0, "W")])
    # nCL + nBL + 2 - nCWL = 12 after 23; its row was ready at 5 + nRCD = 27.
    assert sent == [(1, "ACT", 0), (5, "ACT", 4), (23, "RD", 0), (35, "WR", 4)]


# Queues


def test_reads_are_forwarded_and_writes_merged() -> None:
    outcome, sent = run(DDR4, [(0, 1, 0, "W"), (0, 2, 7, "W"), (0, 2, 7, "W"), (0, 2, 7, "R")])
    assert sent == [(1, "ACT", 0), (23, "WR", 0), (67, "PREpb", 0), (89, "ACT", 0), (111, "WR", 0)]
    assert (outcome.reads, outcome.writes, outcome.forwarded, outcome.merged) == (1, 3, 1, 1)
    assert outcome.read_latency_ticks == 1
    assert (outcome.hits, outcome.misses, outcome.conflicts) == (0, 1, 1)
    assert outcome.drained_ticks == 111 + 16 + 4


def test_a_write_that_left_its_queue_forwards_nothing() -> None:
    outcome, sent = run(DDR4, [(0, 1, 0, "W"), (0, 1, 0, "R")])
    assert sent == [(1, "ACT", 0), (23, "WR", 0), (55, "RD", 0)]  # 23 + nCWL + nBL + nWTRL
    assert (outcome.forwarded, outcome.hits) == (0, 1)


def test_a_full_queue_still_forwards() -> None:
    accesses: list[Access] = [(0, 1, 0, "R"), (0, 2, 0, "R"), (4, 1, 0, "W"), (4, 1, 0, "R")]
    outcome, _ = run(DDR4, accesses, read_queue=1)
    # The second read waits until 53 and fills the queue, and so the write waits too; still the last arrives at 3.
    assert (outcome.forwarded, outcome.accepted_ticks) == (1, 3)
    assert outcome.read_latency_ticks == 49 + (123 - 1) + 1


READS: list[Access] = [(0, 1, column, "R") for column in range(3)]
WRITES: list[Access] = [(4, 1, column, "W") for column in range(3)]


def test_the_first_tick_has_one_offer() -> None:
    accesses: list[Access] = [(0, 1, 0, "R"), (0, 1, 1, "R"), (0, 1, 2, "R"), (0, 1, 3, "R")]
    outcome, sent = run(DDR4, accesses, tries_per_tick=2)
    # Arrivals 0, 1, 1 and 2; columns nCCDL apart, departing nCL + nBL = 26 later.
    assert sent == [(1, "ACT", 0), (23, "RD", 0), (31, "RD", 0), (39, "RD", 0), (47, "RD", 0)]
    assert outcome.accepted_ticks == 2
    assert outcome.read_latency_ticks == (23 + 31 + 39 + 47) + 4 * 26 - (0 + 1 + 1 + 2)


MARKS: dict[str, Any] = {"write_queue": 4, "write_high": 0.5, "tries_per_tick": 8}  # write mode from three writes on


def test_few_writes_wait_for_the_reads() -> None:
    _, sent = run(DDR4, READS + WRITES[:2], write_low=0.25, **MARKS)
    # Reads nCCDL apart; the last leaves the queue at 39, so that write mode begins at 40.
    assert sent[:4] == [(1, "ACT", 0), (23, "RD", 0), (31, "RD", 0), (39, "RD", 0)]
    assert sent[4:] == [(40, "ACT", 4), (62, "WR", 4), (70, "WR", 4)]


def test_many_writes_go_first_until_the_low_mark() -> None:
    _, sent = run(DDR4, READS + WRITES, write_low=0.25, **MARKS)
    # The first read arrives alone; the rest a tick later begins write mode: ACT nRRDS after. Writes go
    # nCL + nBL + 2 - nCWL = 12 after the read, then nCCDL apart, until none is left at 51; reads follow after
    # nCWL + nBL + nWTRS = 24.
    assert sent[:3] == [(1, "ACT", 0), (5, "ACT", 4), (23, "RD", 0)]
    assert sent[3:] == [(35, "WR", 4), (43, "WR", 4), (51, "WR", 4), (75, "RD", 0), (83, "RD", 0)]


def test_a_higher_low_mark_ends_write_mode_sooner() -> None:
    _, sent = run(DDR4, READS + WRITES, write_low=0.45, **MARKS)
    # One write is left after 43: reads 24 later, and that write 12 after them.
    assert sent[:3] == [(1, "ACT", 0), (5, "ACT", 4), (23, "RD", 0)]
    assert sent[3:] == [(35, "WR", 4), (43, "WR", 4), (67, "RD", 0), (75, "RD", 0), (87, "WR", 4)]


def test_no_precharge_of_a_bank_whose_activated_request_still_waits() -> None:
    _, sent = run(without(DDR4, "tRAS"), [(0, 1, 0, "R"), (0, 2, 0, "R")])
    # nRAS does not hold the precharge back, but it waits for the read: 23 + nRTP = 35. Then nRC: 75.
    assert sent == [(1, "ACT", 0), (23, "RD", 0), (35, "PREpb", 0), (75, "ACT", 0), (97, "RD", 0)]


@pytest.mark.parametrize(("tries", "order"), [(1, (1, 4)), (2, (4, 1))])
def test_activated_requests_are_served_by_age_then_by_activation(tries: int, order: tuple[int, int]) -> None:
    slow = tuple(replace(rule, ticks=40) if rule.name == "tWTR_S" else rule for rule in DDR4.constraints)
    _, sent = run(
        replace(DDR4, constraints=slow), [(0, 1, 0, "W"), (1, 1, 0, "R"), (4, 1, 0, "R")], tries_per_tick=tries
    )
    # Bank 1 waits nRRDL for its ACT and is overtaken by bank 4. All reads wait until 23 + 40. Then bank 1
    # goes first if it arrived a tick before bank 4, or bank 4 if both arrived together.
    assert sent[:4] == [(1, "ACT", 0), (5, "ACT", 4), (9, "ACT", 1), (23, "WR", 0)]
    assert sent[4:] == [(63, "RD", order[0]), (67, "RD", order[1])]


# All together


DEVICES = [load_device(name) for name in ("DDR4-3200", "DDR5-4800", "LPDDR5-6400", "HBM2-2000", "HBM3-6400")]


@settings(max_examples=40, deadline=None)
@given(
    device=st.sampled_from(DEVICES),
    scheduler=st.sampled_from(SCHEDULERS),
    page=st.sampled_from(PAGE_POLICIES),
    refresh=st.sampled_from(REFRESHES),
    interval=st.sampled_from((0, 3, 150)),
    pull_in=st.integers(0, 2),
    seed=st.integers(0, 1000),
)
def test_every_request_is_served_once(
    device: Device, scheduler: str, page: str, refresh: str, interval: int, pull_in: int, seed: int
) -> None:
    if refresh == "per-bank" and not device.has_bank_refresh:
        refresh = "none"
    rng, count = np.random.default_rng(seed), 60
    requests = Requests(
        rng.integers(0, device.banks, count),
        rng.integers(0, 3, count),
        rng.integers(0, 4, count),
        rng.random(count) < 0.4,
    )
    controller = Controller(
        scheduler=scheduler,
        page=page,
        refresh=refresh,
        pull_in=pull_in if refresh == "all-bank" else 0,
        interval_ticks=interval,
        timeout_ticks=40,
        tries_per_tick=2,
    )
    outcome, log = run_channel(device, controller, requests)
    with patch("simulator.memory.dram.twin._next_tick", lambda channel: channel.clk + 1):
        every_tick, full_log = run_channel(device, controller, requests)
    assert every_tick == outcome  # the ticks jumped over were idle
    assert np.array_equal(full_log.tick, log.tick)
    assert outcome.writes == np.count_nonzero(requests.write)
    assert outcome.reads + outcome.writes == count
    reached = outcome.hits + outcome.misses + outcome.conflicts
    assert reached + outcome.forwarded + outcome.merged == count
    named = dict(zip(COMMANDS, outcome.commands, strict=True))
    assert named["RD"] + named["RDA"] == outcome.reads - outcome.forwarded
    assert named["WR"] + named["WRA"] == outcome.writes - outcome.merged
    assert sum(outcome.commands) == len(log)
    assert np.all(np.diff(log.tick) >= (0 if len(device.buses) > 1 else 1))
    assert 0 <= outcome.open_ticks <= outcome.drained_ticks * device.shape[0]
