"""Array devices: every number has its source, wrong files are told where."""

from __future__ import annotations

from pathlib import Path

import pytest

from simulator.memory.arrays.devices import CrossbarDevice, LogicDevice, array_names, load_array
from workloads.errors import InputError

NAMES = ("dram-bitwise", "floatpim", "isaac", "neurram", "sot-mram")
OWN = """
kind: logic
gates: sot
tiles: 2
blocks_per_tile: 3
active_blocks_per_tile: 3
rows: 64
columns: 512
port_bits_per_step: 64
own_cell: {step_ns: 2.0, read_fJ: 5.0, write_fJ: 70.0, preset_fJ: 70.0, source: "synthetic: a test"}
sources: {}
"""


def test_the_bundled_arrays() -> None:
    assert array_names() == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_number_has_a_source(name: str) -> None:
    device = load_array(name)
    given = device.model_dump(exclude_unset=True, exclude={"sources", "name", "note", "kind", "gates", "flip"})
    assert set(given) - {"pieces", "cell"} == set(device.sources)


def test_the_chip_of_isaac_and_of_floatpim() -> None:
    isaac, floatpim = load_array("ISAAC"), load_array("floatpim")
    assert isinstance(isaac, CrossbarDevice)
    assert isinstance(floatpim, LogicDevice)
    assert isaac.arrays == 168 * 12 * 8
    # 8192 blocks of 2^20 cells are a gibibyte.
    assert floatpim.blocks * floatpim.rows * floatpim.columns == 8 * 2**30


def test_a_file_of_ones_own(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(OWN)
    device = load_array(file)
    assert isinstance(device, LogicDevice)
    assert (device.name, device.blocks) == ("mine", 6)
    assert device.part().write_j == pytest.approx(70e-15)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("gates: sot", "gates: sott", r"mine.yaml:3: gates: found 'sott'"),
        ("kind: logic", "kind: logical", "kind is 'logical'; expected one of crossbar, logic"),
        ("rows: 64", "rows: 0", r"mine.yaml:7: rows: found 0; expected more than 0"),
        ("rows: 64", "rows: 64\ncell: sot-fast", "2 of cell or own_cell given; expected exactly one"),
        ("active_blocks_per_tile: 3", "active_blocks_per_tile: 4", "expected at most 3, the blocks of a tile"),
    ],
)
def test_wrong_files_are_told_where(tmp_path: Path, old: str, new: str, message: str) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(OWN.replace(old, new))
    with pytest.raises(InputError, match=message):
        load_array(file)


def test_wrong_names_are_told() -> None:
    with pytest.raises(InputError, match=r"unknown array 'floatpm'.*did you mean 'floatpim'"):
        load_array("floatpm")
