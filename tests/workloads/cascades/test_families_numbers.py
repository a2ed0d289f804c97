"""Families of cascades: their members against numpy, their parameters and what is refused."""

from __future__ import annotations

from functools import reduce
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workloads.cascades import cascade_and_sizes, cascade_families, cascade_names, family, family_cascade, load_cascade
from workloads.einsum import (
    compulsory_traffic,
    operation_counts,
    parse_cascade,
    print_cascade,
    resolve_sizes,
    run_cascade,
)
from workloads.errors import InputError


@settings(max_examples=20, deadline=None)
@given(length=st.sampled_from([1, 2, 4]), seed=st.integers(0, 2**32), widths=st.lists(st.integers(1, 5), min_size=6))
def test_chain(length: int, seed: int, widths: list[int]) -> None:
    rng = np.random.default_rng(seed)
    shapes = list(pairwise(widths[: length + 2]))
    factors = [rng.normal(size=shape) for shape in shapes]
    inputs = {"T0": factors[0]} | {f"W{i}": factor for i, factor in enumerate(factors[1:])}
    found = run_cascade(family_cascade("gemm-chain", {"length": length}), inputs)
    assert set(found) == {f"T{length}"}
    np.testing.assert_allclose(found[f"T{length}"], reduce(np.matmul, factors), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("length", [1, 2, 4])
def test_a_chain_of_one_width(length: int) -> None:
    chain, sizes = cascade_and_sizes("gemm-chain", {"m": 64, "n": 32, "length": length})
    assert sizes == {"m": 64, "n": 32}
    assert len(chain.einsums) == length
    assert chain.bits == 8
    traffic = compulsory_traffic(chain, sizes)
    ends = {"T0": 64 * 32, f"T{length}": 64 * 32}
    assert traffic == ends | {f"W{i}": 32 * 32 for i in range(length)}
    counts = operation_counts(chain, sizes)
    assert [counts[e.label]["mul"] for e in chain.einsums] == [64 * 32 * 32] * length
    assert parse_cascade(print_cascade(chain)) == chain


def test_single_widths_replace_the_common_one() -> None:
    chain = family_cascade("gemm-chain")
    assert resolve_sizes(chain, {"m": 2, "n": 3, "n1": 5}) == {"m": 2, "n": 3, "n0": 3, "n1": 5, "n2": 3}
    assert resolve_sizes(chain, {"m": 2, "n0": 3, "n1": 5, "n2": 7})["n2"] == 7


def test_library_cascades_take_no_parameters() -> None:
    gemm, sizes = cascade_and_sizes("gemm", {"m": 2, "length": 3})
    assert gemm is load_cascade("gemm")
    assert sizes == {"m": 2, "length": 3}


def test_names_are_distinct_and_described() -> None:
    assert not set(cascade_families()) & set(cascade_names())
    for name in cascade_families():
        assert len(family(name).about) > 20
        assert family_cascade(name) is family_cascade(name, {p: values[0] for p, values in family(name).parameters})


@pytest.mark.parametrize(
    ("name", "parameters", "message"),
    [
        ("gemm-chains", {}, "cascade: unknown family of cascades 'gemm-chains'; expected one of gemm-chain; did you"),
        ("gemm-chain", {"lenght": 2}, "gemm-chain: unknown parameter 'lenght'; expected one of length; did you"),
        ("gemm-chain", {"length": 0}, "gemm-chain.length: length 0; expected a whole number from 1 to 256"),
        ("gemm-chain", {"length": 2.5}, "gemm-chain.length: length 2.5; expected a whole number from 1 to 256"),
        ("gemm-chain", {"length": float("nan")}, "gemm-chain.length: length nan; expected a whole number"),
        ("gemm-chain", {"length": 257}, "gemm-chain.length: length 257; expected a whole number from 1 to 256"),
    ],
)
def test_refusals(name: str, parameters: dict[str, float], message: str) -> None:
    with pytest.raises(InputError) as caught:
        family_cascade(name, parameters)
    assert str(caught.value).startswith(message)


def test_the_nearest_name_may_be_a_family() -> None:
    with pytest.raises(InputError) as caught:
        cascade_and_sizes("gemm-chan", {})
    assert caught.value.nearest == "gemm-chain"
