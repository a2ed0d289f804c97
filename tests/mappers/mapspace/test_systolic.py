"""Cycles of systolic arrays against runs of SCALE-Sim 3.0.0 (scalesim on PyPI, numpy 1.26), which count exactly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappers.mapspace.problem import EinsumProblem, cascade_problem
from mappers.mapspace.systolic import (
    DATAFLOWS,
    Buffer,
    Buffers,
    Dataflow,
    array_packing,
    gemm_ranks,
    systolic_cycles,
)
from workloads.cascades import load_cascade
from workloads.einsum import parse_cascade
from workloads.errors import InputError

Case = tuple[tuple[int, int, int, int, int, int, int, int], Dataflow, int, int, float, float]

# (M, N, K, rows, columns, input kB, weight kB, output kB), dataflow, then what SCALE-Sim reports (InterfaceBandwidth
# CALC, one bank, dense, no layout): cycles with prefetch, cycles, overall utilisation and mapping efficiency in %.
SCALE_SIM: tuple[Case, ...] = (
    ((256, 256, 256, 32, 32, 64, 64, 64), "ws", 26698, 22399, 73.146123, 100.0),
    ((256, 256, 256, 32, 32, 64, 64, 64), "os", 24650, 20351, 80.5071, 100.0),
    ((256, 256, 256, 32, 32, 64, 64, 64), "is", 26698, 22399, 73.146123, 100.0),
    ((100, 70, 50, 32, 32, 64, 64, 64), "ws", 2124, 1163, 29.389241, 56.966146),
    ((100, 70, 50, 32, 32, 64, 64, 64), "os", 2085, 1343, 25.450251, 56.966146),
    ((100, 70, 50, 32, 32, 64, 64, 64), "is", 2272, 1311, 26.071463, 61.035156),
    ((40, 300, 130, 16, 8, 64, 64, 64), "ws", 31358, 26675, 45.688847, 89.089912),
    ((40, 300, 130, 16, 8, 64, 64, 64), "os", 22101, 17327, 70.3382, 82.236842),
    ((40, 300, 130, 16, 8, 64, 64, 64), "is", 21196, 15209, 80.133474, 90.277778),
    ((33, 33, 33, 8, 16, 64, 64, 64), "ws", 1415, 944, 29.741294, 56.71875),
    ((33, 33, 33, 8, 16, 64, 64, 64), "os", 1023, 824, 34.07255, 56.71875),
    ((33, 33, 33, 8, 16, 64, 64, 64), "is", 1415, 944, 29.741294, 56.71875),
    ((20, 20, 200, 4, 4, 1, 1, 1), "ws", 7667, 7499, 66.675557, 100.0),
    ((20, 20, 200, 4, 4, 1, 1, 1), "os", 5298, 5149, 97.106234, 100.0),
    ((20, 20, 200, 4, 4, 1, 1, 1), "is", 7667, 7499, 66.675557, 100.0),
    ((64, 96, 64, 8, 8, 2, 3, 1), "ws", 8469, 8255, 74.42762, 100.0),
    ((64, 96, 64, 8, 8, 2, 3, 1), "os", 7701, 7487, 82.062241, 100.0),
    ((64, 96, 64, 8, 8, 2, 3, 1), "is", 7757, 7551, 81.366706, 100.0),
    ((7, 5, 3, 8, 8, 64, 64, 64), "ws", 98, 28, 5.859375, 23.4375),
    ((7, 5, 3, 8, 8, 64, 64, 64), "os", 86, 16, 10.253906, 54.6875),
    ((7, 5, 3, 8, 8, 64, 64, 64), "is", 96, 26, 6.310096, 32.8125),
    ((65, 28, 5, 2, 12, 64, 1, 1), "ws", 803, 710, 53.403756, 64.814815),
    ((65, 28, 5, 2, 12, 64, 1, 1), "os", 1771, 1682, 22.542608, 76.599327),
    ((65, 28, 5, 2, 12, 64, 1, 1), "is", 848, 755, 50.220751, 75.231481),
    ((63, 54, 6, 2, 8, 4, 4, 2), "ws", 1696, 1532, 83.273499, 96.428571),
    ((63, 54, 6, 2, 8, 4, 4, 2), "os", 3217, 3135, 40.69378, 94.921875),
    ((63, 54, 6, 2, 8, 4, 4, 2), "is", 1699, 1535, 83.110749, 98.4375),
    ((64, 11, 22, 16, 12, 4, 1, 64), "ws", 472, 211, 38.230648, 63.020833),
    ((64, 11, 22, 16, 12, 4, 1, 64), "os", 393, 191, 42.233857, 91.666667),
    ((64, 11, 22, 16, 12, 4, 1, 64), "is", 896, 635, 12.703412, 61.111111),
    ((51, 14, 62, 12, 1, 2, 1, 1), "ws", 6558, 6215, 59.356396, 86.111111),
    ((51, 14, 62, 12, 1, 2, 1, 1), "os", 5410, 5109, 72.205911, 85.0),
    ((51, 14, 62, 12, 1, 2, 1, 1), "is", 11608, 11321, 32.585461, 86.111111),
    ((79, 25, 31, 12, 4, 2, 4, 64), "ws", 3773, 2204, 57.872996, 76.884921),
    ((79, 25, 31, 12, 4, 2, 4, 64), "os", 2797, 2204, 57.872996, 83.971088),
    ((79, 25, 31, 12, 4, 2, 4, 64), "is", 4640, 3059, 41.697314, 85.034722),
    ((21, 22, 17, 1, 3, 64, 4, 1), "ws", 3381, 3263, 80.232914, 91.666667),
    ((21, 22, 17, 1, 3, 64, 4, 1), "os", 3410, 3191, 82.043247, 91.666667),
    ((21, 22, 17, 1, 3, 64, 4, 1), "is", 3150, 2974, 88.02959, 100.0),
)


def gemm(m: int, n: int, k: int) -> EinsumProblem:
    return cascade_problem(load_cascade("gemm"), {"m": m, "n0": k, "n1": n}).einsums[0]


def scale_sim_buffers(columns: int, input_kb: int, weight_kb: int, output_kb: int) -> Buffers:
    """SCALE-Sim's without a given bandwidth: 10 words a cycle in, one word per column out; a word is one byte."""
    return Buffers(Buffer(1024 * input_kb, 10), Buffer(1024 * weight_kb, 10), Buffer(1024 * output_kb, columns))


@pytest.mark.parametrize(("setting", "dataflow", "total", "compute", "utilisation", "efficiency"), SCALE_SIM)
def test_equals_scale_sim(
    setting: tuple[int, ...], dataflow: Dataflow, total: int, compute: int, utilisation: float, efficiency: float
) -> None:
    m, n, k, rows, columns, *sizes = setting
    found = systolic_cycles(gemm(m, n, k), rows, columns, dataflow, scale_sim_buffers(columns, *sizes))
    assert (found.total_cycles, found.compute_cycles) == (total, compute)
    assert 100 * found.utilisation == pytest.approx(utilisation, abs=1e-6)  # six digits kept from its report
    assert 100 * found.mapping_efficiency == pytest.approx(efficiency, abs=1e-6)


def test_parts_of_the_total() -> None:
    """GEMM 256^3, 32 x 32: half of 64 kB in hundredths, 50 x 655 words at 10 a cycle, then 32,768 results at 32."""
    for dataflow in DATAFLOWS:
        found = systolic_cycles(gemm(256, 256, 256), 32, 32, dataflow, scale_sim_buffers(32, 64, 64, 64))
        assert (found.folds, found.prefetch_cycles, found.drain_cycles) == (64, 3275, 1024)


def test_without_buffers_only_the_array_counts() -> None:
    found = systolic_cycles(gemm(256, 256, 256), 32, 32, "os")
    assert found.total_cycles == found.compute_cycles == 64 * (256 + 32 + 32 - 2) - 1


def test_one_element() -> None:
    found = systolic_cycles(gemm(1, 1, 1), 1, 1, "os")
    assert (found.folds, found.compute_cycles, found.mapping_efficiency) == (1, 0, 1.0)


def test_batches_run_one_after_the_other() -> None:
    problem = cascade_problem(load_cascade("batched-gemm"), {"h": 3, "m": 8, "n0": 8, "n1": 8}).einsums[0]
    assert gemm_ranks(problem).batch == ("h",)
    one = systolic_cycles(gemm(8, 8, 8), 4, 4, "ws").compute_cycles + 1
    assert systolic_cycles(problem, 4, 4, "ws").compute_cycles == 3 * one - 1


@pytest.mark.parametrize(
    ("width", "tiles", "lanes"),
    [
        (16, {"h": 2, "e": 8}, (16, 8)),  # two whole heads beside each other; the third stands alone
        (12, {"h": 1, "e": 8}, (8, 8, 8)),  # a second head would not fit whole
        (6, {"h": 1, "e": 6}, (6, 2, 6, 2, 6, 2)),
    ],
)
def test_heads_on_the_columns(width: int, tiles: dict[str, int], lanes: tuple[int, ...]) -> None:
    text = "cascade heads\ninput X[m, d], W[h, e, d]\noutput Q\nQ[m, h, e] = X[m, d] * W[h, e, d] :: add(d)\n"
    problem = cascade_problem(parse_cascade(text), {"m": 4, "d": 5, "h": 3, "e": 8}).einsums[0]
    ranks = gemm_ranks(problem)
    assert (ranks.m, ranks.n, ranks.k) == (("m",), ("h", "e"), ("d",))
    packing = array_packing(problem, ranks.n, width)
    assert (dict(packing.tiles), packing.lanes) == (tiles, lanes)
    found = systolic_cycles(problem, 5, width, "ws")
    assert found.compute_cycles + 1 == len(lanes) * (5 + 4 + 5 + width - 2)


def test_edges_of_a_packed_group_keep_every_lane() -> None:
    problem = gemm(10, 7, 5)
    for width, lanes in ((4, (4, 3)), (7, (7,)), (16, (7,))):
        assert array_packing(problem, ("n1",), width).lanes == lanes


@given(st.integers(1, 40), st.integers(1, 40), st.integers(1, 40), st.integers(1, 9), st.integers(1, 9), st.data())
def test_bounds_and_symmetry(m: int, n: int, k: int, rows: int, columns: int, data: st.DataObject) -> None:
    dataflow = data.draw(st.sampled_from(DATAFLOWS))
    buffers = scale_sim_buffers(columns, *(data.draw(st.sampled_from((1, 2, 64))) for _ in range(3)))
    found = systolic_cycles(gemm(m, n, k), rows, columns, dataflow, buffers)
    assert (found.compute_cycles + 1) * rows * columns >= m * n * k
    assert 0 < found.mapping_efficiency <= 1
    assert found.total_cycles >= found.compute_cycles
    bare = systolic_cycles(gemm(m, n, k), rows, columns, "is")
    turned = systolic_cycles(gemm(n, m, k), rows, columns, "ws")  # (A W)^T = W^T A^T: the operands change places
    assert bare == turned


def test_refuses_what_is_no_product() -> None:
    relu = cascade_problem(load_cascade("relu"), dict.fromkeys(load_cascade("relu").rank_names, 4)).einsums[0]
    with pytest.raises(InputError, match="a contraction of two operands"):
        systolic_cycles(relu, 4, 4, "ws")
    with pytest.raises(InputError, match="array of 0 x 4"):
        systolic_cycles(gemm(4, 4, 4), 0, 4, "ws")
