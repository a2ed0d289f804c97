"""Samsung's two benchmarks, as measured by running SAITPublic/PIMSimulator b464dde (`PIMBenchFixture`).

Matrix-vector product of 4096 x 4096 in fp16: 36 082 cycles without computing in memory, 13 166 with. Addition of two
vectors of 1 Mi elements: 6 651 and 3 349.
"""

from __future__ import annotations

import pytest

from simulator.memory.pim.gemv import losses, pim_eltwise, pim_gemv
from simulator.memory.pim.host import host_eltwise, host_gemv
from simulator.memory.pim.presets import load_pim

PIM = load_pim("hbm-pim")


def test_matrix_vector_product() -> None:
    inside, outside = pim_gemv(PIM, 4096, 4096), host_gemv(PIM, 4096, 4096)
    assert inside.cycles == pytest.approx(13_166, rel=0.02)
    assert outside.cycles == pytest.approx(36_082, rel=0.02)
    assert outside.cycles / inside.cycles == pytest.approx(2.74, rel=0.10)


def test_addition() -> None:
    inside, outside = pim_eltwise(PIM, 1 << 20), host_eltwise(PIM, 1 << 20)
    assert inside.cycles == pytest.approx(3_349, rel=0.02)
    assert outside.cycles == pytest.approx(6_651, rel=0.02)
    assert outside.cycles / inside.cycles == pytest.approx(1.986, rel=0.10)


def test_where_a_third_of_the_bound_goes() -> None:
    # By hand: 32 tiles of 64 bursts at 4 ticks are 8192, of 8 input writes at 4 are 1024; three refreshes fall due
    # (1950, 5850, 9750) of at least tRFC + tRP + tRCD each; each tile opens its second row within, PRE 3, tRP 14 and
    # tRCD 14 of which 4 are the burst's own: 32 x 27.
    result = pim_gemv(PIM, 4096, 4096)
    lost = {loss.cause: loss.ticks for loss in losses(result)}
    assert sum(lost.values()) == result.cycles
    assert lost["computing"] == result.bound_cycles == 8192
    assert lost["writing inputs"] == 1024
    assert result.commands["refresh"] == 3
    assert 3 * (350 + 14) <= lost["refresh"] <= 3 * (350 + 14 + 14 + 26)
    assert lost["opening rows"] >= 32 * 27
    assert lost["changing modes"] > 0
    assert 0.60 < result.fraction_of_bound < 0.65  # 8192 / 13 166 = 0.62


def test_bytes_of_the_products() -> None:
    # 33.6 MB of matrix once, 512 units' results of 8 bursts; the vector to each of 64 channels.
    result = pim_gemv(PIM, 4096, 4096)
    assert result.bytes_inside == 2 * 4096 * 4096 + 512 * 8 * 32
    assert result.bytes_outside == 64 * 4096 * 2
    assert result.multiply_adds == 4096 * 4096
    added = pim_eltwise(PIM, 1 << 20)
    assert added.bytes_inside == 3 * 2 * (1 << 20) + 8 * 512 * 32  # and a write more for each of 8 tiles
    assert added.bytes_outside == 0


def test_reading_the_results_costs_their_bursts() -> None:
    # Eight odd banks of eight bursts are 64, at tCCD_S 2 or more; 16 partial sums a row of 4096.
    without, with_results = pim_gemv(PIM, 4096, 4096), pim_gemv(PIM, 4096, 4096, read_results=True)
    assert with_results.bytes_outside - without.bytes_outside == 4096 * 16 * 2
    assert 64 * 2 <= with_results.cycles - without.cycles < 400


def test_attacc_rates_lie_under_the_published_multiples() -> None:
    # src/config.py of scale-snu/attacc_simulator: a bank level has 9 times the bandwidth when power-limited and 16 when
    # not. Commands cannot do better, and lose rows and refresh besides.
    for name, multiple in (("attacc-bank", 32 / 3), ("attacc-bank-unlimited", 16.0)):
        pim = load_pim(name)
        reached = pim_gemv(pim, 16384, 16384).inside_bytes_per_s / pim.outside_bytes_per_s
        assert 0.6 * multiple < reached < multiple
