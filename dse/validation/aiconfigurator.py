"""Measured kernels from the tables of the optional package aiconfigurator-core, as rows of measurements.

The package (PyPI, Apache-2.0) holds tables by GPU, kernel and engine under ``systems/data``; those of vLLM are read, of
the newest version there is, in 16-bit formats and fp8. Latencies are in milliseconds; a decode row's ``step`` is the
context before its token (0.12.0).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from dse.validation.measurements import Measurement
from hw.spec.system import System
from workloads.errors import InputError, nearest_name

__all__ = ["MOST_ROWS", "table_rows", "to_measurements"]

MOST_ROWS = 600
"""Rows taken of each table, at even distances: enough for a handful of constants, fitted within a minute."""

_DTYPES = {"bfloat16": "bf16", "float16": "fp16", "fp8": "fp8"}
_PACKAGE = "aiconfigurator_core"
_INSTALL = "pip install aiconfigurator-core pyarrow"


def table_rows(system: System) -> list[Measurement]:
    """Rows of the GPU that has the system's name. Raises `InputError` where the package or its tables are missing."""
    try:
        package, parquet = import_module(_PACKAGE), import_module("pyarrow.parquet")
    except ImportError as error:
        raise InputError(f"{error.name} is not installed", f"a CSV file, or: {_INSTALL}", "measurements") from None
    data = Path(str(package.__file__)).parent / "systems" / "data"
    found: list[Measurement] = []
    for kernel, (table, _) in _TABLES.items():
        path = _newest(data / _folder(data, system.name) / kernel.partition(":")[0] / "vllm", f"{table}_perf.parquet")
        if path is not None:
            found += to_measurements(kernel, parquet.read_table(path).to_pylist(), system.name, len(found))
    return found


def to_measurements(
    kernel: str, listed: Sequence[Mapping[str, Any]], gpu: str, first_id: int, most: int = MOST_ROWS
) -> list[Measurement]:
    """Rows of one table, which is ``gemm``, ``attention:context``, ``attention:generation`` or ``moe``.

    Left out are formats without a row format here, windows, and experts over several devices.
    """
    made = [one for one in (_TABLES[kernel][1](row) for row in listed) if one is not None]
    step = max(1, -(-len(made) // most))
    rows = []
    for number, (shape, row, dtype) in enumerate(made[::step]):
        framework = f"vllm {row['version']} {row['kernel_source']}"
        op, _, phase = kernel.partition(":")
        rows.append(
            Measurement(
                str(first_id + number),
                gpu,
                framework,
                {"moe": "moe_ffn"}.get(op, op),
                {"context": "prefill", "generation": "decode"}.get(phase, ""),
                dtype,
                "",
                shape,
                float(row["latency"]) * 1e-3,
                str(row.get("distribution", "")),
            )
        )
    return rows


_Made = tuple[dict[str, int], Mapping[str, Any], str]


def _product(row: Mapping[str, Any]) -> _Made | None:
    dtype = _DTYPES.get(row["gemm_dtype"])
    return None if dtype is None else ({name: int(row[name]) for name in ("m", "n", "k")}, row, dtype)


def _attention(row: Mapping[str, Any], new: int, seen: int) -> _Made | None:
    dtype = _DTYPES.get(row["attn_dtype"])
    if dtype not in ("bf16", "fp16") or row["kv_cache_dtype"] != row["attn_dtype"] or row["window_size"]:
        return None
    heads = int(row["num_heads"])
    shape = {"batch": int(row["batch_size"]), "q_len": new, "kv_len": seen, "heads": heads}
    return shape | {"kv_heads": int(row["num_key_value_heads"]) or heads, "head_dim": int(row["head_dim"])}, row, dtype


def _context(row: Mapping[str, Any]) -> _Made | None:
    return _attention(row, int(row["isl"]), int(row["isl"]) + int(row["step"]))


def _generation(row: Mapping[str, Any]) -> _Made | None:
    return _attention(row, 1, int(row["step"]) + 1)


def _mixture(row: Mapping[str, Any]) -> _Made | None:
    dtype = _DTYPES.get(row["moe_dtype"])
    if dtype not in ("bf16", "fp16") or row["moe_ep_size"] != 1:
        return None
    shape = {"m": row["num_tokens"], "k": row["hidden_size"], "experts": row["num_experts"], "topk": row["topk"]}
    return (
        {name: int(value) for name, value in shape.items()}
        | {"inter": int(row["inter_size"]) // int(row["moe_tp_size"])},
        row,
        dtype,
    )


_TABLES: Mapping[str, tuple[str, Callable[[Mapping[str, Any]], _Made | None]]] = {
    "gemm": ("gemm", _product),
    "attention:context": ("context_attention", _context),
    "attention:generation": ("generation_attention", _generation),
    "moe": ("moe", _mixture),
}
"""Folder and kind of kernel -> table and how its rows are read."""


def _folder(data: Path, name: str) -> str:
    """The folder of a GPU: its name's words but for the memory's size, as the package spells them."""
    wanted = "_".join(word for word in name.casefold().split("-") if not word.endswith("gb"))
    known = sorted(path.name for path in data.iterdir() if path.is_dir())
    if wanted not in known:
        near = nearest_name(wanted, known)
        raise InputError(f"aiconfigurator-core has no tables of {name!r}", ", ".join(known), "system", nearest=near)
    return wanted


def _newest(folder: Path, file: str) -> Path | None:
    versions = [path.parent for path in folder.glob(f"*/{file}") if path.parent.name.replace(".", "").isdecimal()]
    newest = max(versions, key=lambda path: tuple(map(int, path.name.split("."))), default=None)
    return None if newest is None else newest / file
