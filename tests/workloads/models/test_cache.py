"""Key-value cache per token and per sequence, against values worked out by hand."""

from __future__ import annotations

import pytest

from workloads.errors import InputError
from workloads.models import (
    cross_cache_elements,
    kv_bytes_per_token,
    kv_cache_elements,
    kv_elements_per_token,
    model,
)

# layers x 2 x KV heads x head_dim x 2 bytes; for latent attention layers x (kv_rank + rope_dim) x 2 bytes.
BYTES_PER_TOKEN = {
    "Llama-2-7B": 32 * 2 * 32 * 128 * 2,  # 524,288
    "Llama-2-70B": 80 * 2 * 8 * 128 * 2,  # 327,680
    "Llama-3-8B": 32 * 2 * 8 * 128 * 2,  # 131,072
    "Llama-3.1-405B": 126 * 2 * 8 * 128 * 2,  # 516,096
    "Llama-3.2-1B": 16 * 2 * 8 * 64 * 2,  # 32,768
    "Mixtral-8x7B": 32 * 2 * 8 * 128 * 2,  # 131,072
    "Qwen2.5-7B": 28 * 2 * 4 * 128 * 2,  # 57,344
    "Qwen3-30B-A3B": 48 * 2 * 4 * 128 * 2,  # 98,304
    "DeepSeek-V2": 60 * (512 + 64) * 2,  # 69,120
    "DeepSeek-V2-Lite": 27 * (512 + 64) * 2,  # 31,104
    "DeepSeek-V3": 61 * (512 + 64) * 2,  # 70,272
    "Falcon-7B": 32 * 2 * 1 * 64 * 2,  # 8,192: one KV head
    "Falcon-40B": 60 * 2 * 8 * 64 * 2,  # 122,880
    "OPT-6.7B": 32 * 2 * 32 * 128 * 2,  # 524,288
    "GPT-3-175B": 96 * 2 * 96 * 128 * 2,  # 4,718,592
    "Gemma-2-9B": 42 * 2 * 8 * 256 * 2,  # 344,064
    "Phi-3-mini": 32 * 2 * 32 * 96 * 2,  # 393,216
    "gpt-oss-20b": 24 * 2 * 8 * 64 * 2,  # 49,152
    "T5-large": 24 * 2 * 16 * 64 * 2,  # 98,304: the decoder's layers only
    "BERT-base": 0,
    "XLM": 0,
}


@pytest.mark.parametrize(("name", "expected"), BYTES_PER_TOKEN.items())
def test_bytes_per_token_in_fp16(name: str, expected: int) -> None:
    assert kv_bytes_per_token(model(name), "fp16") == expected


def test_published_values() -> None:
    """The three figures that other tools got wrong, as plain numbers."""
    assert kv_bytes_per_token(model("Llama-3-8B")) == 131_072
    assert kv_bytes_per_token(model("Llama-2-7B")) == 524_288
    assert kv_bytes_per_token(model("DeepSeek-V3"), "bf16") == 70_272


def test_narrow_formats_spread_their_scales() -> None:
    assert kv_bytes_per_token(model("Llama-3-8B"), "fp8_e4m3") == 65_536
    assert kv_bytes_per_token(model("Llama-3-8B"), "mxfp8") == 65_536 * (8 + 8 / 32) / 8


def test_unknown_format_names_the_nearest() -> None:
    with pytest.raises(InputError, match=r"unknown number format 'fp16b'.*did you mean 'fp16'"):
        kv_bytes_per_token(model("Llama-3-8B"), "fp16b")


def test_cache_grows_with_tokens_without_windows() -> None:
    llama = model("Llama-3.1-8B")
    assert kv_cache_elements(llama, 0) == 0
    assert kv_cache_elements(llama, 1000) == 1000 * kv_elements_per_token(llama)


def test_windowed_layers_keep_no_more_than_their_window() -> None:
    """gpt-oss-20b: 12 of 24 layers keep 128 tokens; each layer keeps 2 x 8 x 64 values of a token."""
    model_ = model("gpt-oss-20b")
    assert kv_cache_elements(model_, 100) == 24 * 1024 * 100
    assert kv_cache_elements(model_, 10_000) == 12 * 1024 * 128 + 12 * 1024 * 10_000


def test_window_over_all_layers() -> None:
    assert kv_cache_elements(model("Mistral-7B"), 32_768) == 32 * 2 * 8 * 128 * 4096


def test_smallthinker_keeps_thirteen_full_layers() -> None:
    per_layer = 2 * 4 * 128
    assert kv_cache_elements(model("SmallThinker-21B-A3B"), 16_384) == per_layer * (13 * 16_384 + 39 * 4096)


def test_cross_attention_keeps_the_encoders_tokens() -> None:
    assert cross_cache_elements(model("T5-large"), 512) == 24 * 2 * 16 * 64 * 512
    assert cross_cache_elements(model("Llama-3-8B"), 512) == 0
