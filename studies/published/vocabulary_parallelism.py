"""What is published of Vocabulary Parallelism (arXiv 2411.05288): the artifact's table, and measured stage times.

Peak memory is printed in "GB"; what a stage holds grows by 18 bytes with each parameter of the vocabulary only where
these are 2^30 bytes, as PyTorch counts them.
"""

from __future__ import annotations

from studies.frame.study import Config, Published

__all__ = ["METHODS", "PUBLISHED", "RAW_ITERATION_S", "RAW_MS"]

_SOURCE = "sail-sg/VocabularyParallelism@71f07270, artifact/example-results/full-exp.txt"
_RAW = "the same repository, measured stage times (artifact/*.csv)"
METHODS = ("baseline", "redistributed", "vocab-2", "vocab-1", "interlaced")
_TABLE: dict[tuple[int, int], tuple[tuple[float, float], ...]] = {
    (2048, 32000): ((47.52, 16.01), (47.52, 16.01), (52.56, 15.87), (53.10, 16.64), (54.01, 17.87)),
    (2048, 64000): ((40.82, 17.74), (49.15, 17.74), (52.36, 16.64), (52.74, 17.48), (53.81, 18.63)),
    (2048, 128000): ((33.70, 21.00), (44.12, 21.00), (51.95, 17.56), (52.22, 18.40), (53.55, 19.70)),
    (2048, 256000): ((17.29, 35.56), (38.21, 27.63), (51.20, 18.85), (51.73, 19.44), (53.14, 21.15)),
    (4096, 32000): ((52.82, 22.23), (52.81, 22.23), (58.23, 23.39), (58.52, 24.97), (59.39, 27.38)),
    (4096, 64000): ((45.78, 23.98), (53.81, 23.98), (57.94, 23.14), (58.22, 24.58), (59.01, 27.43)),
    (4096, 128000): ((37.13, 27.22), (49.56, 27.22), (57.40, 24.56), (57.87, 26.10), (58.61, 29.04)),
    (4096, 256000): ((27.63, 33.86), (42.45, 33.72), (56.61, 26.25), (57.31, 27.38), (58.04, 30.72)),
}
"""MFU in per cent and peak memory by sequence length, vocabulary and method."""

RAW_MS: dict[tuple[str, int], tuple[tuple[float, ...], tuple[float, ...]]] = {
    ("baseline", 32000): ((*(10.680,) * 7, 14.603), (21.993, *(21.320,) * 6, 25.997)),
    ("baseline", 128000): ((*(10.550,) * 7, 24.152), (23.338, *(21.030,) * 6, 37.615)),
    ("baseline", 256000): (
        (10.572, 10.591, 10.475, 10.725, 10.360, 10.444, 10.381, 36.818),
        (25.185, 21.108, 20.737, 21.143, 20.805, 21.030, 20.827, 52.363),
    ),
    ("redistributed", 256000): (
        (10.627, 10.656, 10.606, 13.501, 13.327, 13.257, 13.200, 26.019),
        (25.401, 21.220, 20.851, 26.906, 26.392, 26.589, 26.431, 30.535),
    ),
}
"""Measured milliseconds of the eight stages' forwards and backwards, sequences of 2,048 tokens."""

RAW_ITERATION_S = {
    ("baseline", 32000): 5.4899,
    ("baseline", 128000): 8.2026,
    ("baseline", 256000): 11.7222,
    ("redistributed", 256000): 7.5992,
}


def _rows() -> list[Published]:
    rows = []
    for (sequence, vocabulary), cells in _TABLE.items():
        for method, (mfu, memory) in zip(METHODS, cells, strict=True):
            config: Config = {"method": method, "sequence": sequence, "vocabulary": vocabulary}
            rows.append(Published("mfu", config, mfu / 100, _SOURCE))
            rows.append(Published("peak_memory", config, memory * 2**30, _SOURCE))
            if method != "baseline":
                over = mfu / cells[0][0]
                rows.append(Published("speedup", config, over, f"{_SOURCE}, MFU over the baseline's"))
                rows.append(Published("speedup_kernels", config, over, f"{_SOURCE}, MFU over the baseline's"))
    for (method, vocabulary), seconds in RAW_ITERATION_S.items():
        measured: Config = {"method": method, "sequence": 2048, "vocabulary": vocabulary}
        rows.append(Published("iteration_measured_stages", measured, seconds, _RAW))
    return rows


PUBLISHED = tuple(_rows())
