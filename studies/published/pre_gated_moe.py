"""What the authors of Pre-gated MoE measured: kaleid-liner/FasterTransformer @ c0bbdfc, ``performance_data/``.

Milliseconds of a block with experts (``block_lats.csv``), tokens a second (``throughputs.csv``), most bytes of the
device in 1e9 (``peak_mems.csv``); each tuple is in the order of `POLICIES`. Hwang et al., ISCA 2024, arXiv 2308.12066.
"""

from __future__ import annotations

__all__ = ["ACTIVE_MS", "BLOCK_MS", "PEAK_GB", "POLICIES", "TOKENS_PER_S"]

POLICIES = ("gpu-only", "pre-gated", "on-demand", "prefetch-all")

BLOCK_MS: dict[tuple[int, int], tuple[float, float, float, float]] = {
    (1, 8): (0.946, 1.128, 1.887, 6.727),
    (1, 16): (0.947, 1.156, 1.894, 12.75),
    (1, 32): (0.942, 1.121, 1.745, 27.25),
    (1, 64): (0.947, 1.129, 1.778, 51.03),
    (1, 128): (0.946, 1.127, 1.790, 101.6),
    (1, 256): (0.962, 1.157, 1.818, 199.7),
    (8, 8): (0.930, 1.718, 2.843, 6.876),
    (8, 16): (0.986, 4.908, 4.488, 12.78),
    (8, 32): (0.967, 3.569, 3.758, 25.47),
    (8, 64): (0.949, 2.767, 3.298, 50.99),
    (8, 128): (0.967, 2.761, 3.183, 98.33),
    (8, 256): (1.020, 4.555, 4.727, 199.6),
}
"""By batch and experts of Switch-Base, which experts a token picks being the model's affair."""

ACTIVE_MS: dict[tuple[int, int, int], tuple[float, float, float, float]] = {
    (16, 16, 1): (0.935, 1.110, 1.901, 12.76),
    (16, 16, 2): (0.935, 2.102, 2.633, 13.77),
    (16, 16, 4): (0.938, 3.405, 4.041, 12.77),
    (16, 16, 8): (1.083, 6.730, 7.241, 12.54),
    (16, 16, 16): (1.390, 15.17, 14.00, 13.24),
    (8, 8, 1): (0.927, 1.104, 1.738, 6.401),
    (8, 8, 2): (0.926, 1.629, 2.502, 6.395),
    (8, 8, 4): (0.931, 3.218, 4.106, 6.214),
    (8, 8, 8): (1.078, 6.423, 7.392, 6.242),
}
"""By batch, experts and how many different ones of them a step is made to use."""

TOKENS_PER_S: dict[tuple[int, int], tuple[int, int, int, int]] = {
    (1, 8): (129, 112, 79, 24),
    (1, 16): (143, 115, 76, 13),
    (1, 32): (144, 116, 81, 6),
    (1, 64): (142, 113, 78, 3),
    (1, 128): (142, 109, 76, 2),
    (1, 256): (140, 103, 73, 1),
    (32, 64): (3972, 753, 709, 151),
}
"""By batch and experts of Switch-Base."""

PEAK_GB: dict[int, tuple[float, float, float, float]] = {
    8: (2.484, 1.616, 1.597, 1.880),
    64: (9.405, 2.195, 2.176, 4.573),
    128: (17.30, 2.845, 2.826, 7.639),
    256: (33.14, 4.185, 4.166, 13.81),
}
"""By experts of Switch-Base, at batch 1."""
