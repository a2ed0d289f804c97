"""The published gains beside what their stated inputs give: the numbers by hand, and no number without its sides."""

from __future__ import annotations

import pytest

from hw.cost.converters import survey_adc
from simulator.memory.arrays.operations import driven_share
from simulator.memory.arrays.seed_mram import compare_seed_mram
from simulator.memory.arrays.seed_ramp import compare_seed_ramp, needed_activation_j
from simulator.memory.arrays.seeds import SeedRow
from workloads.errors import InputError

MRAM = {row.quantity: row for row in compare_seed_mram().rows}
RAMP = {row.quantity: row for row in compare_seed_ramp().rows}


def test_the_latency_gain_is_inside_the_range_of_the_cell() -> None:
    # 4973 ns over 1476.5 steps and 50 searches of 1 ns, or of 3.5 and 1.5 ns.
    row = MRAM["latency gain, closed forms"]
    assert row.high == pytest.approx(4973 / 1526.5, rel=1e-3)
    assert row.low == pytest.approx(4973 / (1476.5 * 3.5 + 75), rel=1e-3)
    assert row.verdict == "consistent"
    assert row.needed == "a read and write of 1.82 ns"
    assert MRAM["latency gain, our gate lists"].verdict == "consistent"
    assert MRAM["latency gain in bf16 with the step that fp32 needs"].low == pytest.approx(1.33, abs=0.01)


def test_the_energy_gain_is_not() -> None:
    # 107.6 pJ over 77.1 pJ at 50 fJ a write; 1 / 3.3 of 107.6 pJ leaves writes of 19.9 fJ.
    row = MRAM["energy gain, FloatPIM by cell energies as recalled"]
    assert row.high == pytest.approx(107.6 / 77.1, rel=1e-3)
    assert row.needed == "writes of 19.9 fJ"
    assert [r.verdict for q, r in MRAM.items() if q.startswith("energy gain")] == ["not reproduced"] * 6
    # 62.6 W over 2^23 lanes for 1.1 ns are 8.21 fJ; 4457 steps of them are 36.6 pJ.
    chip = MRAM["energy gain, FloatPIM by its chip's stated power"]
    assert chip.high == pytest.approx(36.6 / 77.1, rel=5e-3)
    # Published cells: 100 fJ gives 107.6 over 1476.5 x 102.16 fJ + 50 x 2.16 fJ.
    assert MRAM["energy gain with published magnetic cells"].high == pytest.approx(107.6 / 150.95, rel=1e-3)


def test_conditional_writes_come_closest() -> None:
    # 1258.5 steps of multiplying and 218 of adding, each writing its share of the cells at 50 fJ.
    shares = driven_share("multiply", "fp32"), driven_share("add", "fp32")
    steps_j = (1258.5 * shares[0] + 218 * shares[1]) * 50e-15 + 1526.5 * 2.16e-15
    row = MRAM["energy gain, only driven magnetic writes pay"]
    assert row.high == pytest.approx(107.6e-12 / steps_j, rel=2e-3)
    assert 1.4 < row.high < 3.3


def test_the_area_gain_hangs_on_the_memristors_transistor() -> None:
    # 30.64 mm2 x 0.951 over 2^33 cells is 4.33 F2 at 28 nm; a magnetic cell has 34.5 F2, full adders 12 and 4 cells.
    bare = MRAM["area gain of a lane, FloatPIM's cell from its chip"]
    assert bare.high == pytest.approx(3 * 4.327 / 34.5, rel=1e-3)
    assert bare.verdict == "not reproduced"
    gated = MRAM["area gain of a lane, memristor with a transistor"]
    assert gated.high == pytest.approx(3 * 53 / 34.5)
    assert gated.verdict == "consistent"


def test_floatpims_own_numbers_against_each_other() -> None:
    # 2^23 lanes x 24.09 fJ over 2.2 ns; 2^33 cells of 4 F2 at 28 nm.
    assert MRAM["FloatPIM's power, all lanes at work"].low == pytest.approx(91.9, abs=0.1)
    assert MRAM["FloatPIM's crossbars"].low == pytest.approx(26.94, abs=0.01)


def test_what_is_stated_of_the_ramp_is_reproduced() -> None:
    reproduced = [row for row in RAMP.values() if row.verdict == "reproduced"]
    assert len(reproduced) == 3
    for row in reproduced:
        assert row.low == row.high == pytest.approx(row.published, rel=2e-3)


def test_the_ramp_gains_nothing_over_the_best_converter() -> None:
    # 0.335 pJ a column: for twice the gain a function must take 0.669 pJ less the converter.
    adc = survey_adc(bits=5, rate_per_s=1.28e9, node_nm=16)
    assert needed_activation_j(2.0, adc) == pytest.approx(2 * 42.82e-12 / 128 - adc.energy_j)
    alone, looked_up = (RAMP[f"energy gain, converter {what}"] for what in ("alone", "and table"))
    assert alone.high == pytest.approx(adc.energy_j / (42.82e-12 / 128))
    assert alone.high < looked_up.low < 1


def test_tables_print_both_sides_and_what_is_missing() -> None:
    text = str(compare_seed_mram())
    assert "published 3.3, here 0.145 to 1.4: not reproduced." in text
    assert "Needed: writes of 19.9 fJ." in text
    assert "the SOT array's read, write and search times" in text.split("Gaps:")[1]
    assert str(SeedRow("q", "x", None, 2.0, 2.0, "prediction", "as is")) == (
        "q [x]: published none, here 2: prediction. as is."
    )


def test_wrong_names_are_told() -> None:
    with pytest.raises(InputError, match=r"unknown layout 'bf16'"):
        driven_share("add", "bf16")
