"""What shrinks keys and values: closed forms, and the ratios their papers state."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.serving.kv.sizes import KvPart, KvSizes, kv_sizes
from simulator.serving.kv.transforms import (
    EvictTokens,
    KeepShare,
    KvTransform,
    PruneChannels,
    Quantise,
    SelectPages,
    SelectTokens,
    SinksAndWindow,
    StreamingHeads,
    transformed,
)
from workloads.errors import InputError
from workloads.models import model

# One layer, 64 elements of keys and of values a token at 16 bit: 128 B + 128 B.
PLAIN = KvSizes((KvPart(1, 64.0, 64.0),))
TOKEN = 256


def test_pruning_two_fifths_of_the_key_channels_saves_a_fifth() -> None:
    # ThinK (arXiv 2407.21018): 40 % of the channels of keys, so 0.5 x 0.4 of the bytes.
    sizes = transformed(PLAIN, PruneChannels(0.6))
    assert sizes.kept_bytes(1000) == pytest.approx(0.8 * TOKEN * 1000)
    recent = transformed(PLAIN, PruneChannels(0.6, recent_tokens=32))
    assert recent.kept_bytes(1000) == pytest.approx(TOKEN * (32 + 0.8 * 968))
    assert recent.kept_bytes(20) == pytest.approx(TOKEN * 20)


def test_two_bits_with_a_recent_window_at_full_width() -> None:
    # KIVI-like: int2_g64 is 2 + 18/64 bits; the latest 128 tokens stay at 16.
    sizes = transformed(PLAIN, Quantise("int2_g64", "int2_g64", recent_tokens=128))
    narrow = TOKEN * (2 + 18 / 64) / 16
    assert sizes.kept_bytes(100) == pytest.approx(100 * TOKEN)
    assert sizes.kept_bytes(4096) == pytest.approx(128 * TOKEN + 3968 * narrow)
    assert sizes.touched_bytes(4096) == sizes.kept_bytes(4096)
    assert transformed(PLAIN, Quantise("fp8_e4m3", "int4")).kept_bytes(10) == 10 * (64 + 32)


@pytest.mark.parametrize(("full", "limit"), [(0.25, 4.0), (0.5, 2.0)])
def test_streaming_heads_tend_to_the_share_of_full_heads(full: float, limit: float) -> None:
    # DuoAttention (arXiv 2410.10819): 25 % full heads with MHA, 50 % with GQA; 4x and 2x for long contexts.
    sizes = transformed(PLAIN, StreamingHeads(full, 64, 256))
    context = 3_300_000
    assert PLAIN.kept_bytes(context) / sizes.kept_bytes(context) == pytest.approx(limit, rel=1e-3)
    assert sizes.kept_bytes(1000) == pytest.approx(TOKEN * (full * 1000 + (1 - full) * 320))
    assert sizes.kept_bytes(100) == pytest.approx(TOKEN * 100)


def test_streaming_heads_at_the_ends_are_all_or_none() -> None:
    assert transformed(PLAIN, StreamingHeads(1.0, 4, 8)) == PLAIN
    assert transformed(PLAIN, StreamingHeads(0.0, 4, 8)) == transformed(PLAIN, SinksAndWindow(4, 8))
    with pytest.raises(InputError, match=r"^full: a latent has no heads to tell apart; expected keys and values by"):
        transformed(kv_sizes(model("DeepSeek-V2-Lite")), StreamingHeads(0.5, 4, 8))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 5000))
def test_eviction_caps_what_is_kept_and_read(context: int) -> None:
    for transform in (EvictTokens(100, 28), SinksAndWindow(4, 124)):
        sizes = transformed(PLAIN, transform)
        assert sizes.kept_bytes(context) == sizes.touched_bytes(context) == min(context, 128) * TOKEN
    share = transformed(PLAIN, KeepShare(0.5))
    assert share.parts[0].kept_tokens(context) == (context + 1) // 2


def test_quest_reads_an_eighth_at_64k_tokens_with_a_budget_of_4k() -> None:
    # 1/16 of the bytes are bounds of pages (2 of keys per 16 tokens), 4096/65536 are chosen pages (arXiv 2406.10774).
    sizes = transformed(PLAIN, SelectPages(budget=4096, page_tokens=16))
    assert sizes.touched_bytes(65536) == pytest.approx(PLAIN.kept_bytes(65536) / 8)
    assert sizes.kept_bytes(65536) == pytest.approx(PLAIN.kept_bytes(65536) * 17 / 16)
    assert sizes.parts[0].touched_tokens(65536) == 4096
    # A page that has begun has whole bounds; 10 tokens are all read.
    assert sizes.touched_bytes(10) == 10 * TOKEN + 2 * 128


def test_sparse_attention_in_flash_stores_keys_twice_and_reads_three_sixteenths() -> None:
    # InstInfer (arXiv 2409.04992): capacity x 1.5; an eighth of the channels of all keys, an eighth of the tokens.
    sizes = transformed(PLAIN, SelectTokens(1 / 8, 1 / 8, twice=True))
    assert sizes.kept_bytes(2048) == 1.5 * PLAIN.kept_bytes(2048)
    assert sizes.touched_bytes(2048) == PLAIN.kept_bytes(2048) * 3 / 16


def test_a_windowed_layer_keeps_its_window_where_it_is_shorter() -> None:
    sizes = transformed(kv_sizes(model("Gemma-2-9B")), EvictTokens(6000, 2000))
    assert sizes.kept_bytes(100_000) == 21 * 8192 * (8000 + 4096)


TRANSFORMS = st.lists(
    st.one_of(
        st.builds(Quantise, st.sampled_from(["fp8_e4m3", "int4_g128"]), st.just("int4"), st.integers(0, 40)),
        st.builds(PruneChannels, st.floats(0.1, 1), st.floats(0.1, 1)),
        st.builds(EvictTokens, st.integers(0, 60), st.integers(1, 60)),
        st.builds(SinksAndWindow, st.integers(0, 9), st.integers(1, 60)),
        st.builds(StreamingHeads, st.floats(0, 1), st.integers(0, 9), st.integers(1, 60)),
        st.builds(SelectPages, st.integers(1, 60), st.integers(1, 9)),
        st.builds(SelectTokens, st.floats(0.1, 1), st.floats(0.1, 1), st.booleans()),
        st.builds(KeepShare, st.floats(0.1, 1)),
    ),
    max_size=3,
)


@settings(max_examples=60, deadline=None)
@given(TRANSFORMS, st.integers(0, 300), st.integers(1, 20))
def test_more_context_never_takes_or_reads_less_and_room_holds_what_is_kept(
    transforms: list[KvTransform], context: int, granule: int
) -> None:
    sizes = transformed(PLAIN, *transforms)
    more = context + 1
    assert sizes.kept_bytes(context) <= sizes.kept_bytes(more) * (1 + 1e-12)
    assert sizes.touched_bytes(context) <= sizes.touched_bytes(more) * (1 + 1e-12)
    assert sizes.room_bytes(context, granule) >= sizes.kept_bytes(context) * (1 - 1e-12)
    assert sizes.room_bytes(context, granule) <= sizes.room_bytes(more, granule)


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: PruneChannels(0.0), "keep: a share of 0; expected above 0 to 1"),
        (lambda: StreamingHeads(1.5, 0, 1), "full: a share of 1.5; expected from 0 to 1"),
        (lambda: EvictTokens(0, 0), "budget: 0 tokens; expected a whole number of at least 1"),
        (lambda: SelectPages(4, 0), "page_tokens: 0 tokens; expected a whole number of at least 1"),
    ],
)
def test_errors_name_the_field(build: object, message: str) -> None:
    with pytest.raises(InputError) as caught:
        build()  # type: ignore[operator]
    assert str(caught.value) == message
