"""``tiercade memory run`` on drives: a closed form, the document, and refusals."""

from __future__ import annotations

import json

import pytest

from dse.cli.entry import run

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
        (["memory", "run", "--device", "ssd-mqsim", "--pattern", "rand-read"], "'rand-read' is a pattern of drives"),
    ],
)
def test_what_cannot_be_asked_is_refused_in_a_sentence(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(arguments) == 2
    assert says in capsys.readouterr().err
