"""Microscaling dequantisation: RTL against golden and contract, and golden against ml_dtypes, exhaustively."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from hw.rtl.dequant.mx_dequantise_model import UNIT, MxDequantise
from hw.rtl.drive.campaign import packed, run_campaign, run_jobs_in_amaranth
from hw.rtl.drive.job import Job
from hw.rtl.ports import Streams
from hw.rtl.units import parameters_of
from workloads.errors import InputError

OUTSIDE = {
    "mxfp4": ml_dtypes.float4_e2m1fn,
    "mxfp6_e2m3": ml_dtypes.float6_e2m3fn,
    "mxfp6_e3m2": ml_dtypes.float6_e3m2fn,
    "mxfp8_e4m3": ml_dtypes.float8_e4m3fn,
    "mxfp8_e5m2": ml_dtypes.float8_e5m2,
}
TARGETS = {"bf16": ml_dtypes.bfloat16, "fp16": np.float16, "fp32": np.float32}
NAN = {"bf16": 0x7FC0, "fp16": 0x7E00, "fp32": 0x7FC00000}


def everything(p: MxDequantise) -> Streams:
    """Every element code under every scale, the scale rising slowest."""
    count = {"mxfp4": 16, "mxfp6_e2m3": 64, "mxfp6_e3m2": 64}.get(p.element, 256)
    codes = np.resize(np.arange(count), (256 * count // p.lanes, p.lanes))
    return {"i": {"codes": codes, "scale": np.repeat(np.arange(256), count // p.lanes)}}


def outside(p: MxDequantise, inputs: Streams) -> np.ndarray:
    """What ml_dtypes makes of the elements. Their product with a scale has 8 count at most and no exponent below
    2^-143, so float32 holds it, and the cast out of float32 is the only rounding."""
    codes = inputs["i"]["codes"].astype(np.uint8)
    elements = codes.view(np.int8) / np.float32(64) if p.element == "mxint8" else codes.view(OUTSIDE[p.element])
    scales = inputs["i"]["scale"].astype(np.uint8).view(ml_dtypes.float8_e8m0fnu).astype(np.float64)
    with np.errstate(over="ignore"):
        values = (elements.astype(np.float64) * scales[:, None]).astype(np.float32).astype(TARGETS[p.target])
    words = values.view(np.uint32 if p.target == "fp32" else np.uint16).astype(np.int64)
    return np.where(np.isnan(values.astype(np.float32)), NAN[p.target], words)


@pytest.mark.parametrize("settings", [{}, *UNIT.variants])
def test_rtl_is_golden_and_on_time(settings: dict[str, object]) -> None:
    result = run_campaign(UNIT, parameters_of(UNIT, settings), settings, beats=600)
    assert result.passed, result
    assert result.beats > 1000
    assert result.closed_form_cases >= 3


@pytest.mark.parametrize("target", list(TARGETS))
@pytest.mark.parametrize("element", [*OUTSIDE, "mxint8"])
def test_golden_is_ml_dtypes_for_every_code_and_scale(element: str, target: str) -> None:
    """16 * 256 combinations of FP4, 64 * 256 of FP6, 65,536 of the 8-bit formats."""
    p = MxDequantise(element, target, lanes=16)
    inputs = everything(p)
    assert UNIT.golden(p, inputs)["o"]["values"].tolist() == outside(p, inputs).tolist()


def rtl_of_everything(element: str, target: str) -> None:
    p = MxDequantise(element, target, lanes=16)
    inputs = everything(p)
    expected = UNIT.golden(p, inputs)
    always = {"i": np.ones(1, np.bool_)}, {"o": np.ones(1, np.bool_)}
    work = packed(UNIT, p, Job("everything", inputs, *always), expected)
    (trace,) = run_jobs_in_amaranth(UNIT, p, [work])
    assert trace.outputs["o"] == UNIT.streams(p)[1].pack(expected["o"])


@pytest.mark.parametrize(("element", "target"), [("mxfp4", "fp16"), ("mxfp6_e3m2", "bf16")])
def test_rtl_for_every_code_and_scale(element: str, target: str) -> None:
    rtl_of_everything(element, target)


@pytest.mark.slow
@pytest.mark.parametrize("target", list(TARGETS))
@pytest.mark.parametrize("element", [*OUTSIDE, "mxint8"])
def test_rtl_for_every_code_and_scale_of_all_formats(element: str, target: str) -> None:
    rtl_of_everything(element, target)


def test_golden_by_hand() -> None:
    # E4M3 0x7e = 448 under 2^(120 - 127) is 3.5; 0x01 = 2^-9 under 2^-127 lies below half of bf16's 2^-133.
    p = MxDequantise(lanes=2)
    inputs = {"i": {"codes": np.array([[0x7E, 0xFE], [0x01, 0x81]]), "scale": np.array([120, 0])}}
    assert UNIT.golden(p, inputs)["o"]["values"].tolist() == [[0x4060, 0xC060], [0x0000, 0x8000]]
    # 448 * 2^120 > 2^128 - 2^119: overflow; a NaN scale spoils both lanes, the sign of a NaN goes.
    inputs = {"i": {"codes": np.array([[0x7E, 0xFE], [0x00, 0xFF]]), "scale": np.array([247, 255])}}
    assert UNIT.golden(p, inputs)["o"]["values"].tolist() == [[0x7F80, 0xFF80], [0x7FC0, 0x7FC0]]


@pytest.mark.parametrize(
    ("name", "value"), [("lanes", 0), ("lanes", 257), ("element", "mxfp5"), ("target", "fp8_e4m3")]
)
def test_parameters_are_checked(name: str, value: object) -> None:
    with pytest.raises(InputError) as caught:
        MxDequantise(**{name: value})
    assert caught.value.field == name
