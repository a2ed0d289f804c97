"""``tiercade rtl``: what it prints, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dse.cli.entry import run
from hw.rtl.units import unit_names


def document(arguments: list[str], capsys: pytest.CaptureFixture[str], code: int = 0) -> Any:
    assert run(["rtl", *arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_list_names_every_unit(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(["list"], capsys)
    assert [row["name"] for row in found] == list(unit_names())
    for row in found:
        assert row["latency_cycles"] >= 1
        assert row["interval_cycles"] >= 1
        assert row["numerics"]
    assert run(["rtl", "list"]) == 0
    assert "int-dot" in capsys.readouterr().out


def test_test_and_contract(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(["test", "fifo", "--beats", "300", "--simulator", "amaranth"], capsys)
    assert (found["passed"], found["mismatches"], found["max_cycle_difference"]) == (True, 0, 0)
    assert found["beats"] >= 600  # in and out
    found = document(["contract", "fifo", "--cases", "20", "--simulator", "amaranth"], capsys)
    assert (found["units"], found["cases"], found["max_cycle_difference"]) == (1, 20, 0)


def test_workers_and_text(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["rtl", "contract", "arbiter", "--cases", "6", "--simulator", "amaranth"]
    texts = []
    for more in ([], ["--workers", "2"]):
        assert run([*arguments, *more]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]


def test_emit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "dot.v"
    assert run(["rtl", "emit", "int-dot", "--set", "lanes=2", "--out", str(file)]) == 0
    capsys.readouterr()
    assert "module int_dot(" in file.read_text()
    found = document(["emit", "int-dot", "--set", "lanes=2"], capsys)
    assert found["verilog"] == file.read_text()
    assert found["parameters"]["lanes"] == 2
    assert str(Path.cwd()) not in found["verilog"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["test", "fif"], "did you mean 'fifo'"),
        (["test", "fifo", "--set", "dept=3"], "did you mean 'depth'"),
        (["test", "fifo", "--set", "depth"], "NAME=VALUE"),
        (["test", "fifo", "--set", "depth=many"], "a whole number"),
        (["test", "fifo", "--set", "depth=0"], "from 1 to 1024"),
        (["test", "--set", "depth=2"], "one unit"),
        (["test", "fifo", "--beats", "0"], "at least 1"),
        (["test", "fifo", "--simulator", "vcs"], "icarus"),
        (["contract", "fifo", "--cases", "-1"], "at least 1"),
        (["emit", "fifo", "--out", "no/such/place.v"], "existing folder"),
        (["formal", "fifo", "--depth", "0"], "at least 1"),
        (["mutants", "fifo", "--count", "0"], "at least 1"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["rtl", *arguments]) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert "Traceback" not in shown.err
