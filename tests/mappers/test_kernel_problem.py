"""Kernels reduced to what a mapping decides: which tensors are left, and that no operation and no byte is lost."""

from __future__ import annotations

import math

import pytest

from mappers.kernel_problem import kernel_problem, with_joined_ranks, without_batch
from mappers.mapspace.problem import CascadeProblem, cascade_problem
from workloads.cascades import family_cascade, load_cascade

ATTENTION = {"b": 2, "h": 8, "g": 4, "p": 512, "m": 2048, "e": 128, "f": 64}


def problem(name: str, **sizes: int) -> CascadeProblem:
    return cascade_problem(load_cascade(name), sizes)


def shapes(found: CascadeProblem) -> dict[str, dict[str, int]]:
    return {e.name: {use.tensor: use.elements(e.size) for use in e.uses} for e in found.einsums}


@pytest.mark.parametrize("name", ["attention-1pass", "attention-1pass-causal", "attention-1pass-window"])
def test_attention_is_two_products_over_one_score_matrix(name: str) -> None:
    reduced = kernel_problem(problem(name, **ATTENTION))
    assert [e.contraction for e in reduced.einsums] == [True, True]
    scores = 2 * 8 * 4 * 512 * 2048
    first, second = shapes(reduced).values()
    assert first == {"Q": 2 * 32 * 512 * 128, "K": 2 * 8 * 2048 * 128, "QK": scores}
    assert second == {"QK": scores, "V": 2 * 8 * 2048 * 64, "AV": 2 * 32 * 512 * 64}
    assert reduced.intermediates == ("QK",)


def test_one_head_at_a_time_with_heads_and_queries_as_rows() -> None:
    single, times = without_batch(kernel_problem(problem("attention-1pass", **ATTENTION)))
    joined = with_joined_ranks(single)
    assert times == 2 * 8
    first, second = joined.einsums
    # Rows: 4 query heads x 512 queries; columns: 2048 keys, their blocks of 256 joined again.
    assert first.sizes == (("g", 4 * 512), ("m1", 2048), ("e", 128))
    assert second.sizes == (("g", 4 * 512), ("m1", 2048), ("f", 64))
    whole = kernel_problem(problem("attention-1pass", **ATTENTION))
    for ours, theirs in zip(joined.einsums, whole.einsums, strict=True):
        assert times * ours.points == theirs.points
        assert times * dict(ours.operations)["mac"] == dict(theirs.operations)["mac"]
        for use, other in zip(ours.uses, theirs.uses, strict=True):
            assert times * use.elements(ours.size) == other.elements(theirs.size)


def test_a_bias_rides_with_its_product() -> None:
    reduced = kernel_problem(problem("gemm-bias", m=4, n0=8, n1=16))
    assert list(shapes(reduced).values()) == [{"A": 32, "W": 128, "Z": 64}]
    assert reduced.intermediates == ()


def test_a_chain_and_a_single_product_stay_as_they_are() -> None:
    chain = cascade_problem(family_cascade("gemm-chain", {"length": 3}), {"m": 4, "n": 8})
    assert kernel_problem(chain) == chain
    assert without_batch(chain) == (chain, 1)
    assert with_joined_ranks(chain) == chain


def test_batches_of_products_run_one_after_the_other() -> None:
    single, times = without_batch(problem("batched-gemm", h=6, m=4, n0=8, n1=16))
    assert times == 6
    assert math.prod(size for _, size in single.einsums[0].sizes) == 4 * 8 * 16


def test_windows_are_neither_batches_nor_joined() -> None:
    sizes = {"b": 1, "c": 3, "k": 4, "p": 8, "q": 8, "r": 3, "s": 3}
    convolution = load_cascade("convolution")
    known = {rank: sizes.get(rank, 4) for rank in convolution.rank_names}
    found = cascade_problem(convolution, {r.name: known[r.name] for r in convolution.ranks if r.size is None})
    joined = with_joined_ranks(found)
    assert math.prod(size for _, size in joined.einsums[0].sizes) == found.einsums[0].points
    for ours, theirs in zip(joined.einsums[0].uses, found.einsums[0].uses, strict=True):
        assert ours.elements(joined.einsums[0].size) == theirs.elements(found.einsums[0].size)


def test_what_has_several_heirs_comes_back_whole() -> None:
    backward = load_cascade("ffn-swiglu-backward")
    sizes = {rank.name: 8 for rank in backward.ranks if rank.size is None}
    whole = cascade_problem(backward, sizes)
    reduced = kernel_problem(whole)
    assert {e.name for e in whole.einsums if e.contraction} <= {e.name for e in reduced.einsums}
