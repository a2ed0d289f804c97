"""One reader for each family of published configurations, found by the names those files use for themselves."""

from __future__ import annotations

from collections.abc import Callable

from workloads.models.architecture import Model
from workloads.models.fields import Config
from workloads.models.readers import deepseek, encoders, gpt, llama, mixtures, research

__all__ = ["ARCHITECTURES", "MODEL_TYPES", "Reader"]

Reader = Callable[[Config, str], Model]
"""Reads a configuration into the model of the given name; raises `InputError`."""

ARCHITECTURES: dict[str, Reader] = {
    "BertForMaskedLM": encoders.bert,
    "BertForPreTraining": encoders.bert,
    "BertLMHeadModel": encoders.bert,
    "BertModel": encoders.bert,
    "BloomForCausalLM": gpt.bloom,
    "DbrxForCausalLM": mixtures.dbrx,
    "DeepseekV2ForCausalLM": deepseek.deepseek_v2,
    "DeepseekV3ForCausalLM": deepseek.deepseek_v3,
    "FalconForCausalLM": gpt.falcon,
    "GPT2LMHeadModel": gpt.gpt2,
    "GPTJForCausalLM": gpt.gptj,
    "GPTNeoXForCausalLM": gpt.gpt_neox,
    "Gemma2ForCausalLM": llama.gemma2,
    "GptOssForCausalLM": mixtures.gpt_oss,
    "GlamForCausalLM": research.glam,
    "Grok1ForCausalLM": mixtures.grok1,
    "Grok1ModelForCausalLM": mixtures.grok1,
    "LlamaForCausalLM": llama.llama,
    "MT5ForConditionalGeneration": encoders.t5,
    "MistralForCausalLM": llama.mistral,
    "MixtralForCausalLM": mixtures.mixtral,
    "OPTForCausalLM": gpt.opt,
    "OlmoeForCausalLM": mixtures.olmoe,
    "Phi3ForCausalLM": llama.phi3,
    "PhiForCausalLM": gpt.phi,
    "PhiMoEForCausalLM": mixtures.phimoe,
    "PhimoeForCausalLM": mixtures.phimoe,
    "Qwen2ForCausalLM": llama.qwen2,
    "Qwen2MoeForCausalLM": mixtures.qwen2_moe,
    "Qwen3ForCausalLM": llama.qwen3,
    "Qwen3MoeForCausalLM": mixtures.qwen3_moe,
    "RWForCausalLM": gpt.falcon,
    "SmallThinkerForCausalLM": mixtures.smallthinker,
    "SwitchTransformersForConditionalGeneration": encoders.switch_transformers,
    "T5ForConditionalGeneration": encoders.t5,
    "T5WithLMHeadModel": encoders.t5,
    "TransfoXLLMHeadModel": research.transformer_xl,
    "XLMWithLMHeadModel": research.xlm,
}
"""The first entry of ``architectures``: what the weights were saved as."""

MODEL_TYPES: dict[str, Reader] = {
    "RefinedWeb": gpt.falcon,
    "RefinedWebModel": gpt.falcon,
    "bert": encoders.bert,
    "bloom": gpt.bloom,
    "dbrx": mixtures.dbrx,
    "deepseek_v2": deepseek.deepseek_v2,
    "deepseek_v3": deepseek.deepseek_v3,
    "falcon": gpt.falcon,
    "gemma2": llama.gemma2,
    "glam": research.glam,
    "gpt2": gpt.gpt2,
    "gpt_neox": gpt.gpt_neox,
    "gpt_oss": mixtures.gpt_oss,
    "gptj": gpt.gptj,
    "grok-1": mixtures.grok1,
    "llama": llama.llama,
    "mistral": llama.mistral,
    "mixtral": mixtures.mixtral,
    "mt5": encoders.t5,
    "olmoe": mixtures.olmoe,
    "opt": gpt.opt,
    "phi": gpt.phi,
    "phi3": llama.phi3,
    "phimoe": mixtures.phimoe,
    "qwen2": llama.qwen2,
    "qwen2_moe": mixtures.qwen2_moe,
    "qwen3": llama.qwen3,
    "qwen3_moe": mixtures.qwen3_moe,
    "smallthinker": mixtures.smallthinker,
    "switch_transformers": encoders.switch_transformers,
    "t5": encoders.t5,
    "transfo-xl": research.transformer_xl,
    "xlm": research.xlm,
}
"""``model_type``: used where ``architectures`` is absent."""
