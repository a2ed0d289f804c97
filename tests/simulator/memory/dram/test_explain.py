"""Where the ticks go: streams whose limit is known must be charged to it."""

from __future__ import annotations

import numpy as np
import pytest

from simulator.memory.dram.controller import Controller
from simulator.memory.dram.device import Device
from simulator.memory.dram.devices import load_device
from simulator.memory.dram.explain import NO_REQUEST, Explanation, explain
from simulator.memory.dram.kernel import run_channel
from simulator.memory.dram.requests import Requests

QUIET = Controller(refresh="none")


def _reads(banks: list[int], rows: list[int]) -> Requests:
    count = len(banks)
    columns = np.arange(count, dtype=np.int64) % 32
    return Requests(np.array(banks), np.array(rows), columns, np.zeros(count, dtype=np.bool_))


def _explain(device: Device, requests: Requests, controller: Controller = QUIET) -> Explanation:
    return explain(device, run_channel(device, controller, requests)[1])


def _share(found: Explanation, cause: str) -> float:
    return found.lost_ticks.get(cause, 0) / found.total_ticks


@pytest.mark.parametrize("name", ["DDR4-3200", "DDR5-4800", "HBM2-2000", "LPDDR5-6400", "HBM3-6400"])
def test_one_bank_with_a_new_row_each_time_is_charged_to_the_row_cycle(name: str) -> None:
    # Every request waits for ACT to ACT of its bank: nRC ticks, of which one burst carries data.
    device = load_device(name)
    found = _explain(device, _reads([0] * 200, list(range(200))))
    assert _share(found, "tRC") + _share(found, "row cycle") > 0.9
    assert found.busy_ticks == 200 * device.burst_ticks


def test_one_bank_group_is_charged_to_the_long_column_spacing() -> None:
    # Row hits in one bank: nCCDL - nBL of every nCCDL ticks are lost, 4 of 8 on DDR4-3200.
    found = _explain(load_device("DDR4-3200"), _reads([0] * 400, [7] * 400))
    assert found.lost_ticks == {"tCCD_L read": 399 * 4}


def test_hits_spread_over_groups_lose_nothing() -> None:
    device = load_device("DDR4-3200")
    # Even the first four, since nRRDS = nBL = 4: each activation is as far behind the last as each burst.
    found = _explain(device, _reads([0, 4, 8, 12] * 100, [7] * 400))
    assert found.lost_ticks == {}
    assert str(found) == "data on 100.0% of the ticks"


def test_rows_in_ever_new_banks_are_charged_to_the_four_activate_window() -> None:
    # 16 banks in turn, a new row each time: DDR4-3200 allows 4 bursts of 4 ticks in nFAW = 34 ticks.
    device = load_device("DDR4-3200")
    banks = [(4 * i + i // 4) % 16 for i in range(640)]
    found = _explain(device, _reads(banks, [i // 16 for i in range(640)]))
    assert _share(found, "tFAW") == pytest.approx(1 - 16 / 34, abs=0.04)


def test_refresh_takes_its_share() -> None:
    # nRFC + precharge of every nREFI: 576 / 12480 = 4.6 %, a little more with the rows it closes.
    device = load_device("DDR4-3200")
    found = _explain(device, _reads([0, 4, 8, 12] * 5000, [7] * 20000), Controller())
    assert _share(found, "refresh") == pytest.approx(576 / 12480, abs=0.006)


def test_slow_arrivals_are_no_fault_of_the_memory() -> None:
    device = load_device("DDR4-3200")
    found = _explain(device, _reads([0, 4] * 50, [7] * 100), Controller(refresh="none", interval_ticks=100))
    assert _share(found, NO_REQUEST) > 0.9


def test_what_is_charged_and_what_is_busy_fill_the_time() -> None:
    # One data bus: from the first burst's start to the last one's end.
    device = load_device("DDR4-3200")
    generator = np.random.default_rng(3)
    requests = _reads(generator.integers(0, 16, 500).tolist(), generator.integers(0, 9, 500).tolist())
    _, log = run_channel(device, Controller(), requests)
    columns = log.tick[np.isin(log.command, [3, 5])]
    assert explain(device, log).total_ticks == columns[-1] - columns[0] + device.burst_ticks
