"""Collectives by size and half: groups by hand, the figure, and the measured calls at both ends."""

from __future__ import annotations

from itertools import pairwise

import pytest

from dse.validation import Measurement, compare, predict, read_measurements
from dse.validation.collectives import (
    SIZES,
    all_reduce_figure,
    collective_document,
    collective_groups,
    collective_report,
    fitted_rows,
)
from dse.validation.predict import COLLECTIVES
from tests.reference_data import reference_file

GPU = "H100-SXM-80GB"


def call(number: int, payload: int, factor: float, op: str = "all_reduce", framework: str = "NCCL") -> Measurement:
    """A call that took ``factor`` times what we predict for it."""
    row = Measurement(str(number), GPU, framework, op, "", "bf16", "", {"bytes": payload, "ngpus": 4}, 1.0)
    predicted = predict(row)
    assert isinstance(predicted, float)
    return Measurement(**{**vars(row), "latency_s": predicted * factor})


ROWS = [
    call(10, 65536, 0.5),  # fourth by id: in the check
    call(9, 1 << 21, 2.0),  # third: fitted
    call(1, 1024, 1.0),  # first: fitted
    call(3, 1 << 30, 0.8),  # second: in the check
    call(11, 1024, 1.0, "all_gather", "torch NCCL"),  # fifth: fitted
]


def test_every_second_row_by_number_was_fitted() -> None:
    assert fitted_rows(ROWS) == {"1", "9", "11"}
    other = Measurement("2", "A40", "NCCL", "all_reduce", "", "bf16", "", {"bytes": 8, "ngpus": 2}, 1.0)
    gemm = Measurement("2", GPU, "", "gemm", "", "bf16", "", {"m": 1, "n": 1, "k": 1}, 1.0)
    assert fitted_rows([*ROWS, other, gemm]) == {"1", "9", "11"}


def test_groups_part_sizes_and_halves() -> None:
    """Errors of a call that took f times the prediction are 1 / f - 1."""
    compared, _ = compare(ROWS)
    found = [
        (group.op, group.launch, group.size, group.half, group.rows, pytest.approx(group.signed))
        for group in collective_groups(compared)
    ]
    assert found == [
        ("all_gather", "torch", "any", "fitted", 1, 0.0),
        ("all_reduce", "together", "up to 66 KiB", "check", 1, 1.0),
        ("all_reduce", "together", "up to 66 KiB", "fitted", 1, 0.0),
        ("all_reduce", "together", "up to 8 MiB", "fitted", 1, -0.5),
        ("all_reduce", "together", "above", "check", 1, 0.25),
    ]
    document = collective_document(compared)
    assert [row["worst"]["id"] for row in document] == ["11", "10", "1", "9", "3"]


def test_the_report_and_the_figure() -> None:
    compared, _ = compare(ROWS)
    text = collective_report(compared)
    assert text.startswith("# Accuracy of collectives\n")
    line = "all_reduce | together | above | check | 1 | 25.0% | +25.0% | +25% (bytes 1073741824, ngpus 4) |"
    assert f"| {GPU} | {line}" in text
    figure = all_reduce_figure(compared)
    (axes,) = figure.axes
    assert axes.get_title() == GPU or axes.get_title("left") == GPU
    line, *dots, _ = axes.lines
    assert len(dots) == 4
    # The line runs from the least payload to the largest and passes what we predict there.
    at, time_us = line.get_data()
    assert (at[0], at[-1]) == (1024, 1 << 30)
    assert time_us[0] == pytest.approx(next(one for one in compared if one.row.id == "1").predicted_s * 1e6)
    hollow = [str(dot.get_markerfacecolor()) == "none" for dot in dots]
    assert hollow == [one.row.id in ("1", "9") for one in compared if one.row.op == "all_reduce"]


def test_nothing_to_compare_gives_an_empty_table_and_figure() -> None:
    assert collective_groups([]) == []
    assert all_reduce_figure([]).axes


def test_the_wire_bound_calls_that_were_not_fitted_are_met() -> None:
    """Above 8 MiB and launched together: median below 5 % on each GPU."""
    rows = [row for row in read_measurements(reference_file("gpu_measurements.csv")) if row.op in COLLECTIVES]
    groups = collective_groups(compare(rows)[0])
    ends = [
        group
        for group in groups
        if (group.op, group.launch, group.size, group.half) == ("all_reduce", "together", list(SIZES)[-1], "check")
    ]
    assert len(ends) == 2
    assert all(group.median < 0.05 for group in ends)
    assert sum(group.rows for group in groups) == len(rows) == 124


def test_sizes_join() -> None:
    bounds = list(SIZES.values())
    assert bounds[0][0] == 0
    assert all(one[1] == other[0] for one, other in pairwise(bounds))
