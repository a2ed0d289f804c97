"""What one channel must take, worked out by hand: no number here comes from a run.

Ticks are those of the device. A command that takes n ticks shifts what the standard counts from last cycle to last
cycle: ticks(a to b) = nominal + (n_a - 1) - (n_b - 1). DDR5: ACT, RD and WR take 2; HBM2: ACT 2; HBM3: ACT 3, RD and
WR 2, and everything but a precharge starts on odd ticks; LPDDR5: a CAS takes the tick before a column command when the
data clock has stopped. A request that arrives at time t can have its first command at t + 1.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from simulator.memory.dram.controller import Controller
from simulator.memory.dram.device import Device
from simulator.memory.dram.devices import load_device
from simulator.memory.dram.kernel import run_channel
from simulator.memory.dram.outcome import CommandLog
from simulator.memory.dram.requests import Requests
from simulator.memory.dram.tables import ACT, COMMANDS, PRE, RD, WR


@dataclass(frozen=True)
class Expected:
    """Ticks of one device.

    ``closed``, ``hit`` and ``conflict``: latency of a lone read. ``row_cycle``: one bank, another row each time.
    ``same_group``: from read to read there. ``turn``: from read to write, and back in the same and in another group.
    """

    closed: int
    hit: int
    conflict: int
    row_cycle: int
    burst: int
    same_group: int
    turn: tuple[int, int, int]


# DDR4: nRCD 22, nCL + nBL 26, nRP 22. Turn: 22 + 4 + 2 - 16; 16 + 4 + 12; 16 + 4 + 4.
# DDR5: nRCD 34 (2 ticks both), 34 + 8, nRP 34 - 1. Turn: 34 + 8 + 4 - 32; 32 + 8 + 24; 32 + 8 + 6.
# LPDDR5: nRCD 15, CAS 1, 17 + 2, nRP 15. Turn: 17 + 2 + 2 - 9; 9 + 4 + 10 and 9 + 2 + 5, and a CAS: the data clock ran
# out 12 ticks after the write.
# HBM2: nRCDRD 14 + 1, 14 + 2, nRP 14 - 1. Turn: 14 + 2 + 2 - 5; 5 + 2 + 8; 5 + 2 + 6.
# HBM3: ACT at 1, nRCDRD 62 + 2 - 1 is tick 64, so the read at 65, 40 + 4; PRE at 1, nRP 52 - 2: ACT at 51, read at 115.
# Its turn: nRTW 40; 20 + 4 + 20; 20 + 4 + 14.
# GDDR6: nRCDRD 26, 24 + 2, nRP 26. Turn: 24 + 1; 6 + 2 + 11; 6 + 2 + 9.
EXPECTED = {
    "DDR4-3200": Expected(1 + 22 + 26, 1 + 26, 1 + 22 + 22 + 26, 74, 4, 8, (12, 32, 24)),
    "DDR5-4800": Expected(1 + 34 + 42, 1 + 42, 1 + 33 + 34 + 42, 111, 8, 12, (14, 64, 46)),
    "LPDDR5-6400": Expected(1 + 15 + 1 + 19, 1 + 1 + 19, 1 + 15 + 15 + 1 + 19, 49, 2, 4, (12, 24, 17)),
    "HBM2-2000": Expected(1 + 15 + 16, 1 + 16, 1 + 13 + 15 + 16, 48, 2, 4, (13, 15, 13)),
    "HBM3-6400": Expected(65 + 44, 1 + 44, 115 + 44, 144, 4, 8, (40, 44, 38)),
    "GDDR6-14000": Expected(1 + 26 + 26, 1 + 26, 1 + 26 + 26 + 26, 79, 2, 4, (25, 19, 17)),
}
# nRFC and nREFI, and the share of time that all-bank refresh leaves.
REFRESH = {
    "DDR4-3200": (576, 12480, 0.9538),
    "DDR5-4800": (710, 9375, 0.9243),
    "LPDDR5-6400": (168, 3125, 0.9462),
    "HBM2-2000": (350, 3900, 0.9103),
    "HBM3-6400": (1120, 12480, 0.9103),
    "GDDR6-14000": (315, 3333, 0.9055),
}
devices = pytest.mark.parametrize("name", EXPECTED)


def requests(bank: list[int], row: list[int], column: list[int], write: list[bool] | None = None) -> Requests:
    arrays = (np.array(values, dtype=np.int64) for values in (bank, row, column))
    return Requests(*arrays, np.array(write or [False] * len(bank), dtype=np.bool_))


def ticks_of(log: CommandLog, command: int) -> NDArray[np.int64]:
    return log.tick[log.command == command]


def groups_in_turn(device: Device, count: int, *, ranks: int = 1) -> list[int]:
    """Banks of consecutive requests: the rank changes fastest, then the group, then the bank."""
    _, stacks, groups, banks = device.shape
    per_rank = stacks * groups * banks
    out = []
    for i in range(count):
        rank, rest = i % ranks, i // ranks
        group, bank = rest % groups, rest // groups % banks
        out.append(rank * per_rank + group * banks + bank)
    return out


@devices
def test_a_lone_read(name: str) -> None:
    """Bank closed, row open, another row open: one request per 1000 ticks."""
    device, expected = load_device(name), EXPECTED[name]
    controller = Controller(refresh="none", interval_ticks=1000)
    sums = [
        run_channel(device, controller, requests([3] * n, [7, 7, 8][:n], [0, 5, 5][:n]))[0].read_latency_ticks
        for n in (1, 2, 3)
    ]
    assert sums == list(np.cumsum([expected.closed, expected.hit, expected.conflict]))


@devices
def test_one_bank_and_a_new_row_each_time(name: str) -> None:
    """A row cycle per request: the last of n arrives at its data (n - 1) row cycles after the first."""
    device, expected, count = load_device(name), EXPECTED[name], 200
    outcome, log = run_channel(
        device, Controller(refresh="none"), requests([1] * count, list(range(count)), [0] * count)
    )
    assert set(np.diff(ticks_of(log, ACT))) == {expected.row_cycle}
    assert outcome.drained_ticks == expected.closed + (count - 1) * expected.row_cycle
    assert (outcome.hits, outcome.misses, outcome.conflicts) == (0, 1, count - 1)


@devices
def test_one_bank_with_refresh(name: str) -> None:
    """Every refresh costs exactly nRFC more: its bank is precharged just when the row cycle ends anyway.

    So n requests take n row cycles and R nRFC with R = ticks / nREFI, but for the refresh at hand at either end:
    n nRC / (1 - nRFC / nREFI) within one refresh and two row cycles. That is 77.58 ticks per request on DDR4, 52.74 on
    HBM2 and 158.2 on HBM3.
    """
    device, cycle, count = load_device(name), EXPECTED[name].row_cycle, 3000
    lost, interval, _ = REFRESH[name]
    outcome, _ = run_channel(device, Controller(), requests([1] * count, list(range(count)), [0] * count))
    share = 1 - lost / interval
    assert outcome.drained_ticks == pytest.approx(count * cycle / share, abs=lost / share + 2 * cycle)
    last, refreshed = 1, 0  # the activation of the first request, and refreshes so far
    for _ in range(count - 1):
        due = last + cycle >= (refreshed + 1) * interval
        refreshed += due
        last += cycle + due * lost
    assert outcome.drained_ticks == last - 1 + EXPECTED[name].closed
    per_request = {"DDR4-3200": 77.58, "HBM2-2000": 52.74, "HBM3-6400": 158.2}
    if name in per_request:
        assert cycle / share == pytest.approx(per_request[name], abs=0.05)


@pytest.mark.parametrize(
    ("name", "window", "bytes_per_s"),
    [
        # 4 B / nFAW: 256 B in 34 ticks of 0.625 ns, in 48 of 0.416 ns; per pseudo-channel 128 B in 48 of 0.312 ns
        ("DDR4-3200", 34, 12.05e9),
        ("DDR5-4800", 48, 12.82e9),
        ("HBM3-6400", 48, 8.547e9),
        ("GDDR6-14000", 28, 8.0e9),  # 128 B in 28 ticks of 0.5714 ns
    ],
)
def test_four_activations_per_window(name: str, window: int, bytes_per_s: float) -> None:
    """No hits, groups in turn: 4 nRRDS is below nFAW (at it on GDDR6), banks come again after more than nRC.

    Requests are offered a little faster than that, so that the first activations already lie apart.
    """
    device, count = load_device(name), 2000
    bank = groups_in_turn(device, count)
    controller = Controller(refresh="none", interval_ticks=(window - 1) // 4)
    _, log = run_channel(device, controller, requests(bank, list(range(count)), [0] * count))
    activations = ticks_of(log, ACT)[count // 2 :]
    assert set(activations[4:] - activations[:-4]) == {window}
    assert 4 * device.burst_bytes / (window * device.tick_s) == pytest.approx(bytes_per_s, rel=2e-3)


def test_reads_on_the_command_bus_of_ddr4_delay_activations() -> None:
    """Offered at once, four activations follow each other nRRDS = 4 apart: 1, 5, 9, 13.

    The window lets the fifth go at 1 + 34 = 35, where the read of the fourth has the bus: 13 + 22 = 35. So it goes at
    36, and the three behind it 4 apart again: every round takes 35.
    """
    device, count = load_device("DDR4-3200"), 400
    bank = groups_in_turn(device, count)
    _, log = run_channel(device, Controller(refresh="none"), requests(bank, list(range(count)), [0] * count))
    activations = ticks_of(log, ACT)
    assert activations[:6].tolist() == [1, 5, 9, 13, 36, 40]
    assert set(activations[4:] - activations[:-4]) == {35}


def test_activations_one_by_one_in_a_pseudo_channel_of_hbm2() -> None:
    """There 4 nRRDS = 16 is above nFAW = 15: one activation every 4 ticks."""
    device, count = load_device("HBM2-2000"), 2000
    bank = groups_in_turn(device, count)
    _, log = run_channel(device, Controller(refresh="none"), requests(bank, list(range(count)), [0] * count))
    assert set(np.diff(ticks_of(log, ACT)[count // 2 :])) == {4}


def test_the_row_bus_of_hbm2() -> None:
    """Both pseudo-channels, no hits: ACT takes 2 ticks of the row bus and PRE 1, so 3 per request, 33.3 % of the peak.

    The bus is hardly ever free. Which of the two it carries may bunch: by up to 16, half the banks.
    """
    device, count = load_device("HBM2-2000"), 4000
    bank = groups_in_turn(device, count, ranks=2)
    outcome, log = run_channel(
        device, Controller(refresh="none"), requests(bank, [i // 32 for i in range(count)], [0] * count)
    )
    activations = ticks_of(log, ACT)[count // 2 :]
    ticks = activations[-1] - activations[0]
    assert ticks == pytest.approx(3 * (len(activations) - 1), abs=16)
    share = device.burst_bytes * (len(activations) - 1) / (ticks * device.tick_s) / device.peak_bytes_per_s
    assert share == pytest.approx(1 / 3, rel=5e-3)
    assert outcome.hits == 0
    between = (log.tick >= activations[0]) & (log.tick < activations[-1])
    busy = 2 * np.sum(log.command[between] == ACT) + np.sum(log.command[between] == PRE)
    assert 0.995 * ticks < busy <= ticks


@devices
def test_bank_groups_in_turn_and_one_alone(name: str) -> None:
    """Open rows: a burst after the other over groups, which is the peak; nCCDL apart within one group."""
    device, expected, count = load_device(name), EXPECTED[name], 2000
    ranks = device.data_buses
    column = [i // 64 % device.bursts_per_row for i in range(count)]
    controller = Controller(refresh="none", tries_per_tick=2)
    _, log = run_channel(device, controller, requests(groups_in_turn(device, count, ranks=ranks), [0] * count, column))
    reads = ticks_of(log, RD)[count // 2 :]
    assert set(reads[ranks:] - reads[:-ranks]) == {expected.burst}
    rate = ranks * device.burst_bytes / (expected.burst * device.tick_s)
    assert rate == pytest.approx(device.peak_bytes_per_s, rel=0.01)  # ticks are rounded: 0.416 ns for 1 / 2.4 GHz

    _, log = run_channel(device, controller, requests([0] * count, [0] * count, column))
    assert set(np.diff(ticks_of(log, RD)[count // 2 :])) == {expected.same_group}


@devices
def test_what_refresh_leaves(name: str) -> None:
    """Open rows over all groups: the peak but for nRFC per nREFI, and the way into a refresh and out of it.

    That way is at most a row cycle: from the last read nRTP and nRP (less than nRAS and nRP) to the refresh, and nRCD
    and the stagger of the first activations behind it (less than nRC).
    """
    device, expected, count = load_device(name), EXPECTED[name], 60_000
    lost, interval, ceiling = REFRESH[name]
    ranks = device.data_buses
    bank = groups_in_turn(device, count, ranks=ranks)
    column = [i // 64 % device.bursts_per_row for i in range(count)]
    outcome, _ = run_channel(device, Controller(tries_per_tick=2), requests(bank, [0] * count, column))
    assert 1 - lost / interval == pytest.approx(ceiling, abs=5e-5)
    share = expected.burst * count / ranks / outcome.drained_ticks
    refreshes = outcome.commands[COMMANDS.index("REFab")] // device.shape[0]
    assert refreshes >= 5
    ends = (lost + expected.closed) / outcome.drained_ticks  # the last interval is cut short
    assert ceiling - 2 * expected.row_cycle / interval - ends < share < ceiling + ends


@devices
@pytest.mark.parametrize("same_group", [True, False])
def test_turning_the_bus(name: str, same_group: bool) -> None:
    """Writes and reads by turns on open rows, at every distance: the closest come as close as the bus turns.

    Far apart they wait for nothing; too close, the reads overtake the writes. In between both turns of a read, a write
    and a read bind.
    """
    device, expected = load_device(name), EXPECTED[name]
    to_write, same, other = expected.turn
    back = same if same_group else other
    write_bank = 0 if same_group else device.shape[3]
    count = 12
    bank = [0 if i % 2 else write_bank for i in range(count)]
    asked = requests(bank, [0] * count, list(range(count)), [i % 2 == 0 for i in range(count)])
    to_writes, backs, both = [], [], []
    for interval in range(1, to_write + back):
        _, log = run_channel(device, Controller(refresh="none", interval_ticks=interval), asked)
        columns = [(int(t), int(c)) for t, c in zip(log.tick, log.command, strict=True) if c in (RD, WR)]
        to_writes += [t - s for (s, a), (t, b) in pairwise(columns) if (a, b) == (RD, WR)]
        backs += [t - s for (s, a), (t, b) in pairwise(columns) if (a, b) == (WR, RD)]
        triples = zip(columns, columns[1:], columns[2:], strict=False)
        both += [u - s for (s, a), (_, b), (u, c) in triples if (a, b, c) == (RD, WR, RD)]
    assert min(to_writes) == to_write
    assert min(backs) == back
    assert min(both) == to_write + back
