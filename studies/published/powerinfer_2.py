"""What the authors of PowerInfer-2 publish: arXiv 2406.06282v3.

Tokens a second by configuration of the study, and rates of reads measured on the phone's UFS 4.0.
"""

from __future__ import annotations

__all__ = ["DRIVE_RATES", "IO_SHARES", "LATENCIES", "PACED", "TOKENS_PER_S", "Keys"]

Keys = dict[str, str | int | float | bool]

_BIG: Keys = {"model": "mixtral-47b", "stage": "xpu"}
_POWER: Keys = {"model": "mistral-7b", "stage": "powerinfer"}
_FLASH: Keys = {"model": "mistral-7b", "stage": "llm-in-a-flash"}
PACED: tuple[Keys, ...] = ({**_POWER, "offloaded": 0.0}, {**_BIG, "offloaded": 0.5})
"""Where a published time says how fast the processor is."""

TOKENS_PER_S: tuple[tuple[Keys, float, str], ...] = (
    ({"stage": "base", "offloaded": 0.5}, 0.40, "ablation, Bamboo-7B"),
    ({"stage": "bundle", "offloaded": 0.5}, 1.09, "ablation, Bamboo-7B"),
    ({"stage": "cache", "offloaded": 0.5}, 4.18, "ablation, Bamboo-7B"),
    (PACED[0], 12.4, "Mistral-7B in memory"),
    ({**_POWER, "offloaded": 0.5}, 1.4, "Mistral-7B, half offloaded"),
    ({**_FLASH, "offloaded": 0.0}, 12.9, "Mistral-7B in memory"),
    ({**_FLASH, "offloaded": 0.5}, 2.3, "Mistral-7B, half offloaded"),
    (PACED[1], 9.96, "TurboSparse-Mixtral-47B, half offloaded"),
    ({**_BIG, "memory": 7.0}, 2.13, "TurboSparse-Mixtral-47B in 7 GB"),
    ({**_BIG, "memory": 19.0}, 11.68, "TurboSparse-Mixtral-47B in 19 GB"),
    ({**_BIG, "stage": "llm-in-a-flash", "memory": 19.0}, 3.74, "LLMFlash in 19 GB"),
)

IO_SHARES: tuple[tuple[Keys, float, str], ...] = (
    ({**_POWER, "offloaded": 0.5}, 0.819, "Mistral-7B, half offloaded"),
    ({**_FLASH, "offloaded": 0.5}, 0.767, "Mistral-7B, half offloaded"),
    ({**_BIG, "offloaded": 0.5}, 0.137, "TurboSparse-Mixtral-47B, critical path"),
)
"""Share of a token's time."""

LATENCIES: tuple[tuple[Keys, float, str], ...] = (
    ({**_BIG, "offloaded": 0.5}, 99.76e-3, "latency, mean"),
    ({**_BIG, "offloaded": 0.5, "missed": 0.189}, 140.56e-3, "99th percentile, misses as in theirs"),
)
"""Seconds a token of TurboSparse-Mixtral-47B."""

DRIVE_RATES = (
    (4, "sequential", 128, 0.45e9),
    (512, "sequential", 128, 4.0e9),
    (512, "random", 128, 3.5e9),
    (4, "random", 128, 1.0e9),
    (4, "random", 512, 0.85e9),
)
"""KiB of a read, order, MB that reads go to, bytes a second; the last is said to be an upper bound."""
