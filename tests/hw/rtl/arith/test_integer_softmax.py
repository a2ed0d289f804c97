"""The integer softmax unit against its golden model and contract."""

from __future__ import annotations

import numpy as np
import pytest

from hw.rtl.arith.integer_softmax_model import UNIT, IntegerSoftmax
from hw.rtl.drive.campaign import run_campaign
from hw.rtl.units import parameters_of
from workloads.errors import InputError


@pytest.mark.parametrize("settings", [{}, *UNIT.variants])
def test_rtl_is_golden_and_on_time(settings: dict[str, int]) -> None:
    result = run_campaign(UNIT, parameters_of(UNIT, settings), settings, beats=700)
    assert result.passed, result
    assert result.beats > 1200
    assert result.closed_form_cases >= 3


def test_golden_by_hand() -> None:
    # Two rows in one octave a step: (1, 0 | 2, -) has maximum 1, sum 256 + 128, then 384 >> 1 + 256 = 448, and
    # 65,280 / 448 = 145.7; the second is one score alone: 65,280 / 256 = 255.
    x, counts = np.array([[1, 0], [2, 99], [-7, 3]]), np.array([[1, 1], [1, 0], [1, 0]])
    given = UNIT.golden(
        IntegerSoftmax(lanes=2, fraction=0, row=2), {"i": {"x": x, "counts": counts, "last": np.array([0, 1, 1])}}
    )
    assert given["o"]["p"].tolist() == [[72, 36], [145, 0], [255, 0]]


def test_rows_follow_each_other_without_a_gap() -> None:
    # 10 rows of 32 beats: 320 cycles in, and what the last of them waits: its 32 beats again, and the latency.
    p = IntegerSoftmax(row=32)
    contract = UNIT.contract(p)
    assert p.latency_cycles == 15
    last = np.zeros(320, np.int64)
    last[31::32] = 1
    assert contract.cycles(**contract.shape({"i": {"last": last}})) == 320 + 32 + 14


def test_sum_has_the_bits_for_equal_scores() -> None:
    assert IntegerSoftmax(lanes=16, row=128).sum_width == 20  # 2,048 scores reach 2^19


@pytest.mark.parametrize(
    ("settings", "field"),
    [({"lanes": 0}, "lanes"), ({"width": 1}, "width"), ({"fraction": 8}, "fraction"), ({"row": 0}, "row")],
)
def test_parameters_are_checked(settings: dict[str, int], field: str) -> None:
    with pytest.raises(InputError) as caught:
        parameters_of(UNIT, settings)
    assert caught.value.field == field
