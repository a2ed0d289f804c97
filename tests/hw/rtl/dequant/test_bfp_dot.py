"""Block floating point dot product: RTL against golden and contract; golden by hand and against decoded tensors."""

from __future__ import annotations

import numpy as np
import pytest

from hw.rtl.dequant.bfp_dot_model import UNIT, BfpDot
from hw.rtl.dequant.mx_dot_model import UNIT as MX_DOT
from hw.rtl.dequant.mx_dot_model import MxDot
from hw.rtl.drive.campaign import run_campaign
from hw.rtl.units import parameters_of
from workloads.errors import InputError
from workloads.formats.golden.shared_exponent import decode_shared_exponent, encode_shared_exponent


def bits(value: float) -> int:
    return int(np.float32(value).view(np.uint32))


@pytest.mark.parametrize("settings", [{}, *UNIT.variants])
def test_rtl_is_golden_and_on_time(settings: dict[str, int]) -> None:
    result = run_campaign(UNIT, parameters_of(UNIT, settings), settings, beats=900)
    assert result.passed, result
    assert result.beats > 900
    assert result.closed_form_cases >= 5


def test_golden_by_hand() -> None:
    # Six bits: mantissas count 1/16. (16*8 - 4*4) / 256 * 2^(1 + 2); then a sum of one block, -32 * -32 / 256 = 4.
    a, b = np.array([[16, -4], [-32, 0]]), np.array([[8, 4], [-32, 31]])
    exponents = {"exponent_a": np.array([1, 0]), "exponent_b": np.array([2, 0])}
    beats = {"a": a, "b": b, **exponents, "last": np.array([1, 1])}
    found = UNIT.golden(BfpDot(lanes=2, block=2), {"i": beats})["o"]["sum"].tolist()
    assert found == [bits(112 / 256 * 8), bits(4.0)]


def test_golden_is_the_dot_product_of_decoded_tensors() -> None:
    """64 blocks: one rounding of half a unit for each, of partial sums no larger than the sum of magnitudes."""
    rng = np.random.default_rng(5)
    x, y = (encode_shared_exponent(rng.standard_normal(64 * 32), 6) for _ in "xy")
    last = np.zeros(64, np.int64)
    last[-1] = 1
    exponents = {"exponent_a": x.exponents, "exponent_b": y.exponents}
    beats = {"a": x.mantissas.reshape(64, 32), "b": y.mantissas.reshape(64, 32), **exponents, "last": last}
    (found,) = UNIT.golden(BfpDot(lanes=32), {"i": beats})["o"]["sum"].tolist()
    products = decode_shared_exponent(x) * decode_shared_exponent(y)
    bound = 64 * 2.0**-24 * np.abs(products).sum()
    assert abs(float(np.uint32(found).view(np.float32)) - products.sum()) <= bound


def test_eight_bits_are_mxint8() -> None:
    """MXINT8 is block floating point of 8 bits with the exponent less 127: the units agree bit for bit."""
    inputs = UNIT.stimulus(BfpDot(width=8), np.random.default_rng(9), 200)["i"]
    usable = {name: np.clip(inputs[name], -127, 127) for name in ("exponent_a", "exponent_b")}
    beats = {"a": inputs["a"] & 255, "b": inputs["b"] & 255, "last": inputs["last"]}
    scales = {"scale_a": usable["exponent_a"] + 127, "scale_b": usable["exponent_b"] + 127}
    mx = MX_DOT.golden(MxDot("mxint8", "mxint8"), {"i": {**beats, **scales}})
    bfp = UNIT.golden(BfpDot(width=8), {"i": {**inputs, **usable}})
    assert bfp["o"]["sum"].tolist() == mx["o"]["sum"].tolist()


def test_width_of_block_sums_by_hand() -> None:
    # 32 * 32^2 = 2^15: 16 bits and a sign.
    assert BfpDot().sum_width == 17


@pytest.mark.parametrize(("name", "value"), [("width", 1), ("width", 17), ("lanes", 3), ("block", 0)])
def test_parameters_are_checked(name: str, value: int) -> None:
    with pytest.raises(InputError) as caught:
        BfpDot(**{name: value})
    assert caught.value.field == name
