"""Which request goes first, and when rows close: command sequences worked out by hand for DDR4-3200.

nRCD 22, nRAS 52, nRP 22, nRC 74, nRTP 12, nCCDL 8, nRRDS 4, nRRDL 8, nCWL 16, nBL 4, nWR 24.
"""

from __future__ import annotations

import pytest

from tests.simulator.memory.dram.hand_worked import DDR4, Access, run

# Schedulers


# Two writes in bank 0 hold back an older hit of bank 4 until 48 + nCWL + nBL + nWTRS = 72; a conflict arrives at 68.
HELD_HIT: list[Access] = [(4, 1, 0, "R"), (0, 1, 0, "W"), (0, 1, 1, "W"), (4, 1, 1, "R"), (4, 2, 0, "R")]
HELD_START = [(1, "ACT", 4), (18, "ACT", 0), (23, "RD", 4), (40, "WR", 0), (48, "WR", 0)]


def test_frfcfs_closes_a_row_with_an_older_hit() -> None:
    outcome, sent = run(DDR4, HELD_HIT, interval=17, scheduler="frfcfs")
    # The older request must then open its row again: 69 + 22 = 91, 113; the younger follows 91 + nRAS = 143, 165, 187.
    after = [(69, "PREpb", 4), (91, "ACT", 4), (113, "RD", 4), (143, "PREpb", 4), (165, "ACT", 4), (187, "RD", 4)]
    assert sent == HELD_START + after
    assert (outcome.hits, outcome.misses, outcome.conflicts) == (1, 3, 1)


def test_row_hit_keeps_a_row_for_an_older_hit() -> None:
    outcome, sent = run(DDR4, HELD_HIT, interval=17, scheduler="row-hit")
    # The hit at 72; the precharge nRTP = 12 later.
    assert sent == [*HELD_START, (72, "RD", 4), (84, "PREpb", 4), (106, "ACT", 4), (128, "RD", 4)]
    assert (outcome.hits, outcome.misses, outcome.conflicts) == (2, 2, 1)


def test_fcfs_serves_its_queue_in_order() -> None:
    accesses: list[Access] = [(0, 1, 0, "R"), (0, 2, 0, "R"), (4, 1, 0, "R")]
    _, sent = run(DDR4, accesses, scheduler="fcfs")
    # The third waits until the second is activated at 75, then nRRDS.
    start = [(1, "ACT", 0), (23, "RD", 0), (53, "PREpb", 0), (75, "ACT", 0)]
    assert sent == [*start, (79, "ACT", 4), (97, "RD", 0), (101, "RD", 4)]
    _, sent = run(DDR4, accesses)
    assert sent[1:3] == [(5, "ACT", 4), (23, "RD", 0)]


# A conflict, and three younger hits of the open row.
STARVED: list[Access] = [(0, 1, 0, "R"), (0, 2, 0, "R"), (0, 1, 1, "R"), (0, 1, 2, "R"), (0, 1, 3, "R")]
HITS_FIRST = [
    *[(1, "ACT", 0), (23, "RD", 0), (31, "RD", 0), (39, "RD", 0), (47, "RD", 0)],
    *[(59, "PREpb", 0), (81, "ACT", 0), (103, "RD", 0)],  # 47 + nRTP, + nRP, + nRCD
]


def test_row_hit_serves_younger_hits_while_it_can() -> None:
    outcome, sent = run(DDR4, STARVED)
    assert sent == HITS_FIRST
    assert (outcome.hits, outcome.misses, outcome.conflicts) == (3, 1, 1)


def test_capped_stops_after_the_cap() -> None:
    outcome, sent = run(DDR4, STARVED, scheduler="capped", hit_cap=2)
    # Two columns, then the conflict: PRE at 1 + nRAS = 53, 75, 97; the hits left over at 75 + 52 = 127, 149, 171, 179.
    assert sent[:6] == [(1, "ACT", 0), (23, "RD", 0), (31, "RD", 0), (53, "PREpb", 0), (75, "ACT", 0), (97, "RD", 0)]
    assert sent[6:] == [(127, "PREpb", 0), (149, "ACT", 0), (171, "RD", 0), (179, "RD", 0)]
    assert (outcome.hits, outcome.misses, outcome.conflicts) == (2, 1, 2)


def test_a_batch_is_served_before_hits_outside() -> None:
    _, sent = run(DDR4, STARVED, scheduler="batch")
    # The batch of tick 2 is the conflict alone: no hit until it is served. At 76 the three hits are the next batch.
    assert sent[:5] == [(1, "ACT", 0), (23, "RD", 0), (53, "PREpb", 0), (75, "ACT", 0), (97, "RD", 0)]
    assert sent[5:] == [(127, "PREpb", 0), (149, "ACT", 0), (171, "RD", 0), (179, "RD", 0), (187, "RD", 0)]


def test_hits_inside_the_batch_go_first() -> None:
    _, sent = run(DDR4, STARVED, scheduler="batch", tries_per_tick=5)
    assert sent == HITS_FIRST  # the four that arrive together are the batch of tick 2


# One tick, or one after the other: reads of bank 1 keep its group busy; a conflict of bank 0 and, behind it, a hit.
BUSY_GROUP: list[Access] = [
    (0, 1, 0, "R"),
    *((1, 1, column, "R") for column in range(4)),
    (0, 2, 0, "R"),
    (0, 1, 1, "R"),
]
BUSY_START = [(1, "ACT", 0), (9, "ACT", 1), (23, "RD", 0), (31, "RD", 1), (39, "RD", 1), (47, "RD", 1)]


def test_row_hit_keeps_a_row_for_a_hit_that_arrived_at_the_same_time() -> None:
    _, sent = run(DDR4, BUSY_GROUP, tries_per_tick=8)
    # Columns nCCDL apart, the hit last, at 63; the precharge nRTP later.
    assert sent[:8] == [*BUSY_START, (55, "RD", 1), (63, "RD", 0)]
    assert sent[8:] == [(75, "PREpb", 0), (97, "ACT", 0), (119, "RD", 0)]


def test_row_hit_keeps_no_row_for_a_hit_that_arrived_later() -> None:
    _, sent = run(DDR4, BUSY_GROUP)
    # The precharge at 1 + nRAS, between two reads of bank 1; the hit finds another row: 75 + nRAS = 127.
    assert sent[:8] == [*BUSY_START, (53, "PREpb", 0), (55, "RD", 1)]
    assert sent[8:10] == [(75, "ACT", 0), (97, "RD", 0)]
    assert sent[10:] == [(127, "PREpb", 0), (149, "ACT", 0), (171, "RD", 0)]


def test_the_cap_does_not_hold_when_no_other_row_is_wanted() -> None:
    _, sent = run(DDR4, [(0, 1, column, "R") for column in range(4)], scheduler="capped", hit_cap=1)
    assert sent == [(1, "ACT", 0), (23, "RD", 0), (31, "RD", 0), (39, "RD", 0), (47, "RD", 0)]


def test_the_cap_counts_from_the_activation() -> None:
    _, sent = run(DDR4, [*STARVED[:4], (0, 2, 1, "R")], scheduler="capped", hit_cap=2)
    # Row 2 is opened at 75 for the conflict; its younger hit at 105 is the second column, before row 1 returns at 127.
    assert sent[:5] == [(1, "ACT", 0), (23, "RD", 0), (31, "RD", 0), (53, "PREpb", 0), (75, "ACT", 0)]
    assert sent[5:] == [(97, "RD", 0), (105, "RD", 0), (127, "PREpb", 0), (149, "ACT", 0), (171, "RD", 0)]


def test_hits_count_while_the_oldest_of_the_bank_is_not_in_the_batch() -> None:
    accesses: list[Access] = [(4, 1, 0, "R"), (4, 2, 0, "R"), (0, 1, 0, "R"), (0, 2, 0, "R"), (0, 1, 1, "R")]
    _, sent = run(DDR4, accesses, scheduler="batch")
    # The batch is the second request until its ACT at 75: it does not concern bank 0, where the hit goes at 35.
    assert sent[:5] == [(1, "ACT", 4), (5, "ACT", 0), (23, "RD", 4), (27, "RD", 0), (35, "RD", 0)]
    # Bank 0: PRE at 5 + nRAS, ACT at 57 + nRP = 79.
    assert sent[5:9] == [(53, "PREpb", 4), (57, "PREpb", 0), (75, "ACT", 4), (79, "ACT", 0)]
    assert sent[9:] == [(97, "RD", 4), (101, "RD", 0)]


# Pages


def test_closed_pages_precharge_with_the_column() -> None:
    outcome, sent = run(DDR4, [(0, 1, 0, "R"), (0, 2, 0, "R")], page="closed")
    # The next activation: the later of 1 + nRC = 75 and 23 + nRTP + nRP = 57.
    assert sent == [(1, "ACT", 0), (23, "RDA", 0), (75, "ACT", 0), (97, "RDA", 0)]
    assert (outcome.misses, outcome.conflicts, outcome.open_ticks) == (2, 0, 22 + 22)


def test_closed_pages_wait_for_the_last_of_a_row() -> None:
    _, sent = run(DDR4, [(0, 1, 0, "R"), (0, 1, 1, "R")], page="closed")
    assert sent == [(1, "ACT", 0), (23, "RD", 0), (31, "RDA", 0)]


def test_closed_pages_with_writes() -> None:
    _, sent = run(DDR4, [(0, 1, 0, "W"), (0, 2, 0, "W")], page="closed")
    # The next activation comes nCWL + nBL + nWR + nRP = 66 after 23.
    assert sent == [(1, "ACT", 0), (23, "WRA", 0), (89, "ACT", 0), (111, "WRA", 0)]


@pytest.mark.parametrize(("timeout", "closed_at"), [(100, 123), (10, 53)])
def test_a_timeout_closes_an_idle_row(timeout: int, closed_at: int) -> None:
    outcome, sent = run(DDR4, [(0, 1, 0, "R")] * 2, interval=400, page="timeout", timeout_ticks=timeout)
    # 23 + 100; or, after 23 + 10 has passed, at 1 + nRAS.
    assert sent == [(1, "ACT", 0), (23, "RD", 0), (closed_at, "PREpb", 0), (401, "ACT", 0), (423, "RD", 0)]
    assert (outcome.misses, outcome.conflicts) == (2, 0)


def test_the_longest_idle_row_times_out_first() -> None:
    _, sent = run(DDR4, [(0, 1, 0, "R"), (4, 1, 0, "R"), (8, 1, 0, "R")], interval=38, page="timeout", timeout_ticks=10)
    # Bank 0: last used at 23, closed at 53. Bank 4: opened at 39, read at 61, closed at 39 + nRAS = 91. Bank 8: 77, 99.
    start = [(1, "ACT", 0), (23, "RD", 0), (39, "ACT", 4), (53, "PREpb", 0), (61, "RD", 4)]
    assert sent == [*start, (77, "ACT", 8), (91, "PREpb", 4), (99, "RD", 8)]


def test_an_adaptive_timeout_doubles_on_a_reopened_row_and_halves_on_a_conflict() -> None:
    rows = (1, 1, 2, 2, 3, 3, 3)
    accesses: list[Access] = [(0, row, 0, "R") for row in rows]
    _, sent = run(DDR4, accesses, interval=400, page="adaptive", timeout_ticks=100)
    assert [tick for tick, command, _ in sent if command == "PREpb"] == [
        123,  # 23 + 100
        623,  # row 1 reopened at 401: 423 + 200
        1023,  # row 2 at 801 is another row: 823 + 200
        1601,  # row 2 reopened at 1201: 1223 + 400 is after the conflict of row 3
        1845,  # which halved it: 1645 + 200
    ]
    # Row 3 reopened at 2001: 2023 + 400 is after the last request, a hit.
    assert [tick for tick, command, _ in sent if command == "RD"] == [23, 423, 823, 1223, 1645, 2023, 2401]


def test_an_adaptive_timeout_halves_down_to_a_sixteenth() -> None:
    accesses: list[Access] = [(0, row, 0, "R") for row in range(7)]
    outcome, sent = run(DDR4, accesses, interval=140, page="adaptive", timeout_ticks=1600)
    # Each conflict comes 96 ticks after the last read, 44 after the conflict before: 800, 400, 200, then 100 for good.
    assert [tick for tick, command, _ in sent if command == "PREpb"] == [141, 281, 421, 561, 701, 841]
    assert (outcome.misses, outcome.conflicts) == (1, 6)


def test_an_adaptive_timeout_doubles_up_to_sixteen_times() -> None:
    outcome, sent = run(DDR4, [(0, 1, 0, "R")] * 7, interval=2000, page="adaptive", timeout_ticks=100)
    # Read at 2000 k + 23, closed 100, 200, 400, 800, 1600 and again 1600 later.
    assert [tick for tick, command, _ in sent if command == "PREpb"] == [123, 2223, 4423, 6823, 9623, 11623]
    assert outcome.misses == 7


def test_of_two_rows_the_longer_idle_times_out_first() -> None:
    accesses: list[Access] = [(4, 1, 0, "W"), (0, 1, 0, "R"), (8, 1, 0, "R"), (8, 2, 0, "R")]
    _, sent = run(DDR4, accesses, interval=14, page="timeout", timeout_ticks=20)
    # Bank 4, last used at 23, can close from 23 + nCWL + nBL + nWR = 67 on; bank 0, last used at 23 + 24 = 47, from
    # 15 + nRAS = 47 + 20 = 67. The conflict of bank 8 is at 29 + nRAS.
    start = [(1, "ACT", 4), (15, "ACT", 0), (23, "WR", 4), (29, "ACT", 8), (47, "RD", 0), (51, "RD", 8)]
    assert sent == [*start, (67, "PREpb", 4), (68, "PREpb", 0), (81, "PREpb", 8), (103, "ACT", 8), (125, "RD", 8)]


def test_an_activation_in_between_makes_the_adaptive_timeout_forget_a_row() -> None:
    banks_and_rows = [(0, 1), (8, 5), (8, 5), (0, 2), (0, 1), (8, 5), (8, 5)]
    accesses: list[Access] = [(bank, row, 0, "R") for bank, row in banks_and_rows]
    _, sent = run(DDR4, accesses, interval=60, page="adaptive", timeout_ticks=100)
    # Row 1 closed at 23 + 100; row 2 opened at 181; the conflict at 241 halves the time and opens row 1 at 263,
    # which does not double it: read at 285, closed at 285 + 50.
    assert [tick for tick, command, bank in sent if (command, bank) == ("PREpb", 0)] == [123, 241, 335]


def test_no_timeout_while_a_refresh_waits() -> None:
    accesses: list[Access] = [(0, 1, 0, "R")] * 29 + [(4, 1, 0, "R"), (0, 1, 0, "R")]
    _, sent = run(DDR4, accesses, interval=430, page="timeout", timeout_ticks=450, refresh="all-bank")
    # Bank 0, last used at 28 * 430 + 1 = 12041, would close at 12491, but the refresh of 12480 waits for bank 4: PREab
    # at 12471 + nRAS, REFab nRP later, ACT after nRFC.
    assert sent[30:32] == [(12471, "ACT", 4), (12493, "RD", 4)]
    assert sent[32:] == [(12523, "PREab", -1), (12545, "REFab", -1), (13121, "ACT", 0), (13143, "RD", 0)]
