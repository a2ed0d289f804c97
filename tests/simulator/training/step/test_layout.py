"""Layouts that are possible pass; others name the smallest change that would do."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from simulator.training.step.layout import Parallel, check_layout, micro_batches, read_parallel
from workloads.errors import ImpossibleError, InfeasibleError, InputError
from workloads.models.architecture import Attention, Block, FeedForward, MixtureOfExperts, Model


def _model(layers: int = 32, heads: int = 64, kv_heads: int = 8, experts: int = 0) -> Model:
    wide = FeedForward(28672, True, "silu")
    feed = MixtureOfExperts(experts, 2, wide) if experts else wide
    return Model("m", "m", 8192, 128256, (Block(Attention(heads, kv_heads, 128), feed, "rms"),), (0,) * layers, False)


def _message(parallel: str, **given: int) -> str:
    shape = {key: given.pop(key) for key in ("layers", "heads", "kv_heads", "experts") if key in given}
    with pytest.raises((ImpossibleError, InfeasibleError)) as error:
        check_layout(read_parallel(parallel), _model(**shape), **given)
    return str(error.value)


def test_a_layout_is_read_and_written() -> None:
    text = "tp=8,pp=4,dp=2,cp=2,ep=4,zero=3,chunks=2,sp=1"
    layout = read_parallel(text)
    assert layout == Parallel(8, 4, 2, 2, 4, 3, 2, True)
    assert str(layout) == text
    assert layout.devices == 8 * 4 * 2 * 2
    assert layout.stage_devices == 32
    assert read_parallel("") == Parallel()
    assert read_parallel(str(Parallel())) == Parallel()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("tp", "parallel: found 'tp'; expected key=value, such as tp=8"),
        ("tp=x", "parallel.tp: found 'x'; expected a whole number"),
        ("tp=2,tp=4", "parallel: tp is given twice; expected each degree once"),
        ("tp=0", "tensor: 0 is no count; expected a whole number of at least 1"),
        ("zero=4", "zero: found 4; expected 0, 1, 2 or 3"),
        ("sp=2", "parallel.sp: found '2'; expected 0 or 1"),
    ],
)
def test_what_cannot_be_read(text: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        read_parallel(text)
    assert not isinstance(error.value, ImpossibleError)
    assert str(error.value) == message


def test_an_unknown_degree_names_the_nearest() -> None:
    with pytest.raises(InputError) as error:
        read_parallel("chunk=2")
    assert error.value.nearest == "chunks"


def test_what_does_not_divide_names_the_nearest_that_does() -> None:
    assert _message("tp=6") == "parallel.tp: tp=6 does not divide 64 heads; expected tp=4 or 8"
    assert _message("pp=8", layers=30) == "parallel.pp: 8 stages for 30 layers; expected pp=6 or 10"
    assert _message("pp=4,chunks=3") == "parallel.chunks: 4 stages of 3 chunks for 32 layers; expected chunks=2 or 4"
    assert _message("tp=16", kv_heads=12, heads=48) == (
        "parallel.tp: tp=16 beside 12 key-value heads; expected tp=12 or 24"
    )
    assert _message("ep=4") == "parallel.ep: ep=4 for m, which has no experts; expected ep=1"
    assert _message("ep=3,dp=3", experts=8) == "parallel.ep: ep=3 does not divide 8 experts; expected ep=1"
    assert _message("ep=8,dp=4", experts=8) == "parallel.ep: ep=8 does not divide dp x cp = 4 devices; expected ep=4"
    assert _message("sp=1") == "parallel.sp: sp=1 beside tp=1; expected sp=0, or tp of 2 or more"
    assert _message("cp=4", tokens=4100) == (
        "context: 4,100 tokens do not divide into 8 parts; expected a context of 4096 or 4104"
    )
    assert _message("dp=3", global_batch=64, devices=3) == (
        "global_batch: 64 sequences do not divide into dp=3 times micro-batches of 1; "
        "expected a global batch of 63 or 66"
    )
    assert _message("pp=4,chunks=2", global_batch=6) == (
        "global_batch: 6 micro-batches over 4 stages in chunks; expected a global batch of 4 or 8"
    )


def test_devices() -> None:
    assert _message("tp=8,pp=4,dp=3", devices=64) == (
        "layout tp=8,pp=4,dp=3: needs 96 devices, has 64 devices (32 devices too much); dp=2 would do"
    )
    assert _message("tp=8,pp=4,dp=3", devices=16) == (
        "layout tp=8,pp=4,dp=3: needs 96 devices, has 16 devices (80 devices too much); "
        "one replica alone is 32 devices; tp=8,pp=2 would do"
    )
    assert _message("tp=8,dp=2", devices=64) == "devices: layout tp=8,dp=2 uses 16 of 64 devices; expected dp=8"
    assert _message("tp=8,dp=2", devices=20) == (
        "devices: layout tp=8,dp=2 uses 16 of 20 devices; expected devices of 16 or 24 (a replica is 8)"
    )


def test_micro_batches_divide_the_batch() -> None:
    assert micro_batches(Parallel(data=4), 128, 2) == 16
    with pytest.raises(InputError) as wrong:
        micro_batches(Parallel(), 0)
    assert not isinstance(wrong.value, ImpossibleError)


@settings(max_examples=60, deadline=None)
@given(
    tensor=st.sampled_from([1, 2, 4, 8]), pipeline=st.sampled_from([1, 2, 4, 8]), context=st.sampled_from([1, 2, 4]),
    data=st.integers(1, 4), devices=st.integers(1, 64),
)  # fmt: skip
def test_the_smaller_layout_named_works(tensor: int, pipeline: int, context: int, data: int, devices: int) -> None:
    """Where devices are too few: fewer replicas on those they take, or one degree less on all of them."""
    layout, machine = Parallel(tensor, pipeline, data, context), _model()
    try:
        check_layout(layout, machine, devices=devices)
    except InfeasibleError as error:
        assert layout.devices > devices
        words = str(error.hint)
        if words.startswith("dp="):
            fewer = replace(layout, data=int(words.removeprefix("dp=").split()[0]))
            assert fewer.devices <= devices < replace(fewer, data=fewer.data + 1).devices
        elif "; " in words:
            smaller = read_parallel(words.split("; ")[1].removesuffix(" would do"))
            check_layout(smaller, machine, devices=devices)
            assert (
                sum(getattr(smaller, name) != getattr(layout, name) for name in ("tensor", "pipeline", "context")) == 1
            )
    except ImpossibleError:
        assert layout.devices < devices


@settings(max_examples=60, deadline=None)
@given(
    tensor=st.integers(1, 12), pipeline=st.integers(1, 12), data=st.integers(1, 4), layers=st.integers(1, 48),
    heads=st.sampled_from([8, 12, 24, 64, 96]),
)  # fmt: skip
def test_the_change_named_works(tensor: int, pipeline: int, data: int, layers: int, heads: int) -> None:
    """Following what errors name, one degree at a time, ends at a layout that passes."""
    layout, model = Parallel(tensor, pipeline, data), _model(layers, heads, heads)
    for _ in range(4):
        try:
            check_layout(layout, model, devices=layout.devices, global_batch=data * 8)
            return
        except ImpossibleError as error:
            key, _, values = str(error.expected).partition("=")
            nearest = int(values.split(" or ")[0])
            layout = replace(layout, **{{"tp": "tensor", "pp": "pipeline"}[key]: nearest})
    raise AssertionError(f"{layout} still does not pass")
