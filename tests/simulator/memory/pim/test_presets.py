"""Memories that compute: what their data says about them, against what was published."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from simulator.memory.pim import presets
from simulator.memory.pim.presets import load_pim, pim_names
from workloads.errors import InputError

# Units x burst per compute interval, over burst per tCCD_S of each data bus:
#   Samsung: 8 / 4 over 1 / 2. AttAcc, in half clocks: 64 / 12 (six clocks, power-limited) or 64 / 8 over 2 / 4.
#   Duplex's bank group and logic die: 16 / 8 over 2 / 4.
INSIDE_OVER_OUTSIDE = {
    "hbm-pim": 4.0,
    "attacc-bank": 32 / 3,
    "attacc-bank-unlimited": 16.0,
    "duplex-bank-group-pim": 4.0,
    "duplex-bank-pim": 16.0,
    "duplex-logic-pim": 4.0,
    "neupims": 8.0,  # 32 / 4 over 2 / 2
}


@pytest.mark.parametrize(("name", "multiple"), INSIDE_OVER_OUTSIDE.items())
def test_inside_bandwidth_is_units_per_interval(name: str, multiple: float) -> None:
    pim = load_pim(name)
    assert pim.inside_bytes_per_s / pim.outside_bytes_per_s == pytest.approx(multiple, rel=1e-4)


def test_samsung_stacks() -> None:
    # 64 pseudo-channels of 16 GB/s; 512 units of 16 lanes at a burst per 4 ns: 4.1 tera-operations of each kind.
    pim = load_pim("hbm-pim")
    assert pim.outside_bytes_per_s == pytest.approx(1.024e12)
    assert pim.multiply_adds_per_s == pytest.approx(64 * 8 * 16 / 4e-9)
    assert pim.registers.instructions * pim.registers.instruction_bits == 4 * 256  # four bursts of instructions


def test_duplex_stack() -> None:
    # Published: 13.4 TB/s and 107 TFLOPS of five stacks, 21.3 TFLOPS of one, eight operations per byte.
    pim = load_pim("duplex-logic-pim")
    assert 5 * pim.inside_bytes_per_s == pytest.approx(13.4e12, rel=0.01)
    assert 2 * pim.multiply_adds_per_s == pytest.approx(21.3e12, rel=0.005)
    assert 2 * pim.multiply_adds_per_s / pim.inside_bytes_per_s == pytest.approx(8)


def test_power_limit_is_a_rule_between_commands() -> None:
    limited, free = load_pim("attacc-bank"), load_pim("attacc-bank-unlimited")
    assert (limited.compute_ticks, free.compute_ticks) == (12, 8)  # six and four clocks, in half clocks
    assert limited.dram == free.dram


def test_bank_sets_cut_the_banks_up() -> None:
    for name in pim_names():
        pim = load_pim(name)
        parts = [pim.sets[each] for each in pim.column_sets]
        assert sum(map(len, parts)) == pim.dram.banks
        assert frozenset().union(*parts) == pim.sets["all"]


def test_interval_grows_with_vectors_beyond_the_units_rate() -> None:
    pim = load_pim("duplex-logic-pim")  # eight vectors in eight ticks
    assert [pim.interval_ticks(vectors) for vectors in (1, 8, 9, 32)] == [8, 8, 9, 32]
    assert replace(pim, vector_ticks=2 * pim.vector_ticks).interval_ticks(8) == 16


def test_every_number_has_a_source() -> None:
    for name in pim_names():
        kinds = {text.split(":")[0] for text in load_pim(name).sources.values()}
        assert kinds <= {"stated", "derived", "synthetic"}
        assert {"counts", "energy"} <= set(load_pim(name).sources)


def test_unknown_names() -> None:
    with pytest.raises(InputError, match="unknown memory that computes 'hbm-pin'"):
        load_pim("hbm-pin")


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "own.yaml"
    source = Path(presets.__file__).parent / "devices" / "pim.yaml"
    file.write_text(source.read_text() + "own:\n  based_on: attacc-bank\n  timing: {nCCDAB: 16}\n")
    assert load_pim("own", file).compute_ticks == 16
    file.write_text(source.read_text() + "own:\n  based_on: nothing\n")
    with pytest.raises(InputError, match="unknown memory 'nothing'"):
        load_pim("own", file)
