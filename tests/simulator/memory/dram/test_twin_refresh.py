"""When refreshes go, and what waits for them: command sequences worked out by hand."""

from __future__ import annotations

import pytest

from simulator.memory.dram.device import Device
from simulator.memory.dram.devices import load_device
from tests.simulator.memory.dram.hand_worked import DDR4, HBM2, LPDDR5, Access, run, without
from workloads.errors import InputError

# Refresh: nREFI 12480, nRFC 576


def test_a_refresh_precharges_all_banks_first() -> None:
    outcome, sent = run(DDR4, [(0, 1, 0, "R")] * 2, interval=12480, refresh="all-bank")
    # PREab when it falls due; REFab nRP = 22 later; the request of 12480 is activated nRFC after that.
    assert sent[2:] == [(12480, "PREab", -1), (12502, "REFab", -1), (13078, "ACT", 0), (13100, "RD", 0)]
    assert outcome.open_ticks == (12480 - 1) + (13126 - 13078)
    assert outcome.read_latency_ticks == 49 + (13126 - 12480)
    assert outcome.misses == 2


def test_a_refresh_of_closed_banks_needs_no_precharge() -> None:
    _, sent = run(DDR4, [(0, 1, 0, "R")] * 2, interval=12480, refresh="all-bank", page="closed")
    assert sent[2:] == [(12480, "REFab", -1), (13056, "ACT", 0), (13078, "RDA", 0)]


def test_a_refresh_waits_for_activated_requests() -> None:
    _, sent = run(DDR4, [(0, 1, 0, "R"), (4, 1, 0, "R"), (0, 1, 0, "R")], interval=12478, refresh="all-bank")
    # Bank 4 is activated at 12479 and read at 12501; PREab at 12479 + nRAS, REFab at + nRP. The third comes at 24957.
    assert sent[2:6] == [(12479, "ACT", 4), (12501, "RD", 4), (12531, "PREab", -1), (12553, "REFab", -1)]
    assert sent[6:] == [(24957, "ACT", 0), (24979, "RD", 0)]


def test_every_rank_is_refreshed() -> None:
    device = load_device("DDR4-3200", ranks=2)
    _, sent = run(device, [(16, 1, 0, "R"), (0, 1, 0, "R")], interval=12480, refresh="all-bank")
    # Rank 0 is closed: REFab at once; rank 1 has a row open. The request of rank 0: 12480 + nRFC.
    refresh = [(12480, "REFab", -1), (12481, "PREab", -1), (12503, "REFab", -1)]
    assert sent[2:] == [*refresh, (13056, "ACT", 0), (13078, "RD", 0)]


HITS: list[Access] = [(0, 1, 0, "R"), (0, 1, 1, "R"), (0, 1, 2, "R")]  # offered at 0, 12479 and 24958


def test_a_due_refresh_goes_before_a_waiting_hit() -> None:
    _, sent = run(DDR4, HITS, interval=12479, refresh="all-bank")
    refresh = [(12480, "PREab", -1), (12502, "REFab", -1)]
    assert sent[2:] == [*refresh, (13078, "ACT", 0), (13100, "RD", 0), (24959, "RD", 0)]


def test_a_postponed_refresh_lets_the_hit_go_and_uses_the_idle_time() -> None:
    _, sent = run(DDR4, HITS, interval=12479, refresh="all-bank", postpone=1)
    # RD at 12480; PREab nRTP = 12 later, REFab nRP after. At 24960 one is owed again, no more than postpone.
    refresh = [(12492, "PREab", -1), (12514, "REFab", -1)]
    assert sent[2:] == [(12480, "RD", 0), *refresh, (24959, "ACT", 0), (24981, "RD", 0)]


def test_a_refresh_is_pulled_in_when_idle() -> None:
    _, sent = run(DDR4, [(0, 1, 0, "R")] * 2, interval=400, refresh="all-bank", pull_in=1)
    # Idle from tick 24: PREab at 1 + nRAS, REFab at + nRP; the next request waits nRFC: 75 + 576.
    assert sent[2:] == [(53, "PREab", -1), (75, "REFab", -1), (651, "ACT", 0), (673, "RD", 0)]


def test_per_bank_refresh_takes_the_banks_in_turn() -> None:
    _, sent = run(HBM2, [(0, 1, 0, "R"), (0, 2, 0, "R"), (1, 1, 0, "R")], interval=300, refresh="per-bank")
    # Every floor(3900 / 16) = 243 ticks: bank 0 is open, so PREpb, nRP = 14, REFpb; then bank 16 of the other
    # pseudo-channel. ACT takes 2 ticks and counts from its last: 257 + nRFCpb 160 - 1 = 416; RD 416 + nRCDRD 14 + 1.
    refresh = [(243, "PREpb", 0), (257, "REFpb", 0), (258, "REFpb", 16)]
    assert sent[:7] == [(1, "ACT", 0), (16, "RD", 0), *refresh, (416, "ACT", 0), (431, "RD", 0)]
    # At 486 banks 1 and 17. The request of 600 to bank 1: 486 + 160 - 1 = 645, 660.
    assert sent[7:] == [(486, "REFpb", 1), (487, "REFpb", 17), (645, "ACT", 1), (660, "RD", 1)]


def test_per_bank_refresh_needs_a_standard_that_has_it() -> None:
    with pytest.raises(InputError, match="no per-bank refresh"):
        run(DDR4, [(0, 1, 0, "R")], refresh="per-bank")


def test_a_refresh_does_not_precharge_below_an_activated_request() -> None:
    accesses: list[Access] = [(0, 1, 0, "R"), (4, 1, 0, "R"), (0, 1, 0, "R")]
    _, sent = run(without(DDR4, "tRAS all"), accesses, interval=12478, refresh="all-bank")
    # nRAS does not hold PREab back, but it waits for the read: 12501 + nRTP. REFab: 12479 + nRC.
    assert sent[2:6] == [(12479, "ACT", 4), (12501, "RD", 4), (12513, "PREab", -1), (12553, "REFab", -1)]


def test_a_refresh_does_not_precharge_between_two_steps_of_an_activation() -> None:
    accesses: list[Access] = [(0, 1, 0, "R"), (4, 1, 0, "R"), (0, 1, 0, "R")]
    _, sent = run(without(LPDDR5, "tRAS all"), accesses, interval=3123, refresh="all-bank")
    # Due at 3125, after the ACT1 of 3124. RD at 3124 + nRCD 15 + CAS; PREab nRTP 8 later; REFab at 3124 + nRC 49.
    assert sent[4:8] == [(3124, "ACT", 4), (3125, "ACT2", 4), (3139, "CAS_RD", 4), (3140, "RD", 4)]
    assert sent[8:10] == [(3148, "PREab", -1), (3173, "REFab", -1)]


@pytest.mark.parametrize(
    ("device", "interval", "count", "expected"),
    [
        # Requests 40 apart: the conflict of 12440 opens its row at 12463, so PREab is legal at 12515. The hit of 12480
        # waits for the refresh, nRP 22 and nRFC 576 later.
        (DDR4, 40, 311, [(12441, 12463, 12485), (12515, 12537), (13113, 13135)]),
        # 30 apart: conflict at 3870, ACT nRP - 1 = 13 later, RD nRCDRD + 1 = 15 later. PREab at 3884 + nRAS 34 + 1,
        # REFab nRP 14 later, then that of the other pseudo-channel; ACT after nRFC 350 - 1.
        (HBM2, 30, 129, [(3871, 3884, 3899), (3919, 3933, 3934), (4282, 4297)]),
    ],
    ids=["DDR4", "HBM2"],
)
def test_hits_wait_behind_a_refresh(device: Device, interval: int, count: int, expected: list[tuple[int, ...]]) -> None:
    accesses: list[Access] = [(0, 1, 0, "R")] * count + [(0, 2, 0, "R"), (0, 2, 1, "R")]
    _, sent = run(device, accesses, interval=interval, refresh="all-bank")
    names = [("PREpb", "ACT", "RD"), ("PREab", "REFab", "REFab"), ("ACT", "RD")]
    pairs = [pair for part, ticks in zip(names, expected, strict=True) for pair in zip(ticks, part, strict=False)]
    assert [(tick, command) for tick, command, _ in sent[count + 1 :]] == pairs
