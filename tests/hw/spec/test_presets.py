"""The bundled systems: every number has a source, and the numbers are those of the data sheets."""

from __future__ import annotations

from pathlib import Path

import pytest

from hw.spec.component import Component
from hw.spec.load import load_system, override, system_names
from hw.spec.paths import route
from hw.spec.system import System
from tests.hw.spec.machines import leaves
from workloads.documents import dotted, parse_yaml
from workloads.validation import annotation_at

PRESETS = Path(__file__).resolve().parents[3] / "hw" / "spec" / "presets"
GPUS = ("a100-40gb-sxm", "a100-80gb-sxm", "a40", "h100-sxm", "h200-sxm", "laptop-nvme", "rtx-4090", "rtx-a6000")


def test_the_machines_promised_are_there() -> None:
    others = ("csd-instinfer", "hbm-pim", "laptop-m1-max", "phone-ufs4", "sn40l-node", "tpu-v4i", "xeon-ddr5")
    assert set(system_names()) == {*GPUS, *others}


@pytest.mark.parametrize("name", system_names())
def test_every_number_written_has_a_source(name: str) -> None:
    document = parse_yaml((PRESETS / f"{name}.yaml").read_text(), name)
    components = dict(load_system(name).components())
    numbers = [path for path in leaves(document.value) if annotation_at(System, path) in (int, float)]
    assert len(numbers) > 25
    for path in numbers:
        owner = max((key for key in components if dotted(path).startswith(f"{key}." if key else "")), key=len)
        field = dotted(path)[len(owner) :].lstrip(".")
        sources = components[owner].sources
        assert field in sources or field.split(".")[0] in sources, f"{dotted(path)} has no source"


@pytest.mark.parametrize("name", system_names())
def test_sources_say_something(name: str) -> None:
    for path, component in load_system(name).components():
        for field, source in component.sources.items():
            assert len(source.text) >= 12, f"{path}.{field}: {source}"


@pytest.mark.parametrize("name", system_names())
def test_files_are_named_after_their_system_and_described(name: str) -> None:
    system = load_system(name)
    assert system.name == name
    assert len(system.description) > 40


@pytest.mark.parametrize("name", system_names())
def test_fields_left_out_are_those_without_a_number(name: str) -> None:
    system = load_system(name)
    for tier in system.tiers.values():
        assert min(tier.read_energy_j_per_bit, tier.write_energy_j_per_bit) > 0
        assert tier.granularity_bytes <= 16384
    for engine in system.engines.values():
        assert set(engine.energy_j_per_op) == set(engine.throughput_ops_per_s)
        assert engine.launch_overhead_s > 0


@pytest.mark.parametrize("name", system_names())
def test_every_energy_is_physically_plausible(name: str) -> None:
    system = load_system(name)
    for tier in system.tiers.values():
        assert 0.1e-12 < tier.read_energy_j_per_bit <= tier.write_energy_j_per_bit < 1e-9
    for engine in system.engines.values():
        assert all(0.01e-12 < energy < 100e-12 for energy in engine.energy_j_per_op.values())


# name, memory tier, capacity, bandwidth, dense bf16 (or fp16) matrix FLOP/s: typed from the vendors' data sheets.
DATA_SHEETS = [
    ("a100-40gb-sxm", "hbm", 40e9, 1555e9, 312e12),
    ("a100-80gb-sxm", "hbm", 80e9, 2039e9, 312e12),
    ("h100-sxm", "hbm", 80e9, 3.35e12, 989.4e12),
    ("h200-sxm", "hbm", 141e9, 4.8e12, 989.4e12),
    ("a40", "gddr", 48e9, 696e9, 149.7e12),
    ("rtx-a6000", "gddr", 48e9, 768e9, 154.8e12),
    ("rtx-4090", "gddr", 24e9, 1008e9, 165.2e12),
    ("laptop-nvme", "gddr", 8 * 2**30, 256e9, 29.1e12),
    ("csd-instinfer", "gddr", 48e9, 768e9, 154.8e12),
    ("xeon-ddr5", "ddr", 512e9, 307.2e9, 114.7e12),
    ("tpu-v4i", "hbm", 8 * 2**30, 614e9, 4 * 128 * 128 * 2 * 1.05e9),
    ("sn40l-node", "hbm", 64 * 2**30, 1.8e12, 638e12),
    ("hbm-pim", "hbm", 24e9, 1228.8e9, 92.3e12),
]


@pytest.mark.parametrize(("name", "memory", "capacity", "bandwidth", "rate"), DATA_SHEETS, ids=str)
def test_numbers_of_the_data_sheets(name: str, memory: str, capacity: float, bandwidth: float, rate: float) -> None:
    system = load_system(name)
    tier = system.tiers[memory]
    matrix = next(engine for engine in system.engines.values() if engine.kind == "matrix")
    assert tier.capacity_bytes == capacity
    assert tier.read_bandwidth_bytes_per_s == pytest.approx(bandwidth, rel=1e-3)
    assert matrix.throughput("bf16") == pytest.approx(rate, rel=1e-3)
    assert matrix.home == memory


def test_8_bit_rates() -> None:
    assert load_system("h100-sxm").engines["tensor"].throughput("fp8_e4m3") == 1978.9e12
    assert load_system("a100-80gb-sxm").engines["tensor"].throughput("int8") == 624e12
    assert "fp8_e4m3" not in load_system("a100-80gb-sxm").engines["tensor"].throughput_ops_per_s
    assert load_system("rtx-4090").engines["tensor"].throughput("int8") == 660.6e12


@pytest.mark.parametrize("name", GPUS)
def test_gpus_can_spill_to_host_memory_and_drive(name: str) -> None:
    system = load_system(name)
    assert {engine.kind for engine in system.engines.values()} == {"matrix", "vector"}
    home = system.engines["tensor"].home
    assert system.engines["vector"].home == home
    assert {name for name, tier in system.tiers.items() if tier.shared} == {"ddr", "nvme"}
    assert route(system, "nvme", home) == ("nvme", "drive-pcie", "ddr", "host-pcie", home)
    assert not system.links["host-pcie"].shared
    assert system.links["drive-pcie"].shared


@pytest.mark.parametrize("name", [name for name in GPUS if name != "laptop-nvme"])
def test_more_devices_by_override(name: str) -> None:
    assert override(load_system(name), ["devices=2"]).devices == 2


def test_fabrics_count_one_direction() -> None:
    def bandwidth(name: str) -> float:
        fabric = load_system(name).fabric
        assert fabric is not None
        return fabric.bandwidth_bytes_per_s

    assert bandwidth("h100-sxm") == 450e9
    assert bandwidth("a100-80gb-sxm") == 300e9
    assert bandwidth("a40") == 56.25e9


def test_near_memory_engines_see_more_than_the_port() -> None:
    for name, engine_name, factor in (("hbm-pim", "pim", 4.0), ("csd-instinfer", "csd", 1.6)):
        system = load_system(name)
        engine = system.engines[engine_name]
        assert engine.home_bandwidth_bytes_per_s is not None
        port = system.tiers[engine.home].read_bandwidth_bytes_per_s
        assert engine.home_bandwidth_bytes_per_s / port == pytest.approx(factor, rel=2e-3)


def test_sn40l_node_adds_up() -> None:
    node = load_system("sn40l-node")
    assert node.devices == 8
    assert node.devices * node.tiers["hbm"].capacity_bytes == 512 * 2**30
    assert node.devices * node.tiers["ddr"].capacity_bytes == 12 * 2**40
    assert not node.tiers["ddr"].shared


def test_components_are_all_reached() -> None:
    paths = [path for path, component in load_system("tpu-v4i").components() if isinstance(component, Component)]
    assert {"engines.mxu.array", "fabric"} <= set(paths)
