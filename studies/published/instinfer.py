"""What InstInfer publishes (HPCA 2025, arXiv 2409.04992), ratios beside both ways of ours to take rates."""

from __future__ import annotations

from collections.abc import Iterator

from studies.frame.study import Config, Published

__all__ = ["ROWS"]

_RATIOS: tuple[tuple[str, Config, float, str], ...] = (
    ("over_flexgen", {"batch": 64}, 6.85, "section VI-B"),
    ("over_flexgen", {"batch": 64, "system": "insta-sparf"}, 11.1, "abstract: the best batch"),
    ("over_insta", {"batch": 256, "system": "insta-sparf"}, 2.08, "section VI-B"),
    ("over_recompute", {"batch": 256, "system": "insta-sparf"}, 1.713, "section VI-B"),
    ("best_over_deepspeed", {"batch": 16}, 1.046, "section VI-B: the best of both"),
    ("kv_share", {"batch": 64, "system": "flexgen"}, 0.989, "section VI-C"),
    ("kv_share", {"batch": 64}, 0.807, "section VI-C"),
    ("kv_share", {"batch": 64, "system": "flexgen-sparq"}, 0.924, "section VI-C"),
    ("kv_share", {"batch": 64, "system": "insta-sparf"}, 0.823, "section VI-C"),
)
_SIXTY_FOUR: Config = {"batch": 64}


def _ratios() -> Iterator[Published]:
    for ending in ("", "_drive"):
        for metric, config, value, source in _RATIOS:
            yield Published(metric + ending, config, value, source)


ROWS = (
    *_ratios(),
    Published("over_flexgen_drive", {"batch": 64, "faults": 2}, 6.85, "section VI-B"),
    Published("fits", {"batch": 64, "system": "flexgen"}, 1, "section VI-B"),
    Published("fits", {"batch": 128, "system": "flexgen"}, 0, "section VI-B: out of the GPU's memory, in the prompts"),
    Published("deepspeed_fall", {"batch": 16}, 32.6, "section VI-B"),
    Published("prefill_write", _SIXTY_FOUR, 1.34e9, "table III"),
    Published("write_rate_drive", _SIXTY_FOUR, 3.78e9, "table III"),
    Published("kv_token", _SIXTY_FOUR, 819_200, "from the model's shape: 2 x 40 x 5120 x 2 B"),
    Published("kv_read", _SIXTY_FOUR, 64 * 1536 * 819_200, "from the model's shape, 1,536 tokens"),
    Published("kv_copies", {"batch": 64, "system": "insta-sparf"}, 1.5, "section IV: keys are held twice"),
    Published("unit", _SIXTY_FOUR, 0.32e-6, "measured: one head of 16 tokens"),
)
"""Every published number."""
