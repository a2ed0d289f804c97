"""MEMO's share of tokens: the program as it is printed against the closed form, and both limits by hand."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mappers.planner.swap.alpha import AlphaProblem, best_alpha, best_alpha_by_lp

positive = st.floats(0.05, 20)


@settings(max_examples=60, deadline=None)
@given(
    first=positive, attention=positive, others=positive, rate=positive, layer=positive, host=positive,
    layers=st.integers(3, 80),
)  # fmt: skip
def test_closed_form_is_the_program(
    first: float, attention: float, others: float, rate: float, layer: float, host: float, layers: int
) -> None:
    problem = AlphaProblem(first, attention, others, rate, layer, layers, host * layers)
    found, program = best_alpha(problem), best_alpha_by_lp(problem)
    if found.alpha is None:
        # At the edge the solver may still see a point within its tolerance.
        assert program is None or program < 1e-5
    elif program is None:
        assert found.alpha < 1e-5
    else:
        assert program == pytest.approx(found.alpha, abs=1e-5)


def test_held_back_by_the_link() -> None:
    # 1 + 1 + alpha 14 bytes in one second at 9 bytes a second: alpha is a half.
    found = best_alpha(AlphaProblem(1, 1, 14, 9, 1, 10, 1e9))
    assert (found.alpha, found.bound) == (0.5, "time")


def test_held_back_by_the_host() -> None:
    # 7B at a million tokens on 8 devices: 30 layers of 2 + alpha 14 GiB in 250 GB.
    gib = 2**30
    found = best_alpha(AlphaProblem(gib, gib, 14 * gib, 25e9, 6.8, 32, 250e9))
    assert found.alpha == pytest.approx((250e9 / 30 / gib - 2) / 14)
    assert found.alpha == pytest.approx(0.412, abs=5e-4)
    assert found.bound == "host memory"


def test_nothing_holds_back() -> None:
    found = best_alpha(AlphaProblem(1, 1, 14, 16, 1, 10, 128))
    assert (found.alpha, found.bound) == (1, "nothing")


def test_infeasible_says_by_how_much() -> None:
    # Two bytes in each of 8 layers do not fit 10; nor do they pass a link of 1 byte a second in one second.
    host = best_alpha(AlphaProblem(1, 1, 14, 16, 1, 10, 10))
    assert (host.alpha, host.bound, host.missing_bytes, host.missing_bytes_per_s) == (None, "host memory", 6, 0)
    link = best_alpha(AlphaProblem(1, 1, 14, 1, 1, 10, 1000))
    assert (link.alpha, link.bound, link.missing_bytes, link.missing_bytes_per_s) == (None, "time", 0, 1)


@pytest.mark.parametrize(
    ("tokens", "swapped"),
    [(1 << 16, 1.0), (1 << 17, 2.0), (1 << 18, 4.0), (1 << 19, 8.0), (1 << 20, 16.0)],
)
def test_volumes(tokens: int, swapped: float) -> None:
    # 7B on 8 devices: 32 h bytes per token and layer, 1 GiB at 64 K tokens, all of it at alpha 1.
    shard = 2 * tokens * 4096 // 8
    problem = AlphaProblem(shard, shard, 14 * shard, 25e9, 1, 32, 250e9)
    assert problem.swapped_bytes(1) == swapped * 2**30
    assert problem.swapped_bytes(0) == swapped * 2**30 / 8
