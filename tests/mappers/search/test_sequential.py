"""The search on machines that run one Einsum after the other: published optima, its proof, constraints, stopping.

Optima are those that AccelForge at commit 1c1929c2 finds on its own example machines ("simple" and its TPU v4i) for the
same problems, with divisor tiles; measured by running it. The least traffic of matmul chains is AccelForge's test data.
"""

from __future__ import annotations

from collections import Counter

import pytest

from hw.spec.hierarchy import Hierarchy
from hw.spec.load_hierarchy import load_hierarchy, override_hierarchy
from mappers.mapspace.constraints import Constraints
from mappers.mapspace.cost import evaluate, over_capacity
from mappers.mapspace.problem import CascadeProblem, cascade_problem
from mappers.mapspace.report import SearchResult
from mappers.mapspace.tree import paths
from mappers.search import search
from workloads.cascades import load_cascade
from workloads.cascades.families import family_cascade
from workloads.errors import InfeasibleError

SIMPLE, TPU, SNOWCAT = (load_hierarchy(f"mapping-{name}") for name in ("simple", "tpu-v4i", "snowcat"))
GPT = {"b": 1, "m": 2048, "h": 96, "e": 128, "d": 12288, "g": 12288, "j": 12288, "c": 49152}


def gemm(size: int) -> CascadeProblem:
    return cascade_problem(load_cascade("gemm"), {"m": size, "n0": size, "n1": size}, 8)


def chain(length: int, size: int) -> CascadeProblem:
    return cascade_problem(family_cascade("gemm-chain", {"length": length}), {"m": size, "n": size}, 8)


def attention(length: int) -> CascadeProblem:
    sizes = {"b": 64, "h": 12, "m": length, "p": length, "e": 64}
    return cascade_problem(load_cascade("attention-elementwise"), sizes, 16)


def proven(result: SearchResult, problem: CascadeProblem, hierarchy: Hierarchy) -> SearchResult:
    """The result, after checks that hold for every one: it fits, costs what it says, and nothing better is left."""
    cost = evaluate(result.mapping, problem, hierarchy)
    assert (cost.energy_j, cost.latency_s) == (result.cost.energy_j, result.cost.latency_s)
    assert not over_capacity(cost, hierarchy)
    assert result.lower_bound <= result.value
    assert result.optimal
    return result


def picojoules(result: SearchResult) -> float:
    return result.cost.energy_j * 1e12


# ---- optima ----


@pytest.mark.parametrize(
    ("problem", "machine", "energy_pj", "latency_s"),
    [
        (gemm(1024), SIMPLE, 46_439_333_888, 1_073_741_824),
        (
            gemm(512),
            override_hierarchy(SIMPLE, ["glb.capacity=131072 bit", "dram.energy=200 pJ/bit"]),
            9_906_946_048,
            134_217_728,
        ),
        (chain(2, 1024), SIMPLE, 92_878_667_776, 2_147_483_648),  # fusing gains nothing here
    ],
    ids=["gemm 1024", "gemm 512", "two gemms 1024"],
)
def test_least_energy_on_the_simple_machine(
    problem: CascadeProblem, machine: Hierarchy, energy_pj: int, latency_s: int
) -> None:
    found = proven(search(problem, machine, objective="energy", tiles="divisor"), problem, machine)
    assert picojoules(found) == pytest.approx(energy_pj, rel=1e-14)  # whole numbers, summed in joules
    assert found.cost.latency_s == latency_s


def test_traffic_of_the_least_energy() -> None:
    # One operand moved 8 times, the other 4 times, the result once: 13,631,488 words of 8 bits.
    problem = gemm(1024)
    found = search(problem, SIMPLE, objective="energy", tiles="divisor")
    row = found.cost.traffic()["dram"]
    assert sorted(t.read_bits + t.write_bits for t in row.values()) == [8_388_608, 33_554_432, 67_108_864]


def test_imperfect_tiles_save_energy() -> None:
    # AccelForge's least is 43,905,974,272 pJ; its residue stands in the outermost loop only, ours is counted exactly.
    problem = gemm(1024)
    found = proven(search(problem, SIMPLE, objective="energy"), problem, SIMPLE)
    assert picojoules(found) <= 43_905_974_272 * (1 + 1e-14)
    moved = sum(t.read_bits + t.write_bits for t in found.cost.traffic()["dram"].values())
    assert moved == 10_485_760 * 8
    assert moved >= 9_437_184 * 8  # 2 m n k / sqrt(words) + m n


def test_edp_of_a_gemm_on_the_tpu() -> None:
    # The published value differs from exact counts by 4.5e-9 of itself (single precision somewhere on its way).
    problem = gemm(4096)
    found = proven(search(problem, TPU, objective="edp", tiles="divisor"), problem, TPU)
    assert found.cost.energy_j == pytest.approx(0.0142265423611, rel=1e-8)
    assert found.cost.latency_s == pytest.approx(0.99864381e-3, rel=1e-8)
    energy = found.cost.einsums[0].energy_j
    assert energy["dram"] == pytest.approx(2.8307e-3, abs=5e-8)  # the printed digits
    assert energy["glb"] == pytest.approx(2.1475e-3, abs=5e-8)
    assert energy["local"] == pytest.approx(3.4760e-3, abs=5e-8)
    assert energy["mac"] == pytest.approx(5.7724e-3, abs=5e-8)


@pytest.mark.parametrize(
    ("fuse", "energy_j", "latency_s", "parts"),
    [
        (False, 0.426893711019, 11.1483783e-3, {"dram": 0.384969, "local": 0.033266, "mac": 0.008659}),
        (
            True,
            0.173834237939,
            4.64369357e-3,
            {"dram": 0.022645, "glb": 0.109264, "local": 0.033266, "mac": 0.008659},
        ),
    ],
    ids=["unfused", "fused"],
)
def test_edp_of_attention_on_the_tpu(fuse: bool, energy_j: float, latency_s: float, parts: dict[str, float]) -> None:
    problem = attention(1024)
    found = search(problem, TPU, objective="edp", tiles="divisor", constraints=Constraints(fuse=fuse))
    proven(found, problem, TPU)
    assert found.cost.energy_j == pytest.approx(energy_j, rel=1e-9)
    assert found.cost.latency_s == pytest.approx(latency_s, rel=6e-8)  # 2^-24: single precision in the source
    energy: Counter[str] = Counter()
    for einsum in found.cost.einsums:
        energy.update(einsum.energy_j)
    for name, joules in parts.items():
        assert energy[name] == pytest.approx(joules, abs=5.1e-7)


@pytest.mark.parametrize(("length", "size", "bits"), [(2, 64, 196_608), (3, 128, 1_179_648)])
def test_least_traffic_of_unfused_chains(length: int, size: int, bits: int) -> None:
    problem = chain(length, size)
    found = search(problem, SNOWCAT, objective="energy", constraints=Constraints(fuse=False))
    proven(found, problem, SNOWCAT)
    assert sum(t.read_bits + t.write_bits for t in found.cost.traffic()["dram"].values()) == bits


@pytest.mark.parametrize(
    ("name", "sizes", "fuse"),
    [
        ("gpt-layer-10-decode", {**GPT, "m": 1, "p": 2047}, True),
        ("gpt-layer-10", GPT, False),
        pytest.param("gpt-layer-10", GPT, True, marks=pytest.mark.slow),
    ],
    ids=["decode", "prefill unfused", "prefill"],
)
def test_a_layer_is_proven(name: str, sizes: dict[str, int], fuse: bool) -> None:
    problem = cascade_problem(load_cascade(name), sizes, 16)
    proven(search(problem, TPU, objective="edp", tiles="divisor", constraints=Constraints(fuse=fuse)), problem, TPU)


# ---- the same each time, and stopping ----


def _plain(result: SearchResult) -> dict[str, object]:
    return {name: value for name, value in result.to_json().items() if name != "seconds"}


def test_same_result_with_more_workers() -> None:
    problem = attention(256)
    one, again, two = (search(problem, TPU, tiles="divisor", workers=workers) for workers in (1, 1, 2))
    assert one.mapping == again.mapping == two.mapping
    assert _plain(one) == _plain(again) == _plain(two)


@pytest.mark.parametrize("calls", [0, 1, 2, 3, 5, 10, 30])
def test_a_stopped_search_keeps_what_it_has(calls: int) -> None:
    asked = 0

    def stop() -> bool:
        nonlocal asked
        asked += 1
        return asked > calls

    problem = attention(256)
    whole = search(problem, TPU, tiles="divisor")
    found = search(problem, TPU, tiles="divisor", should_stop=stop)
    assert not over_capacity(evaluate(found.mapping, problem, TPU), TPU)
    assert found.lower_bound <= whole.value * (1 + 1e-12)  # still true, whatever was left out
    assert found.lower_bound <= found.value
    assert found.value >= whole.value * (1 - 1e-12)


# ---- constraints ----

_SMALL = override_hierarchy(SIMPLE, ["glb.capacity=1024 bit"])


def _stores(result: SearchResult, problem: CascadeProblem) -> set[tuple[str, str]]:
    return {(store.level, store.tensor) for path in paths(result.mapping, problem) for store in path.stores}


@pytest.mark.parametrize("tensor", ["A", "W", "Z"])
def test_keep_and_bypass(tensor: str) -> None:
    problem = gemm(16)
    free = override_hierarchy(_SMALL, ["glb.energy=0 pJ/bit"])
    kept = search(problem, free, objective="energy", constraints=Constraints(keep=frozenset({("glb", tensor)})))
    assert ("glb", tensor) in _stores(proven(kept, problem, free), problem)
    around = search(problem, free, objective="energy", constraints=Constraints(bypass=frozenset({("glb", tensor)})))
    assert ("glb", tensor) not in _stores(proven(around, problem, free), problem)
    assert around.value >= search(problem, free, objective="energy").value


@pytest.mark.parametrize(("tensor", "rank", "tile"), [("A", "m", 4), ("W", "n1", 2), ("Z", "m", 8), ("Z", "n1", 1)])
def test_fixed_tiles(tensor: str, rank: str, tile: int) -> None:
    problem = gemm(16)
    fixed = Constraints(keep=frozenset({("glb", tensor)}), tiles=(("glb", tensor, rank, tile),))
    found = proven(search(problem, _SMALL, objective="energy", constraints=fixed), problem, _SMALL)
    (path,) = paths(found.mapping, problem)
    (store,) = (store for store in path.stores if (store.level, store.tensor) == ("glb", tensor))
    above = [loop.tile for at, loop in path.loops if loop.rank == rank and at < store.position]
    assert min([16, *above]) == tile


@pytest.mark.parametrize(("role", "tensor"), [("input", "A"), ("weight", "W"), ("output", "Z")])
def test_stationary_operand_moves_once(role: str, tensor: str) -> None:
    problem = gemm(32)
    found = search(problem, _SMALL, objective="energy", constraints=Constraints(stationary=role))  # type: ignore[arg-type]
    moved = proven(found, problem, _SMALL).cost.traffic()["dram"][tensor]
    assert moved.read_bits + moved.write_bits == 32 * 32 * 8


def test_single_tensors_can_be_sent_through_the_root() -> None:
    problem = attention(256)
    found = search(problem, TPU, tiles="divisor", constraints=Constraints(unfused=frozenset({"QK"})))
    stores = _stores(proven(found, problem, TPU), problem)
    assert ("dram", "QK") in stores
    assert ("dram", "SM") not in stores


# ---- nothing fits ----


def test_a_buffer_for_less_than_an_element() -> None:
    tiny = override_hierarchy(SIMPLE, ["glb.capacity=4 bit"])
    constraints = Constraints(keep=frozenset({("glb", "A")}))
    with pytest.raises(InfeasibleError) as caught:
        search(gemm(16), tiny, constraints=constraints)
    assert "glb" in caught.value.constraint
    assert (caught.value.needed, caught.value.available, caught.value.unit) == (8, 4, "bit")


def test_several_tensors_in_a_buffer_too_small() -> None:
    tiny = override_hierarchy(SIMPLE, ["glb.capacity=8 bit"])
    constraints = Constraints(keep=frozenset(("glb", tensor) for tensor in ("A", "W", "Z")))
    with pytest.raises(InfeasibleError) as caught:
        search(gemm(16), tiny, constraints=constraints)
    assert "glb" in caught.value.constraint
    assert caught.value.excess == 2 * 8  # three elements, one fits
