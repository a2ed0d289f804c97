"""``tiercade memory characterise``: documents, figures, run folders, refusals, and a reader that goes away."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from dse.cli.entry import run

CHARACTERISE = ["memory", "characterise", "--device"]
LINK = [*CHARACTERISE, "pcie-4.0-x16"]


def document(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert run([*arguments, "--json"]) == 0
    captured = capsys.readouterr()
    assert captured.err == ""  # progress is for terminals
    found: dict[str, Any] = json.loads(captured.out)
    return found


def test_one_document_with_all_points(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(LINK, capsys)
    assert (found["device"], found["kind"], found["written"]) == ("pcie-4.0-x16", "link", [])
    assert set(found["charts"]) == {"efficiency", "bandwidth", "time"}
    time = found["charts"]["time"]
    assert (time["x"], time["y"]) == ("message_bytes", "time_s")
    assert time["limits"] == [{"name": "latency", "time_s": 1e-6}]
    points = time["curves"][0]["points"]
    assert [point["message_bytes"] for point in points] == [1 << power for power in range(4, 29)]


def test_sram_takes_its_options(capsys: pytest.CaptureFixture[str]) -> None:
    plain = document([*CHARACTERISE, "sram"], capsys)
    assert plain["settings"] == {"node_nm": 22, "word_bits": 64, "banks": 1, "ports": 1}
    for option, value in (("--node", "32"), ("--word-bits", "128"), ("--banks", "4"), ("--ports", "2")):
        assert document([*CHARACTERISE, "sram", option, value], capsys)["charts"] != plain["charts"], option


@pytest.mark.parametrize(("name", "start"), [("a.svg", b"<?xml"), ("A.PNG", b"\x89PNG")])
def test_figures_are_the_same_each_time(
    name: str, start: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    figure = tmp_path / name
    contents = []
    for _ in range(2):
        assert document([*LINK, "--figure", str(figure)], capsys)["written"] == [str(figure)]
        contents.append(figure.read_bytes())
    assert contents[0] == contents[1]
    assert contents[0].startswith(start)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_a_run_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder,) = document([*LINK, "--out", str(tmp_path)], capsys)["written"]
    assert Path(folder).name.startswith("characterise-pcie-4.0-x16-")
    names = {path.name for path in Path(folder).iterdir()}
    drawn = {f"curves{width}.{kind}" for width in ("", "-column") for kind in ("png", "svg")}
    assert names == {"curves.json", "inputs.json", "manifest.json", *drawn}
    points = json.loads((Path(folder) / "curves.json").read_text())
    assert points["charts"] == document(LINK, capsys)["charts"]
    assert document([*LINK, "--out", str(tmp_path)], capsys)["written"] == [folder]


def test_tables_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(LINK) == 0
    shown = capsys.readouterr().out
    for words in (
        "pcie-4.0-x16: 31.5 GB/s each way",
        "256 MiB",
        "line rate: 31.5 GB/s",
        "every byte: 100 %",
        "header_bytes:",
    ):
        assert words in shown, words


def test_dram_with_another_mapping(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dse.reports.characteristics.dram._REQUESTS", 500)
    one = document([*CHARACTERISE, "DDR4-3200"], capsys)
    other = document([*CHARACTERISE, "ddr4-3200", "--mapping", "RoBaRaCoCh"], capsys)
    assert (one["settings"]["mapping"], other["settings"]["mapping"]) == ("MOP4CLXOR", "RoBaRaCoCh")
    assert one["charts"] != other["charts"]
    more = document([*CHARACTERISE, "DDR4-3200", "--ranks", "2"], capsys)
    assert "rank 2" in more["headline"]
    assert run([*CHARACTERISE, "DDR4-3200"]) == 0
    assert "mean read latency" in capsys.readouterr().out
    assert run([*CHARACTERISE, "DDR4-3200", "--mapping", "RoBaRaCoC"]) == 2
    assert "--mapping: " in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["memory", "characterise"], "--device"),
        ([*CHARACTERISE, "DDR4-320"], "--device: unknown device 'DDR4-320'"),
        ([*CHARACTERISE, "DDR4-320"], "did you mean 'DDR4-3200'?"),
        ([*CHARACTERISE, "sarm"], "did you mean 'sram'?"),
        ([*CHARACTERISE, "pcie-9.0-x16"], "--device: found 9; expected one of 3, 4, 5, 6"),
        ([*CHARACTERISE, "no/such.yaml"], "no/such.yaml"),
        ([*CHARACTERISE, "sram", "--node", "3"], "--node: "),
        ([*CHARACTERISE, "sram", "--node", "nan"], "--node: "),
        ([*CHARACTERISE, "sram", "--word-bits", "0"], "--word-bits: "),
        ([*CHARACTERISE, "sram", "--banks", "-1"], "--banks: "),
        ([*CHARACTERISE, "sram", "--banks", str(1 << 30)], "--banks: "),
        ([*CHARACTERISE, "sram", "--ports", "0"], "--ports: "),
        ([*CHARACTERISE, "sram", "--ranks", "2"], "--ranks: means nothing for SRAM; expected DRAM"),
        ([*LINK, "--node", "7"], "--node: means nothing for a link; expected SRAM"),
        ([*LINK, "--mapping", "MOP4CLXOR"], "--mapping: means nothing for a link"),
        ([*CHARACTERISE, "DDR4-3200", "--ranks", "3"], "--ranks: "),
        (
            [*LINK, "--figure", "curves.pdf"],
            "--figure: found 'curves.pdf'; expected a file name that ends in .png or .svg",
        ),
        ([*LINK, "--figure", "no/such/folder/curves.png"], "its folder does not exist"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_a_sentence(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1, captured.err
    assert says in captured.err


def test_a_folder_is_no_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "curves.png"
    folder.mkdir()
    assert run([*LINK, "--figure", str(folder)]) == 2
    assert "is a folder" in capsys.readouterr().err
    assert run([*LINK, "--out", __file__]) == 2
    assert "is a file" in capsys.readouterr().err


def test_a_reader_that_goes_away_is_told_nothing() -> None:
    code = "import sys\nfrom dse.cli.entry import main\nsys.argv = ['tiercade', *sys.argv[1:]]\nmain()"
    with subprocess.Popen(
        [sys.executable, "-c", code, *LINK], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == b""


def test_help_does_not_import_the_engine() -> None:
    code = "import sys\nfrom dse.cli.entry import run\nrun(['memory', 'characterise', '--help'])\n"
    code += "assert not {'numpy', 'numba', 'matplotlib', 'simulator'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--word-bits" in done.stdout
