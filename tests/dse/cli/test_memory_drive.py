"""``tiercade memory run`` on drives: a closed form, the document, traces, and refusals."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dse.cli.entry import run
from simulator.memory.flash.drives import load_drive

DRIVE = ["memory", "run", "--device", "ssd-mqsim-default"]


def test_one_random_read_at_a_time_takes_two_flash_reads(capsys: pytest.CaptureFixture[str]) -> None:
    # The mapping table misses, so a mapping page is read before the data: 75 us twice, 4 KiB over a channel of 333 MB/s
    # and a sector of mapping; MQSim has 165 us (reference row randread4k_qd1).
    assert run([*DRIVE, "--pattern", "rand-read", "--size", "4 KiB", "--seconds", "0.1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["mean_latency_s"] == pytest.approx(165e-6, rel=0.05)
    assert found["iops"] == pytest.approx(1 / found["mean_latency_s"], rel=0.02)
    assert found["bandwidth_bytes_per_s"] == pytest.approx(4096 * found["iops"])
    assert found["flash"]["mapping_reads"] == pytest.approx(found["requests"], rel=0.05)


def test_an_ideal_mapping_table_halves_it(capsys: pytest.CaptureFixture[str]) -> None:
    # What is left is one read of 75 us, the channel, commands and the host: MQSim's 165 us less one read of 75.
    options = ["--pattern", "rand-read", "--size", "4096", "--seconds", "0.1", "--ideal-mapping", "--json"]
    assert run([*DRIVE, *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["flash"]["mapping_reads"] == 0
    assert found["mean_latency_s"] == pytest.approx(90e-6, rel=0.05)


def test_the_report_for_people_names_the_drive(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*DRIVE, "--pattern", "seq-read", "--size", "128 KiB", "--queue-depth", "16", "--seconds", "0.05"]) == 0
    shown = capsys.readouterr().out
    assert "ssd-mqsim-default" in shown
    assert "mapping table" in shown


def test_inside_the_drive_there_is_no_link_in_the_way(capsys: pytest.CaptureFixture[str]) -> None:
    # 16 channels of 1.2 GB/s behind a link of 7.3: from inside the channels are the bound, by the host the link is.
    options = ["--pattern", "seq-read", "--size", "1 MiB", "--queue-depth", "32", "--requests", "1000", "--json"]
    rates = {}
    for inside in ([], ["--inside"]):
        assert run(["memory", "run", "--device", "ssd-pm1733-3840gb", *options, *inside]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found["inside"] is bool(inside)
        rates[bool(inside)] = found["bandwidth_bytes_per_s"]
    drive = load_drive("ssd-pm1733-3840gb")
    assert rates[False] <= drive.host.bytes_per_s < rates[True] <= drive.internal_bytes_per_s


def test_a_trace_of_plain_lines(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "few.trace"
    trace.write_text("# two reads and a write\nR 0 4096\nW 8 KiB 4 KiB\nR 1 MiB 64 KiB\n")
    assert run([*DRIVE, "--trace", str(trace), "--queue-depth", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["requests"], found["reads"], found["writes"]) == (3, 2, 1)
    assert found["size_bytes"] == 4096 + 4096 + 65536
    assert found["bandwidth_bytes_per_s"] == pytest.approx(found["size_bytes"] / found["seconds"])
    assert found["arrivals"] == "as fast as they are taken"
    assert run([*DRIVE, "--trace", str(trace)]) == 0
    assert "few.trace" in capsys.readouterr().out


def test_a_trace_in_the_form_of_msr_keeps_its_times(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Units of 100 ns: the second request comes 10 ms after the first, so both together take a little longer.
    trace = tmp_path / "msr.csv"
    trace.write_text("1000000,host,0,Read,0,4096,0\n1100000,host,0,Read,65536,4096,0\n")
    assert run([*DRIVE, "--trace", str(trace), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["arrivals"] == "at their times"
    assert 10e-3 < found["seconds"] < 10.5e-3


@pytest.mark.parametrize(
    ("text", "says"),
    [("", "has no requests"), ("R 0 100\n", ":1: "), ("X 0 4096\n", ":1: "), ("R 8 TB 4096\n", "--trace: ")],
)
def test_broken_traces(text: str, says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "broken.trace"
    trace.write_text(text)
    assert run([*DRIVE, "--trace", str(trace)]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert says in error


def test_drives_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "drives", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["ssd-mqsim-default"]["channels"] == 8


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([*DRIVE], "--pattern: is missing"),
        ([*DRIVE, "--pattern", "rand-reed"], "did you mean 'rand-read'?"),
        ([*DRIVE, "--pattern", "rand-read", "--size", "5"], "--size: found 5 bytes"),
        ([*DRIVE, "--pattern", "rand-read", "--size", "much"], "--size"),
        ([*DRIVE, "--pattern", "rand-read", "--queue-depth", "0"], "--queue-depth: found 0"),
        ([*DRIVE, "--pattern", "rand-read", "--seconds", "0"], "--seconds: found 0"),
        ([*DRIVE, "--pattern", "rand-write", "--occupancy", "2"], "--occupancy: found 2"),
        (
            ["memory", "run", "--device", "DDR4-3200", "--pattern", "seq", "--size", "4"],
            "--size: means nothing for DRAM",
        ),
        (["memory", "run", "--device", "DDR4-3200", "--pattern", "rand-read"], "is a pattern of drives"),
        (["memory", "run", "--device", "DDR4-3200", "--pattern", "seq", "--ideal-mapping"], "--ideal-mapping"),
        (["memory", "run", "--device", "ssd-mqsim", "--pattern", "rand-read"], "did you mean 'ssd-mqsim-default'?"),
        (
            [*DRIVE, "--pattern", "sequential"],
            "--pattern: 'sequential' is a pattern of DRAM; expected DRAM, or a pattern",
        ),
        ([*DRIVE, "--pattern", "rand-read", "--mapping", "MOP4CLXOR"], "--mapping: means nothing for a drive"),
        ([*DRIVE, "--pattern", "rand-read", "--channels", "2"], "--channels: means nothing for a drive"),
        ([*DRIVE, "--pattern", "rand-read", "--hit-cap", "2"], "--hit-cap: means nothing for a drive; expected DRAM"),
        ([*DRIVE, "--pattern", "rand-read", "--batch", "2"], "--batch: means nothing for a drive"),
        ([*DRIVE, "--pattern", "rand-read", "--trace", "t"], "--pattern: stands beside --trace"),
        ([*DRIVE, "--trace", "no-such.trace"], "no-such.trace"),
        ([*DRIVE, "--trace", "no-such.trace", "--size", "4096"], "--size: means nothing for a trace"),
        ([*DRIVE, "--trace", "no-such.trace", "--seconds", "1"], "--seconds: means nothing for a trace"),
        ([*DRIVE, "--trace", "no-such.trace", "--requests", "1"], "--requests: means nothing for a trace"),
        (
            ["memory", "run", "--device", "DDR4-3200", "--pattern", "seq", "--inside"],
            "--inside: means nothing for DRAM",
        ),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    assert says in capsys.readouterr().err
