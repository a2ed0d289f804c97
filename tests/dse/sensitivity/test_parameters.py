"""The numbers of a machine, found by walking it, and changes of them."""

from __future__ import annotations

import pytest

from dse.sensitivity.parameters import changed, parameters_of, read_change
from hw.spec.load import load_system, override, system_names
from hw.spec.system import System
from workloads.errors import InputError


def machine() -> System:
    """One engine, one tier: every quantity is listed in the first test."""
    return System.model_validate(
        {
            "name": "small",
            "devices": 2,
            "static_power": "3 W",
            "engines": {
                "array": {
                    "kind": "vector",
                    "home": "dram",
                    "throughput": {"bf16": "2 TOP/s", "int8": "4 TOP/s"},
                    "launch_overhead": "1 us",
                    "array": {"rows": 8, "columns": 4},
                }
            },
            "tiers": {
                "dram": {"kind": "dram", "capacity": "8 GB", "read_bandwidth": "50 GB/s", "write_bandwidth": "40 GB/s"}
            },
            "fabric": {"topology": "ring", "bandwidth": "10 GB/s"},
        }
    )


def test_every_quantity_by_the_path_that_sets_it() -> None:
    # Latencies and energies are not given, so they are zero; rows, columns and devices are whole numbers.
    found = {each.path: (each.value, each.seconds, each.joules) for each in parameters_of(machine())}
    assert found == {
        "static_power": (3.0, -1, 1),
        "engines.array.throughput.bf16": (2e12, -1, 0),
        "engines.array.throughput.int8": (4e12, -1, 0),
        "engines.array.launch_overhead": (1e-6, 1, 0),
        "tiers.dram.capacity": (8e9, 0, 0),
        "tiers.dram.read_bandwidth": (50e9, -1, 0),
        "tiers.dram.write_bandwidth": (40e9, -1, 0),
        "tiers.dram.granularity": (64.0, 0, 0),
        "fabric.bandwidth": (10e9, -1, 0),
    }


@pytest.mark.parametrize("name", system_names())
def test_every_path_is_one_that_set_takes(name: str) -> None:
    system = load_system(name)
    found = parameters_of(system)
    again = override(system, [f"{each.path}={each.text}" for each in found])
    values = {each.path: each.value for each in parameters_of(again)}
    for each in found:
        assert values[each.path] == pytest.approx(each.value, rel=1e-3)  # text has four digits


def test_a_rate_that_follows_a_stated_clock_is_no_parameter() -> None:
    system = override(load_system("mx-npu"), ["engines.array.rtl.clock=1 GHz"])
    paths = [each.path for each in parameters_of(system)]
    assert "engines.array.rtl.clock" in paths
    assert "engines.array.throughput.mxfp4" not in paths
    (clock,) = (each for each in parameters_of(system) if each.path == "engines.array.rtl.clock")
    rate = system.engines["array"].throughput("mxfp4")
    assert changed(system, [clock], 1.5).engines["array"].throughput("mxfp4") == pytest.approx(1.5 * rate, rel=1e-5)


@pytest.mark.parametrize(
    ("text", "path", "value", "said"),
    [
        ("dram.bandwidth=+20%", "tiers.dram.write_bandwidth", 48e9, "tiers.dram.bandwidth: 2 numbers, times 1.2"),
        ("tiers.dram.read_bandwidth=-50%", "tiers.dram.read_bandwidth", 25e9, "50 GB/s -> 25 GB/s"),
        ("dram.bandwidth=100 GB/s", "tiers.dram.write_bandwidth", 100e9, "tiers.dram.bandwidth: 2 numbers"),
        ("array.throughput=x2", "engines.array.throughput.int8", 8e12, "2 numbers, times 2"),
        ("array.throughput.int8=x0.5", "engines.array.throughput.int8", 2e12, "4 TOP/s -> 2 TOP/s"),
        ("array.launch_overhead='2 us'", "engines.array.launch_overhead", 2e-6, "1 us -> 2 us"),
        ("static_power=+1e2%", "static_power", 6.0, "static_power: 3 W -> 6 W"),
        ("fabric.bandwidth=x3", "fabric.bandwidth", 30e9, "fabric.bandwidth: 10 GB/s -> 30 GB/s"),
    ],
)
def test_changes(text: str, path: str, value: float, said: str) -> None:
    change = read_change(machine(), text)
    assert {each.path: each.value for each in parameters_of(change.system)}[path] == pytest.approx(value)
    assert said in change.said


def test_whole_numbers_change_too() -> None:
    assert read_change(machine(), "devices=x2").system.devices == 4
    assert read_change(machine(), "devices=3").said == "devices: 2 -> 3"
    assert read_change(machine(), "engines.array.array.rows=x2").system.engines["array"].array.rows == 16  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("darm.bandwidth=+20%", "did you mean 'dram'"),
        ("dram.bandwith=+20%", "did you mean 'tiers.dram.bandwidth'"),
        ("dram.bandwith=3 GB/s", "did you mean 'read_bandwidth'"),
        ("tiers.darm.bandwidth=x2", "did you mean 'tiers.dram.bandwidth'"),
        ("dram.latency=+20%", "that is not zero"),
        ("dram=x2", "expected one of tiers.dram.capacity"),
        ("tiers.dram=x2", "is no number that can be scaled"),
        ("devices=x0.75", "0.75 times 2 is no whole number"),
        ("dram.bandwidth=20%", "found '20%'; expected one of +20%"),
        ("dram.bandwidth=-100%", "with something left of it"),
        ("dram.bandwidth=xfast", "found 'xfast'"),
        ("dram.bandwidth", "PATH=CHANGE, such as 'hbm.bandwidth=+20%'"),
        ("dram.read_bandwidth=3 GB", "is a number of bytes"),
        ("array.kind=x2", "is no number that can be scaled"),
    ],
)
def test_what_is_no_change_is_said_in_a_sentence(text: str, said: str) -> None:
    with pytest.raises(InputError) as caught:
        read_change(machine(), text)
    assert said in str(caught.value)
    assert str(caught.value).startswith("--what-if")
