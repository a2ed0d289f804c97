"""Devices by name and by file, and what a wrong file is told."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.memory.dram.device import Device
from simulator.memory.dram.devices import device_names, device_rows, load_device
from simulator.memory.dram.timing import evaluate, names_in
from workloads.documents import parse_yaml
from workloads.errors import InputError

OWN = """\
standard: Toy
levels: [rank, bankgroup, bank]
prefetch: 8
buses:
  command: [ACT, PREpb, PREab, RD, WR, RDA, WRA, REFab]
command_ticks: {ACT: 2}
refresh: {most_postponed: 8, most_pulled_in: 8}
constraints:
  - {name: read burst, before: [RD, RDA], after: [RD, RDA], scope: channel, ticks: nBL}
  - {name: tRRD, before: [ACT], after: [ACT], scope: rank, ticks: nRRDS}
  - {name: tFAW, before: [ACT], after: [ACT], scope: rank, ticks: nFAW, window: 4}
  - {name: tRC, before: [ACT], after: [ACT], scope: bank, ticks: nRC}
  - {name: tRCD, before: [ACT], after: [RD, RDA, WR, WRA], scope: bank, ticks: nRCD}
  - {name: tRAS, before: [ACT], after: [PREpb], scope: bank, ticks: nRC - nRP}
  - {name: tRP, before: [PREpb], after: [ACT], scope: bank, ticks: nRP}
  - {name: tRFC, before: [REFab], after: [ACT, PREab, REFab], scope: rank, ticks: nRFC}
sources:
  constraints: "synthetic: a few, for a test"
organisations:
  die:
    density_Gbit: 8
    device_width_bits: 8
    channel_width_bits: 64
    levels: {rank: 1, bankgroup: 4, bank: 4}
    rows: 65536
    columns: 1024
speed_bins:
  fast:
    data_rate_MTps: 3200
    tick_ns: 0.625
    timing: {nBL: 4, nCL: 22, nRCD: 22, nRP: 22, nRAS: 52, nRC: 74, nCWL: 16}
currents:
  sheet:
    VDD_V: 1.2
    IDD0_mA: 57
    IDD2N_mA: 37
    IDD3N_mA: 52
    IDD4R_mA: 168
    IDD4W_mA: 150
    IDD5B_mA: 250
    source: "synthetic: for a test"
devices:
  Toy-3200:
    organisation: die
    speed_bin: fast
    timing: {nRRDS: 4, nFAW: 34, nRFC: 576, nREFI: 12480}
    energy: sheet
"""


def written(folder: Path, text: str, name: str = "own.yaml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def test_names_are_found_whatever_their_case() -> None:
    assert load_device("ddr4-3200") == load_device("DDR4-3200")
    assert len(set(device_names())) == len(device_names())
    assert len({name.casefold() for name in device_names()}) == len(device_names())


def test_an_unknown_name_gets_the_nearest() -> None:
    with pytest.raises(InputError) as caught:
        load_device("HBM3-640")
    assert caught.value.nearest == "HBM3-6400"


def test_ranks() -> None:
    one, two = load_device("DDR4-3200"), load_device("DDR4-3200", ranks=2)
    assert (two.shape, two.banks) == ((2, 1, 4, 4), 32)
    assert two.capacity_bytes == 2 * one.capacity_bytes
    assert two.peak_bytes_per_s == one.peak_bytes_per_s
    assert load_device("DDR4-3200", ranks=1) == one
    with pytest.raises(InputError, match="HBM3-6400 has no ranks"):  # its two pseudo-channels are none
        load_device("HBM3-6400", ranks=2)


@pytest.mark.parametrize("ranks", [-1, 0, 3, 32])
def test_wrong_numbers_of_ranks(ranks: int) -> None:
    with pytest.raises(InputError) as caught:
        load_device("DDR4-3200", ranks=ranks)
    assert caught.value.field == "ranks"


def test_pseudo_channels_are_no_ranks() -> None:
    with pytest.raises(InputError, match="no ranks"):
        load_device("HBM3-6400", ranks=4)


def test_rows_say_what_the_devices_say() -> None:
    rows = {row.name: row for row in device_rows()}
    assert tuple(rows) == device_names()
    hbm3 = rows["HBM3-6400"]
    assert (hbm3.standard, hbm3.data_rate_MTps, hbm3.channel_width_bits) == ("HBM3", 6400, 64)
    assert hbm3.peak_bytes_per_s == pytest.approx(51.2e9)
    assert hbm3.capacity_bytes == 2**30
    assert (hbm3.row_bytes, hbm3.banks, hbm3.has_energy) == (1024, 64, True)
    assert not rows["GDDR6-14000"].has_energy
    assert "Weak" in rows["GDDR6-14000"].note


def test_a_whole_standard_of_ones_own(tmp_path: Path) -> None:
    device = load_device(written(tmp_path, OWN))
    assert (device.name, device.banks, device.row_bytes) == ("Toy-3200", 16, 8192)
    assert device.energy is not None
    # ACT takes two ticks here: one more to a read, one less after a precharge
    ticks = {(c.name, c.after): c.ticks for c in device.constraints}
    assert (ticks["tRCD", "RD"], ticks["tRP", "ACT"], ticks["tRC", "ACT"]) == (23, 21, 74)
    assert ticks["tRAS", "PREpb"] == 74 - 22 + 1


def test_a_standard_in_json(tmp_path: Path) -> None:
    value = parse_yaml(OWN, "own.yaml").value
    assert load_device(str(written(tmp_path, json.dumps(value), "own.json"))) == load_device(written(tmp_path, OWN))


def line_of(text: str, marker: str) -> int:
    return next(number for number, line in enumerate(text.splitlines(), 1) if marker in line)


@pytest.mark.parametrize(
    ("old", "new", "field", "said"),
    [
        ("standard: Toy", "standrad: Toy", "standrad", "did you mean 'standard'"),
        ("nRC: 74", "nRC: 40", "speed_bins.fast.timing.nRC", "nRAS 52"),
        ("nREFI: 12480", "nREFI: 598", "devices.Toy-3200.timing.nREFI", "nRFC \\+ nRP 598"),
        ("nFAW: 34, ", "", "devices.Toy-3200.timing", "nFAW is missing"),
        ("nFAW: 34", "nFAW: -34", "devices.Toy-3200.timing.nFAW", "at least 0"),
        ("nFAW: 34", "nFAW: many", "devices.Toy-3200.timing.nFAW", "a whole number"),
        ("nFAW: 34", "nFAW: 3.5", "devices.Toy-3200.timing.nFAW", "a whole number"),
        ("nRFC: 576", "nRFC: 99999999", "devices.Toy-3200.timing.nRFC", "at most 10,000,000"),
        ("rows: 65536", "rows: 65535", "organisations.die.rows", "a power of two"),
        ("columns: 1024", "columns: 1000", "organisations.die.columns", "a power of two"),
        ("columns: 1024", "columns: 4", "organisations.die.columns", "a multiple of the prefetch"),
        ("bankgroup: 4, bank: 4}", "bankgroup: 3, bank: 4}", "organisations.die.levels.bankgroup", "a power of two"),
        ("bankgroup: 4, bank: 4}", "bank: 4}", "organisations.die.levels", "those of the standard"),
        ("{rank: 1,", "{rank: 1, sid: 1,", "organisations.die.levels", "those of the standard"),
        ("{rank: 1, bankgroup: 4,", "{rank: 4096, bankgroup: 8,", "organisations.die.levels", "at most 65,536"),
        ("device_width_bits: 8", "device_width_bits: 128", "organisations.die.device_width_bits", "whole devices"),
        ("tick_ns: 0.625", "tick_ns: 0.3125", "speed_bins.fast.tick_ns", "the 2.5 ns of 8 transfers"),
        ("tick_ns: 0.625", "tick_ns: 0", "speed_bins.fast.tick_ns", "more than 0"),
        ("ticks: nRRDS}", "ticks: nRRDX}", "constraints[1].ticks", "did you mean 'nRRDS'"),
        ("ticks: nRRDS}", "ticks: nRRDS * 2}", "constraints[1].ticks", "not a timing expression"),
        ("ticks: nRRDS}", "ticks: ''}", "constraints[1].ticks", "not a timing expression"),
        ("ticks: nRRDS}", "ticks: '9999999999'}", "constraints[1].ticks", "not a timing expression"),
        ("ticks: nRRDS}", "ticks: '999999999'}", "constraints[1].ticks", "at most 100,000,000"),
        ("ticks: nRRDS}", "tick: nRRDS}", "constraints[1].tick", "did you mean 'ticks'"),
        ("tRRD, before: [ACT]", "tRRD, before: [ATC]", "constraints[1].before", "did you mean 'ACT'"),
        ("{name: tRC, before: [ACT]", "{name: tRC, after: [ATC], before: [ACT]", "constraints[3].after", "twice"),
        ("bank, ticks: nRCD", "sid, ticks: nRCD", "constraints[4].scope", "channel or one of rank, bankgroup, bank"),
        ("bank, ticks: nRCD", "row, ticks: nRCD", "constraints[4].scope", "'bank'"),
        ("scope: rank, ticks: nRFC", "scope: bank, ticks: nRFC", "constraints[7]", "a command to all banks"),
        ("window: 4", "window: 3", "constraints[2]", "a window of 4"),
        ("window: 4", "window: 0", "constraints[2].window", "at least 1"),
        ("[ACT, PREpb, PREab,", "[ACT, PREpb,", "buses", "PREab is missing"),
        ("[ACT, PREpb, PREab,", "[ACT, ACT, PREpb, PREab,", "buses.command[0]", "each command once"),
        ("[ACT, PREpb, PREab,", "[ACT, PREpb, PREab, FOO,", "buses.command[3]", "unknown command 'FOO'"),
        ("[ACT, PREpb, PREab,", "[ACT, ACT2, PREpb, PREab,", "buses", "ACT1 is missing"),
        ("{ACT: 2}", "{FOO: 2}", "command_ticks.FOO", "unknown command"),
        ("{ACT: 2}", "{ACT: 0}", "command_ticks.ACT", "at least 1"),
        ("[rank, bankgroup, bank]", "[bank, bankgroup, rank]", "levels", "in order"),
        ("[rank, bankgroup, bank]", "[rank, bankgroup, row]", "levels[2]", "'bank'"),
        ("prefetch: 8", "prefetch: 8\nburst: nBLX", "burst", "did you mean 'nBL'"),
        ("prefetch: 8", "prefetch: 8\nread_latency: nBL - nCL", "read_latency", "at least 4"),
        ("prefetch: 8", "prefetch: 8\nsecond_activate_within: nBL", "second_activate_within", "both or neither"),
        ("prefetch: 8", "prefetch: 8\nclock_sync: {read: nBL, write: nBL}", "clock_sync", "all three or none"),
        ("organisation: die", "organisation: dice", "devices.Toy-3200.organisation", "did you mean 'die'"),
        ("speed_bin: fast", "speed_bin: slow", "devices.Toy-3200.speed_bin", "one of fast"),
        ("energy: sheet", "energy: leaflet", "devices.Toy-3200.energy", "one of sheet"),
        ("IDD0_mA: 57", "IDD0_mA: 40", "currents.sheet", "IDD0 is no more than standby takes"),
        ("IDD4R_mA: 168", "IDD4R_mA: 50", "currents.sheet", "more current in use than in standby"),
        ("IDD4R_mA: 168", "IDD4r_mA: 168", "currents.sheet.IDD4r_mA", "did you mean 'IDD4R_mA'"),
        ("most_postponed: 8", "most_postponed: 65", "refresh.most_postponed", "at most 64"),
        ('"synthetic: a few', '"guess: a few', "sources.constraints", "unknown kind of source"),
    ],
)
def test_what_is_wrong_in_a_file(tmp_path: Path, old: str, new: str, field: str, said: str) -> None:
    assert OWN.count(old) == 1
    text = OWN.replace(old, new)
    path = written(tmp_path, text)
    with pytest.raises(InputError, match=said) as caught:
        load_device(path)
    error = caught.value
    assert (error.file, error.field) == (str(path), field)
    # the line is that of the field, or of what it is missing from
    start = line_of(OWN, old)
    if field.startswith(("speed_bins", "organisations", "constraints", "command_ticks", "levels", "devices")):
        assert error.line == start


@pytest.mark.parametrize(
    ("text", "line", "said"),
    [
        ("", 1, "empty"),
        ("# nothing\n", 2, "nothing but comments"),
        ("- a\n- b\n", 1, "a mapping"),
        ("standard: [Toy\nlevels: x\n", 2, "not YAML"),
        ("standard: Toy\n\tlevels: x\n", 2, "a tab"),
        ("standard: Toy\nstandard: Toy\n", 2, "appears twice"),
        ("levels: [bank]\n", 1, "missing key"),
    ],
)
def test_files_that_are_no_standard(tmp_path: Path, text: str, line: int, said: str) -> None:
    with pytest.raises(InputError, match=said) as caught:
        load_device(written(tmp_path, text))
    assert (caught.value.file, caught.value.line) == (str(tmp_path / "own.yaml"), line)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        load_device(tmp_path / "missing.yaml")
    with pytest.raises(InputError, match="a directory"):
        load_device(tmp_path)
    broken = tmp_path / "bytes.yaml"
    broken.write_bytes(b"standard: \xff\xfe\n")
    with pytest.raises(InputError, match="UTF-8"):
        load_device(broken)


def test_a_file_with_two_devices(tmp_path: Path) -> None:
    text = OWN + "  Toy-other:\n    organisation: die\n    speed_bin: fast\n"
    with pytest.raises(InputError, match="found 2 devices") as caught:
        load_device(written(tmp_path, text))
    assert caught.value.line == line_of(text, "devices:")


def test_a_changed_device(tmp_path: Path) -> None:
    text = "based_on: ddr4-3200\nname: slower\ntiming: {nRCD: 30, nRRDS: 6}\norganisation: {rows: 32768}\n"
    text += "speed_bin: {timing: {nRTP: 14}}\n"
    base, device = load_device("DDR4-3200"), load_device(written(tmp_path, text))
    assert device.name == "slower"
    assert device.timing == {**base.timing, "nRCD": 30, "nRRDS": 6, "nRTP": 14}
    assert device.capacity_bytes == base.capacity_bytes // 2
    ticks = {(c.name, c.before, c.after): c.ticks for c in device.constraints}
    assert ticks["tRCD", "ACT", "RD"] == 30
    assert ticks["read with precharge", "RDA", "ACT"] == 14 + 22
    assert load_device("DDR4-3200") == base


def test_a_changed_device_without_changes(tmp_path: Path) -> None:
    device, base = load_device(written(tmp_path, "based_on: HBM3-6400\n")), load_device("HBM3-6400")
    assert device.name == "HBM3-6400, changed"
    assert (device.timing, device.constraints) == (base.timing, base.constraints)


@pytest.mark.parametrize(
    ("text", "field", "line", "said"),
    [
        ("based_on: DDR4-9999\n", "based_on", 1, "unknown device"),
        ("based_on: [DDR4-3200]\n", "based_on", 1, "a list"),
        ("based_on: DDR4-3200\nname: 5\n", "name", 2, "text"),
        ("based_on: DDR4-3200\ntimings: {nRC: 90}\n", "timings", 2, "did you mean 'timing'"),
        ("based_on: DDR4-3200\ntiming: 90\n", "timing", 2, "a mapping"),
        ("based_on: DDR4-3200\ntiming:\n  nRCC: 90\n", "timing.nRCC", 3, "did you mean 'nRC'"),
        ("based_on: DDR4-3200\ntiming:\n  nRC: 10\n", "timing.nRC", 3, "nRAS 52"),
        ("based_on: DDR4-3200\ntiming:\n  nRC: -1\n", "timing.nRC", 3, "at least 0"),
        ("based_on: DDR4-3200\ntiming:\n  nRC: '90'\n", "timing.nRC", 3, "a whole number"),
        ("based_on: DDR4-3200\n\ntiming: {nREFI: 500}\n", "timing.nREFI", 3, "time left between refreshes"),
        ("based_on: DDR4-3200\norganisation:\n  rows: 100\n", "organisation.rows", 3, "a power of two"),
        ("based_on: DDR4-3200\norganisation:\n  levels: {rank: 3}\n", "organisation.levels.rank", 3, "power of two"),
        ("based_on: DDR4-3200\norganisation:\n  levels: {sid: 2}\n", "organisation.levels.sid", 3, "unknown field"),
        ("based_on: DDR4-3200\nspeed_bin: {timing: {nX: 1}}\n", "speed_bin.timing.nX", 2, "unknown field"),
        ("based_on: DDR4-3200\nspeed_bin: {data_rate_MTps: 3600}\n", "speed_bin.tick_ns", 2, "2.222 ns"),
    ],
)
def test_what_is_wrong_in_a_change(tmp_path: Path, text: str, field: str, line: int, said: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InputError, match=said) as caught:
        load_device(path)
    assert (caught.value.file, caught.value.field, caught.value.line) == (str(path), field, line)


def leaves(value: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    return [path, *(found for key, part in inner for found in leaves(part, (*path, key)))] if inner else [path]


def attempt(path: Path) -> Device | InputError:
    try:
        return load_device(path)
    except InputError as error:
        return error


PLACES = leaves(parse_yaml(OWN, "own.yaml").value)[1:]
JUNK = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=8),
    st.sampled_from(["ACT", "bank", "nBL", "nBL - 5", "9" * 30, "stated: x"]),
    st.lists(st.sampled_from(["ACT", "bank", 1, "rank"]), max_size=3),
    st.dictionaries(st.sampled_from(["nBL", "rank", "a"]), st.integers(-1, 5), max_size=2),
)


@given(st.sampled_from(PLACES), JUNK)
def test_junk_anywhere_is_refused_or_makes_a_device(
    tmp_path_factory: pytest.TempPathFactory, place: tuple[str | int, ...], junk: Any
) -> None:
    value = parse_yaml(OWN, "own.yaml").value
    holder: Any = value
    for key in place[:-1]:
        holder = holder[key]
    holder[place[-1]] = junk
    path = written(tmp_path_factory.mktemp("junk"), json.dumps(value), "own.json")
    outcome = attempt(path)
    if isinstance(outcome, InputError):
        assert outcome.file == str(path)
        assert outcome.line is not None
    else:
        assert outcome.peak_bytes_per_s > 0


@given(
    st.lists(
        st.tuples(st.sampled_from([1, -1]), st.one_of(st.sampled_from(["nA", "nB"]), st.integers(0, 999))),
        min_size=1,
        max_size=6,
    )
)
def test_timing_expressions_are_sums(terms: list[tuple[int, str | int]]) -> None:
    text = " ".join(f"{'+' if sign > 0 else '-'} {term}" for sign, term in terms)
    values = {"nA": 7, "nB": 100}
    expected = sum(sign * (values[term] if isinstance(term, str) else term) for sign, term in terms)
    assert evaluate(text, values) == expected
    assert names_in(text) == tuple(term for _, term in terms if isinstance(term, str))
