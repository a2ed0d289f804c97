"""Training steps as a user types them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from dse.cli.entry import run

TRAIN = ["simulate", "--phase", "train", "--model", "llama-3-8b", "--system", "a100-80gb-sxm", "--context", "4096"]


def document(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> Any:
    assert run([*TRAIN, *arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_report_has_the_step_its_utilisation_and_what_memory_holds(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*TRAIN, "--devices", "4"]) == 0
    report = capsys.readouterr().out
    for part in ("time per step", "model FLOPs utilisation (MFU)", "optimizer 24.1 GB", "weights bf16"):
        assert part in report


def test_every_option_of_training_changes_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    base = document(["--devices", "4"], capsys)
    full = ["--checkpoint", "full"]
    for change in (["--checkpoint", "selective"], full, [*full, "--checkpoint-every", "2"], ["--loss", "cut"],
                   ["--place", "activations=ddr"], ["--place", "optimizer=ddr"], ["--place", "gradients=ddr"],
                   ["--fidelity", "mapped"], ["--fidelity", "kernel"]):  # fmt: skip
        assert document(["--devices", "4", *change], capsys) != base, change
    assert document(["--devices", "4", "--fidelity", "kernel"], capsys)["latency_s"] > base["latency_s"]


def test_states_are_stored_where_they_are_placed(capsys: pytest.CaptureFixture[str]) -> None:
    """8,030,261,248 parameters: 12 bytes of optimizer, 2 of gradient, 2 of weight."""
    found = document(["--place", "optimizer=ddr"], capsys)["placement_bytes"]
    assert found["optimizer"] == {"ddr": 12 * 8_030_261_248}
    assert sum(found["gradients"].values()) == 2 * 8_030_261_248


def test_a_mixture_of_experts_trains(capsys: pytest.CaptureFixture[str]) -> None:
    """Mixtral over eight devices: an eighth of 32 layers of 8 experts of 3 x 4,096 x 14,336, two bytes each."""
    found = document(["--model", "mixtral-8x7b", "--devices", "8"], capsys)
    assert sum(found["placement_bytes"]["experts"].values()) == 2 * 32 * 3 * 4096 * 14336
    assert found["latency_s"] > 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--checkpoint", "fully"], "--checkpoint: unknown kind of checkpoint 'fully'"),
        (["--loss", "sliced"], "--loss: unknown kind of loss 'sliced'"),
        (["--checkpoint-every", "0"], "--checkpoint-every: 0 is no count"),
        (["--past", "5"], "--past: 5 past tokens of train"),
        (["--model", "smallthinker-4b-a0.6b"], "a router ahead of attention"),
        (["--phase", "decode", "--checkpoint", "full"], "--checkpoint: --checkpoint of decode"),
        (["--phase", "prefill", "--checkpoint-every", "2"], "--checkpoint-every: --checkpoint-every of prefill"),
    ],
)
def test_errors_name_their_option(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*TRAIN, *arguments]) == 2
    assert said in capsys.readouterr().err


def test_what_does_not_fit_says_by_how_much(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*TRAIN, "--place", "optimizer=hbm"]) == 3
    assert "tier 'hbm' cannot hold all optimizer tensors" in capsys.readouterr().err
