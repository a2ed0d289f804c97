"""Fits: constants that made the rows are found again, and a machine's constants make a file that is read back."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dse.validation.aiconfigurator import table_rows, to_measurements
from dse.validation.calibrate_machine import calibrate_machine, constants_text
from dse.validation.calibration import calibrated
from dse.validation.kernel_rows import KernelRows, estimate
from dse.validation.measurements import Measurement
from hw.spec.load import load_system
from mappers.kernels.constants import read_constants
from mappers.kernels.fitting import spread_of
from mappers.kernels.gemm import GemmConstants
from mappers.kernels.time import SIZE_CLASSES
from workloads.errors import InputError

A40 = load_system("a40")
TRUE = GemmConstants(0.7, 0.75, 6e-6, 0.3, 0.1, 0.05, 0.65, 1.6e-6)


def made(noise: float = 0.0, gpu: str = "A40", count: int = 60) -> list[Measurement]:
    """Products that take what `TRUE` says, times a factor drawn around 1."""
    random = np.random.default_rng(1)
    sizes = (
        2 ** random.integers(0, 5, count) * 64,
        2 ** random.integers(8, 14, count),
        2 ** random.integers(8, 14, count),
    )
    rows = [
        Measurement(str(i), gpu, "vllm", "gemm", "", "bf16", "", {"m": int(m), "n": int(n), "k": int(k)}, 1.0)
        for i, (m, n, k) in enumerate(zip(*sizes, strict=True))
    ]
    seconds, _ = estimate(KernelRows.of(rows, A40, "vllm-0.14"), TRUE)
    factors = np.exp(noise * random.standard_normal(count))
    return [replace(row, latency_s=float(s * f)) for row, s, f in zip(rows, seconds, factors, strict=True)]


def test_constants_are_found_again() -> None:
    fitted = calibrated([KernelRows.of(made(), A40, "vllm-0.14")])
    assert (fitted.rows, fitted.held_out_rows) == (40, 20)
    assert fitted.held_out_mape < 0.01
    for name in ("compute_efficiency", "memory_efficiency", "launch_s"):
        assert fitted.entry.values[name] == pytest.approx(getattr(TRUE, name), rel=0.05)


def test_noise_of_a_tenth_shows_on_the_held_out_rows() -> None:
    """The mean absolute of 10 % normal noise is 8 %: the fit must be near it, not below."""
    fitted = calibrated([KernelRows.of(made(0.1, count=150), A40, "vllm-0.14")])
    assert 0.05 < fitted.held_out_mape < 0.12


def test_the_spread_holds_four_fifths() -> None:
    """Of 1000 ratios drawn evenly from 0.5 to 1.5 the middle 80 % lie between 0.6 and 1.4."""
    ratio = np.random.default_rng(2).uniform(0.5, 1.5, 1000)
    predicted = np.full(1000, 1e-3)
    spread = spread_of(predicted, predicted * ratio)
    assert set(spread) == set(SIZE_CLASSES)
    assert spread["long"].low == pytest.approx(0.6, abs=0.03)
    assert spread["long"].high == pytest.approx(1.4, abs=0.03)
    assert spread["short"] == spread["long"]


def test_a_machine_is_calibrated_and_its_file_is_read_back(tmp_path: Path) -> None:
    other = [replace(row, gpu="H100", id=f"1{row.id}") for row in made(count=10)]
    few = [replace(row, op="softmax", numbers={"m": 8, "n": 8}) for row in made(count=5)]
    rows = [*made(), *other, *few, replace(made(count=1)[0], op="all_reduce", numbers={"bytes": 8, "ngpus": 2})]
    (found,), passed_over = calibrate_machine(rows, A40, None, "made-up rows")
    assert found.fitted.held_out_mape < 0.01 < found.before
    assert passed_over == {
        "measured on H100": 10,
        "fewer than 12 rows of softmax with vllm-0.14": 5,
        "no kernel of operation all_reduce": 1,
    }
    path = tmp_path / "a40.yaml"
    path.write_text(constants_text([found.fitted.entry]))
    (entry,) = read_constants(path)
    assert entry.values == found.fitted.entry.values
    assert entry.source.startswith("fitted: 40 of 60 rows of made-up rows")
    assert (entry.gpu, entry.architecture, entry.software) == ("a40", "ampere", "vllm-0.14")


def test_a_gpu_without_a_preset_is_taken_for_the_system() -> None:
    (found,), _ = calibrate_machine(made(gpu="My GPU 1"), A40, "torch-2024", "rows")
    assert found.fitted.entry.software == "torch-2024"


def test_a_system_without_kernels_is_refused() -> None:
    with pytest.raises(InputError, match="states no units"):
        calibrate_machine(made(gpu="x"), load_system("phone-ufs4"), "vllm-0.24", "rows")


COMMON = {"version": "0.24.0", "kernel_source": "made up", "latency": 0.25}


def test_tables_become_rows() -> None:
    """Milliseconds; a decode step of 99 is a context of 100; zero K/V heads are as many as heads; inner size by TP."""
    product = {**COMMON, "gemm_dtype": "bfloat16", "m": 1, "n": 2, "k": 3}
    (row,) = to_measurements("gemm", [product, {**product, "gemm_dtype": "nvfp4"}], "h200-sxm", 7)
    assert (row.id, row.op, row.dtype, row.numbers) == ("7", "gemm", "bf16", {"m": 1, "n": 2, "k": 3})
    assert row.latency_s == pytest.approx(250e-6)
    assert row.framework == "vllm 0.24.0 made up"
    call = {
        **COMMON, "attn_dtype": "bfloat16", "kv_cache_dtype": "bfloat16", "window_size": 0, "num_heads": 8,
        "num_key_value_heads": 0, "head_dim": 128, "batch_size": 4, "isl": 1, "step": 99,
    }  # fmt: skip
    calls = [call, {**call, "window_size": 128}, {**call, "kv_cache_dtype": "fp8"}]
    (row,) = to_measurements("attention:generation", calls, "h200-sxm", 0)
    assert (row.op, row.phase) == ("attention", "decode")
    assert row.numbers == {"batch": 4, "q_len": 1, "kv_len": 100, "heads": 8, "kv_heads": 8, "head_dim": 128}
    (row,) = to_measurements("attention:context", [{**call, "isl": 64, "step": 32}], "h200-sxm", 0)
    assert (row.phase, row.numbers["q_len"], row.numbers["kv_len"]) == ("prefill", 64, 96)
    mixture = {
        **COMMON, "moe_dtype": "bfloat16", "moe_ep_size": 1, "moe_tp_size": 2, "num_tokens": 16, "hidden_size": 64,
        "inter_size": 128, "num_experts": 8, "topk": 2, "distribution": "balanced",
    }  # fmt: skip
    (row,) = to_measurements("moe", [mixture, {**mixture, "moe_ep_size": 2}], "h200-sxm", 0)
    assert (row.op, row.routing, row.numbers["inter"]) == ("moe_ffn", "balanced", 64)


def test_large_tables_are_thinned_evenly() -> None:
    listed = [{**COMMON, "gemm_dtype": "fp8", "m": m, "n": 1, "k": 1} for m in range(1, 1001)]
    rows = to_measurements("gemm", listed, "x", 0, most=100)
    assert [row.numbers["m"] for row in rows] == list(range(1, 1001, 10))


def test_without_the_optional_package_the_way_out_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ImportError(name=name)

    monkeypatch.setattr("dse.validation.aiconfigurator.import_module", missing)
    with pytest.raises(InputError, match=r"aiconfigurator_core is not installed; expected a CSV file, or: pip install"):
        table_rows(A40)
