"""Joining Einsums: frames of common loops, what has to be whole before it is read, and instances that must agree."""

from __future__ import annotations

import pytest

from hw.spec.hierarchy import Hierarchy
from mappers.mapspace.cost import evaluate, over_capacity
from mappers.mapspace.mapping import Branch, Loop
from mappers.mapspace.problem import cascade_problem
from mappers.search import OBJECTIVES, search
from mappers.search.einsum import Tile
from mappers.search.join import merged_chain
from workloads.einsum import parse_cascade

CHAIN = """cascade chain
rank m, a, c, e
input X[m, a], V[a, c], W[c, e]
output Z
Y[m, c] = X[m, a] * V[a, c] :: add(a)
Z[m, e] = Y[m, c] * W[c, e] :: add(c)
"""
SOFTMAX = """cascade softmax
rank m, p
input X[m, p]
output Y
S[m, p] = X[m, p] * X[m, p]
G[m] = S[m, p] :: max(p)
E[m, p] = exp(S[m, p] - G[m])
D[m] = E[m, p] :: add(p)
Y[m, p] = E[m, p] / D[m]
"""


def machine(capacity_bits: int, **extra: object) -> Hierarchy:
    """A root that costs 10 pJ a bit and one level below it that costs nothing."""
    root = {"read_energy": "10 pJ/bit", "write_energy": "10 pJ/bit", "keep": ["not intermediate"], "may_keep": ["all"]}
    chip = {"parent": "root", "capacity": f"{capacity_bits} bit", "keep": ["not root"], "may_keep": ["all"], **extra}
    unit = {"parent": "chip", "clock": "1 Hz", "actions": {"point": {}}}
    return Hierarchy.model_validate({"name": "test", "levels": {"root": root, "chip": chip}, "units": {"lane": unit}})


@pytest.mark.parametrize(
    ("one", "two", "merged"),
    [
        ([()], [()], [()]),
        ([(), (("m", 4),)], [(("m", 2),)], [(), (("m", 4),), (("m", 2),)]),
        ([(), (("m", 4),)], [(("m", 4), ("n", 2))], [(), (("m", 4),), (("m", 4), ("n", 2))]),
        ([(), (("m", 4),)], [(("n", 2),)], None),  # neither loop can stand inside the other's tile
        ([(), (("m", 2),)], [(("m", 4), ("n", 2))], None),
    ],
)
def test_chains_of_loops(one: list[Tile], two: list[Tile], merged: list[Tile] | None) -> None:
    assert merged_chain(one, two) == merged


def test_fusing_shares_a_loop_when_the_intermediate_does_not_fit() -> None:
    # Y whole is 16 x 2 x 8 = 256 bits; a row of it is 16, and V (32) and W (32) stay beside it.
    problem = cascade_problem(parse_cascade(CHAIN), {"m": 16, "a": 2, "c": 2, "e": 2}, 8)
    found = search(problem, machine(128), objective="energy")
    assert not over_capacity(evaluate(found.mapping, problem, machine(128)), machine(128))
    assert isinstance(found.mapping.nest[-1], Branch)
    assert any(isinstance(node, Loop) and node.rank == "m" for node in found.mapping.nest)
    # Only inputs and the result pass the root, once each: X, V, W, Z.
    bits = (16 * 2 + 4 + 4 + 16 * 2) * 8
    assert found.cost.energy_j == pytest.approx(10e-12 * bits, rel=1e-12)


@pytest.mark.parametrize("capacity", [16, 24, 40, 64, 128])
@pytest.mark.parametrize("objective", OBJECTIVES)
def test_nothing_is_read_before_it_is_summed(capacity: int, objective: str) -> None:
    # The row maximum G is whole only after all of S: who reads G cannot run inside the loop over p that makes it,
    # whether G stays on chip or passes through the root. `evaluate` refuses such a mapping.
    problem = cascade_problem(parse_cascade(SOFTMAX), {"m": 3, "p": 4}, 8)
    small = machine(capacity)
    found = search(problem, small, objective=objective)
    assert not over_capacity(evaluate(found.mapping, problem, small), small)
    assert found.optimal


@pytest.mark.parametrize("reuse", ["input", "weight", "output"])
def test_instances_agree_on_what_they_hand_on(reuse: str) -> None:
    # With several chips below the root, both Einsums must deal Y to the same chips: `evaluate` refuses anything else.
    fanout = {"x": {"size": 2, "min_usage": 1.0}, "y": {"size": 2, "reuse": reuse}}
    problem = cascade_problem(parse_cascade(CHAIN), {"m": 4, "a": 2, "c": 4, "e": 2}, 8)
    several = machine(256, fanout=fanout)
    for objective in OBJECTIVES:
        found = search(problem, several, objective=objective)
        assert not over_capacity(evaluate(found.mapping, problem, several), several)
        assert found.optimal
