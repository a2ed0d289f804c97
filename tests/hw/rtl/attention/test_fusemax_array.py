"""The FuseMax-style array: RTL beside golden model and contract, that model beside the cascade in float64 and its
bound, and the contract's cycles beside the mapper's."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from hw.rtl.attention.fusemax_array_contract import FuseMaxContract
from hw.rtl.attention.fusemax_array_golden import (
    attention_tile,
    error_bound,
    newton_steps,
    reciprocal,
    small_power,
    split_power,
)
from hw.rtl.attention.fusemax_array_model import UNIT, FuseMaxArray
from hw.rtl.drive.campaign import run_campaign
from hw.rtl.units import parameters_of
from hw.spec.load_hierarchy import load_hierarchy, override_hierarchy
from mappers.mapspace.constraints import Constraints
from mappers.mapspace.problem import cascade_problem
from mappers.search.pipelined import search_pipelined
from workloads.cascades import load_cascade
from workloads.einsum import run_cascade
from workloads.errors import InputError
from workloads.formats.golden.floats import BF16, FP16, FP32, FloatFormat, decode, encode

FORMATS = [(FP16, FP16), (BF16, FP32), (BF16, BF16)]


# --- RTL --------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("settings", [{}, *UNIT.variants])
def test_rtl_is_golden_and_on_time(settings: dict[str, Any]) -> None:
    result = run_campaign(UNIT, parameters_of(UNIT, settings), settings, beats=12)
    assert result.passed, result
    assert result.beats > 250
    assert result.closed_form_cases >= 3


@pytest.mark.slow
@pytest.mark.parametrize("settings", [{}, *UNIT.variants])
def test_rtl_over_more_tiles(settings: dict[str, Any]) -> None:
    assert run_campaign(UNIT, parameters_of(UNIT, settings), settings, seed=2, beats=2000).passed


# --- exponential and reciprocal ---------------------------------------------------------------------------------------


def negative_numbers(fmt: FloatFormat) -> NDArray[np.int64]:
    """All from -0 down to the lowest of 16 bits; of more, 200,000 drawn from each binade that matters."""
    if fmt.bits == 16:
        return (1 << 15) + np.arange(fmt.largest_code + 1)
    drawn = np.random.default_rng(1)
    return encode(-np.ldexp(1 + drawn.random(200_000), drawn.integers(-30, 8, 200_000)), fmt)


@pytest.mark.parametrize("fmt", [FP16, BF16, FP32])
def test_a_power_of_two_keeps_its_bound(fmt: FloatFormat) -> None:
    codes = negative_numbers(fmt)
    exact, found = np.exp2(decode(codes, fmt)), decode(small_power(codes, fmt), fmt)
    unit = 2.0 ** -(fmt.mantissa_bits + 1)
    normal = exact >= 1.01 * fmt.smallest_normal
    assert normal.sum() > 10_000
    assert np.abs(found[normal] / exact[normal] - 1).max() <= 4.1 * unit + 2e-9
    assert not found[exact < 0.99 * fmt.smallest_normal].any()
    assert small_power(np.array([0, 1 << (fmt.bits - 1)]), fmt).tolist() == [encode(1.0, fmt)] * 2


def test_splitting_by_hand() -> None:
    # -1.25 = -2 + 0.75; -3 = -3 + 0; -2^-12 rounds to -0 * 2^-10, so 0 + 0; -16 is beyond the 2^-14 of fp16.
    u, whole, far = split_power(encode([-1.25, -3.0, -(2.0**-12), -16.0], FP16), FP16)
    assert decode(u, FP16).tolist() == [1.75, 1.0, 1.0, 1.0]
    assert whole[:3].tolist() == [-2, -3, 0]
    assert far.tolist() == [False, False, False, True]


@pytest.mark.parametrize("fmt", [FP16, BF16, FP32])
def test_a_reciprocal_keeps_its_bound(fmt: FloatFormat) -> None:
    """Sums lie from 1 to the number of keys."""
    if fmt is FP32:
        codes = encode(np.exp2(np.random.default_rng(2).random(200_000) * 20), fmt)
    else:
        codes = np.arange(int(encode(1.0, fmt)), int(encode(8192.0, fmt)))
    off = np.abs(decode(reciprocal(codes, fmt), fmt) * decode(codes, fmt) - 1)
    assert off.max() <= 2 * 2.0 ** -(fmt.mantissa_bits + 1)
    assert newton_steps(FP32) == 3  # 2^-3, 2^-6, 2^-12, 2^-24
    assert newton_steps(FP16) == 2


# --- the cascade ------------------------------------------------------------------------------------------------------


def by_array(
    q: NDArray[np.int64], k: NDArray[np.int64], v: NDArray[np.int64], columns: int, formats: tuple[FloatFormat, ...]
) -> NDArray[np.float64]:
    """The golden model on keys [m, E], values [m, F]: blocks of ``columns``, the last filled up with dead keys."""
    blocks = -(-len(k) // columns)
    fill = blocks * columns - len(k)
    live = np.pad(np.ones(len(k), np.int64), (0, fill)).reshape(blocks, columns)
    k, v = (np.pad(part, ((0, fill), (0, 0))).reshape(blocks, columns, -1) for part in (k, v))
    return decode(attention_tile(q, k, v, live, *formats), formats[1])


def cascade(q: NDArray[np.float64], k: NDArray[np.float64], v: NDArray[np.float64], m0: int) -> NDArray[np.float64]:
    arrays = {"Q": q[None, None, None], "K": k[None, None], "V": v[None, None]}
    found = run_cascade(load_cascade("attention-1pass"), arrays, {"m0": min(m0, len(k))})
    return np.asarray(found["AV"][0, 0, 0], np.float64)


def worst_share(
    lengths: list[int], formats: tuple[FloatFormat, FloatFormat], columns: int, head: int, size: float, seed: int = 1
) -> float:
    """The largest share of its bound that the golden model's distance from the float64 cascade takes."""
    rng, worst = np.random.default_rng(seed), 0.0
    for length in lengths:
        shapes = ((3, head), (length, head), (length, head))
        codes = [encode(rng.normal(size=s) * a, formats[0]) for s, a in zip(shapes, (size, 1.0, 1.0), strict=True)]
        q, k, v = (decode(part, formats[0]) for part in codes)
        off = np.abs(by_array(codes[0], codes[1], codes[2], columns, formats) - cascade(q, k, v, columns))
        worst = max(worst, float((off / error_bound(q, k, v, columns, formats[1])).max()))
    return worst


@pytest.mark.parametrize("formats", FORMATS)
@pytest.mark.parametrize("size", [0.0, 1.0, 30.0])
def test_every_short_length_keeps_the_bound(formats: tuple[FloatFormat, FloatFormat], size: float) -> None:
    """Scores all equal, ordinary, and so far apart that one key takes nearly all."""
    share = worst_share([*range(1, 18), 31, 32, 33, 63, 64], formats, columns=4, head=4, size=size)
    assert share <= 1.0


@pytest.mark.parametrize(("length", "columns"), [(256, 16), (1000, 64), (4096, 256)])
def test_long_contexts_keep_the_bound(length: int, columns: int) -> None:
    assert worst_share([length], (BF16, FP32), columns, head=8, size=1.0) <= 1.0


@pytest.mark.slow
@pytest.mark.parametrize("formats", FORMATS)
def test_every_length_to_4096_on_a_spread_keeps_the_bound(formats: tuple[FloatFormat, FloatFormat]) -> None:
    lengths = [*range(1, 65), *np.unique(np.geomspace(65, 4096, 25).astype(int)).tolist()]
    for size in (0.0, 0.3, 1.0, 5.0, 30.0):
        assert worst_share(lengths, formats, columns=16, head=8, size=size) <= 1.0


def test_the_bound_is_not_idle() -> None:
    """The worst of ordinary cases takes more than a hundredth of its bound."""
    assert worst_share([1, 2, 5, 9, 16], (BF16, FP32), columns=4, head=4, size=1.0) > 0.01


def test_one_key_gives_its_value_and_equal_keys_their_mean() -> None:
    v = encode([[1.0, -3.0], [3.0, 5.0]], FP16)
    q = encode([[0.5, 2.0]], FP16)
    assert by_array(q, encode([[1.0, 1.0]], FP16), v[:1], 2, (FP16, FP16)).tolist() == [[1.0, -3.0]]
    assert by_array(q, encode([[1.0, 1.0]] * 2, FP16), v, 1, (FP16, FP16)).tolist() == [[2.0, 1.0]]


def test_dead_keys_change_nothing() -> None:
    rng = np.random.default_rng(4)
    q, k, v = (encode(rng.normal(size=shape), BF16) for shape in ((2, 4), (6, 4), (6, 4)))
    whole = by_array(q, k, v, 3, (BF16, FP32))
    live = np.array([[1, 1, 1], [0, 0, 0], [1, 1, 1]])
    k, v = (np.insert(part.reshape(2, 3, 4), 1, 77, axis=0) for part in (k, v))
    assert (decode(attention_tile(q, k, v, live, BF16, FP32), FP32) == whole).all()


# --- cycles -----------------------------------------------------------------------------------------------------------


def test_cycles_by_hand() -> None:
    """Two columns, heads of 4: 4 to load; QK 4, LM 1, 2 for RM to come back, SLN 7, SLD 1; another block 4 + 1 + 4 of
    SLNV in place of the wait + 7 + 1; SLNV 4 and 3 to the end; 2 x 2 of Newton; AV 4; one to give."""
    contract = UNIT.contract(FuseMaxArray())
    assert isinstance(contract, FuseMaxContract)
    assert contract.cycles(blocks=[1]) == 4 + (4 + 1 + 2 + 7 + 1) + (4 + 3) + 4 + 4 + 1
    assert contract.cycles(blocks=[2]) - contract.cycles(blocks=[1]) == 4 + 1 + 4 + 7 + 1
    # Five columns are more than the 2 elements of V that fill their time: 3 idle cycles a block.
    assert FuseMaxContract(columns=5, head=2, newton=4).block_cycles == 2 + 1 + 2 + 7 + 1 + 3


def test_the_actions_are_those_of_the_artifact() -> None:
    """FuseMax's 2D array at 256 keys a block and heads of 64: 64 + 1 + 7 + 1 + 64 = 137 cycles (artifact, mappings)."""
    whole = FuseMaxContract(columns=256, head=64, newton=4)
    assert whole.actions_per_block == 137
    # Loading 64, coming back 64, the end 64 + 1 + 4 + 64 beside 16 blocks of 137.
    square = FuseMaxContract(columns=64, head=64, newton=4)
    assert square.utilisation(16) == 16 * 137 / (16 * 137 + 64 + 64 + 133)
    # 256 columns take longer to pass than 64 elements of V: 192 idle cycles, which FuseMax fills with other queries.
    assert whole.block_cycles == 137 + 192


@pytest.mark.parametrize(("lanes", "head"), [(4, 16), (8, 8)])
def test_cycles_of_the_mapper(lanes: int, head: int) -> None:
    """One tile of queries against 64 blocks, on the preset cut to so many lanes.

    The array's busy cycles are the contract's, action by action. The mapper's total is that of its 1D array, which
    multiplies (SPNV) and adds (RNV) in two cycles: one more than the 2D array's for each block. Ours fuses these, and
    is the 2D array's; it pays for loading, the first and the last way through the columns, and the reciprocal instead.
    """
    blocks = 64
    sizes = {"b": 1, "h": 1, "g": 1, "p": lanes, "m": lanes * blocks, "m0": lanes, "e": head, "f": head}
    sides = ("registers2d.fanout.rows", "registers2d.fanout.columns", "registers1d.fanout.lanes")
    hierarchy = override_hierarchy(load_hierarchy("fusemax"), [f"{side}.size={lanes}" for side in sides])
    found = search_pipelined(
        cascade_problem(load_cascade("attention-1pass"), sizes), hierarchy, "latency", Constraints()
    )
    clock = hierarchy.units["array2d"].clock_hz
    busy = sum(cost.times_s["array2d"] for cost in found.cost.einsums if cost.unit == "array2d") * clock
    contract = FuseMaxContract(columns=lanes, head=head, newton=2 * newton_steps(FP16))
    assert busy == pytest.approx(blocks * contract.actions_per_block)
    mapped = found.cost.latency_s * clock
    assert mapped >= blocks * (contract.actions_per_block + 1)
    assert contract.tile_cycles(blocks) == blocks * contract.actions_per_block + head + lanes + (lanes + 1 + 4 + head)
    assert math.isclose(contract.tile_cycles(blocks), mapped, rel_tol=0.05)


# --- parameters -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "value"), [("rows", 0), ("columns", 257), ("head", 1), ("operand", "fp8_e4m3"), ("working", "fp64")]
)
def test_parameters_are_checked(name: str, value: Any) -> None:
    with pytest.raises(InputError) as caught:
        FuseMaxArray(**{name: value})
    assert caught.value.field == name


def test_working_format_holds_operands() -> None:
    with pytest.raises(InputError, match="does not hold"):
        FuseMaxArray(operand="bf16", working="fp16")
