"""``tiercade report --csv``: files that are whole or not there, and what is refused."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest

from dse.cli.entry import run
from tests.dse.explore.spaces import small_space


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export")
    small_space(out)
    assert run(["explore", str(out / "small-space.yaml"), "--budget", "50", "--out", str(out / "runs"), "--json"]) == 0
    return next((out / "runs").iterdir())


def test_a_csv_file_instead_of_a_page(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "designs.csv"
    file.write_text("what was there before")
    file.chmod(0o640)
    capsys.readouterr()
    assert run(["report", str(folder), "--csv", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    with file.open(newline="") as opened:
        rows = list(csv.DictReader(opened))
    assert found["csv"] == str(file)
    assert found["rows"] == len(rows) == 50
    assert found["columns"] == list(rows[0])
    assert file.stat().st_mode & 0o777 == 0o640
    assert not (folder / "report.html").exists()
    assert [each.name for each in tmp_path.iterdir()] == ["designs.csv"]
    assert run(["report", str(folder), "--csv", str(file)]) == 0
    assert capsys.readouterr().out == f"{file}: 50 rows of {len(found['columns'])} columns\n"


def test_what_fails_leaves_nothing_behind(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fails(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("dse.cli.report_export.write_csv", fails)
    assert run(["report", str(folder), "--csv", str(tmp_path / "designs.csv")]) == 2
    assert "No space left on device" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.skipif(not os.path.exists("/dev/fd"), reason="there is no /dev/fd here")
def test_a_pipe_is_written_to(folder: Path) -> None:
    read, write = os.pipe()
    try:
        assert run(["report", str(folder), "--csv", f"/dev/fd/{write}", "--json"]) == 0
    finally:
        os.close(write)
    with os.fdopen(read, newline="") as opened:
        assert len(list(csv.DictReader(opened))) == 50


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "--csv", "x.csv"], "is no folder"),
        (["RUN", "--csv", "no/where/x.csv"], "its folder does not exist"),
        (["RUN", "--csv", "RUN"], "is a folder"),
        (["RUN", "--csv", "x.csv", "--out", "page.html"], "one or the other"),
    ],
)
def test_refusals_are_one_sentence(
    arguments: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()
    assert run(["report", *(word.replace("RUN", str(folder)) for word in arguments)]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert len(told.strip().splitlines()) == 1
