"""Products: closed forms with one tile, the slow twin, order and bounds."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappers.kernels import gemm
from mappers.kernels.gemm import GemmConstants, GemmShapes, gemm_time
from mappers.kernels.machine import KernelMachine

MACHINE = KernelMachine("made-up", "ampere", 100, 1e9, {"bf16": 100e12}, 10e12, 1e12, 1e12, 40e6, 4e12)
IDEAL = GemmConstants(0.5, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0, 0.0)
FITTED = GemmConstants(0.8, 0.85, 4e-6, 0.4, 0.2, 0.1, 0.65, 1e-6)


def shapes(m: object, n: object, k: object, narrow: bool = False) -> GemmShapes:
    rows, columns, depth = (np.atleast_1d(np.asarray(value, float)) for value in (m, n, k))
    moved = 2 * (rows * depth + depth * columns + rows * columns)
    return GemmShapes(rows, columns, depth, moved, np.full(len(rows), 100e12), np.full(len(rows), narrow))


def seconds(constants: GemmConstants, m: int, n: int, k: int, narrow: bool = False) -> float:
    return float(gemm_time(MACHINE, constants, shapes(m, n, k, narrow)).best_s[0])


@pytest.fixture
def one_tile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gemm, "TILES", ((128, 128),))
    monkeypatch.setattr(gemm, "CUTS", (1,))
    monkeypatch.setattr(gemm, "STEP_CLOCKS", 0.0)


@pytest.mark.usefixtures("one_tile")
def test_a_wave_of_tiles_by_hand() -> None:
    """A tile of 128 x 128 x (4032 + 64) at half of 1 TFLOP/s a unit: 2 x 16384 x 4096 / 0.5e12 = 268.4 us."""
    tile_s = 2 * 128 * 128 * 4096 / 0.5e12
    assert seconds(IDEAL, 1280, 1280, 4032) == pytest.approx(tile_s)


@pytest.mark.usefixtures("one_tile")
def test_half_a_wave_costs_a_whole_one_and_one_tile_more_costs_two() -> None:
    whole = seconds(IDEAL, 1280, 1280, 4032)
    assert seconds(IDEAL, 1280, 640, 4032) == pytest.approx(whole)
    assert seconds(IDEAL, 1280, 1281, 4032) == pytest.approx(2 * whole)


@pytest.mark.usefixtures("one_tile")
def test_wave_overlap_wins_back_its_share_of_the_last_wave() -> None:
    """110 tiles on 100 units: 2 waves, or 1.1 with everything won back."""
    halfway = GemmConstants(0.5, 1.0, 0.0, 0.5, 0.0, 0.0, 1.0, 0.0)
    tile_s = 2 * 128 * 128 * 4096 / 0.5e12
    assert seconds(halfway, 1280, 1408, 4032) == pytest.approx((0.5 * 2 + 0.5 * 1.1) * tile_s)


@pytest.mark.usefixtures("one_tile")
def test_twice_the_sum_takes_twice_the_time_but_for_filling() -> None:
    assert seconds(IDEAL, 1280, 1280, 2 * 4032) / seconds(IDEAL, 1280, 1280, 4032) == pytest.approx(8128 / 4096)


def test_a_matrix_by_a_vector_takes_its_bytes() -> None:
    """m = 1: 2 (2048 + 2048 x 16384 + 16384) bytes at 1 TB/s, a launch of 4 us, and the walk along 2048."""
    constants = GemmConstants(1.0, 1.0, 4e-6, 0.0, 0.0, 0.0, 1.0, 0.0)
    moved_s = 2 * (2048 + 2048 * 16384 + 16384) / 1e12
    assert seconds(constants, 1, 16384, 2048) == pytest.approx(moved_s + 4e-6 + 2048 / 64 * 45e-9, rel=1e-9)


def test_long_kernels_lose_clock_and_narrow_formats_their_share() -> None:
    """A kernel of 1 ms loses half of the sustained loss; a share of 0.5 doubles the time of computing."""
    lossy = GemmConstants(0.5, 1.0, 0.0, 0.0, 0.0, 0.2, 0.5, 3e-6)
    short = seconds(IDEAL, 2560, 1280, 4032)
    assert seconds(lossy, 2560, 1280, 4032) > short
    plain = GemmConstants(0.5, 1.0, 0.0, 0.0, 0.0, 0.0, 0.5, 3e-6)
    assert seconds(plain, 25600, 12800, 4032, narrow=True) > 1.9 * seconds(IDEAL, 25600, 12800, 4032)


def golden(constants: GemmConstants, m: int, n: int, k: int) -> float:
    """One product, tile by tile and cut by cut, as the module's text says."""
    best = math.inf
    moved = 2 * (m * k + k * n + m * n)
    for rows, columns in gemm.TILES:
        edge = rows * columns / (rows + columns)
        rate = edge / (edge + 16) * 80 / 64
        for cuts in gemm.CUTS:
            waves = math.ceil(m / rows) * math.ceil(n / columns) * cuts / 100
            whole = (1 - constants.wave_overlap) * math.ceil(waves) + constants.wave_overlap * max(1.0, waves)
            unit = 1e12 * min(1.0, constants.compute_efficiency * rate)
            computing = whole * 2 * rows * columns * (k / cuts + 64) / unit
            computing *= 1 + constants.sustained_loss * computing / (computing + 1e-3)
            moving = moved / (1e12 * constants.memory_efficiency)
            walk = k / cuts / 64 * 45e-9
            if cuts > 1:
                moving += cuts * 8 * m * n / 4e12
                walk += 2e-6
            time = max(computing, moving) + constants.exposed_share * min(computing, moving) + walk
            best = min(best, time)
    return best + constants.launch_s


SIZES = st.integers(1, 20_000)


@given(SIZES, SIZES, SIZES)
def test_the_arrays_agree_with_the_slow_twin(m: int, n: int, k: int) -> None:
    assert seconds(FITTED, m, n, k) == pytest.approx(golden(FITTED, m, n, k), rel=1e-9)


@given(SIZES, SIZES, SIZES, st.integers(0, 2), st.integers(1, 4000))
def test_a_larger_product_never_takes_less(m: int, n: int, k: int, grown: int, by: int) -> None:
    size = [m, n, k]
    size[grown] += by
    assert seconds(FITTED, size[0], size[1], size[2]) >= seconds(FITTED, m, n, k) * (1 - 1e-12)


@given(SIZES, SIZES, SIZES)
def test_rows_and_columns_change_places_freely(m: int, n: int, k: int) -> None:
    assert seconds(FITTED, m, n, k) == pytest.approx(seconds(FITTED, n, m, k), rel=1e-12)


@given(SIZES, SIZES, SIZES, st.floats(0.01, 1), st.floats(0.01, 1), st.floats(0, 1), st.floats(0, 1))
def test_never_below_the_roofline(
    m: int, n: int, k: int, computing: float, moving: float, overlap: float, loss: float
) -> None:
    constants = GemmConstants(computing, moving, 0.0, overlap, 0.0, loss, 1.0, 0.0)
    floor = max(2 * m * n * k / 100e12, 2 * (m * k + k * n + m * n) / 1e12)
    assert seconds(constants, m, n, k) >= floor * (1 - 1e-9)


def test_many_shapes_are_each_as_alone() -> None:
    sizes = np.random.default_rng(0).integers(1, 9000, (5000, 3))
    together = gemm_time(MACHINE, FITTED, shapes(*sizes.T)).best_s
    for index in (0, 1, 4095, 4096, 4999):
        m, n, k = map(int, sizes[index])
        assert together[index] == pytest.approx(seconds(FITTED, m, n, k))
