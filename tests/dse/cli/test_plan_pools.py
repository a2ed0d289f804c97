"""``tiercade plan allocate --pool``: several memories, what goes where, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dse.cli.entry import run

ROWS = "id,lower,upper,size,pool\na,0,10,5,\nb,0,10,3,\nc,0,10,2,\n"


@pytest.fixture
def problem(tmp_path: Path) -> Path:
    file = tmp_path / "problem.csv"
    file.write_text(ROWS)
    return file


def plan(*arguments: str) -> int:
    return run(["plan", "allocate", *arguments])


def test_the_preferred_pool_is_filled_first(problem: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "plan.csv"
    assert plan(str(problem), "--pool", "sram=8", "--pool", "dram=1 KiB", "--out", str(out), "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["status"] == "proved_optimal"
    assert {name: place["pool"] for name, place in found["plan"].items()} == {"a": "sram", "b": "sram", "c": "dram"}
    assert found["pools"]["sram"] == {"capacity_bytes": 8, "peak_bytes": 8, "missing_bytes": 0}
    assert out.read_text().splitlines()[0] == "id,lower,upper,size,pool,offset"


def test_what_is_missing_is_said(problem: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # 10 bytes alive at once in 5 + 4.
    assert plan(str(problem), "--pool", "near=5", "--pool", "far=4") == 3
    out = capsys.readouterr().out
    assert "infeasible: it is proved that nothing fits" in out
    assert "1 bytes missing" in out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--pool", "sram"), "--pool: 'sram'; expected NAME=SIZE, such as sram='256 KiB'"),
        (("--pool", "a=1", "--pool", "a=2"), "--pool: two pools are called a; expected pools of different names"),
        (("--pool", "a=1", "--capacity", "4"), "--capacity: a capacity beside pools; expected --capacity or --pool"),
        (("--pool", "a=1", "--out", "x.txt"), "is not a CSV"),
        (("--pool", "a=one"), "--pool"),
    ],
)
def test_refusals(problem: Path, arguments: tuple[str, ...], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert plan(str(problem), *arguments) == 2
    assert says in capsys.readouterr().err


def test_a_pool_that_is_not_there(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "problem.csv"
    file.write_text("id,lower,upper,size,pool\na,0,10,5,sarm\n")
    assert plan(str(file), "--pool", "sram=8") == 2
    assert "did you mean 'sram'" in capsys.readouterr().err
