"""BitMoD's processing element against its golden model and contract, and that model against numpy and sums by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

import numpy as np
import pytest

from hw.rtl.dequant.bitmod_pe_model import UNIT, BitmodPe, BitmodPeContract
from hw.rtl.drive.campaign import run_campaign
from hw.rtl.ports import Streams
from hw.rtl.units import parameters_of
from workloads.errors import InputError
from workloads.formats.golden.bitmod import bitmod_values, decode_bitmod, encode_bitmod


def _sum(p: BitmodPe, **fields: object) -> list[float]:
    inputs = {"i": {name: np.asarray(values) for name, values in fields.items()}}
    words = UNIT.golden(p, inputs)["o"]["sum"]
    return [float(value) for value in words.astype(np.uint32).view(np.float32)]


def _only(inputs: Streams, _: BitmodPe) -> list[Streams]:
    return [inputs]


def _halves(*values: float) -> list[int]:
    return [int(word) for word in np.array(values, np.float16).view(np.uint16)]


@pytest.mark.parametrize("settings", [{"beats": 8}, *UNIT.variants])
def test_rtl_is_golden_and_on_time(settings: dict[str, int]) -> None:
    result = run_campaign(UNIT, parameters_of(UNIT, settings), settings, beats=300)
    assert result.passed, result
    assert result.beats > 1000
    assert result.closed_form_cases >= 3


def test_every_code_selector_and_activation() -> None:
    """All products of FP3 and FP4 codes under every selector with all 4-bit floats, each in a sum of its own."""
    for weights in ("fp3", "fp4"):
        p = BitmodPe(weights, lanes=1, beats=1, groups=1, scale_bits=1, exponent_bits=2, mantissa_bits=1)
        selector, weight, activation = (
            part.ravel() for part in np.meshgrid(np.arange(4), np.arange(1 << p.weight_bits), np.arange(16))
        )
        ones = np.ones(len(weight), np.int64)
        beats = {"activation": activation[:, None], "weight": weight[:, None], "selector": selector}
        inputs: Streams = {"i": beats | {"scale": ones, "end": ones, "last": ones}}
        result = run_campaign(replace(UNIT, directed=partial(_only, inputs)), p, {}, beats=6)
        assert not result.failures, result.failures
        assert result.beats > 4 * 16 << p.weight_bits


def test_golden_by_hand() -> None:
    # FP4 with special 2 (+16): (1.5 * 1 + 2 * 16) * 3; FP4 code 15 is -12, code 5 is 6: (-0.5 * 6 + 4 * -12) * 2.
    found = _sum(
        BitmodPe(lanes=2),
        activation=[_halves(1.5, 2.0), _halves(-0.5, 4.0)],
        weight=[[1, 8], [5, 15]],
        selector=[2, 0],
        scale=[3, 2],
        end=[1, 0],
        last=[0, 1],
    )
    assert found == [100.5 - 102.0]


def test_subnormals_and_cancellation_are_exact() -> None:
    # 65504 * 12 * 255 twice with opposite signs, and one smallest subnormal, 2^-24, that a window of bits would drop.
    found = _sum(
        BitmodPe(lanes=1),
        activation=[_halves(65504.0), _halves(2.0**-24), _halves(-65504.0)],
        weight=[[7], [1], [7]],
        selector=[0, 0, 0],
        scale=[255, 1, 255],
        end=[1, 1, 1],
        last=[0, 0, 1],
    )
    assert found == [2.0**-24]


def test_sum_is_rounded_once_to_nearest_even() -> None:
    # 2^24 + 1 lies half way between two binary32 numbers and goes to the even one; 2^24 + 3 to 2^24 + 4.
    for small, wanted in ((1.0, 2.0**24), (3.0, 2.0**24 + 4)):
        found = _sum(
            BitmodPe(weights="int8", lanes=1),
            activation=[_halves(32768.0), _halves(small)],
            weight=[[8], [1]],
            scale=[64, 1],
            end=[1, 1],
            last=[0, 1],
        )
        assert found == [wanted]


@pytest.mark.parametrize("bits", [3, 4])
def test_quantised_row_against_float64(bits: int) -> None:
    """A row of 1,024 Gaussian weights, quantised: the sum is the one of numpy in float64, to binary32's precision."""
    rng = np.random.default_rng(bits)
    row = encode_bitmod(rng.normal(size=1024), bits)
    activations = rng.normal(size=1024).astype(np.float16)
    scales = rng.integers(1, 256, 8)
    unscaled = decode_bitmod(row) / np.repeat(row.scales, 128)
    wanted = math.fsum(activations.astype(np.float64) * unscaled * np.repeat(scales, 128))
    ends = np.arange(256) % 32 == 31
    found = _sum(
        BitmodPe(f"fp{bits}"),
        activation=activations.view(np.uint16).reshape(256, 4).astype(np.int64),
        weight=row.codes.reshape(256, 4),
        selector=np.repeat(row.selectors, 32),
        scale=np.repeat(scales, 32),
        end=ends,
        last=np.arange(256) == 255,
    )
    assert found == [float(np.float32(wanted))]


def test_terms_of_a_weight_are_as_published() -> None:
    # Two cycles for 3 and 4 bits, three for 6, four for 8: ceil(bits / 2), bitmod_sim/pe_array.py at e445a5f of
    # abdelfattah-lab/BitMoD-HPCA-25; values of FP3 and FP4 have at most two ones.
    cycles = {kind: BitmodPe(kind).terms for kind in ("fp3", "fp4", "int4", "int6", "int8")}
    assert cycles == {"fp3": 2, "fp4": 2, "int4": 2, "int6": 3, "int8": 4}
    for bits in (3, 4):
        values = {abs(int(value)) for selector in range(4) for value in bitmod_values(bits, selector)}
        assert max(value.bit_count() for value in values) == 2


def test_scale_hides_under_a_group() -> None:
    # 128 / 4 beats of two cycles are 64, a scale of 8 bits takes 8: groups run without a gap.
    contract = UNIT.contract(BitmodPe())
    assert isinstance(contract, BitmodPeContract)
    assert contract.cycles(beats=32 * 8) - contract.cycles(beats=32 * 7) == 64
    # Groups of one beat wait: 8 cycles each, of which the beats take 2.
    ends = np.ones(10, np.int64)
    beats = {"end": ends, "last": ends}
    assert contract.shape({"i": beats}) == {"beats": 10, "waits": 9 * 6}


def test_widths_hold_the_largest_sum() -> None:
    p = BitmodPe()
    largest = round(65504 * 2.0**24) * 16 * 128 * 255 * 128
    assert largest < 1 << (p.sum_width - 1) <= 2 * largest
    assert p.unit_exponent == -24


@pytest.mark.parametrize(
    ("name", "value"),
    [("weights", "fp5"), ("lanes", 0), ("beats", 0), ("groups", 0), ("scale_bits", 17), ("exponent_bits", 6)],
)
def test_parameters_are_checked(name: str, value: object) -> None:
    with pytest.raises(InputError) as caught:
        BitmodPe(**{name: value})  # type: ignore[arg-type]
    assert caught.value.field == name
