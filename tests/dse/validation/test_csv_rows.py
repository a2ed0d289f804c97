"""Rows of CSV files: comments, lines and columns of what is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dse.validation.csv_rows import CsvRow, header_of, read_csv
from workloads.errors import InputError


def write(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


def message(path: Path, columns: tuple[str, ...] = ("a", "b")) -> str:
    with pytest.raises(InputError) as caught:
        read_csv(path, columns, "things")
    return str(caught.value).removeprefix(f"{path.parent}/")


def test_comments_and_empty_lines_count_as_lines_only(tmp_path: Path) -> None:
    path = write(tmp_path / "c.csv", "# one\n\na,b\n# two\n1,2\n\n3,4\n")
    rows = read_csv(path, ("a", "b"), "things")
    assert [(row.line, row.cells) for row in rows] == [(5, {"a": "1", "b": "2"}), (7, {"a": "3", "b": "4"})]
    assert header_of(path) == {"a", "b"}


def test_what_is_wrong_with_a_file(tmp_path: Path) -> None:
    assert message(tmp_path / "no.csv") == "no.csv: No such file or directory; expected a CSV file of things"
    assert message(write(tmp_path / "c.csv", "")) == "c.csv:1: no column 'a'; expected columns a, b"
    typed = write(tmp_path / "c.csv", "# x\nlength,wdith\n")
    assert message(typed, ("length", "width")).endswith("no column 'width'; expected columns length, width; did you "
                                                        "mean 'wdith'?")  # fmt: skip
    assert message(write(tmp_path / "c.csv", "a,b\n1\n")) == "c.csv:2: 1 cells; expected 2, one for each column"
    assert message(write(tmp_path / "c.csv", "a,b\n1,2,3\n")) == "c.csv:2: 3 cells; expected 2, one for each column"
    assert message(write(tmp_path / "c.csv", "a,b\n# 1,2\n")) == "c.csv: has no rows; expected a CSV file of things"
    (tmp_path / "c.csv").write_bytes(b"\xff\xfe")
    assert message(tmp_path / "c.csv") == "c.csv: is not UTF-8 text; expected a CSV file of things"
    assert message(tmp_path).endswith("expected a CSV file of things")


def test_what_is_wrong_with_a_cell() -> None:
    row = CsvRow("f.csv", 7, {"n": "-1", "x": "inf", "zero": "0", "name": "yse", "empty": "", "deep": "٣"})
    for call, expected in (
        (lambda: row.whole("n"), "f.csv:7: n: '-1'; expected a whole number from 0 to 1e12"),
        (lambda: row.whole("deep"), "f.csv:7: deep: '٣'; expected a whole number from 0 to 1e12"),
        (lambda: row.whole("zero", 1), "f.csv:7: zero: '0'; expected a whole number from 1 to 1e12"),
        (lambda: row.number("x"), "f.csv:7: x: 'inf'; expected a number of 0 or more"),
        (lambda: row.number("zero", above=True), "f.csv:7: zero: '0'; expected a number above 0"),
        (lambda: row.number("gone"), "f.csv:7: gone: ''; expected a number of 0 or more"),
        (lambda: row.one_of("name", ("yes", "no")), "f.csv:7: name: 'yse'; expected yes, no; did you mean 'yes'?"),
    ):
        with pytest.raises(InputError) as caught:
            call()
        assert str(caught.value) == expected
    assert row.optional("empty") is None
    assert row.whole("zero") == 0


@given(st.text(max_size=200), st.sampled_from(["a,b\n", "# c\na,b\n", ""]))
def test_any_text_is_rows_or_one_error(tmp_path_factory: pytest.TempPathFactory, text: str, header: str) -> None:
    path = tmp_path_factory.mktemp("any", numbered=True) / "any.csv"
    path.write_bytes((header + text).encode("utf-8", "surrogatepass"))
    try:
        rows = read_csv(path, ("a", "b"), "things")
    except InputError as error:
        found = error.file
    else:
        found = str(path)
        assert all({"a", "b"} <= row.cells.keys() for row in rows)
    assert found == str(path)
