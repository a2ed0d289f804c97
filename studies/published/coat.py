"""COAT's tables: bytes of a layer by part, a layer's times, memory and largest batches of whole models."""

from __future__ import annotations

__all__ = ["LAYER", "MEMORY", "UNITS"]

UNITS = {"bf16": 22.66, "te": 18.33, "coat": 13.33}
"""Table 2: activations of a layer in units of batch x sequence x hidden x 2 bytes."""

LAYER = {
    ("layer-2048", 2048): {"bf16": 11.83, "te": 8.28, "coat": 8.04},
    ("layer-2048", 4096): {"bf16": 24.12, "te": 17.23, "coat": 16.71},
    ("layer-4096", 2048): {"bf16": 26.55, "te": 17.98, "coat": 16.85},
    ("layer-4096", 4096): {"bf16": 54.80, "te": 37.24, "coat": 35.60},
}
"""Table 6: milliseconds of a layer's forward and backward pass by width and sequence, four sequences."""

MEMORY: dict[tuple[str, int, int], dict[str, tuple[float | None, float | None, float | None, int]]] = {
    ("Llama-2-7B", 1, 1): {"coat": (13.1, 8.1, 79.3, 1)},
    ("Llama-2-7B", 2, 2): {"bf16": (None, None, None, 1), "te": (None, None, None, 1), "coat": (6.5, 16.9, 52.8, 4)},
    ("Llama-2-7B", 4, 2): {"bf16": (13.1, 25.8, 55.1, 2), "te": (13.1, 21.9, 51.1, 2), "coat": (3.2, 16.9, 35.6, 4)},
    ("Llama-2-7B", 8, 2): {"bf16": (6.5, 25.8, 41.2, 4), "te": (6.5, 21.9, 37.2, 4), "coat": (1.6, 16.9, 27.0, 8)},
    ("Llama-2-13B", 2, 1): {"coat": (12.6, 10.1, 73.2, 1)},
    ("Llama-2-13B", 4, 1): {"bf16": (25.1, 20.1, 76.1, 1), "te": (25.1, 17.2, 73.0, 1), "coat": (6.3, 13.2, 49.1, 2)},
    ("Llama-2-13B", 8, 1): {"bf16": (12.6, 20.1, 49.4, 2), "te": (12.6, 17.2, 46.5, 2), "coat": (3.1, 13.2, 32.5, 4)},
    ("LLaMA-33B", 8, 1): {"coat": (7.8, 24.2, 70.5, 1)},
}
"""Table 7, 2,048 tokens, by model, devices and sequences: GB of states, activations and at peak, and the largest batch.

Rows marked in the paper have 1,024 tokens; which they are did not come through, so all are taken with 2,048.
"""
