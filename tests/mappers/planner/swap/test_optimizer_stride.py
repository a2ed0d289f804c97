"""Optimizer updates split over host and device: by hand, against the balance, and never worse than either alone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappers.planner.swap.optimizer_stride import UpdateRates, best_stride, update_s

rate = st.floats(1, 1000)


def test_host_alone_by_hand() -> None:
    # 10 parameters of 28 bytes at 28 a second; 30 bytes each pass the memory with the copy of 2: 300 / 28 s.
    rates = UpdateRates(1, 28, 1e9, 1e9)
    assert update_s(10, 5, None, rates) == pytest.approx(300 / 28)


def test_device_alone_by_hand() -> None:
    # One slot: up 12 s, update 3 s, down 12 s for each of two subgroups of one parameter. Two slots overlap ways.
    rates = UpdateRates(1e9, 1e9, 10, 1)
    assert update_s(2, 2, 1, rates) == pytest.approx(2 * 27)
    assert update_s(2, 2, 1, rates, slots=2) == pytest.approx(12 + 12 + 3 + 12)


def test_the_balance() -> None:
    # The host needs 4 s for a subgroup; up and back over the link of 1 take 24 s. Six updates balance one way round:
    # (stride - 1) x 4 = 24, a stride of 7. Of 42 subgroups the device takes 6 in 144 s, the host 36 in 144 s and 2 s
    # for the last one's new parameters.
    found = best_stride(42, 42, UpdateRates(0.25, 1e9, 1e9, 1.0))
    assert found.stride == 7
    assert found.seconds == pytest.approx(146)
    assert found.all_host_s == pytest.approx(42 * 4 + 2)


@given(cores=rate, host=rate, device=rate, link=rate, subgroups=st.integers(1, 20), slots=st.integers(1, 3))
def test_never_worse_than_either_alone(
    cores: float, host: float, device: float, link: float, subgroups: int, slots: int
) -> None:
    rates = UpdateRates(cores, host, device, link)
    found = best_stride(1000, subgroups, rates, slots)
    assert found.seconds <= found.all_host_s
    assert found.seconds <= update_s(1000, subgroups, 1, rates, slots)
    assert found.seconds >= found.bound_s * (1 - 1e-12)
    assert update_s(1000, subgroups, 1, rates, slots) >= update_s(1000, subgroups, 1, rates, slots + 1) * (1 - 1e-12)
