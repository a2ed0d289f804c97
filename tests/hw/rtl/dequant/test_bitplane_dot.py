"""The bit-plane dot product: RTL against golden and contract, golden against the formats' own planes and by hand."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from hw.rtl.dequant.bitplane_dot_model import UNIT, BitplaneDot
from hw.rtl.drive.campaign import packed, run_campaign, run_jobs_in_amaranth
from hw.rtl.drive.job import Job
from hw.rtl.units import parameters_of
from workloads.errors import InputError
from workloads.formats.golden.bipolar import bipolar_dot, bipolar_planes, bipolar_values


@pytest.mark.parametrize("settings", [{}, *UNIT.variants])
def test_rtl_is_golden_and_on_time(settings: dict[str, int]) -> None:
    result = run_campaign(UNIT, parameters_of(UNIT, settings), settings, beats=1100)
    assert result.passed, result
    assert result.beats > 1500
    assert result.closed_form_cases >= 3


def beats_of(a: np.ndarray, b: np.ndarray, p: BitplaneDot) -> dict[str, dict[str, np.ndarray]]:
    """Rows of codes (rows, K), each one sum of ceil(K / lanes) beats."""
    rows, length = a.shape
    per_row = -(-length // p.lanes)
    fields = {}
    places = np.arange(p.lanes)
    for name, codes, bits in (("a", a, p.a_bits), ("b", b, p.b_bits)):
        cut = np.pad(codes, ((0, 0), (0, per_row * p.lanes - length))).reshape(rows * per_row, 1, p.lanes)
        fields[name] = ((cut >> np.arange(bits)[None, :, None] & 1) << places).sum(axis=-1)
    used = (np.arange(per_row * p.lanes) < length).reshape(per_row, p.lanes)
    fields["used"] = np.tile((used << places).sum(axis=-1), rows)
    fields["last"] = np.tile(np.arange(per_row) == per_row - 1, rows).astype(np.int64)
    return {"i": fields}


def test_golden_by_hand() -> None:
    # 2-bit codes 0..3 are -3, -1, 1, 3: (-3)(3) + (1)(-1) = -10, then 3 * 3 alone.
    p = BitplaneDot(lanes=2, a_bits=2, b_bits=2, pairs=4)
    inputs = beats_of(np.array([[0, 2], [3, 0]]), np.array([[3, 1], [3, 0]]), p)
    inputs["i"]["used"][1] = 1
    assert UNIT.golden(p, inputs)["o"]["sum"].tolist() == [-10, 9]


@pytest.mark.parametrize(("a_bits", "b_bits", "length"), [(1, 1, 100), (4, 2, 77), (8, 8, 64), (3, 5, 33)])
def test_golden_is_that_of_the_format(a_bits: int, b_bits: int, length: int) -> None:
    rng = np.random.default_rng(a_bits)
    a, b = rng.integers(0, 1 << a_bits, (40, length)), rng.integers(0, 1 << b_bits, (40, length))
    p = BitplaneDot(lanes=32, a_bits=a_bits, b_bits=b_bits, pairs=a_bits * b_bits)
    found = UNIT.golden(p, beats_of(a, b, p))["o"]["sum"]
    by_planes = np.diagonal(bipolar_dot(bipolar_planes(a, a_bits), bipolar_planes(b, b_bits), length))
    assert np.array_equal(found, by_planes)
    assert np.array_equal(found, (bipolar_values(a, a_bits) * bipolar_values(b, b_bits)).sum(axis=1))


def run(p: BitplaneDot, inputs: dict[str, dict[str, np.ndarray]]) -> tuple[np.ndarray, int]:
    free = np.ones(1, np.bool_)
    job = Job("all", inputs, {"i": free}, {"o": free})
    trace = run_jobs_in_amaranth(UNIT, p, [packed(UNIT, p, job, UNIT.golden(p, inputs))])[0]
    sums = UNIT.streams(p)[1].unpack(trace.outputs["o"])["sum"]
    return sums, trace.given["o"][-1] - trace.accepted["i"][0] + 1


@pytest.mark.parametrize("pairs", [1, 2, 4])
def test_every_pair_of_two_short_vectors(pairs: int) -> None:
    """Two elements of 2 bits each side: all 4^4 = 256 cases, and one plane a side of four: 256 again."""
    for lanes, bits in ((2, 2), (4, 1)):
        if pairs > bits * bits:
            continue
        codes = np.array(list(product(range(1 << bits), repeat=2 * lanes)))
        p = BitplaneDot(lanes=lanes, a_bits=bits, b_bits=bits, pairs=pairs)
        found, _ = run(p, beats_of(codes[:, :lanes], codes[:, lanes:], p))
        wanted = [
            sum(
                (2 * x - (1 << bits) + 1) * (2 * y - (1 << bits) + 1)
                for x, y in zip(row[:lanes], row[lanes:], strict=True)
            )
            for row in codes.tolist()
        ]
        assert found.tolist() == wanted


@pytest.mark.parametrize(("pairs", "cycles"), [(8, 100 + 4), (2, 400 + 4), (1, 800 + 4)])
def test_pairs_a_cycle_are_time(pairs: int, cycles: int) -> None:
    """100 beats of 4 x 2 planes: 8, 2 or 1 pairs a cycle take 1, 4 or 8 cycles a beat, and four more to the end."""
    p = BitplaneDot(pairs=pairs)
    codes = np.zeros((100, 32), np.int64)
    _, taken = run(p, beats_of(codes, codes, p))
    assert taken == cycles == UNIT.contract(p).cycles(beats=100)


@pytest.mark.parametrize(
    ("name", "value"), [("lanes", 0), ("lanes", 65), ("a_bits", 9), ("b_bits", 0), ("pairs", 3), ("beats", 0)]
)
def test_parameters_are_checked(name: str, value: int) -> None:
    with pytest.raises(InputError) as caught:
        BitplaneDot(**{name: value})
    assert caught.value.field == name
