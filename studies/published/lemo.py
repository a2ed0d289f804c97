"""What the artifact of Jenga (LeMo) logs on an A800: MiB allocated at most, and milliseconds of a step."""

from __future__ import annotations

__all__ = ["CHECKPOINTED_MS", "PEAK_MIB", "STEP_MS"]

PEAK_MIB = {
    ("Llama-2-7B", 4096): (42_743.8, 28_456.1),
    ("Llama-2-7B", 8192): (72_507.1, 43_962.0),
    ("Llama-2-7B", 16_384): (None, 74_877.1),
    ("Llama-3-8B", 4096): (47_061.6, 30_019.9),
    ("Llama-3-8B", 8192): (78_701.0, 42_097.3),
}
"""logs/end2end/memory and logs/ablations/memory-breakdown: by model and context with LoRA, and with tokens left out."""

STEP_MS = {
    ("Llama-2-7B", 8192): ((809.9, 1072.7), (717.8, 959.4)),
    ("Llama-3-8B", 8192): ((841.9, 1300.2), (773.2, 1067.5)),
}
"""logs/end2end/time, third step: forward and backward with LoRA, and with tokens left out."""

CHECKPOINTED_MS = {
    ("Llama-2-7B", 4096): ((381.8, 851.3), (347.6, 790.3)),
    ("Llama-2-7B", 8192): ((796.2, 1847.1), (707.0, 1648.7)),
    ("Llama-2-7B", 16_384): ((1738.2, 4299.4), (1491.5, 3638.1)),
    ("Llama-2-7B", 32_768): ((4171.2, 11_202.3), (3384.5, 8753.1)),
    ("Llama-2-7B", 49_152): ((7354.4, 20_865.9), (5705.5, 15_481.4)),
    ("Llama-2-7B", 65_536): ((11_314.8, 33_221.1), (8462.7, 23_740.5)),
    ("Llama-3-8B", 32_768): ((4324.1, 11_488.6), (3625.9, 9302.3)),
}
"""The same with every layer recomputed, third step."""
