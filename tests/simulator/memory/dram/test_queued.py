"""The controller with DRAMSys's settings: runs worked out by hand, and what settings must and must not change.

DDR3-1600 in ticks: nRCD 10, nCL 10, nCWL 8, nBL 4, nRP 10, nRAS 28, nRC 38, nRTP 6, nRRD 5, nREFI 6240, nRFC 88. So an
activation, a read and its data take 24, and a row after another in the same bank 38 more.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from simulator.memory.dram.devices import load_device
from simulator.memory.dram.outcome import CommandLog
from simulator.memory.dram.queued import QueuedController, QueuedOutcome, QueuedTrace, placed
from simulator.memory.dram.queued_kernel import MOST_REQUESTS, Runner, run_queued
from simulator.memory.dram.queued_traces import TRACES, queued_trace
from simulator.memory.dram.tables import ACT, COMMANDS, PRE, PREA, RD, RDA, REF, WR, WRA
from workloads.errors import InputError

DEVICE = load_device("DDR3-1600")
QUIET = QueuedController(refresh="NoRefresh")


def trace(
    rows: list[int], *, banks: list[int] | None = None, ticks: list[int] | None = None, writes: int = 0
) -> QueuedTrace:
    """Requests one a tick from 0 on, to ever new columns; the last ``writes`` are writes."""
    count = len(rows)
    return QueuedTrace(
        np.array(ticks if ticks is not None else range(count), dtype=np.int64),
        np.array(banks if banks is not None else [0] * count, dtype=np.int64),
        np.array(rows, dtype=np.int64),
        np.arange(count, dtype=np.int64),
        np.arange(count) >= count - writes,
    )


def run(requests: QueuedTrace, controller: QueuedController) -> tuple[QueuedOutcome, CommandLog]:
    return run_queued(DEVICE, requests, controller, log=True)


def sent(outcome: QueuedOutcome) -> dict[str, int]:
    return {name: count for name, count in zip(COMMANDS, outcome.commands, strict=True) if count}


def columns(log: CommandLog) -> list[tuple[int, int]]:
    """Tick and row of each column command."""
    wanted = np.isin(log.command, (RD, RDA, WR, WRA))
    return list(zip(log.tick[wanted].tolist(), log.row[wanted].tolist(), strict=True))


def test_one_request() -> None:
    read, _ = run(trace([5]), QUIET)
    assert (read.total_ticks, read.latency_ticks, sent(read)) == (24, 24, {"ACT": 1, "RD": 1})
    write, _ = run(trace([5], writes=1), QUIET)
    assert (write.total_ticks, sent(write)) == (10 + 8 + 4, {"ACT": 1, "WR": 1})
    assert read.open_ticks == 24  # the row stays open to the end


@pytest.mark.parametrize("page", ["Open", "OpenAdaptive"])
def test_a_stream_is_bound_by_the_data_bus(page: str) -> None:
    outcome, _ = run(trace([5] * 50), replace(QUIET, page=page))
    assert outcome.total_ticks == 24 + 49 * 4
    assert sent(outcome) == {"ACT": 1, "RD": 50}


def test_a_closed_page_costs_a_row_cycle_each() -> None:
    outcome, _ = run(trace([5] * 50), replace(QUIET, page="Closed"))
    assert outcome.total_ticks == 24 + 49 * 38
    assert sent(outcome) == {"ACT": 50, "RDA": 50}
    assert outcome.open_ticks == 50 * 10  # from each activation to its read


@pytest.mark.parametrize(
    ("page", "commands"),
    [
        ("Open", {"ACT": 2, "PREpb": 1, "RD": 2}),  # PRE at 28, after nRAS
        ("OpenAdaptive", {"ACT": 2, "RD": 1, "RDA": 1}),  # the second waits and wants another row; none waits behind it
        ("Closed", {"ACT": 2, "RDA": 2}),
        ("ClosedAdaptive", {"ACT": 2, "RDA": 2}),
    ],
)
def test_another_row_of_the_bank(page: str, commands: dict[str, int]) -> None:
    outcome, _ = run(trace([5, 6]), replace(QUIET, page=page))
    assert outcome.total_ticks == 62  # ACT 0, RD 10, ACT 38, RD 48, data to 62
    assert sent(outcome) == commands


def test_adaptive_pages_keep_a_row_that_is_wanted() -> None:
    for page in ("OpenAdaptive", "ClosedAdaptive"):
        outcome, log = run(trace([5, 5, 6]), replace(QUIET, page=page))
        assert outcome.total_ticks == 62
        assert log.command.tolist()[:3] == [ACT, RD, RDA]


def test_schedulers() -> None:
    fifo, log = run(trace([5, 6, 5]), replace(QUIET, scheduler="Fifo"))
    # 5 at 10; PRE 28, ACT 38, 6 at 48; PRE after nRAS and nRTP at 66, ACT 76, 5 at 86
    assert columns(log) == [(10, 5), (48, 6), (86, 5)]
    assert fifo.total_ticks == 100
    _, log = run(trace([5, 6, 5]), replace(QUIET, scheduler="FrFcfs"))
    assert columns(log) == [(10, 5), (14, 5), (48, 6)]


def test_grouping_serves_the_direction_last_served() -> None:
    """Read, write, read, all for one row: the second read goes before the write, then the bus turns once."""
    mixed = QueuedTrace(
        np.arange(3), np.zeros(3, np.int64), np.full(3, 5), np.arange(3), np.array([False, True, False])
    )
    _, log = run(mixed, replace(QUIET, scheduler="FrFcfsGrp"))
    assert log.command.tolist() == [ACT, RD, RD, WR]
    _, log = run(mixed, replace(QUIET, scheduler="FrFcfs"))
    assert log.command.tolist() == [ACT, RD, WR, RD]
    same_place = replace(mixed, column=np.zeros(3, np.int64))  # a read must not pass a write of its address
    _, log = run(same_place, replace(QUIET, scheduler="FrFcfsGrp"))
    assert log.command.tolist() == [ACT, RD, WR, RD]


@pytest.mark.parametrize("scheduler", ["Fifo", "FrFcfsGrp", "FrFcfs"])
def test_a_buffer_of_one_serves_in_order(scheduler: str) -> None:
    rng = np.random.default_rng(4)
    requests = trace(rng.integers(0, 3, 200).tolist(), banks=rng.integers(0, 8, 200).tolist(), writes=50)
    own, log = run(requests, replace(QUIET, scheduler=scheduler, buffer_size=1))
    wanted = np.isin(log.command, (RD, WR))
    assert log.bank[wanted].tolist() == requests.bank.tolist()
    assert log.row[wanted].tolist() == requests.row.tolist()
    assert own == run(requests, replace(QUIET, buffer_size=1))[0]


def test_one_active_transaction_waits_for_every_answer() -> None:
    outcome, _ = run(trace([5] * 20), replace(QUIET, arbiter="Fifo", max_active=1))
    # The row stays open: each read follows the answer of the one before at once, and takes 14.
    assert outcome.total_ticks == 24 + 19 * 14
    assert outcome.needed[:2] == (1, 1)


def test_answers_in_order_wait_for_one_another() -> None:
    """Two rows of bank 0, then bank 1: reads at 10, 48 and 15; data to 24, 62 and 29."""
    requests = trace([5, 6, 7], banks=[0, 0, 1])
    at_once, _ = run(requests, QUIET)
    assert (at_once.total_ticks, at_once.latency_ticks) == (62, 24 + (62 - 1) + (29 - 2))
    for controller in (replace(QUIET, responses="Reorder"), replace(QUIET, arbiter="Reorder", max_active=8)):
        in_order, _ = run(requests, controller)
        assert (in_order.total_ticks, in_order.latency_ticks) == (63, 24 + (62 - 1) + (63 - 2))  # one a tick


@pytest.mark.parametrize("pulled_in", [1, 2, 4, 8])
def test_refreshes_are_pulled_in_while_nothing_waits(pulled_in: int) -> None:
    controller = QueuedController(max_pulled_in=pulled_in)
    outcome, log = run(trace([5], ticks=[10_000]), controller)
    # The one due at 6240, then as many as may be ahead, nRFC apart
    ticks = log.tick[log.command == REF].tolist()
    assert ticks == [6240 + 88 * n for n in range(1 + pulled_in)]
    assert outcome.total_ticks == 10_024


@pytest.mark.parametrize("postponed", [1, 2, 4, 8])
def test_refreshes_are_postponed_while_anything_waits(postponed: int) -> None:
    """10,000 reads of one row take 40,000 ticks: six refreshes fall due, the first ``postponed`` are put off."""
    controller = QueuedController(max_postponed=postponed)
    outcome, _ = run_queued(DEVICE, trace([5] * 10_000), controller)
    refreshes = max(0, 6 - postponed)
    assert (outcome.commands[REF], outcome.commands[PREA]) == (refreshes, refreshes)
    assert outcome.commands[ACT] == 1 + refreshes
    assert outcome.needed[2] == min(postponed, 6)


def test_room_for_each_bank_reads_and_writes_or_all() -> None:
    """Eight banks, a request each."""
    requests = trace([5] * 8, banks=list(range(8)))
    totals = {
        buffer: run(requests, replace(QUIET, buffer=buffer, buffer_size=1))[0].total_ticks
        for buffer in ("Bankwise", "ReadWrite", "Shared")
    }
    # In order one by one: each activation follows the read before by a tick. ACT 0, RD 10, ACT 11, RD 21, ...
    assert totals["Shared"] == totals["ReadWrite"] == 24 + 7 * 11
    # The bank last sent to must be empty: what is sent is activated at once, nothing else can be.
    assert totals["Bankwise"] == totals["Shared"]
    two, _ = run(requests, replace(QUIET, buffer="Bankwise", buffer_size=2))
    # The last bank never holds two, so there is no limit but nRRD 5, nFAW 24 and the command bus, where the first read
    # goes before the third activation: ACT 0 5 11 16, then 24 after those: 24 29 35 40; the last read at 50.
    assert two.total_ticks == 50 + 14


def test_settings_without_effect() -> None:
    requests = queued_trace(DEVICE, "cloud-writes", 400)
    first, _ = run(requests, QUIET)
    assert first == run(requests, replace(QUIET, max_postponed=1, max_pulled_in=1, max_active=1))[0]
    reads = queued_trace(DEVICE, "cloud-1", 400)
    for scheduler in ("FrFcfsGrp", "FrFcfs"):
        for buffer in ("ReadWrite", "Shared"):
            assert run(reads, replace(QUIET, scheduler=scheduler, buffer=buffer))[0] == run(reads, QUIET)[0]


def test_energy_by_hand() -> None:
    """One activation 14.25 nJ, one read 5.7 nJ, 24 ticks of 1.25 ns at 0.54 W (1.5 V, 8 devices, 70, 45, 140 mA)."""
    outcome, _ = run(trace([5]), QUIET)
    assert outcome.energy_j(DEVICE) == pytest.approx(14.25e-9 + 5.7e-9 + 0.54 * 30e-9)
    assert outcome.power_w(DEVICE) == pytest.approx(outcome.energy_j(DEVICE) / 30e-9)
    assert outcome.mean_latency_s(DEVICE) == pytest.approx(30e-9)


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"page": "open"}, "page"),
        ({"scheduler": "FrFcFs"}, "scheduler"),
        ({"buffer_size": 0}, "buffer_size"),
        ({"max_active": 2000}, "max_active"),
        ({"max_postponed": 9}, "max_postponed"),
        ({"max_pulled_in": 0}, "max_pulled_in"),
        ({"buffer_size": 2.5}, "buffer_size"),
    ],
)
def test_wrong_settings(settings: dict[str, str | int], field: str) -> None:
    with pytest.raises(InputError) as caught:
        QueuedController(**settings)  # type: ignore[arg-type]
    assert caught.value.field == field


@pytest.mark.parametrize("name", ["HBM2-2000", "LPDDR5-6400", "DDR5-4800", "HBM3-6400"])
def test_devices_it_cannot_have(name: str) -> None:
    with pytest.raises(InputError) as caught:
        Runner.of(load_device(name), trace([5]))
    assert caught.value.field == "device"


def test_devices_without_energy_and_with_ranks() -> None:
    device = load_device("DDR4-3200-16Gb-x8")
    outcome, _ = run_queued(device, trace([5]), QUIET)
    with pytest.raises(InputError, match="no energies"):
        outcome.energy_j(device)
    with pytest.raises(InputError, match="2 ranks"):
        Runner.of(load_device("DDR4-3200", ranks=2), trace([5]))


def test_wrong_traces() -> None:
    some = np.zeros(2, dtype=np.int64)
    for ticks, addresses, words in (
        (np.array([1, 0]), some, "ticks fall"),
        (some, np.array([0, DEVICE.capacity_bytes]), "0x40000000"),
        (some[:0], some[:0], "one at least"),
    ):
        with pytest.raises(InputError, match=words):
            placed(DEVICE, "RoBaRaCoCh", ticks, addresses, np.zeros(len(ticks), dtype=np.bool_))
    with pytest.raises(InputError) as caught:
        queued_trace(DEVICE, "cloud-3")
    assert caught.value.nearest in ("cloud-1", "cloud-2")
    with pytest.raises(InputError, match="at least 1"):
        queued_trace(DEVICE, "stream", 0)
    with pytest.raises(InputError, match=f"at most {MOST_REQUESTS:,}"):
        Runner.of(DEVICE, queued_trace(DEVICE, "stream", MOST_REQUESTS + 1))


@pytest.mark.parametrize("name", TRACES)
def test_traces_are_what_they_say(name: str) -> None:
    requests = queued_trace(DEVICE, name)
    assert len(requests) == 10_000
    assert requests.tick.tolist() == list(range(10_000))
    assert (name == "cloud-writes") == bool(requests.write.any())
    bursts = (requests.row * 8 + requests.bank) * 128 + requests.column  # RoBaRaCoCh: column, bank, row from below
    step = np.diff(bursts) == 1
    if name == "stream":
        assert step.all()
    elif name == "random":
        assert step.sum() < 5
    else:
        # Pieces of 50, half of them of the stream, which goes on where it was: 49 steps in each of some 100 pieces.
        assert 80 * 49 <= step.sum() <= 120 * 50
        assert bool(step[:49].all()) == (name != "cloud-2")
    if name == "cloud-writes":
        assert 0.2 < requests.write.mean() < 0.45
    shorter = queued_trace(DEVICE, name, 1_000)
    assert np.array_equal(shorter.write, requests.write[:1_000]) or name == "cloud-writes"


def test_precharges_are_sent_for_a_row_that_is_not_wanted() -> None:
    outcome, _ = run(trace([5, 6, 7, 8]), QUIET)
    assert (outcome.commands[PRE], outcome.commands[ACT]) == (3, 4)
