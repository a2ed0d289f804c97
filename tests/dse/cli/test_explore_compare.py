"""``tiercade explore --compare``: its table, its document, its figure, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dse.cli.entry import run
from tests.dse.explore.spaces import small_space


@pytest.fixture
def space_file(tmp_path: Path) -> str:
    small_space(tmp_path)
    return str(tmp_path / "small-space.yaml")


def test_engines_beside_random(space_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--compare", "exhaustive,local", "--budgets", "500,20", "--seeds", "2", "--out", str(tmp_path / "runs")]
    assert run(["explore", space_file, *options, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["space_size"] == 378
    rows = {(row["engine"], row["budget"]): row for row in found["rows"]}
    assert list(rows) == [(engine, budget) for engine in ("random", "exhaustive", "local") for budget in (20, 500)]
    # 500 is more than there are: whoever proposes each design once has found everything by then.
    for engine in ("random", "exhaustive", "local"):
        assert rows[engine, 500]["designs"] == 378
        assert rows[engine, 500]["hypervolume"] == pytest.approx(1)
        assert rows[engine, 500]["front_share"] == 1
        assert rows[engine, 20]["designs"] == 20
        assert rows[engine, 20]["hypervolume"] < 1
    assert rows["exhaustive", 20]["hypervolume_sd"] == 0
    folder = Path(found["folder"])
    assert sorted(file.name for file in folder.iterdir()) == [
        "comparison.json",
        "comparison.png",
        "comparison.svg",
        "inputs.json",
    ]
    kept = json.loads((folder / "comparison.json").read_text())
    assert kept == {name: value for name, value in found.items() if name != "folder"}
    before = (folder / "comparison.svg").read_bytes()
    assert run(["explore", space_file, *options, "--workers", "2"]) == 0
    said = capsys.readouterr()
    assert (folder / "comparison.svg").read_bytes() == before
    assert "1.0000 ± 0.0000 (ended at 378)" in said.out
    assert "mean ± deviation over 2 seeds" in said.out
    assert str(folder) in said.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--compare", "nsga3"], "did you mean 'nsga2'"),
        (["--compare", "sobol", "--budgets", "20,many"], "--budgets: found 'many'"),
        (["--compare", "sobol", "--budgets", "0"], "--budgets: found '0'"),
        (["--compare", "sobol", "--seeds", "0"], "--seeds: found 0; expected at least 1"),
        (["--compare", "sobol", "--budget", "20"], "--budget: found besides --compare"),
        (["--compare", "sobol", "--fidelity", "mapped"], "roofline, or --merge RUN with all designs"),
        (["--compare", "sobol", "--fidelity", "maped", "--merge", "x"], "did you mean 'mapped'"),
        (["--budgets", "20"], "--budgets: found without --compare"),
        (["--seeds", "3", "--budget", "9"], "--seeds: found without --compare"),
    ],
)
def test_refusals_are_one_sentence(
    space_file: str, tmp_path: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["explore", space_file, "--out", str(tmp_path / "runs"), *arguments]) == 2
    told = capsys.readouterr()
    assert said in told.err
    assert told.out == ""
    assert not (tmp_path / "runs").exists()


def test_the_truth_may_be_that_of_runs_at_any_fidelity(
    space_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # 7 x 3 designs of the 378: fewer bandwidths, one format.
    file = Path(space_file)
    text = file.read_text().replace("log: [25 GB/s, 400 GB/s, 9]", "choices: [25 GB/s]")
    file.write_text(text.replace("weights: {choices: [bf16, int4_g128]}", "weights: {choices: [int4_g128]}"))
    runs = str(tmp_path / "runs")
    shards = []
    for shard in ("1/2", "2/2"):
        assert run(["explore", space_file, "--fidelity", "mapped", "--shard", shard, "--out", runs, "--json"]) == 0
        shards.append(json.loads(capsys.readouterr().out)["run"])
    options = ["explore", space_file, "--compare", "local", "--budgets", "5", "--seeds", "2", "--fidelity", "mapped"]
    options += ["--out", runs]
    assert run([*options, "--merge", shards[0]]) == 2
    assert "11 of 21 designs are there at mapped fidelity; expected runs of all of them" in capsys.readouterr().err
    assert run([*options, "--merge", shards[0], "--merge", shards[1], "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["fidelity"], found["space_size"]) == ("mapped", 21)
    assert {row["engine"] for row in found["rows"]} == {"random", "local"}


def test_a_space_too_large_is_infeasible(space_file: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = Path(space_file)
    text = (
        file.read_text().replace("log: [256, 16384, 7]", "range: [1024, 16384, 1]").replace("GB/s, 9]", "GB/s, 9999]")
    )
    file.write_text(text)
    assert run(["explore", space_file, "--compare", "nsga2", "--out", str(tmp_path / "runs")]) == 3
    said = capsys.readouterr().err
    assert "921,567,834 designs of small" in said
    assert not (tmp_path / "runs").exists()
