"""Elasticities beside closed forms, and the two sums that units ask for."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dse.sensitivity.elasticity import Elasticities, elasticities
from dse.sensitivity.parameters import Parameter, changed, parameters_of
from hw.spec.load import load_system, system_names
from hw.spec.quantity import BANDWIDTH, BYTES, ENERGY_PER_BIT, POWER, SECONDS
from hw.spec.system import System
from simulator.road import simulate
from workloads.models.catalogue import model
from workloads.phases import Decode, Phase, Prefill

RATE = Parameter("tiers.hbm.bandwidth", 4.0, BANDWIDTH)
TIME = Parameter("engines.array.launch_overhead", 3.0, SECONDS)
ENERGY = Parameter("tiers.hbm.energy", 5.0, ENERGY_PER_BIT)
POWER_OF_IT = Parameter("static_power", 2.0, POWER)
SIZES = [Parameter(f"tiers.t{at}.capacity", 1.0, BYTES) for at in range(20)]


def of_formula(
    parameters: Sequence[Parameter],
    formula: Callable[[Mapping[str, float]], tuple[float, float]],
    idle: Callable[[Parameter], bool] = lambda _: False,
) -> Elasticities:
    def run(group: Sequence[Parameter], factor: float) -> Mapping[str, float] | None:
        values = {each.path: each.value * (factor if each in group else 1) for each in parameters}
        try:
            return dict(zip(("latency_s", "energy_j"), formula(values), strict=True))
        except ValueError:
            return None

    base = run((), 1.0)
    assert base is not None
    return elasticities(parameters, run, base, idle)


def test_a_rate_an_overhead_an_energy_and_a_power_by_hand() -> None:
    # 8 B at 4 B/s are 2 s, and 3 s of overhead: 2/5 and 3/5 of the latency. 4 bits of 5 J are 20 J, 2 W for 5 s are 10.
    def formula(value: Mapping[str, float]) -> tuple[float, float]:
        latency = 8 / value[RATE.path] + value[TIME.path]
        return latency, 4 * value[ENERGY.path] + value[POWER_OF_IT.path] * latency

    found = of_formula([*SIZES, RATE, TIME, ENERGY, POWER_OF_IT], formula)
    slopes = {row.parameter.path: row.slopes for row in found.rows}
    expected = {RATE: (-0.4, -0.4 / 3), TIME: (0.6, 0.6 / 3), ENERGY: (0, 2 / 3), POWER_OF_IT: (0, 1 / 3)}
    for parameter, (latency, energy) in expected.items():
        assert slopes[parameter.path]["latency_s"].value == pytest.approx(latency, abs=1e-4)
        assert slopes[parameter.path]["energy_j"].value == pytest.approx(energy, abs=1e-4)
        assert not any(slope.kinked for slope in slopes[parameter.path].values())
    assert [row.parameter for row in found.rows] == [ENERGY, TIME, RATE, POWER_OF_IT]
    assert found.without_effect == tuple(each.path for each in SIZES)
    assert found.latency_sum == pytest.approx(-1, abs=1e-4)
    assert found.energy_sum == pytest.approx(1, abs=1e-4)


def test_at_a_tie_both_sides_are_told() -> None:
    other = Parameter("links.pcie.bandwidth", 4.0, BANDWIDTH)
    found = of_formula([RATE, other], lambda value: (max(1 / value[RATE.path], 1 / value[other.path]), 1.0))
    # Either alone only slows the pair down.
    for row in found.rows:
        slope = row.slopes["latency_s"]
        assert slope.below == pytest.approx(-1)
        assert slope.above == 0
        assert slope.kinked
        assert slope.value == pytest.approx(-0.5)
    assert found.latency_sum == pytest.approx(-1)


def test_a_side_that_cannot_be_run_is_left_out() -> None:
    def formula(value: Mapping[str, float]) -> tuple[float, float]:
        if value[SIZES[0].path] < 1:
            raise ValueError
        return 1 / value[SIZES[0].path], 1.0

    (row,) = of_formula(SIZES[:1], formula).rows
    assert row.slopes["latency_s"].below is None
    assert row.slopes["latency_s"].value == pytest.approx(-1)
    assert not row.slopes["latency_s"].kinked


@given(acting=st.sets(st.integers(0, 19)), guessed=st.sets(st.integers(0, 19)))
@settings(deadline=None)
def test_groups_find_what_acts_whatever_was_guessed(acting: set[int], guessed: set[int]) -> None:
    def formula(value: Mapping[str, float]) -> tuple[float, float]:
        return 1 + sum((at + 1) * value[SIZES[at].path] for at in acting), 1.0

    found = of_formula(SIZES, formula, lambda parameter: SIZES.index(parameter) in guessed)
    assert {row.parameter.path for row in found.rows} == {SIZES[at].path for at in acting}
    assert set(found.without_effect) == {SIZES[at].path for at in range(20) if at not in acting}


def of_run(system: System, phase: Phase, name: str = "gpt-2", fidelity: str = "roofline") -> Elasticities:
    found = model(name)

    def run(group: Sequence[Parameter], factor: float) -> Mapping[str, float]:
        result = simulate(found, phase, changed(system, group, factor), fidelity=fidelity)
        return {"latency_s": result.latency_s, "energy_j": result.total_energy_j}

    return elasticities(parameters_of(system), run, run((), 1.0))


def test_bandwidth_has_the_share_of_time_that_waits_for_it() -> None:
    system, phase = load_system("h100-sxm"), Decode(batch=16, context=2048)
    result = simulate(model("llama-3.1-8b"), phase, system)
    slopes = {row.parameter.path: row.slopes["latency_s"] for row in of_run(system, phase, "llama-3.1-8b").rows}
    moved = sum(slopes[f"tiers.hbm.{way}_bandwidth"].value or 0.0 for way in ("read", "write"))
    assert moved == pytest.approx(-result.time_by_bound_s["hbm"] / result.latency_s, abs=2e-3)
    # A launch costs the larger of both engines' overheads, which are equal: more of either adds, less of one does not.
    share = result.time_by_bound_s["overhead"] / result.latency_s
    for engine in ("tensor", "vector"):
        slope = slopes[f"engines.{engine}.launch_overhead"]
        assert (slope.below, slope.above) == (0.0, pytest.approx(share, abs=2e-3))


def machine(rate: float, bandwidth: float, launch_s: float, latency_s: float, power_w: float) -> System:
    return System.model_validate(
        {
            "name": "roofline",
            "static_power": power_w,
            "engines": {
                "array": {
                    "kind": "vector",
                    "home": "hbm",
                    "throughput": {"bf16": rate, "fp32": rate / 3},
                    "launch_overhead": launch_s,
                    "energy": {"bf16": 0.4e-12},
                }
            },
            "tiers": {
                "hbm": {
                    "kind": "hbm",
                    "capacity": 80e9,
                    "read_bandwidth": bandwidth,
                    "write_bandwidth": bandwidth / 2,
                    "latency": latency_s,
                    "read_energy": 4e-12,
                    "write_energy": 5e-12,
                }
            },
        }
    )


def powers_of_ten(least: float, most: float) -> st.SearchStrategy[float]:
    return st.floats(math.log10(least), math.log10(most)).map(lambda exponent: 10**exponent)


@given(
    rate=powers_of_ten(1e11, 1e15),
    bandwidth=powers_of_ten(1e9, 1e13),
    launch_s=powers_of_ten(1e-9, 1e-5),
    latency_s=powers_of_ten(1e-9, 1e-6),
    power_w=powers_of_ten(0.01, 1000),
    phase=st.sampled_from([Decode(batch=4, context=512), Prefill(batch=1, context=256)]),
)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_sums_of_a_machine_of_rooflines(
    rate: float, bandwidth: float, launch_s: float, latency_s: float, power_w: float, phase: Phase
) -> None:
    # All its time is in rates and overheads, all its energy in energies and powers (Euler, homogeneous functions).
    found = of_run(machine(rate, bandwidth, launch_s, latency_s, power_w), phase)
    assert found.latency_sum == pytest.approx(-1, abs=0.005)
    assert found.energy_sum == pytest.approx(1, abs=0.005)
    for row in found.rows:
        # No rate slows, no time speeds up.
        assert (row.slopes["latency_s"].value or 0.0) * row.parameter.seconds >= -1e-9


def test_sums_at_mapped_fidelity() -> None:
    found = of_run(machine(1e13, 2e11, 1e-6, 1e-7, 5.0), Decode(batch=4, context=512), fidelity="mapped")
    assert found.latency_sum == pytest.approx(-1, abs=0.005)
    assert found.energy_sum == pytest.approx(1, abs=0.005)


@pytest.mark.slow
@pytest.mark.parametrize("phase", [Decode(batch=4, context=512), Prefill(batch=2, context=256)], ids=lambda p: p.name)
@pytest.mark.parametrize("name", [name for name in system_names() if load_system(name).devices == 1])
def test_sums_of_every_machine(name: str, phase: Phase) -> None:
    found = of_run(load_system(name), phase)
    # Where what bounds an operation changes within the step, its parts are not counted alike from all sides.
    kinked = any(slope.kinked for row in found.rows for slope in row.slopes.values())
    assert found.latency_sum == pytest.approx(-1, abs=0.03 if kinked else 0.005)
    assert found.energy_sum == pytest.approx(1, abs=0.01 if kinked else 0.005)
