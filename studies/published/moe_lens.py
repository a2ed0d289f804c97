"""What is published of MoE-Lens (arXiv 2504.09345), and the bounds that its equations give at the stated numbers.

And of MoE-Gen (arXiv 2503.09716), which gathers tokens in the host's memory for large batches of the experts.
"""

from __future__ import annotations

from studies.frame.study import Config, Published

__all__ = ["MOE_GEN", "PUBLISHED"]

_BOUND = "equations 3 and 4 at 70 GB of keys and values and 19.5 GB/s"
_LIGHTNING = "table 1: what MoE-Lightning uses of 265 GB"


def _bounds(prompt: int, answer: int, total: float, generated: float) -> tuple[Published, Published]:
    config: Config = {"prompt": prompt, "answer": answer}
    return Published("throughput", config, total, _BOUND), Published("generated", config, generated, _BOUND)


def _memory(prompt: int, answer: int, share: float) -> Published:
    config: Config = {"policy": "in-turn", "prompt": prompt, "answer": answer, "kv": 171.0}
    return Published("memory_use", config, share, _LIGHTNING)


MOE_GEN: Config = {"gpu": "a5000", "prompt": 512, "answer": 256, "policy": "in-turn", "link": 31.5}
"""Its machine and requests: an RTX A5000 of 24 GB on PCI Express 4.0 x16, prompts of 512, answers of 256 tokens."""


def _gathered(name: str, prefill: float, decode: float, *, calibrates: bool = False) -> tuple[Published, ...]:
    config: Config = {**MOE_GEN, "model": name}
    fit: Config = {**config, "kernels": 0.68, "kv": 140.0}
    source = "MoE-Gen, README of EfficientMoE/MoE-Gen @f83b812, prefill and decode"
    return (
        Published("prefill_rate", config, prefill, source),
        Published("decode_rate", config, decode, source),
        Published("prefill_fitted", fit, prefill, source, calibrates),
        Published("decode_fitted", fit, decode, source, calibrates),
    )


_IN_TURN: Config = {"policy": "in-turn", "kv": 171.0}

PUBLISHED = (
    Published("saturation", {"link": 32.0}, 19.2e3, "table 2, A40"),
    Published("saturation", {"link": 32.0}, 18.75e3, "equation 2 at 150 TFLOP/s and the nominal 32 GB/s"),
    *_bounds(98, 32, 3948.0, 972.0),
    *_bounds(98, 64, 2157.0, 852.0),
    *_bounds(98, 256, 678.0, 490.0),
    *_bounds(926, 128, 921.0, 112.0),
    Published("gpu_use", {}, 0.90, "MTBench with answers of 32 tokens and 70 GB of keys and values, about"),
    _memory(98, 32, 0.520),
    _memory(98, 64, 0.562),
    _memory(926, 128, 0.350),
    Published("link_use_prefill", _IN_TURN, 0.239, "profile of MoE-Lightning: the link in prefill"),
    Published("gpu_use_decode", _IN_TURN, 0.165, "profile of MoE-Lightning: the GPU in decode"),
    *_gathered("Mixtral-8x7B", 2790.0, 469.0, calibrates=True),
    *_gathered("Mixtral-8x22B", 907.0, 91.0),
    *_gathered("DeepSeek-V2", 787.0, 49.0),
)
