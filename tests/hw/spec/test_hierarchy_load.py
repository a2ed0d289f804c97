"""Loading, dumping and overriding mapper machines, and their schema."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hw.spec.hierarchy import Hierarchy
from hw.spec.load_hierarchy import (
    dump_hierarchy,
    hierarchy_json_schema,
    hierarchy_names,
    load_hierarchy,
    override_hierarchy,
)
from tests.hw.spec.machines import refusal
from workloads.documents import parse_yaml
from workloads.errors import InputError
from workloads.validation import validate

SMALL = """\
name: small
levels:
  dram:
    read_energy: 10 pJ/bit
    write_energy: 10 pJ/bit
    bandwidth: 100 GB/s
    keep: [not intermediate]
    may_keep: [all]
    sources:
      read_energy: "stated: data sheet"
  glb:
    parent: dram
    capacity: 64 KiB
    fanout:
      cores: {size: 4, min_usage: 1.0}
    keep: [not dram]
units:
  mac:
    parent: glb
    clock: 1 GHz
    fanout:
      columns: {size: 8, reuse: input}
    actions:
      mac: {energy: 0.5 pJ}
      exp: {cycles: 7, made_of: {mac: 6}}
"""


def small(*changes: tuple[str, str]) -> Hierarchy:
    """The small machine with parts of its text replaced."""
    text = SMALL
    for old, new in changes:
        assert old in text
        text = text.replace(old, new, 1)
    return validate(Hierarchy, parse_yaml(text, "small.yaml"))


def test_loads_by_path_and_by_name(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(SMALL)
    assert load_hierarchy(file) == load_hierarchy(str(file)) == small()
    as_json = tmp_path / "mine.json"
    as_json.write_text(small().model_dump_json(by_alias=True))
    assert load_hierarchy(as_json) == small()
    assert load_hierarchy("mapping-simple").name == "mapping-simple"


@pytest.mark.parametrize(
    ("name", "nearest"), [("mapping-tpu", "mapping-tpu-v4i"), ("mapping-simpel", "mapping-simple"), ("zzz", None)]
)
def test_unknown_names_are_refused(name: str, nearest: str | None) -> None:
    error = refusal(load_hierarchy, name)
    assert error is not None
    assert str(error).startswith(f"unknown mapper machine {name!r}; expected one of ")
    assert error.nearest == nearest


def test_errors_carry_file_and_line(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(SMALL.replace("parent: dram", "parent: dramm"))
    error = refusal(load_hierarchy, file)
    assert error is not None
    assert (error.file, error.line, error.field) == (str(file), 12, "levels.glb.parent")
    assert error.nearest == "dram"


@pytest.mark.parametrize("name", hierarchy_names())
def test_presets_survive_yaml(name: str) -> None:
    text = dump_hierarchy(load_hierarchy(name))
    again = validate(Hierarchy, parse_yaml(text, "dump.yaml"))
    assert again == load_hierarchy(name)
    assert dump_hierarchy(again) == text


positive = st.floats(min_value=1e-30, max_value=1e30)


@given(positive, positive, positive, st.integers(1, 10**9))
def test_any_numbers_survive_yaml(capacity: float, energy: float, clock: float, size: int) -> None:
    plain = small().model_dump(by_alias=True)
    plain["levels"]["glb"] |= {"capacity": capacity, "read_energy": energy}
    plain["levels"]["glb"]["fanout"]["cores"]["size"] = size
    plain["units"]["mac"]["clock"] = clock
    plain["units"]["mac"]["actions"]["exp"] |= {"cycles": clock, "made_of": {"mac": energy}}
    hierarchy = Hierarchy.model_validate(plain)
    assert validate(Hierarchy, parse_yaml(dump_hierarchy(hierarchy), "dump.yaml")) == hierarchy


def test_short_paths_set_numbers_and_their_source() -> None:
    after = override_hierarchy(
        small(),
        [
            "glb.capacity=524288bit",
            "dram.energy=100pJ/bit",
            "dram.bandwidth = 1 TB/s",
            "glb.fanout.cores.size=8",
            "mac.clock=2 GHz",
            "mac.actions.mac.energy=0.2 pJ",
            "mac.actions.exp.made_of.mac=5",
            "name=mine",
        ],
    )
    dram, glb, mac = after.levels["dram"], after.levels["glb"], after.units["mac"]
    assert glb.capacity_bytes == 65536
    assert (dram.read_energy_j_per_bit, dram.write_energy_j_per_bit) == (1e-10, 1e-10)
    assert (dram.bandwidth_bytes_per_s, dram.read_bandwidth_bytes_per_s) == (1e12, None)
    assert (glb.instances, glb.fanout["cores"].min_usage, mac.clock_hz, after.name) == (8, 1.0, 2e9, "mine")
    assert mac.cost("exp") == pytest.approx((7, 1e-12), rel=1e-9, abs=0)
    by_user = [
        *(dram.sources[name] for name in ("read_energy", "write_energy", "bandwidth")),
        glb.sources["capacity"], glb.fanout["cores"].sources["size"], mac.sources["clock"],
        mac.actions["mac"].sources["energy"], mac.actions["exp"].sources["made_of.mac"],
    ]  # fmt: skip
    assert {str(source) for source in by_user} == {"stated: set by the user"}
    assert small().levels["glb"].capacity_bytes == 65536


def test_full_paths_and_what_is_not_a_number() -> None:
    full = override_hierarchy(
        small(), ["levels.glb.capacity=1 MiB", "units.mac.clock=2 GHz", "levels.dram.energy=1 pJ/bit"]
    )
    assert full == override_hierarchy(small(), ["glb.capacity=1 MiB", "mac.clock=2 GHz", "dram.energy=1 pJ/bit"])
    changed = override_hierarchy(small(), ["glb.may_keep=[all]", "execution=pipelined", "dram.keep=[all]"])
    assert (changed.levels["glb"].may_keep, changed.execution, changed.levels["dram"].keep) == (
        ("all",), "pipelined", ("all",),
    )  # fmt: skip
    assert override_hierarchy(small(), ["glb.fanout.rows={size: 2}"]).levels["glb"].instances == 8
    assert override_hierarchy(small(), []) == small()


@pytest.mark.parametrize("word", ["infinite", "none", "null"])
def test_limits_can_be_removed(word: str) -> None:
    after = override_hierarchy(small(), [f"glb.capacity={word}", f"dram.bandwidth={word}"])
    assert after.levels["glb"].capacity_bytes is None
    assert after.levels["dram"].bandwidth_bytes_per_s is None
    assert str(after.levels["glb"].sources["capacity"]) == "stated: set by the user"
    assert small(("capacity: 64 KiB", f"capacity: {word}")).levels["glb"].capacity_bytes is None


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        (
            "gbl.capacity=1 B",
            "gbl.capacity: unknown level or unit 'gbl'; expected one of dram, glb, mac; did you mean 'glb'?",
        ),
        (
            "glb.capasity=1 GB",
            "levels.glb.capasity: unknown key 'capasity'; expected one of bandwidth, capacity, fanout, keep, may_keep, "
            "parent, read_bandwidth, read_energy, sources, write_bandwidth, write_energy; did you mean 'capacity'?",
        ),
        (
            "mac.actions.max.energy=1 pJ",
            "units.mac.actions.max: there is no 'max' to set anything in; expected one of mac, exp; "
            "did you mean 'mac'?",
        ),
        (
            "levels.gbl.capacity=1 B",
            "levels.gbl: there is no 'gbl' to set anything in; expected one of dram, glb; did you mean 'glb'?",
        ),
        (
            "glb.capacity=3",
            "levels.glb.capacity: the number 3 has no unit; expected a number of bytes with its unit, such as '80 GB'",
        ),
        ("glb.fanout.cores.size=0", "levels.glb.fanout.cores.size: found 0; expected more than 0"),
        ("glb.fanout.cores.min_usage=2", "levels.glb.fanout.cores.min_usage: found 2; expected at most 1.0"),
        ("glb.capacity=", "glb.capacity: the value is empty; expected a YAML value"),
        ("glb", "'glb' is not a setting; expected PATH=VALUE such as 'glb.capacity=128 MiB'"),
        (
            "dram.read_bandwidth=1 GB/s",
            "levels.dram.read_bandwidth: reads and writes share one port (bandwidth) and have ports of their own; "
            "expected either bandwidth, or read_bandwidth and write_bandwidth",
        ),
    ],
)  # fmt: skip
def test_override_refuses_with_this_text(setting: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        override_hierarchy(small(), [setting])
    assert str(caught.value) == message


@given(path=st.text(alphabet="glbdramc.[]0 ", max_size=30), value=st.text(max_size=20))
def test_any_setting_is_applied_or_an_input_error(path: str, value: str) -> None:
    error = refusal(override_hierarchy, small(), [f"{path}={value}"])
    assert error is None or error.file is None


def test_schema_names_every_field() -> None:
    schema = hierarchy_json_schema()
    json.dumps(schema)
    assert schema["$schema"].endswith("2020-12/schema")
    level = schema["$defs"]["Level"]
    assert level["additionalProperties"] is False
    assert level["properties"]["read_energy"]["default"] == "0 J/bit"
    text, missing, words = level["properties"]["capacity"]["anyOf"]
    assert (text["type"], missing["type"], words["enum"]) == ("string", "null", ["infinite", "none"])
    assert schema["$defs"]["Unit"]["required"] == ["parent", "clock", "actions"]
