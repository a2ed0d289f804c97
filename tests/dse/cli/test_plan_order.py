"""``tiercade plan order``: reports, exit codes, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path
from typing import Any

import pytest

import dse.cli.plan_order as plan_order
from dse.cli.entry import run
from mappers.planner.order import PlannedMemory, plan_memory

BRANCHES = """\
tensors: {x: 4, big: 10, a: 1, b: 5, c: 1, out: 1}
ops:
  - {name: make big, reads: [x], writes: [big]}
  - {name: make b, reads: [x], writes: [b]}
  - {name: shrink big, reads: [big], writes: [a]}
  - {name: shrink b, reads: [b], writes: [c]}
  - {name: join, reads: [a, c], writes: [out]}
"""


@pytest.fixture
def branches(tmp_path: Path) -> str:
    """A graph whose lowest peak is 15 bytes (see the planner's tests)."""
    file = tmp_path / "branches.yaml"
    file.write_text(BRANCHES)
    return str(file)


def document(arguments: list[str], capsys: pytest.CaptureFixture[str], code: int = 0) -> dict[str, Any]:
    assert run(["plan", "order", *arguments, "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_graph_from_a_file(branches: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = document([branches], capsys)
    assert (found["status"], found["peak_bytes"], found["lower_bound_bytes"]) == ("proved_optimal", 15, 15)
    assert sorted(found["order"]) == ["join", "make b", "make big", "shrink b", "shrink big"]
    assert {buffer["id"] for buffer in found["buffers"]} == {"x", "big", "a", "b", "c", "out"}
    assert all(0 <= buffer["offset"] <= 15 - buffer["bytes"] for buffer in found["buffers"])


def test_too_little_memory_says_exactly_how_much_is_missing(branches: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = document([branches, "--capacity", "13"], capsys, 3)
    assert found["status"] == "infeasible"
    assert found["extra_bytes"] == {"at_least": 2, "enough": 2}
    assert run(["plan", "order", branches, "--capacity", "13"]) == 3
    assert "missing      exactly 2 bytes" in capsys.readouterr().out
    assert document([branches, "--capacity", "15"], capsys)["peak_bytes"] == 15


def test_a_grid_of_thousands_is_refused_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "order", "--model", "mobilenet-v2", "--patches", "99x99"]) == 2
    assert "--patches: 99x99 is 9,801 patches; expected at most 256" in capsys.readouterr().err


def test_a_network_in_patches(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(["--model", "mobilenet-v2", "--patches", "auto", "--residual", "accumulated"], capsys)
    # MCUNetV2, figure 1: 172 kB in 4 x 4 patches of the first five blocks, 1372 kB map by map.
    assert found["peak_bytes"] == 28 * 28 * 224
    assert (found["patches"]["blocks"], found["patches"]["rows"], found["patches"]["columns"]) == (5, 4, 4)
    assert 0.08 < found["macs_added"] < 0.11
    assert {row["what"] for row in found["published"]} >= {"map by map", "4x4 patches of 5 blocks"}
    whole = document(["--model", "mobilenet-v2"], capsys)
    assert whole["patches"] is None
    assert whole["peak_bytes"] == 1372 * 1024


def test_options_of_a_network_reach_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    base = ["--model", "mcunet-in0"]
    # 24 x 24 maps of 16 and 64 channels; not in place the depthwise convolution to 12 x 12 needs 64 at both sides.
    assert document(base, capsys)["peak_bytes"] == 24 * 24 * 80
    half = document([*base, "--resolution", "96", "--no-in-place"], capsys)
    assert half["peak_bytes"] == max(48 * 48 * 80, 64 * (48 * 48 + 24 * 24))
    assert half["published"] == []
    streamed = document([*base, "--patches", "2x2"], capsys)
    resident = document([*base, "--patches", "2x2", "--image", "resident"], capsys)
    assert streamed["patches"]["rows"] == streamed["patches"]["columns"] == 2
    assert streamed["peak_bytes"] <= resident["peak_bytes"]


def test_the_report_in_words(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "order", "--model", "mcunet-in3", "--patches", "auto", "--capacity", "64 KiB"]) == 3
    text = capsys.readouterr().out
    for part in ("infeasible: it is proved", "missing      exactly", "grids up to 8x8", "multiply-accumulates, "):
        assert part in text
    assert "SRAM, TinyEngine: 293 KiB, ours 260.1 KiB" in text


def test_a_figure(branches: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("steps.svg", "again.svg"):
        assert run(["plan", "order", branches, "--capacity", "20", "--figure", str(tmp_path / name)]) == 0
    capsys.readouterr()
    drawn = (tmp_path / "steps.svg").read_bytes()
    assert drawn.startswith(b"<?xml")
    assert drawn == (tmp_path / "again.svg").read_bytes()


def test_ctrl_c_keeps_the_best_so_far(
    branches: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(*arguments: Any, **options: Any) -> PlannedMemory:
        os.kill(os.getpid(), signal.SIGINT)
        return plan_memory(*arguments, **options)

    monkeypatch.setattr(plan_order, "plan_memory", interrupted)
    assert document([branches], capsys, 130)["peak_bytes"] >= 15


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "neither a file nor --model; expected GRAPH.yaml or --model NAME"),
        (["FILE", "--model", "mobilenet-v2"], "both a file and --model"),
        (["FILE", "--patches", "2x2"], "--patches: a graph is taken as it is"),
        (["FILE", "--no-in-place"], "--no-in-place: a graph is taken as it is"),
        (["--model", "mobilenet-v4"], "--model: unknown network 'mobilenet-v4'"),
        (["--model", "mobilenet-v2", "--resolution", "4"], "--resolution: 4 pixels; expected 32 to 4096"),
        (["--model", "mobilenet-v2", "--patches", "4"], "--patches: '4' is no grid; expected auto"),
        (["--model", "mobilenet-v2", "--patches", "200x1"], "--patches: a grid of 200x1 patches"),
        (["--model", "mobilenet-v2", "--image", "stream"], "did you mean 'streamed'?"),
        (["--model", "mobilenet-v2", "--residual", "none"], "--residual"),
        (["FILE", "--capacity", "-3"], "--capacity"),
        (["FILE", "--time-limit", "0"], "--time-limit: 0 seconds"),
        (
            ["FILE", "--figure", "steps.pdf"],
            "--figure: found 'steps.pdf'; expected a file name that ends in .png or .svg",
        ),
        (["nothing.yaml"], "nothing.yaml: no such file"),
    ],
)
def test_wrong_arguments(arguments: list[str], says: str, branches: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "order", *(branches if part == "FILE" else part for part in arguments)]) == 2
    error = capsys.readouterr().err
    assert says in error
    assert error.count("\n") == 1
