"""Mappings that are no programs are refused with a sentence that says why."""

from __future__ import annotations

import re

import pytest

from hw.spec.hierarchy import Hierarchy
from mappers.mapspace.checks import check_mapping
from mappers.mapspace.cost import evaluate
from mappers.mapspace.mapping import Branch, Compute, Loop, Mapping, Nest, Node, Spread, Store
from mappers.mapspace.problem import cascade_problem
from mappers.search import search
from tests.mappers.mapspace.mapping_strategies import problem_of
from workloads.einsum import parse_cascade
from workloads.errors import InputError

_SIZES = {"m": 4, "k": 4, "n": 4, "p": 4, "q": 4, "e": 4, "f": 4, "d": 4, "m2": 4, "e2": 4, "r": 2, "c": 1}


def _machine() -> Hierarchy:
    lanes = {"lanes": {"size": 4, "reuse": "input"}}
    point = {"point": {}}
    levels = {
        "dram": {"keep": ["all"]},
        "buffer": {"parent": "dram"},
        "cell": {"parent": "buffer", "fanout": lanes},
        "side": {"parent": "buffer"},
    }
    units = {
        "mac": {"parent": "cell", "clock": "1 GHz", "actions": point, "takes": "contraction"},
        "any": {"parent": "buffer", "clock": "1 GHz", "actions": point},
        "adder": {"parent": "buffer", "clock": "1 GHz", "actions": {"add": {}}},
    }
    return Hierarchy.model_validate({"name": "cells", "levels": levels, "units": units})


def _refuses(cascade: str, nest: Nest, message: str, homes: str | None = None) -> None:
    problem = problem_of(cascade, _SIZES)
    tensors = dict.fromkeys(use.tensor for einsum in problem.einsums for use in einsum.uses)
    kept = tuple(Store("dram", tensor) for tensor in (tensors if homes is None else homes))
    with pytest.raises(InputError, match=re.escape(message)):
        evaluate(Mapping(cascade, "cells", (*kept, *nest)), problem, _machine())


def _steps(*ranks: str) -> tuple[Node, ...]:
    return tuple(Loop(rank, 1) for rank in ranks)


_GEMM = (*_steps("m", "k", "n"), Compute("Z", "any"))


@pytest.mark.parametrize(
    ("nest", "message"),
    [
        ((Loop("mm", 1), *_GEMM), "unknown rank 'mm'"),
        ((Loop("m", 0), *_GEMM), "nest[3]: steps of 0; expected at least 1"),
        ((Store("bufer", "A"), *_GEMM), "unknown level 'bufer'"),
        ((Store("buffer", "Q"), *_GEMM), "unknown tensor 'Q'"),
        ((*_GEMM[:-1], Compute("Z", "macs")), "unknown unit 'macs'"),
        ((*_GEMM[:-1], Compute("Y", "any")), "unknown Einsum 'Y'"),
        (_GEMM[:-1], "the nest ends in nothing that computes"),
        ((), "the nest ends in nothing that computes"),
        ((*_GEMM, Loop("m", 1)), "the nest ends in nothing that computes"),
        ((Branch("sequential", ()),), "the branch has no nests"),
        ((Branch("sequential", (_GEMM, _GEMM)),), "Einsum Z is mapped twice"),
        ((Compute("Z", "any"), *_GEMM), "nodes stand after the end of the nest"),
        ((*_GEMM[:-1], Compute("Z", "adder")), "unknown action 'mac'"),
        ((Store("cell", "A"), *_GEMM), "cell keeps A for Z and does not lie above any"),
        ((Store("side", "A"), *_GEMM[:-1], Compute("Z", "mac")), "side keeps A for Z and does not lie above mac"),
        ((Store("buffer", "A"), Store("buffer", "A"), *_GEMM), "A is kept at buffer below buffer"),
        ((Spread("cell", "lanes", "n", 2), *_GEMM[:-1], Compute("Z", "mac")), "a loop over m stands below a spread"),
        ((*_GEMM[:-1], Spread("cell", "lanes", "n", 2), Compute("Z", "any")), "Z is spread over cell"),
        ((*_GEMM[:-1], Spread("cell", "rows", "n", 2), Compute("Z", "mac")), "unknown fan-out of cell 'rows'"),
        ((*_GEMM[:-1], Spread("dram", "x", "n", 2), Compute("Z", "mac")), "unknown fan-out of dram 'x'"),
        ((*_GEMM[:-1], Spread("cells", "x", "n", 2), Compute("Z", "mac")), "unknown level or unit 'cells'"),
        ((*_GEMM[:-1], Spread("cell", "lanes", "n", 0), Compute("Z", "mac")), "a factor of 0; expected at least 1"),
        ((*_GEMM[:-1], Spread("cell", "lanes", "n", 5), Compute("Z", "mac")), "Z spreads 5 over cell.lanes"),
        (
            (*_GEMM[:-1], Spread("cell", "lanes", "k", 4), Compute("Z", "mac")),
            "Z spreads k over cell.lanes, which shares its input A; expected a rank that A lacks",
        ),
        (
            (*_steps("m", "n"), Compute("Z", "any")),
            "Z: the innermost tile of k is 4, and 1 run side by side; expected a loop over k in steps of at most 1",
        ),
    ],
)
def test_one_einsum(nest: Nest, message: str) -> None:
    _refuses("gemm", nest, message)


def test_homes() -> None:
    _refuses("gemm", _GEMM, "B of Z has no home", homes="AZ")
    _refuses("gemm", (Store("buffer", "B"), *_GEMM), "B of Z has its home at buffer; expected a store at dram", "AZ")


def test_kinds_of_units() -> None:
    nest = (*_steps("m", "n"), Compute("Y", "mac"))
    _refuses("elementwise", nest, "Y is no contraction, and mac takes contractions")


_MAKE = (*_steps("m", "n", "k"), Compute("T", "any"))
_TAKE = (*_steps("m", "n", "p"), Compute("Z", "any"))


@pytest.mark.parametrize(
    ("nest", "message"),
    [
        ((Branch("sequential", (_MAKE,)),), "Einsum Z is not mapped"),
        ((Branch("sequential", (_TAKE, _MAKE)),), "Z reads T before T makes it"),
        (
            (Loop("k", 2), Branch("sequential", (_MAKE, _TAKE))),
            "Z reads T inside a loop over k, over which T still sums it",
        ),
        (
            (Branch("sequential", ((*_steps("k", "p"), *_steps("m", "n"), Compute("T", "any")), _TAKE)),),
            "T: a loop over p, which it lacks, inside one over k, which it sums",
        ),
        (
            (Branch("sequential", ((Store("buffer", "C"), *_MAKE), _TAKE)),),
            "buffer keeps C, which no Einsum below uses",
        ),
    ],
)
def test_what_passes_between_einsums(nest: Nest, message: str) -> None:
    _refuses("chain", nest, message)


def test_an_intermediate_needs_one_home() -> None:
    make, take = ((Store("buffer", "T"), *nest) for nest in (_MAKE, _TAKE))
    nest = (Branch("sequential", (make, take)),)
    _refuses("chain", nest, "T passes from T at buffer to Z at buffer; expected one store above both", homes="ABCZ")


def test_a_rank_of_another_name_does_not_cut_a_tensor_alike() -> None:
    make = (*_steps("m", "e", "d"), Compute("K", "any"))
    take = (*_steps("n", "m2", "e2"), Compute("Z", "any"))
    nest = (Loop("m", 2), Branch("sequential", (make, take)))
    _refuses("renamed", nest, "Z reads all of K inside a loop over m, of which K has made a part")


def test_a_shared_store_is_dealt_alike() -> None:
    make = (*_steps("m", "k"), Spread("cell", "lanes", "n", 4), Compute("T", "mac"))
    take = (*_steps("n", "m", "p"), Compute("Z", "mac"))
    nest = (Store("cell", "T"), Branch("sequential", (make, take)))
    _refuses("chain", nest, "T and Z deal T differently over the instances of cell")


_STATE = """cascade state
rank m
rank p
input X[m, p]
output Y
S[0, p] = 0
D[m, p] = X[m, p] * S[m, p]
S[m+1, p] = D[m, p] + X[m, p]
Y[p] = S[|m|, p]
"""


def _state_nests(*above: Node) -> Nest:
    """D and S side by side under ``above``, then Y, which reads the last state."""
    inner = tuple((*_steps("m", "p"), Compute(name, "any")) for name in ("D", "S"))
    last = (*_steps("p"), Compute("Y", "any"))
    kept = tuple(Store("dram", tensor) for tensor in ("X", "S", "D", "Y"))
    return (*kept, Branch("sequential", ((*above, Branch("sequential", inner)), last)))


def test_a_running_state_is_read_in_the_loop_that_makes_it() -> None:
    problem = cascade_problem(parse_cascade(_STATE, file="state"), {"m": 3, "p": 4})
    with pytest.raises(InputError, match="D reads the running state S, of which S makes the next value along m"):
        evaluate(Mapping("state", "cells", _state_nests()), problem, _machine())
    with pytest.raises(InputError, match="one loop over m in steps of 1 around both"):
        evaluate(Mapping("state", "cells", _state_nests(Loop("m", 2))), problem, _machine())
    # Each of the 3 x 4 points of D reads a state; the end reads the last four: 16 reads of 16 bits.
    cost = evaluate(Mapping("state", "cells", _state_nests(Loop("m", 1))), problem, _machine())
    assert cost.traffic()["dram"]["S"].read_bits == 16 * 16


def test_the_search_asks_for_a_pipelined_machine_for_a_running_state() -> None:
    problem = cascade_problem(parse_cascade(_STATE, file="state"), {"m": 3, "p": 4})
    with pytest.raises(InputError, match="cells runs one Einsum after the other; expected a pipelined machine"):
        search(problem, _machine())


def test_a_result_has_one_rank_for_each_axis() -> None:
    problem = problem_of("convolution", _SIZES)
    einsum = problem.einsums[0]
    turned = type(einsum)("O", einsum.sizes, (einsum.uses[2], einsum.uses[1], einsum.uses[0]), (), True)
    assert turned.output.tensor == "I"
    nest = (*(Store("dram", t) for t in "IWO"), *_steps(*einsum.ranks), Compute("O", "any"))
    with pytest.raises(InputError, match="an axis of O is a sum of ranks"):
        check_mapping(Mapping("c", "cells", nest), type(problem)("c", (turned,), (), ()), _machine())
