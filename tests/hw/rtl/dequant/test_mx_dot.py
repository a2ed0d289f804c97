"""Microscaling dot product: RTL against golden and contract; golden by hand, against numpy's float32 and float64."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from hw.rtl.dequant.mx_dot_model import UNIT, MxDot
from hw.rtl.drive.campaign import run_campaign
from hw.rtl.units import parameters_of
from workloads.errors import InputError
from workloads.formats.golden.microscaling import decode_mx, encode_mx


def bits(value: float) -> int:
    return int(np.float32(value).view(np.uint32))


@pytest.mark.parametrize("settings", [{}, *UNIT.variants])
def test_rtl_is_golden_and_on_time(settings: dict[str, object]) -> None:
    result = run_campaign(UNIT, parameters_of(UNIT, settings), settings, beats=600)
    assert result.passed, result
    assert result.beats > 600
    assert result.closed_form_cases >= 5


def run(p: MxDot, a: list[list[int]], b: list[list[int]], scales: list[tuple[int, int]], last: list[int]) -> list[int]:
    scale_a, scale_b = np.array(scales).T
    beats = {"a": np.array(a), "b": np.array(b), "scale_a": scale_a, "scale_b": scale_b, "last": np.array(last)}
    found: list[int] = UNIT.golden(p, {"i": beats})["o"]["sum"].tolist()
    return found


def test_golden_by_hand() -> None:
    """Codes of E2M1: 1 is 0.5, 3 is 1.5, 7 is 6, 8 and above negative."""
    p = MxDot(lanes=2, block=4)
    # (0.5*6 + 1.5*1.5) + (6*6 - 6*6), scales 2 and 1/4: 5.25 / 2; the second sum is one short block, -36 * 2^10.
    a, b = [[1, 3], [7, 15], [7, 0]], [[7, 3], [7, 7], [15, 7]]
    scales = [(0, 0), (128, 125), (127, 137)]
    assert run(p, a, b, scales, [0, 1, 1]) == [bits(2.625), bits(-36.0 * 1024)]


def test_a_block_is_not_rounded_inside() -> None:
    """6 * 6 * 2^20 beside 0.5 * 0.5 in one block needs 28 bits and keeps them until the block is added."""
    p = MxDot("mxfp8_e4m3", "mxfp8_e4m3", lanes=4, block=4)
    # E4M3: 0x7e is 448, 0x01 is 2^-9: 448^2 + 2^-18 - 448^2 leaves 2^-18, in whatever order.
    a, b = [[0x7E, 0x01, 0xFE, 0]], [[0x7E, 0x01, 0x7E, 0]]
    assert run(p, a, b, [(127, 127)], [1]) == [bits(2.0**-18)]


def test_specials_of_e5m2() -> None:
    """0x7c is infinity, 0x7e NaN, 0x3c one, 0xbc minus one; scale 255 is NaN and read with the closing beat only."""
    p = MxDot("mxfp8_e5m2", "mxfp8_e5m2", lanes=1, block=2)
    one = (127, 127)
    assert run(p, [[0x7C], [0x3C]], [[0xBC], [0x3C]], [one, one], [0, 1]) == [0xFF800000]
    assert run(p, [[0x7C]], [[0]], [one], [1]) == [0x7FC00000]
    assert run(p, [[0x7C], [0xFC]], [[0x3C], [0x3C]], [one, one], [0, 1]) == [0x7FC00000]
    assert run(p, [[0x3C], [0x3C]], [[0x3C], [0x3C]], [(255, 127), one], [0, 1]) == [bits(2.0)]
    assert run(p, [[0x3C], [0x3C]], [[0x3C], [0x3C]], [one, (127, 255)], [0, 1]) == [0x7FC00000]


def test_blocks_of_one_are_float32_addition() -> None:
    """A product of two INT8 elements stands exactly in float32: with blocks of one element the sum is numpy's."""
    p, rng = MxDot("mxint8", "mxint8", lanes=1, block=1), np.random.default_rng(7)
    a, b = rng.integers(0, 256, (2, 5000, 1))
    scale_a, scale_b = rng.integers(110, 145, (2, 5000))
    last = (np.arange(5000) % 10 == 9).astype(np.int64)
    exact = (a.astype(np.int8).astype(float) * b.astype(np.int8) / 4096)[:, 0] * 2.0 ** (scale_a + scale_b - 254)
    running, wanted = np.float32(0), []
    for value, closes in zip(exact.astype(np.float32), last, strict=True):
        running = np.float32(running + value)
        if closes:
            wanted.append(bits(float(running)))
            running = np.float32(0)
    beats = {"a": a, "b": b, "scale_a": scale_a, "scale_b": scale_b, "last": last}
    assert UNIT.golden(p, {"i": beats})["o"]["sum"].tolist() == wanted


@pytest.mark.parametrize("element", ["mxfp4", "mxfp6_e2m3", "mxfp6_e3m2", "mxfp8_e4m3", "mxfp8_e5m2", "mxint8"])
def test_golden_is_the_dot_product_of_decoded_tensors(element: str) -> None:
    """64 blocks: one rounding of half a unit for each, of partial sums no larger than the sum of magnitudes."""
    rng = np.random.default_rng(3)
    x, y = (encode_mx(rng.standard_normal(64 * 32), element) for _ in "xy")
    p = MxDot(element, element, lanes=32)
    last = np.zeros(64, np.int64)
    last[-1] = 1
    beats = {"a": x.codes.reshape(64, 32), "b": y.codes.reshape(64, 32), "scale_a": x.scales, "scale_b": y.scales}
    (found,) = UNIT.golden(p, {"i": {**beats, "last": last}})["o"]["sum"].tolist()
    products = decode_mx(x) * decode_mx(y)
    bound = 64 * 2.0**-24 * np.abs(products).sum()
    assert abs(float(np.uint32(found).view(np.float32)) - products.sum()) <= bound


def test_widths_of_block_sums_by_hand() -> None:
    # 32 * 12^2 = 4608; 32 * (448 * 2^9)^2 = 2^5 * (7 * 2^15)^2 = 49 * 2^35; 32 * 128^2 = 2^19. A sign bit each.
    assert MxDot().sum_width == 13 + 1
    assert MxDot("mxfp8_e4m3", "mxfp8_e4m3").sum_width == 6 + 35 + 1
    assert MxDot("mxint8", "mxint8").sum_width == 20 + 1
    # 32 * 60^2 = 115,200; 32 * 448^2 = 6,422,528; 32 * (7 * 2^29)^2 = 49 * 2^63.
    assert MxDot("mxfp6_e2m3", "mxfp6_e2m3").sum_width == 17 + 1
    assert MxDot("mxfp6_e3m2", "mxfp6_e3m2").sum_width == 23 + 1
    assert MxDot("mxfp8_e5m2", "mxfp8_e5m2").sum_width == 69 + 1
    assert float(ml_dtypes.finfo(ml_dtypes.float8_e5m2).max) == 7 * 2.0**13


@pytest.mark.parametrize(
    ("name", "value"),
    [("lanes", 0), ("lanes", 5), ("lanes", 64), ("block", 0), ("block", 257), ("a", "fp4"), ("b", "")],
)
def test_parameters_are_checked(name: str, value: object) -> None:
    with pytest.raises(InputError) as caught:
        MxDot(**{name: value})
    assert caught.value.field == name
