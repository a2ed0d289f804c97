"""Who should update: crossings against closed forms of bytes over rates."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.spec.load import load_system
from mappers.planner.swap.machine import KERNELS, machine_of
from mappers.planner.swap.optimizer_stride import UpdateRates
from simulator.training.offload.update_crossovers import (
    host_where_it_beats_streaming,
    link_where_streaming_wins,
    sequences_for_share,
    update_rates,
    update_times,
    updates_over_host,
    updates_over_link,
)
from workloads.errors import InputError

MEMORY = 100e9
RATES = UpdateRates(0.5 * MEMORY / 28, MEMORY, 1e15, 25e9)
"""Processors that use half of the host memory's 100 GB/s; a device that takes no time."""


def test_three_ways_by_hand() -> None:
    """10 B parameters: 12 bytes each way over the link, 28 / 0.5 bytes of memory by the host."""
    times = update_times(10e9, RATES)
    assert times.streamed_s == pytest.approx(10e9 * 12 / 25e9, rel=0.02)  # and the last subgroup's way back
    assert times.host_s == pytest.approx(10e9 * 56 / MEMORY, rel=0.01)
    # Both at once, were nothing to wait for: a parameter takes 12 / 25e9 s here and 56 / 100e9 there.
    together = 10e9 / (25e9 / 12 + MEMORY / 56)
    assert together <= times.interleaved_s <= 1.15 * together
    assert times.stride == 2
    assert times.resident_s == pytest.approx(10e9 * 30 / 1e15)


def test_the_link_from_which_streaming_wins_by_hand() -> None:
    """12 / link below 56 / memory; the first and last subgroup's way adds a 64th or so."""
    found = link_where_streaming_wins(10e9, RATES)
    assert found == pytest.approx(MEMORY * 12 / 56, rel=0.03)


def test_the_memory_from_which_the_host_wins_by_hand() -> None:
    assert host_where_it_beats_streaming(10e9, RATES) == pytest.approx(25e9 * 56 / 12, rel=0.03)


def test_processors_at_the_memory_s_rate() -> None:
    """Streaming moves 24 bytes a parameter through the memory and the host 30: it wins where the link allows."""
    rates = replace(RATES, host_parameters_per_s=MEMORY / 28)
    times = update_times(10e9, replace(rates, link_bytes_per_s=1e15))
    assert times.host_s / times.streamed_s == pytest.approx(30 / 24, rel=0.03)
    # 12 / link = 30 / memory: the memory holds up what is slower than 12 / 30 of it.
    assert link_where_streaming_wins(10e9, rates) == pytest.approx(0.4 * MEMORY, rel=0.03)


def test_sequences_by_hand() -> None:
    """1 s of 20 s is 5 %: 19 sequences of 1 s beside it."""
    assert sequences_for_share(1.0, 1.0, 0.05) == 19
    assert sequences_for_share(1.0, 1000.0, 0.5) == 1
    with pytest.raises(InputError, match="share"):
        sequences_for_share(1.0, 1.0, 1.0)


@settings(max_examples=25, deadline=None)
@given(st.floats(1e8, 3e10), st.floats(1e9, 1e12), st.floats(1e10, 1e12), st.floats(0.1, 1.0))
def test_interleaved_is_no_slower_and_nothing_beats_the_device(
    parameters: float, link: float, memory: float, adam: float
) -> None:
    rates = UpdateRates(adam * memory / 28, memory, 2e12, link)
    times = update_times(parameters, rates)
    assert times.resident_s <= times.interleaved_s * (1 + 1e-9)
    assert times.interleaved_s <= min(times.host_s, times.streamed_s) * (1 + 1e-9)


def test_faster_links_and_memories_take_no_longer() -> None:
    rates = [1e9 * 2**power for power in range(1, 11)]
    for found in (updates_over_link(8e9, RATES, rates), updates_over_host(8e9, RATES, rates)):
        for name in ("streamed_s", "host_s", "interleaved_s"):
            times = [getattr(each, name) for each in found]
            assert times == sorted(times, reverse=True)


def test_a_machine_without_host_memory_says_so() -> None:
    machine = machine_of(load_system("tpu-v4i"), KERNELS["attained"])
    with pytest.raises(InputError, match="no host memory"):
        update_rates(machine)
    with pytest.raises(InputError, match="share"):
        update_rates(machine_of(load_system("a100-80gb-sxm"), KERNELS["attained"]), 0.0)
