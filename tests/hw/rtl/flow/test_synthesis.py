"""Synthesis of the integer dot product against an independent measurement of the same design, and the baseline."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from hw.rtl.flow import baseline as kept
from hw.rtl.flow.baseline import check_baseline, stale_designs, write_baseline
from hw.rtl.flow.synthesis import Synthesis, synthesise
from hw.rtl.flow.tools import find_liberty, find_yosys
from hw.rtl.units import parameters_of, unit
from workloads.errors import InputError

try:
    find_yosys()
    find_liberty()
except InputError as missing:
    pytest.skip(str(missing), allow_module_level=True)

SMALL: dict[str, Any] = {"lanes": 2, "width": 4, "beats": 2}


def synthesised(settings: dict[str, Any], *, fpga: bool = False) -> Synthesis:
    chosen = unit("int-dot")
    return synthesise(chosen, parameters_of(chosen, settings), fpga=fpga)


def test_flip_flops_are_those_of_the_registers() -> None:
    # Two products of 8 bits and last; tree of 9 and last; sum of 8 + 1 + 1 = 10 held and 10 given; three valid bits.
    found = synthesised(SMALL, fpga=True)
    assert found.cells.flip_flops == 2 * 8 + 1 + 9 + 1 + 10 + 10 + 3
    assert found.cells.cells > found.cells.flip_flops
    assert found.settings == SMALL
    assert found.node_nm in (None, 180)
    assert found.fpga is not None
    assert found.fpga.flip_flops == found.cells.flip_flops


@pytest.mark.slow
@pytest.mark.skipif(find_liberty().stem != "osu018_stdcells", reason="the measurement was made with osu018")
def test_the_reference_design() -> None:
    """An 8-lane int8 dot product with a 32-bit accumulator, written apart from this one and synthesised with the same
    script and library: 216 flip-flops, 5,376 cells, 174,579 um2. (Its path, 4.63 ns to the register, is not ours: the
    two are built of other adders.)"""
    found = synthesised({"beats": 8192}).cells  # 16 + 3 + 13 = 32 bits
    assert found.flip_flops == 216
    assert found.cells == pytest.approx(5376, rel=0.02)
    assert found.area_um2 == pytest.approx(174579, rel=0.02)


@pytest.mark.skipif(shutil.which("sta") is None, reason="OpenSTA is not installed: apt install opensta")
def test_more_lanes_take_more_energy_and_no_less_time() -> None:
    two, four = (synthesised({**SMALL, "lanes": lanes}).timing for lanes in (2, 4))
    assert 0 < two.path_ns < 10
    assert four.path_ns >= two.path_ns * 0.95
    if two.energy_per_cycle_j is not None and four.energy_per_cycle_j is not None:
        assert 1.5 < four.energy_per_cycle_j / two.energy_per_cycle_j < 2.5


def test_only_what_changed_is_synthesised_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[Any, ...]] = []
    numbers = {"cells": 100, "flip_flops": 10, "area_um2": 500.0, "path_ns": 1.0}

    def fake(*asked: Any) -> dict[str, Any]:
        calls.append(asked)
        return dict(numbers)

    monkeypatch.setattr(kept, "_synthesised", fake)
    path = tmp_path / "baseline.yaml"
    assert len(write_baseline(["int-dot"], path)) == len(unit("int-dot").synthesis) == len(calls)
    assert stale_designs(["int-dot"], path) == []
    assert write_baseline(["int-dot"], path) == []
    assert check_baseline("int-dot", path) == []
    numbers["area_um2"] = 515.0  # 3 % more
    assert {drift.quantity for drift in check_baseline("int-dot", path)} == {"area_um2"}
    path.write_text(path.read_text().replace("design: ", "design: x", 1))
    assert len(stale_designs(["int-dot"], path)) == 1


@pytest.mark.slow
def test_the_committed_baseline_of_a_small_unit_holds() -> None:
    assert check_baseline("arbiter") == []
