"""Which kind of file a header names, and the commands that make the whole report."""

from __future__ import annotations

from pathlib import Path

import pytest

from dse.reports.figures.style import png_bytes
from dse.reports.sections import with_part
from dse.validation.dram_rows import DRAM_COLUMNS
from dse.validation.drive_rows import DRIVE_COLUMNS
from dse.validation.kinds import KINDS, kind_of, regeneration
from dse.validation.measurements import COLUMNS
from dse.validation.published import PUBLISHED_COLUMNS
from dse.validation.srams import SRAM_COLUMNS
from tests.reference_data import reference_file
from workloads.errors import InputError

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("columns", "name"),
    [
        (COLUMNS, "measured latencies of GPUs"),
        (DRAM_COLUMNS, "DRAM runs"),
        (DRIVE_COLUMNS, "drive runs"),
        (SRAM_COLUMNS, "SRAM runs"),
        (PUBLISHED_COLUMNS, "published figures"),
    ],
)
def test_columns_name_one_kind(tmp_path: Path, columns: tuple[str, ...], name: str) -> None:
    path = tmp_path / "f.csv"
    path.write_text("# a comment\n" + ",".join(columns) + "\n")
    assert kind_of(path).name == name
    assert [kind.name for kind in KINDS if kind.columns <= set(columns)] == [name]


def test_other_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "f.csv"
    path.write_text("colour,taste\n")
    with pytest.raises(InputError, match=r"f\.csv:1: its columns are of no kind known here; expected .*gpu, op"):
        kind_of(path)
    with pytest.raises(InputError, match="No such file"):
        kind_of(tmp_path / "gone.csv")


def test_the_report_says_how_it_is_made() -> None:
    """Each file of the project that it names is there and of the kind that names it."""
    head = (ROOT / "reports" / "accuracy.md").read_text().split("\n## ", 1)[0]
    assert regeneration() in head
    for kind in KINDS:
        for file in kind.files:
            assert file.removesuffix(".csv").isupper() or kind_of(ROOT / file) is kind


SHARED = {
    "GPU_MEASUREMENTS.csv": "gpu_measurements.csv",
    "DRAM_REFERENCE.csv": "dram_reference.csv",
    "SSD_REFERENCE.csv": "ssd_reference.csv",
}


@pytest.mark.slow
@pytest.mark.parametrize("file", [file for kind in KINDS for file in kind.files])
def test_the_report_that_is_kept_is_made_of_these_files(file: str) -> None:
    """Every part and every figure, byte for byte."""
    path = reference_file(SHARED[file]) if file in SHARED else ROOT / file
    made = kind_of(path).validate(path).report()
    kept = (ROOT / "reports" / "accuracy.md").read_text()
    for part in made.parts:
        assert with_part(kept, part) == kept
    for name, figure in made.figures.items():
        assert (ROOT / "reports" / "figures" / name).read_bytes() == png_bytes(figure)
