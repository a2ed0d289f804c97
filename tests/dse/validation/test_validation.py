"""Validation files: reading, predictions against hand arithmetic, and measured rows against the bounds."""

from __future__ import annotations

from pathlib import Path

import pytest

from dse.validation import Measurement, Skipped, compare, groups, predict, read_measurements
from dse.validation.machines import measured_system, preset_of
from dse.validation.measurements import COLUMNS, NEEDED
from dse.validation.predict import operations
from mappers.roofline import roofline_op
from tests.reference_data import reference_file
from workloads.errors import InputError


def row(**columns: str) -> str:
    """One CSV line with the given columns filled."""
    return ",".join(columns.get(name, "") for name in COLUMNS)


def write(path: Path, *lines: str) -> Path:
    path.write_text("\n".join((",".join(COLUMNS), *lines)) + "\n")
    return path


GEMM = row(id="1", gpu="H100-SXM-80GB", op="gemm", dtype="bf16", m="16", n="4096", k="4096", latency_us="20")


def test_a_row_is_read_with_its_shape(tmp_path: Path) -> None:
    (read,) = read_measurements(write(tmp_path / "m.csv", GEMM))
    assert read == Measurement(
        "1", "H100-SXM-80GB", "", "gemm", "", "bf16", "", {"m": 16, "n": 4096, "k": 4096}, 20 * 1e-6
    )


def test_the_prediction_of_a_product_is_its_roofline(tmp_path: Path) -> None:
    (read,) = read_measurements(write(tmp_path / "m.csv", GEMM))
    expected = 2 * (16 * 4096 + 4096 * 4096 + 16 * 4096) / 3.35e12 + 5e-6
    assert predict(read) == pytest.approx(expected)
    compared, skipped = compare([read], "roofline")
    assert not skipped
    (group,) = groups(compared)
    assert group.bias == pytest.approx(expected / 20e-6 - 1)
    assert group.mape == abs(group.bias)
    assert (group.errors.coverage, group.held_out) == (None, None)


def test_the_routing_of_a_mixture_is_read_from_either_column(tmp_path: Path) -> None:
    shape = {"m": "16", "k": "64", "experts": "8", "topk": "2", "inter": "64"}
    line = row(id="1", gpu="H100-SXM-80GB", op="moe_ffn", dtype="bf16", latency_us="9", **shape)
    for column in ("extra", "routing"):
        path = tmp_path / f"{column}.csv"
        path.write_text(f"{','.join(COLUMNS)},{column}\n{line},power_law_1.2\n")
        (read,) = read_measurements(path)
        assert read.routing == "power_law_1.2"


def test_an_unknown_routing_law_is_refused(tmp_path: Path) -> None:
    shape = {"m": "16", "k": "64", "experts": "8", "topk": "2", "inter": "64"}
    line = row(id="1", gpu="H100-SXM-80GB", op="moe_ffn", dtype="bf16", latency_us="9", **shape)
    path = tmp_path / "m.csv"
    path.write_text(f"{','.join(COLUMNS)},extra\n{line},zipf\n")
    with pytest.raises(InputError, match="routing: unknown routing law 'zipf'"):
        compare(read_measurements(path))


def test_concurrent_prompts_are_not_compared(tmp_path: Path) -> None:
    line = row(
        id="1", gpu="H100-SXM-80GB", framework="vllm 0.11", op="e2e", phase="ttft", tp="1", batch="8", q_len="128",
        model="meta-llama/Llama-3.1-8B-Instruct", kv_len="256", latency_us="9000",
    )  # fmt: skip
    (read,) = read_measurements(write(tmp_path / "m.csv", line))
    assert predict(read) == Skipped("time to first token under concurrency holds queueing")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (GEMM.replace(",16,", ",sixteen,"), "m.csv:2: m: 'sixteen'; expected a whole number from 1 to 1e15"),
        (GEMM.replace(",16,", ",0,"), "m.csv:2: m: '0'; expected a whole number from 1 to 1e15"),
        (GEMM.replace(",16,", ",1e16,"), "m.csv:2: m: '1e16'; expected a whole number from 1 to 1e15"),
        (GEMM.replace(",16,", ",inf,"), "m.csv:2: m: 'inf'; expected a whole number from 1 to 1e15"),
        (GEMM.replace(",16,", ",nan,"), "m.csv:2: m: 'nan'; expected a whole number from 1 to 1e15"),
        (
            row(op="attention", batch="1", q_len="1", kv_len="9", heads="8", kv_heads="3", head_dim="64"),
            "m.csv:2: heads: 8; expected a multiple of kv_heads, 3",
        ),
        (GEMM.replace(",20", ",-3"), "m.csv:2: latency_us: '-3'; expected microseconds above 0"),
        (GEMM.replace(",20", ",nan"), "m.csv:2: latency_us: 'nan'; expected microseconds above 0"),
        (GEMM.replace(",20", ","), "m.csv:2: latency_us: ''; expected microseconds above 0"),
    ],
)
def test_broken_rows_name_line_and_column(tmp_path: Path, line: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        read_measurements(write(tmp_path / "m.csv", line))
    assert str(caught.value).removeprefix(f"{tmp_path}/") == message


@pytest.mark.parametrize(("op", "column"), [(op, column) for op, columns in NEEDED.items() for column in columns])
def test_a_row_without_a_needed_number_is_refused(tmp_path: Path, op: str, column: str) -> None:
    shape = dict.fromkeys(NEEDED[op], "4")
    read_measurements(write(tmp_path / "m.csv", row(op=op, latency_us="9", **shape)))
    with pytest.raises(InputError) as caught:
        read_measurements(write(tmp_path / "m.csv", row(op=op, latency_us="9", **(shape | {column: ""}))))
    assert (caught.value.line, caught.value.field) == (2, column)
    assert caught.value.problem == f"no value in a row of {op}"


@pytest.mark.parametrize("op", ["e2e", "gemm", "all_reduce"])
def test_an_unknown_dtype_is_skipped(tmp_path: Path, op: str) -> None:
    shape = dict.fromkeys(NEEDED[op], "1")
    line = row(
        gpu="H100-SXM-80GB", op=op, phase="tpot", dtype="int8", model="Llama-3.1-8B", latency_us="9", **shape
    )  # fmt: skip
    (read,) = read_measurements(write(tmp_path / "m.csv", line))
    assert predict(read) == Skipped("dtype int8")


def test_a_missing_column_is_named_with_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "m.csv"
    path.write_text(",".join(COLUMNS).replace("latency_us", "latencyus") + "\n")
    with pytest.raises(InputError, match=r"no column 'latency_us'.*did you mean 'latencyus'"):
        read_measurements(path)


def test_no_measured_kernel_is_faster_than_its_roofline() -> None:
    rows = read_measurements(reference_file("gpu_measurements.csv"))
    checked = 0
    for measured in rows:
        not_here = isinstance(preset_of(measured.gpu), Skipped)
        if not_here or measured.op in ("e2e", "all_reduce", "all_gather", "moe_ffn"):
            continue
        ops = operations(measured)
        if isinstance(ops, Skipped):
            continue
        mapped = [roofline_op(op, measured_system(measured.gpu, 1)) for op in ops]
        bound = sum(op.time_s - op.overhead_s for op in mapped)
        # Boost clocks and rounded peaks: the data sheet's figures are good to a few per cent.
        assert bound <= 1.03 * measured.latency_s, measured
        checked += 1
    assert checked > 800
