"""Timeloop's mappings come in as ours: same loops, stores and lanes."""

from __future__ import annotations

import re

import pytest

from hw.spec.hierarchy import Hierarchy
from mappers.mapspace.cost import evaluate
from mappers.mapspace.mapping import Compute, Loop, Spread, Store
from mappers.mapspace.timeloop import import_timeloop
from tests.mappers.mapspace.mapping_strategies import problem_of
from workloads.errors import InputError

_PROBLEM = problem_of("gemm", {"m": 16, "n": 8, "k": 12})
_MAPPING = """
mapping:
  - {target: DRAM, type: temporal, factors: M=4 N=1 K=0, permutation: NKM}
  - {target: GLB, type: spatial, factors: M=1 N=4 K=2, permutation: NKM, split: 1}
  - {target: GLB, type: temporal, factors: "M=4, N=2, K=1", permutation: KNM}
  - {target: Cell, type: temporal, factors: M1 N1 K1, permutation: [M, N, K]}
  - {target: GLB, type: bypass, keep: [A, Z], bypass: [B]}
  - {target: Cell, type: datatype, keep: [B], bypass: [A, Z]}
"""


def _machine() -> Hierarchy:
    fanout = {"x": {"size": 4, "reuse": "input"}, "y": {"size": 4, "reuse": "output"}}
    levels = {"dram": {"keep": ["all"]}, "glb": {"parent": "dram"}, "cell": {"parent": "glb", "fanout": fanout}}
    units = {"mac": {"parent": "cell", "clock": "1 Hz", "actions": {"point": {}}}}
    return Hierarchy.model_validate({"name": "cells", "levels": levels, "units": units})


def test_a_mapping_comes_in() -> None:
    mapping = import_timeloop(_MAPPING, _PROBLEM, _machine())
    assert mapping.nest == (
        *(Store("dram", tensor) for tensor in "ABZ"),
        *(Loop("m", 4), Loop("k", 2)),  # 12 = 6 turns of 2 lanes
        *(Store("glb", "A"), Store("glb", "Z")),
        *(Loop("m", 1), Loop("n", 4)),
        Store("cell", "B"),
        *(Spread("cell", "x", "n", 4), Spread("cell", "y", "k", 2)),
        Compute("Z", "mac"),
    )
    cost = evaluate(mapping, _PROBLEM, _machine())
    assert cost.latency_s == 16 * 8 * 12 / 8
    assert cost.utilisation["mac"] == 0.5


def test_names_are_translated() -> None:
    text = _MAPPING.replace("GLB", "Shared").replace("[A, Z]", "[Inputs, Outputs]").replace("[B]", "[Weights]")
    names = {"shared": "glb", "Inputs": "A", "Weights": "B", "Outputs": "Z"}
    assert import_timeloop(text, _PROBLEM, _machine(), names) == import_timeloop(_MAPPING, _PROBLEM, _machine())


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("mapping:", "maps:", "mapping: no list of directives"),
        ("target: DRAM", "target: DRUM", "mapping[0].target: unknown level 'DRUM'"),
        ("type: spatial", "type: special", "mapping[1].type: unknown type 'special'"),
        ("permutation: NKM}", "order: NKM}", "mapping[0]: unknown field 'order'"),
        ("M=4 N=1 K=0", "'M=4 N=1 K=5,2'", "mapping[0].factors: cannot read '2'; expected factors such as M=4 N=2"),
        ("M=4 N=1 K=0", "M=4 N=1 Q=0", "mapping[0].factors: unknown rank 'Q'"),
        ("M=4 N=1 K=0", "M=4 M=1 K=0", "mapping[0].factors: m has two factors"),
        ("M=4 N=1 K=0", "M=4 N=1 K=5", "mapping: the factors of k make 10; expected at least its size, 12"),
        ("M=4, N=2, K=1", "M=4, N=2, K=0", "mapping: k has two factors of 0"),
        ("permutation: KNM", "permutation: KNK", "mapping[2].permutation: a rank stands twice in 'KNK'"),
        ("bypass: [B]", "bypass: [A]", "mapping[4]: A is both kept and bypassed"),
        ("split: 1", "split: one", "mapping[1].split: 'one'; expected a whole number"),
        ("Cell, type: temporal, factors: M1", "Cell, type: spatial, factors: M2", "mac has 0 dimensions"),
        ("M=1 N=4 K=2", "M=2 N=4 K=2", "Z spreads"),
    ],
)
def test_what_does_not_come_in(old: str, new: str, message: str) -> None:
    assert old in _MAPPING
    with pytest.raises(InputError, match=re.escape(message)):
        import_timeloop(_MAPPING.replace(old, new, 1), _PROBLEM, _machine())


def test_one_einsum_only() -> None:
    chain = problem_of("chain", {"m": 2, "n": 2, "k": 2, "p": 2})
    with pytest.raises(InputError, match="chain has 2 Einsums; expected one: Timeloop maps one"):
        import_timeloop(_MAPPING, chain, _machine())
