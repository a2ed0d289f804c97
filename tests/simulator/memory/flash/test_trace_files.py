"""Trace files: what lines mean, and where wrong ones are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from simulator.memory.flash.trace_files import read_trace
from workloads.errors import InputError


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "requests.txt"
    path.write_text(text)
    return path


def test_own_lines(tmp_path: Path) -> None:
    path = write(tmp_path, "# a comment\nR 0 4096\n\nw 4 KiB 1MiB  # two\nW 1_024 512 B\n")
    trace = read_trace(path, queue_depth=3)
    assert trace.first_bytes.tolist() == [0, 4096, 1024]
    assert trace.size_bytes.tolist() == [4096, 2**20, 512]
    assert trace.writes.tolist() == [False, True, True]
    assert trace.arrival_s is None
    assert trace.queue_depth == 3


def test_arrivals_are_microseconds(tmp_path: Path) -> None:
    trace = read_trace(write(tmp_path, "R 0 512 0\nR 4 KiB 512 1.5\nW 0 512 2e3\n"))
    assert trace.arrival_s == pytest.approx([0, 1.5e-6, 2e-3])


@pytest.mark.parametrize("heading", ["", "Timestamp,Hostname,DiskNumber,Type,Offset,Size,ResponseTime\n"])
def test_lines_of_the_msr_form(tmp_path: Path, heading: str) -> None:
    # Windows file times count 100 ns: 2150 and 60,000,000 after the first are 215 us and 6 s.
    text = heading + (
        "128166000000000000,host,0,Write,9056014336,2048,2833\n"
        "128166000000002150,host,1,Read,512,4096,2617\n"
        "128166000060000000,host,0,Read,3163095040,40960,3438\n"
    )
    trace = read_trace(write(tmp_path, text))
    assert trace.first_bytes.tolist() == [9056014336, 512, 3163095040]
    assert trace.size_bytes.tolist() == [2048, 4096, 40960]
    assert trace.writes.tolist() == [True, False, False]
    assert trace.arrival_s == pytest.approx(np.array([0, 215e-6, 6.0]))
    assert read_trace(write(tmp_path, text), disk=0).arrival_s == pytest.approx([0, 6.0])
    assert read_trace(write(tmp_path, text), disk=1).arrival_s == pytest.approx([0])


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("R 0 512\nX 0 512\n", 2, "found 'X 0 512'"),
        ("R 0 512\n\nR 0\n", 3, "found 'R 0'"),
        ("R 0 100\n", 1, "size of 100 bytes"),
        ("R 0 0\n", 1, "size of 0 bytes"),
        ("R 100 512\n", 1, "offset of 100 bytes"),
        ("R 0 512 5\nR 0 512 4\n", 2, "arrival after"),
        ("R 0 512 5\nR 0 512\n", 2, "on some lines"),
        ("R 0 512\nR 0 512 5\n", 2, "on some lines"),
        ("R 0 512 1-2\n", 1, "arrival of"),
        ("R 0 512 1e999\n", 1, "arrival after"),
        ("R 0 1.0001 KiB\n", 1, "found 1.0001 KiB"),
        ("R 0 99999999999999999999999\n", 1, "size of"),
        ("1,host,0,Read,0,512,1\n0,host,0,Read,0,512,1\n", 2, "arrival after"),
        ("1,host,0,Trim,0,512,1\n", 1, "found '1,host,0,Trim"),
        ("1,host,0,Read,-512,512,1\n", 1, "found"),
        ("1,host,0,Read,512,1\n", 1, "found"),
    ],
)
def test_wrong_lines_are_named(tmp_path: Path, text: str, line: int, problem: str) -> None:
    path = write(tmp_path, text)
    with pytest.raises(InputError) as caught:
        read_trace(path)
    assert (caught.value.file, caught.value.line) == (str(path), line)
    assert problem in caught.value.problem
    assert "\n" not in str(caught.value)


def test_files_that_hold_no_requests(tmp_path: Path) -> None:
    for path in (write(tmp_path, "# none\n"), tmp_path / "missing.txt"):
        with pytest.raises(InputError) as caught:
            read_trace(path)
        assert caught.value.file == str(path)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="UTF-8"):
        read_trace(binary)
