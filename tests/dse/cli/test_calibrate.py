"""``tiercade calibrate`` and what takes its file: simulate and validate."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dse.cli.entry import run
from dse.validation.measurements import COLUMNS


def measurements(path: Path, rows: int = 24) -> Path:
    """Products on an A40 at half of the data sheet's bandwidth, 10 us each beside."""
    lines = [",".join(COLUMNS)]
    for number in range(rows):
        m, n, k = 1 + number % 4, 4096 + 512 * number, 4096
        latency_us = 10 + 2 * (m * k + k * n + m * n) / (0.696e12 / 2) * 1e6
        cells = {"id": number, "gpu": "A40", "framework": "vllm", "op": "gemm", "dtype": "bf16", "m": m, "n": n, "k": k}
        lines.append(",".join(str({**cells, "latency_us": latency_us}.get(column, "")) for column in COLUMNS))
    path.write_text("\n".join(lines) + "\n")
    return path


def test_a_file_is_fitted_and_taken_by_simulate_and_validate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows, out = measurements(tmp_path / "rows.csv"), tmp_path / "a40.yaml"
    assert run(["calibrate", str(rows), "--system", "a40", "--out", str(out), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    (family,) = document["families"]
    assert family["family"] == "gemm"
    assert family["after"] < 0.01 < family["before"]
    assert family["values"]["memory_efficiency"] == pytest.approx(0.5, rel=0.02)
    simulated = ["simulate", "--model", "llama-3.1-8b", "--system", "a40", "--fidelity", "kernel", "--json"]
    latencies = []
    for options in ([], ["--constants", str(out)], ["--software", "torch-2024"]):
        assert run([*simulated, *options]) == 0
        latencies.append(json.loads(capsys.readouterr().out)["latency_s"])
    assert latencies[1] > 1.4 * latencies[0]
    errors = []
    for options in ([], ["--constants", str(out)]):
        assert run(["validate", str(rows), "--json", *options]) == 0
        errors.append(json.loads(capsys.readouterr().out)["groups"][0]["mape"])
    assert errors[1] < 0.01 < errors[0]


def test_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["calibrate", str(measurements(tmp_path / "rows.csv")), "--system", "a40"]) == 0
    text = capsys.readouterr().out
    assert "gemm" in text
    assert "before, after: mean absolute error on the held-out rows" in text


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--system", "a41"], "did you mean 'a40'"),
        (["--system", "a40", "--software", "vlm-0.24"], "unknown software 'vlm-0.24'"),
        (["--system", "phone-ufs4"], "states no units"),
    ],
)
def test_bad_words_are_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    assert run(["calibrate", str(measurements(tmp_path / "rows.csv")), *words]) == 2
    captured = capsys.readouterr()
    assert message in captured.err.replace("\n", " ")
    assert "Traceback" not in captured.err
    assert captured.out == ""


def test_too_few_rows_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["calibrate", str(measurements(tmp_path / "rows.csv", 6)), "--system", "a40"]) == 2
    assert "has no rows of kernels to fit" in capsys.readouterr().err.replace("\n", " ")


def test_options_of_kernels_are_for_measured_gpus(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = measurements(tmp_path / "rows.csv")
    assert run(["validate", str(rows), "--fidelity", "cycle"]) == 2
    assert "--fidelity: unknown fidelity 'cycle'" in capsys.readouterr().err.replace("\n", " ")
    assert run(["validate", str(rows), "--fidelity", "roofline"]) == 0
    capsys.readouterr()
    pim = tmp_path / "pim.csv"
    pim.write_text(
        "subject,key,group,what,unit,published,role,source,note\n"
        "pim,duplex rate,Duplex,one stack,TFLOPS,21.3,derived,a,\n"
    )
    assert run(["validate", str(pim), "--fidelity", "kernel"]) == 2
    assert "--fidelity: a file of published figures" in capsys.readouterr().err.replace("\n", " ")


def test_software_and_fidelity_of_a_simulation(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["simulate", "--model", "gpt-2", "--system", "h100-sxm", "--context", "512"]
    assert run([*words, "--fidelity", "kernel", "--software", "vllm-0.14"]) == 0
    assert "kernels of vllm-0.14" in capsys.readouterr().out
    assert run([*words, "--software", "vllm-0.14"]) == 2
    assert "--software: 'vllm-0.14' at roofline fidelity" in capsys.readouterr().err.replace("\n", " ")
    assert run([*words, "--fidelity", "kernel", "--constants", "no.yaml"]) == 2
    assert "no.yaml: cannot be read as YAML" in capsys.readouterr().err.replace("\n", " ")
