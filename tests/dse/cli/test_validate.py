"""``tiercade validate``: every kind of file, its document, its parts of the report, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dse.cli.entry import run

PIM = (
    "subject,key,group,what,unit,published,role,source,note\npim,duplex rate,Duplex,one stack,TFLOPS,21.3,derived,a,\n"
)
SRAM = (
    "capacity_bytes,word_bits,node_nm,banks,ports,read_pj,write_pj,access_ns,leakage_uw,area_mm2\n"
    "8192,32,32,1,1,2.9564,2.5582,0.843732,0.44456,0.0129735\n"
)


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.parametrize(("text", "kind"), [(PIM, "published figures"), (SRAM, "SRAM runs")])
def test_json_is_one_document(tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, kind: str) -> None:
    assert run(["validate", str(write(tmp_path / "f.csv", text)), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["kind"] == kind
    (row,) = document["rows"]
    assert set(row["compared"] if kind == "published figures" else row["compared"][0]) == {
        "quantity", "unit", "reference", "predicted", "error",
    }  # fmt: skip


def test_each_file_has_its_part_and_keeps_the_others(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = tmp_path / "accuracy.md"
    report.write_text("# Notes\n\nkept\n")
    for name, text in (("p.csv", PIM), ("s.csv", SRAM), ("p.csv", PIM)):
        assert run(["validate", str(write(tmp_path / name, text)), "--report", str(report)]) == 0
    assert "21.3" in capsys.readouterr().out
    found = report.read_text()
    headings = [line for line in found.splitlines() if line.startswith("# ")]
    assert headings == ["# Notes", "# Accuracy of memories that compute", "# Accuracy of SRAM"]
    assert "kept" in found
    assert not (tmp_path / "figures").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (PIM.replace("duplex rate", "duplex rat"), "f.csv:2: key: no model 'duplex rat' of pim"),
        (PIM.replace("21.3", "fast"), "f.csv:2: published: 'fast'; expected a number above 0"),
        (SRAM.replace("8192", "-1"), "f.csv:2: capacity_bytes: '-1'; expected a whole number from 1 to 1e12"),
        (SRAM.replace("0.0129735", "0.0129735,7"), "f.csv:2: 11 cells; expected 10, one for each column"),
        (SRAM.replace(",ports", ""), "f.csv:1: no column 'ports'"),
        ("colour,taste\nred,sweet\n", "f.csv:1: its columns are of no kind known here"),
        ("", "f.csv:1: its columns are of no kind known here"),
        ('gpu,op\n"open', "f.csv:1: no column 'id'"),
    ],
)
def test_broken_files_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, message: str
) -> None:
    assert run(["validate", str(write(tmp_path / "f.csv", text)), "--report", str(tmp_path / "r.md")]) == 2
    captured = capsys.readouterr()
    assert message in captured.err.replace("\n", "")
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert not (tmp_path / "r.md").exists()


def test_a_report_that_is_no_text_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "r.md").write_bytes(b"\xff\xfe")
    assert run(["validate", str(write(tmp_path / "f.csv", PIM)), "--report", str(tmp_path / "r.md")]) == 2
    assert "r.md: is not UTF-8 text" in capsys.readouterr().err
