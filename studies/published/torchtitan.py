"""What torchtitan publishes: throughput, utilisation and memory of Llama models on A100, H100 and H200."""

from __future__ import annotations

from collections.abc import Mapping

from studies.frame.study import Config, Published, Value

__all__ = ["A100", "EAGER_8", "PUBLISHED"]

_2024_07 = "pytorch/torchtitan at 0413364, docs/performance.md"
_2024_12 = "pytorch/torchtitan at 31a17bf, benchmarks/llama3_h100_202412_torchtitan.md"
_2025_06 = "pytorch/torchtitan at bcdeaa3, benchmarks/llama3_8b_h200_2025-06_torchtitan.md"
_GIB = 2**30

A100: Config = {"machine": "a100-80gb-efa", "devices": 64, "model": "Llama-3-8B", "context": 8192, "batch": 1}
# Model, local batch, context, checkpointing: tokens per second and device, utilisation.
_A100_ROWS = (
    ("Llama-3-8B", 1, 8192, "layer", 2904, 0.568),
    ("Llama-3-8B", 1, 8192, "op", 2973, 0.582),
    ("Llama-3-70B", 1, 8192, "full", 331, 0.517),
    ("Llama-2-13B", 2, 4096, "none", 2162, 0.611),
    ("Llama-2-13B", 2, 4096, "layer", 1914, 0.541),
    ("Llama-2-13B", 2, 4096, "op", 1904, 0.538),
    ("Llama-2-70B", 1, 4096, "op", 355, 0.508),
    ("Llama-2-70B", 2, 4096, "full", 353, 0.505),
)

EAGER_8: Config = {"machine": "h100-96gb-hbm2e", "devices": 8, "model": "Llama-3.1-8B", "batch": 2, "context": 8192}
_COMPILED: Mapping[str, Value] = {"compile": "yes"}
_FLOAT8: Mapping[str, Value] = {"compile": "yes", "fp8": "yes"}
_LONG: Mapping[str, Value] = {**EAGER_8, **_FLOAT8, "batch": 1, "checkpoint": "full"}
_70B: Mapping[str, Value] = {
    **EAGER_8, **_FLOAT8, "model": "Llama-3.1-70B", "devices": 256, "tp": 8, "batch": 16, "checkpoint": "full",
}  # fmt: skip
_405B: Mapping[str, Value] = {
    **_70B, "model": "Llama-3.1-405B", "devices": 512, "pp": 8, "batch": 32, "async_tp": "yes",
}  # fmt: skip
_LONG_405B: Mapping[str, Value] = {**_405B, "batch": 8}
# Table, configuration, tokens per second and device, GiB.
_H100_ROWS: tuple[tuple[int, Config, float, float], ...] = (
    (1, EAGER_8, 5762, 82.4),
    (1, {**EAGER_8, **_COMPILED}, 6667, 77.0),
    (1, {**EAGER_8, **_FLOAT8}, 8532, 76.8),
    (2, {**_LONG, "context": 32768}, 3890, 83.9),
    (2, {**_LONG, "context": 65536, "cp": 2}, 2540, 84.2),
    (2, {**_LONG, "context": 131072, "cp": 4}, 1071, 84.0),
    (2, {**_LONG, "context": 262144, "cp": 8}, 548, 84.5),
    (3, {**EAGER_8, "devices": 128}, 5605, 67.0),
    (3, {**EAGER_8, **_COMPILED, "devices": 128}, 6514, 62.0),
    (3, {**EAGER_8, **_FLOAT8, "devices": 128}, 8380, 61.8),
    (4, _70B, 829, 71.9),
    (4, {**_70B, "async_tp": "yes"}, 876, 67.6),
    (5, _405B, 100, 82.5),
    (5, {**_405B, "schedule": "interleaved"}, 128, 72.7),
    (6, {**_LONG_405B, "context": 32768}, 76, 75.3),
    (6, {**_LONG_405B, "context": 65536, "cp": 2}, 47, 75.9),
    (6, {**_LONG_405B, "context": 131072, "cp": 4}, 31, 77.1),
    (6, {**_LONG_405B, "context": 262144, "cp": 8}, 16, 84.9),
)

_H200: Config = {
    **EAGER_8, **_FLOAT8, "machine": "h200-sxm", "loss": "compiled",
}  # fmt: skip
_H200_ROWS = ((32, 10938, 47.96), (64, 10753, 46.97))

_GAINS = (
    ("gain_1d", {**EAGER_8, **_FLOAT8, "devices": 128}, 1.6508, 8380 / 5605),
    ("gain_async", {**_70B, "async_tp": "yes"}, 1.1259, 876 / 829),
    ("gain_interleaved", {**_405B, "schedule": "interleaved"}, 1.30, 128 / 100),
)


def _rows() -> tuple[Published, ...]:
    rows = []
    for model, batch, context, checkpoint, rate, mfu in _A100_ROWS:
        config = {**A100, "model": model, "batch": batch, "context": context, "checkpoint": checkpoint}
        rows.append(Published("tokens", config, rate, _2024_07))
        rows.append(Published("mfu", config, mfu, _2024_07))
        rows.append(Published("mfu_alone", config, mfu, _2024_07))
    for table, found, tokens, gib in _H100_ROWS:
        source = f"{_2024_12}, table {table}"
        rows.append(Published("tokens", found, tokens, source))
        rows.append(Published("tokens_alone", found, tokens, source))
        rows.append(Published("reserved", found, gib * _GIB, source))
    for devices, rate, gib in _H200_ROWS:
        rows.append(Published("tokens", {**_H200, "devices": devices}, rate, _2025_06))
        rows.append(Published("reserved", {**_H200, "devices": devices}, gib * _GIB, _2025_06))
    for metric, found, abstract, table_value in _GAINS:
        rows.append(Published(metric, found, abstract, "arXiv 2410.06511, abstract"))
        rows.append(Published(metric, found, table_value, f"{_2024_12}, ratio of two rows"))
    return tuple(rows)


PUBLISHED = _rows()
