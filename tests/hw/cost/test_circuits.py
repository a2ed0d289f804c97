"""Primitives of the cost models: closed forms and limits."""

from __future__ import annotations

import math

import pytest

from hw.cost.circuits import gate_chain, repeated_wire, stage_delay_s
from hw.cost.htree import htree
from hw.cost.technology import NODES, SLOPE_FACTOR

TECH = NODES[32]


def test_the_slope_factor_solves_its_equation() -> None:
    # x^2 = ln(2)^2 + x, the positive root: (1 + sqrt(1 + 4 x 0.48045)) / 2 = 1.3547.
    assert pytest.approx(math.log(2) ** 2 + SLOPE_FACTOR) == SLOPE_FACTOR**2
    assert pytest.approx(1.3547, abs=1e-4) == SLOPE_FACTOR


def test_resistance_and_gate_capacitance_by_hand() -> None:
    # 1.99 x 1.0 V / 683.6 uA = 2911 ohm um; 0.458 x 1.2 + 3 x 0.053 = 0.7086 fF/um.
    assert pytest.approx(2911, rel=1e-3) == TECH.r_n_ohm_um
    assert pytest.approx(0.7086e-15, rel=1e-4) == TECH.c_in_f_per_um


def test_wire_capacitance_by_hand() -> None:
    # 4 F pitch at 32 nm: 64 nm wide, 128 nm thick. Above and below 2 e0 3.9 x 64/210 = 0.02105 fF/um, sides
    # 2 e0 1.5 x 2.214 x 2 = 0.11762, fringe 0.115: 0.25366. Resistance 0.022 / (0.125 x 0.058) = 3.034 ohm/um.
    wire = TECH.semi_global
    assert wire.c_f_per_um == pytest.approx(0.25366e-15, rel=1e-4)
    assert wire.r_ohm_per_um == pytest.approx(3.034, rel=1e-3)


def test_a_stage_costs_its_load_and_itself() -> None:
    one, two, three = (stage_delay_s(TECH, fanout) for fanout in (1, 2, 3))
    assert three - two == pytest.approx(two - one)
    step = SLOPE_FACTOR * TECH.r_n_ohm_um * (1 + TECH.p_to_n) * TECH.c_in_f_per_um
    assert two - one == pytest.approx(step)


def test_a_chain_charges_at_least_its_load() -> None:
    for load in (1e-15, 1e-14, 1e-13, 1e-12):
        assert gate_chain(TECH, 2, load).energy_j > load * TECH.vdd_v**2


def test_a_resistive_line_adds_its_elmore_delay() -> None:
    # All of the load is wire: half of R C.
    plain, line = gate_chain(TECH, 1, 1e-13), gate_chain(TECH, 1, 1e-13, 1000.0, 1e-13)
    assert line.delay_s - plain.delay_s == pytest.approx(SLOPE_FACTOR * 1000 * 0.5e-13)


@pytest.mark.parametrize("node", sorted(NODES))
def test_repeaters_are_at_most_30_percent_slower_than_the_closed_form_optimum(node: int) -> None:
    # Delay a length is R0 (Cin + Cout) / l + r c l / 2 in the spacing and R0 c / w + r Cin w in the size: each pair is
    # least at its geometric mean.
    tech = NODES[node]
    wire, wire_model = tech.semi_global, repeated_wire(tech, tech.semi_global)
    c_in, c_out = (c * (1 + tech.p_to_n) for c in (tech.c_in_f_per_um, tech.c_out_f_per_um))
    rc = wire.r_ohm_per_um * wire.c_f_per_um
    fastest = SLOPE_FACTOR * (
        math.sqrt(2 * tech.r_n_ohm_um * (c_in + c_out) * rc) + 2 * math.sqrt(tech.r_n_ohm_um * c_in * rc)
    )
    assert fastest * 0.999 < wire_model.delay_s_per_um < 1.3 * fastest * 1.01
    assert wire_model.energy_j_per_um > wire.c_f_per_um * tech.vdd_v**2


def test_a_tree_of_one_block_is_the_block() -> None:
    tree = htree(TECH, 1, 1, (100.0, 50.0), 10, 64, 1)
    assert (tree.width_um, tree.height_um) == (100.0, 50.0)
    assert tree.in_s == tree.out_s == tree.word_j == tree.leakage_w == 0.0


def test_a_tree_grows_by_its_channels() -> None:
    # One level down: a channel of 10 + 2 x 64 lines of 4 F across the whole height, 138 x 0.128 um.
    tree = htree(TECH, 1, 2, (100.0, 50.0), 10, 64, 1)
    assert tree.height_um == 100.0
    assert tree.width_um == pytest.approx(100 + 138 * 0.128)
