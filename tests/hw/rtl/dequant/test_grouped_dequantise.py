"""Group-wise integers to floats: RTL against golden and contract, all codes and zeros, against numpy's half precision,
against the checkpoints' layouts."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import pytest

from hw.rtl.dequant.grouped_dequantise_model import UNIT, GroupedDequantise
from hw.rtl.drive.campaign import packed, run_campaign, run_jobs_in_amaranth
from hw.rtl.drive.job import Job
from hw.rtl.ports import Streams
from hw.rtl.units import parameters_of
from workloads.errors import InputError
from workloads.formats.golden.floats import FP16, decode, encode
from workloads.formats.golden.integers import decode_integers, encode_integers
from workloads.formats.golden.packing import (
    dequantize,
    pack_awq,
    pack_bits,
    pack_gptq_weights,
    pack_gptq_zeros,
)


@pytest.mark.parametrize("settings", [{}, *UNIT.variants])
def test_rtl_is_golden_and_on_time(settings: dict[str, object]) -> None:
    result = run_campaign(UNIT, parameters_of(UNIT, dict(settings)), dict(settings), beats=300)
    assert result.passed, result
    assert result.beats > 1000
    assert result.closed_form_cases >= 3


def run(p: GroupedDequantise, inputs: Streams) -> np.ndarray:
    free = np.ones(1, np.bool_)
    job = Job("all", inputs, {"g": free, "w": free}, {"o": free})
    trace = run_jobs_in_amaranth(UNIT, p, [packed(UNIT, p, job, UNIT.golden(p, inputs))])[0]
    assert trace.given["o"][-1] + 1 == UNIT.contract(p).cycles(beats=len(inputs["w"]["words"]))
    weights: np.ndarray = UNIT.streams(p)[2].unpack(trace.outputs["o"])["weights"]
    return weights


SCALES = np.concatenate(
    [
        [
            0x0000,
            0x8000,
            0x0001,
            0x8001,
            0x03FF,
            0x0400,
            0x3C00,
            0xBC00,
            0x7BFF,
            0xFBFF,
            0x7C00,
            0xFC00,
            0x7E00,
            0xFD55,
        ],
        np.random.default_rng(3).integers(0, 1 << 16, 34),
    ]
)


@pytest.mark.parametrize("target", ["fp16", "bf16"])
def test_all_codes_and_zeros_against_half_precision(target: str) -> None:
    """16 codes x 16 zeros x 48 scales of either sign, specials among them; the reference multiplies in numpy's halves,
    or in float32, which holds the product, and rounds with ml_dtypes."""
    p = GroupedDequantise(packing="unsigned", group=16, target=target)
    scales, zeros = (grid.reshape(-1, 1) for grid in np.meshgrid(SCALES, np.arange(16), indexing="ij"))
    words = np.tile([[0x76543210], [0xFEDCBA98]], (len(scales), 1))
    found = run(p, {"g": {"scales": scales, "zeros": zeros}, "w": {"words": words}}).reshape(len(scales), 16)
    steps = np.arange(16) - zeros
    halves = scales.astype(np.uint16).view(np.float16)
    with np.errstate(all="ignore"):
        if target == "fp16":
            wanted = (steps.astype(np.float16) * halves).view(np.uint16).astype(np.int64)
        else:
            products = steps.astype(np.float32) * halves.astype(np.float32)
            wanted = products.astype(ml_dtypes.bfloat16).view(np.uint16).astype(np.int64)
        nan = np.isnan(steps * halves.astype(np.float64))
    assert nan.sum() == 2 * 16 * 16 + 2 * 16  # two NaN scales, and code = zero under the two infinities
    assert np.array_equal(found[~nan], wanted[~nan])
    assert np.all(found[nan] == (0x7E00 if target == "fp16" else 0x7FC0))


def test_all_bytes_against_half_precision() -> None:
    """256 codes of INT8 under 24 scales; 19 bits of product are rounded to 11, and overflow."""
    p = GroupedDequantise(packing="signed", bits=8, group=256)
    scales = SCALES[SCALES & 0x7FFF < 0x7C00][:24].reshape(-1, 1)
    codes = np.arange(256).reshape(-1, 4)
    words = np.tile((codes << np.arange(0, 32, 8)).sum(axis=1)[:, None], (len(scales), 1))
    found = run(p, {"g": {"scales": scales}, "w": {"words": words}}).reshape(len(scales), 256)
    with np.errstate(over="ignore"):
        wanted = np.arange(256).astype(np.int8).astype(np.float16) * scales.astype(np.uint16).view(np.float16)
    assert np.isinf(wanted).any()
    assert np.array_equal(found, wanted.view(np.uint16))


def test_gptq_words_of_a_checkpoint() -> None:
    """Eight rows a word and column by column; zeros less one, 8 stored as 7: the weights of `dequantize`."""
    rng = np.random.default_rng(0)
    codes, zeros = rng.integers(0, 16, (128, 8)), rng.integers(1, 17, (2, 8))
    scales = encode(rng.random((2, 8)), FP16)
    p = GroupedDequantise(packing="gptq", words=8, group=64)
    stored = pack_gptq_zeros(zeros)[:, :, None] >> np.arange(0, 32, 4, dtype=np.uint32) & 15
    inputs = {
        "g": {"scales": scales, "zeros": stored.reshape(2, 8).astype(np.int64)},
        "w": {"words": pack_gptq_weights(codes).astype(np.int64)},
    }
    # Eight rows of column 0, then of column 1.
    weights = decode(UNIT.golden(p, inputs)["o"]["weights"], FP16).reshape(16, 8, 8).transpose(0, 2, 1).reshape(128, 8)
    wanted = dequantize(codes, zeros, decode(scales, FP16), 64)
    assert np.array_equal(weights, decode(encode(wanted, FP16), FP16))


def test_awq_words_of_a_checkpoint() -> None:
    rng = np.random.default_rng(1)
    codes, zeros = rng.integers(0, 16, (64, 8)), rng.integers(0, 16, (2, 8))
    scales = encode(rng.random((2, 8)), FP16)
    p = GroupedDequantise(packing="awq", group=32)
    nibbles = pack_awq(zeros)[:, :, None] >> np.arange(0, 32, 4, dtype=np.uint32) & 15
    inputs = {
        "g": {"scales": scales, "zeros": nibbles.reshape(2, 8).astype(np.int64)},
        "w": {"words": pack_awq(codes).astype(np.int64)},
    }
    wanted = encode(dequantize(codes, zeros, decode(scales, FP16), 32), FP16)
    assert np.array_equal(UNIT.golden(p, inputs)["o"]["weights"], wanted)
    assert np.array_equal(run(p, inputs), wanted)


@pytest.mark.parametrize(
    ("bits", "words", "symmetric"), [(8, 1, True), (4, 1, True), (4, 1, False), (3, 3, False), (2, 1, False)]
)
def test_plain_streams_are_the_formats_own(bits: int, words: int, symmetric: bool) -> None:
    values = np.random.default_rng(bits).standard_normal((1, 384))
    tensor = encode_integers(values, bits, 128, symmetric=symmetric)
    p = GroupedDequantise(packing="signed" if symmetric else "unsigned", bits=bits, words=words, group=128)
    if 128 % p.lanes:
        p = GroupedDequantise(packing=p.packing, bits=bits, words=words, group=p.lanes)
    stream = pack_bits(tensor.codes & ((1 << bits) - 1), bits).view("<u4").astype(np.int64).reshape(-1, words)
    shared = {"scales": encode(tensor.scales, FP16).reshape(-1, 1)}
    if tensor.zeros is not None:
        shared["zeros"] = tensor.zeros.reshape(-1, 1)
    found = UNIT.golden(p, {"g": shared, "w": {"words": stream}})["o"]["weights"].reshape(1, -1)
    assert np.array_equal(found, encode(decode_integers(tensor), FP16))


def test_groups_follow_each_other_without_a_gap() -> None:
    # 10 groups of 16 beats: one cycle for the first group, 160 for words, three stages.
    p = GroupedDequantise()
    rng = np.random.default_rng(0)
    inputs = UNIT.stimulus(p, rng, 160)
    assert run(p, inputs).shape == (160, 8)
    assert UNIT.contract(p).cycles(beats=160) == 1 + 160 + 3


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"packing": "gguf"}, "packing"),
        ({"target": "fp8"}, "target"),
        ({"bits": 1}, "bits"),
        ({"bits": 8}, "bits"),
        ({"packing": "unsigned", "bits": 3}, "words"),
        ({"words": 9}, "words"),
        ({"group": 12}, "group"),
    ],
)
def test_parameters_are_checked(settings: dict[str, object], field: str) -> None:
    with pytest.raises(InputError) as caught:
        parameters_of(UNIT, settings)
    assert caught.value.field == field
