"""The SRAM model: bit cells counted by hand, invariants, and CACTI 7 as the reference that nothing was fitted to."""

from __future__ import annotations

import csv
import math
import statistics
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.cost.sram import SramCost, sram, sram_organisation
from hw.cost.technology import NODES
from workloads.errors import InputError

KIB, MIB = 1 << 10, 1 << 20

# CACTI 7 as rebuilt from hwcomponents-cacti 1.0.40 with its own settings (LSTP cells and periphery, 300 K, least
# energy x delay^2): capacity, word, node; read pJ, write pJ, access ns, area mm2, leakage uW. The 16 and 7 nm rows are
# that package's own extrapolation from 22 nm.
GOLDEN = [
    (128 * KIB, 64, 65, 59.3, 49.6, 3.09, 0.896, 21.6),
    (128 * KIB, 64, 45, 32.3, 26.1, 2.11, 0.430, 3.34),
    (128 * KIB, 64, 32, 18.2, 14.1, 1.62, 0.217, 5.65),
    (128 * KIB, 64, 22, 7.40, 6.16, 1.25, 0.119, 19.5),
    (128 * KIB, 64, 16, 6.31, 5.25, 0.906, 0.0864, 13.2),
    (128 * KIB, 64, 7, 4.18, 3.47, 0.396, 0.0378, 8.71),
    (100 * KIB, 64, 32, 15.8, 12.6, 1.48, 0.176, 4.45),
    (3 * MIB, 512, 32, 437.0, 420.0, 4.98, 5.66, 121.0),
]


def errors(
    cost: SramCost, read_pj: float, write_pj: float, access_ns: float, area_mm2: float, leakage_uw: float
) -> dict[str, float]:
    return {
        "read": cost.read_energy_j * 1e12 / read_pj - 1,
        "write": cost.write_energy_j * 1e12 / write_pj - 1,
        "access": cost.access_s * 1e9 / access_ns - 1,
        "area": cost.area_mm2 / area_mm2 - 1,
        "leakage": cost.leakage_w * 1e6 / leakage_uw - 1,
    }


def medians(rows: list[dict[str, float]]) -> dict[str, float]:
    return {name: statistics.median(abs(row[name]) for row in rows) for name in rows[0]}


def test_energy_area_and_time_are_within_15_percent_of_the_reference() -> None:
    rows = [
        errors(sram(capacity, word_bits=word, node_nm=node), *reference) for capacity, word, node, *reference in GOLDEN
    ]
    median = medians(rows)
    for name in ("read", "write", "access", "area"):
        assert median[name] < 0.15, (name, median)
        assert all(abs(row[name]) < 0.20 for row in rows), (name, rows)
    assert median["leakage"] < 0.25


@pytest.mark.slow
def test_the_wider_sweep_of_the_reference_is_within_15_percent_too() -> None:
    with (Path(__file__).parent / "cacti7_runs.csv").open() as file:
        runs = list(csv.DictReader(file))
    assert len(runs) == 130
    rows = []
    for run in runs:
        cost = sram(
            int(run["capacity_bytes"]),
            word_bits=int(run["word_bits"]),
            banks=int(run["banks"]),
            ports=int(run["ports"]),
            node_nm=int(run["node_nm"]),
        )
        names = ("read_pj", "write_pj", "access_ns", "area_mm2", "leakage_uw")
        rows.append(errors(cost, *(float(run[name]) for name in names)))
    median = medians(rows)
    assert all(median[name] < 0.15 for name in ("read", "write", "access", "area")), median
    # Leakage is a rougher estimate: the reference counts less of the row drivers' width.
    assert median["leakage"] < 0.35


@pytest.mark.parametrize("node", sorted(NODES))
def test_cells_alone_bound_the_area(node: int) -> None:
    # 146 F^2 a cell (tech_params of the reference); arrays are known to be 55 to 85 % cells.
    cells_mm2 = 8 * 256 * KIB * 146 * (node * 1e-6) ** 2
    area = sram(256 * KIB, word_bits=128, node_nm=node).area_mm2
    assert 0.5 < cells_mm2 / area < 0.9


def test_an_organisation_holds_what_it_should() -> None:
    # 12800 words lie below 14336 = 7 x 2048 on the grid of 4, 5, 6, 7 times a power of two: same mats, fewer rows.
    organisation = sram_organisation(12800, 64, 1, 32)
    full = sram_organisation(14336, 64, 1, 32)
    mats = organisation.across * organisation.down
    assert mats * full.shape.rows * full.shape.mux == 14336
    assert (organisation.across, organisation.down, organisation.shape.mux) == (
        full.across,
        full.down,
        full.shape.mux,
    )
    assert organisation.shape.rows == math.ceil(12800 / (mats * organisation.shape.mux))
    assert organisation.shape.outputs == 64


@settings(max_examples=60, deadline=None)
@given(
    small=st.integers(1 * KIB, 2 * MIB),
    more=st.integers(1, 2 * MIB),
    word=st.sampled_from((32, 64, 72, 256)),
    node=st.sampled_from((7, 22, 32, 40, 65)),
)
def test_a_power_of_two_within_never_costs_more(small: int, more: int, word: int, node: int) -> None:
    below = 2 ** math.floor(math.log2(small * 8 // word)) * word // 8
    one, two = (sram(size, word_bits=word, node_nm=node) for size in (below, small + more))
    assert one.area_mm2 <= two.area_mm2 * (1 + 1e-12)
    assert one.read_energy_j <= two.read_energy_j * (1 + 1e-12)
    assert one.write_energy_j <= two.write_energy_j * (1 + 1e-12)
    assert one.leakage_w <= two.leakage_w * (1 + 1e-12)


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1 * KIB, 2 * MIB), more=st.integers(1, 64 * KIB), node=st.sampled_from((22, 32, 65)))
def test_more_capacity_never_takes_less_area_or_energy(size: int, more: int, node: int) -> None:
    one, two = (sram(s, word_bits=64, node_nm=node) for s in (size, size + more))
    assert one.area_mm2 <= two.area_mm2 * (1 + 1e-12)
    assert one.read_energy_j <= two.read_energy_j * (1 + 1e-12)
    assert one.write_energy_j <= two.write_energy_j * (1 + 1e-12)
    assert one.leakage_w <= two.leakage_w * (1 + 1e-12)


@pytest.mark.parametrize("node", [22, 32, 45, 65])
def test_another_port_costs_area_and_leakage(node: int) -> None:
    one, two = (sram(64 * KIB, word_bits=64, ports=ports, node_nm=node) for ports in (1, 2))
    assert two.area_mm2 > 1.5 * one.area_mm2
    assert two.leakage_w > one.leakage_w


def test_a_wider_word_takes_more_energy_but_less_than_in_proportion() -> None:
    one, four = (sram(256 * KIB, word_bits=word, node_nm=32).read_energy_j for word in (64, 256))
    assert one < four < 4 * one


def test_between_two_nodes_lies_the_geometric_mean() -> None:
    # sqrt(32 x 45) nm is half way between the two in the logarithm.
    low, mid, high = (sram(64 * KIB, word_bits=64, node_nm=node) for node in (32, math.sqrt(32 * 45), 45))
    assert mid.area_mm2 == pytest.approx(math.sqrt(low.area_mm2 * high.area_mm2), rel=1e-9)
    assert mid.read_energy_j == pytest.approx(math.sqrt(low.read_energy_j * high.read_energy_j), rel=1e-9)


def test_below_22_nm_the_stated_rule_holds() -> None:
    # Half the half pitch: area and time 1/2, energy 1/sqrt(2), leakage 0.79/sqrt(2).
    whole, half = (sram(64 * KIB, word_bits=64, node_nm=node) for node in (22, 11))
    assert half.area_mm2 == pytest.approx(whole.area_mm2 / 2)
    assert half.access_s == pytest.approx(whole.access_s / 2)
    assert half.read_energy_j == pytest.approx(whole.read_energy_j / math.sqrt(2))
    assert half.leakage_w == pytest.approx(0.79 * whole.leakage_w / math.sqrt(2))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"capacity_bytes": 0, "word_bits": 64, "node_nm": 32}, "capacity_bytes: capacity_bytes is 0"),
        ({"capacity_bytes": 1024, "word_bits": 64, "node_nm": 3}, "node_nm is 3; expected between 5 and 65"),
        ({"capacity_bytes": 1024, "word_bits": 64, "node_nm": 90}, "node_nm is 90; expected between 5 and 65"),
        ({"capacity_bytes": 64, "word_bits": 64, "node_nm": 32}, "8 words a bank; expected at least 128 bytes"),
        ({"capacity_bytes": 1024, "word_bits": 64, "banks": 0, "node_nm": 32}, "banks is 0"),
        ({"capacity_bytes": 1 << 45, "word_bits": 64, "node_nm": 32}, "words a bank; expected at most 2^36"),
    ],
)
def test_wrong_input_is_named(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(InputError) as caught:
        sram(**arguments)  # type: ignore[arg-type]
    assert message in str(caught.value)
