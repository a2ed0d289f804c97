"""Engines of hardware units on the road: the cycles of their contracts, beside the tier their operands come from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from hw.rtl.attention.online_attention_contract import OnlineAttentionContract
from hw.rtl.attention.online_attention_parameters import OnlineAttention
from hw.spec.load import load_system, override
from hw.spec.rtl_engine import RtlUnits
from hw.spec.system import System
from mappers.assign import assign_roles
from simulator.policy import Policy
from simulator.road import simulate
from simulator.units import UnitService
from workloads.errors import InputError
from workloads.formats import FormatChoice
from workloads.models.catalogue import model
from workloads.phases import Decode

MACHINE = """\
name: units
engines:
  dots:
    kind: matrix
    home: ddr
    rtl: {unit: int-dot, settings: {lanes: 16}, copies: 64, clock: 100 MHz}
  rows:
    kind: matrix
    home: ddr
    throughput: {bf16: 1 GOP/s}
    rtl: {unit: online-attention, settings: {head: 64, lanes: 64, group: 4}, copies: 8, clock: 100 MHz}
  lanes: {kind: vector, home: ddr, throughput: {fp32: 100 GFLOP/s}}
tiers:
  ddr: {kind: dram, capacity: 64 GB, read_bandwidth: 10 TB/s, write_bandwidth: 10 TB/s}
"""
FORMATS = FormatChoice(weights="int8", compute="int8")
ATTENTION = Policy(assign=assign_roles({"attention": "rows"}))


@pytest.fixture
def machine(tmp_path: Path) -> System:
    file = tmp_path / "units.yaml"
    file.write_text(MACHINE)
    return load_system(file)


def test_operations_take_the_cycles_of_the_contract(machine: System) -> None:
    """Llama-3.2-1B, batch 2: the output projection has 2,048 x 2,048 weights: 4,096 dot products, 64 on a copy, of 128
    beats; 3 cycles of latency; 10 ns a cycle. Attention has 2 x 8 groups of 4 query heads, 2 on a copy."""
    result = simulate(
        model("llama-3.2-1b"), Decode(2, 1000), machine, formats=FORMATS, policy=ATTENTION, fidelity="cycle"
    )
    times = {row.op: row.time_s for row in result.ops}
    assert times["output"] == pytest.approx((64 * 128 + 3) * 1e-8)
    rows = OnlineAttentionContract(OnlineAttention(head=64, lanes=64, group=4))
    assert times["attention"] == pytest.approx(rows.cycles(lengths=(1000, 1000)) * 1e-8)
    assert any("64 x int-dot (lanes=16) at 100 MHz" in note for note in result.notes)
    # The contract's own latency is seen: peak rates alone would be shorter, by less than one in a hundred here.
    assert times["output"] > 64 * 128 * 1e-8


def test_a_slow_tier_still_binds(machine: System) -> None:
    slow = override(machine, ["tiers.ddr.bandwidth=1 GB/s"])
    result = simulate(model("llama-3.2-1b"), Decode(2, 1000), slow, formats=FORMATS, policy=ATTENTION, fidelity="cycle")
    output = next(row for row in result.ops if row.op == "output")
    assert output.bound == "ddr"
    assert output.time_s >= 2048 * 2048 / 1e9


def test_units_that_do_not_fit_are_said(machine: System) -> None:
    small = override(machine, ["engines.rows.rtl.settings.head=32", "engines.rows.rtl.settings.lanes=32"])
    with pytest.raises(InputError, match="heads of 64") as caught:
        simulate(model("llama-3.2-1b"), Decode(1, 64), small, formats=FORMATS, policy=ATTENTION, fidelity="cycle")
    assert caught.value.field == "engines.rows.rtl.settings.head"
    only = override(machine, ["engines.rows.throughput.bf16=9 TOP/s"])
    with pytest.raises(InputError, match="computes attention only"):
        simulate(model("llama-3.2-1b"), Decode(1, 64), only, formats=replace(FORMATS, compute="bf16"), fidelity="cycle")


@pytest.mark.parametrize("length", [1, 3, 40, 1000])
@pytest.mark.parametrize("settings", [{}, {"head": 8, "lanes": 2, "group": 3, "block": 4}])
def test_many_rows_take_what_the_contract_says(length: int, settings: dict[str, int]) -> None:
    units = RtlUnits.model_validate({"unit": "online-attention", "settings": settings, "clock": "1 GHz"})
    whole = units.contract.cycles(lengths=(length,) * 37)
    assert UnitService(units).attention_cycles(37, length) == whole
