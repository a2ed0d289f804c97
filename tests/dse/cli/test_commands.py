"""The commands as a user types them: documents, files, determinism and exit codes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dse.cli.entry import run
from dse.reports.chrome_trace import validate_trace

SIMULATE = ["simulate", "--model", "llama-3.1-8b", "--system", "laptop-nvme"]


def document(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> Any:
    """The JSON document a command prints."""
    assert run([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_simulate_prints_one_document_whose_parts_add_up(capsys: pytest.CaptureFixture[str]) -> None:
    result = document(SIMULATE, capsys)
    assert result["tokens_per_s"] == pytest.approx(1 / result["latency_s"])
    assert sum(result["energy_j"].values()) == pytest.approx(result["total_energy_j"])
    assert sum(result["time_by_bound_s"].values()) == pytest.approx(result["latency_s"])
    assert result["bounds"]["latency_s"] <= result["latency_s"]
    stored = sum(size for tiers in result["placement_bytes"].values() for size in tiers.values())
    assert stored == 2 * 8_030_261_248 + 2048 * 131_072


def test_a_piece_of_a_prompt_costs_less_than_all_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    """512 tokens behind 3,584 that are cached: more than 512 alone, which see less, and less than all 4,096."""
    prompt = ["simulate", "--model", "llama-3.1-8b", "--system", "h100-sxm", "--phase", "prefill", "--context"]
    alone, piece, whole = (
        document([*prompt, *rest], capsys)["latency_s"] for rest in (["512"], ["4096", "--past", "3584"], ["4096"])
    )
    assert alone < piece < whole / 4
    assert run(["simulate", "--model", "llama-3.1-8b", "--system", "h100-sxm", "--past", "5"]) == 2
    assert "--past: 5 past tokens of decode" in capsys.readouterr().err


def test_every_option_changes_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    base = ["simulate", "--model", "olmoe-1b-7b", "--system", "rtx-4090", "--context", "1024"]
    plain = document(base, capsys)
    cached = [*base, "--expert-cache", "16"]
    changes = [
        ["--batch", "4"], ["--context", "2048"], ["--phase", "prefill"], ["--devices", "2"],
        ["--set", "tiers.gddr.bandwidth=500 GB/s"], ["--weights", "int4_g128"], ["--kv-cache", "fp8_e4m3"],
        ["--activations", "fp32"], ["--compute", "fp8_e4m3"], ["--place", "experts=ddr"], ["--assign", "gemm=vector"],
    ]  # fmt: skip
    for change in changes:
        assert document([*base, *change], capsys) != plain, change
    spilled = [*base, "--place", "attention=ddr"]
    assert document([*spilled, "--ahead", "0"], capsys) != document(spilled, capsys)
    warm = document(cached, capsys)
    for change in (
        ["--expert-cache", "17"], ["--expert-home", "nvme"], ["--steps", "9"], ["--warmup", "3"],
        ["--routing-skew", "1.5"], ["--routing-repeat", "0.7"], ["--seed", "9"],
    ):  # fmt: skip
        assert document([*cached, *change], capsys) != warm, change


def test_a_model_can_be_a_file_or_its_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = Path(__file__).resolve().parents[3] / "workloads" / "models" / "catalogue" / "Llama-3.1-8B.json"
    (tmp_path / "config.json").write_text(source.read_text())
    from_name = document(SIMULATE, capsys)
    for path in (tmp_path / "config.json", tmp_path):
        arguments = list(SIMULATE)
        arguments[2] = str(path)
        assert document(arguments, capsys)["latency_s"] == from_name["latency_s"]


def test_the_trace_is_valid_and_names_its_tracks(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "trace.json"
    assert run([*SIMULATE, "--trace-out", str(path)]) == 0
    trace = json.loads(path.read_text())
    validate_trace(trace)
    tracks = {event["args"]["name"] for event in trace["traceEvents"] if event["name"] == "thread_name"}
    assert any("tensor" in track for track in tracks)
    assert any("host-pcie" in track for track in tracks)
    assert str(path) in capsys.readouterr().err


def test_run_folders_are_equal_byte_for_byte(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folders = []
    for name in ("first", "second"):
        assert run([*SIMULATE, "--out", str(tmp_path / name)]) == 0
        (folder,) = (tmp_path / name).iterdir()
        folders.append(folder)
    capsys.readouterr()
    first, second = ({path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders)
    assert folders[0].name == folders[1].name
    assert set(first) == set(second)
    assert {"inputs.json", "summary.json", "manifest.json", "trace.json", "roofline.svg", "roofline.png"} <= set(first)
    different = {name for name in first if first[name] != second[name]}
    assert different <= {"manifest.json"}


def test_the_lists_hold_what_can_be_named(capsys: pytest.CaptureFixture[str]) -> None:
    systems = {row["name"] for row in document(["list", "systems"], capsys)}
    assert {"h100-sxm", "a100-80gb-sxm", "phone-ufs4", "csd-instinfer", "hbm-pim", "sn40l-node"} <= systems
    models = {row["name"]: row for row in document(["list", "models"], capsys)}
    assert models["Llama-3.1-8B"]["parameters"] == 8_030_261_248
    assert {row["name"] for row in document(["list", "formats"], capsys)} >= {"bf16", "int4_g128", "mxfp4"}
    assert {row["name"] for row in document(["list", "cascades"], capsys)} >= {"gemm", "attention-1pass"}


@pytest.mark.parametrize("what", ["systems", "models", "formats", "cascades"])
def test_printed_lists_keep_every_name_whole(what: str, capsys: pytest.CaptureFixture[str]) -> None:
    names = [row["name"] for row in document(["list", what], capsys)]
    assert run(["list", what]) == 0
    printed = capsys.readouterr().out
    for name in names:
        assert name in printed


def test_the_schema_knows_units_and_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["schema"]) == 0
    schema = json.loads(capsys.readouterr().out)
    assert schema["additionalProperties"] is False
    assert {"engines", "tiers", "links", "devices"} <= set(schema["properties"])


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == "tiercade 0.1.0\n"
    for arguments in ([], ["--help"], ["simulate", "--help"]):
        assert run(arguments) == 0
        assert "Usage: tiercade" in capsys.readouterr().out


def test_the_demo_compares_two_machines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["demo", "--out", str(tmp_path / "demo")]) == 0
    printed = capsys.readouterr().out
    assert "h100-sxm" in printed
    assert "laptop-nvme" in printed
    assert "Where to look next" in printed
    assert (tmp_path / "demo" / "report.html").stat().st_size > 10_000
    runs = [path for path in (tmp_path / "demo").iterdir() if path.is_dir()]
    assert len(runs) == 4
    on_laptop = next(path for path in runs if "laptop" in path.name and "decode" in path.name)
    summary = json.loads((on_laptop / "summary.json").read_text())
    assert summary["placement_bytes"]["feed_forward"]["nvme"] > 0


def test_a_defect_is_reported_in_one_line_with_code_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("wrong on purpose")

    monkeypatch.setattr("dse.cli.simulate.simulate", broken)
    monkeypatch.delenv("TIERCADE_TRACEBACK", raising=False)
    assert run(SIMULATE) == 1
    error = capsys.readouterr().err
    assert error.startswith("defect in tiercade: RuntimeError: wrong on purpose")
    assert error.count("\n") == 1


def test_an_interrupt_ends_with_130(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("dse.cli.simulate.simulate", interrupted)
    assert run(SIMULATE) == 130
    assert capsys.readouterr().err == "interrupted\n"
