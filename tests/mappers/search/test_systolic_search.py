"""Dataflows of a systolic array: values of the `scale-sim-32x32` machine, traffic, constraints, refusals."""

from __future__ import annotations

import math

import pytest

from hw.spec.hierarchy import Hierarchy
from hw.spec.load_hierarchy import load_hierarchy, override_hierarchy
from mappers.mapspace.constraints import Constraints
from mappers.mapspace.cost import evaluate
from mappers.mapspace.mapping import Compute, Loop, Spread, Store
from mappers.mapspace.problem import CascadeProblem, cascade_problem
from mappers.search.systolic import hierarchy_cycles, search_systolic, systolic_unit
from workloads.cascades import load_cascade
from workloads.errors import InfeasibleError, InputError

WORD = 8  # bits of an element: a SCALE-Sim word


def gemm(m: int, n: int, k: int) -> CascadeProblem:
    return cascade_problem(load_cascade("gemm"), {"m": m, "n0": k, "n1": n})


@pytest.fixture(scope="module")
def machine() -> Hierarchy:
    return load_hierarchy("scale-sim-32x32")


@pytest.mark.parametrize(
    ("stationary", "total", "compute", "utilisation"),
    # SCALE-Sim 3.0.0, GEMM 256^3: total cycles, compute cycles, utilisation in % to its printed digits
    [("weight", 26698, 22399, 73.15), ("output", 24650, 20351, 80.51), ("input", 26698, 22399, 73.15)],
)
def test_scale_sim(machine: Hierarchy, stationary: str, total: int, compute: int, utilisation: float) -> None:
    problem = gemm(256, 256, 256)
    dataflow = {"weight": "ws", "output": "os", "input": "is"}[stationary]
    found = search_systolic(problem, machine, "latency", Constraints(stationary=stationary))  # type: ignore[arg-type]
    assert found.value == pytest.approx(total * 1e-9, rel=1e-12)  # 1 GHz
    cycles = hierarchy_cycles(problem.einsums[0], machine, dataflow)  # type: ignore[arg-type]
    assert (cycles.total_cycles, cycles.compute_cycles) == (total, compute)
    assert round(100 * cycles.utilisation, 2) == utilisation
    assert found.gap == 0.0
    assert found.optimal


def test_the_best_dataflow_of_256_cubed_keeps_the_output(machine: Hierarchy) -> None:
    found = search_systolic(gemm(256, 256, 256), machine)
    assert found.value == pytest.approx(24650e-9, rel=1e-12)
    assert found.bounds["latency_s"] == pytest.approx(256**3 / 1024 * 1e-9)
    assert found.bounds["root_bits"] == 3 * 65536 * WORD


# DRAM words of GEMM 256^3. SCALE-Sim's runs report the same reads but for the weights under `os`, 81,884: its buffer
# forgets in the order of first use, in the middle of a tile. It counts 524,319 results for `ws` and `is`, since every
# fold's sums leave the chip and none returns; here they add up in the buffer. Of 65,567 under `os`, 31 are idle places.
@pytest.mark.parametrize(
    ("stationary", "inputs", "weights"),
    [("weight", 524288, 65536), ("output", 524288, 65536), ("input", 65536, 524288)],
)
def test_traffic(machine: Hierarchy, stationary: str, inputs: int, weights: int) -> None:
    found = search_systolic(gemm(256, 256, 256), machine, constraints=Constraints(stationary=stationary))  # type: ignore[arg-type]
    dram = found.cost.traffic()["dram"]
    assert dram["A"].read_bits == inputs * WORD
    assert dram["W"].read_bits == weights * WORD
    assert (dram["Z"].read_bits, dram["Z"].write_bits) == (0, 65536 * WORD)
    # words at the array's edge, as SCALE-Sim's SRAM reads and writes (its writes under `os` count 64 too many a fold)
    edge = found.cost.traffic()
    sums = 65536 if stationary == "output" else 524288
    assert edge["output_sram"]["Z"].write_bits == sums * WORD
    assert edge["input_sram"]["A"].read_bits == (65536 if stationary == "input" else 524288) * WORD
    assert edge["weight_sram"]["W"].read_bits == (65536 if stationary == "weight" else 524288) * WORD


@pytest.mark.parametrize("size", [(256, 256, 256), (100, 70, 50), (513, 40, 300), (7, 5, 3), (64, 2000, 1500)])
@pytest.mark.parametrize("stationary", ["weight", "output", "input"])
def test_transfers_agree_with_the_cost_model(machine: Hierarchy, size: tuple[int, int, int], stationary: str) -> None:
    """What moves between DRAM and buffers, counted here in closed form, is what the general model counts."""
    problem = gemm(*size)
    found = search_systolic(problem, machine, constraints=Constraints(stationary=stationary))  # type: ignore[arg-type]
    general = evaluate(found.mapping, problem, machine).traffic()
    for tensor, buffer in (("A", "input_sram"), ("W", "weight_sram"), ("Z", "output_sram")):
        assert found.cost.traffic()["dram"][tensor] == general["dram"][tensor]
        if tensor != "Z":
            assert found.cost.traffic()[buffer][tensor].write_bits == general[buffer][tensor].write_bits
    for level, used in found.cost.usage_bits.items():
        limit = machine.levels[level].capacity_bytes
        assert limit is not None
        assert used <= 8 * limit


def test_nest_of_weight_stationary(machine: Hierarchy) -> None:
    found = search_systolic(gemm(256, 256, 256), machine, constraints=Constraints(stationary="weight"))
    assert found.mapping.nest == (
        Store("dram", "A"),
        Store("dram", "W"),
        Store("dram", "Z"),
        Loop("n1", 32),
        Store("weight_sram", "W"),
        Store("output_sram", "Z"),
        Loop("n0", 32),
        Store("input_sram", "A"),
        Loop("m", 1),
        Spread("array", "rows", "n0", 32),
        Spread("array", "columns", "n1", 32),
        Compute("Z", "array"),
    )


def test_energy_is_traffic_and_operations(machine: Hierarchy) -> None:
    """GEMM 64^3, weights stationary: every tensor fits its buffer, so DRAM moves each word once."""
    priced = override_hierarchy(
        machine,
        [
            "dram.energy=10 pJ/bit",
            "input_sram.energy=1 pJ/bit",
            "weight_sram.energy=1 pJ/bit",
            "output_sram.energy=1 pJ/bit",
            "array.actions.mac.energy=0.5 pJ",
        ],
    )
    found = search_systolic(gemm(64, 64, 64), priced, "energy", Constraints(stationary="weight"))
    words = 64 * 64
    dram = 3 * words * WORD * 10
    inputs = (words + 2 * words) * WORD  # filled once, streamed for each of two column folds
    weights = (words + words) * WORD
    outputs = (2 * words + 2 * words) * WORD  # two row folds: written twice, read back once, and once to leave
    assert found.value * 1e12 == pytest.approx(dram + inputs + weights + outputs + 0.5 * 64**3, rel=1e-12)
    assert found.cost.einsums[0].energy_j["array"] * 1e12 == pytest.approx(0.5 * 64**3, rel=1e-12)


def test_energy_decides_between_dataflows(machine: Hierarchy) -> None:
    priced = override_hierarchy(machine, ["dram.energy=100 pJ/bit"])
    problem = gemm(2048, 32, 512)
    best = search_systolic(problem, priced, "energy")
    single = [
        search_systolic(problem, priced, "energy", Constraints(stationary=kept)).value
        for kept in ("weight", "output", "input")
    ]
    assert best.value == min(single) < max(single)
    assert best.candidates > 3


def test_constraints_are_kept(machine: Hierarchy) -> None:
    told = Constraints(stationary="weight", tiles=(("input_sram", "A", "m", 1),))
    found = search_systolic(gemm(256, 256, 256), machine, constraints=told)
    nest = found.mapping.nest
    assert nest.index(Store("input_sram", "A")) > nest.index(Loop("m", 1))
    with pytest.raises(InfeasibleError, match="placing Einsum 'Z'"):
        search_systolic(gemm(256, 256, 256), machine, constraints=Constraints(tiles=(("input_sram", "A", "m", 3),)))


def test_too_small_a_buffer(machine: Hierarchy) -> None:
    tiny = override_hierarchy(machine, ["output_sram.capacity=32 B"])
    with pytest.raises(InfeasibleError, match="larger buffers"):
        search_systolic(gemm(256, 256, 256), tiny, constraints=Constraints(stationary="output"))


def test_no_bandwidth_is_no_time(machine: Hierarchy) -> None:
    free = override_hierarchy(
        machine, ["array.systolic.prefetch_bandwidth=infinite", "array.systolic.drain_bandwidth=infinite"]
    )
    found = search_systolic(gemm(256, 256, 256), free)
    assert found.value == pytest.approx(20351e-9, rel=1e-12)


def test_wider_words_fill_more_slowly(machine: Hierarchy) -> None:
    """16-bit words: 64 KiB are 32,768 of them, half of it in hundredths 16,350, which come at 5 a cycle."""
    problem = cascade_problem(load_cascade("gemm"), {"m": 256, "n0": 256, "n1": 256}, 16).einsums[0]
    cycles = hierarchy_cycles(problem, machine, "os")
    assert cycles.prefetch_cycles == math.ceil(50 * (32768 // 100) / 5)


def test_refusals(machine: Hierarchy) -> None:
    chain = cascade_problem(
        load_cascade("attention-3pass"), dict.fromkeys(load_cascade("attention-3pass").rank_names, 32)
    )
    with pytest.raises(InputError, match="one contraction"):
        search_systolic(chain, machine)
    with pytest.raises(InputError, match="no unit of 'mapping-simple' is systolic"):
        search_systolic(gemm(8, 8, 8), load_hierarchy("mapping-simple"))
    with pytest.raises(InputError, match="objective"):
        search_systolic(gemm(8, 8, 8), machine, "speed")
    with pytest.raises(InputError, match="rows and columns"):
        Hierarchy.model_validate(
            {
                "name": "x",
                "levels": {"dram": {"keep": ["all"]}},
                "units": {"a": {"parent": "dram", "clock": "1 Hz", "actions": {"mac": {}}, "systolic": {}}},
            }
        )


def test_which_unit(machine: Hierarchy) -> None:
    assert systolic_unit(machine) == "array"
    assert systolic_unit(load_hierarchy("mapping-simple")) is None
