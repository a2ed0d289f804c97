"""``tiercade plan place``: reports, documents, figures, exit codes and one-sentence errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dse.cli.entry import run

SMALL = ["plan", "place", "--model", "gpt-2", "--system", "rtx-4090", "--context", "512"]
TIGHT = [*SMALL, "--time-limit", "4", "--set", "tiers.gddr.capacity=200 MB"]


def document(arguments: list[str], capsys: pytest.CaptureFixture[str], code: int = 0) -> dict[str, Any]:
    assert run([*arguments, "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_what_fits_stays(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(SMALL, capsys)
    assert found["status"] == "proved_optimal"
    assert found["moves"] == []
    assert found["transfers"] == []
    assert found["simulated_latency_s"] == pytest.approx(found["rule_latency_s"])


def test_what_does_not_fit_is_streamed_in_time(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    figure = tmp_path / "tiers.svg"
    found = document([*TIGHT, "--figure", str(figure)], capsys)
    assert found["value"] >= found["bound"] > 0
    assert found["gap"] == pytest.approx(found["value"] / found["bound"] - 1)
    assert found["simulated_latency_s"] == pytest.approx(found["planned_latency_s"], rel=0.05)
    assert found["transfers"]
    assert all(arrival["slack_s"] >= 0 for arrival in found["transfers"])
    for tier, peak in found["simulated_peak_bytes"].items():
        assert peak <= found["capacity_bytes"][tier]
        assert peak <= found["planned_peak_bytes"][tier] * (1 + 1e-9)
    assert figure.read_text().startswith("<?xml")


def test_the_report_names_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(TIGHT) == 0
    text = capsys.readouterr().out
    assert text.startswith("GPT-2 on rtx-4090, decode, batch 1, context 512: ")
    for line in ("status", "latency", "bound", "planned", "simulated", "simple rule", "transfers", "gddr", "ddr", "by"):
        assert f"\n  {line}" in text


def test_energy_and_cost(capsys: pytest.CaptureFixture[str]) -> None:
    energy = document([*TIGHT, "--objective", "energy"], capsys)
    assert energy["value"] == pytest.approx(energy["planned_transfer_and_static_energy_j"])
    cost = document([*TIGHT, "--objective", "cost", "--price", "gddr=10", "--price", "ddr=3"], capsys)
    peaks = cost["planned_peak_bytes"]
    assert cost["value"] <= 10 * peaks["gddr"] / 1e9 + 3 * peaks["ddr"] / 1e9 + 1e-9


def test_what_cannot_fit_says_what_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    found = document([*SMALL, "--set", "tiers.gddr.capacity=50 MB"], capsys, 3)
    assert found["status"] == "infeasible"
    assert found["extra_bytes"] > 0
    assert run([*SMALL, "--set", "tiers.gddr.capacity=50 MB"]) == 3
    assert "\n  missing      " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--objective", "latencey"], "--objective: unknown objective 'latencey'; expected one of cost"),
        (["--phase", "decod"], "--phase: unknown phase 'decod'; expected one of decode, prefill"),
        (["--time-limit", "0"], "--time-limit: 0 seconds; expected more than 0 seconds"),
        (["--pieces", "0"], "--pieces: 0 pieces; expected at least 1"),
        (["--batch", "0"], "--batch: 0 is no count; expected a whole number of at least 1"),
        (["--objective", "cost"], "--price: objective cost without a price; expected --price TIER=AMOUNT"),
        (["--objective", "cost", "--price", "gddr"], "--price: 'gddr'; expected TIER=AMOUNT, the price of 1 GB"),
        (["--objective", "cost", "--price", "hbm=3"], "--price: a price for 'hbm'; expected one of gddr, ddr, nvme"),
        (["--figure", "a.pdf"], "--figure: found 'a.pdf'; expected a file name that ends in .png or .svg"),
        (["--set", "tiers.gdr.capacity=1 GB"], "did you mean 'gddr'?"),
    ],
)  # fmt: skip
def test_errors_are_one_sentence(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*SMALL, *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
