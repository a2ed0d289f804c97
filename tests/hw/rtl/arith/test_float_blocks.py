"""Floating-point circuits alone: formats no unit offers, exhaustively where they are tiny, and the rounding itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from amaranth import C, Cat, Module, Signal, Value, signed
from amaranth.sim import Simulator

from hw.rtl.arith import float_blocks, float_parts
from workloads.formats.arith import floating
from workloads.formats.golden.floats import BF16, E2M1, E2M3, E4M3, FP16, FP32, FloatFormat

TINY = FloatFormat("tiny", 3, 1, "ieee")
SMALL = FloatFormat("small", 4, 2, "ieee")
WITH_NAN = FloatFormat("with_nan", 3, 1, "nan")
FRACTIONS_ONLY = FloatFormat("fractions", 1, 3)
POWERS_ONLY = FloatFormat("powers", 3, 0)


def results(build: Callable[..., Value], widths: Sequence[int], codes: Sequence[Any]) -> Any:
    """What the circuit gives for each tuple of ``codes``; eight of them at a time."""
    m, lanes = Module(), 8
    word = Signal(lanes * sum(widths))
    given = []
    for lane in range(lanes):
        part, at, operands = Module(), lane * sum(widths), []
        m.submodules[f"lane_{lane}"] = part
        for width in widths:
            operands.append(word[at : at + width])
            at += width
        given.append(build(part, *operands))
    size = len(given[0])
    together = Signal(lanes * size)
    m.d.comb += together.eq(Cat(given))
    count = len(codes[0])
    packed = np.zeros(-(-count // lanes) * lanes, object)
    at = 0
    for width, column in zip(widths, codes, strict=True):
        packed[:count] += (column.astype(object) & ((1 << width) - 1)) << at
        at += width
    rows = packed.reshape(-1, lanes)
    found: list[int] = []

    async def bench(ctx: Any) -> None:
        for row in rows:
            ctx.set(word, sum(int(one) << (lane * sum(widths)) for lane, one in enumerate(row)))
            await ctx.delay(1e-9)
            value = ctx.get(together)
            found.extend((value >> (lane * size)) & ((1 << size) - 1) for lane in range(lanes))

    simulator = Simulator(m)
    simulator.add_testbench(bench)
    simulator.run()
    return np.array(found[:count])


def every(*bits: int) -> list[Any]:
    """All tuples of codes of so many bits."""
    grid = np.meshgrid(*(np.arange(1 << each) for each in bits), indexing="ij")
    return [axis.ravel() for axis in grid]


@pytest.mark.parametrize(
    "fmt",
    [pytest.param(SMALL, marks=pytest.mark.slow), TINY, WITH_NAN, FRACTIONS_ONLY, POWERS_ONLY],
    ids=lambda fmt: fmt.name,
)
def test_all_pairs(fmt: FloatFormat) -> None:
    pairs = every(fmt.bits, fmt.bits)
    for name in ("add", "subtract", "multiply", "maximum", "less", "equal", "unordered"):
        circuit, golden = getattr(float_blocks, f"float_{name}"), getattr(floating, f"float_{name}")
        got = results(lambda m, a, b, circuit=circuit: circuit(m, a, b, fmt), [fmt.bits] * 2, pairs)
        np.testing.assert_array_equal(got, golden(*pairs, fmt), err_msg=name)


def assert_fused(fmt: FloatFormat, into: FloatFormat, triples: Sequence[Any]) -> None:
    widths = [fmt.bits, fmt.bits, into.bits]
    got = results(lambda m, a, b, c: float_blocks.float_fma(m, a, b, c, fmt, into), widths, triples)
    a, b, c = triples
    np.testing.assert_array_equal(got, floating.float_fma(a, b, c, fmt, into))


@pytest.mark.parametrize(
    ("fmt", "into"),
    [(TINY, TINY), (WITH_NAN, TINY), (POWERS_ONLY, WITH_NAN), (E2M1, E2M3), (FRACTIONS_ONLY, TINY)],
    ids=lambda fmt: fmt.name,
)
def test_all_fused_triples(fmt: FloatFormat, into: FloatFormat) -> None:
    triples = every(fmt.bits, fmt.bits, into.bits)
    chosen = np.random.default_rng(1).permutation(len(triples[0]))[:3000]
    triples = [column[chosen] for column in triples]
    got = results(
        lambda m, a, b, c: float_blocks.float_fma(m, a, b, c, fmt, into), [fmt.bits] * 2 + [into.bits], triples
    )
    a, b, c = triples
    np.testing.assert_array_equal(got, floating.float_fma(a, b, c, fmt, into))


@pytest.mark.slow
@pytest.mark.parametrize("fmt", [TINY, E2M1, WITH_NAN, POWERS_ONLY, FRACTIONS_ONLY], ids=lambda fmt: fmt.name)
@pytest.mark.parametrize("into", [TINY, SMALL, E2M3, WITH_NAN, FP16], ids=lambda fmt: fmt.name)
def test_all_fused_triples_of_unlike_formats(fmt: FloatFormat, into: FloatFormat) -> None:
    triples = every(fmt.bits, fmt.bits, min(into.bits, 10))
    triples[2] = triples[2] << max(0, into.bits - 10)
    got = results(
        lambda m, a, b, c: float_blocks.float_fma(m, a, b, c, fmt, into), [fmt.bits] * 2 + [into.bits], triples
    )
    a, b, c = triples
    np.testing.assert_array_equal(got, floating.float_fma(a, b, c, fmt, into))


@pytest.mark.parametrize("target", [FP32, FP16, BF16, E4M3, E2M1], ids=lambda fmt: fmt.name)
def test_integers(target: FloatFormat) -> None:
    rng = np.random.default_rng(2)
    values = rng.integers(-(1 << 31), 1 << 31, 600) >> rng.integers(0, 32, 600)
    values = np.concatenate([values, [0, 1, -1, (1 << 31) - 1, -(1 << 31), 1 << 30]])
    got = results(lambda m, x: float_blocks.int_to_float(m, x.as_signed(), target), [32], [values])
    np.testing.assert_array_equal(got, floating.int_to_float(values, target))


def test_rounding_of_any_significand() -> None:
    # 40 bits, normalised or not, at exponents from far below the smallest subnormal to far above the largest number.
    rng = np.random.default_rng(3)
    for fmt, reach in ((FP32, 255), (FP16, 63), (E4M3, 63)):
        significand = rng.integers(0, 1 << 40, 2000) >> rng.integers(0, 41, 2000)
        significand = np.where(rng.random(2000) < 0.4, significand & -(significand & -significand), significand)
        exponent = rng.integers(-reach, reach, 2000)
        sign = rng.integers(0, 2, 2000)

        def rounding(m: Module, s: Value, e: Value, x: Value, fmt: FloatFormat = fmt) -> Value:
            return float_parts.float_round(m, s, e.as_signed(), x, C(0, 1), fmt)

        got = results(rounding, [1, signed(reach.bit_length() + 1).width, 40], [sign, exponent, significand])
        wanted = floating.scaled_to_float(significand, exponent, fmt)
        nan = wanted == floating.canonical_nan(fmt)
        np.testing.assert_array_equal(
            got, np.where(nan & (fmt.specials == "nan"), wanted, wanted | sign << (fmt.bits - 1))
        )


def test_sticky_breaks_ties_outward() -> None:
    # bf16 of 0b1_0000000_1 and a little more is above the tie; without, the tie goes to the even 1.
    def rounding(m: Module, s: Value) -> Value:
        return float_parts.float_round(m, C(0, 1), C(-10, signed(8)), C(0b1_0000000_10, 10), s, BF16)

    assert results(rounding, [1], [np.array([0, 1])]).tolist() == [0x3F00, 0x3F01]


@pytest.mark.parametrize("width", [1, 2, 3, 5, 8, 9])
def test_leading_zeros(width: int) -> None:
    values = np.arange(1 << width)
    got = results(lambda m, x: float_parts.leading_zeros(x), [width], [values])
    assert got.tolist() == [width - int(value).bit_length() for value in values]
