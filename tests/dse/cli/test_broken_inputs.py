"""Broken systems, models and command lines: exit code 2 or 3, one sentence that names the culprit, no traceback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from dse.cli.entry import run
from hw.spec.load import dump_system, load_system

ROOT = Path(__file__).resolve().parents[3]
CONFIG: dict[str, Any] = json.loads((ROOT / "workloads" / "models" / "catalogue" / "Mixtral-8x7B.json").read_text())
SYSTEM: dict[str, Any] = yaml.safe_load(dump_system(load_system("laptop-nvme")))
QUANTITIES = (
    "tiers.gddr.capacity", "tiers.gddr.read_bandwidth", "tiers.ddr.write_bandwidth", "tiers.nvme.latency",
    "tiers.nvme.granularity", "links.host-pcie.bandwidth", "tiers.ddr.read_energy", "engines.tensor.launch_overhead",
)  # fmt: skip

Case = tuple[str, str]
"""What stands in the file or on the command line, and a word the message must hold."""


def changed(path: str, value: Any, *, rename: str | None = None) -> str:
    """The good system with one field set, removed (value is ...) or renamed, as YAML."""
    document = json.loads(json.dumps(SYSTEM))
    *parents, last = path.split(".")
    place = document
    for name in parents:
        place = place[name]
    old = place.pop(last, None)
    if rename is not None:
        place[rename] = old
    elif value is not ...:
        place[last] = value
    return yaml.safe_dump(document, sort_keys=False)


def systems() -> Iterator[Case]:
    for path in QUANTITIES:
        last = path.rsplit(".", 1)[1]
        for value in (7, -1, "7", "fast", "3 furlong", "12 W", [1, 2], {"a": 1}, "-4 GB", "nan GB", "", True, None):
            yield changed(path, value), last
        yield changed(path, None, rename=f"{last}s"), f"{last}s"
    for path in ("name", "engines", "tiers", "engines.tensor.home", "engines.tensor.kind", "tiers.gddr.capacity"):
        yield changed(path, ...), path.rsplit(".", 1)[-1]
    yield changed("engines.tensor.home", "gdr"), "home"
    yield changed("engines.vector.home", "l2"), "home"
    yield changed("engines.tensor.kind", "matrx"), "kind"
    yield changed("engines.tensor.throughput", {"bf17": "1 TFLOP/s"}), "bf17"
    yield changed("engines.tensor.throughput", {}), "throughput"
    yield changed("links.host-pcie.between", ["ddr", "hbmm"]), "between"
    yield changed("links.host-pcie.between", ["ddr"]), "between"
    yield changed("links.host-pcie.duplex", "both"), "duplex"
    yield changed("links", {}), "links"
    yield changed("devices", 0), "devices"
    yield changed("devices", "two"), "devices"
    yield changed("devices", 4), "fabric"
    yield changed("tiers.gddr.holds", "all"), "holds"
    yield changed("tiers.gddr.sources", {"capacity": "guessed: by me"}), "sources"
    yield changed("tiers.gddr.sources", {"capcity": "stated: somewhere"}), "capcity"
    good = dump_system(load_system("laptop-nvme"))
    yield good.replace("  tensor:", "\ttensor:", 1), ":"
    yield good[: len(good) // 2] + "\n  - [", ":"
    yield good.replace("name:", "name: a\nname:", 1), "name"
    yield "", "empty"
    yield "- a\n- b\n", "mapping"
    yield "just text", "mapping"
    yield "a: *b\n", ":"


REQUIRED = ("hidden_size", "num_hidden_layers", "num_attention_heads", "vocab_size", "intermediate_size")


def models() -> Iterator[Case]:
    for key in REQUIRED:
        yield json.dumps({name: value for name, value in CONFIG.items() if name != key}), key
    for key in (*REQUIRED, "num_key_value_heads", "num_local_experts", "num_experts_per_tok"):
        for value in (0, -3, 2.5, "many", [], {}, True):
            yield json.dumps(CONFIG | {key: value}), key
    yield json.dumps(CONFIG | {"num_attention_heads": 33}), "num_attention_heads"
    yield json.dumps(CONFIG | {"num_key_value_heads": 7}), "num_key_value_heads"
    yield json.dumps(CONFIG | {"num_experts_per_tok": 9}), "num_experts_per_tok"
    yield json.dumps(CONFIG | {"hidden_act": "sigmoidal"}), "hidden_act"
    yield json.dumps(CONFIG | {"architectures": ["MixtrallForCausalLM"], "model_type": "mixtrall"}), "ixtral"
    yield json.dumps(CONFIG | {"torch_dtype": "float17"}), "torch_dtype"
    yield json.dumps(CONFIG)[:-20], ":1"
    yield json.dumps([CONFIG]), "list"
    yield "{}", "architectures"
    yield "", "model.json"
    yield "null", "model.json"


GOOD = ["simulate", "--model", "gpt-2", "--system", "h100-sxm", "--context", "64"]


def command_lines() -> Iterator[tuple[list[str], str]]:
    for option, values in {
        "--batch": ("0", "-1", "x", "1.5", ""),
        "--context": ("0", "-7", "many", "1e3"),
        "--phase": ("decoding", "", "Prefil"),
        "--weights": ("int5", "bf61", ""),
        "--kv-cache": ("fp9",),
        "--activations": ("f16",),
        "--compute": ("bf15",),
        "--place": ("experts", "expert=ddr", "experts=ddrr", "=ddr", "experts="),
        "--assign": ("gemm", "gem=vector", "gemm=vectr"),
        "--ahead": ("-1", "x"),
        "--fidelity": ("cycle-accurate", ""),
        "--devices": ("0", "-2", "x", "5"),
        "--expert-cache": ("2", "x"),
        "--model": ("gpt-22", "", "no/such/config.json", "."),
        "--system": ("h100", "", "no/such.yaml", "/"),
        "--set": (
            "tiers.hbm.capacity=80",
            "tiers.hmb.capacity=80 GB",
            "tiers.hbm.capacty=80 GB",
            "devices",
            "=1",
            "a=b=c",
        ),
        "--trace-out": ("no/such/folder/t.json",),
        "--batc": ("1",),
    }.items():
        for value in values:
            word = option.strip("-").split("-")[0]
            yield [*GOOD, option, value], value if "/" in value or value == "." else word
    mixture = ["simulate", "--model", "mixtral-8x7b", "--system", "a40", "--context", "64"]
    for option, value in {
        "--expert-cache": "0",
        "--steps": "0",
        "--routing-skew": "nan",
        "--routing-repeat": "2",
        "--seed": "-1",
        "--expert-home": "dddr",
    }.items():
        cached = [] if option == "--expert-cache" else ["--expert-cache", "3"]
        yield [*mixture, *cached, option, value], option
    yield [*mixture, "--expert-cache", "1", "--batch", "8"], "--expert-cache"
    yield [*mixture, "--expert-cache", "3", "--phase", "prefill"], "--expert-cache"
    yield [*mixture, "--expert-cache", "3", "--place", "experts=nvme"], "place"
    yield ["simulate"], "--model"
    yield ["simulate", "--model", "gpt-2"], "--system"
    yield ["simulte"], "simulte"
    yield ["list", "model"], "model"
    yield ["list"], "WHAT"
    yield ["validate", "no-such.csv"], "no-such.csv"
    yield [*GOOD, "surplus"], "surplus"
    yield [*GOOD, "--context", "2000"], "context"
    yield ["simulate", "--model", "bert-base", "--system", "h100-sxm", "--context", "64"], "phase"
    yield [*GOOD, "--set", "tiers.hbm.capacity=1 KiB"], "hbm"
    yield [*GOOD, "--place", "kv_cache=hbm", "--set", "tiers.hbm.capacity=10 MB"], "hbm"
    big = ["simulate", "--model", "llama-3.1-405b", "--system", "laptop-nvme"]
    yield [*big, "--set", "tiers.nvme.capacity=100 GB"], "nvme"
    yield [*big, "--batch", "100000"], "gddr"


SYSTEMS, MODELS, LINES = list(systems()), list(models()), list(command_lines())


def test_there_are_enough_broken_inputs() -> None:
    assert len({text for text, _ in SYSTEMS} | {text for text, _ in MODELS}) + len(LINES) >= 200


def refused(arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]) -> str:
    """Run a command line that must be refused and return its one sentence."""
    code = run(arguments)
    captured = capsys.readouterr()
    assert code in (2, 3), (arguments, code, captured.err)
    assert "Traceback" not in captured.err
    assert captured.out == ""
    assert captured.err.startswith("tiercade")
    assert captured.err.count("\n") == 1, captured.err
    assert word.casefold() in captured.err.casefold(), (word, captured.err)
    return captured.err


@pytest.mark.parametrize("number", range(len(SYSTEMS)))
def test_broken_systems(number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, word = SYSTEMS[number]
    path = tmp_path / "system.yaml"
    path.write_text(text)
    message = refused(["simulate", "--model", "gpt-2", "--context", "64", "--system", str(path)], word, capsys)
    assert str(path) in message


@pytest.mark.parametrize("number", range(len(MODELS)))
def test_broken_models(number: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, word = MODELS[number]
    path = tmp_path / "model.json"
    path.write_text(text)
    refused(["simulate", "--system", "h100-sxm", "--model", str(path)], word, capsys)


@pytest.mark.parametrize("number", range(len(LINES)))
def test_broken_command_lines(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, word = LINES[number]
    refused(arguments, word, capsys)


def test_with_json_the_error_is_the_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*GOOD, "--json", "--phase", "decod"]) == 2
    captured = capsys.readouterr()
    error = json.loads(captured.out)["error"]
    assert (error["kind"], error["field"], error["nearest"]) == ("input", "--phase", "decode")
    assert captured.err == ""


def test_infeasible_is_three_and_says_by_how_much(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["simulate", "--model", "llama-3.1-8b", "--system", "laptop-nvme", "--json"]
    arguments += ["--place", "feed_forward=gddr"]
    assert run(arguments) == 3
    error = json.loads(capsys.readouterr().out)["error"]
    # 32 layers x 3 x 4096 x 14336 values in bf16, against 8 GiB.
    assert (error["needed"], error["available"], error["unit"]) == (32 * 3 * 4096 * 14336 * 2, 8 * 2**30, "bytes")
