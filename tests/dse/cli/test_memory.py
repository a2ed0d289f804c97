"""``tiercade memory`` and ``tiercade list devices``: figures against closed forms, options, documents and refusals."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from dse.cli.entry import run
from simulator.memory.dram.devices import device_names

# DDR4-3200: nRCD 22, nCL 22, nBL 4, nRAS 52, nRP 22, nRC 74, nCCDL 8; 128 bursts of 64 bytes a row, 16 banks.
RUN = ["memory", "run", "--device", "DDR4-3200"]
PLAIN = [*RUN, "--mapping", "RoBaRaCoCh", "--refresh", "none"]


def document(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> dict[str, Any]:
    assert run([*arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def figures(found: dict[str, Any]) -> dict[str, Any]:
    """A document without what differs from run to run."""
    return {name: value for name, value in found.items() if "cpu" not in name and name != "source"}


# What comes back


def test_one_row_read_burst_by_burst(capsys: pytest.CaptureFixture[str]) -> None:
    found = document([*PLAIN, "--pattern", "seq", "--requests", "128"], capsys)
    # ACT in tick 1, the first RD nRCD later, each further one nCCDL after the last; its data nCL + nBL after that.
    assert found["cycles"] == 1 + 22 + 127 * 8 + 22 + 4
    assert found["seconds"] == pytest.approx(found["cycles"] * 0.625e-9)
    assert found["bandwidth_bytes_per_s"] == pytest.approx(128 * 64 / found["seconds"])
    assert found["fraction_of_peak"] == pytest.approx(found["bandwidth_bytes_per_s"] / 25.6e9)
    assert (found["row_hits"], found["row_misses"], found["row_conflicts"]) == (127, 1, 0)
    assert found["row_hit_rate"] == pytest.approx(127 / 128)
    assert found["commands"] == {"ACT": 1, "RD": 128}
    assert (found["requests"], found["reads"], found["writes"], found["source"]) == (128, 128, 0, "seq")


def test_another_row_of_one_bank_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    found = document([*PLAIN, "--pattern", "stride_row", "--requests", "100"], capsys)
    assert found["cycles"] == 1 + 99 * 74 + 22 + 22 + 4
    assert (found["row_hits"], found["row_misses"], found["row_conflicts"]) == (0, 1, 99)
    assert found["commands"] == {"ACT": 100, "PREpb": 99, "RD": 100}


def test_energy_is_the_sum_of_its_parts(capsys: pytest.CaptureFixture[str]) -> None:
    found = document([*RUN, "--pattern", "mix21", "--requests", "3000"], capsys)
    assert found["energy_j"] == pytest.approx(sum(found["energy_by_part_j"].values()))
    assert found["energy_j"] > 0
    assert (found["reads"], found["writes"]) == (2000, 1000)
    assert found["energy_source"]


def test_the_machine_that_ran_is_in_the_document(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*RUN, "--pattern", "seq", "--requests", "64", "--channels", "2", "--ranks", "2", "--queue", "48"]
    arguments += ["--write-queue", "16", "--scheduler", "capped", "--hit-cap", "7", "--page", "timeout"]
    arguments += ["--timeout-ticks", "90", "--postpone", "3", "--pull-in", "2", "--tries", "2", "--interval", "5"]
    machine = document(arguments, capsys)["machine"]
    mapping = machine.pop("mapping")
    assert mapping["name"] == "MOP4CLXOR"
    # The lowest bit selects the channel, the next two the column; these are XORed into rank and bank group.
    assert mapping["bits"].endswith("bg0^co1 ra0^co0 ch0")
    assert machine.pop("peak_bytes_per_s") == pytest.approx(2 * 25.6e9)
    assert machine.pop("tick_ns") == pytest.approx(0.625)
    assert machine == {
        "device": "DDR4-3200", "standard": "DDR4", "channels": 2, "ranks": 2, "pseudochannels": 1, "banks": 32,
        "rows": 65536, "row_bytes": 8192, "bursts_per_row": 128, "burst_bytes": 64, "capacity_bytes": 32 * 2**30,
        "queues": {"read": 48, "write": 16}, "write_high": 0.8, "write_low": 0.2, "scheduler": "capped", "hit_cap": 7,
        "page": "timeout", "timeout_ticks": 90, "refresh": "all-bank", "postpone": 3, "pull_in": 2,
        "tries_per_tick": 2, "interval_ticks": 5,
    }  # fmt: skip


def test_the_report_always_names_the_machine(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*RUN, "--pattern", "seq", "--requests", "300", "--queue", "24"]) == 0
    text = capsys.readouterr().out
    for word in (
        "300 requests of seq on DDR4-3200", "1 channel, 1 rank, 16 banks", "8,192 bytes: 128 bursts of 64 bytes",
        "MOP4CLXOR: ", "24 reads, 24 writes", "row-hit", "all-bank", "open", "% of the peak of 25.6 GB/s", "ACT",
        "pJ/bit", "0.625 ns",
    ):  # fmt: skip
        assert word in text, word


def test_every_option_changes_the_result(capsys: pytest.CaptureFixture[str]) -> None:
    base = [*RUN, "--pattern", "random", "--write-share", "0.3", "--requests", "3000", "--region", "64 MiB"]
    plain = figures(document(base, capsys))
    for change in (
        ["--mapping", "rorabacobgch"], ["--channels", "2"], ["--ranks", "2"], ["--requests", "2999"], ["--seed", "2"],
        ["--region", "32 MiB"], ["--granule", "256"], ["--write-share", "0.4"], ["--queue", "16"],
        ["--write-queue", "16"], ["--write-high", "0.5"], ["--write-low", "0.5"], ["--scheduler", "fcfs"],
        ["--page", "closed"], ["--refresh", "none"], ["--interval", "20"],
    ):  # fmt: skip
        assert figures(document([*base, *change], capsys)) != plain, change
    for first, second in (
        (["--page", "timeout"], ["--timeout-ticks", "40"]),
        (["--postpone", "2"], ["--pull-in", "0"]),
        (["--scheduler", "capped", "--granule", "2 KiB"], ["--hit-cap", "1"]),
    ):
        changed = figures(document([*base, *first], capsys))
        assert changed != plain, first
        if second[1] != "0":
            assert figures(document([*base, *first, *second], capsys)) != changed, second


def test_the_same_options_give_the_same_document(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [*RUN, "--pattern", "rand", "--requests", "2000", "--channels", "2"]
    first = figures(document(arguments, capsys))
    assert figures(document([*arguments, "--workers", "1"], capsys)) == first


def test_idle_rand_brings_its_interval(capsys: pytest.CaptureFixture[str]) -> None:
    found = document([*PLAIN, "--pattern", "idle_rand", "--requests", "10"], capsys)
    assert found["machine"]["interval_ticks"] == 400
    assert found["accepted_cycles"] == 9 * 400
    # Ten rows of 16 banks: closed (nRCD + nCL + nBL, one tick after arrival) or in conflict (nRP more).
    conflicts = found["row_conflicts"]
    assert found["row_misses"] + conflicts == 10
    assert found["mean_read_latency_cycles"] == pytest.approx(1 + 22 + 22 + 4 + 22 * conflicts / 10)
    assert document([*PLAIN, "--pattern", "idle_rand", "--interval", "7"], capsys)["machine"]["interval_ticks"] == 7


def test_a_trace_is_run_as_the_pattern_it_holds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [f"{'ST' if i % 3 == 2 else 'LD'} {64 * i:#x}" for i in range(500)]
    trace = tmp_path / "mix.trace"
    trace.write_text("\n".join(lines) + "\n")
    expected = figures(document([*RUN, "--pattern", "mix21", "--requests", "500"], capsys))
    found = document([*RUN, "--trace", str(trace)], capsys)
    assert figures(found) == expected
    assert found["source"] == str(trace)
    assert document([*RUN, "--trace", str(trace), "--requests", "20"], capsys)["requests"] == 20


def test_gather_takes_numbers_or_a_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    numbers = tmp_path / "rows.txt"
    numbers.write_text("5, 0\n9 9\n")
    base = [*RUN, "--pattern", "gather", "--granule", "4 KiB", "--requests", "512"]
    from_file = document([*base, "--indices", str(numbers)], capsys)
    assert figures(document([*base, "--indices", "5,0,9,9"], capsys)) == figures(from_file)


def test_the_log_holds_every_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "log.csv"
    found = document([*PLAIN, "--pattern", "stride_row", "--requests", "3", "--log", str(path)], capsys)
    with path.open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(found["commands"].values())
    # ACT, RD nRCD later, PRE nRAS after the ACT, the next ACT nRC after it, in another row of bank 0.
    assert [(int(row["tick"]), row["command"], row["rank"], row["bank"]) for row in rows[:4]] == [
        (1, "ACT", "0", "0"),
        (23, "RD", "0", "0"),
        (53, "PREpb", "0", "0"),
        (75, "ACT", "0", "0"),
    ]
    assert [rows[0]["row"], rows[2]["row"], rows[3]["row"]] == ["0", "", "1"]
    assert {row["channel"] for row in rows} == {"0"}


def test_devices_are_listed_and_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["list", "devices", "--json"]) == 0
    assert [row["name"] for row in json.loads(capsys.readouterr().out)] == list(device_names())
    found = document(["memory", "show", "ddr4-3200"], capsys)
    assert (found["banks"], found["row_bytes"], found["capacity_bytes"]) == (16, 8192, 8 * 2**30)
    assert found["peak_bytes_per_s"] == pytest.approx(25.6e9)
    assert found["timing"]["nFAW"] == 34
    assert document(["memory", "show", "DDR4-3200", "--ranks", "4"], capsys)["banks"] == 64
    for name in device_names():
        assert run(["memory", "show", name]) == 0
        text = capsys.readouterr().out
        assert text.startswith(f"{name}: ")
        assert "tFAW" in text


def test_help_does_not_import_the_engine() -> None:
    code = "import sys\nfrom dse.cli.entry import run\nrun(['memory', 'run', '--help'])\n"
    code += "assert not {'numpy', 'numba', 'simulator'} & set(sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "--pattern" in done.stdout


# What is refused

SEQ = [*RUN, "--pattern", "seq"]


def broken() -> Iterator[tuple[list[str], str]]:
    for option, values in {
        "--requests": ("0", "-1", "x", "1.5", "", "1" + "0" * 30),
        "--seed": ("-1", "x", str(2**64)),
        "--queue": ("0", "-4", "5000", "x"),
        "--write-queue": ("0", "-4", "5000"),
        "--write-low": ("0.9", "-1", "nan"),
        "--channels": ("0", "-2", "3", "4096", "x"),
        "--ranks": ("0", "3", "-1", "32"),
        "--scheduler": ("frfcf", "", "row-hits"),
        "--page": ("opened", ""),
        "--refresh": ("all", "", "per-bank"),
        "--postpone": ("-1", "9", "65"),
        "--pull-in": ("-1", "9"),
        "--tries": ("0", "65", "-1"),
        "--interval": ("-1", "x", "1" + "0" * 12),
        "--hit-cap": ("0", "-1"),
        "--timeout-ticks": ("0", "-1"),
        "--mapping": ("MOP4CLXR", "", "rorabaco", "rorabacobgchch", "co0=1,co0=2", "co0=99", "bg0=1^"),
        "--region": ("100", "0", "-64", "1 GHz", "lots", "", "0.3 B", "nan", "1 furlong", "64 EB"),
        "--workers": ("0", "-1"),
        "--streams": ("4",),
        "--granule": ("128",),
        "--stride": ("128",),
        "--indices": ("1,2",),
        "--write-every": ("0", "-3", "x"),
        "--write-share": ("1.5", "-0.1", "nan", "x"),
        "--pattern": ("sequental", "", "random8"),
        "--device": ("DDR4-320", "", "no/such.yaml", "."),
        "--log": ("no/such/folder/log.csv", "/"),
        "--patern": ("seq",),
    }.items():
        for value in values:
            word = option.strip("-") if option not in ("--device", "--log") or "/" not in value else value
            yield [*SEQ, option, value], word
    yield RUN, "--pattern"
    yield ["memory", "run", "--pattern", "seq"], "--device"
    yield [*SEQ, "--trace", "t.trace"], "--trace"
    yield [*RUN, "--trace", "no-such.trace"], "no-such.trace"
    yield [*RUN, "--trace", "t.trace", "--region", "1 GiB"], "--region"
    yield [*SEQ, "--postpone", "2", "--refresh", "none"], "--postpone"
    yield [*SEQ, "--hit-cap", "4"], "--hit-cap: means nothing with scheduler row-hit"
    yield [*SEQ, "--hit-cap", "4", "--scheduler", "batch"], "--hit-cap: means nothing with scheduler batch"
    yield [*SEQ, "--timeout-ticks", "200"], "--timeout-ticks: means nothing with page policy open"
    yield [*SEQ, "--timeout-ticks", "90", "--page", "closed"], "--timeout-ticks"
    yield [*SEQ, "--scheduler", "capped", "--hit-cap", "0"], "--hit-cap: found 0"
    yield [*SEQ, "--page", "timeout", "--timeout-ticks", "0"], "--timeout-ticks: found 0"
    yield [*SEQ, "--shape", "4x4"], "--shape: means nothing for DRAM; expected a memory that computes"
    yield [*SEQ, "--write-every", "2", "--write-share", "0.5"], "--write-every"
    yield [*RUN, "--pattern", "mix21", "--write-every", "2"], "--write-every"
    yield [*RUN, "--pattern", "gather"], "--indices"
    for indices in ("", "1,-2", "1,x", "no-such-file", "1e3", "9" * 30, "."):
        yield [*RUN, "--pattern", "gather", "--indices", indices], "--indices"
    for granule in ("0", "100", "-64", "7 KiB/s"):
        yield [*RUN, "--pattern", "random", "--granule", granule], "--granule"
    yield [*RUN, "--pattern", "random", "--region", "1 GiB", "--granule", "192"], "--granule"
    for streams in ("0", "-1", "100000000000"):
        yield [*RUN, "--pattern", "streams", "--streams", streams], "--streams"
    yield [*RUN, "--pattern", "streams", "--streams", "2", "--stride", "100"], "--stride"
    yield [*RUN, "--pattern", "strided", "--stride", "100"], "--stride"
    yield [*RUN, "--pattern", "strided", "--stride", "0"], "--stride"
    yield ["memory"], "memory"
    yield ["memory", "rum"], "rum"
    yield ["memory", "show", "DDR4"], "DDR4"
    yield ["memory", "show"], "NAME|FILE"
    yield ["memory", "show", "DDR4-3200", "--ranks", "3"], "ranks"
    yield ["list", "device"], "device"


LINES = [case for case in broken() if case[0] != ["memory"]]


@pytest.mark.parametrize("number", range(len(LINES)))
def test_broken_command_lines(number: int, capsys: pytest.CaptureFixture[str]) -> None:
    arguments, word = LINES[number]
    code = run(arguments)
    captured = capsys.readouterr()
    assert code == 2, (arguments, code, captured.err)
    assert captured.out == ""
    assert captured.err.startswith("tiercade")
    assert captured.err.count("\n") == 1, captured.err
    assert word.casefold() in captured.err.casefold(), (word, captured.err)


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["--pattern", "sequental"], "sequential"),
        (["--scheduler", "frfcf"], "frfcfs"),
        (["--mapping", "MOP4CLXR"], "MOP4CLXOR"),
        (["--device", "DDR4-320"], "DDR4-3200"),
        (["--page", "opened"], "open"),
    ],
)
def test_unknown_names_come_with_the_nearest(
    arguments: list[str], nearest: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*SEQ, *arguments, "--json"]) == 2
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["field"], error["nearest"]) == (arguments[0], nearest)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("LD 0x40\nLD 0x41\n", ":2: address 0x41 is not aligned"),
        ("LD 0x40\nLOAD 0\n", ":2: unknown operation 'LOAD'"),
        (f"LD {8 << 30}\n", ":1: address 0x200000000 lies beyond the memory"),
        ("LD 0\nLD", ":2: the last line is cut off"),
        ("", ": is empty"),
        ("LD 0\n" * 3, "--requests: found 4 requests; expected at most the 3 of the trace"),
    ],
)
def test_broken_traces(text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    trace = tmp_path / "t.trace"
    trace.write_text(text)
    assert run([*RUN, "--trace", str(trace), "--requests", "4"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert message in error


def test_too_small_a_memory_is_three(capsys: pytest.CaptureFixture[str]) -> None:
    assert run([*RUN, "--pattern", "rand", "--region", "16 GiB", "--requests", "10", "--json"]) == 3
    error = json.loads(capsys.readouterr().out)["error"]
    assert (error["needed"], error["available"], error["unit"]) == (16 * 2**30, 8 * 2**30, "bytes")


def test_a_stack_has_no_ranks_and_ddr_no_bank_refresh(capsys: pytest.CaptureFixture[str]) -> None:
    stacks = [name for name in device_names() if name.startswith("HBM")]
    for arguments, word in [
        *((["--device", name, "--ranks", "2"], f"--ranks: {name} has no ranks") for name in stacks),
        *((["--device", n, "--refresh", "per-bank", "--postpone", "1"], "--postpone: postpone = 1") for n in stacks),
        (["--refresh", "per-bank"], "--refresh: DDR4-3200 has no per-bank refresh"),
    ]:
        assert run([*SEQ, *arguments]) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert word in error
