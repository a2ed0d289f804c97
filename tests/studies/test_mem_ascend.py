"""MemAscend against what it says it saves, and in its limits."""

from __future__ import annotations

import pytest

from studies.mem_ascend import STUDY
from tests.studies.checks import check_honest, errors_of, rows

NAME = "mem-ascend"
PLAIN = {"pool": "uniform", "pinned": "powers", "check": "upcast"}


def simulated(**changes: str | float) -> dict[str, float]:
    return dict(STUDY.simulate(STUDY.config(changes)))


def test_it_is_honest() -> None:
    check_honest(NAME)


def test_the_mean_that_is_saved() -> None:
    assert max(map(abs, errors_of(NAME, "saved"))) <= 0.05


def test_limits() -> None:
    # Powers of two, so exact or not at all; one model of the four has all of them.
    limits = [row for row in rows(NAME) if row.metric in ("longest_context", "largest_batch")]
    assert [row.error for row in limits] == [0.0] * 4
    assert all(row.calibrates for row in limits)
    # Without a system in the same memory twice the context would fit beside either.
    assert simulated(model="Llama-3.1-8B", memory=128 + 19.62)["longest_context"] == 262_144


def test_nothing_closed_saves_nothing() -> None:
    found = simulated(**PLAIN)
    assert (found["saved"], found["pool_saved"]) == (0.0, 0.0)


@pytest.mark.parametrize(("leak", "closed"), [("pool", "classes"), ("pinned", "pages"), ("check", "fused")])
def test_each_leak_closed_saves_something(leak: str, closed: str) -> None:
    assert 0.0 < simulated(**{**PLAIN, leak: closed})["saved"] < simulated()["saved"]


def test_the_check_is_more_than_the_gradients() -> None:
    # 2.25 times the flat buffer while infinities are looked for; the buffer itself is rounded up beside it.
    found = simulated(model="Qwen2.5-7B", **PLAIN)
    assert found["part_check"] == 5 * 7_615_616_512
    assert found["part_gradients"] == 32 * 2**30
    # Gradients of 16 bits are widened first: 4 bytes, as many for their absolute values and the flags.
    assert simulated(model="Qwen2.5-7B", gradient_bytes=2, **PLAIN)["part_check"] == 9 * 7_615_616_512


def test_long_contexts_leave_only_activations() -> None:
    # 32 layers of 2 x 4,096 bytes a token: where they are all, rounding no longer matters for a power of two.
    long: dict[str, str | float] = {"model": "Llama-3.1-8B", "context": 16_777_216}
    assert simulated(**long)["part_activations"] == 16_777_216 * 32 * 8192
    assert simulated(**long)["saved"] < 0.02
    # Widths that are none: 5,120 of 8,192 are used, so pages save 3/8 even there.
    assert simulated(model="Qwen2.5-14B", context=16_777_216)["saved"] == pytest.approx(0.375, abs=0.01)


def test_more_needs_more() -> None:
    for key, values in (
        ("batch", (1, 2, 8)),
        ("context", (512, 4096, 65_536)),
        ("blocks", (1, 2, 4)),
        ("devices", (1, 2, 4)),
    ):
        for rules in ({}, PLAIN):
            peaks = [simulated(**rules, **{key: value})["peak"] for value in values]
            assert peaks == sorted(peaks), key
    limits = [simulated(memory=room)["longest_context"] for room in (16.0, 64.0, 256.0, 1024.0)]
    assert limits == sorted(limits)
    assert limits[0] == 0
