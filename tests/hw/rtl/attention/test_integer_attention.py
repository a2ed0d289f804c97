"""The integer attention unit against its golden model and contract."""

from __future__ import annotations

import numpy as np
import pytest

from hw.rtl.attention.integer_attention_model import UNIT, IntegerAttention
from hw.rtl.drive.campaign import run_campaign
from hw.rtl.units import parameters_of
from workloads.errors import InputError
from workloads.formats.arith.integer_attention import integer_attention


@pytest.mark.parametrize("settings", [{}, *UNIT.variants])
def test_rtl_is_golden_and_on_time(settings: dict[str, int]) -> None:
    result = run_campaign(UNIT, parameters_of(UNIT, settings), settings, beats=360)
    assert result.passed, result
    assert result.beats > 1200
    assert result.closed_form_cases >= 3


@pytest.mark.slow
def test_default_is_golden_and_on_time() -> None:
    result = run_campaign(UNIT, IntegerAttention(), {}, beats=20_000)
    assert result.passed, result


def test_golden_takes_rows_apart() -> None:
    p = IntegerAttention(head=4, lanes=2, length=3)
    rng = np.random.default_rng(4)
    q, k, v = rng.integers(-128, 128, (2, 4)), rng.integers(-128, 128, (4, 4)), rng.integers(-128, 128, (4, 4))
    inputs = {
        "q": {"q": q.reshape(-1, 2)},
        "k": {"k": k.reshape(-1, 2), "last": np.array([1, 0, 0, 0, 0, 1, 1, 1])},  # second beats
        "v": {"v": v.reshape(-1, 2)},
    }
    given = UNIT.golden(p, inputs)["o"]["o"].reshape(2, 4)
    assert given[0].tolist() == integer_attention(q[0], k[:3], v[:3], p.numerics).tolist()
    assert given[1].tolist() == integer_attention(q[1], k[3:], v[3:], p.numerics).tolist()


def test_keys_flow_at_one_beat_a_cycle_from_row_to_row() -> None:
    # 1,024 positions of 4 beats, in rows of any length: 4 cycles for the first query, 4 for the last output, and the
    # latency of 5 score stages, 17 digits of the reciprocal and 5 registers around it.
    p = IntegerAttention(head=16, lanes=4, length=64)
    contract = UNIT.contract(p)
    assert (p.beats, p.numerics.digits, contract.latency_cycles) == (4, 17, 27)
    assert contract.cycles(positions=1024) == 4 * 1024 + 4 + 4 + 26
    assert 4 * 1024 / contract.cycles(positions=1024) > 0.99


def test_widths_hold_the_extremes() -> None:
    p = IntegerAttention(head=16, length=64, weight=12)
    assert p.product_bits == 20  # 16 * 2^14 = 2^18, a sign, and the bit that 2^18 itself needs
    assert p.numerics.sum_bits == 18  # 64 * 4095 < 2^18
    assert p.numerics.accumulator_bits == 26  # 64 * 4095 * 128 < 2^25


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"lanes": 3}, "lanes"),
        ({"head": 0}, "head"),
        ({"length": 0}, "length"),
        ({"width": 9}, "width"),
        ({"fraction": 7}, "fraction"),
        ({"weight": 5}, "weight"),
        ({"multiplier": 0}, "multiplier"),
        ({"shift": 0}, "shift"),
        ({"output_multiplier": 256}, "output_multiplier"),
        ({"output_shift": 17}, "output_shift"),
    ],
)
def test_parameters_are_checked(settings: dict[str, int], field: str) -> None:
    with pytest.raises(InputError) as caught:
        parameters_of(UNIT, settings)
    assert caught.value.field == field
