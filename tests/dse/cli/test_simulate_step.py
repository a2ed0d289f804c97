"""Training steps over many devices as a user types them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dse.cli.entry import run
from dse.reports.chrome_trace import validate_trace
from hw.spec.load import load_system, override
from simulator.training.step.layout import read_parallel
from simulator.training.step.setup import Setup
from simulator.training.step.simulate import simulate_step
from workloads.models.catalogue import model
from workloads.phases import Train

TRAIN = ["simulate", "--phase", "train", "--model", "llama-3-8b", "--system", "a100-80gb-sxm", "--context", "4096"]
LAYOUT = ["--parallel", "tp=4,pp=2,dp=2,zero=1,sp=1"]


def document(arguments: list[str], capsys: pytest.CaptureFixture[str], code: int = 0) -> Any:
    assert run([*TRAIN, *arguments, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def refused(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    code = run([*TRAIN, *arguments])
    return code, capsys.readouterr().err


def test_the_report_says_rates_times_and_memory(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*TRAIN, *LAYOUT, "--global-batch", "32", "--place", "activations=ddr"]) == 0
    report = capsys.readouterr().out
    for part in (
        "Llama-3-8B, train, 32 sequences of 4,096 tokens",
        "16 × a100-80gb-sxm, roofline fidelity, tp=4,pp=2,dp=2,zero=1,sp=1",
        "time per step",
        "tokens per second",
        "model FLOPs utilisation (MFU)",
        "16 micro-batches of 1 a replica, 1f1b, bubble",
        "kernels",
        "waiting for other stages",
        "stage 1",
        "optimizer 6.02 GB",
        "in ddr:",
    ):
        assert part in report, part


def test_the_document_is_that_of_the_step(capsys: pytest.CaptureFixture[str]) -> None:
    words = [*LAYOUT, "--global-batch", "32", "--batch", "2", "--checkpoint", "full", "--checkpoint-every", "2"]
    found = document([*words, "--gradients", "fp32", "--schedule", "zb-h1", "--place", "optimizer=ddr"], capsys)
    setup = Setup(
        model("llama-3-8b"),
        Train(2, 4096, "full", every=2, gradient_format="fp32"),
        32,
        read_parallel("tp=4,pp=2,dp=2,zero=1,sp=1"),
        "zb-h1",
        optimizer="ddr",
    )
    step = simulate_step(setup, override(load_system("a100-80gb-sxm"), ("devices=16",)))
    assert found == json.loads(json.dumps(step.to_json()))
    assert found["tokens_per_s_per_device"] == pytest.approx(32 * 4096 / found["latency_s"] / 16)


def test_devices_are_those_the_layout_takes(capsys: pytest.CaptureFixture[str]) -> None:
    assert document(["--parallel", "tp=2,dp=2"], capsys)["devices"] == 4
    assert document(["--parallel", "tp=8,dp=2", "--devices", "16"], capsys)["devices"] == 16
    assert document(["--parallel", "tp=8,dp=2", "--set", "devices=16"], capsys)["devices"] == 16
    found = document(["--parallel", "tp=4,pp=2,dp=2", "--batch", "2"], capsys)
    assert (found["global_batch"], found["micro_batches"]) == (8, 2)


def test_every_option_of_a_step_changes_it(capsys: pytest.CaptureFixture[str]) -> None:
    base = document([*LAYOUT, "--global-batch", "32"], capsys)
    for change in (["--batch", "2"], ["--schedule", "gpipe"], ["--checkpoint", "full"], ["--straggler", "1=1.5"],
                   ["--place", "activations=ddr"], ["--place", "optimizer=ddr"], ["--gradients", "fp32"],
                   ["--fidelity", "kernel"], ["--loss", "cut"], ["--policy", "fp8-training"]):  # fmt: skip
        assert document([*LAYOUT, "--global-batch", "32", *change], capsys) != base, change
    gathered = ["--parallel", "dp=8,zero=3", "--context", "1024"]
    base = document(gathered, capsys)
    assert document([*gathered, "--prefetch", "3"], capsys)["peak_bytes"] > base["peak_bytes"]
    assert document([*gathered, "--from-master"], capsys)["peak_bytes"] < base["peak_bytes"]
    divided = ["--parallel", "tp=2,cp=2"]
    ring, gather = (document([*divided, "--context-exchange", word], capsys) for word in ("ring", "ulysses"))
    assert ring["latency_s"] != gather["latency_s"]


def test_a_slow_stage_alone_makes_the_step_as_much_slower(capsys: pytest.CaptureFixture[str]) -> None:
    """Of one stage all is slower; of two, the step is no slower than if both were, and no faster than the slow one."""
    alone = document(["--parallel", "tp=8", "--global-batch", "4"], capsys)["latency_s"]
    slow = document(["--parallel", "tp=8", "--global-batch", "4", "--straggler", "0=2"], capsys)["latency_s"]
    assert slow == pytest.approx(2 * alone)
    two = ["--parallel", "tp=8,pp=2", "--global-batch", "16"]
    even, late = document(two, capsys)["latency_s"], document([*two, "--straggler", "1=2"], capsys)["latency_s"]
    assert 1.5 * even < late <= 2 * even


def test_without_a_layout_the_step_is_that_of_one_group(capsys: pytest.CaptureFixture[str]) -> None:
    found = document(["--devices", "4"], capsys)
    assert "placement_bytes" in found
    grown = document(["--devices", "4", "--gradients", "fp32"], capsys)
    assert sum(grown["placement_bytes"]["gradients"].values()) == pytest.approx(
        2 * sum(found["placement_bytes"]["gradients"].values())
    )


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--parallel", "tp=3"], "--parallel tp: tp=3 does not divide 32 heads; expected tp=2 or 4"),
        (["--parallel", "pp=5"], "--parallel pp: 5 stages for 32 layers; expected pp=4 or 8"),
        (["--parallel", "ep=4"], "--parallel ep: ep=4 for Llama-3-8B, which has no experts; expected ep=1"),
        (["--parallel", "sp=1"], "--parallel sp: sp=1 beside tp=1"),
        (["--parallel", "dp=3", "--global-batch", "64"], "--global-batch: 64 sequences do not divide into dp=3"),
        (["--parallel", "pp=4,chunks=2", "--global-batch", "6"], "expected a global batch of 4 or 8"),
        (["--parallel", "tp=8", "--devices", "4"], "layout tp=8: needs 8 devices, has 4 devices"),
        (["--parallel", "tp=8,pp=2", "--devices", "8"], "one replica alone is 16 devices; tp=8 would do"),
        (["--parallel", "tp=8", "--devices", "16"], "--devices: layout tp=8 uses 8 of 16 devices; expected dp=2"),
        (["--parallel", "tp=4,dp=3"], "--devices: layout tp=4,dp=3 uses 12 of 16 devices; expected dp=4"),
        (["--parallel", "cp=4", "--context", "4100"], "--context: 4,100 tokens do not divide into 8 parts"),
        (["--parallel", "tp=8,cp=2", "--context-exchange", "ulysses"], "--parallel cp: 1 key-value heads cannot"),
        (["--parallel", "tp=8,pp=32", "--schedule", "v-half"], "--schedule: 2 chunks of schedule 'v-half' on each"),
        (["--parallel", "pp=2,chunks=2", "--schedule", "zb-h1"], "--schedule: chunks=2 in schedule 'zb-h1'"),
        (["--parallel", "pp=2", "--schedule", "interleaved", "--global-batch", "3"], "a global batch of 2 or 4"),
        (["--parallel", "tp=8", "--global-batch", "1000000000"], "passes of a simulated step"),
        (["--parallel", "dp=100000000"], "devices of a simulated step"),
        (["--parallel", "tp=100000000000000000000"], "devices of a simulated step"),
        (["--parallel", "dp=8"], "smallest change: "),
    ],
)
def test_layouts_that_cannot_be_exit_with_3(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = refused(arguments, capsys)
    assert code == 3
    assert said in text
    assert document(arguments, capsys, 3)["error"]["kind"] == "infeasible"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--parallel", "tp=x"], "--parallel tp: found 'x'; expected a whole number"),
        (["--parallel", "tp=0"], "--parallel tp: 0 is no count"),
        (["--parallel", "chunk=2"], "--parallel: unknown degree 'chunk'"),
        (["--parallel", "chunk=2"], "did you mean 'chunks'?"),
        (["--parallel", "8"], "--parallel: found '8'; expected key=value, such as tp=8"),
        (["--parallel", "dp=2,zero=4"], "--parallel zero: found 4; expected 0, 1, 2 or 3"),
        (["--parallel", "dp=2,zero=-1"], "--parallel zero: -1 is no count; expected 0, 1, 2 or 3"),
        (["--parallel", "dp=8", "--global-batch", "0"], "--global-batch: found 0"),
        (["--parallel", "dp=8", "--batch", "0"], "--batch: 0 is no count"),
        (["--parallel", "tp=8", "--devices", "0"], "--devices: found 0"),
        (["--parallel", "tp=8,pp=2", "--schedule", "zb-h3"], "did you mean 'zb-h2'?"),
        (["--parallel", "tp=4,cp=2", "--context-exchange", "rings"], "did you mean 'ring'?"),
        (["--parallel", "tp=8", "--prefetch", "-1"], "--prefetch: found -1"),
        (["--parallel", "tp=8", "--expert-imbalance", "nan"], "--expert-imbalance: found nan"),
        (["--parallel", "tp=8", "--gradients", "fp33"], "--gradients: unknown number format 'fp33'"),
        (["--parallel", "tp=8,pp=2", "--straggler", "2=2"], "--straggler: no stage 2; expected 0 to 1"),
        (["--parallel", "tp=8,pp=2", "--straggler", "1=0"], "--straggler: found 0 times as long"),
        (["--parallel", "tp=8,pp=2", "--straggler", "1=inf"], "--straggler: found '1=inf'"),
        (["--parallel", "tp=8,pp=2", "--straggler", "one=2"], "--straggler: found 'one=2'"),
        (["--parallel", "tp=8,pp=2", "--straggler", "1=2", "--straggler", "1=3"], "a stage is given twice"),
        (["--parallel", "tp=8", "--place", "activations=dram"], "--place: unknown tier 'dram'"),
        (["--parallel", "tp=8", "--place", "attention=ddr"], "expected activations or optimizer"),
        (["--parallel", "tp=8", "--policy", "zig-zag:2"], "--policy: 'zig-zag:2' of a step over many devices"),
        (["--parallel", "tp=8", "--fidelity", "cycle"], "--fidelity: unknown fidelity of a step over many devices"),
        (["--parallel", "tp=8", "--ahead", "3"], "--ahead of a step over many devices"),
        (["--parallel", "tp=8", "--what-if", "all"], "--what-if of a step over many devices"),
        (["--parallel", "tp=8", "--trace-out", "/nowhere/trace.json"], "its folder does not exist"),
        (["--schedule", "zb-h1"], "--schedule without a layout; expected --parallel or --global-batch too"),
        (["--prefetch", "0"], "--prefetch without a layout"),
        (["--parallel", "tp=8", "--phase", "decode"], "--parallel of decode; expected --phase train"),
        (["--global-batch", "8", "--phase", "prefill"], "--global-batch of prefill; expected --phase train"),
    ],
)
def test_wrong_words_exit_with_2_and_name_their_option(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, text = refused(arguments, capsys)
    assert code == 2
    assert said in text


def test_changes_that_are_listed_do_what_they_say(capsys: pytest.CaptureFixture[str]) -> None:
    """Typed behind the command, the options of each make it fit, on as many devices as it says."""
    error = document(["--parallel", "dp=8", "--global-batch", "8"], capsys, 3)["error"]
    assert error["unit"] == "GB"
    assert error["needed"] > error["available"] == 80
    assert len(error["changes"]) >= 4
    assert error["hint"].startswith(f"smallest change: {error['changes'][0]['change']}")
    for change in error["changes"]:
        words = change["options"]
        layout = [] if "--parallel" in words else ["--parallel", "dp=8"]
        found = document([*layout, "--global-batch", "8", *words], capsys)
        assert found["devices"] == change["devices"]
        assert found["peak_bytes"] == pytest.approx(change["peak_bytes"])
        assert found["peak_bytes"] <= 80e9


def test_a_trace_shows_passes_of_all_stages(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "trace.json"
    assert run([*TRAIN, *LAYOUT, "--global-batch", "16", "--trace-out", str(target)]) == 0
    assert "micro-batches)" not in capsys.readouterr().err
    trace = json.loads(target.read_text())
    validate_trace(trace)
    passes = {event["name"] for event in trace["traceEvents"] if event["ph"] == "X"}
    assert {f"{kind}{micro}.0@{stage}" for kind in "FB" for micro in range(8) for stage in range(2)} <= passes


def test_a_long_step_is_traced_in_part(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """4,000 passes of two stages are 1,000 micro-batches."""
    target = tmp_path / "trace.json"
    assert run([*TRAIN, "--parallel", "tp=8,pp=2", "--global-batch", "3000", "--trace-out", str(target)]) == 0
    assert "the first 1000 of 3,000 micro-batches" in capsys.readouterr().err


def test_a_run_folder_is_the_same_for_the_same_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = []
    for parent in ("first", "second"):
        assert run([*TRAIN, *LAYOUT, "--out", str(tmp_path / parent)]) == 0
        folders += list((tmp_path / parent).iterdir())
        capsys.readouterr()
    assert folders[0].name == folders[1].name
    names = {path.name for path in folders[0].iterdir()}
    assert names == {"inputs.json", "summary.json", "report.txt", "trace.json", "manifest.json"}
    for name in names - {"manifest.json"}:
        assert (folders[0] / name).read_bytes() == (folders[1] / name).read_bytes()


def test_memory_is_drawn_over_the_step(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "memory.svg"
    assert run([*TRAIN, *LAYOUT, "--global-batch", "8", "--memory-out", str(target)]) == 0
    assert "a caching allocator reserves" in capsys.readouterr().err
    assert target.read_text().startswith("<?xml")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([], "--memory-out: --memory-out without a layout; expected --parallel or --global-batch too"),
        ([*LAYOUT, "--place", "activations=ddr"], "--memory-out of activations that leave"),
    ],
)
def test_memory_that_is_not_drawn(
    words: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, error = refused([*words, "--memory-out", str(tmp_path / "memory.svg")], capsys)
    assert code == 2
    assert message in error
    assert not list(tmp_path.iterdir())
