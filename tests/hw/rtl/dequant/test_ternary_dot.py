"""Ternary dot product: RTL against golden and contract; golden by hand, and all bytes against the format."""

from __future__ import annotations

import numpy as np
import pytest

from hw.rtl.dequant.ternary_dot_model import UNIT, TernaryDot
from hw.rtl.drive.campaign import run_campaign
from hw.rtl.units import parameters_of
from workloads.errors import InputError
from workloads.formats.golden.ternary import pack_base3, pack_two_bit, unpack_base3


@pytest.mark.parametrize("settings", [{}, *UNIT.variants])
def test_rtl_is_golden_and_on_time(settings: dict[str, object]) -> None:
    """The first directed case of each is every code there is, in sums of one beat."""
    result = run_campaign(UNIT, parameters_of(UNIT, settings), settings, beats=900)
    assert result.passed, result
    assert result.beats > 1000
    assert result.closed_form_cases >= 4


def test_golden_by_hand() -> None:
    # Digits -1, 0, 1, 1, 0 are stored as 0, 1, 2, 2, 1: 0 + 3 + 18 + 54 + 81 = 156.
    a = np.array([[5, 100, 7, -3, 100], [1, 2, 3, 4, 5]])
    beats = {"a": a, "weights": np.array([[156], [242]]), "last": np.array([0, 1])}
    out = UNIT.golden(TernaryDot(lanes=5), {"i": beats})["o"]
    assert out["sum"].tolist() == [-5 + 7 - 3 + 15]
    assert out["bad"].tolist() == [0]
    two = {"a": a[:1, :4], "weights": np.array([[0, 1, 2, 2]]), "last": np.array([1])}
    assert UNIT.golden(TernaryDot(lanes=4, packing="two-bit"), {"i": two})["o"]["sum"].tolist() == [-5 + 7 - 3]


def test_every_byte() -> None:
    """243 bytes give the digits of the format; the 13 others weigh nothing and are reported."""
    sums, bad = [], []
    for place in range(5):
        a = np.zeros((256, 5), np.int64)
        a[:, place] = 1
        beats = {"a": a, "weights": np.arange(256)[:, None], "last": np.ones(256, np.int64)}
        out = UNIT.golden(TernaryDot(lanes=5), {"i": beats})["o"]
        sums.append(out["sum"])
        bad.append(out["bad"])
    digits = np.stack(sums, axis=1)
    assert digits[:243].reshape(-1).tolist() == unpack_base3(np.arange(243), 243 * 5).tolist()
    assert not digits[243:].any()
    assert np.array(bad).tolist() == [[0] * 243 + [1] * 13] * 5


@pytest.mark.parametrize("packing", ["base3", "two-bit"])
def test_packed_weights_give_the_dot_product(packing: str) -> None:
    rng = np.random.default_rng(2)
    digits, a = rng.integers(-1, 2, (40, 20)), rng.integers(-128, 128, (40, 20))
    if packing == "base3":
        weights = pack_base3(digits).reshape(40, 4).astype(np.int64)
    else:
        weights = (pack_two_bit(digits).reshape(40, 5, 1) >> np.arange(0, 8, 2) & 3).reshape(40, 20).astype(np.int64)
    last = np.zeros(40, np.int64)
    last[-1] = 1
    beats = {"a": a, "weights": weights, "last": last}
    out = UNIT.golden(TernaryDot(lanes=20, packing=packing), {"i": beats})["o"]
    assert out["sum"].tolist() == [int((digits * a).sum())]


def test_accumulator_holds_the_largest_sum() -> None:
    # 10 * 256 * 128 = 327,680 lies in [2^18, 2^19): 19 bits and a sign.
    assert TernaryDot().sum_width == 20


@pytest.mark.parametrize(
    ("name", "value"), [("lanes", 0), ("lanes", 8), ("width", 1), ("width", 17), ("beats", 0), ("packing", "base4")]
)
def test_parameters_are_checked(name: str, value: object) -> None:
    with pytest.raises(InputError) as caught:
        TernaryDot(**{name: value})
    assert caught.value.field == name
