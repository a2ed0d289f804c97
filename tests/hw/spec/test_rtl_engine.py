"""Engines described by the hardware units they are built of, and the time their contracts give operations."""

from __future__ import annotations

from pathlib import Path

import pytest

from hw.cost.rtl_units import rtl_unit_cost
from hw.rtl.arith.int_dot_model import UNIT, IntDot
from hw.spec.hierarchy import Hierarchy
from hw.spec.load import dump_system, load_system, override
from hw.spec.load_hierarchy import load_hierarchy
from hw.spec.rtl_engine import DERIVED_FROM_SYNTHESIS, DERIVED_FROM_UNIT
from hw.spec.system import System
from simulator.memory.inside import Product
from simulator.units import UnitService
from workloads.errors import InputError

MACHINE = """\
name: near
engines:
  dots:
    kind: near-memory
    home: ddr
    rtl: {unit: int-dot, settings: {lanes: 16}, copies: 64, clock: 500 MHz}
tiers:
  ddr: {kind: dram, capacity: 4 GB, read_bandwidth: 25 GB/s, write_bandwidth: 25 GB/s}
"""


def machine(tmp_path: Path, text: str = MACHINE) -> System:
    file = tmp_path / "near.yaml"
    file.write_text(text)
    return load_system(file)


def test_throughput_comes_from_the_unit(tmp_path: Path) -> None:
    # 64 copies of 16 multiply-adds every cycle of 2 ns: 64 x 16 x 2 / 2 ns = 1.024 Tera-operations a second.
    engine = machine(tmp_path).engines["dots"]
    assert engine.throughput_ops_per_s == {"int8": pytest.approx(1.024e12)}
    assert str(engine.sources["throughput"]) == DERIVED_FROM_UNIT


def test_settings_change_it_and_a_written_machine_reads_the_same(tmp_path: Path) -> None:
    found = machine(tmp_path)
    wider = override(found, ["engines.dots.rtl.settings.lanes=32"])
    assert wider.engines["dots"].throughput_ops_per_s["int8"] == pytest.approx(2.048e12)
    again = tmp_path / "again.yaml"
    again.write_text(dump_system(wider))
    assert load_system(again) == wider


def test_a_stated_throughput_stands(tmp_path: Path) -> None:
    text = MACHINE.replace("    rtl:", "    throughput: {int8: 5 GOP/s}\n    rtl:")
    assert machine(tmp_path, text).engines["dots"].throughput_ops_per_s == {"int8": pytest.approx(5e9)}


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("int-dot", "int-dt", "engines.dots.rtl.unit"),
        ("int-dot", "fifo", "engines.dots.rtl.unit"),
        ("lanes: 16", "lanes: 0", "engines.dots.rtl.settings.lanes"),
        ("lanes: 16", "lane: 16", "engines.dots.rtl.unit"),
        ("clock: 500 MHz", "node_nm: 2", "engines.dots.rtl"),
    ],
)
def test_broken_units_are_said(tmp_path: Path, old: str, new: str, field: str) -> None:
    with pytest.raises(InputError) as caught:
        machine(tmp_path, MACHINE.replace(old, new))
    assert caught.value.field is not None
    assert caught.value.field.startswith(field)
    assert caught.value.line is not None


def test_seconds_are_those_of_the_contract(tmp_path: Path) -> None:
    """1,000 rows of 100 columns times 2 vectors: 2,000 dot products, 32 on the busiest of 64 copies (31.25), each of
    7 beats of 16 lanes (6.25); 224 beats and 3 cycles of latency at 2 ns."""
    rtl = machine(tmp_path).engines["dots"].rtl
    assert rtl is not None
    service = UnitService(rtl)
    product = Product(1000, 100, 2, 1.0, 8, grows=False)
    assert service.product_s(product) == pytest.approx((32 * 7 + 3) * 2e-9)
    assert rtl.contract == UNIT.contract(IntDot(lanes=16))
    # Never faster than the peak.
    assert service.product_s(product) >= 2 * 1000 * 100 * 2 / rtl.operations_per_s


def test_a_node_gives_clock_energy_and_area(tmp_path: Path) -> None:
    """Without a clock, that of the unit's longest path; energy of a beat over its 16 x 2 operations."""
    engine = machine(tmp_path, MACHINE.replace("clock: 500 MHz", "node_nm: 28")).engines["dots"]
    cost = rtl_unit_cost("int-dot", {"lanes": 16}, 28)
    assert engine.throughput_ops_per_s["int8"] == pytest.approx(64 * 32 / cost.path_s, rel=1e-5)
    assert cost.energy_per_beat_j is not None
    assert engine.energy_j_per_op["int8"] == pytest.approx(cost.energy_per_beat_j / 32, rel=1e-5)
    assert str(engine.sources["energy"]) == DERIVED_FROM_SYNTHESIS
    assert engine.rtl is not None
    assert engine.rtl.area_mm2 == pytest.approx(64 * cost.area_mm2)
    # An int8 multiply-add at 28 nm: 0.2 pJ and 0.03 pJ at 45 nm for multiply and add alone (Horowitz, ISSCC 2014);
    # ours has operand registers, the tree and the accumulator besides.
    assert 0.1e-12 < 2 * engine.energy_j_per_op["int8"] < 2e-12


def test_neither_clock_nor_node_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        machine(tmp_path, MACHINE.replace(", clock: 500 MHz", ""))
    assert caught.value.field == "engines.dots.rtl.clock"


ARRAY = """\
name: dots
levels:
  dram: {read_energy: 4 pJ/bit, write_energy: 4 pJ/bit, bandwidth: 100 GB/s, keep: [not intermediate], may_keep: [all]}
  glb: {parent: dram, capacity: 64 KiB, read_energy: 0.1 pJ/bit, write_energy: 0.1 pJ/bit, keep: [all]}
units:
  dot:
    parent: glb
    fanout: {columns: {size: 8}}
    rtl: {unit: int-dot, settings: {lanes: 16}, node_nm: 28}
"""


def test_a_rate_that_is_set_stands() -> None:
    """What units would give is filled in where nobody said otherwise, in the file or by a setting."""
    system = override(load_system("mx-npu"), ["engines.array.throughput.mxfp4=1 TOP/s"])
    assert system.engines["array"].throughput_ops_per_s["mxfp4"] == 1e12


def hierarchy(tmp_path: Path, text: str = ARRAY) -> Hierarchy:
    file = tmp_path / "dots.yaml"
    file.write_text(text)
    return load_hierarchy(file)


def test_a_mappers_array_is_built_of_units(tmp_path: Path) -> None:
    """16 multiply-adds a cycle; the energy of one is a sixteenth of a beat's, as the search then counts it."""
    machine_of_units = hierarchy(tmp_path)
    dot, cost = machine_of_units.units["dot"], rtl_unit_cost("int-dot", {"lanes": 16}, 28)
    assert dot.width == 16
    assert dot.clock_hz == pytest.approx(1 / cost.path_s, rel=1e-5)
    assert cost.energy_per_beat_j is not None
    assert dot.actions["mac"].energy_j == pytest.approx(cost.energy_per_beat_j / 16, rel=1e-5)


@pytest.mark.parametrize(
    ("old", "new", "field"),
    [
        ("lanes: 16", "lanes: 0", "units.dot.rtl.settings.lanes"),
        ("node_nm: 28", "node_nm: 28, copies: 3", "units.dot.rtl.copies"),
        ("unit: int-dot, settings: {lanes: 16}", "unit: fifo", "units.dot.rtl.unit"),
    ],
)
def test_broken_units_of_an_array_are_said(tmp_path: Path, old: str, new: str, field: str) -> None:
    with pytest.raises(InputError) as caught:
        hierarchy(tmp_path, ARRAY.replace(old, new))
    assert caught.value.field == field
