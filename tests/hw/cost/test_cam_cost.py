"""Search cost: what matches costs nothing on its match line, and everything grows as it should."""

from __future__ import annotations

import pytest

from hw.cost.cam import cam
from workloads.errors import InputError


def test_area_is_the_cells() -> None:
    # 256 x 64 cells of 292 F^2 at 32 nm: 4.899e-3 mm2.
    assert cam(256, 64, misses=256, node_nm=32).cells_mm2 == pytest.approx(16384 * 292 * 0.032**2 * 1e-6)


def test_energy_is_linear_in_misses_and_driven_bits() -> None:
    none, half, full = (cam(256, 64, misses=misses, node_nm=32).search_j for misses in (0, 128, 256))
    assert 0 < none < half < full
    assert full - half == pytest.approx(half - none)
    masked = cam(256, 64, misses=0, driven_bits=0, node_nm=32).search_j
    assert masked == 0.0


def test_more_rows_take_longer_and_wider_words_too() -> None:
    base = cam(256, 64, misses=256, node_nm=32)
    assert cam(1024, 64, misses=256, node_nm=32).search_s > base.search_s
    assert cam(256, 256, misses=256, node_nm=32).search_s > base.search_s


# CACTI 7 (hwcomponents-cacti 1.0.40, rebuilt), cache type cam, one read-write and one search port: bytes, bits, node;
# pJ a search, search delay in ns. Another circuit: the order of magnitude is what is compared.
CACTI = [
    (2048, 64, 32, 18.34, 1.095),
    (8192, 64, 32, 63.1, 1.306),
    (8192, 128, 32, 61.0, 1.763),
    (8192, 64, 65, 228.0, 2.467),
]


@pytest.mark.parametrize(("size", "bits", "node", "search_pj", "search_ns"), CACTI)
def test_within_a_factor_of_two_of_the_reference(
    size: int, bits: int, node: int, search_pj: float, search_ns: float
) -> None:
    rows = size * 8 // bits
    cost = cam(rows, bits, misses=rows, node_nm=node)
    assert 0.5 < cost.search_j * 1e12 / search_pj < 2
    assert 0.5 < cost.search_s * 1e9 / search_ns < 2


def test_wrong_input_is_named() -> None:
    with pytest.raises(InputError, match="misses is 5; expected between 0 and 4"):
        cam(4, 8, misses=5, node_nm=32)
    with pytest.raises(InputError, match="node_nm is 14; expected one of 65, 45, 32 and 22"):
        cam(4, 8, misses=1, node_nm=14)
