"""``tiercade plan layout``: what it prints, and that its words simulate what it names."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dse.cli.entry import run

STEP = ["--model", "llama-3.2-1b", "--system", "h100-sxm", "--context", "4096", "--global-batch", "16"]


def document(words: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert run([*words, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_the_first_is_simulated_as_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(["plan", "layout", *STEP, "--devices", "8", "--top", "3"], capsys)
    assert found["complete"]
    seconds = [each["latency_s"] for each in found["best"]]
    assert seconds == sorted(seconds)
    first = found["best"][0]
    again = document(["simulate", "--phase", "train", *STEP, *first["options"]], capsys)
    assert again["latency_s"] == pytest.approx(first["latency_s"])


def test_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "layout", *STEP, "--devices", "8", "--top", "2"]) == 0
    out = capsys.readouterr().out
    assert "layouts divide" in out
    assert "--parallel" in out


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["--devices", "12"], 2, "devices: 12 devices in nodes of 8; expected 8 or 16"),
        (["--devices", "8", "--loss", "logit"], 2, "--loss: unknown kind of loss 'logit'"),
        (["--devices", "8", "--place", "weights=ddr"], 2, "--place: unknown role 'weights'"),
        (["--devices", "8", "--place", "optimizer=ddd"], 2, "--place: unknown tier 'ddd'"),
        (["--devices", "8", "--context-exchange", "rong"], 2, "--context-exchange: unknown context exchange 'rong'"),
        (["--devices", "8", "--top", "0"], 2, "--top: found 0; expected 1 or more"),
        (["--devices", "8", "--set", "tiers.hbm.capacity=1 GB"], 3, "memory of a device in the smallest of"),
    ],
)
def test_odd_words(words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["plan", "layout", *STEP, *words]) == code
    assert message in capsys.readouterr().err
