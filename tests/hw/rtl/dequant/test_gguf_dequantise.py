"""GGUF blocks to floats: RTL against golden and contract, against loops in numpy's float32, on encoded weights."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from hw.rtl.dequant.gguf_dequantise_model import UNIT, GgufDequantise, beats_of_blocks, places
from hw.rtl.drive.campaign import packed, run_campaign, run_jobs_in_amaranth
from hw.rtl.drive.job import Job
from hw.rtl.units import parameters_of
from workloads.errors import InputError
from workloads.formats.golden.gguf import (
    decode_q4_0,
    decode_q4_k,
    decode_q8_0,
    encode_q4_0,
    encode_q4_k,
    encode_q8_0,
)

SINGLE = np.float32


@pytest.mark.parametrize("settings", [{}, *UNIT.variants])
def test_rtl_is_golden_and_on_time(settings: dict[str, object]) -> None:
    result = run_campaign(UNIT, parameters_of(UNIT, dict(settings)), dict(settings), beats=300)
    assert result.passed, result
    assert result.beats > 1000
    assert result.closed_form_cases >= 3


def run(p: GgufDequantise, blocks: np.ndarray) -> np.ndarray:
    """Weights of the blocks in float32, each block's in order, out of the RTL; its time is the closed form's."""
    inputs = beats_of_blocks(p, blocks)
    free = np.ones(1, np.bool_)
    job = Job("all", inputs, {"i": free}, {"o": free})
    trace = run_jobs_in_amaranth(UNIT, p, [packed(UNIT, p, job, UNIT.golden(p, inputs))])[0]
    assert trace.given["o"][-1] + 1 == UNIT.contract(p).cycles(beats=len(inputs["i"]["bytes"]))
    lanes = UNIT.streams(p)[1].unpack(trace.outputs["o"])["weights"].astype(np.uint32).view(SINGLE)
    order = places(p)
    weights = np.empty((len(blocks), order.size), SINGLE)
    weights[:, order] = lanes.reshape(len(blocks), *order.shape)
    return weights


def test_lanes_of_a_nibble_block() -> None:
    # Two bytes a beat: low nibbles are weights 0, 1 and high ones 16, 17 of Q4_0; 32, 33 of Q4_K's second half.
    assert places(GgufDequantise("q4_0"))[:2].tolist() == [[0, 1, 16, 17], [2, 3, 18, 19]]
    assert places(GgufDequantise("q4_k"))[[0, 16, 17]].tolist() == [[0, 1, 32, 33], [64, 65, 96, 97], [66, 67, 98, 99]]
    assert places(GgufDequantise("q8_0"))[:2].tolist() == [[0, 1], [2, 3]]
    for encoding, size in (("q4_0", 32), ("q8_0", 32), ("q4_k", 256)):
        assert sorted(places(GgufDequantise(encoding)).reshape(-1).tolist()) == list(range(size))


def test_all_codes_of_q4_0_under_many_scales() -> None:
    """Each block has all 16 codes in both halves; scales over all of half precision but NaN and infinity."""
    scales = np.arange(0, 1 << 16, 257, dtype=np.uint16)
    scales = scales[scales & 0x7FFF < 0x7C00]
    nibbles = np.tile(np.arange(16, dtype=np.uint8) * 16 + np.arange(16, dtype=np.uint8)[::-1], (len(scales), 1))
    found = run(GgufDequantise("q4_0"), np.concatenate([scales.view(np.uint8).reshape(-1, 2), nibbles], axis=1))
    codes = np.concatenate([np.arange(16)[::-1], np.arange(16)])
    wanted = scales.view(np.float16).astype(SINGLE)[:, None] * (codes - 8).astype(SINGLE)
    assert np.array_equal(found.view(np.uint32), wanted.view(np.uint32))


def test_all_codes_of_q8_0_under_many_scales() -> None:
    scales = np.arange(0, 1 << 16, 2003, dtype=np.uint16)
    scales = np.repeat(scales[scales & 0x7FFF < 0x7C00], 8)
    codes = np.tile(np.arange(256, dtype=np.uint8).reshape(8, 32), (len(scales) // 8, 1))
    found = run(GgufDequantise("q8_0"), np.concatenate([scales.view(np.uint8).reshape(-1, 2), codes], axis=1))
    wanted = scales.view(np.float16).astype(SINGLE)[:, None] * codes.view(np.int8).astype(SINGLE)
    assert np.array_equal(found.view(np.uint32), wanted.view(np.uint32))


def slow_q4_k(block: bytes) -> list[np.float32]:
    d, dmin = (SINGLE(value) for value in struct.unpack("<ee", block[:4]))
    s, weights = block[4:16], []
    for j in range(8):
        if j < 4:
            scale, minimum = s[j] & 63, s[j + 4] & 63
        else:
            scale, minimum = s[j + 4] % 16 + s[j - 4] // 64 * 16, s[j + 4] // 16 + s[j] // 64 * 16
        for byte in block[16 + j // 2 * 32 : 48 + j // 2 * 32]:
            q = byte // 16 if j % 2 else byte % 16
            weights.append(d * SINGLE(scale) * SINGLE(q) - dmin * SINGLE(minimum))
    return weights


def test_q4_k_against_loops_in_single_precision() -> None:
    """Random bytes, with d and dmin of like and of unlike size, so that differences cancel and are rounded."""
    rng = np.random.default_rng(5)
    blocks = rng.integers(0, 256, (24, 144), dtype=np.uint8)
    halves = rng.standard_normal((24, 2)) * np.exp2(rng.integers(-14, 8, (24, 1)) + rng.integers(-3, 4, (24, 2)))
    blocks[:, :4] = halves.astype("<f2").view(np.uint8)
    found = run(GgufDequantise("q4_k"), blocks)
    wanted = np.array([slow_q4_k(block.tobytes()) for block in blocks])
    assert np.array_equal(found.view(np.uint32), wanted.view(np.uint32))


@pytest.mark.parametrize(
    ("encoding", "encode", "decode"),
    [
        ("q4_0", encode_q4_0, decode_q4_0),
        ("q8_0", encode_q8_0, decode_q8_0),
        ("q4_k", encode_q4_k, decode_q4_k),
    ],
)
def test_encoded_weights_come_back_as_the_format_decodes_them(encoding: str, encode, decode) -> None:  # type: ignore[no-untyped-def]
    data = encode(np.random.default_rng(6).standard_normal(1024) * 0.02)
    assert np.array_equal(run(GgufDequantise(encoding), data).reshape(-1), decode(data))


@pytest.mark.parametrize(("encoding", "share"), [("q4_0", 16 / 18), ("q8_0", 32 / 34), ("q4_k", 128 / 144)])
def test_headers_are_the_only_cycles_without_weights(encoding: str, share: float) -> None:
    p = GgufDequantise(encoding)
    beats = 100 * p.block_beats
    weights = 100 * places(p).size
    assert weights / p.lanes / beats == pytest.approx(share)
    assert UNIT.contract(p).cycles(beats=beats) == beats + (5 if encoding == "q4_k" else 3)


@pytest.mark.parametrize(
    ("settings", "field"), [({"encoding": "q5_k"}, "encoding"), ({"bytes": 3}, "bytes"), ({"bytes": 0}, "bytes")]
)
def test_parameters_are_checked(settings: dict[str, object], field: str) -> None:
    with pytest.raises(InputError) as caught:
        parameters_of(UNIT, settings)
    assert caught.value.field == field
