"""Runs of CACTI beside our SRAM model: reading, medians and the report."""

from __future__ import annotations

from pathlib import Path

import pytest

from dse.validation.srams import SRAM_COLUMNS, read_sram_runs, validate_srams
from hw.cost.sram import sram
from workloads.errors import InputError

# Twice, half and exactly what ours gives would be errors of -50 %, +100 % and 0.
OURS = sram(8192, word_bits=64, node_nm=32)


def write(path: Path, *rows: tuple[object, ...]) -> Path:
    path.write_text("\n".join([",".join(SRAM_COLUMNS), *(",".join(map(str, row)) for row in rows)]) + "\n")
    return path


def run(factor: float) -> tuple[object, ...]:
    ours = (OURS.read_energy_j * 1e12, OURS.write_energy_j * 1e12, OURS.access_s * 1e9, OURS.area_mm2)
    return (8192, 64, 32, 1, 1, *(repr(value * factor) for value in (*ours, OURS.leakage_w * 1e6)))


def test_errors_and_medians(tmp_path: Path) -> None:
    validation = validate_srams(write(tmp_path / "s.csv", run(2.0), run(1.0), run(0.5)))
    medians = validation.document["median_absolute_errors"]
    assert list(medians) == ["all", "32 nm"]
    assert medians["all"] == pytest.approx(
        dict.fromkeys(("read energy", "write energy", "access time", "area", "leakage"), 0.5)
    )
    (part,) = validation.report().parts
    assert "| all | 3 | 50.0%, +100% |" in part
    assert "| read energy | 8 KiB, 64 bit, 32 nm |" in part


def test_ports_and_banks_are_named(tmp_path: Path) -> None:
    (found,) = read_sram_runs(write(tmp_path / "s.csv", (65536, 64, 32, 2, 4, 1, 1, 1, 1, 1)))
    assert found.case == "64 KiB, 64 bit, 32 nm, 2 banks, 4 ports"


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ((8192, 64, 3, 1, 1, 1, 1, 1, 1, 1), "s.csv:2: node_nm: node_nm is 3; expected between 5 and 65"),
        ((8192, 64, 32, 1, 1, 0, 1, 1, 1, 1), "s.csv:2: read_pj: '0'; expected a number above 0"),
        ((8192, 64, 32, 1, 1.5, 1, 1, 1, 1, 1), "s.csv:2: ports: '1.5'; expected a whole number from 1 to 1e12"),
    ],
)
def test_broken_rows_name_line_and_column(tmp_path: Path, row: tuple[object, ...], message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_sram_runs(write(tmp_path / "s.csv", row))
    assert str(caught.value).removeprefix(f"{tmp_path}/") == message
