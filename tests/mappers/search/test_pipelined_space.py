"""The map space of pipelined machines against enumeration and replay, its limits, and its complaints."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw.spec.hierarchy import Hierarchy
from hw.spec.load_hierarchy import load_hierarchy, override_hierarchy
from mappers.mapspace.constraints import Constraints
from mappers.mapspace.cost import evaluate
from mappers.mapspace.mapping import Branch, Loop, Store, einsum_paths
from mappers.mapspace.problem import CascadeProblem, cascade_problem
from mappers.search.pipelined import search_pipelined
from mappers.search.pipelined.region import Region, region_of
from mappers.search.pipelined.tiling import Loops, tilings
from workloads.cascades import load_cascade
from workloads.errors import InfeasibleError, InputError


def attention(cascade: str, **sizes: int) -> CascadeProblem:
    return cascade_problem(load_cascade(cascade), {"b": 2, "h": 1, "g": 1, "e": 2, "f": 2, **sizes})


def whole(problem: CascadeProblem) -> Region:
    region = region_of(problem, range(len(problem.einsums)))
    assert region is not None
    return region


def machine(name: str, *changes: str) -> Hierarchy:
    return override_hierarchy(load_hierarchy(name), changes)


def small(name: str, lanes: int, glb: str) -> Hierarchy:
    return machine(
        name,
        f"registers2d.fanout.rows.size={lanes}",
        f"registers2d.fanout.columns.size={lanes}",
        f"registers1d.fanout.lanes.size={lanes}",
        f"glb.capacity={glb}",
    )


# --- passes ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cascade", "rank", "passes"),
    [
        ("attention-1pass", "m1", 1),
        ("attention-3pass", "m", 3),
        ("attention-1pass", "m0", 2),
        ("attention-3pass", "p", 1),
    ],
)
def test_passes_are_those_of_the_literature(cascade: str, rank: str, passes: int) -> None:
    """FuseMax, MICRO 2024, names the cascades by their passes over the keys; blocks m0 are walked once for the maximum
    and once for the exponentials.
    """
    assert whole(attention(cascade, p=8, m=8, **({"m0": 2} if "1pass" in cascade else {}))).passes(rank) == passes


def test_a_loop_cuts_queries_and_key_blocks_but_not_what_scores_are_made_of() -> None:
    region = whole(attention("attention-1pass", p=8, m=8, m0=2))
    assert set(region.cuttable) == {"p", "m1"}
    assert "b" in region.batch


# --- tilings --------------------------------------------------------------------------------------------------------


def replay(loops: Loops, tensor: str, depth: int) -> int:
    """Elements brought to a store below ``depth`` loops, for one batch coordinate, by walking the loops."""
    region = loops.region
    own = region.uses[tensor].ranks - region.carried.get(tensor, frozenset())
    above = [(rank, tile) for rank, tile in loops.nest[:depth] if rank in region.walked[tensor]]
    starts: list[dict[str, tuple[int, int]]] = [{rank: (0, size) for rank, size in region.size.items()}]
    for rank, tile in above:
        starts = [
            {**state, rank: (at, min(at + tile, state[rank][1]))}
            for state in starts
            for at in range(*state[rank], tile)
        ]
    brought, held = 0, None
    for state in starts:
        now = tuple(state[rank] for rank in sorted(own - set(region.batch)))
        if now != held:
            brought += math.prod(end - at for at, end in now)
            held = now
    return brought


@settings(max_examples=60, deadline=None)
@given(st.integers(2, 13), st.integers(2, 6), st.integers(1, 12), st.sampled_from([("p", "m1"), ("m1", "p")]))
def test_traffic_is_what_a_walk_over_the_loops_brings(p: int, m1: int, tile: int, order: tuple[str, str]) -> None:
    region = whole(attention("attention-1pass", p=p, m=2 * m1, m0=2))
    other, stream = order
    size = region.size[other]
    tile = min(tile, size - 1)
    nest = ((other, tile), (stream, 1), *([(other, 1)] if tile > 1 else []))
    loops = Loops(region, dict.fromkeys(region.size, 1), stream, nest, 1)
    for tensor in ("Q", "K", "V"):
        once = region.elements(tensor, region.size) // region.size["b"]
        for depth in range(len(nest) + 1):
            brought = replay(loops, tensor, depth)
            if size % tile == 0:
                assert loops.times(tensor, depth) * once == brought
            else:  # in a last tile of one granule, what is stored below it stays where the count brings it again
                assert brought <= loops.times(tensor, depth) * once


@settings(max_examples=8, deadline=None)
@given(st.integers(2, 6), st.integers(2, 4), st.integers(40, 500))
def test_no_tiling_moves_less_than_the_best_one(groups: int, m1: int, capacity: int) -> None:
    """Every multiple of the granule as a tile, in both orders, every depth of every store."""
    problem = attention("attention-1pass", p=2 * groups, m=2 * m1, m0=2)
    region = whole(problem)
    granule = {**region.size, "b": 1, "p": 2, "m1": 1}
    found, _, _ = tilings(region, granule, frozenset(), 16.0 * capacity, lambda r, w: (r + w, r + w))
    least = min((tiling.read_bits + tiling.write_bits for tiling in found), default=math.inf)
    held = ("Q", "K", "V", "RM", "RD", "RNV")
    best = math.inf
    for stream, other in (("p", "m1"), ("m1", "p")):
        for tile in range(granule[other], region.size[other] + 1, granule[other]):
            outer = ((other, tile),) if tile < region.size[other] else ()
            inner = ((other, granule[other]),) if tile > granule[other] else ()
            loops = Loops(region, granule, stream, (*outer, (stream, granule[stream]), *inner), len(outer))
            stores = []
            for tensor in held:
                state = tensor not in ("Q", "K", "V")
                once = 16 * region.elements(tensor, region.size, live=state)
                ways = []
                for depth in range(len(loops.nest) + 1):
                    times = loops.times(tensor, depth)
                    bits = 16 * region.elements(tensor, loops.tile(depth), live=state)
                    ways.append((bits, once * (times if not state else 2 * times if times > 1 else 0)))
                stores.append(ways)
            for ways in itertools.product(*stores):
                if sum(bits for bits, _ in ways) <= 16 * capacity:
                    best = min(best, sum(moved for _, moved in ways) + 16 * region.elements("AV", region.size))
    assert least == best


def test_scores_that_do_not_fit_go_through_the_root() -> None:
    """Three passes over 64 keys with room for fewer: what is spilled is written twice and read twice."""
    problem = attention("attention-3pass", p=8, m=64, b=1)
    roomy = search_pipelined(problem, small("flat", 4, "4 KiB"), "latency", Constraints())
    tight = search_pipelined(problem, small("flat", 4, "512 B"), "latency", Constraints())
    assert "QK" not in roomy.cost.traffic()["dram"]
    spilled = tight.cost.traffic()["dram"]
    assert spilled["QK"] == spilled["SN"]
    assert 0 < spilled["QK"].read_bits == spilled["QK"].write_bits <= 8 * 64 * 16
    assert tight.cost.usage_bits["glb"] <= 512 * 8
    assert tight.cost.energy_j > roomy.cost.energy_j


@settings(max_examples=20, deadline=None)
@given(st.sampled_from(["512 B", "1 KiB", "2 KiB"]), st.sampled_from(["latency", "energy", "edp"]), st.integers(5, 30))
def test_more_room_is_never_worse_and_bounds_hold(glb: str, objective: str, queries: int) -> None:
    problem = attention("attention-1pass", p=queries, m=32, m0=4)
    tight = search_pipelined(problem, small("fusemax", 4, glb), objective, Constraints())  # type: ignore[arg-type]
    roomy = search_pipelined(problem, small("fusemax", 4, "1 MiB"), objective, Constraints())  # type: ignore[arg-type]
    assert roomy.value <= tight.value * (1 + 1e-12)
    for result in (tight, roomy):
        moved = result.cost.traffic()["dram"].values()
        assert sum(t.read_bits + t.write_bits for t in moved) >= result.bounds["dram_bits"]
        assert result.cost.latency_s >= max(result.bounds[name] for name in ("dram_s", "array1d_s", "array2d_s"))
        assert result.cost.energy_j >= result.bounds["energy_j"]
        assert result.cost.energy_j == pytest.approx(sum(sum(c.energy_j.values()) for c in result.cost.einsums))


def test_equal_runs_return_equal_mappings() -> None:
    runs = [
        search_pipelined(
            attention("attention-1pass", p=64, m=64, m0=8), small("fusemax", 8, "4 KiB"), "edp", Constraints()
        )
        for _ in range(2)
    ]
    assert runs[0].mapping == runs[1].mapping
    assert runs[0].cost == runs[1].cost


# --- the tree -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("fuse", [True, False])
def test_the_general_model_finds_the_same_traffic_and_steady_latency(fuse: bool) -> None:
    """`evaluate` knows neither buses nor filling, but counts what passes the root and the cycles of each unit."""
    problem = cascade_problem(
        load_cascade("attention-3pass"), {"b": 64, "h": 12, "g": 1, "p": 1024, "m": 1024, "e": 64, "f": 64}
    )
    result = search_pipelined(problem, load_hierarchy("flat"), "latency", Constraints(fuse=fuse))
    other = evaluate(result.mapping, problem, load_hierarchy("flat"))
    assert {k: v for k, v in other.traffic()["dram"].items() if v.read_bits or v.write_bits} == result.cost.traffic()[
        "dram"
    ]
    # The artifact's stored results; without filling they are met to the last digits.
    assert other.latency_s == pytest.approx(0.013386076595744681 if fuse else 0.02182357659574468, rel=1e-12)


def test_the_tree_holds_every_einsum_and_keeps_keys_and_queries_on_chip() -> None:
    problem = attention("attention-1pass", p=16, m=32, m0=4)
    result = search_pipelined(problem, small("fusemax", 4, "1 KiB"), "energy", Constraints())
    paths = {compute.einsum: nodes for compute, nodes in einsum_paths(result.mapping.nest)}
    assert set(paths) == {einsum.name for einsum in problem.einsums}
    assert Loop("b", 1) in paths["QK"]
    assert {Store("glb", "Q"), Store("glb", "K")} <= set(paths["QK"])
    assert any(isinstance(node, Branch) and node.execution == "pipelined" for node in result.mapping.nest)


# --- other cascades, and what cannot be ------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["fusemax", "flat"])
@pytest.mark.parametrize("cascade", ["attention-2pass", "attention-3pass", "attention-1pass-sink"])
def test_other_cascades_map_too(name: str, cascade: str) -> None:
    problem = attention(cascade, p=512, m=512, e=64, f=64)
    result = search_pipelined(problem, load_hierarchy(name), "latency", Constraints())
    assert result.optimal
    # The divider is on the 1D array only: 256 quotients in each cycle.
    quotients = sum(count for einsum in problem.einsums for action, count in einsum.operations if action == "div")
    assert result.cost.latency_s >= quotients / 256 / 940e6


def test_one_query_spreads_another_rank() -> None:
    """Decoding: no queries to spread, so 2 * 8 heads or what else there is."""
    problem = attention("attention-1pass", b=2, h=8, g=4, p=1, m=512, e=64, f=64)
    result = search_pipelined(problem, load_hierarchy("fusemax"), "latency", Constraints())
    assert result.cost.latency_s >= result.bounds["dram_s"]


def test_unfused_tensors_pass_the_root() -> None:
    problem = attention("attention-1pass", p=16, m=32, m0=4)
    result = search_pipelined(
        problem, small("fusemax", 4, "4 KiB"), "latency", Constraints(unfused=frozenset({"SLNV"}))
    )
    bits = 2 * 16 * 8 * 2 * 16  # b, p, m1, f, 16 bits each
    assert result.cost.traffic()["dram"]["SLNV"].read_bits == bits
    assert result.cost.traffic()["dram"]["SLNV"].write_bits == bits


def test_an_action_that_no_unit_has_is_named() -> None:
    problem = cascade_problem(load_cascade("gelu"), {"s": 8, "t": 8})
    with pytest.raises(InputError, match="erf") as raised:
        search_pipelined(problem, load_hierarchy("fusemax"), "latency", Constraints())
    assert "array1d" in str(raised.value)
    assert "array2d" in str(raised.value)


def test_a_buffer_too_small_for_granules_is_infeasible() -> None:
    with pytest.raises(InfeasibleError) as raised:
        search_pipelined(attention("attention-1pass", p=16, m=16, m0=8), small("fusemax", 8, "64 B"), "energy")
    assert raised.value.unit == "B"
    assert raised.value.needed > 64 == raised.value.available


@pytest.mark.parametrize(
    ("constraints", "field"),
    [
        (Constraints(stationary="input"), "constraints.stationary"),
        (Constraints(unfused=frozenset({"QQ"})), "constraints.unfused"),
    ],
)
def test_constraints_it_does_not_know_are_refused(constraints: Constraints, field: str) -> None:
    with pytest.raises(InputError) as raised:
        search_pipelined(attention("attention-3pass", p=8, m=8), load_hierarchy("flat"), "energy", constraints)
    assert raised.value.field == field


def test_a_sequential_machine_is_refused() -> None:
    with pytest.raises(InputError) as raised:
        search_pipelined(attention("attention-3pass", p=8, m=8), machine("flat", "execution=sequential"), "energy")
    assert raised.value.field == "execution"
