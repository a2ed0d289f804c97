"""The compiled kernel against its plain twin, command for command, on random devices, controllers and requests."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from simulator.memory.dram import kernel, twin
from simulator.memory.dram.controller import PAGE_POLICIES, REFRESHES, SCHEDULERS, Controller
from simulator.memory.dram.device import Device
from simulator.memory.dram.devices import load_device
from simulator.memory.dram.kernel import Channel
from simulator.memory.dram.outcome import CommandLog
from simulator.memory.dram.requests import Requests
from workloads.errors import InputError

DEVICES = (
    "DDR4-3200",
    "DDR5-4800",
    "HBM2-2000",
    "HBM3-6400",
    "LPDDR5-6400",
    "GDDR6-14000",
    "HBM3E-9600",
    "LPDDR5X-8533",
)


@st.composite
def devices(draw: st.DrawFn) -> Device:
    name = draw(st.sampled_from(DEVICES))
    has_ranks = load_device(name).levels[0].name == "rank"
    return load_device(name, ranks=draw(st.sampled_from([1, 2])) if has_ranks else None)


@st.composite
def controllers(draw: st.DrawFn, device: Device) -> Controller:
    refreshes = [name for name in REFRESHES if name != "per-bank" or device.has_bank_refresh]
    refresh = draw(st.sampled_from(refreshes))
    low = draw(st.floats(0.05, 0.6))
    moved = refresh == "all-bank"
    return Controller(
        scheduler=draw(st.sampled_from(SCHEDULERS)),
        read_queue=draw(st.sampled_from([1, 2, 5, 8, 32])),
        write_queue=draw(st.sampled_from([1, 2, 5, 8, 32])),
        write_low=low,
        write_high=draw(st.floats(low + 0.05, 1.0)),
        page=draw(st.sampled_from(PAGE_POLICIES)),
        timeout_ticks=draw(st.sampled_from([1, 17, 100, 500])),
        hit_cap=draw(st.integers(1, 6)),
        refresh=refresh,
        postpone=draw(st.integers(0, device.most_postponed)) if moved else 0,
        pull_in=draw(st.integers(0, device.most_pulled_in)) if moved else 0,
        tries_per_tick=draw(st.integers(1, 4)),
        interval_ticks=draw(st.sampled_from([0, 0, 0, 1, 7, 90, 1500])),
    )


@st.composite
def requests(draw: st.DrawFn, device: Device, most: int = 300) -> Requests:
    """Requests that share banks, rows and columns more often than chance: hits, conflicts, forwards and merges."""
    generator = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    count = draw(st.integers(0, most))
    banks = generator.permutation(device.banks)[: draw(st.sampled_from([1, 2, 3, 8, device.banks]))]
    rows = draw(st.sampled_from([1, 2, 4, 64]))
    columns = draw(st.sampled_from([1, 4, device.bursts_per_row]))
    writes = draw(st.sampled_from([0.0, 0.05, 0.4, 0.9, 1.0]))
    return Requests(
        np.ascontiguousarray(generator.choice(banks, count), dtype=np.int64),
        generator.integers(0, rows, count),
        generator.integers(0, columns, count),
        generator.random(count) < writes,
    )


def _rows(log: CommandLog) -> list[tuple[int, ...]]:
    return list(zip(*(part.tolist() for part in (log.tick, log.command, log.rank, log.bank, log.row)), strict=True))


def _agree(device: Device, controller: Controller, asked: Requests) -> None:
    outcome, log = kernel.run_channel(device, controller, asked)
    expected, expected_log = twin.run_channel(device, controller, asked)
    assert _rows(log) == _rows(expected_log)
    assert outcome == expected


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_the_kernel_sends_what_its_twin_sends(data: st.DataObject) -> None:
    device = data.draw(devices())
    _agree(device, data.draw(controllers(device)), data.draw(requests(device)))


@pytest.mark.slow
@settings(max_examples=1000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(data=st.data())
def test_the_kernel_sends_what_its_twin_sends_at_length(data: st.DataObject) -> None:
    device = data.draw(devices())
    _agree(device, data.draw(controllers(device)), data.draw(requests(device, most=2000)))


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_requests_given_in_pieces_make_no_difference(data: st.DataObject) -> None:
    device = data.draw(devices())
    controller, asked = data.draw(controllers(device)), data.draw(requests(device))
    cuts = sorted({0, len(asked), *data.draw(st.lists(st.integers(0, len(asked)), max_size=4))})
    pauses = sorted(data.draw(st.lists(st.integers(1, 20000), max_size=4)))
    channel = Channel.new(device, controller, log=True)
    for first, end in pairwise(cuts):
        last = end == len(asked)
        pause = pauses.pop(0) if pauses else kernel.FAR
        while channel.advance(asked[first:end], first, last=last, pause_at=pause) == kernel.PAUSED:
            pause = pauses.pop(0) if pauses else kernel.FAR
    if len(asked):
        whole, log = kernel.run_channel(device, controller, asked)
        assert channel.outcome() == whole
        assert _rows(channel.log()) == _rows(log)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_every_request_is_served_once(data: st.DataObject) -> None:
    device = data.draw(devices())
    asked = data.draw(requests(device))
    outcome, log = kernel.run_channel(device, data.draw(controllers(device)), asked)
    writes = int(asked.write.sum())
    assert (outcome.reads, outcome.writes) == (len(asked) - writes, writes)
    sent = dict(zip(kernel.COMMANDS, outcome.commands, strict=True))
    assert sent["RD"] + sent["RDA"] == outcome.reads - outcome.forwarded
    assert sent["WR"] + sent["WRA"] == outcome.writes - outcome.merged
    assert outcome.hits + outcome.misses + outcome.conflicts == len(asked) - outcome.forwarded - outcome.merged
    assert sent["ACT"] <= outcome.misses + outcome.conflicts
    assert len(log) == sum(outcome.commands)
    assert (np.diff(log.tick) >= 0).all()
    assert 0 <= outcome.open_ticks <= device.shape[0] * outcome.drained_ticks


def test_no_requests_take_no_time() -> None:
    nothing = np.zeros(0, dtype=np.int64)
    asked = Requests(nothing, nothing, nothing, np.zeros(0, dtype=np.bool_))
    outcome, log = kernel.run_channel(load_device("DDR4-3200"), Controller(), asked)
    assert outcome.drained_ticks == 0
    assert len(log) == 0


@pytest.mark.parametrize(
    ("settings_", "field"),
    [
        ({"scheduler": "row-hits"}, "scheduler"),
        ({"read_queue": 0}, "read_queue"),
        ({"write_low": 0.0}, "write_low"),
        ({"write_low": 0.9}, "write_low"),
        ({"tries_per_tick": 0}, "tries_per_tick"),
        ({"interval_ticks": -1}, "interval_ticks"),
        ({"page": "ajar"}, "page"),
    ],
)
def test_settings_out_of_range_name_their_field(settings_: dict[str, object], field: str) -> None:
    with pytest.raises(InputError) as raised:
        replace(Controller(), **settings_)
    assert raised.value.field == field


def test_a_device_refuses_what_its_standard_lacks() -> None:
    with pytest.raises(InputError, match="no per-bank refresh"):
        Channel.new(load_device("DDR4-3200"), Controller(refresh="per-bank"))
    with pytest.raises(InputError, match="allows 8, found 9"):
        Channel.new(load_device("DDR4-3200"), Controller(postpone=9))
    with pytest.raises(InputError, match="pull_in = 1 with refresh none"):
        Channel.new(load_device("DDR4-3200"), Controller(refresh="none", pull_in=1))


def test_code_kept_on_disk_depends_on_every_compiled_source() -> None:
    # Else a change in one of them would leave old code in use.
    folder = Path(kernel.__file__).parent
    compiled = {file.name for file in folder.glob("kernel*.py")} | {"tables.py"}
    assert set(kernel._SOURCES) == compiled
