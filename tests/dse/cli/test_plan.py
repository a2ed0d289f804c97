"""``tiercade plan``: its options, documents, files, exit codes and refusals, typed as a user would."""

from __future__ import annotations

import json
import os
import signal
import threading
from pathlib import Path
from typing import Any

import pytest

from dse.cli.entry import run
from mappers.planner.allocation import faults
from mappers.planner.allocation.csv_format import read_csv, to_csv
from tests.mappers.planner.allocation.exhaustive import rectangle_cut

README = "id,lower,upper,size\nb1,0,3,4\nb2,3,9,4\nb3,0,9,4\nb4,9,21,4\nb5,0,21,4\n"
TRACE = "malloc a 600\nmalloc b 600\nfree a\nmalloc c 1200\nfree b\nfree c\n"


@pytest.fixture
def problem(tmp_path: Path) -> Path:
    file = tmp_path / "problem.csv"
    file.write_text(README)
    return file


def document(arguments: list[str], capsys: pytest.CaptureFixture[str], code: int = 0) -> dict[str, Any]:
    assert run([*arguments, "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_document_has_every_figure(problem: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # MiniMalloc's example: three of the five buffers are alive at any time until 21.
    found = document(["plan", "allocate", str(problem)], capsys)
    assert (found["status"], found["peak_bytes"], found["lower_bound_bytes"], found["gap"]) == (
        "proved_optimal",
        12,
        12,
        0,
    )
    assert found["certificate"] == "buffers alive at time 0 hold 12 bytes together"
    assert set(found["offsets"]) == {"b1", "b2", "b3", "b4", "b5"}
    assert {"backend", "nodes", "seconds", "stopped", "extra_bytes", "buffers", "problem"} <= set(found)


def test_pins_that_overlap_are_said_of_their_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "pins.csv"
    file.write_text("id,lower,upper,size,offset\na,0,3,4,2\nb,1,3,4,4\n")
    assert run(["plan", "allocate", str(file)]) == 2
    assert f"{file}: offset: a and b are pinned onto each other" in capsys.readouterr().err


def test_the_report_says_what_is_proved(problem: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "allocate", str(problem), "--capacity", "1 KiB"]) == 0
    text = capsys.readouterr().out
    for words in (
        "5 buffers",
        "proved optimal",
        "peak         12 bytes",
        "capacity     1,024 bytes",
        "alive at time 0",
    ):
        assert words in text


def test_infeasible_is_exit_code_three_and_says_how_much_is_missing(
    problem: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = document(["plan", "allocate", str(problem), "--capacity", "11"], capsys, code=3)
    assert (found["status"], found["extra_bytes"]) == ("infeasible", {"at_least": 1, "enough": 1})
    assert run(["plan", "allocate", str(problem), "--capacity", "11"]) == 3
    assert "missing      exactly 1 byte;" in capsys.readouterr().out


def test_without_time_the_answer_is_unknown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cut.csv"
    file.write_text(to_csv(rectangle_cut(0, 900)))
    arguments = ["plan", "allocate", str(file), "--capacity", "1000", "--time-limit", "0.3"]
    found = document(arguments, capsys, code=3)
    assert (found["status"], found["stopped"], found["extra_bytes"]["at_least"]) == ("unknown", "time limit", 0)


def test_an_interrupt_prints_the_best_so_far(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "cut.csv"
    file.write_text(to_csv(rectangle_cut(0, 900)))
    timer = threading.Timer(2.0, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    assert run(["plan", "allocate", str(file), "--json"]) == 130
    found = json.loads(capsys.readouterr().out)
    assert (found["status"], found["stopped"]) == ("feasible", "interrupt")
    assert found["peak_bytes"] > 1000


def test_plans_are_written_and_hold(problem: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plan, folder, figure = tmp_path / "plan.csv", tmp_path / "run", tmp_path / "map.png"
    assert run(["plan", "allocate", str(problem), "--out", str(plan), "--figure", str(figure)]) == 0
    assert run(["plan", "allocate", str(problem), "--out", str(folder)]) == 0
    capsys.readouterr()
    solved = read_csv(plan)
    assert faults(solved, [buffer.pinned or 0 for buffer in solved.buffers], 12) == []
    assert figure.read_bytes().startswith(b"\x89PNG")
    assert sorted(path.name for path in folder.iterdir()) == [
        "memory-map.svg",
        "plan.csv",
        "problem.csv",
        "result.json",
    ]
    assert (folder / "plan.csv").read_text() == plan.read_text()
    assert read_csv(folder / "problem.csv").buffers == read_csv(problem).buffers
    first = (folder / "memory-map.svg").read_bytes()
    assert run(["plan", "allocate", str(problem), "--out", str(folder)]) == 0
    assert (folder / "memory-map.svg").read_bytes() == first


def test_several_files_are_planned_in_one_run(
    problem: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.csv"
    other.write_text("id,lower,upper,size\na,0,4,16\n")
    both = ["plan", "allocate", str(problem), str(other)]
    found = document([*both, "--capacity", "12", "--out", str(tmp_path / "runs")], capsys, code=3)
    assert [plan["status"] for plan in found["plans"]] == ["proved_optimal", "infeasible"]
    assert sorted(path.name for path in (tmp_path / "runs").iterdir()) == ["other", "problem"]
    assert run([*both, "--figure", str(tmp_path / "map.png")]) == 2
    assert "--figure: one file for 2 plans; expected --out and a folder" in capsys.readouterr().err
    assert run(["plan", "allocate", str(problem), str(problem), "--out", str(tmp_path)]) == 2
    assert "FILE: two files are called problem" in capsys.readouterr().err


def test_a_trace_is_planned_and_replayed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "requests.txt"
    file.write_text(TRACE)
    # b's 600 and c's 1,200 bytes are alive together; the allocator has one segment of 2 MiB.
    assert document(["plan", "allocate", str(file)], capsys)["peak_bytes"] == 1800
    found = document(["plan", "replay", str(file)], capsys)
    assert (found["reserved_bytes"], found["allocated_bytes"], found["segments"]) == (2_097_152, 1800, 1)
    assert run(["plan", "replay", str(file)]) == 0
    assert "reserved     2,097,152 bytes" in capsys.readouterr().out


def test_a_csv_is_replayed_as_requests(problem: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document(["plan", "replay", str(problem)], capsys)
    assert (found["requests"], found["allocated_bytes"], found["rounded_bytes"]) == (10, 12, 1536)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--capacity", "1 MB/s"], "--capacity: '1 MB/s' is a bandwidth; expected a number of bytes with its unit"),
        (["--capacity", "-4 B"], "--capacity: found -4 B; expected a whole number of bytes, 0 to"),
        (["--time-limit", "0"], "--time-limit: 0 seconds; expected more than 0 seconds"),
        (["--workers", "0"], "--workers: 0 workers; expected at least 1"),
        (["--figure", "map.pdf"], "--figure: found 'map.pdf'; expected a file name that ends in .png or .svg"),
        (["--figure", "nowhere/map.png"], "nowhere/map.png: its folder does not exist"),
        (["--out", "nowhere/plan.csv"], "nowhere/plan.csv: its folder does not exist"),
    ],
)
def test_refusals(problem: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "allocate", str(problem), *options]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert shown.count("\n") == 1


def test_files_that_cannot_be_planned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("id,lower,upper,size\na,4,4,8\n")
    assert run(["plan", "allocate", str(bad)]) == 2
    assert f"{bad}:2: upper: a lives from 4 to 4; expected lower < upper" in capsys.readouterr().err
    assert run(["plan", "allocate", str(tmp_path / "absent.csv")]) == 2
    assert "absent.csv: cannot be read: No such file or directory" in capsys.readouterr().err
    bad.write_bytes(b"\xff\xfe\x00")
    assert run(["plan", "replay", str(bad)]) == 2
    assert "bad.csv: is not text" in capsys.readouterr().err
