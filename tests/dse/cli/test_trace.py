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
        (
            ["generate", "--like", "azure-code", "--seed", "-1", "--out", "x.csv"],
            "seed: found -1; expected a seed of 0",
        ),
        (
            ["generate", "--like", "azure-code", "--rate", "1e-6", "--out", "x.csv"],
            "8819 requests at 1e-06/s in bursts",
        ),
        (
            ["generate", "--like", "azure-code", "--arrivals", "gamma", "--out", "x.csv"],
            "azure-code has its own arrivals",
        ),
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


def test_what_was_read_is_told_at_another_rate_too(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["trace", "show", f"{SAMPLES / 'vidur-lengths.csv'}@4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["format"] == "vidur"
    assert found["notes"] == [
        "the file has no arrivals: all requests arrive at 0",
        "arrivals are not the file's: 4 requests/s were asked for",
    ]


def test_a_year_between_two_requests(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Three requests in a year of 31,536,000 s: a rate of 2 in that time; 2, 0, ... in windows, and the last, at its
    # end, in none. Variance over mean of one 2 among N windows: (4 / N - (2 / N)^2) / (2 / N) = 2 - 2 / N.
    file = tmp_path / "t.csv"
    file.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n0,5,5\n0.5,5,5\n31536000,5,5\n")
    assert run(["trace", "show", str(file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["arrivals"]
    assert found["rate_per_s"] == pytest.approx(2 / 31536000)
    assert found["dispersion_1_s"] == pytest.approx(2 - 2 / 31536000)
    assert found["dispersion_60_s"] == pytest.approx(2 - 2 / 525600)
    assert found["most_in_1_s"] == 2
    file.write_text("arrived_at,num_prefill_tokens,num_decode_tokens\n0,5,5\n1e12,5,5\n")
    assert run(["trace", "show", str(file)]) == 2
    assert "arrivals over 1e+12 s; expected at most 1e+09 s" in capsys.readouterr().err
