"""Sticky routers fitted to published models.

Fitted: spread, drift and repeat of each to the twelve hit rates of segment caches (SCH over 4, 16, 64 and 256 tokens
at 1, 2 and 3 times the active experts) that Liang et al. give for the model (arXiv 2505.16056; plots of ljcleo/moe-lrc
@ 7b3ca46), by `simulator.collections.calibration.fit_router` with 8 layers (4 of 60 and more experts) and 10 samples
of 512 tokens. ``rms`` is what is left. A memory of 32 tokens is assumed, the same for all. Nothing was fitted to rates
of LRU, LFU or Belady, nor to SRP. Numbers of experts are those of ``model/config.jsonl`` there; of layers, those with
experts in the models' published configurations.
"""

from __future__ import annotations

from workloads.errors import unknown_name
from workloads.traces.routing_sticky import StickyRouter

__all__ = ["fitted_rms", "fitted_router", "fitted_router_names", "published_name"]

_MEMORY_TOKENS = 32.0

# Name in the publication, layers, experts, top-k, spread, drift, repeat, rms.
_FITTED = {
    "llama-moe-v2": ("LLaMA-MoE-v2", 32, 8, 2, 3.528, 0.927, 0.069, 0.0023),
    "yuan2.0-m32": ("Yuan2.0", 24, 32, 2, 2.231, 0.234, 0.901, 0.0053),
    "powermoe-3b": ("PowerMoE", 32, 40, 8, 1.012, 0.843, -0.008, 0.0089),
    "qwen3-30b-a3b": ("Qwen3", 48, 128, 8, 1.874, 1.412, 0.141, 0.0058),
    "phi-3.5-moe": ("Phi-3.5-MoE", 32, 16, 2, 1.144, 0.867, 0.486, 0.0039),
    "mixtral-8x7b": ("Mixtral-8x7B", 32, 8, 2, 0.24, 0.397, 0.477, 0.0044),
    "olmoe-1b-7b": ("OLMoE", 16, 64, 8, 1.072, 0.813, 0.449, 0.0058),
    "minicpm-moe": ("MiniCPM-MoE", 40, 8, 2, 0.187, 0.336, 0.578, 0.0025),
    "grin-moe": ("GRIN-MoE", 32, 16, 2, 1.032, 0.78, 0.59, 0.0038),
    "jetmoe": ("JetMoE", 24, 8, 2, 0.177, 0.291, 0.35, 0.0021),
    "llama-moe-v1": ("LLaMA-MoE-v1", 32, 16, 4, 0.182, 0.158, -0.247, 0.0031),
    "xverse-moe": ("XVERSE-MoE", 28, 64, 6, 0.528, 0.498, 1.178, 0.0031),
    "deepseek-v2-lite": ("DeepSeek-V2-Lite", 26, 64, 6, 0.534, 0.606, 0.905, 0.0047),
    "jamba-mini": ("Jamba-Mini", 16, 16, 2, 0.334, 0.665, 0.422, 0.0053),
    "deepseekmoe": ("DeepSeekMoE", 27, 64, 6, 0.478, 0.592, 0.904, 0.0047),
    "qwen2-57b-a14b": ("Qwen2", 28, 64, 8, 0.403, 0.312, 0.662, 0.0048),
    "qwen1.5-moe-a2.7b": ("Qwen1.5-MoE", 24, 60, 4, 0.413, 0.164, 1.282, 0.0064),
    "openmoe": ("OpenMoE", 4, 32, 2, 0.556, 0.245, 0.374, 0.0044),
    "nllb-moe-encoder": ("NLLB-MoE (Encoder)", 6, 128, 2, 1.211, 0.853, 0.683, 0.0072),
    "switch-base-128-encoder": ("SwitchTransformers (Encoder)", 6, 128, 1, 1.24, 0.352, -0.224, 0.0075),
}


def fitted_router_names() -> tuple[str, ...]:
    """Models there are fitted routers of, the most consistent first."""
    return tuple(_FITTED)


def fitted_router(name: str, *, layers: int | None = None) -> StickyRouter:
    """The router fitted to a model, with its layers or as many as asked for. Raises `InputError` for another name."""
    if name not in _FITTED:
        raise unknown_name("fitted router", name, _FITTED, field="router")
    _, own, experts, top_k, spread, drift, repeat, _ = _FITTED[name]
    return StickyRouter(
        own if layers is None else layers,
        experts,
        top_k,
        spread=spread,
        drift=drift,
        memory_tokens=_MEMORY_TOKENS,
        repeat=repeat,
    )


def fitted_rms(name: str) -> float:
    """Root mean square by which a fitted router's rates of segment caches miss the published ones."""
    return _FITTED[name][-1]


def published_name(name: str) -> str:
    """What the publication calls the model."""
    return _FITTED[name][0]
