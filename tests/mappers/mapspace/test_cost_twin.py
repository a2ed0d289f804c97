"""`evaluate` counts what its twin counts by walking every iteration, bit for bit."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import HealthCheck, assume, given, settings

from mappers.mapspace.cost import evaluate
from mappers.mapspace.golden import walk
from mappers.mapspace.mapping import Branch, Loop, Nest
from tests.mappers.mapspace.mapping_strategies import Case, cases
from workloads.errors import InputError

_SETTINGS = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])


def _has_edge_turns(nest: Nest, sizes: dict[str, int]) -> bool:
    """Whether a loop around a branch has only a first and a last turn, or a short one.

    Tiles that are held from turn to turn come in the first and go in the last: only a full turn between the two has
    all of them at once, which is what `evaluate` reserves.
    """
    if not isinstance(nest[-1], Branch):
        return False
    tiles = dict(sizes)
    for node in nest:
        if isinstance(node, Loop):
            turns, short = divmod(tiles[node.rank], node.tile)
            if short or turns == 2:
                return True
            tiles[node.rank] = min(node.tile, tiles[node.rank])
    return any(_has_edge_turns(inner, tiles) for inner in nest[-1].nests)


def _agree(case: Case) -> None:
    try:
        cost = evaluate(case.mapping, case.problem, case.hierarchy)
    except InputError:
        assume(False)
    counts = walk(case.mapping, case.problem, case.hierarchy)
    reads: Counter[tuple[str, str]] = Counter()
    writes: Counter[tuple[str, str]] = Counter()
    for level, row in cost.traffic().items():
        for tensor, bits in row.items():
            reads[level, tensor] = int(bits.read_bits)
            writes[level, tensor] = int(bits.write_bits)
    assert +reads == +Counter(counts.read_bits)
    assert +writes == +Counter(counts.write_bits)
    assert {einsum.einsum: einsum.times_s[einsum.unit] for einsum in cost.einsums} == counts.steps
    usage = {level: bits for level, bits in cost.usage_bits.items() if level != "dram"}
    sizes = {rank: size for einsum in case.problem.einsums for rank, size in einsum.sizes}
    windowed = case.problem.name == "convolution"  # hulls of shares are not largest in one and the same instance
    if windowed or _has_edge_turns(case.mapping.nest, sizes):
        assert all(usage[level] >= bits for level, bits in counts.peak_bits.items())
    else:
        assert usage == counts.peak_bits


def _sweep(cascade: str, examples: int) -> None:
    @settings(_SETTINGS, max_examples=examples)
    @given(cases(cascade))
    def agree(case: Case) -> None:
        _agree(case)

    agree()


@pytest.mark.parametrize("cascade", ["gemm", "batched", "elementwise", "row-sum", "convolution"])
@pytest.mark.parametrize("examples", [40, pytest.param(1000, marks=pytest.mark.slow)])
def test_one_einsum(cascade: str, examples: int) -> None:
    _sweep(cascade, examples)


@pytest.mark.parametrize("cascade", ["chain", "attention", "renamed", "shared input", "used twice"])
@pytest.mark.parametrize("examples", [50, pytest.param(1000, marks=pytest.mark.slow)])
def test_several_einsums(cascade: str, examples: int) -> None:
    _sweep(cascade, examples)
