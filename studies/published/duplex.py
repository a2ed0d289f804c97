"""What Duplex publishes (MICRO 2024, arXiv 2409.01141): the largest and mean ratios over batches and lengths, and
figure 8's energy-delay-area products."""

from __future__ import annotations

from collections.abc import Iterator

from studies.frame.study import Config, Published

__all__ = ["ROWS"]

_GRID: Config = {"scope": "grid"}
_PLAIN: Config = {"scope": "grid", "pe": 0, "et": 0}
_BANK: Config = {"system": "bank-pim", "pe": 0, "et": 0}
_EDAP = {"bank-pim": (0.08, 0.16, 1.0), "bankgroup-pim": (1.0, 1.0, 0.67), "duplex": (0.66, 0.66, 0.40)}
"""At 1, 2 and 32 operations a byte, over the worst of the column."""


def _edap() -> Iterator[Published]:
    for system, values in _EDAP.items():
        for op_b, value in zip((1, 2, 32), values, strict=True):
            yield Published("energy_delay", {"system": system, "op_b": op_b}, value, "figure 8, areas counted")


def _gains() -> Iterator[Published]:
    short: Config = {"batch": 64, "lin": 256, "lout": 256}
    for metric in ("gain", "gain_stated", "gain_launched"):
        yield Published(metric, {"batch": 32, "pe": 0, "et": 0}, 2.51, "section 7: the largest, 4096 tokens in and out")
        yield Published(metric, {**_BANK, "batch": 32}, 2.17, "section 7: the largest, 4096 tokens in and out")
        yield Published(metric, {**_BANK, **short}, 1.18, "section 7")
        yield Published(metric, short, 2.05, "section 7")


ROWS = (
    Published("most_gain", _PLAIN, 2.51, "section 7: without co-processing, Mixtral"),
    Published("most_gain", _GRID, 2.67, "abstract"),
    Published("mean_over_duplex", {**_GRID, "et": 0}, 1.04, "section 7: co-processing"),
    Published("most_over_duplex", _GRID, 1.36, "section 7: co-processing, experts cut over all devices"),
    Published("most_over_bank_pim", _GRID, 1.80, "section 7"),
    Published("mean_over_bank_pim", _GRID, 1.49, "section 7"),
    Published("requests_per_s", {"batch": 128, "lin": 4096, "lout": 512, "system": "gpu"}, 9, "section 7: capacity"),
    Published("requests_per_s", {"batch": 128, "lin": 4096, "lout": 512}, 14, "section 7: capacity"),
    Published("use_moe", {"batch": 128}, 0.11, "section 3: below 11 %"),
    Published("use_attention", {"model": "Grok-1", "batch": 128}, 0.0206, "section 3: below 2.06 %"),
    Published("energy", {"fidelity": "cycle", "batch": 64, "pe": 0, "et": 0}, 1 - 0.3328, "section 7: Mixtral"),
    *_gains(),
    *_edap(),
)
"""Every published number."""
