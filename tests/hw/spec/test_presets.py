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
JOINED = (  # by NVLink, Infinity Fabric or their host
    *("a100-40gb-pcie", "a100-40gb-sxm", "a100-80gb-sxm", "a30", "a40", "b200-sxm", "h100-pcie", "h100-sxm", "h20"),
    *("h100-96gb-hbm2e", "h200-sxm", "mi210", "mi300x", "rtx-4090", "rtx-a6000"),
)
ALONE = ("a10", "l4", "l40s", "laptop-nvme", "rtx-pro-6000-blackwell")
GPUS = (*ALONE, *JOINED)


def test_the_machines_promised_are_there() -> None:
    others = (
        "a40-xeon",
        "csd-instinfer",
        "h100-xeon",
        "hbm-pim",
        "lamina",
        "laptop-m1-max",
        "phone-ufs4",
        "sn40l-node",
        "tpu-v4i",
        "xeon-ddr5",
    )
    computing_memories = ("aim", "attacc", "duplex", "floatpim", "isaac-crossbar", "neupims", "sot-mram")
    assert set(system_names()) == {*GPUS, *others, *computing_memories, "cxl-expander", "edge-npu", "mx-npu"}


@pytest.mark.parametrize("name", system_names())
def test_every_number_written_has_a_source(name: str) -> None:
    document = parse_yaml((PRESETS / f"{name}.yaml").read_text(), name)
    components = dict(load_system(name).components())
    numbers = [path for path in leaves(document.value) if annotation_at(System, path) in (int, float)]
    assert len(numbers) > 20
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
        assert 0.05e-12 < tier.read_energy_j_per_bit <= tier.write_energy_j_per_bit < 1e-9
    for engine in system.engines.values():
        most = 1e-9 if "mram" in system.tiers else 100e-12  # arrays of gates write thousands of cells an operation
        assert all(0.01e-12 < energy < most for energy in engine.energy_j_per_op.values())


# name, memory tier, capacity, bandwidth, dense bf16 (or fp16) matrix FLOP/s: typed from the vendors' data sheets.
DATA_SHEETS = [
    ("a100-40gb-sxm", "hbm", 40e9, 1555e9, 312e12),
    ("a100-80gb-sxm", "hbm", 80e9, 2039e9, 312e12),
    ("h100-sxm", "hbm", 80e9, 3.35e12, 989.4e12),
    ("h200-sxm", "hbm", 141e9, 4.8e12, 989.4e12),
    ("h100-96gb-hbm2e", "hbm", 96e9, 2.4e12, 989.4e12),
    ("a40", "gddr", 48e9, 696e9, 149.7e12),
    ("rtx-a6000", "gddr", 48e9, 768e9, 154.8e12),
    ("rtx-4090", "gddr", 24e9, 1008e9, 165.2e12),
    ("a10", "gddr", 24e9, 600e9, 125e12),
    ("a30", "hbm", 24e9, 933e9, 165e12),
    ("a100-40gb-pcie", "hbm", 40e9, 1555e9, 312e12),
    ("h100-pcie", "hbm", 80e9, 2000e9, 756e12),
    ("h20", "hbm", 96e9, 4e12, 148e12),
    ("b200-sxm", "hbm", 180e9, 7672e9, 2250e12),
    ("l4", "gddr", 24e9, 300e9, 121e12),
    ("l40s", "gddr", 48e9, 864e9, 362.05e12),
    ("rtx-pro-6000-blackwell", "gddr", 96e9, 1792e9, 503.8e12),
    ("mi210", "hbm", 64e9, 1638.4e9, 181e12),
    ("mi300x", "hbm", 192e9, 5.3e12, 1307.4e12),
    ("laptop-nvme", "gddr", 8 * 2**30, 256e9, 29.1e12),
    ("csd-instinfer", "gddr", 48e9, 768e9, 154.8e12),
    ("xeon-ddr5", "ddr", 512e9, 307.2e9, 114.7e12),
    ("tpu-v4i", "hbm", 8 * 2**30, 614e9, 4 * 128 * 128 * 2 * 1.05e9),
    ("sn40l-node", "hbm", 64 * 2**30, 1.8e12, 638e12),
    ("hbm-pim", "hbm", 24e9, 1228.8e9, 92.3e12),
    ("attacc", "hbm", 80 * 2**30, 5 * 670.4e9, 312e12),
    ("duplex", "hbm", 80e9, 3.352e12, 989.4e12),
    ("neupims", "hbm", 32e9, 32 * 16 * 2 * 1e9, 8 * 128 * 128 * 2 * 1e9),
    ("aim", "gddr", 48e9, 768e9, 154.8e12),
    ("cxl-expander", "ddr", 512e9, 307.2e9, 114.7e12),
    ("edge-npu", "lpddr", 8 * 2**30, 51.2e9, 4.1e12),
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


# Operations of 16-bit matrices in a cycle of one unit, from the makers' white papers: two for each multiply-add of 4
# tensor cores of 128 (GA102, Ada, Blackwell for workstations), 256 (GA100), 512 (Hopper) and 1024 (Blackwell); a
# compute unit has 1024 (CDNA 2) and 2048 (CDNA 3). Stated rates are rounded, and the L40S's is below its clock's.
UNIT_OPS = {
    "a10": 1024,
    "a30": 2048,
    "a100-40gb-pcie": 2048,
    "h100-pcie": 4096,
    "b200-sxm": 8192,
    "l4": 1024,
    "l40s": 1024,
    "rtx-pro-6000-blackwell": 1024,
    "mi210": 1024,
    "mi300x": 2048,
}


@pytest.mark.parametrize("name", UNIT_OPS)
def test_units_and_clock_make_the_stated_rate(name: str) -> None:
    engines = load_system(name).engines
    tensor, vector = engines["tensor"], engines["vector"]
    assert tensor.units is not None
    assert tensor.clock_hz is not None
    assert tensor.throughput("bf16") == pytest.approx(UNIT_OPS[name] * tensor.units * tensor.clock_hz, rel=0.013)
    assert (vector.units, vector.architecture) == (tensor.units, tensor.architecture)


def test_rates_of_the_h20_are_held_back() -> None:
    """Its rate for export is stated, not made by its units: 148 of the 633 TFLOP/s of 78 H100 units at 1.98 GHz."""
    tensor = load_system("h20").engines["tensor"]
    assert tensor.units is not None
    assert tensor.clock_hz is not None
    assert tensor.throughput("bf16") / (4096 * tensor.units * tensor.clock_hz) == pytest.approx(148 / 633, rel=0.01)


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


@pytest.mark.parametrize("name", JOINED)
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
    assert bandwidth("b200-sxm") == 900e9
    assert bandwidth("mi300x") == 7 * 64e9


@pytest.mark.parametrize("name", ALONE)
def test_boards_without_links_exchange_through_the_host(name: str) -> None:
    """What one sends crosses its own slot, as its copies to the host do."""
    system = load_system(name)
    if name == "laptop-nvme":  # has no second board
        assert system.fabric is None
        return
    assert system.fabric is not None
    assert system.fabric.bandwidth_bytes_per_s == system.links["host-pcie"].bandwidth_bytes_per_s


# Engine, and the bandwidth inside over that of the port, by hand: HBM-PIM 8 units every tCCD_L against one column every
# tCCD_S; InstInfer 8 x 1.4 over 7 GB/s; AttAcc 64 banks every 6 clocks over one column every clock (tCCD_S of 2, two
# pseudo-channels); Duplex states 4; NeuPIMs 32 banks every 4 clocks over 2 columns every 2; AiM 512 over 32 GB/s.
INSIDE = [
    ("hbm-pim", "pim", 4.0, 2e-3),
    ("csd-instinfer", "csd", 1.6, 2e-3),
    ("attacc", "attacc", 64 / 6, 0.01),
    ("duplex", "logic-pim", 4.0, 2e-3),
    ("neupims", "pim", 8.0, 2e-3),
    ("aim", "aim", 16.0, 2e-3),
]


@pytest.mark.parametrize(("name", "engine_name", "factor", "tolerance"), INSIDE, ids=str)
def test_near_memory_engines_see_more_than_the_port(
    name: str, engine_name: str, factor: float, tolerance: float
) -> None:
    system = load_system(name)
    engine = system.engines[engine_name]
    assert engine.home_bandwidth_bytes_per_s is not None
    port = system.tiers[engine.home].read_bandwidth_bytes_per_s
    assert engine.home_bandwidth_bytes_per_s / port == pytest.approx(factor, rel=tolerance)


def test_crossbars_of_isaac() -> None:
    """One chip: 41.3 x 10^12 16-bit operations a second (168 x 96 arrays, 1.6 us an input), 66 MB of cells."""
    board = load_system("isaac-crossbar")
    arrays = 64 * 168 * 12 * 8
    assert board.engines["crossbar"].throughput("int16") == pytest.approx(64 * 41.3e12, rel=1e-3)
    assert board.engines["crossbar"].kind == "in-memory"
    assert board.tiers["rram"].capacity_bytes == pytest.approx(arrays * 128 * 128 * 2 / 8, rel=1e-3)
    assert board.tiers["edram"].capacity_bytes == pytest.approx(64 * 168 * 65536, rel=1e-3)


def test_rows_of_floatpim() -> None:
    """One chip has 2^13 blocks of 2^10 rows; an fp32 product and sum take 15,583 gates of 1.1 ns."""
    board = load_system("floatpim")
    rate = 16 * 2**23 * 2 / (15_583 * 1.1e-9)
    assert board.engines["nor-rows"].throughput("fp32") == pytest.approx(rate, rel=5e-3)
    assert board.tiers["rram"].capacity_bytes == pytest.approx(16 * 2**33 / 8, rel=1e-3)


@pytest.mark.parametrize(("name", "home"), [("isaac-crossbar", "rram"), ("floatpim", "rram"), ("sot-mram", "mram")])
def test_arrays_have_a_general_engine_beside_them(name: str, home: str) -> None:
    engines = load_system(name).engines.values()
    assert {engine.home for engine in engines if engine.kind == "in-memory"} == {home}
    assert any(engine.kind == "vector" and engine.home == home for engine in engines)


def test_an_expander_is_reached_over_cxl() -> None:
    system = load_system("cxl-expander")
    assert system.tiers["cxl"].kind == "cxl"
    assert route(system, "cxl", "ddr") == ("cxl", "cxl-link", "ddr")
    # Load to data: 250 ns in all, within the 140 to 410 measured on four devices.
    link = system.links["cxl-link"]
    assert link.latency_s + system.tiers["cxl"].latency_s == pytest.approx(250e-9)
    assert link.bandwidth_bytes_per_s == pytest.approx(8 * 32e9 * 128 / 130 / 8, rel=1e-3)


def test_a_scratchpad_is_worked_out_from_its_macro() -> None:
    pad = load_system("edge-npu").tiers["scratchpad"]
    assert pad.macro is not None
    # 16 banks x 32 bytes in a cycle: more than the 128 bytes that both sides of the array ask for in 1 ns.
    assert pad.read_bandwidth_bytes_per_s > 128e9
    assert pad.sources["read_bandwidth"].text.startswith("banks, ports, word and node")


PROTOCOLS = {
    "host-pcie": ("a40", "pcie-4.0-x16"),
    "attacc-nvlink": ("attacc", "nvlink-3"),
    "cxl-link": ("cxl-expander", "cxl-5.0-x8"),
}


@pytest.mark.parametrize("link", PROTOCOLS)
def test_links_say_what_travels_on_them(link: str) -> None:
    name, protocol = PROTOCOLS[link]
    assert load_system(name).links[link].protocol == protocol


@pytest.mark.parametrize("name", system_names())
def test_every_drive_is_a_device(name: str) -> None:
    for tier in load_system(name).tiers.values():
        if tier.kind == "flash":
            assert tier.device is not None
            assert tier.channels is not None


def test_sn40l_node_adds_up() -> None:
    node = load_system("sn40l-node")
    assert node.devices == 8
    assert node.devices * node.tiers["hbm"].capacity_bytes == 512 * 2**30
    assert node.devices * node.tiers["ddr"].capacity_bytes == 12 * 2**40
    assert not node.tiers["ddr"].shared


def test_components_are_all_reached() -> None:
    paths = [path for path, component in load_system("tpu-v4i").components() if isinstance(component, Component)]
    assert {"engines.mxu.array", "fabric"} <= set(paths)
