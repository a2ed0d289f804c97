"""Cycle fidelity beyond DRAM: engines inside memories, drives, protocols of links, and wear."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hw.spec.load import load_system, override
from hw.spec.system import Fabric, System
from mappers.assign import assign_roles
from mappers.planner.placement import Place
from simulator.memory.drive_service import DriveService
from simulator.memory.flash.drives import load_drive
from simulator.memory.inside import Product, products
from simulator.memory.pim_service import pim_service
from simulator.memory.storage.engines import load_storage_engine
from simulator.memory.storage_service import StorageService
from simulator.policy import Policy
from simulator.result import Result
from simulator.road import simulate
from workloads.errors import InputError
from workloads.models.catalogue import model
from workloads.models.lower import lower
from workloads.phases import Decode, Prefill

HOST_ON_PIM = ["engines.pim.device=hbm-pim", "engines.pim.channels=64", "engines.pim.home_bandwidth=4.096 TB/s"]
ON_UNITS = Policy(assign=assign_roles({"gemm": "pim", "attention": "pim"}))


def pim_machine() -> System:
    return override(load_system("hbm-pim"), HOST_ON_PIM)


def op_time_s(result: Result, name: str) -> float:
    (row,) = {(row.layer, row.time_s) for row in result.ops if row.op == name}
    return row[1]


def test_units_take_the_time_of_their_commands() -> None:
    phase = Decode(1, 2048)
    result = simulate(model("OPT-6.7B"), phase, pim_machine(), policy=ON_UNITS, fidelity="cycle")
    (op,) = {
        op.name: op for layer, _ in lower(model("OPT-6.7B"), phase).layers() for op in layer.ops if op.name == "ffn_up"
    }.values()
    (asked,) = products(op)
    took = pim_service("hbm-pim", 64).serve(asked).seconds
    launch = pim_machine().engines["pim"].launch_overhead_s
    # Beside the product only the bias and the like, on the units as well.
    assert op_time_s(result, "ffn_up") == pytest.approx(took + launch, rel=1e-3)
    # Reading the matrix once inside is the least it can take.
    assert took >= asked.rows * asked.columns * 2 / 4.096e12


def test_what_is_read_inside_does_not_cross_the_port() -> None:
    at_units, at_host = (
        simulate(model("OPT-6.7B"), Decode(1, 512), pim_machine(), policy=policy, fidelity="cycle")
        for policy in (ON_UNITS, Policy())
    )
    weights = 2 * 32 * 12 * 4096**2
    crossed = at_host.moved_bytes["hbm"] - at_units.moved_bytes["hbm"]
    cache = 2 * 2 * 32 * 4096 * 512
    head = 2 * 4096 * 50272
    assert crossed == pytest.approx(weights + cache + head, rel=0.01)
    assert {row.op: row.bytes for row in at_units.ops} == {row.op: row.bytes for row in at_host.ops}


def test_the_note_says_what_units_spend_their_time_on() -> None:
    notes = simulate(model("OPT-125M"), Decode(1, 128), pim_machine(), policy=ON_UNITS, fidelity="cycle").notes
    (units,) = [note for note in notes if note.startswith("pim: ")]
    assert units.startswith("pim: 64 channels of hbm-pim, bank-pair units; longest product")
    assert "compute columns" in units
    assert not [note for note in notes if "states no buffers" in note]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (["engines.pim.device=hbm-pm"], "engines.pim.device: unknown memory that computes 'hbm-pm'; "),
        (["engines.pim.channels=16"], "engines.pim.channels: 16 channels of hbm-pim, bank-pair units read 1.02 TB/s"),
        (["engines.pim.home_bandwidth=1 TB/s"], "home_bandwidth says 1.00 TB/s"),
    ],
)
def test_units_that_do_not_fit_are_refused(changes: list[str], words: str) -> None:
    system = override(pim_machine(), changes)
    with pytest.raises(InputError) as caught:
        simulate(model("OPT-125M"), Decode(1, 128), system, policy=ON_UNITS, fidelity="cycle")
    assert words in str(caught.value)


def test_formats_units_do_not_have_are_refused_with_the_operation() -> None:
    with pytest.raises(InputError, match=r"engines\.pim\.device \(q_down: format_bits\): found 8 bits"):
        simulate(
            model("DeepSeek-V3"),
            Decode(1, 128),
            override(pim_machine(), ["tiers.hbm.capacity=2 TB"]),
            policy=ON_UNITS,
            fidelity="cycle",
        )


LAPTOP = ["tiers.ssd.device=ssd-m1-max", "tiers.lpddr.capacity=8 GB"]


def test_a_cache_on_flash_is_read_in_blocks() -> None:
    # Keys of 16 tokens lie together: 16 x 12 heads x 64 x 2 B = 24 KiB, counted as 16 KiB. On this drive those reads
    # reach 2.25 GB/s where reading in order reaches 6.1 (LLM in a flash, table 2): the cache takes 2.7 times as long.
    system = override(load_system("laptop-m1-max"), LAPTOP)
    policy = Policy(place=Place().pin("kv_cache", "ssd"))
    cycle = simulate(model("OPT-125M"), Decode(1, 1008), system, policy=policy, fidelity="cycle")
    roofline = simulate(model("OPT-125M"), Decode(1, 1008), system, policy=policy)
    read = 12 * 2 * 12 * 64 * 1008 * 2
    in_order_s = read / 6.1e9
    waited = cycle.latency_s - roofline.latency_s
    assert waited == pytest.approx((6.1 / 2.25 - 1) * in_order_s, rel=0.1)


def test_headers_leave_a_link_less_than_its_rate() -> None:
    # Completions of 256 bytes behind 20: streamed weights take 276/256 of the time at the line rate.
    plain = load_system("rtx-4090")
    named = override(plain, ["links.host-pcie.protocol=pcie-4.0-x16", "tiers.gddr.capacity=8 GB"])
    bare = override(plain, ["tiers.gddr.capacity=8 GB", "links.host-pcie.protocol=null"])
    results = [simulate(model("Llama-3.1-8B"), Decode(1, 512), at, fidelity="cycle") for at in (named, bare)]
    busy = [result.utilisation["host-pcie:ddr>gddr"] * result.latency_s for result in results]
    assert busy[0] / busy[1] == pytest.approx(276 / 256, rel=0.01)
    assert any(note.startswith("host-pcie: pcie-4.0-x16, 0.928 of its rate") for note in results[0].notes)


@pytest.mark.parametrize(
    ("setting", "words"),
    [
        ("links.host-pcie.protocol=pcie-5.0-x16", "links.host-pcie.protocol: pcie-5.0-x16 carries 63.02 GB/s, bandwid"),
        ("links.host-pcie.protocol=pci-4.0-x16", "links.host-pcie.protocol: unknown link 'pci-4.0-x16'"),
    ],
)
def test_protocols_that_do_not_fit_are_refused(setting: str, words: str) -> None:
    with pytest.raises(InputError) as caught:
        simulate(model("OPT-125M"), Decode(1, 64), override(load_system("rtx-4090"), [setting]), fidelity="cycle")
    assert words in str(caught.value)


def test_an_engine_in_a_drive_attends_as_fast_as_pages_reach_it() -> None:
    # OPT-13B, 16 sequences of 1024 tokens: 13.42 GB of keys and values; 8 channels of 1.4 GB/s (InstInfer, arXiv
    # 2409.04992) bound what an engine inside the drive reads, the link of 7 GB/s does not.
    changes = ["tiers.flash.device=ssd-instinfer-csd", "engines.csd.device=instinfer"]
    system = override(load_system("csd-instinfer"), changes)
    policy = Policy(assign=assign_roles({"attention": "csd"}), place=Place().pin("kv_cache", "flash"))
    result = simulate(model("OPT-13B"), Decode(16, 1024), system, policy=policy, fidelity="cycle")
    stored = 2 * 40 * 5120 * 2 * 16 * 1024
    assert stored == pytest.approx(13.42e9, rel=1e-3)
    attended = 40 * op_time_s(result, "attention")
    assert stored / 11.2e9 < attended < stored / 5.5e9
    # Only vectors cross the drive's port: the new keys and values, queries in and results out; the engine reads and
    # writes these once more.
    vectors = 40 * 16 * 5120 * 2 * (2 + 2 + 2)
    assert result.moved_bytes["flash"] == pytest.approx(vectors, rel=0.01)


def test_an_engine_in_a_tier_without_a_drive_is_refused() -> None:
    system = override(
        load_system("csd-instinfer"),
        ["tiers.flash.device=null", "tiers.flash.channels=null", "engines.csd.device=instinfer"],
    )
    with pytest.raises(InputError, match=r"engines\.csd\.device: its home tier 'flash' names no drive"):
        simulate(model("OPT-125M"), Decode(1, 64), system, fidelity="cycle")


def test_writing_wears_a_drive() -> None:
    # One token's keys and values of 12 layers, 12 heads of 64: 36,864 bytes a step.
    system = override(load_system("csd-instinfer"), ["tiers.flash.device=ssd-instinfer-csd"])
    policy = Policy(place=Place().pin("kv_cache", "flash"))
    result = simulate(model("OPT-125M"), Decode(1, 512), system, policy=policy, fidelity="cycle")
    (wear,) = [note for note in result.notes if "cycles last" in note]
    assert wear.startswith("flash: 0.0369 MB written in ")
    years = float(wear.split(" years")[0].split()[-1])
    # 3000 cycles of all 8 x 8 x 4 x 2048 x 1024 pages of 4 KiB.
    assert years == pytest.approx(3000 * 2**29 * 4096 / (36864 / result.latency_s) / 31557600, rel=0.01)


def test_the_hosts_products_stay_at_the_host() -> None:
    # Beside a matrix engine the units of this machine only do what is not a contraction.
    roofline, cycle = (
        simulate(model("OPT-125M"), Prefill(1, 256), load_system("neupims"), fidelity=depth)
        for depth in ("roofline", "cycle")
    )
    assert roofline.latency_s <= cycle.latency_s < 1.5 * roofline.latency_s
    assert not [note for note in cycle.notes if note.startswith("pim: ")]


@pytest.mark.parametrize("depth", ["roofline", "cycle"])
@pytest.mark.parametrize(("name", "engine"), [("attacc", "attacc"), ("aim", "aim"), ("csd-instinfer", "csd")])
def test_nothing_is_faster_than_its_bounds(name: str, engine: str, depth: str) -> None:
    policy = Policy(assign=assign_roles({"attention": engine}))
    result = simulate(model("OPT-125M"), Decode(4, 1024), load_system(name), policy=policy, fidelity=depth)
    assert result.bounds.latency_s <= result.latency_s * (1 + 1e-9)


@pytest.mark.parametrize("depth", ["roofline", "cycle"])
def test_devices_take_turns_at_a_shared_drive(depth: str) -> None:
    # One drive with one engine for all: four devices, each with a quarter of the heads, get through no faster.
    alone = load_system("csd-instinfer")
    fabric = Fabric.model_validate({"topology": "switch", "bandwidth": "100 GB/s"})
    four = alone.model_copy(update={"devices": 4, "fabric": fabric})
    policy = Policy(assign=assign_roles({"attention": "csd"}), place=Place().pin("kv_cache", "flash"))
    times = [
        op_time_s(simulate(model("OPT-125M"), Decode(8, 2048), at, policy=policy, fidelity=depth), "attention")
        for at in (alone, four)
    ]
    assert times[1] > 0.95 * times[0]


def test_heads_go_to_drives_whole() -> None:
    drive = DriveService(load_drive("ssd-instinfer-csd"), 1, 32, 32, 7e9, 3.78e9)
    services = [
        StorageService(replace(drive, drives=count), load_storage_engine("instinfer"), 0.0) for count in (1, 4, 12, 24)
    ]
    keys = Product(2048, 64, 1, 12, 16, grows=True, new_rows=1.0)
    one, four, twelve, more = (service.serve(keys).seconds for service in services)
    assert one > four > twelve == more
    # A page is read from its cells, 50 us at least, before it can be used.
    assert twelve > 50e-6


def test_activations_that_pass_a_drive_do_not_wear_it() -> None:
    system = load_system("csd-instinfer")
    policy = Policy(assign=assign_roles({"attention": "csd"}), place=Place().pin("kv_cache", "flash"))
    result = simulate(model("OPT-125M"), Decode(1, 512), system, policy=policy, fidelity="cycle")
    (wear,) = [note for note in result.notes if "cycles last" in note]
    # Keys and values of one token: 12 layers x 2 x 768 x 2 B.
    assert wear.startswith("flash: 0.0369 MB written in ")
