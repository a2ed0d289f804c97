"""``tiercade report``: files written, its document, and what it refuses."""

from __future__ import annotations

import gzip
import json
from importlib.resources import files
from pathlib import Path

import pytest

from dse.cli.entry import run
from dse.evaluate.design import base_system
from dse.reports.chrome_trace import validate_trace
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
    kinds = ("designs-area", "designs-costed-parts", "designs-energy-decode", "designs-time-decode")
    names = sorted(f"{name}.{end}" for name in (*kinds, "front", "sensitivity") for end in ("png", "svg"))
    assert sorted(file.name for file in figures.iterdir()) == names
    assert sorted(Path(file).name for file in found["figures"]) == names
    kept = json.loads((folder / "summary.json").read_text())
    assert found["front"] == len(kept["front"])
    assert found["hypervolume"] == kept["hypervolume"]
    assert [each["metric"] for each in found["sensitivity"]] == list(kept["objectives"])
    for each in found["sensitivity"]:
        assert sum(effect["share"] for effect in each["effects"]) + each["rest"] == pytest.approx(1)


def test_designs_in_depth(folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    front = json.loads((folder / "summary.json").read_text())["front"]
    picked, traces, page = front[0]["ordinal"], tmp_path / "traces", tmp_path / "page.html"
    arguments = ["--in-depth", "0", "--design", str(picked), "--traces", str(traces), "--out", str(page)]
    assert run(["report", str(folder), *arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["in_depth"] == [picked]
    [trace] = traces.iterdir()
    assert trace.name == f"design-{picked}-decode.trace.json.gz"
    validate_trace(json.loads(gzip.decompress(trace.read_bytes())))
    assert run(["report", str(folder), "--in-depth", "0", "--out", str(page), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["in_depth"] == []
    assert "Two designs side by side" in page.read_text()


def test_a_run_whose_machine_is_gone_has_its_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What the store knows is shown; what needs the machine's file is left out, and said to be once."""
    own = tmp_path / "own"
    own.mkdir()
    space = small_space(own)
    machine = own / "machine.yaml"
    machine.write_text((files("hw.spec.presets") / "edge-npu.yaml").read_text())
    file = own / "small-space.yaml"
    file.write_text(file.read_text().replace("system: edge-npu", "system: machine.yaml"))
    assert run(["explore", str(file), "--budget", "60", "--out", str(tmp_path / "runs"), "--json"]) == 0
    machine.unlink()
    base_system.cache_clear()
    [made] = (tmp_path / "runs").iterdir()
    capsys.readouterr()
    assert run(["report", str(made)]) == 0
    said = capsys.readouterr().err
    assert "not shown in depth" in said
    assert said.count("machine.yaml") == 1
    assert "Two designs side by side" in (made / "report.html").read_text()
    assert space.name in (made / "report.html").read_text()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere"], "is no folder"),
        (["RUN", "--out", "page.txt"], "a file name that ends in .html"),
        (["RUN", "--out", "no/where/page.html"], "its folder does not exist"),
        (["RUN", "--figures", "RUN/inputs.json"], "a folder to put figures into"),
        (["RUN", "--traces", "RUN/inputs.json"], "a folder to put timelines into"),
        (["RUN", "--design", "100000"], "design 100,000 was not simulated in this run"),
        (["RUN", "--in-depth", "-1"], "0 or more"),
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
