"""``tiercade report``: files written, its document, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dse.cli.entry import run
from tests.dse.explore.spaces import small_space


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report")
    small_space(out)
    assert run(["explore", str(out / "small-space.yaml"), "--budget", "100", "--out", str(out / "runs"), "--json"]) == 0
    return next((out / "runs").iterdir())


def test_the_page_lands_in_the_run_folder(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", str(folder)]) == 0
    said = capsys.readouterr()
    assert str(folder / "report.html") in said.err
    assert "weights_error  weights 100 %" in said.out
    assert (folder / "report.html").read_text().startswith("<!DOCTYPE html>")
    assert not list(folder.glob(".*"))  # nothing half written is left


def test_figures_and_document(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page, figures = tmp_path / "page.html", tmp_path / "figures"
    assert run(["report", str(folder), "--out", str(page), "--figures", str(figures), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["report"] == str(page)
    assert page.exists()
    names = ["front.png", "front.svg", "sensitivity.png", "sensitivity.svg"]
    assert sorted(file.name for file in figures.iterdir()) == names
    assert sorted(Path(file).name for file in found["figures"]) == names
    kept = json.loads((folder / "summary.json").read_text())
    assert found["front"] == len(kept["front"])
    assert found["hypervolume"] == kept["hypervolume"]
    assert [each["metric"] for each in found["sensitivity"]] == list(kept["objectives"])
    for each in found["sensitivity"]:
        assert sum(effect["share"] for effect in each["effects"]) + each["rest"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "is no folder"),
        (["RUN", "--out", "page.txt"], "a file name that ends in .html"),
        (["RUN", "--out", "no/where/page.html"], "its folder does not exist"),
        (["RUN", "--figures", "RUN/inputs.json"], "a folder to put figures into"),
    ],
)
def test_refusals_are_one_sentence(
    arguments: list[str], said: str, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["report", *(word.replace("RUN", str(folder)) for word in arguments)]) == 2
    told = capsys.readouterr().err
    assert said in told
    assert "Traceback" not in told
    assert len(told.strip().splitlines()) == 1
