"""The number formats a model's published checkpoint implies."""

from __future__ import annotations

from workloads.formats import FormatChoice
from workloads.models.architecture import Model
from workloads.phases import Phase, Train

__all__ = ["phase_formats", "stored_formats"]

WIDE = ("bf16", "fp16", "fp32")
EIGHT_BIT_FLOATS = ("fp8_e4m3", "fp8_e5m2")


def phase_formats(model: Model, phase: Phase) -> FormatChoice:
    """The formats ``phase`` runs in unless told otherwise: as stored; training in bf16 beside master weights.

    What a checkpoint is stored in, quantised or in fp32, says nothing on how a model is trained.
    """
    return FormatChoice() if isinstance(phase, Train) else stored_formats(model)


def stored_formats(model: Model) -> FormatChoice:
    """Weights as stored; activations, cache and arithmetic in the format of what the checkpoint leaves unquantised.

    Checkpoints in 8-bit floating point are meant to be multiplied in it; narrower weights are widened first.
    """
    wide = next((fmt for fmt in (model.weight_format, model.unquantized_format) if fmt in WIDE), "bf16")
    return FormatChoice(
        weights=model.weight_format,
        activations=wide,
        kv_cache=wide,
        compute=model.weight_format if model.weight_format in EIGHT_BIT_FLOATS else wide,
        experts=model.expert_weight_format,
    )
