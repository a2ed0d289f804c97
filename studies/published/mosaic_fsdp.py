"""Throughput of MPT models trained with PyTorch FSDP (mosaicml/llm-foundry at 061f2c7).

From scripts/train/benchmarking/README.md, tables "H100 80GB BF16", "A100 80GB" and "A100 40GB": all rows of bf16 but
those of the smallest models (125 million on A100, and 350 and 760 million parameters on A100 40 GB), whose kernels are
short, and 1b on 32 A100 40 GB, a sixth below its neighbours on 16 and 64. A row: model, context, devices, micro-batch,
micro-batches, whether each layer is checkpointed, MFU in % (6 N + 12 L h s operations a token, peaks 312 and 989.4
TFLOP/s).
"""

from __future__ import annotations

from studies.frame.study import Published, Value

__all__ = ["CALIBRATES", "PUBLISHED", "ROWS"]

_H100 = """
70b 2048 64 8 4 1 42.57
70b 2048 32 2 16 1 36.15
30b 8192 8 1 21 1 29.92
30b 4096 8 1 21 1 35.86
30b 2048 32 14 3 1 43.92
30b 2048 16 10 3 1 43.07
30b 2048 8 3 21 1 38.11
30b 1024 8 6 21 1 38.76
13b 32768 8 1 3 1 31.68
13b 16384 8 3 3 1 35.55
13b 4096 8 10 3 1 41.6
13b 2048 64 2 1 0 39.86
13b 2048 32 2 1 0 39.95
13b 2048 16 2 1 0 39.58
13b 2048 8 2 1 0 39.79
13b 1024 8 40 3 1 44.27
7b 65536 8 1 2 1 28.59
7b 32768 8 2 2 1 30.94
7b 8192 8 8 2 1 37.14
7b 4096 8 16 2 1 40.42
7b 2048 8 6 1 0 46.44
7b 1024 8 64 2 1 42.83
3b 65536 8 1 2 1 26.81
3b 32768 8 3 6 1 28.84
3b 16384 8 1 6 0 36.34
3b 8192 8 3 6 0 40.31
3b 4096 8 5 6 0 42.31
3b 2048 64 6 3 0 40.8
3b 2048 32 6 3 0 41.7
3b 2048 16 10 3 0 43.73
3b 1024 8 20 6 0 46.2
3b 512 8 40 6 0 46.32
1b 65536 8 1 2 1 26.34
1b 32768 8 1 4 0 33.54
1b 16384 8 2 4 0 35.22
1b 8192 8 3 4 0 37.73
1b 4096 8 7 4 0 40.26
1b 2048 64 20 1 0 40.85
1b 2048 32 20 1 0 41.52
1b 2048 16 20 1 0 42.36
1b 2048 8 14 1 0 41.82
1b 1024 8 18 4 0 41.95
1b 512 8 56 4 0 43.21
760m 32768 8 1 2 0 31.84
760m 16384 8 3 2 0 33.57
760m 8192 8 6 2 0 34.84
760m 4096 8 12 2 0 35.83
760m 2048 32 24 1 0 37.57
760m 2048 16 24 1 0 37.89
760m 2048 8 24 2 0 34.9
760m 1024 8 48 2 0 39.76
760m 512 8 96 2 0 40.42
"""

_A100_80 = """
70b 2048 64 8 4 1 53.33
70b 2048 32 2 16 1 48.56
30b 8192 8 1 21 1 39.38
30b 4096 8 1 21 1 51.37
30b 2048 8 3 21 1 55.3
30b 1024 8 6 21 1 55.82
30b 512 8 12 21 1 56.4
13b 32768 8 1 3 1 51.69
13b 16384 8 3 3 1 54.07
13b 8192 8 5 3 1 56.07
13b 4096 8 10 3 1 57.62
13b 2048 8 2 3 0 59.57
13b 1024 8 40 3 1 59.48
7b 65536 8 1 2 1 46.97
7b 32768 8 2 2 1 49.46
7b 16384 8 4 2 1 51.96
7b 8192 8 8 2 1 54.47
7b 4096 8 16 2 1 54.84
7b 2048 8 6 2 0 64.23
7b 1024 8 64 2 1 58.01
3b 65536 8 1 2 1 46.05
3b 32768 8 3 6 1 47.18
3b 16384 8 1 6 0 57.13
3b 8192 8 3 6 0 59.34
3b 4096 8 5 6 0 60.53
3b 2048 8 10 2 0 62.11
3b 1024 8 20 6 0 62.73
3b 512 8 40 6 0 63.71
1b 65536 8 1 2 1 46.18
1b 32768 8 1 4 0 55.52
1b 16384 8 2 4 0 56.6
1b 8192 8 3 4 0 56.69
1b 4096 8 7 4 0 59.0
1b 2048 8 14 4 0 59.86
1b 1024 8 18 4 0 60.15
1b 512 8 56 4 0 60.68
760m 65536 8 1 2 1 45.34
760m 32768 8 1 2 0 54.57
760m 16384 8 3 2 0 54.64
760m 8192 8 6 2 0 55.31
760m 4096 8 12 2 0 56.05
760m 2048 8 24 2 0 56.85
760m 1024 8 48 2 0 47.76
760m 512 8 96 2 0 45.07
350m 65536 8 1 2 0 52.7
350m 32768 8 2 2 0 52.46
350m 16384 8 4 2 0 53.28
350m 8192 8 8 2 0 53.8
350m 4096 8 16 2 0 53.31
350m 2048 8 32 2 0 51.62
350m 1024 8 64 2 0 50.51
350m 512 8 128 2 0 50.61
"""

_A100_40 = """
70b 2048 128 4 1 1 48.91
70b 2048 64 2 1 1 35.87
30b 2048 128 6 1 1 52.25
30b 2048 32 4 1 1 51.74
13b 8192 8 1 16 1 43.95
13b 4096 8 2 16 1 44.85
13b 2048 128 16 1 1 51.93
13b 2048 64 16 1 1 52.04
13b 2048 32 14 1 1 52.62
13b 2048 16 10 1 1 52.5
13b 2048 8 4 16 1 43.94
13b 1024 8 8 16 1 44.07
13b 512 8 16 16 1 44.28
7b 16384 8 1 4 1 47.65
7b 8192 8 3 4 1 49.04
7b 4096 8 6 4 1 50.11
7b 2048 128 18 1 1 50.14
7b 2048 64 18 1 1 50.73
7b 2048 32 18 1 1 51.55
7b 2048 16 16 1 1 50.44
7b 2048 8 12 4 1 50.92
7b 1024 8 24 4 1 51.31
7b 512 8 48 4 1 50.85
3b 32768 8 1 4 1 46.03
3b 16384 8 2 8 1 46.14
3b 8192 8 1 8 0 55.13
3b 4096 8 2 8 0 56.18
3b 2048 128 6 1 0 54.8
3b 2048 64 6 1 0 55.94
3b 2048 32 6 1 0 56.96
3b 2048 16 5 1 0 56.02
3b 2048 8 5 8 0 57.82
3b 1024 8 10 8 0 58.14
3b 512 8 20 8 0 59.49
1b 32768 8 1 4 1 45.07
1b 16384 8 1 8 0 55.23
1b 8192 8 2 8 0 55.29
1b 4096 8 4 8 0 55.85
1b 2048 128 10 1 0 54.41
1b 2048 64 10 1 0 55.44
1b 2048 16 8 1 0 55.69
1b 2048 8 8 8 0 56.23
1b 1024 8 16 8 0 57.02
1b 512 8 32 8 0 57.1
"""


def _rows() -> tuple[tuple[dict[str, Value], float], ...]:
    found = []
    for gpu, table in (("h100-sxm", _H100), ("a100-80gb-sxm", _A100_80), ("a100-40gb-sxm", _A100_40)):
        for line in table.strip().splitlines():
            model, *numbers, mfu = line.split()
            context, devices, micro_batch, micro_batches, checkpointing = map(int, numbers)
            pure = gpu == "a100-40gb-sxm" or (gpu == "a100-80gb-sxm" and model == "70b")
            config: dict[str, Value] = {
                "gpu": gpu,
                "model": model,
                "context": context,
                "gpus": devices,
                "micro_batch": micro_batch,
                "micro_batches": micro_batches,
                "checkpointing": bool(checkpointing),
                "precision": "pure" if pure else "default",
            }
            found.append((config, float(mfu) / 100))
    return tuple(found)


ROWS = _rows()
"""Configuration and MFU."""

_SOURCE = "scripts/train/benchmarking/README.md"
CALIBRATES = 3
"""Contention and factors of kernels are fitted to every third row."""

PUBLISHED = tuple(
    Published(metric, config, mfu, _SOURCE, calibrates=metric != "mfu_alone" and at % CALIBRATES == 0)
    for at, (config, mfu) in enumerate(ROWS)
    for metric in ("mfu", "mfu_alone", "mfu_fitted")
)
