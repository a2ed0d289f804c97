"""Areas taken apart: terms of a sum by hand, parts that are costed."""

from __future__ import annotations

from pathlib import Path

import pytest

from dse.reports.exploration.areas import area_stacks
from dse.space.space import Space
from hw.spec.load import load_system, override_values
from hw.spec.system import System
from tests.dse.explore.spaces import small_space


def with_quantities(folder: Path, **values: str) -> Space:
    document = small_space(folder).model_dump()
    document["quantities"] = {name: {"value": value} for name, value in values.items()}
    document["objectives"] = {"latency_s": "minimise"}
    return Space.model_validate(document)


def pieces(space: Space, system: System, **numbers: float) -> dict[str, dict[str, float]]:
    stacks = area_stacks(space, system, numbers)
    return {stack.title: {piece.name: piece.area_mm2 for piece in stack.pieces} for stack in stacks}


def test_terms_of_a_sum(tmp_path: Path) -> None:
    space = with_quantities(tmp_path, area_mm2="20 + 0.5 * macs + (bandwidth / 2e9 - 3) + macs * 2")
    expected = {"area": {"fixed": 17.0, "macs": 10.0, "bandwidth": 4.0}}  # 20 - 3, (0.5 + 2) x 4, 8e9 / 2e9
    assert pieces(space, load_system("a40"), macs=4.0, bandwidth=8e9) == expected


def test_a_quantity_alone_is_taken_apart_in_its_turn(tmp_path: Path) -> None:
    space = with_quantities(tmp_path, core_mm2="macs + 2", die_mm2="core_mm2 + bandwidth", other="die_mm2 * 2")
    found = pieces(space, load_system("a40"), macs=4.0, bandwidth=1.0, core_mm2=6.0, die_mm2=7.0)
    assert found == {"core": {"macs": 4.0, "fixed": 2.0}, "die": {"macs": 4.0, "fixed": 2.0, "bandwidth": 1.0}}


def test_words_are_those_of_the_file(tmp_path: Path) -> None:
    space = with_quantities(tmp_path, area_um2="500e3 * macs + 2e9 / bandwidth")
    [stack] = area_stacks(space, load_system("a40"), {"macs": 2.0, "bandwidth": 1e3})
    assert [piece.text for piece in stack.pieces] == ["500e3 × macs", "2e9 / bandwidth"]
    assert [piece.area_mm2 for piece in stack.pieces] == pytest.approx([1.0, 2.0])


@pytest.mark.parametrize("value", ["macs - 100", "1 + latency_s"])
def test_what_is_no_stack_is_left_out(value: str, tmp_path: Path) -> None:
    """A piece below zero, or a number that is not known."""
    space = with_quantities(tmp_path, area_mm2=value)
    assert pieces(space, load_system("a40"), macs=4.0) == {}


def test_hardware_units_and_macros(tmp_path: Path) -> None:
    """Twice the units have twice the area; two macros of half the capacity are two such memories."""
    space = with_quantities(tmp_path, cost="macs")
    system = load_system("mx-npu")
    one = pieces(space, system, macs=1.0)["costed parts"]["array"]
    twice = override_values(system, {"engines.array.rtl.copies": 1024})  # 512 in the preset
    assert pieces(space, twice, macs=1.0)["costed parts"]["array"] == pytest.approx(2 * one)
    scratchpad = pieces(space, load_system("edge-npu"), macs=1.0)["costed parts"]["scratchpad"]
    assert scratchpad > 0
