"""Costs worked out by hand, and optima of others whose mappings are rebuilt here."""

from __future__ import annotations

import pytest

from hw.spec.hierarchy import Hierarchy
from hw.spec.load_hierarchy import load_hierarchy
from mappers.mapspace.cost import evaluate, over_capacity
from mappers.mapspace.mapping import Branch, Compute, Loop, Mapping, Nest, Spread, Store
from mappers.mapspace.problem import Axis, CascadeProblem, EinsumProblem, TensorUse, cascade_problem
from mappers.mapspace.report import MappingCost, Traffic
from tests.mappers.mapspace.mapping_strategies import problem_of
from workloads.cascades import load_cascade

_KI = 1024


def _gemm(size: int, bits: int) -> CascadeProblem:
    def use(name: str, role: str, *ranks: str) -> TensorUse:
        return TensorUse(name, role, bits, tuple(Axis(((rank, 1),)) for rank in ranks), False)  # type: ignore[arg-type]

    uses = (use("A", "input", "m", "k"), use("W", "weight", "k", "n"), use("Z", "output", "m", "n"))
    ranks = (("m", size), ("k", size), ("n", size))
    return CascadeProblem("gemm", (EinsumProblem("Z", ranks, uses, (("mac", float(size**3)),), True),), (), ())


def _homes(*tensors: str) -> Nest:
    return tuple(Store("dram", tensor) for tensor in tensors)


def _output_stationary(m: int, n: int) -> Nest:
    inside = (Loop("k", 1), Store("glb", "A"), Store("glb", "W"), Loop("m", 1), Loop("n", 1), Compute("Z", "mac"))
    return (*_homes("A", "W", "Z"), Loop("m", m), Loop("n", n), Store("glb", "Z"), *inside)


def test_gemm_1024_equals_the_optimum_of_accelforge() -> None:
    """AccelForge 1c1929c2, machine `simple`, energy: 46,439,333,888, with A read 8 times, W 4 times, Z written once."""
    hierarchy = load_hierarchy("mapping-simple")
    cost = evaluate(Mapping("gemm", hierarchy.name, _output_stationary(256, 128)), _gemm(1024, 8), hierarchy)
    assert cost.energy_j * 1e12 == pytest.approx(46_439_333_888, rel=1e-14)
    assert cost.latency_s == 1_073_741_824
    dram, glb = cost.traffic()["dram"], cost.traffic()["glb"]
    assert (dram["A"].read_bits, dram["W"].read_bits) == (67_108_864, 33_554_432)
    assert dram["Z"] == Traffic(0, 8_388_608)
    assert sum(row.read_bits for row in glb.values()) == 25_769_803_776
    assert glb["Z"] == Traffic(8_589_934_592, 8_589_934_592)
    assert cost.usage_bits["glb"] == 8 * (256 * 128 + 256 + 128)
    assert over_capacity(cost, hierarchy) == {}
    assert cost.utilisation == {"mac": 1.0}


def test_gemm_1024_with_short_tiles() -> None:
    """AccelForge reports 43,905,974,272: it reads A from the buffer for 5 x 205 = 1025 rows. There are 1024."""
    hierarchy = load_hierarchy("mapping-simple")
    cost = evaluate(Mapping("gemm", hierarchy.name, _output_stationary(256, 205)), _gemm(1024, 8), hierarchy)
    assert cost.traffic()["dram"]["A"].read_bits == 41_943_040  # five times
    reported, row = 43_905_974_272, 1024 * 1024 * 8
    assert cost.energy_j * 1e12 == pytest.approx(reported - row, rel=1e-14)


def test_capacity_exceeded_is_told_in_bits() -> None:
    hierarchy = load_hierarchy("mapping-simple")
    cost = evaluate(Mapping("gemm", hierarchy.name, _output_stationary(1024, 128)), _gemm(1024, 8), hierarchy)
    assert over_capacity(cost, hierarchy) == {"glb": 8 * (1024 * 128 + 1024 + 128) - 524_288}


def _attention() -> tuple[CascadeProblem, Hierarchy, Nest]:
    cascade = load_cascade("attention-elementwise")
    sizes = {"b": 64, "h": 12, "e": 64, "f": 64, "m": _KI, "p": _KI}
    cores = Spread("local", "cores", "h", 4)
    scores = (
        *(Store("local", "Q"), Loop("p", 128), Store("register", "K"), Loop("m", 1), Store("local", "QK"), cores),
        *(Spread("register", "columns", "p", 128), Spread("register", "rows", "e", 64), Compute("QK", "mac")),
    )
    softmax = (
        *(Loop("m", 1), Loop("p", 1), Store("local", "QK"), Store("local", "SM"), cores),
        Compute("SM", "scalar"),
    )
    values = (
        *(Store("local", "AV"), Loop("p", 128), Store("register", "V"), Loop("m", 1), Store("local", "SM"), cores),
        *(Spread("register", "columns", "f", 64), Spread("register", "rows", "p", 128), Compute("AV", "mac")),
    )
    nest = (
        *_homes("Q", "K", "V", "AV"),
        *(Loop("b", 1), Loop("h", 4), Store("glb", "QK"), Store("glb", "SM")),
        Branch("sequential", (scores, softmax, values)),
    )
    return cascade_problem(cascade, sizes, 16), load_hierarchy("mapping-tpu-v4i"), nest


def test_fused_attention_equals_the_optimum_of_accelforge() -> None:
    """AccelForge 1c1929c2, `tpu_v4i`, L = 1024, EDP: 0.173834237939 J (by level below), 4.64369357 ms.

    What differs, 2e-10 and 3e-8 of them, is of the size of single-precision rounding.
    """
    problem, hierarchy, nest = _attention()
    cost = evaluate(Mapping(problem.name, hierarchy.name, nest), problem, hierarchy)
    assert cost.energy_j == pytest.approx(0.173834237939, rel=1e-9)
    assert cost.latency_s == pytest.approx(4.64369357e-3, rel=1e-7)
    joules: dict[str, float] = {}
    for einsum in cost.einsums:
        for name, energy in einsum.energy_j.items():
            joules[name] = joules.get(name, 0.0) + energy
    stated = {"dram": 0.022645, "glb": 0.109264, "local": 0.033266, "mac": 0.008659}
    assert {name: round(joules[name], 6) for name in stated} == stated
    assert [einsum.bound for einsum in cost.einsums] == ["glb write", "glb write", "mac"]
    assert {row.read_bits + row.write_bits for row in cost.traffic()["dram"].values()} == {805_306_368}
    assert over_capacity(cost, hierarchy) == {}


def _machine(reuse: str | None, bandwidth: str | None = None) -> Hierarchy:
    lanes = {"lanes": {"size": 4, "reuse": reuse}}
    buffer = {"parent": "dram", "bandwidth": bandwidth} if bandwidth else {"parent": "dram"}
    levels = {"dram": {"keep": ["all"]}, "buffer": buffer, "cell": {"parent": "buffer", "fanout": lanes}}
    units = {"mac": {"parent": "cell", "clock": "1 GHz", "actions": {"mac": {"energy": "1 pJ"}, "exp": {"cycles": 3}}}}
    return Hierarchy.model_validate({"name": "cells", "levels": levels, "units": units})


def _cells(hierarchy: Hierarchy, nest: Nest) -> MappingCost:
    """A GEMM with m = 3, k = 5, n = 6 of elements of 3 (A), 1 (B) and 1 (Z) bits."""
    problem = problem_of("gemm", {"m": 3, "k": 5, "n": 6})
    bits = {use.tensor: use.bits for use in problem.einsums[0].uses}
    assert bits == {"A": 3, "B": 1, "Z": 1}
    return evaluate(Mapping("gemm", "cells", (*_homes("A", "B", "Z"), *nest)), problem, hierarchy)


def test_a_reused_operand_is_read_once_and_written_in_each_cell() -> None:
    nest = (
        *(Loop("m", 1), Store("buffer", "A"), Loop("k", 1), Loop("n", 4), Store("cell", "A")),
        *(Spread("cell", "lanes", "n", 4), Compute("Z", "mac")),
    )
    shared = _cells(_machine("input"), nest).traffic()
    copied = _cells(_machine(None), nest).traffic()
    # 15 elements of A; the last step of n uses 2 of 4 lanes but A was dealt for the whole of n, to all 4.
    assert shared["buffer"]["A"] == Traffic(15 * 3, 15 * 3)
    assert copied["buffer"]["A"] == Traffic(15 * 4 * 3, 15 * 3)
    assert shared["cell"]["A"] == copied["cell"]["A"] == Traffic(3 * 5 * 6 * 3, 15 * 4 * 3)


def test_partial_sums_that_leave_come_back() -> None:
    nest = (Loop("k", 2), Loop("m", 1), Loop("n", 1), Store("buffer", "Z"), Loop("k", 1), Compute("Z", "mac"))
    cost = _cells(_machine(None), nest).traffic()
    # k in three pieces: 18 results leave three times and come back twice; 90 updates, 72 of them on a partial sum.
    assert cost["dram"]["Z"] == Traffic(2 * 18, 3 * 18)
    assert cost["buffer"]["Z"] == Traffic(72 + 3 * 18, 90 + 2 * 18)


def test_sums_over_lanes_are_added_before_the_write_or_at_it() -> None:
    nest = (Loop("m", 1), Loop("n", 1), Loop("k", 4), Spread("cell", "lanes", "k", 4), Compute("Z", "mac"))
    reduced = _cells(_machine("output"), nest).traffic()["dram"]["Z"]
    alone = _cells(_machine(None), nest).traffic()["dram"]["Z"]
    assert reduced == Traffic(18, 36)  # two steps of k
    assert alone == Traffic(90 - 18, 90)


def test_times_of_shared_ports_and_of_actions_that_take_cycles() -> None:
    problem = problem_of("elementwise", {"m": 5, "n": 6})
    bits = sum(use.bits for use in problem.einsums[0].uses)
    inner = (Loop("m", 1), Loop("n", 2), Spread("cell", "lanes", "n", 2), Compute("Y", "mac"))
    nest = (*_homes("X", "Y"), Store("buffer", "X"), Store("buffer", "Y"), *inner)
    cost = evaluate(Mapping("elementwise", "cells", nest), problem, _machine(None, "1 GB/s"))
    assert cost.einsums[0].times_s == pytest.approx({"mac": 15 * 3e-9, "buffer": 2 * 30 * bits / 8 * 1e-9})
    assert cost.utilisation["mac"] == pytest.approx(30 * 3 / (45 * 4))


def test_a_pipelined_branch_takes_as_long_as_its_busiest_resource() -> None:
    problem = problem_of("shared input", {"m": 4, "k": 3, "n": 2, "q": 5})
    nests = (
        (Loop("m", 1), Loop("n", 1), Loop("k", 1), Compute("U", "mac")),
        (Loop("m", 1), Loop("q", 1), Loop("k", 1), Compute("V", "mac")),
    )
    hierarchy = _machine(None)
    homes = _homes("X", "W", "U", "G", "V")
    for execution in ("sequential", "pipelined"):
        branch = Branch(execution, nests)  # type: ignore[arg-type]
        cost = evaluate(Mapping("shared input", "cells", (*homes, branch)), problem, hierarchy)
        assert cost.latency_s == pytest.approx((24 + 60) * 1e-9)  # both on one unit
    levels = {"dram": {"keep": ["all"]}, "buffer": {"parent": "dram"}}
    unit = {"parent": "buffer", "clock": "1 GHz", "actions": {"point": {}}}
    two = Hierarchy.model_validate({"name": "two", "levels": levels, "units": {"mac": unit, "other": unit}})
    apart = (nests[0], (*nests[1][:-1], Compute("V", "other")))
    cost = evaluate(Mapping("shared input", "two", (*homes, Branch("pipelined", apart))), problem, two)
    assert cost.latency_s == pytest.approx(60e-9)
    assert cost.utilisation == pytest.approx({"mac": 0.4, "other": 1.0})


def test_a_loop_over_a_rank_that_an_einsum_lacks_repeats_it() -> None:
    problem = problem_of("chain", {"m": 2, "n": 3, "k": 4, "p": 5})
    make = (Loop("m", 1), Loop("n", 1), Loop("k", 1), Compute("T", "mac"))
    take = (Loop("m", 1), Loop("n", 1), Compute("Z", "mac"))
    nest = (*_homes("A", "B", "C", "Z"), Loop("p", 1), Store("buffer", "T"), Branch("sequential", (make, take)))
    cost = evaluate(Mapping("chain", "cells", nest), problem, _machine(None))
    assert cost.einsums[0].times_s["mac"] == pytest.approx(5 * 24e-9)
    assert cost.einsums[0].energy_j["mac"] == pytest.approx(5 * 24e-12)
    assert cost.einsums[0].utilisation == pytest.approx(1 / 5 / 4)  # once is useful, on one of four cells
    bits = problem.einsums[0].output.bits
    written, made_on = 5 * 24 * bits, 5 * (24 - 6) * bits
    assert cost.traffic()["buffer"]["T"] == Traffic(made_on + 5 * 6 * bits, written)


def test_what_passes_between_nests_is_held_from_its_maker_to_its_last_reader() -> None:
    problem = problem_of("attention", {"m": 4, "p": 4, "e": 2, "f": 2})
    bits = {use.tensor: use.bits for einsum in problem.einsums for use in einsum.uses}
    nests = (
        (Store("buffer", "Q"), Loop("m", 1), Loop("p", 1), Loop("e", 1), Compute("S", "mac")),
        (Loop("m", 1), Loop("p", 1), Compute("P", "mac")),
        (Loop("m", 1), Loop("f", 1), Loop("p", 1), Compute("O", "mac")),
    )
    homes = _homes("Q", "K", "V", "O")
    nest = (*homes, Store("buffer", "S"), Store("buffer", "P"), Branch("sequential", nests))
    cost = evaluate(Mapping("attention", "cells", nest), problem, _machine(None))
    assert cost.usage_bits["buffer"] == max(8 * bits["Q"] + 16 * bits["S"], 16 * (bits["S"] + bits["P"]))
    looped = (*homes, Loop("m", 1), *nest[4:])
    cost = evaluate(Mapping("attention", "cells", looped), problem, _machine(None))
    assert cost.usage_bits["buffer"] == max(2 * bits["Q"] + 4 * bits["S"], 4 * (bits["S"] + bits["P"]))
