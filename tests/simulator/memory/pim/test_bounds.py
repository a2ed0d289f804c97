"""What must hold for every device and size."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.memory.pim.gemv import pim_eltwise, pim_gemv
from simulator.memory.pim.presets import load_pim, pim_names
from workloads.errors import InputError

SIZES = st.integers(1, 3000)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(pim_names()), SIZES, SIZES, st.integers(1, 12))
def test_no_product_beats_its_bound_or_loses_bytes(name: str, rows: int, columns: int, batch: int) -> None:
    pim = load_pim(name)
    result = pim_gemv(pim, rows, columns, 16, batch)
    assert 0 < result.fraction_of_bound <= 1
    assert result.inside_bytes_per_s <= pim.inside_bytes_per_s * 1.001  # results drain into registers' banks as well
    assert result.multiply_adds >= rows * columns * batch
    assert result.multiply_adds / result.seconds <= pim.multiply_adds_per_s * 1.001
    passes = -(-batch // pim.vectors_per_read)
    assert result.bytes_inside >= 2 * rows * columns * passes
    assert result.bytes_outside >= 2 * columns * batch
    assert sum(result.ticks_by_cause.values()) == result.cycles
    assert result.energy_j > result.multiply_adds * pim.energy.multiply_add_j


@pytest.mark.parametrize("name", pim_names())
def test_more_channels_are_never_slower(name: str) -> None:
    pim = load_pim(name)
    cycles = [pim_gemv(replace(pim, channels=n), 2000, 1500).cycles for n in (1, 2, 4, 8, 16)]
    assert cycles == sorted(cycles, reverse=True)


@pytest.mark.parametrize("name", pim_names())
def test_more_work_is_never_faster(name: str) -> None:
    pim = load_pim(name)
    for grown in ([(1000, 1000, b) for b in (1, 2, 4, 8)], [(r, 1000, 1) for r in (500, 4000, 9000)]):
        cycles = [pim_gemv(pim, rows, columns, 16, batch).cycles for rows, columns, batch in grown]
        assert cycles == sorted(cycles)


def test_refresh_costs_what_it_takes() -> None:
    # A long product loses at least tRFC + tRP of every nREFI.
    pim = load_pim("attacc-bank")
    timing, result = pim.dram.timing, pim_gemv(pim, 16384, 8192)
    lost = sum(ticks for (_, cause), ticks in result.ticks_by_cause.items() if cause == "refresh")
    assert lost / result.cycles >= 0.95 * timing["nRFC"] / timing["nREFI"]
    assert result.commands["refresh"] == pytest.approx(result.cycles / timing["nREFI"], abs=1)


def test_what_cannot_be_asked() -> None:
    pim = load_pim("attacc-bank")
    with pytest.raises(InputError, match="found 0"):
        pim_gemv(pim, 0, 4)
    with pytest.raises(InputError, match="found 8 bits"):
        pim_gemv(pim, 4, 4, 8)
    with pytest.raises(InputError, match="no element-wise operations"):
        pim_eltwise(pim, 4)
    with pytest.raises(InputError, match="rows of each bank"):
        pim_gemv(pim, 1 << 22, 1 << 16)
