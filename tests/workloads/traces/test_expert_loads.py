"""Loads of experts against counting the picks of a routing stream, and in their limits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.errors import InputError
from workloads.traces.expert_loads import picked_shares, synthetic_loads
from workloads.traces.routing import synthetic_routing


@settings(max_examples=30, deadline=None)
@given(
    experts=st.integers(1, 64),
    top_k=st.integers(1, 8),
    tokens=st.integers(1, 5000),
    skew=st.floats(0, 4),
    drift=st.floats(0, 3),
)
def test_every_token_picks_so_many_different_experts(
    experts: int, top_k: int, tokens: int, skew: float, drift: float
) -> None:
    if top_k > experts:
        return
    found = synthetic_loads(iterations=3, layers=2, experts=experts, tokens=tokens, top_k=top_k, skew=skew, drift=drift)
    assert (found.sum(-1) == tokens * top_k).all()
    assert found.min() >= 0
    assert found.max() <= tokens


@pytest.mark.parametrize(("skew", "top_k"), [(0.0, 2), (1.0, 1), (1.0, 2), (1.5, 4)])
def test_shares_are_those_of_picks_drawn_one_by_one(skew: float, top_k: int) -> None:
    """20,000 tokens of the routing stream that draws each pick: sorted shares agree within 0.02 of a token's picks."""
    drawn = synthetic_routing(steps=1, layers=1, batch=20_000, experts=16, top_k=top_k, skew=skew, seed=3)
    counted = np.sort(np.bincount(drawn.picks.ravel(), minlength=16)) / 20_000
    shares = np.sort(picked_shares(np.arange(1, 17, dtype=float) ** -skew, top_k))
    assert shares.sum() == pytest.approx(top_k)
    np.testing.assert_allclose(shares, counted, atol=0.02)


def test_two_picks_of_three() -> None:
    """Popularities 1/2, 1/3, 1/6. The first is second after the others with 1/3 x 3/4 + 1/6 x 3/5 = 7/20."""
    found = picked_shares(np.array([3.0, 2.0, 1.0]), 2)
    np.testing.assert_allclose(found, [17 / 20, 1 / 3 + 1 / 2 * 2 / 3 + 1 / 6 * 2 / 5, 5 / 12], rtol=1e-9)


def test_limits() -> None:
    even = synthetic_loads(iterations=2, layers=3, experts=8, tokens=4, top_k=2, skew=0)
    assert (even == 1).all()
    # All experts picked by every token, whatever the skew.
    whole = synthetic_loads(iterations=1, layers=1, experts=4, tokens=7, top_k=4, skew=2)
    assert (whole == 7).all()
    # Without drift an iteration is like the next; with it, the further apart the less alike.
    still = synthetic_loads(iterations=3, layers=1, experts=16, tokens=1000, top_k=2, skew=1)
    assert (still[0] == still[2]).all()
    moved = synthetic_loads(
        iterations=200, layers=4, experts=64, tokens=10_000, top_k=2, skew=1, drift=0.5, memory=50
    ).astype(float)
    near, far = (np.abs(moved[apart] - moved[0]).sum() for apart in (1, 199))
    assert near < far / 3


def test_errors() -> None:
    usual: dict[str, float] = {"iterations": 1, "layers": 1, "experts": 4, "tokens": 8, "top_k": 2, "skew": 1}
    for name, value in (("top_k", 5), ("skew", -1), ("drift", float("nan")), ("memory", 0), ("tokens", 0)):
        with pytest.raises(InputError) as caught:
            synthetic_loads(**(usual | {name: value}))  # type: ignore[arg-type]
        assert caught.value.field == name
