"""The serving engines behind end-to-end rows: whose kernels they run, how they batch, what their hosts take."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from hw.spec.system import System
from simulator.serving.host import Host, host_of

__all__ = ["Engine", "engine_of"]


@dataclass(frozen=True)
class Engine:
    """An engine of some time: an epoch of `mappers.kernels.software`, a batching of `simulator.serving.scheduler`.

    ``static`` rows ran one batch of prompts, then decoded it; the others are clients in a closed loop. ``custom`` says
    that the engine brings all-reduces of its own beside NCCL's, ``kv_fp8`` that it keeps keys and values of models in
    fp8 in fp8 as well.
    """

    name: str
    software: str
    batching: Literal["static", "chunked", "prefill-first"]
    token_budget: int = 8192
    custom: bool = True
    kv_fp8: bool = False

    def host(self, preset: str) -> Host:
        """The host measured with this engine."""
        return host_of(self.name, preset)

    def on(self, system: System) -> System:
        """The system with the engine's collective library on its fabric, where one is known for the GPU."""
        if not self.custom or system.fabric is None or system.fabric.library != "nccl-h100":
            return system
        return system.model_copy(update={"fabric": system.fabric.model_copy(update={"library": "vllm-h100"})})


# Budgets are the engines' defaults for 80 GB parts: vllm/engine/arg_utils.py (OPENAI_API_SERVER: 8192),
# sglang/srt/server_args.py (chunked_prefill_size 8192), TensorRT-LLM's BuildConfig (max_num_tokens 8192).
# TensorRT-LLM's tables of version 0.5 were measured with --fp8_kv_cache (docs/source/performance.md, 138f96d).
# SGLang runs prompts in steps of their own, the other two beside the decodes.
_ENGINES = (
    ("vllm (2023)", Engine("vllm-2023", "torch-2024", "static", custom=False)),
    ("tensorrt-llm 0", Engine("tensorrt-llm-0", "torch-2024", "static", custom=False, kv_fp8=True)),
    ("trtllm", Engine("tensorrt-llm-1", "vllm-0.24", "chunked")),
    ("sglang", Engine("sglang-0.5", "vllm-0.24", "prefill-first")),
    ("vllm 0.11", Engine("vllm-0.12", "vllm-0.24", "chunked")),
    ("vllm 0.12", Engine("vllm-0.12", "vllm-0.24", "chunked")),
    ("vllm", Engine("vllm-0.18", "vllm-0.24", "chunked")),
)


def engine_of(framework: str) -> Engine | None:
    """The engine that a row's ``framework`` names.

    >>> engine_of("trtllm 1.0.0rc3").name, engine_of("vLLM (2023)").batching
    ('tensorrt-llm-1', 'static')
    """
    text = framework.casefold()
    return next((engine for start, engine in _ENGINES if text.startswith(start)), None)
