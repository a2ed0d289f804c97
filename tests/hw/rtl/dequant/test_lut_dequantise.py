"""Table dequantisation: RTL against golden and contract; NF4 against the format; the table swapped between packets."""

from __future__ import annotations

import numpy as np
import pytest

from hw.rtl.dequant.exact import round_exact
from hw.rtl.dequant.lut_dequantise_model import UNIT, LutDequantise
from hw.rtl.drive.campaign import run_campaign
from hw.rtl.units import parameters_of
from workloads.errors import InputError
from workloads.formats.golden.floats import BF16, FP32, encode
from workloads.formats.golden.normal_float import NF4_VALUES, Nf4Tensor, decode_nf4


@pytest.mark.parametrize("settings", [{}, *UNIT.variants])
def test_rtl_is_golden_and_on_time(settings: dict[str, object]) -> None:
    result = run_campaign(UNIT, parameters_of(UNIT, settings), settings, beats=300)
    assert result.passed, result
    assert result.beats > 1000
    assert result.closed_form_cases >= 3


def test_fp32_tables_and_scales_are_nf4_rounded_once() -> None:
    rng = np.random.default_rng(4)
    codes, maxima = rng.integers(0, 16, (200, 64)), rng.lognormal(0.0, 3.0, (200, 1)).astype(np.float32).astype(float)
    last = np.zeros(200, np.int64)
    last[-1] = 1
    beats = {"codes": codes, "scale": encode(maxima[:, 0], FP32), "last": last}
    inputs = {"table": {"entry": encode(NF4_VALUES, FP32)}, "i": beats}
    found = UNIT.golden(LutDequantise("fp32", "fp32", lanes=64), inputs)["o"]["values"]
    wanted = decode_nf4(Nf4Tensor(codes, maxima))
    exact = [round_exact(*_integer(value), BF16) for value in wanted.reshape(-1).tolist()]
    assert found.reshape(-1).tolist() == exact


def _integer(value: float) -> tuple[int, int]:
    numerator, denominator = value.as_integer_ratio()
    return numerator, 1 - denominator.bit_length()


def test_each_packet_has_its_table() -> None:
    # fp16: 1.0 is 0x3c00, 2.0 0x4000, 0.5 0x3800; bf16: 2.0 is 0x4000, 4.0 0x4080, -0.5 0xbf00.
    tables = np.zeros((2, 16), np.int64)
    tables[0, 3], tables[1, 3], tables[1, 15] = 0x3C00, 0x4000, 0xB800
    beats = {"codes": np.array([[3, 0], [3, 15]]), "scale": np.array([0x4000, 0x3C00]), "last": np.array([1, 1])}
    out = UNIT.golden(LutDequantise(lanes=2), {"table": {"entry": tables.reshape(-1)}, "i": beats})["o"]
    assert out["values"].tolist() == [[0x4000, 0], [0x4000, 0xBF00]]
    assert out["last"].tolist() == [1, 1]


def test_time_of_two_packets() -> None:
    # Sixteen loads, three beats, sixteen loads, one beat; three stages behind the last beat.
    beats = {"last": np.array([0, 0, 1, 1])}
    contract = UNIT.contract(LutDequantise())
    assert contract.cycles(**contract.shape({"i": beats})) == 16 + 3 + 16 + 1 + 3


@pytest.mark.parametrize(
    ("name", "value"), [("lanes", 0), ("entry", "int8"), ("scale", "e4m3"), ("target", "fp8_e5m2")]
)
def test_parameters_are_checked(name: str, value: object) -> None:
    with pytest.raises(InputError) as caught:
        LutDequantise(**{name: value})
    assert caught.value.field == name
