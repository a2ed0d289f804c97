"""NVFP4 dequantisation: RTL against golden and contract, and for all codes and scales; golden in exact fractions."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from hw.rtl.dequant.exact import round_exact
from hw.rtl.dequant.nvfp4_dequantise_model import UNIT, Nvfp4Dequantise
from hw.rtl.drive.campaign import packed, run_campaign, run_jobs_in_amaranth
from hw.rtl.drive.job import Job
from hw.rtl.ports import Streams
from hw.rtl.units import parameters_of
from workloads.errors import InputError
from workloads.formats.golden.floats import FLOAT_FORMATS, FP32, encode
from workloads.formats.golden.nvfp4 import decode_nvfp4, encode_nvfp4

ELEMENTS = (0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
TENSOR_SCALES = (1.0, 1.0 / 2688, 0.3, 1.5e-38, 1.1e-43, 3.0e38, -2.5)


def everything() -> Streams:
    """Every element code under every block scale (16 * 256), once for each tensor scale."""
    count = len(TENSOR_SCALES)
    codes = np.broadcast_to(np.arange(16), (256 * count, 16))
    last = np.zeros(256 * count, np.int64)
    last[255::256] = 1
    beats = {"codes": codes, "scale": np.tile(np.arange(256), count), "last": last}
    return {"tensor": {"scale": encode(TENSOR_SCALES, FP32)}, "i": beats}


def block_scale(code: int) -> Fraction | None:
    """E4M3 by its definition: bias 7, all ones is NaN."""
    field, mantissa = code >> 3 & 15, code & 7
    if field == 15 and mantissa == 7:
        return None
    value = Fraction(mantissa, 512) if field == 0 else Fraction(8 + mantissa, 8) * Fraction(2) ** (field - 7)
    return -value if code >> 7 else value


@pytest.mark.parametrize("settings", [{}, *UNIT.variants])
def test_rtl_is_golden_and_on_time(settings: dict[str, object]) -> None:
    result = run_campaign(UNIT, parameters_of(UNIT, settings), settings, beats=900)
    assert result.passed, result
    assert result.beats > 1500
    assert result.closed_form_cases >= 3


@pytest.mark.parametrize("target", ["bf16", "fp16", "fp32"])
def test_golden_for_all_codes_and_scales_in_fractions(target: str) -> None:
    fmt = FLOAT_FORMATS[target]
    inputs = everything()
    found = UNIT.golden(Nvfp4Dequantise(target, lanes=16), inputs)["o"]["values"]
    rows = []
    for tensor in np.float32(TENSOR_SCALES).tolist():
        for code in range(256):
            scale = block_scale(code)
            if scale is None:
                rows.append([fmt.nan_code] * 16)
                continue
            product = scale * Fraction(tensor)
            negative = code >> 7 ^ (tensor < 0)
            row = []
            for element in (*ELEMENTS, *(-value for value in ELEMENTS)):
                exact = product * Fraction(element)
                word = round_exact(exact.numerator, 1 - exact.denominator.bit_length(), fmt)
                sign = negative ^ (len(row) >= 8)
                row.append(word | sign << (fmt.bits - 1))
            rows.append(row)
    assert found.tolist() == rows


@pytest.mark.parametrize("target", ["bf16", "fp16", "fp32"])
def test_rtl_for_all_codes_and_scales(target: str) -> None:
    p, inputs = Nvfp4Dequantise(target, lanes=16), everything()
    expected = UNIT.golden(p, inputs)
    always = np.ones(1, np.bool_)
    job = Job("everything", inputs, {"tensor": always, "i": always}, {"o": always})
    (trace,) = run_jobs_in_amaranth(UNIT, p, [packed(UNIT, p, job, expected)])
    assert trace.outputs["o"] == UNIT.streams(p)[2].pack(expected["o"])


def test_golden_is_the_format_rounded() -> None:
    """A tensor encoded as NVFP4: fp32 holds the products but for a last rounding of 2^-24."""
    tensor = encode_nvfp4(np.random.default_rng(1).standard_normal((8, 64)))
    last = np.zeros(32, np.int64)
    last[-1] = 1
    beats = {"codes": tensor.codes.reshape(32, 16), "scale": tensor.scales.reshape(32), "last": last}
    inputs = {"tensor": {"scale": encode([tensor.tensor_scale], FP32)}, "i": beats}
    words = UNIT.golden(Nvfp4Dequantise("fp32", lanes=16), inputs)["o"]["values"]
    values = words.astype(np.uint32).view(np.float32).reshape(8, 64)
    np.testing.assert_allclose(values, decode_nvfp4(tensor), rtol=2.0**-24, atol=0.0)


def test_specials() -> None:
    # Infinity times a zero element or a zero scale is NaN, otherwise infinite with the product's sign.
    beats = {"codes": np.array([[0, 1], [9, 2]]), "scale": np.array([56, 0]), "last": np.array([0, 1])}
    inputs = {"tensor": {"scale": np.array([0xFF800000])}, "i": beats}
    out = UNIT.golden(Nvfp4Dequantise(lanes=2), inputs)["o"]["values"]
    assert out.tolist() == [[0x7FC0, 0xFF80], [0x7FC0, 0x7FC0]]


def test_time_of_two_tensors() -> None:
    # A load, five beats, a load, two beats; four stages behind the last.
    contract = UNIT.contract(Nvfp4Dequantise())
    beats = {"last": np.array([0, 0, 0, 0, 1, 0, 1])}
    assert contract.cycles(**contract.shape({"i": beats})) == 1 + 5 + 1 + 2 + 4


@pytest.mark.parametrize(("name", "value"), [("lanes", 0), ("target", "fp8_e4m3")])
def test_parameters_are_checked(name: str, value: object) -> None:
    with pytest.raises(InputError) as caught:
        Nvfp4Dequantise(**{name: value})
    assert caught.value.field == name
