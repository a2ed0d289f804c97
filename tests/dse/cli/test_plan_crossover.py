"""``tiercade plan crossover``: the answers as table, document and figure; refusals in one sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dse.cli.entry import run

ASK = ["plan", "crossover", "--model", "llama-2-7b", "--context-range", "4Ki..256Ki", "--batch", "1"]
A100 = [*ASK, "--system", "a100-80gb-sxm", "--devices", "8"]


def document(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert run([*arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def hides(found: dict[str, Any]) -> int:
    context = found["host"]["ways"][0]["hides_from"]
    assert isinstance(context, int)
    return context


def test_three_answers_in_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(A100, capsys)
    assert (found["model"], found["devices"], found["context_range"]) == ("Llama-2-7B", 8, [4096, 262_144])
    ways = found["host"]["ways"]
    assert [way["checkpoint"] for way in ways] == ["none", "full"]
    # 25 GB/s of PCI Express 4.0 x16: at the crossing just that is needed, before it more.
    assert found["host"]["link_bytes_per_s"] == pytest.approx(25e9)
    for point in ways[0]["points"]:
        assert (point["forward_bytes_per_s"] <= 25e9) == (point["context"] >= hides(found))
    assert ways[1]["hides_from"] == 4096
    update = found["update"]
    here = update["here"]
    assert here["resident_s"] < here["interleaved_s"] <= min(here["host_s"], here["streamed_s"])
    # 12 bytes a parameter each way over 25 GB/s, and one subgroup of 1e8 that comes back last.
    assert here["streamed_s"] == pytest.approx((6.738e9 / 8 + 6.738e9 / 8 / 8) * 12 / 25e9, rel=0.02)
    assert set(found["sources"]) >= {"host", "drives", "adam_share", "link"}


def test_links_and_devices_move_the_crossing(capsys: pytest.CaptureFixture[str]) -> None:
    usual = hides(document(A100, capsys))
    faster = hides(document([*A100, "--set", "links.host-pcie.bandwidth='45 GB/s'"], capsys))
    assert faster < usual
    slower = hides(document([*A100, "--set", "engines.tensor.throughput.bf16='200 TFLOP/s'"], capsys))
    assert slower < usual


def test_kernels_are_slower_than_the_roofline(capsys: pytest.CaptureFixture[str]) -> None:
    found = document([*A100, "--fidelity", "kernel"], capsys)["host"]["ways"]
    by_fidelity = {(way["checkpoint"], way["fidelity"]): way["hides_from"] for way in found}
    assert by_fidelity["none", "kernel"] < by_fidelity["none", "roofline"]


def test_text_and_figure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "found.svg"
    assert run([*A100, "--drive-writes", "56 PB", "--figure", str(target)]) == 0
    text = capsys.readouterr().out
    for part in ("offload to ddr", "offload to nvme", "drives last", "update of 0.84 B parameters", "interleaved"):
        assert part in text
    assert target.read_bytes().startswith(b"<?xml")


def test_without_drives(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*ASK, "--system", "neupims", "--context-range", "1Ki..2Ki"]) == 0
    assert "offload to drives: neupims has none" in capsys.readouterr().out
    assert document([*ASK, "--system", "neupims", "--context-range", "1Ki..2Ki"], capsys)["drives"] is None


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (["--model", "lama"], "unknown model 'lama'"),
        (["--system", "a100x"], "unknown system 'a100x'"),
        (["--context-range", "1Mi..1Ki"], "--context-range: found 1,048,576 to 1,024; expected two numbers"),
        (["--context-range", "4096"], "--context-range: found '4096'; expected two numbers"),
        (["--context-range", "1Ki..1Gi"], "--context-range: found 1,073,741,824 tokens; expected at most"),
        (["--context-range", "1Ki..x"], "--context-range: found 'x'"),
        (["--context-range", "10..12"], "--context-range: no multiple of 8 in 10 to 12"),
        (["--context", "no"], "--context: found 'no'"),
        (["--batch", "0"], "--batch: found '0'"),
        (["--batch", "1,2,3,4,5,6,7"], "--batch: found"),
        (["--fidelity", "cycle"], "--fidelity: unknown fidelity 'cycle'"),
        (["--share", "0"], "--share: found 0"),
        (["--share", "nan"], "--share: found nan"),
        (["--adam-share", "2"], "--adam-share: found 2"),
        (["--devices", "7"], "--devices: 32 attention heads"),
        (["--drive-writes", "0"], "--drive-writes: found 0"),
        (["--figure", "found.pdf"], "--figure: found 'found.pdf'"),
        (["--system", "tpu-v4i", "--devices", "1"], "--system: tpu-v4i has no host memory behind a link"),
        (["--system", "laptop-m1-max", "--devices", "1"], "--system: laptop-m1-max has no matrix engine"),
        (["--model", "t5-3b"], "--model: T5-3B has an encoder"),
        (["--model", "bert-base"], "--context-range: BERT-base has positions for 512 tokens"),
    ],
)
def test_refusals(changed: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*A100, *changed]) == 2
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
