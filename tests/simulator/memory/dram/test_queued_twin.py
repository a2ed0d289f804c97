"""The kernel of the queued controller against its plain twin, the protocol checker, and its own word on limits."""

from __future__ import annotations

from dataclasses import fields, replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.memory.dram.checker import check
from simulator.memory.dram.device import Device
from simulator.memory.dram.devices import load_device
from simulator.memory.dram.queued import CHOICES, QueuedController, QueuedTrace
from simulator.memory.dram.queued_kernel import run_queued
from simulator.memory.dram.queued_twin import run_queued_twin


def often_refreshed(name: str) -> Device:
    """A device whose refreshes fall due twenty times as often, so that short runs see many."""
    device = load_device(name)
    return replace(device, timing={**device.timing, "nREFI": device.timing["nREFI"] // 20})


DEVICES = [
    load_device("DDR3-1600"),
    load_device("DDR4-2400"),
    often_refreshed("DDR3-1600"),
    often_refreshed("DDR4-2400"),
]


@st.composite
def controllers(draw: st.DrawFn) -> QueuedController:
    values: dict[str, str | int] = {}
    for field in fields(QueuedController):
        if field.name in CHOICES:
            values[field.name] = draw(st.sampled_from(CHOICES[field.name]))
        elif field.name in ("buffer_size", "max_active"):
            values[field.name] = draw(st.sampled_from([1, 2, 3, 4, 8, 16]))
        else:
            values[field.name] = draw(st.sampled_from([1, 2, 4, 8]))
    return QueuedController(**values)  # type: ignore[arg-type]


def requests(device: Device, seed: int) -> QueuedTrace:
    """Few rows and columns, so that requests meet; gaps from none to long ones."""
    rng = np.random.default_rng(seed)
    count = int(rng.integers(1, 100))
    banks, rows, places = int(rng.integers(1, device.banks + 1)), int(rng.integers(1, 4)), int(rng.choice([1, 4, 128]))
    gap = int(rng.choice([0, 1, 9, 400]))
    return QueuedTrace(
        np.cumsum(rng.integers(0, gap + 1, count)),
        rng.integers(0, banks, count),
        rng.integers(0, rows, count),
        rng.integers(0, places, count),
        rng.random(count) < rng.choice([0.0, 0.3, 1.0]),
    )


def agree(device: Device, controller: QueuedController, seed: int) -> None:
    trace = requests(device, seed)
    outcome, log = run_queued(device, trace, controller, log=True)
    expected, plain = run_queued_twin(device, trace, controller)
    for name in ("tick", "command", "rank", "bank", "row"):
        assert np.array_equal(getattr(log, name), getattr(plain, name)), name
    assert replace(outcome, needed=(0, 0, 0, 0)) == expected
    assert check(device, log).count == 0
    size, active, postponed, pulled_in = outcome.needed
    least = replace(
        controller,
        buffer_size=size,
        max_active=active if controller.arbiter != "Simple" else 1,
        max_postponed=postponed,
        max_pulled_in=pulled_in,
    )
    assert run_queued(device, trace, least)[0] == outcome


@given(st.sampled_from(DEVICES), controllers(), st.integers(0, 2**32))
@settings(max_examples=60, deadline=None)
def test_kernel_and_twin(device: Device, controller: QueuedController, seed: int) -> None:
    agree(device, controller, seed)


@pytest.mark.slow
@given(st.sampled_from(DEVICES), controllers(), st.integers(0, 2**32))
@settings(max_examples=3_000, deadline=None)
def test_kernel_and_twin_at_length(device: Device, controller: QueuedController, seed: int) -> None:
    agree(device, controller, seed)
