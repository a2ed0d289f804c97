"""Loading, dumping, overriding and the schema."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.spec.load import dump_system, load_system, override, system_json_schema, system_names
from hw.spec.system import System
from tests.hw.spec.machines import SMALL, refusal, small
from workloads.documents import parse_yaml
from workloads.errors import InputError
from workloads.validation import validate


def test_loads_by_path_and_by_name(tmp_path: Path) -> None:
    file = tmp_path / "mine.yml"
    file.write_text("# yaml-language-server: $schema=system.schema.json\n" + SMALL)
    assert load_system(file) == load_system(str(file)) == small()
    as_json = tmp_path / "mine.json"
    as_json.write_text(small().model_dump_json(by_alias=True))
    assert load_system(as_json) == small()


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "h100",
            f"unknown system 'h100'; expected one of {', '.join(system_names()[:12])} and {len(system_names()) - 12} "
            "more; did you mean 'h100-sxm'?",
        ),
        ("no/such", "no/such: no such file"),
        ("nothing.yaml", "nothing.yaml: no such file"),
        ("/", "/: is a directory; expected a YAML or JSON file"),
    ],
)
def test_unknown_names_and_paths_are_refused_with_this_text(name: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        load_system(name)
    assert str(caught.value) == message


@pytest.mark.parametrize("name", system_names())
def test_presets_survive_yaml(name: str) -> None:
    system = load_system(name)
    text = dump_system(system)
    assert validate(System, parse_yaml(text, "dump.yaml")) == system
    assert dump_system(validate(System, parse_yaml(text, "dump.yaml"))) == text


positive = st.floats(min_value=1e-30, max_value=1e30)


@given(positive, positive, positive, st.integers(1, 10**9))
def test_any_numbers_survive_yaml(capacity: float, bandwidth: float, latency: float, devices: int) -> None:
    plain = small().model_dump(by_alias=True)
    plain["tiers"]["ddr"] |= {"capacity": capacity, "read_bandwidth": bandwidth, "latency": latency}
    plain["links"]["bus"]["bandwidth"] = bandwidth
    plain |= {"devices": devices, "fabric": {"topology": "ring", "bandwidth": bandwidth}}
    system = System.model_validate(plain)
    assert validate(System, parse_yaml(dump_system(system), "dump.yaml")) == system


def test_override_sets_numbers_and_their_source() -> None:
    before = load_system("h100-sxm")
    after = override(before, ["tiers.hbm.bandwidth=2 TB/s", "devices = 4", "engines.tensor.throughput.bf16=1 PFLOP/s"])
    hbm = after.tiers["hbm"]
    assert (hbm.read_bandwidth_bytes_per_s, hbm.write_bandwidth_bytes_per_s, after.devices) == (2e12, 2e12, 4)
    assert str(hbm.sources["read_bandwidth"]) == str(after.sources["devices"]) == "stated: set by the user"
    assert hbm.sources["capacity"] == before.tiers["hbm"].sources["capacity"]
    engine = after.engines["tensor"]
    assert engine.throughput("bf16") == 1e15
    assert str(engine.sources["throughput.bf16"]) == "stated: set by the user"
    assert engine.sources["throughput"] == before.engines["tensor"].sources["throughput"]
    assert before.devices == 1


def test_override_sets_what_is_not_a_number() -> None:
    system = override(small(), ["fabric={topology: ring, bandwidth: 1 GB/s}", "devices=2", "links.bus.shared=true"])
    assert system.fabric is not None
    assert system.fabric.bandwidth_bytes_per_s == 1e9
    assert system.links["bus"].shared
    assert not system.links["bus"].sources
    assert override(system, ["fabric.latency=1 us"]).fabric.latency_s == 1e-6  # type: ignore[union-attr]
    assert override(small(), ["engines.core.energy.fp32=3 pJ"]).engines["core"].energy("fp32") == 3e-12
    assert override(small(), []) == small()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "tiers.ddr.capasity=1 GB",
            "tiers.ddr.capasity: unknown key 'capasity'; expected one of capacity, channels, device, granularity, "
            "holds, kind, latency, macro, mapping, read_bandwidth, read_energy, read_queue and 6 more; "
            "did you mean 'capacity'?",
        ),
        (
            "tiers.drr.capacity=1 GB",
            "tiers.drr: there is no 'drr' to set anything in; expected one of ddr, cache, disk; did you mean 'ddr'?",
        ),
        (
            "tears.ddr.capacity=1 GB",
            "tears: there is no 'tears' to set anything in; expected one of engines, tiers, links; "
            "did you mean 'tiers'?",
        ),
        (
            "tiers.ddr.capacity.x=1",
            "tiers.ddr.capacity: there is no 'capacity' to set anything in; expected a field without parts",
        ),
        (
            "tiers.ddr.capacity=1",
            "tiers.ddr.capacity: the number 1 has no unit; expected a number of bytes with its unit, such as '80 GB'",
        ),
        ("devices=2", "devices: 2 devices have no fabric; expected 1, or a fabric that joins the devices"),
        ("devices=", "devices: the value is empty; expected a YAML value"),
        ("devices", "'devices' is not a setting; expected PATH=VALUE such as 'tiers.hbm.capacity=96 GB'"),
        ("=3", "'=3' is not a setting; expected PATH=VALUE such as 'tiers.hbm.capacity=96 GB'"),
        ("name={[1]: 2}", "name: the key (a list or mapping) is not text; expected text as a key"),
    ],
)
def test_override_refuses_with_this_text(setting: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        override(small(), [setting])
    assert str(caught.value) == message


@given(path=st.text(alphabet="tiersdcapy.[]0 ", max_size=30), value=st.text(max_size=20))
def test_any_setting_is_applied_or_an_input_error(path: str, value: str) -> None:
    error = refusal(override, small(), [f"{path}={value}"])
    assert error is None or error.file is None


def test_schema_names_every_field_and_shows_defaults_with_units() -> None:
    schema = system_json_schema()
    json.dumps(schema)
    assert schema["$schema"].endswith("2020-12/schema")
    tier = schema["$defs"]["Tier"]
    assert tier["required"] == ["kind", "capacity", "read_bandwidth", "write_bandwidth"]
    assert tier["additionalProperties"] is False
    assert tier["properties"]["granularity"]["default"] == "64 B"
    assert tier["properties"]["latency"]["default"] == "0 s"
