"""The stages behind the products of a block dot product, as circuits: tree, block sum, normalise, FP32 accumulate."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth import C, Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.utils import bits_for

from hw.rtl.arith.float_parts import float_round, leading_zeros, shared, shift_right, signed_range, unpack, wire
from hw.rtl.stream.pipeline import Pipeline
from workloads.formats.golden.floats import FP32

__all__ = ["BlockTerms", "added", "finish_block_dot"]


@dataclass(frozen=True)
class BlockTerms:
    """Of one beat: signed ``products``, each at most ``largest`` in magnitude and a multiple of 2^``exponent``;
    ``nan``, ``plus``, ``minus``: it brings a NaN or an infinity of that sign; ``scale_nan``: the block is NaN if this
    beat closes it; ``last``: it closes the sum. ``exponents`` are the least and the most that occur."""

    products: list[Value]
    largest: int
    exponent: Value
    exponents: tuple[int, int]
    nan: Value
    plus: Value
    minus: Value
    scale_nan: Value
    last: Value


def added(m: Module, terms: list[Value], largest: int) -> Value:
    """The sum of signed ``terms`` of at most ``largest`` in magnitude, in a tree of adders no wider than needed."""
    level = 0
    while len(terms) > 1:
        level += 1
        shape = signed(bits_for(largest << level) + 1)
        pairs = [terms[n : n + 2] for n in range(0, len(terms), 2)]
        terms = [wire(m, pair[0] + pair[1], "pair", shape) if len(pair) == 2 else pair[0] for pair in pairs]
    return terms[0]


def finish_block_dot(m: Module, pipe: Pipeline, beat: BlockTerms, lanes: int, block: int) -> None:
    """Four stages: sum of the beat; of the block; its magnitude normalised; accumulated, which drives the sink.

    The block sum is exact: ``block`` products of at most ``largest`` in magnitude.
    """
    flags = {"nan": beat.nan, "plus": beat.plus, "minus": beat.minus}
    total = added(m, beat.products, beat.largest)
    scale = {"exponent": beat.exponent, "scale_nan": beat.scale_nan}
    tree = pipe.register(total=total, last=beat.last, **scale, **flags)
    bound = block * beat.largest
    held = Signal(signed(bits_for(bound) + 1), name="block_sum")
    total = wire(m, held + tree["total"], "block_total", held.shape())
    position = Signal(range(max(2, block // lanes)), name="position")
    closes = shared(m, tree["last"] | (position == block // lanes - 1), "closes_block")
    seen = {name: Signal(name=f"seen_{name}") for name in flags}
    now = {name: shared(m, seen[name] | tree[name], f"now_{name}") for name in flags}
    with m.If(pipe.moves & pipe.valid):
        m.d.sync += [held.eq(Mux(closes, 0, total)), position.eq(Mux(closes, 0, position + 1))]
        m.d.sync += [seen[name].eq(now[name] & ~closes) for name in flags]
    pipe.keep(closes)
    scale = {name: tree[name] for name in scale}
    summed = pipe.register(total=total, last=tree["last"], **scale, **now)

    width = bound.bit_length()
    negative = summed["total"][-1]
    magnitude = wire(m, Mux(negative, -summed["total"], summed["total"]), "magnitude", unsigned(width))
    zeros = shared(m, leading_zeros(magnitude), "zeros")
    low, high = (end + width - 1 for end in beat.exponents)
    shape = signed_range(min(low - width, FP32.minimum_exponent), high)
    # The exponent of the highest bit; that of zero must lie above none.
    top = Mux(magnitude.any(), summed["exponent"] + (width - 1) - zeros, FP32.minimum_exponent)
    block_value = pipe.register(
        negative=negative,
        magnitude=wire(m, magnitude << zeros, "normalised", unsigned(width)),
        top=wire(m, top, "top", shape),
        nan=summed["nan"] | summed["scale_nan"] | (summed["plus"] & summed["minus"]),
        infinite=summed["plus"] | summed["minus"],
        infinite_sign=summed["minus"],
        last=summed["last"],
    )
    accumulator = Signal(FP32.bits, name="accumulator")
    result = _accumulated(m, accumulator, block_value)
    with m.If(pipe.moves & pipe.valid):
        m.d.sync += accumulator.eq(Mux(block_value["last"], 0, result))
    pipe.keep(block_value["last"])
    pipe.finish(sum=result)


def _accumulated(m: Module, accumulator: Value, block: dict[str, Any]) -> Value:
    """FP32 code of accumulator + block, rounded once.

    Both stand with their highest bit on top of a window of two bits more than FP32 has, or of the block's width; the
    one with the lower exponent is shifted down, what it loses kept in one sticky bit below the window. At a distance
    of one that bit is the lost bit itself. From two on the sum loses at most one leading bit, so that the bit which
    decides the rounding still stands in the window. A subnormal accumulator does not lead, but its exponent is the
    least there is: the window reaches two bits below the last place of FP32.
    """
    held = unpack(m, accumulator, FP32)
    width = max(len(held.significand) + 2, len(block["magnitude"]))
    one = wire(m, _on_top(held.significand, width), "held_window", unsigned(width))
    two = wire(m, _on_top(block["magnitude"], width), "block_window", unsigned(width))
    held_top = shared(m, held.exponent + FP32.mantissa_bits, "held_top")
    # Differences both ways at once: this is the loop that sets the clock.
    ahead = shared(m, held_top - block["top"], "ahead")
    behind = ahead[-1]
    larger, smaller = Mux(behind, two, one), Mux(behind, one, two)
    gap = wire(m, Mux(behind, block["top"] - held_top, ahead), "gap", unsigned(len(ahead)))
    kept, lost = shift_right(m, wire(m, smaller, "smaller", unsigned(width)), gap, width)
    differ = shared(m, held.sign ^ block["negative"], "differ")
    low = wire(m, Cat(lost, kept), "low", unsigned(width + 1))
    high = wire(m, Cat(C(0, 1), larger), "high", unsigned(width + 1))
    down = shared(m, high - low, "difference")
    crossed = shared(m, differ & down[-1], "crossed")
    total = Mux(differ, Mux(down[-1], low - high, down), high + low)
    magnitude = wire(m, total, "sum_magnitude", unsigned(width + 2))
    sign = Mux(behind, block["negative"], held.sign) ^ crossed
    infinite = held.infinite | block["infinite"]
    infinite_sign = Mux(held.infinite, held.sign, block["infinite_sign"])
    opposed = held.infinite & block["infinite"] & (held.sign ^ block["infinite_sign"])
    # An exact zero is +0.
    sign = shared(m, Mux(infinite, infinite_sign, sign & magnitude.any()), "sum_sign")
    exponent = shared(m, Mux(behind, block["top"], held_top) - width, "sum_exponent")
    return float_round(
        m,
        sign,
        exponent,
        magnitude,
        C(0, 1),
        FP32,
        nan=held.nan | block["nan"] | opposed,
        infinite=infinite,
        lowest=FP32.minimum_exponent - width,
    )


def _on_top(value: Value, width: int) -> Value:
    return Cat(C(0, width - len(value)), value)
