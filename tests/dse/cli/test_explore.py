"""``tiercade explore``: its document, its folder, and what it refuses."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dse.cli.entry import run
from tests.dse.explore.spaces import small_space


def document(arguments: list[str], capsys: pytest.CaptureFixture[str], code: int = 0) -> dict[str, Any]:
    assert run(["explore", *arguments, "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


@pytest.fixture
def space_file(tmp_path: Path) -> str:
    small_space(tmp_path)
    return str(tmp_path / "small-space.yaml")


def test_everything_and_its_front(space_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    found = document([space_file, "--out", str(tmp_path / "runs")], capsys)
    # 7 x 9 x 3 x 2. In 1 GB nothing fits: 263 M embeddings of 2 bytes are 0.53 GB, and 973 M other weights of 4.16 bits
    # 0.51 GB; that is 7 x 9 x 2 designs.
    assert found["designs"] == found["space_size"] == found["evaluated"] == 378
    assert found["infeasible"] == {"does not fit": 126}
    assert found["designs_per_s"] > 0
    assert found["hypervolume"] == found["random_hypervolume"] > 0
    objectives = list(found["objectives"])
    points = [tuple(design["metrics"][name] for name in objectives) for design in found["front"]]
    for point in points:
        assert not any(all(a <= b for a, b in zip(other, point, strict=True)) and other != point for other in points)
    kept = json.loads((Path(found["run"]) / "summary.json").read_text())
    assert kept["front"] == found["front"]
    assert "designs_per_s" not in kept  # the summary is the same bytes every time


def test_a_run_is_gone_on_with_only_when_asked(
    space_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = [space_file, "--budget", "40", "--out", str(tmp_path / "runs")]
    first = document(arguments, capsys)
    refused = document(arguments, capsys, code=2)
    assert "--resume" in json.dumps(refused)
    again = document([*arguments, "--resume"], capsys)
    assert again["evaluated"] == 0
    assert again["front"] == first["front"]
    other = document([*arguments[:2], "41", *arguments[3:]], capsys)
    assert other["run"] != first["run"]


def test_shards_joined_are_the_same_run(space_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [space_file, "--budget", "50", "--engine", "sobol"]
    whole = document([*arguments, "--out", str(tmp_path / "whole")], capsys)
    shards = [document([*arguments, "--shard", f"{i}/3", "--out", str(tmp_path / "runs")], capsys) for i in (1, 2, 3)]
    # 50 points, each third one from the first, the second and the third on.
    assert [shard["designs"] for shard in shards] == [17, 17, 16]
    assert [shard["shard"] for shard in shards] == ["1/3", "2/3", "3/3"]
    assert len({shard["run"] for shard in shards}) == 3
    assert "shard" not in whole
    merged = [option for shard in shards for option in ("--merge", shard["run"])]
    joined = document([*arguments, *merged, "--out", str(tmp_path / "runs")], capsys)
    assert joined["evaluated"] == 0
    assert (Path(joined["run"]) / "summary.json").read_bytes() == (Path(whole["run"]) / "summary.json").read_bytes()
    assert Path(joined["run"]).name == Path(whole["run"]).name
    file = str(Path(shards[0]["run"]) / "designs.sqlite")
    resumed = document([*arguments, "--merge", file, "--resume", "--out", str(tmp_path / "runs")], capsys)
    assert resumed["front"] == whole["front"]


def test_a_run_of_another_space_is_not_merged(
    space_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other-space.yaml"
    other.write_text(Path(space_file).read_text().replace("name: small", "name: other"))
    run_of_other = document([str(other), "--budget", "5", "--out", str(tmp_path / "runs")], capsys)["run"]
    arguments = [space_file, "--budget", "5", "--out", str(tmp_path / "runs")]
    refused = document([*arguments, "--merge", run_of_other], capsys, code=2)
    assert "holds designs of space 'other'" in json.dumps(refused)
    assert document(arguments, capsys)["evaluated"] == 5  # what was refused left no run behind


def test_ctrl_c_gives_the_best_so_far(space_file: str, tmp_path: Path) -> None:
    """A run at mapped fidelity, which takes long, interrupted once designs are in its store."""
    out = tmp_path / "runs"
    command = [sys.executable, "-c", "from dse.cli.entry import main; main()", "explore", space_file, "--json"]
    command += ["--budget", "300", "--fidelity", "roofline,mapped", "--promote", "1", "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment)
    begun = time.monotonic()
    while time.monotonic() - begun < 60 and not list(out.glob("*/designs.sqlite")):
        time.sleep(0.2)
    time.sleep(3)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 130, stderr.decode()
    found = json.loads(stdout)
    assert found["interrupted"] is True
    assert b"--resume" in stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--engine", "ransom", "--budget", "3"], "did you mean 'random'"),
        (["--engine", "random"], "--budget"),
        (["--budget", "0"], "at least 1"),
        (["--fidelity", "rofline"], "did you mean 'roofline'"),
        (["--workers", "0"], "at least 1"),
        (["--shard", "2"], "such as 2/4"),
        (["--shard", "3/2"], "such as 2/4"),
        (["--shard", "1/2", "--engine", "nsga2", "--budget", "9"], "exhaustive, random, sobol"),
        (["--merge", "nowhere"], "no run is there"),
        (["--dask", "nonsense"], "missing port"),
        (["--dask", "tcp://127.0.0.1:9", "--workers", "2"], "one or the other"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(
    space_file: str, tmp_path: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["explore", space_file, "--out", str(tmp_path / "runs"), *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_broken_space_is_said_with_its_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small_space(tmp_path)
    file = tmp_path / "small-space.yaml"
    file.write_text(file.read_text().replace("latency_s: minimise", "latency: minimise"))
    assert run(["explore", str(file), "--out", str(tmp_path / "runs")]) == 2
    said = capsys.readouterr().err
    assert "small-space.yaml" in said
    assert "did you mean 'latency_s'" in said
