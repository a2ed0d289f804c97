"""Systems from documents and from Python: what is refused, where, and in which words."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from hw.spec.load import load_system
from hw.spec.system import Engine, Link, System, Tier
from tests.hw.spec.machines import small
from workloads.errors import InputError


def test_small_machine() -> None:
    system = small()
    assert system.tiers["ddr"].capacity_bytes == 16 * 2.0**30
    assert system.tiers["disk"].shared
    assert system.links["bus"].between == ("disk", "ddr")
    assert system.engines["core"].throughput("bf16") == 1e12
    assert [path for path, _ in system.components()] == [
        "",
        "engines.core",
        "tiers.ddr",
        "tiers.cache",
        "tiers.disk",
        "links.bus",
    ]


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "capacity: 16 GiB",
            "capasity: 16 GiB",
            "small.yaml:11: tiers.ddr.capasity: unknown key 'capasity'; expected one of capacity, channels, device, "
            "granularity, holds, kind, latency, macro, mapping, read_bandwidth, read_energy, read_queue and 6 more; "
            "did you mean 'capacity'?",
        ),
        ("name: small\n", "", "small.yaml:1: name: missing key 'name'"),
        ("    kind: flash\n", "", "small.yaml:22: tiers.disk.kind: missing key 'kind'"),
        (
            "capacity: 16 GiB",
            "capacity: 16",
            "small.yaml:11: tiers.ddr.capacity: the number 16 has no unit; "
            "expected a number of bytes with its unit, such as '80 GB'",
        ),
        (
            "bandwidth: 8 GB/s",
            "bandwidth: 8 GB",
            "small.yaml:31: links.bus.bandwidth: '8 GB' is a number of bytes; "
            "expected a bandwidth with its unit, such as '3.35 TB/s'",
        ),
        (
            "kind: sram",
            "kind: sarm",
            "small.yaml:17: tiers.cache.kind: found 'sarm'; "
            "expected 'sram', 'hbm', 'dram', 'cxl', 'flash', 'rram' or 'mram'; did you mean 'sram'?",
        ),
        (
            "holds: tiles",
            "holds: [tiles]",
            "small.yaml:21: tiers.cache.holds: found a list; expected 'tensors' or 'tiles'",
        ),
        ("shared: true", "shared: yes", "small.yaml:27: tiers.disk.shared: found 'yes'; expected true or false"),
        (
            "{fp32: 1 TFLOP/s}",
            "{fp31: 1 TFLOP/s}",
            "small.yaml:6: engines.core.throughput.fp31: unknown number format 'fp31'; expected one of bf16, bfp4, "
            "bfp6, bitmod_fp3, bitmod_fp4, bool, dfloat11, fp16, fp32, fp4_e2m1, fp64, fp6_e2m3 and 26 more; "
            "did you mean 'fp32'?",
        ),
        (
            "{fp32: 1 TFLOP/s}",
            "{}",
            "small.yaml:6: engines.core.throughput: found a mapping; expected at least 1 entries",
        ),
        (
            "{fp32: 1 TFLOP/s}",
            "1 TFLOP/s",
            "small.yaml:6: engines.core.throughput: found '1 TFLOP/s'; expected a mapping",
        ),
        ("[disk, ddr]", "[disk]", "small.yaml:30: links.bus.between[1]: missing entry"),
        ("[disk, ddr]", "disk", "small.yaml:30: links.bus.between: found 'disk'; expected a list"),
        ("name: small", "name: small\ndevices: 0", "small.yaml:2: devices: found 0; expected more than 0"),
        ("name: small", "name: small\ndevices: 1.5", "small.yaml:2: devices: found 1.5; expected a whole number"),
        ("name: small", "name: ''", "small.yaml:1: name: found ''; expected text of at least 1 characters"),
        (
            "  ddr:\n",
            "  d.r:\n",
            "small.yaml:9: tiers.d.r: found 'd.r'; "
            "expected a name of at most 40 letters, digits, '-' and '_' that starts with a letter",
        ),
        (
            "stated: data sheet",
            "a data sheet",
            "small.yaml:15: tiers.ddr.sources.capacity: 'a data sheet' does not say its kind; expected "
            "'kind: where the number is from' with kind stated, derived, fitted or synthetic",
        ),
    ],
)
def test_a_wrong_field_is_refused_with_this_text(old: str, new: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        small((old, new))
    assert str(caught.value) == message


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "[disk, ddr]",
            "[disc, ddr]",
            "small.yaml:30: links.bus.between[0]: unknown tier 'disc'; expected one of cache, ddr, disk; "
            "did you mean 'disk'?",
        ),
        ("[disk, ddr]", "[ddr, ddr]", "small.yaml:30: links.bus.between: joins 'ddr' to itself; expected two tiers"),
        (
            "  bus:",
            "  ddr:",
            "small.yaml:29: links.ddr: 'ddr' is a tier's name too; expected another name for the link",
        ),
        (
            "  core:",
            "  disk:",
            "small.yaml:3: engines.disk: 'disk' is a tier's name too; expected another name for the engine",
        ),
        (
            "home: ddr",
            "home: drr",
            "small.yaml:5: engines.core.home: unknown tier 'drr'; expected one of cache, ddr, disk; "
            "did you mean 'ddr'?",
        ),
        (
            "home: ddr",
            "home: cache",
            "small.yaml:5: engines.core.home: tier 'cache' holds tiles only; "
            "expected a tier that holds tensors: ddr, disk",
        ),
        (
            "[cache]",
            "[cash]",
            "small.yaml:7: engines.core.buffers[0]: unknown tier 'cash'; expected one of cache, ddr, disk; "
            "did you mean 'cache'?",
        ),
        (
            "name: small",
            "name: small\ndevices: 4",
            "small.yaml:2: devices: 4 devices have no fabric; expected 1, or a fabric that joins the devices",
        ),
        (
            "kind: dram",
            "kind: dram\n    channels: 2",
            "small.yaml:11: tiers.ddr.channels: given without a device; expected tiers.ddr.device beside it",
        ),
        (
            "kind: dram",
            "kind: dram\n    device: DDR4-3200",
            "small.yaml:11: tiers.ddr.device: 'DDR4-3200' is one channel; "
            "expected tiers.ddr.channels: how many of them the tier has",
        ),
        (
            "kind: sram",
            "kind: sram\n    read_queue: 32",
            "small.yaml:18: tiers.cache.read_queue: a tier of kind 'sram' is made of neither DRAM nor flash; "
            "expected none, or a tier of kind hbm, dram, cxl or flash",
        ),
        (
            'capacity: "stated',
            'capacyti: "stated',
            "small.yaml:15: tiers.ddr.sources.capacyti: unknown field 'capacyti'; "
            "expected one of capacity, channels, device, granularity, holds, kind, latency, macro, mapping, "
            "read_bandwidth, read_energy, read_queue and 5 more; "
            "did you mean 'capacity'?",
        ),
    ],
)
def test_parts_that_contradict_each_other_are_refused_with_this_text(old: str, new: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        small((old, new))
    assert str(caught.value) == message


def test_a_tier_that_no_link_reaches_is_refused_with_this_text() -> None:
    with pytest.raises(InputError) as caught:
        small(("[disk, ddr]", "[disk, cache]"), ("buffers: [cache]", "buffers: []"))
    assert str(caught.value) == (
        "small.yaml:22: tiers.disk: no links lead from tier 'disk' to 'ddr', the home of engine 'core'; "
        "expected a link between the two, direct or through other tiers"
    )


def test_a_buffer_that_holds_tensors_needs_no_link() -> None:
    system = small(("    holds: tiles\n", ""))
    assert system.tiers["cache"].holds == "tensors"


def test_of_several_mistakes_the_first_in_the_file_is_told() -> None:
    with pytest.raises(InputError) as caught:
        small(("bandwidth: 8 GB/s", "bandwidth: 8"), ("kind: dram", "kind: drum"), ("shared: true", "shared: 1"))
    assert (caught.value.line, caught.value.field) == (10, "tiers.ddr.kind")


def test_python_builds_a_system_by_attribute_names_with_si_floats() -> None:
    tier = Tier(
        kind="dram", capacity_bytes=80e9, read_bandwidth_bytes_per_s=1e12, write_bandwidth_bytes_per_s=1e12, latency_s=0
    )
    engine = Engine(kind="cpu", home="ram", throughput_ops_per_s={"fp32": 1e12})
    system = System(name="made", engines={"cpu": engine}, tiers={"ram": tier})
    assert system.tiers["ram"].capacity_bytes == 80e9
    with pytest.raises(InputError, match="unknown tier 'disk'"):
        System(
            name="made",
            engines={"cpu": engine},
            tiers={"ram": tier},
            links={"bus": Link(between=("ram", "disk"), bandwidth_bytes_per_s=1e9)},
        )
    with pytest.raises(ValidationError, match="too small"):
        Tier(kind="dram", capacity_bytes=0, read_bandwidth_bytes_per_s=1e12, write_bandwidth_bytes_per_s=1e12)


def test_a_missing_format_is_computed_within_its_family() -> None:
    matrix = next(engine for engine in load_system("a100-80gb-sxm").engines.values() if engine.kind == "matrix")
    assert matrix.throughput("fp8_e4m3") == matrix.throughput("bf16") == 312e12
    assert matrix.energy("fp8_e4m3") == matrix.energy("bf16")
    assert matrix.throughput("fp4_e2m1") == matrix.throughput("bf16")


@pytest.mark.parametrize(
    ("listed", "asked", "taken"),
    [
        ("int8 fp16 fp32", "fp8_e4m3", "fp16"),
        ("int8 fp16 int16", "int4", "int8"),
        ("int8 fp32 fp16", "int16", "fp16"),
        ("int8 int32 fp16", "int16", "int32"),
        ("int32 fp16", "fp32", "fp16"),
        ("int8 int16 fp16", "int32", "int16"),
        ("fp8_e4m3 fp16", "int32", "fp16"),
        ("int8 int16", "fp8_e4m3", "int16"),
    ],
)
def test_the_format_that_stands_in_for_a_missing_one(listed: str, asked: str, taken: str) -> None:
    rates = {name: 1e12 + place for place, name in enumerate(listed.split())}
    engine = Engine(kind="cpu", home="ram", throughput_ops_per_s=rates, energy_j_per_op=rates)
    assert engine.throughput(asked) == rates[taken]
    assert engine.energy(asked) == rates[taken]
