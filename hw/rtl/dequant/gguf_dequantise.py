"""GGUF blocks to floats: the header is kept, codes pass a pipeline of products, a difference and one rounding."""

from __future__ import annotations

from typing import Any

from amaranth import C, Cat, Module, Mux, Signal, Value, signed, unsigned
from amaranth.lib import wiring

from hw.rtl.arith.float_blocks import exact_integer, exact_value
from hw.rtl.arith.float_parts import Exact, rounded, shared, wire
from hw.rtl.dequant.gguf_dequantise_model import UNIT, GgufDequantise
from hw.rtl.dequant.loaded_pipeline import exact_product
from hw.rtl.stream.pipeline import Pipeline
from hw.rtl.stream.signature import unit_signature
from workloads.formats.golden.floats import FP16, FP32

__all__ = ["GgufDequantiseUnit"]

_LOWEST = FP16.minimum_exponent - FP16.mantissa_bits
"""Everything is a multiple of 2 to this power."""
_SHIFTS = (1 << FP16.exponent_bits) - 3
"""Highest exponent of a finite number's lowest bit, above `_LOWEST`."""


class GgufDequantiseUnit(wiring.Component):
    """See `hw.rtl.dequant.gguf_dequantise_model`."""

    def __init__(self, parameters: GgufDequantise) -> None:
        self.parameters = parameters
        super().__init__(unit_signature(UNIT.streams(parameters)))

    def elaborate(self, platform: Any) -> Module:
        p, m = self.parameters, Module()
        pipe = Pipeline(m, self.i, self.o)
        header, number = Signal(8 * p.layout.header, reset_less=True), Signal(range(p.block_beats))
        beat = self.i.payload.bytes.as_value()
        is_header = shared(m, number < p.header_beats, "is_header")
        with m.If(pipe.moves & pipe.valid):
            m.d.sync += number.eq(Mux(number == p.block_beats - 1, 0, number + 1))
            with m.If(is_header):
                m.d.sync += header.eq(Cat(header, beat)[8 * p.bytes :])
        pipe.keep(~is_header)
        if p.encoding == "q8_0":
            codes = [beat.word_select(n, 8) for n in range(p.bytes)]
        else:
            codes = [beat[8 * n + half : 8 * n + half + 4] for half in (0, 4) for n in range(p.bytes)]
        if p.encoding == "q4_k":
            weights = self._scaled_and_offset(m, pipe, header, number, codes)
        else:
            weights = self._scaled(m, pipe, header, codes)
        pipe.finish(weights=Cat(rounded(m, weight, FP32) for weight in weights))
        return m

    def _scaled(self, m: Module, pipe: Pipeline, header: Signal, codes: list[Value]) -> list[Exact]:
        """d times each code."""
        steps: dict[str, Value] = {}
        for n, code in enumerate(codes):
            steps[f"step{n}"] = step = Signal(signed(len(code) + (self.parameters.encoding == "q4_0")), name=f"code{n}")
            m.d.comb += step.eq(code.as_signed() if self.parameters.encoding == "q8_0" else code - 8)
        held = pipe.register(d=header[:16], **steps)
        d = exact_value(m, held["d"], FP16)
        products = [exact_product(m, exact_integer(m, held[name]), d) for name in steps]
        named: dict[str, Value] = {}
        for n, product in enumerate(products):
            named |= product.named(f"product{n}")
        multiplied = pipe.register(**named)
        return [product.held(multiplied, f"product{n}") for n, product in enumerate(products)]

    def _scaled_and_offset(
        self, m: Module, pipe: Pipeline, header: Signal, number: Signal, codes: list[Value]
    ) -> list[Exact]:
        """d sc q - dmin m, the two sub-blocks of low and high nibbles side by side."""
        p = self.parameters
        quarter = shared(m, (number - p.header_beats)[(32 // p.bytes).bit_length() - 1 :][:2], "quarter")
        factors: dict[str, Value] = {}
        for half in (0, 1):
            pairs = [_six_bits(header, 2 * n + half) for n in range(4)]
            for side, name in enumerate(("scale", "minimum")):
                value = Signal(6, name=f"{name}{half}")
                with m.Switch(quarter):
                    for n, pair in enumerate(pairs):
                        with m.Case(n):
                            m.d.comb += value.eq(pair[side])
                factors[f"{name}{half}"] = value
        held = pipe.register(d=header[:16], dmin=header[16:32], codes=Cat(codes), **factors)
        bundles: dict[str, Exact] = {}
        for half in (0, 1):
            for name, factor in (("d", "scale"), ("dmin", "minimum")):
                value = exact_value(m, held[name], FP16)
                bundles[f"{name}{half}"] = exact_product(m, exact_integer(m, held[f"{factor}{half}"]), value)
        named: dict[str, Value] = {}
        for name, bundle in bundles.items():
            named |= bundle.named(name)
        stepped = pipe.register(codes=held["codes"], **named)
        terms = {name: bundle.held(stepped, name) for name, bundle in bundles.items()}
        products = []
        for n in range(len(codes)):
            code = exact_integer(m, stepped["codes"].word_select(n, 4))
            products.append(exact_product(m, code, terms[f"d{n // p.bytes}"]))
        named = {}
        for n, product in enumerate(products):
            named |= product.named(f"product{n}")
        for half in (0, 1):
            named |= terms[f"dmin{half}"].named(f"offset{half}")
        multiplied = pipe.register(**named)
        offsets = [terms[f"dmin{half}"].held(multiplied, f"offset{half}") for half in (0, 1)]
        differences = [
            _difference(m, product.held(multiplied, f"product{n}"), offsets[n // p.bytes], n)
            for n, product in enumerate(products)
        ]
        named = {}
        for n, difference in enumerate(differences):
            named |= difference.named(f"difference{n}")
        subtracted = pipe.register(**named)
        return [difference.held(subtracted, f"difference{n}") for n, difference in enumerate(differences)]


def _six_bits(header: Signal, sub_block: int) -> tuple[Value, Value]:
    """Scale and minimum of a sub-block, out of the header's last twelve bytes."""
    packed = [header[32 + 8 * n : 40 + 8 * n] for n in range(12)]
    if sub_block < 4:
        return packed[sub_block][:6], packed[sub_block + 4][:6]
    both = packed[sub_block + 4]
    return Cat(both[:4], packed[sub_block - 4][6:]), Cat(both[4:], packed[sub_block][6:])


def _difference(m: Module, a: Exact, b: Exact, n: int) -> Exact:
    """a - b, multiples of 2^`_LOWEST`, in fixed point: a sum, or the difference that is not negative."""
    fixed = []
    for value in (a, b):
        shift = wire(m, value.exponent - _LOWEST, "places", unsigned(_SHIFTS.bit_length()))
        fixed.append(wire(m, value.significand << shift, "fixed", unsigned(len(value.significand) + _SHIFTS)))
    width = max(len(value) for value in fixed) + 1
    ahead, behind, together = (Signal(width, name=f"{name}{n}") for name in ("ahead", "behind", "together"))
    m.d.comb += [ahead.eq(fixed[0] - fixed[1]), behind.eq(fixed[1] - fixed[0]), together.eq(fixed[0] + fixed[1])]
    alike, infinite = shared(m, a.sign == b.sign, "alike"), shared(m, a.infinite | b.infinite, "infinite")
    # The highest bit of a difference is set where it is below zero. Equal numbers of one sign leave +0.
    below = shared(m, ahead[-1], "below")
    sign = Mux(alike, Mux(below, ~a.sign, a.sign & ahead.any()), a.sign)
    return Exact(
        sign=shared(m, Mux(infinite, Mux(a.infinite, a.sign, ~b.sign), sign), f"sign{n}"),
        exponent=C(_LOWEST, signed(6)),
        significand=shared(m, Mux(alike, Mux(below, behind, ahead), together), f"magnitude{n}"),
        nan=shared(m, a.nan | b.nan | (a.infinite & b.infinite & alike), f"nan{n}"),
        infinite=infinite,
        lowest=_LOWEST,
    )
