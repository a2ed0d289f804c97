"""Measured latencies from a CSV file, one row each.

Columns: ``id, gpu, framework, op, phase, dtype, model, tp, batch, q_len, kv_len, m, n, k, heads, kv_heads, head_dim,
bytes, ngpus, experts, topk, inter, latency_us``; those that do not apply to a row are empty, others are ignored.
``kv_len`` of attention counts the new token; ``q_len`` and ``kv_len`` of an end-to-end row are the prompt and the final
context. Shapes are per GPU.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from workloads.errors import InputError, nearest_name

__all__ = ["COLUMNS", "Measurement", "read_measurements"]

NUMBERS = (
    "tp", "batch", "q_len", "kv_len", "m", "n", "k", "heads", "kv_heads", "head_dim", "bytes", "ngpus", "experts",
    "topk", "inter",
)  # fmt: skip
TEXTS = ("id", "gpu", "framework", "op", "phase", "dtype", "model")
COLUMNS = (*TEXTS, *NUMBERS, "latency_us")
LARGEST = 10**15
WHOLE = "a whole number from 1 to 1e15"

NEEDED = {
    "gemm": ("m", "n", "k"),
    "attention": ("batch", "q_len", "kv_len", "heads", "kv_heads", "head_dim"),
    "moe_ffn": ("m", "k", "experts", "topk", "inter"),
    "softmax": ("m", "n"),
    "gelu": ("m", "n"),
    "layernorm": ("m", "n"),
    "all_reduce": ("bytes", "ngpus"),
    "all_gather": ("bytes", "ngpus"),
    "alltoall": ("bytes", "ngpus"),
    "e2e": ("batch", "q_len", "kv_len"),
}
"""The shape columns that a row of each operation must fill."""


@dataclass(frozen=True)
class Measurement:
    """One row; ``numbers`` holds the shape columns that are filled."""

    id: str
    gpu: str
    framework: str
    op: str
    phase: str
    dtype: str
    model: str
    numbers: dict[str, int]
    latency_s: float

    @property
    def case(self) -> str:
        """The row's shape in words."""
        shape = ", ".join(f"{name} {value}" for name, value in self.numbers.items())
        return f"{self.model}: {shape}" if self.model else shape


def read_measurements(path: Path) -> list[Measurement]:
    """All rows of the file. Raises `InputError` with file, line and column for what is missing or no number."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "is not UTF-8 text"
        raise InputError(reason, expected="a CSV file of measurements", file=str(path)) from None
    reader = csv.DictReader(text.splitlines())
    header = reader.fieldnames or []
    for column in COLUMNS:
        if column not in header:
            near = nearest_name(column, header)
            raise InputError(
                f"no column {column!r}", expected=f"columns {', '.join(COLUMNS)}", file=str(path), line=1, nearest=near
            )
    rows = []
    for row in reader:
        numbers = {name: _whole(row[name], name, path, reader.line_num) for name in NUMBERS if row[name]}
        _check_shape(row["op"] or "", numbers, path, reader.line_num)
        latency = _latency(row["latency_us"], path, reader.line_num)
        rows.append(Measurement(**{name: row[name] or "" for name in TEXTS}, numbers=numbers, latency_s=latency * 1e-6))
    return rows


def _whole(text: str, column: str, path: Path, line: int) -> int:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 1 <= value <= LARGEST or value != int(value):
        raise InputError(f"{text!r}", expected=WHOLE, field=column, file=str(path), line=line)
    return int(value)


def _check_shape(op: str, numbers: dict[str, int], path: Path, line: int) -> None:
    for column in NEEDED.get(op, ()):
        if column not in numbers:
            raise InputError(f"no value in a row of {op}", expected=WHOLE, field=column, file=str(path), line=line)
    if op == "attention" and numbers["heads"] % numbers["kv_heads"]:
        expected = f"a multiple of kv_heads, {numbers['kv_heads']}"
        raise InputError(f"{numbers['heads']}", expected=expected, field="heads", file=str(path), line=line)


def _latency(text: str | None, path: Path, line: int) -> float:
    try:
        value = float(text or "")
    except ValueError:
        value = -1.0
    if not 0 < value < float("inf"):
        raise InputError(f"{text!r}", expected="microseconds above 0", field="latency_us", file=str(path), line=line)
    return value
