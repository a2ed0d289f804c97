"""Traces as files: what they may hold, and that what is wrong is named with file and line."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from simulator.memory.dram.streams import Recorded
from simulator.memory.dram.traces import read_trace
from workloads.errors import InputError

CAPACITY = 1 << 20


def read(folder: Path, text: str | bytes, name: str = "t.trace") -> Recorded:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return read_trace(path, burst_bytes=64, capacity_bytes=CAPACITY)


def pairs(trace: Recorded) -> list[tuple[int, bool]]:
    at, writes = trace.addresses(0, len(trace))
    return list(zip(at.tolist(), writes.tolist(), strict=True))


def test_every_form_a_line_may_have(tmp_path: Path) -> None:
    text = "# a trace\n\nLD 0x1c0\nST 128\r\n  LD\t0XFFC0 \nLD 0x40#near\nST 0 # far – beyond\n   \nLD 000064"
    expected = [(0x1C0, False), (128, True), (0xFFC0, False), (64, False), (0, True), (64, False)]
    assert pairs(read(tmp_path, text)) == expected
    assert pairs(read(tmp_path, "\ufeffLD 64\n")) == [(64, False)]
    assert pairs(read(tmp_path, gzip.compress(text.encode()), "t.trace.gz")) == expected


def test_the_highest_burst_is_inside(tmp_path: Path) -> None:
    assert pairs(read(tmp_path, f"LD {CAPACITY - 64}\n")) == [(CAPACITY - 64, False)]


@pytest.mark.parametrize(
    ("text", "line", "problem"),
    [
        ("LD 0\nXX 64\n", 2, "unknown operation 'XX'; expected one of LD, ST"),
        ("ld 0\n", 1, "unknown operation 'ld'; expected one of LD, ST; did you mean 'LD'?"),
        ("0x40 LD\n", 1, "unknown operation '0x40'"),
        ("LDX 0\n", 1, "unknown operation 'LDX'; expected one of LD, ST; did you mean 'LD'?"),
        ("LD 0\n\n# c\nLD\nLD 0\n", 4, "found 1 fields in 'LD'; expected LD or ST and an address"),
        ("LD 0 64\n", 1, "found 3 fields in 'LD 0 64'"),
        ("LD 0 0\n", 1, "found 3 fields in 'LD 0 0'"),
        ("LD 0x4g\n", 1, "bad address '0x4g'"),
        ("LD 0x\n", 1, "bad address '0x'"),
        ("LD 1e3\n", 1, "bad address '1e3'"),
        ("LD 64.0\n", 1, "bad address '64.0'"),
        ("LD ff\n", 1, "bad address 'ff'"),
        ("LD -64\n", 1, "negative address '-64'"),
        ("ST -0x40\n", 1, "negative address '-0x40'"),
        ("LD +64\n", 1, "bad address '+64'"),
        ("LD ٦٤\n", 1, "bad address"),
        ("LD 0\x0b\n", 1, "bad address"),
        ("LD 100\n", 1, "address 0x64 is not aligned; expected a multiple of the burst of 64 bytes"),
        ("LD 0x41\n", 1, "address 0x41 is not aligned"),
        ("LD 1048576\n", 1, "address 0x100000 lies beyond the memory; expected below 0x100000, its capacity"),
        (f"LD 0x{'f' * 40}\n", 1, "address 0xffffffffffffffffff... lies beyond the memory"),
        (f"LD {'9' * 9000}\n", 1, "lies beyond the memory"),
        (f"LD {2**64 + 64}\n", 1, "lies beyond the memory"),
        ("LD 0\nST 64\nL", 3, "the last line is cut off: 'L'"),
        ("LD 0\nST 64\nLD", 3, "the last line is cut off: 'LD'"),
        ("LD 0\nST 64\nLD 0x", 3, "the last line is cut off: 'LD 0x'"),
        ("LD 0\nXY 64", 2, "unknown operation 'XY'"),
    ],
)
def test_wrong_lines_are_named(text: str, line: int, problem: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, text)
    assert str(caught.value).startswith(f"{tmp_path / 't.trace'}:{line}: ")
    assert problem in str(caught.value)
    assert len(str(caught.value)) < 300 + len(str(tmp_path))


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "is empty"),
        (b"\n\n# nothing\n  \n", "holds no request"),
        (b"LD 0\n\x00\x01\x02\n", "is not text"),
        (b"LD 0\n\xff\xfe\n", "is not text"),
        (gzip.compress(b"LD 0\n", mtime=0), "is not text"),
    ],
)
def test_wrong_files_are_named(data: bytes, problem: str, tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path, data)
    assert str(caught.value).startswith(f"{tmp_path / 't.trace'}: {problem}")


def test_missing_and_damaged_files(tmp_path: Path) -> None:
    for path, problem in ((tmp_path / "none", "cannot be read: No such file"), (tmp_path, "cannot be read: Is a dir")):
        with pytest.raises(InputError, match=problem):
            read_trace(path, burst_bytes=64, capacity_bytes=CAPACITY)
    packed = gzip.compress(b"LD 0\n" * 100, mtime=0)
    for data in (b"LD 0\n", packed[:-9], packed[:12] + b"\x00\x00\x00" + packed[15:]):
        with pytest.raises(InputError, match="is no gzip file, or a damaged one"):
            read(tmp_path, data, "t.gz")


LINE = re.compile(r"[ \t\r]*(?:(LD|ST)[ \t]+(0[xX][0-9a-fA-F]+|[0-9]+)[ \t\r]*)?(?:#.*)?")


def by_definition(text: str) -> list[tuple[int, bool]] | int:
    """The requests, or the number of the first wrong line."""
    found = []
    for number, line in enumerate(text.split("\n"), 1):
        match = LINE.fullmatch(line)
        if match is None:
            return number
        if match[1]:
            value = int(match[2], 16 if match[2][:2] in ("0x", "0X") else 10)
            if value % 64 or value >= CAPACITY:
                return number
            found.append((value, match[1] == "ST"))
    return found


words = st.sampled_from(
    [
        "LD",
        "ST",
        "0x40",
        "64",
        "0X3C0",
        "1",
        "0",
        "x",
        "#",
        "-",
        "L",
        "é",
        "1048576",
        " ",
        " ",
        "\t",
        "\r",
        "\n",
        "\n",
        "\f",
    ]
)


@given(st.lists(words, min_size=1, max_size=30).map("".join))
def test_any_text_is_read_as_defined(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    folder = tmp_path_factory.getbasetemp()
    expected = by_definition(text)
    if isinstance(expected, list) and expected:
        assert pairs(read(folder, text)) == expected
        return
    with pytest.raises(InputError) as caught:
        read(folder, text)
    assert caught.value.line == (None if expected == [] else expected)
    if "not aligned" in caught.value.problem:
        assert int(caught.value.problem.split()[1], 16) % 64
    if "beyond" in caught.value.problem:
        assert int(caught.value.problem.split()[1].rstrip("."), 16) >= CAPACITY
