"""MiniMalloc's CSV: its names, its traps, and what is said about mistakes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mappers.planner.allocation import AllocationProblem, Buffer, Gap
from mappers.planner.allocation.csv_format import parse_csv, read_csv, to_csv
from tests.mappers.planner.allocation.exhaustive import random_problem
from tests.reference_data import reference_file
from workloads.errors import InputError


def only(text: str) -> Buffer:
    (buffer,) = parse_csv(text, "text").buffers
    return buffer


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("id,lower,upper,size\nx,3,9,4\n", Buffer("x", 3, 9, 4)),
        ("size,upper,lower,buffer\n4,9,3,x\n", Buffer("x", 3, 9, 4)),
        ("buffer_id,start,end,size\nx,3,8,4\n", Buffer("x", 3, 9, 4)),
        ("id,begin,upper,size,alignment\nx,3,9,4,16\n", Buffer("x", 3, 9, 4, 16)),
        ("id,lower,upper,size,offset,hint\nx,3,9,4,8,-1\n", Buffer("x", 3, 9, 4, pinned=8)),
        ("id,lower,upper,size,offset,hint\nx,3,9,4,,12\n", Buffer("x", 3, 9, 4, hint=12)),
        ("id,lower,upper,size,gaps\nx,0,9,8,6-8@0:4 2-3\n", Buffer("x", 0, 9, 8, gaps=(Gap(2, 3), Gap(6, 8, (0, 4))))),
        ("id,lower,end,size,gaps\nx,0,8,8,2-3\n", Buffer("x", 0, 9, 8, gaps=(Gap(2, 4),))),
        ("id,lower,upper,size\r\nx,-3,9,4\r\n\r\nanything\r\n", Buffer("x", -3, 9, 4)),
    ],
)
def test_columns_and_their_names(text: str, expected: Buffer) -> None:
    assert only(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "f.csv:1: is empty; expected a header and a line for each buffer"),
        ("id,lower,upper\n", "f.csv:1: size: there is no column size; expected columns id, lower, upper and size"),
        ("id,lower,start,upper,size\n", "f.csv:1: start: lower has two columns; expected one"),
        ("id,lower,upper,size\na,0,1\n", "f.csv:2: 3 fields under 4 columns; expected a field for each column"),
        (
            "id,lower,upper,size\na,0,1,4\na,0,1,4\n",
            "f.csv:3: id: the id 'a' is that of line 2; expected each buffer its own id",
        ),
        (
            "id,lower,upper,size\na,0,1,4.5\n",
            "f.csv:2: size: '4.5' is not an integer; expected an integer of at most 18 digits",
        ),
        ("id,lower,upper,size\na,1,1,4\n", "f.csv:2: upper: a lives from 1 to 1; expected lower < upper"),
        ("id,lower,upper,size\na,0,1,-4\n", "f.csv:2: size: a has -4 bytes; expected 0 to 2^56 bytes"),
        (
            "id,lower,upper,size,gaps\na,0,9,4,3\n",
            "f.csv:2: gaps: '3' is not a gap; expected FROM-TO or FROM-TO@LOW:HIGH, such as 3-5 or 3-5@0:64",
        ),
        (
            "id,lower,upper,size,gaps\na,0,9,4,3-10\n",
            "f.csv:2: gaps: a has a gap from 3 to 10; expected gaps in order, apart, within 0 to 9",
        ),
        (
            "id,lower,upper,size,gaps\na,0,9,4,3-5@2:6\n",
            "f.csv:2: gaps: a has the window 2 to 6; expected within its 4 bytes",
        ),
        (
            "id,lower,upper,size,alignment,offset\na,0,9,4,8,12\n",
            "f.csv:2: offset: a is pinned at 12; expected a multiple of its alignment 8",
        ),
    ],
)
def test_mistakes_are_named(text: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_csv(text, "f", "f.csv")
    assert str(caught.value) == message


def test_an_unknown_column_suggests_the_nearest() -> None:
    with pytest.raises(InputError, match=r"unknown column 'aligment'.*did you mean 'alignment'\?"):
        parse_csv("id,lower,upper,size,aligment\n", "f")


@given(st.integers(0, 100_000))
def test_what_is_written_is_read_again(seed: int) -> None:
    problem = random_problem(seed)
    assert parse_csv(to_csv(problem), problem.name) == problem


def test_a_solution_pins_what_it_places() -> None:
    problem = AllocationProblem("p", (Buffer("a", 0, 2, 4), Buffer("b", 0, 2, 4, hint=8, gaps=(Gap(0, 1, (0, 2)),))))
    text = to_csv(problem, (0, 4))
    assert text == "id,lower,upper,size,hint,gaps,offset\na,0,2,4,-1,,0\nb,0,2,4,8,0-1@0:2,4\n"
    assert [buffer.pinned for buffer in parse_csv(text, "p").buffers] == [0, 4]


def test_a_reference_file() -> None:
    # 154 buffers (row count of the file), the first as it stands there.
    problem = read_csv(reference_file("minimalloc/A.1048576.csv"))
    assert len(problem.buffers) == 154
    assert problem.buffers[0] == Buffer("0", 995_328, 1_000_448, 656_384)
