"""``tiercade simulate --what-if``: tables, document, and what it refuses."""

from __future__ import annotations

import json
import math

import pytest

from dse.cli.entry import run

BASE = ["simulate", "--model", "gpt-2", "--system", "h100-sxm", "--batch", "8", "--context", "512"]


def test_changes_and_elasticities_in_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    changes = ["--what-if", "hbm.bandwidth=+20%", "--what-if", "tiers.hbm.read_energy=x2"]
    assert run([*BASE, *changes, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert run([*BASE, "--json"]) == 0
    plain = json.loads(capsys.readouterr().out)
    assert plain == {name: value for name, value in found.items() if name not in ("what_if", "elasticities")}
    # What is asked for is what --set gives.
    assert run([*BASE, "--set", "tiers.hbm.bandwidth=4.02 TB/s", "--json"]) == 0
    faster = json.loads(capsys.readouterr().out)
    first, second, both = found["what_if"]
    assert first["latency_s"] == pytest.approx(faster["latency_s"], rel=1e-9)
    assert first["total_energy_j"] == pytest.approx(faster["total_energy_j"], rel=1e-9)
    assert first["latency_ratio"] == pytest.approx(faster["latency_s"] / plain["latency_s"], rel=1e-9)
    assert second["latency_s"] == plain["latency_s"]
    assert second["total_energy_j"] > plain["total_energy_j"]
    assert both["latency_s"] == first["latency_s"]
    assert both["change"] == "all of these"


def test_elasticities_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*BASE, "--what-if", "all", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["what_if"] == []
    told = found["elasticities"]
    rows = {row["parameter"]: row for row in told["parameters"]}
    assert not set(rows) & set(told["without_effect"])
    assert told["latency_sum"] == pytest.approx(-1, abs=0.01)
    assert told["energy_sum"] == pytest.approx(1, abs=0.01)
    # A slope is what a change of one percent of that number gives.
    path = "tiers.hbm.read_bandwidth"
    assert run([*BASE, "--set", f"{path}={rows[path]['value'] * 1.01} B/s", "--json"]) == 0
    changed = json.loads(capsys.readouterr().out)
    slope = math.log(changed["latency_s"] / found["latency_s"]) / math.log(1.01)
    assert rows[path]["latency_s"]["above"] == pytest.approx(slope, rel=1e-6)


def test_tables(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*BASE, "--what-if", "hbm.bandwidth=x2"]) == 0
    said = capsys.readouterr().out
    assert "tiers.hbm.bandwidth: 3.35 TB/s -> 6.7 TB/s" in said
    assert "all of these" not in said
    assert "tiers.hbm.read_bandwidth" in said
    assert "numbers of the machine do nothing to this run" in said
    # Two engines with equal launch overheads: a tie, told on both sides.
    assert "0 / +" in said
    assert "a / b: less of it gives a, more gives b" in said


@pytest.mark.parametrize(
    ("change", "said", "code"),
    [
        ("hmb.bandwidth=+20%", "did you mean 'hbm'", 2),
        ("hbm.bandwith=x2", "did you mean 'tiers.hbm.bandwidth'", 2),
        ("hbm.bandwidth=fast", "expected a bandwidth with its unit", 2),
        ("al", "PATH=CHANGE", 2),
        ("devices=7", "7", 2),
        ("hbm.capacity=x0.0001", "too much", 3),
    ],
)
def test_refusals_are_one_sentence(change: str, said: str, code: int, capsys: pytest.CaptureFixture[str]) -> None:
    alone = ["--place", "feed_forward=hbm"] if code == 3 else []
    assert run([*BASE, *alone, "--what-if", change]) == code
    told = capsys.readouterr()
    assert said in told.err
    assert told.out == ""
    assert len(told.err.strip().splitlines()) == 1
