"""``tiercade trace``: what it prints and writes, and what it refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dse.cli.entry import run
from workloads.traces.readers import read_requests

SAMPLES = Path(__file__).resolve().parents[2] / "golden" / "traces"


def document(arguments: list[str], capsys: pytest.CaptureFixture[str], code: int = 0) -> dict[str, Any]:
    assert run(["trace", *arguments, "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_show(capsys: pytest.CaptureFixture[str]) -> None:
    """Mean prompt (1100 + 512 + 1700) / 3; 3 of 8 blocks were there before; 2 gaps in 6.001 s."""
    found = document(["show", str(SAMPLES / "mooncake.jsonl")], capsys)
    assert (found["trace"], found["format"], found["requests"]) == ("mooncake.jsonl", "mooncake", 3)
    assert found["prompt"]["mean"] == pytest.approx(1104)
    assert found["prefixes"] == {"blocks": 8, "distinct": 5, "hit_rate": 3 / 8}
    assert found["arrivals"]["rate_per_s"] == pytest.approx(2 / 6.001)
    assert "dispersion_60_s" not in found["arrivals"]


@pytest.mark.parametrize("name", sorted(file.name for file in SAMPLES.iterdir()))
def test_show_for_people(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trace", "show", str(SAMPLES / name)]) == 0
    text = capsys.readouterr().out
    assert text.startswith(name)
    assert "sd of ln" in text
    assert "nan" not in text


@pytest.mark.parametrize("name", ["requests.svg", "requests.png"])
def test_figures_are_equal_files(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [tmp_path / f"{number}-{name}" for number in (1, 2)]
    for file in files:
        assert run(["trace", "show", "azure-code-like:200", "--figure", str(file)]) == 0
    assert files[0].read_bytes() == files[1].read_bytes()
    assert len(files[0].read_bytes()) > 5000
    capsys.readouterr()


def test_figure_of_requests_that_arrive_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "a.svg"
    assert run(["trace", "show", str(SAMPLES / "sharegpt.json"), "--figure", str(file)]) == 0
    assert file.exists()
    capsys.readouterr()


def test_generate_and_show(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "drawn.jsonl"
    command = ["generate", "--like", "mooncake-conversation", "--requests", "200", "--seed", "5", "--out", str(out)]
    made = document(command, capsys)
    again = document(["show", str(out)], capsys)
    assert again["prompt"] == made["prompt"]
    assert again["prefixes"] == made["prefixes"]
    assert again["arrivals"]["rate_per_s"] == pytest.approx(made["arrivals"]["rate_per_s"], rel=1e-6)
    before = out.read_bytes()
    document(command, capsys)
    assert out.read_bytes() == before


def test_fit_then_generate_is_generate_like_the_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace, model = tmp_path / "trace.csv", tmp_path / "model.yaml"
    document(["generate", "--like", "azure-conversation", "--requests", "1500", "--out", str(trace)], capsys)
    document(["fit", str(trace), "--out", str(model)], capsys)
    made = [tmp_path / "one.csv", tmp_path / "two.csv"]
    for like, out in zip((trace, model), made, strict=True):
        document(["generate", "--like", str(like), "--requests", "100", "--rate", "2", "--out", str(out)], capsys)
    assert made[0].read_bytes() == made[1].read_bytes()
    assert len(read_requests(made[0])) == 100


def test_prefixes_that_csv_does_not_hold_are_mentioned(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "drawn.csv"
    found = document(["generate", "--like", "mooncake-conversation", "--requests", "20", "--out", str(out)], capsys)
    assert found["notes"] == ["CSV has no prefixes: they are left out; .jsonl has them"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["show", "nosuch.csv"], "nosuch.csv: No such file or directory"),
        (["show", "azure-code-like:3", "--figure", "a.pdf"], "--figure: found 'a.pdf'"),
        (["generate", "--like", "azure-codes", "--out", "x.csv"], "did you mean 'azure-code'?"),
        (["generate", "--like", "azure-code", "--out", "x.txt"], "--out: found 'x.txt'"),
        (["generate", "--like", "azure-code", "--requests", "0", "--out", "x.csv"], "requests: found 0"),
        (["fit", str(SAMPLES / "vidur.csv"), "--out", "no/such/folder.yaml"], "its folder does not exist"),
    ],
)
def test_refusals(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["trace", *arguments]) == 2
    assert said in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
