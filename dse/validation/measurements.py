"""Measured latencies from a CSV file, one row each.

Columns: ``id, gpu, framework, op, phase, dtype, model, tp, batch, q_len, kv_len, m, n, k, heads, kv_heads, head_dim,
bytes, ngpus, experts, topk, inter, latency_us``; those that do not apply to a row are empty, others are ignored.
``kv_len`` of attention counts the new token; ``q_len`` and ``kv_len`` of an end-to-end row are the prompt and the final
context. Shapes are per GPU. The columns ``routing`` and ``extra`` may be there: the law that routed a mixture's tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dse.validation.csv_rows import CsvRow, read_csv
from workloads.errors import InputError

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
    """One row; ``numbers`` holds the shape columns that are filled.

    ``routing`` is the law by which the tokens of a mixture were given to experts (`mappers.kernels.routing`).
    """

    id: str
    gpu: str
    framework: str
    op: str
    phase: str
    dtype: str
    model: str
    numbers: dict[str, int]
    latency_s: float
    routing: str = ""

    @property
    def case(self) -> str:
        """The row's shape in words."""
        shape = ", ".join(f"{name} {value}" for name, value in self.numbers.items())
        return f"{self.model}: {shape}" if self.model else shape


def read_measurements(path: Path) -> list[Measurement]:
    """All rows of the file. Raises `InputError` with file, line and column for what is missing or no number."""
    rows = []
    for row in read_csv(path, COLUMNS, "measurements"):
        cells = row.cells
        numbers = {name: _whole(row, name) for name in NUMBERS if cells[name]}
        _check_shape(row, numbers)
        latency_us = row.number("latency_us", above=True, expected="microseconds above 0")
        texts = {name: cells[name] for name in TEXTS}
        routing = (row.text("routing") or row.text("extra")) if texts["op"] == "moe_ffn" else ""
        rows.append(Measurement(**texts, numbers=numbers, latency_s=latency_us * 1e-6, routing=routing))
    return rows


def _whole(row: CsvRow, column: str) -> int:
    text = row.cells[column]
    if text.isascii() and text.isdecimal() and 1 <= (whole := int(text)) <= LARGEST:
        return whole
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 1 <= value <= LARGEST or value != int(value):
        raise row.wrong(column, WHOLE)
    return int(value)


def _check_shape(row: CsvRow, numbers: dict[str, int]) -> None:
    op = row.text("op")
    for column in NEEDED.get(op, ()):
        if column not in numbers:
            raise InputError(f"no value in a row of {op}", WHOLE, column, file=row.file, line=row.line)
    if op == "attention" and numbers["heads"] % numbers["kv_heads"]:
        expected = f"a multiple of kv_heads, {numbers['kv_heads']}"
        raise InputError(f"{numbers['heads']}", expected, "heads", file=row.file, line=row.line)
