"""What LPDDR5, HBM2 and HBM3 do differently: command sequences worked out by hand."""

from __future__ import annotations

from dataclasses import replace

import pytest

from simulator.memory.dram.device import Device
from tests.simulator.memory.dram.hand_worked import HBM2, HBM3, LPDDR5, Access, Sent, run, without

# LPDDR5: nRCD 15, nRRDS 4, nCCDS 2, nCCDL 4; the data clock runs nCL 17 + nBL 2 + nWCKPST 1 = 20 ticks after a read


def test_lpddr5_opens_in_two_steps_and_starts_the_data_clock() -> None:
    outcome, sent = run(LPDDR5, [(0, 1, 0, "R"), (0, 1, 1, "R"), (0, 1, 2, "R")], interval=14)
    # RD is legal at 1 + nRCD = 16, where CAS goes. The clock then runs until 17 + 20: the hit of tick 15 follows nCCDL
    # after, the hit of tick 29 at once.
    assert sent == [(1, "ACT", 0), (2, "ACT2", 0), (16, "CAS_RD", 0), (17, "RD", 0), (21, "RD", 0), (29, "RD", 0)]
    assert outcome.drained_ticks == 29 + 17 + 2
    assert (outcome.misses, outcome.hits) == (1, 2)


@pytest.mark.parametrize(
    ("interval", "second"),
    [(35, [(36, "RD", 0)]), (36, [(37, "CAS_RD", 0), (38, "RD", 0)])],
    ids=["running", "stopped"],
)
def test_lpddr5_starts_the_clock_again_when_it_has_stopped(interval: int, second: Sent) -> None:
    _, sent = run(LPDDR5, [(0, 1, 0, "R"), (0, 1, 1, "R")], interval=interval)
    assert sent[4:] == second  # the clock runs until 17 + 20 = 37


def test_lpddr5_begins_one_activation_at_a_time() -> None:
    _, sent = run(LPDDR5, [(0, 1, 0, "R"), (4, 1, 0, "R")])
    # The second ACT1 waits for nRRDS; its read for nRCD, 5 + 15 = 20.
    assert sent[:4] == [(1, "ACT", 0), (2, "ACT2", 0), (5, "ACT", 4), (6, "ACT2", 4)]
    assert sent[4:] == [(16, "CAS_RD", 0), (17, "RD", 0), (20, "RD", 4)]


@pytest.mark.parametrize(
    ("within", "middle"),
    [
        (8, [(16, "CAS_RD", 0), (17, "RD", 0), (18, "ACT2", 4)]),  # nothing else at 18
        (3, [(16, "CAS_RD", 0), (17, "RD", 0), (18, "ACT2", 4)]),  # its deadline
        (2, [(16, "ACT2", 4), (17, "CAS_RD", 0), (18, "RD", 0)]),  # CAS and RD would pass the deadline 17
        (1, [(16, "ACT2", 4), (17, "CAS_RD", 0), (18, "RD", 0)]),  # its deadline
    ],
)
def test_lpddr5_second_activation_meets_its_deadline(within: int, middle: Sent) -> None:
    device = replace(LPDDR5, second_activate_within=within)
    _, sent = run(device, [(0, 1, 0, "R"), (4, 1, 0, "R")], interval=14)
    # ACT1 of bank 4 at 15, when the read of bank 0 is about to become legal. Bank 4 is read at 15 + nRCD.
    assert sent == [(1, "ACT", 0), (2, "ACT2", 0), (15, "ACT", 4), *middle, (30, "RD", 4)]


def test_lpddr5_sends_no_first_step_while_a_second_is_pending() -> None:
    _, sent = run(without(LPDDR5, "tRRD_S", "tRRD_L"), [(0, 1, 0, "R"), (4, 1, 0, "R")])
    # ACT1 of bank 4 would be legal at 2. Its read: nRCD after 3 is 18, nCCDS after 17 is 19.
    assert sent[:4] == [(1, "ACT", 0), (2, "ACT2", 0), (3, "ACT", 4), (4, "ACT2", 4)]
    assert sent[4:] == [(16, "CAS_RD", 0), (17, "RD", 0), (19, "RD", 4)]


@pytest.mark.parametrize(
    ("within", "middle"),
    [
        (8, [(25, "RD", 0), (26, "ACT2", 4), (29, "RD", 0)]),
        (1, [(25, "ACT2", 4), (26, "RD", 0), (30, "RD", 0)]),
    ],
)
def test_lpddr5_second_activation_goes_before_hits_at_its_deadline(within: int, middle: Sent) -> None:
    accesses: list[Access] = [(0, 1, column, "R") for column in range(23)] + [(4, 1, 0, "R")]
    _, sent = run(replace(LPDDR5, second_activate_within=within), accesses, interval=1)
    # Hits nCCDL = 4 apart from 17 on; the request of bank 4 arrives at tick 24, where none is legal.
    assert sent[2:6] == [(16, "CAS_RD", 0), (17, "RD", 0), (21, "RD", 0), (24, "ACT", 4)]
    assert sent[6:9] == middle


# HBM2: an activation takes two ticks, so nRCDRD 14 is 15 from its first


def test_hbm2_sends_on_both_buses_in_a_tick() -> None:
    _, sent = run(HBM2, [(0, 1, 0, "R"), (16, 1, 0, "R")], interval=15)
    assert sent == [(1, "ACT", 0), (16, "RD", 0), (16, "ACT", 16), (31, "RD", 16)]


def test_hbm2_buses_are_shared_by_the_pseudo_channels() -> None:
    _, sent = run(HBM2, [(0, 1, 0, "R"), (16, 1, 0, "R"), (0, 1, 1, "R"), (16, 1, 1, "R")])
    # The row bus is free again at 3. Columns of a group are nCCDL = 4 apart; each pseudo-channel has its data bus.
    assert sent == [(1, "ACT", 0), (3, "ACT", 16), (16, "RD", 0), (18, "RD", 16), (20, "RD", 0), (22, "RD", 16)]


# HBM3: half clocks. An activation takes three ticks, a column command two, a precharge one. From first tick to first,
# nRCDRD 62 is 62 + 2 - 1 = 63, nRAS 90 is 92, nRTP 18 is 19, nRP 52 before ACT is 50, nRFC 1120 before ACT 1118. nRC is
# 144, nCCDL 8.


def test_hbm3_commands_start_on_odd_ticks() -> None:
    _, sent = run(HBM3, [(0, 1, 0, "R"), (0, 2, 0, "R")])
    # RD: 1 + 63 = 64, so 65. PRE: max(1 + 92, 65 + 19) = 93. ACT: max(93 + 50, 1 + 144) = 145. RD: 208, so 209.
    assert sent == [(1, "ACT", 0), (65, "RD", 0), (93, "PREpb", 0), (145, "ACT", 0), (209, "RD", 0)]


def test_hbm3_precharges_start_on_even_ticks_too() -> None:
    _, sent = run(HBM3, [(0, 1, 0, "R"), (0, 1, 1, "R"), (0, 1, 2, "R"), (0, 2, 0, "R")])
    # PRE: 81 + 19 = 100. ACT: 150, so 151. RD: 151 + 63 = 214, so 215.
    assert sent[1:4] == [(65, "RD", 0), (73, "RD", 0), (81, "RD", 0)]
    assert sent[4:] == [(100, "PREpb", 0), (151, "ACT", 0), (215, "RD", 0)]


WITHOUT_PPD = without(HBM3, "tPPD")


@pytest.mark.parametrize(
    ("device", "bank", "all_at", "refreshed_at", "other_at"),
    [
        (HBM3, 0, 12483, 12535, 12537),  # nPPD = 4 after the other precharge; REFab nRP = 52 later
        (WITHOUT_PPD, 0, 12481, 12533, 12535),  # 12480 is paired with 12479 in this pseudo-channel
        (WITHOUT_PPD, 32, 12480, 12533, 12535),  # the other pseudo-channel may; REFab at 12532, so 12533
    ],
)
def test_hbm3_paired_precharge(device: Device, bank: int, all_at: int, refreshed_at: int, other_at: int) -> None:
    accesses: list[Access] = [(bank, 1, 0, "R"), (4, 1, 0, "R"), (bank, 2, 0, "R")]
    _, sent = run(device, accesses, interval=6239, refresh="all-bank")
    # Tick 6240 is even: bank 4 is activated at 6241 and read at 6304, so 6305. The conflict at 12479 comes a tick
    # before the refresh, which precharges all banks of the first pseudo-channel because of bank 4.
    start = [(1, "ACT", bank), (65, "RD", bank), (6241, "ACT", 4), (6305, "RD", 4), (12479, "PREpb", bank)]
    assert sent[:6] == [*start, (all_at, "PREab", -1)]
    assert sent[6:8] == [(refreshed_at, "REFab", -1), (other_at, "REFab", -1)]
    # nRFC after the refresh of its own pseudo-channel; RD 63 later is even.
    activated = (refreshed_at if bank == 0 else other_at) + 1118
    assert sent[8:] == [(activated, "ACT", bank), (activated + 64, "RD", bank)]
