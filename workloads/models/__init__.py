"""Real models: published configurations read as they are, a bundled catalogue, and exact counts.

>>> from workloads.models import kv_bytes_per_token, model, parameters
>>> parameters(model("Llama-3.1-8B")).total
8030261248
>>> kv_bytes_per_token(model("Llama-3.1-8B"), "bf16")
131072.0
"""

from workloads.models.architecture import Attention, Block, FeedForward, LatentAttention, MixtureOfExperts, Model
from workloads.models.catalogue import Agreement, Published, agreement, model, model_names, published
from workloads.models.config import parse_model, read_model
from workloads.models.counts import (
    ParameterCount,
    active_parameters,
    block_parameters,
    cross_cache_elements,
    kv_bytes_per_token,
    kv_cache_elements,
    kv_elements_per_token,
    parameters,
    weight_bytes,
)
from workloads.models.flops import attended_pairs, forward_flops

__all__ = [
    "Agreement",
    "Attention",
    "Block",
    "FeedForward",
    "LatentAttention",
    "MixtureOfExperts",
    "Model",
    "ParameterCount",
    "Published",
    "active_parameters",
    "agreement",
    "attended_pairs",
    "block_parameters",
    "cross_cache_elements",
    "forward_flops",
    "kv_bytes_per_token",
    "kv_cache_elements",
    "kv_elements_per_token",
    "model",
    "model_names",
    "parameters",
    "parse_model",
    "published",
    "read_model",
    "weight_bytes",
]
