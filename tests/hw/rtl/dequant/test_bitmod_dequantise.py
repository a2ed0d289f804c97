"""BitMoD's dequantiser against its golden model and contract, and that model against the format's own decoder."""

from __future__ import annotations

import numpy as np
import pytest

from hw.rtl.dequant.bitmod_dequantise_model import UNIT, BitmodDequantise
from hw.rtl.drive.campaign import run_campaign
from hw.rtl.units import parameters_of
from workloads.errors import InputError
from workloads.formats.golden.bitmod import decode_bitmod, encode_bitmod


@pytest.mark.parametrize("settings", [{}, *UNIT.variants])
def test_rtl_is_golden_and_on_time(settings: dict[str, int]) -> None:
    result = run_campaign(UNIT, parameters_of(UNIT, settings), settings, beats=900)
    assert result.passed, result
    assert result.beats > 1500
    assert result.closed_form_cases >= 3


@pytest.mark.parametrize("bits", [3, 4])
def test_golden_is_the_decoded_tensor(bits: int) -> None:
    """Two rows of three groups of Gaussian weights: exact in binary32, so equal to what the format decodes to."""
    tensor = encode_bitmod(np.random.default_rng(bits).normal(size=(2, 384)), bits)
    scales = tensor.scales.astype(np.float16).view(np.uint16).astype(np.int64)
    beats = {
        "codes": tensor.codes.reshape(-1, 4),
        "selector": np.repeat(tensor.selectors.reshape(-1), 32),
        "scale": np.repeat(scales.reshape(-1), 32),
    }
    words = UNIT.golden(BitmodDequantise(bits, "fp32"), {"i": beats})["o"]["values"]
    found = words.astype(np.uint32).view(np.float32).astype(np.float64).reshape(2, 384)
    assert (found == decode_bitmod(tensor)).all()


def test_golden_by_hand() -> None:
    # FP4 under selector 3 (-16), scale 0.5, into bf16: code 8 is -8, code 7 is 6, code 15 is -6, code 0 is +0.
    beats = {"codes": np.array([[8, 7, 15, 0]]), "selector": np.array([3]), "scale": np.array([0x3800])}
    words = UNIT.golden(BitmodDequantise(), {"i": beats})["o"]["values"]
    assert words.tolist() == [[0xC100, 0x40C0, 0xC0C0, 0x0000]]


@pytest.mark.parametrize(("name", "value"), [("bits", 2), ("bits", 5), ("target", "fp8"), ("lanes", 0)])
def test_parameters_are_checked(name: str, value: object) -> None:
    with pytest.raises(InputError) as caught:
        BitmodDequantise(**{name: value})  # type: ignore[arg-type]
    assert caught.value.field == name
