"""Bytes of keys and values by model, format, split and window, against hand counts and published numbers."""

from __future__ import annotations

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.serving.kv.sizes import KvPart, KvSizes, kv_sizes
from workloads.errors import InputError
from workloads.formats import FormatChoice
from workloads.models import kv_cache_elements, model


@pytest.mark.parametrize(
    ("name", "token_bytes"),
    [
        ("Llama-3-8B", 131_072),  # 2 x 32 layers x 8 heads x 128 x 2 B
        ("Llama-2-7B", 524_288),  # 2 x 32 x 32 x 128 x 2 B: every query head has its own keys
        ("Falcon-7B", 8_192),  # one head of 64 for all: 2 x 32 x 64 x 2 B
        ("OPT-13B", 819_200),  # InstInfer, arXiv 2409.04992: 2 x 40 x 5120 x 2 B
        ("DeepSeek-V2-Lite", 31_104),  # latent: 27 layers x (512 + 64) x 2 B
    ],
)
def test_bytes_of_a_token_at_16_bit(name: str, token_bytes: int) -> None:
    sizes = kv_sizes(model(name))
    assert sizes.token_bytes == token_bytes
    assert sizes.linear
    assert sizes.kept_bytes(1000) == sizes.touched_bytes(1000) == 1000 * token_bytes


@pytest.mark.parametrize(
    ("name", "devices", "times"),
    [("Llama-3-8B", 8, 1), ("Llama-3-8B", 16, 2), ("Falcon-7B", 4, 4), ("DeepSeek-V2-Lite", 4, 4)],
)
def test_devices_share_heads_but_each_has_one_and_a_latent_is_whole_on_each(
    name: str, devices: int, times: int
) -> None:
    assert kv_sizes(model(name), devices=devices).token_bytes == times * kv_sizes(model(name)).token_bytes


@pytest.mark.parametrize(("name", "bits"), [("fp8_e4m3", 8), ("int4_g128", 4 + 20 / 128), ("mxfp4", 4 + 8 / 32)])
def test_format_with_its_scales(name: str, bits: float) -> None:
    assert kv_sizes(model("Llama-3-8B"), FormatChoice(kv_cache=name)).token_bytes == 131_072 * bits / 16


def test_windowed_layers_keep_no_more_than_their_window() -> None:
    # Gemma-2-9B: 42 layers of 2 x 8 heads x 256 x 2 B = 8192 B, every other one with a window of 4096 tokens.
    sizes = kv_sizes(model("Gemma-2-9B"))
    assert not sizes.linear
    assert sizes.kept_bytes(4096) == 42 * 8192 * 4096
    assert sizes.kept_bytes(8192) == 21 * 8192 * (8192 + 4096)
    assert sizes.kept_bytes(8192) == 2 * kv_cache_elements(model("Gemma-2-9B"), 8192)


def test_an_encoder_keeps_nothing() -> None:
    with pytest.raises(InputError, match=r"^model: BERT-base keeps no keys and values; expected a model that decodes$"):
        kv_sizes(model("BERT-base"))


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 40), st.integers(1, 9), st.integers(0, 20), st.integers(1, 120))
def test_blocks_of_a_moving_window_by_counting_them(window: int, granule: int, pinned: int, longest: int) -> None:
    """The most blocks that the pinned first tokens and the window touch at any length up to ``longest``."""
    part = KvPart(1, 1.0, 0.0, 8.0, keeps_tokens=pinned + window, slides=True, pinned_tokens=pinned)
    most = 0
    for length in range(1, longest + 1):
        kept = [token for token in range(length) if token < pinned or token >= length - window]
        most = max(most, len({token // granule for token in kept}))
    room = part.room_bytes(longest, granule) / granule
    assert room >= most
    if longest >= pinned + window + 2 * granule and pinned % granule == 0:
        assert room == most


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 5000), st.integers(1, 64))
def test_room_is_whole_granules_of_what_is_kept(tokens: int, granule: int) -> None:
    sizes = KvSizes((KvPart(3, 2.0, 2.0),))
    assert sizes.room_bytes(tokens, granule) == 3 * 8 * granule * math.ceil(tokens / granule)
