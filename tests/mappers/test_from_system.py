"""Machines derived from system descriptions, against the presets' own numbers."""

from __future__ import annotations

import pytest

from hw.spec.load import load_system, override, system_names
from mappers.assign import fastest_in
from mappers.from_system import engine_hierarchy
from workloads.errors import InputError


def test_a_gpu_is_its_memory_its_cache_and_two_engines() -> None:
    machine = engine_hierarchy(load_system("a100-80gb-sxm"), "tensor", "vector", "bf16")
    assert list(machine.levels) == ["hbm", "l2"]
    hbm, l2 = machine.levels.values()
    # NVIDIA A100 80GB data sheet and white paper: 2.039 TB/s, 40 MB, 312 TFLOP/s in bf16, 19.5 in fp32.
    assert (hbm.bandwidth_bytes_per_s, hbm.capacity_bytes) == (2.039e12, None)
    assert (l2.capacity_bytes, l2.bandwidth_bytes_per_s, l2.read_energy_j_per_bit) == (40e6, None, 0.0)
    assert (hbm.keep, hbm.may_keep) == (("not intermediate",), ("all",))
    assert (l2.keep, l2.may_keep) == (("not hbm",), ("all",))
    tensor, vector = machine.units["tensor"], machine.units["vector"]
    assert tensor.clock_hz == 312e12 / 2
    assert tensor.cost("mac") == (1.0, pytest.approx(2 * 0.901e-12))
    assert (tensor.takes, vector.takes) == ("contraction", "other")
    assert vector.clock_hz == 19.5e12
    assert vector.cost("exp") == (1.0, pytest.approx(14.4e-12))


def test_an_array_is_two_fan_outs_with_one_weight_each() -> None:
    machine = engine_hierarchy(load_system("tpu-v4i"), "mxu", "vpu", "bf16")
    assert list(machine.levels) == ["hbm", "cmem", "vmem", "elements"]
    elements = machine.levels["elements"]
    assert {name: (f.size, f.reuse) for name, f in elements.fanout.items()} == {
        "columns": (128, "input"),
        "rows": (128, "output"),
    }
    assert elements.capacity_bytes == 2
    mxu = machine.units["mxu"]
    # Four arrays at 1.05 GHz count as one at 4.2 GHz (the preset states 137.6 TFLOP/s).
    assert mxu.clock_hz * elements.instances * 2 == pytest.approx(137.6e12)
    assert mxu.clock_hz == pytest.approx(4 * 1.05e9, rel=1e-3)
    assert machine.units["vpu"].parent == "vmem"
    # The outer buffer keeps its ports and energies, and with an array below so does the inner one.
    assert machine.levels["cmem"].read_bandwidth_bytes_per_s == 2.048e12
    assert machine.levels["cmem"].write_bandwidth_bytes_per_s == 1.024e12
    assert (
        machine.levels["vmem"].read_bandwidth_bytes_per_s
        == load_system("tpu-v4i").tiers["vmem"].read_bandwidth_bytes_per_s
    )
    assert machine.levels["vmem"].read_energy_j_per_bit == pytest.approx(0.249e-12)


def test_one_engine_for_everything_charges_each_kind_its_rate() -> None:
    system = load_system("laptop-m1-max")
    machine = engine_hierarchy(system, "gpu", "gpu", "fp16")
    gpu = machine.units["gpu"]
    assert list(machine.units) == ["gpu"]
    assert gpu.clock_hz / gpu.cost("exp")[0] == pytest.approx(system.engines["gpu"].throughput("fp32"))
    assert 2 * gpu.clock_hz == system.engines["gpu"].throughput("fp16")


def test_directions_with_different_rates_are_two_ports() -> None:
    system = override(load_system("a100-80gb-sxm"), ["tiers.hbm.write_bandwidth=1 TB/s"])
    hbm = engine_hierarchy(system, "tensor", "vector").levels["hbm"]
    ports = (hbm.bandwidth_bytes_per_s, hbm.read_bandwidth_bytes_per_s, hbm.write_bandwidth_bytes_per_s)
    assert ports == (None, 2.039e12, 1e12)


def test_sources_carry_over_as_derived() -> None:
    machine = engine_hierarchy(load_system("a100-80gb-sxm"), "tensor", "vector")
    source = machine.levels["l2"].sources["capacity"]
    assert source.kind == "derived"
    assert "A100" in source.text


@pytest.mark.parametrize("name", system_names())
def test_every_preset_with_buffers_is_a_machine(name: str) -> None:
    system = load_system(name)
    engines = fastest_in("bf16", system)
    main = system.engines[engines.contraction]
    if not main.buffers:
        with pytest.raises(InputError, match="has no buffers"):
            engine_hierarchy(system, engines.contraction, engines.other)
        return
    machine = engine_hierarchy(system, engines.contraction, engines.other)
    assert machine.root == main.home
    assert len(machine.levels) == 1 + len(main.buffers) + (main.array is not None)


def test_engines_that_do_not_exist_or_live_elsewhere_are_refused() -> None:
    with pytest.raises(InputError, match="unknown engine 'tensr'"):
        engine_hierarchy(load_system("a100-80gb-sxm"), "tensr", "vector")
    csd = load_system("csd-instinfer")
    away = next(name for name, engine in csd.engines.items() if engine.home == "flash")
    with pytest.raises(InputError, match="unknown engine at gddr"):
        engine_hierarchy(csd, "tensor", away)
