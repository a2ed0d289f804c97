"""Passes with attention that is not fused, by hand."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from mappers.planner.swap import Machine
from mappers.planner.swap.machine import Kernels
from simulator.training.host.eager_layers import pass_seconds
from workloads.models.architecture import Attention, Block, FeedForward, Model

# Heads of 4 in a width of 8: 2 x 8 x 8 and 2 x 8 x 4 of attention and 3 x 8 x 16 of the feed-forward are 576.
BLOCK = Block(Attention(2, 1, 4), FeedForward(16, gated=True, activation="silu"), "rms")
MODEL = Model("m", "m", 8, 10, (BLOCK,), (0,) * 3, tied_embeddings=False)
MACHINE = Machine("m", 1, 100.0, math.inf, 1.0, "hbm", 2.0, 1.0, (), Kernels("k", 0.5, 1.0, 1.0, {}), {})


def test_products_by_hand() -> None:
    found = pass_seconds(MODEL, MACHINE, 4, 2)
    # Two sequences of 4 tokens: 2 x 8 x 576 a layer, twice 2 x 2 x 4 x 4 x 8 for attention, 2 x 8 x 8 x 10 of the head.
    forward = (3 * (2 * 8 * 576 + 2 * 4 * 16 * 8) + 2 * 8 * 80) / 50
    assert found.forward_s == pytest.approx(forward)
    assert found.backward_s == pytest.approx(2 * forward)
    assert (found.gather_s, found.scatter_s) == (0.0, 0.0)
    assert found.backward(checkpointed=True) == pytest.approx(3 * forward)


def test_scores_pass_the_memory() -> None:
    slow = replace(MACHINE, peak_flops_per_s=math.inf, memory_bytes_per_s=1.0)
    one, two = (pass_seconds(MODEL, slow, context, 1).forward_s for context in (4, 8))
    # Twice the context: all else doubles, the scores of 3 layers and 2 heads quadruple: 4 passes of 2 bytes.
    assert two - 2 * one == pytest.approx(4 * 2 * 3 * 2 * (64 - 2 * 16))


def test_collectives_and_what_is_ahead() -> None:
    # 592 parameters of a layer (norms of 8 twice), 168 outside: half of 2 bytes each at 2 bytes a second.
    four = replace(MACHINE, devices=2)
    found = pass_seconds(MODEL, four, 4, 1, ahead=500)
    assert found.gather_s == pytest.approx((3 * 92 + 168) / 2)
    assert found.scatter_s == pytest.approx((3 * 592 + 168) / 2)
    assert pass_seconds(MODEL, four, 4, 1, ahead=10**6).gather_s == pytest.approx(168 / 2)


def test_the_host_issues_it() -> None:
    found = pass_seconds(MODEL, MACHINE, 4, 1, issue_s=1e6)
    assert found.forward() == 3e6
    assert found.backward(checkpointed=False) == pytest.approx(found.backward_s)
