"""NVFP4 into wider floats in four stages: multiply scales, shorten, round seven magnitudes, pick one a lane."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from amaranth import C, Cat, Module, Mux, Signal, Value, unsigned
from amaranth.lib import wiring

from hw.rtl.arith.float_blocks import exact_value
from hw.rtl.arith.float_parts import Exact, leading_zeros, rounded, shared, wire
from hw.rtl.dequant.loaded_pipeline import exact_product, loaded_pipeline
from hw.rtl.dequant.mx_elements import target_format
from hw.rtl.dequant.nvfp4_dequantise_model import UNIT, Nvfp4Dequantise
from hw.rtl.stream.signature import unit_signature
from workloads.formats.golden.floats import E4M3, FP32

__all__ = ["Nvfp4DequantiseUnit"]

_MAGNITUDES = (1, 2, 3, 4, 6, 8, 12)
"""Of the E2M1 codes 1 to 7, in halves."""


class Nvfp4DequantiseUnit(wiring.Component):
    """See `hw.rtl.dequant.nvfp4_dequantise_model`."""

    def __init__(self, parameters: Nvfp4Dequantise) -> None:
        self.parameters = parameters
        super().__init__(unit_signature(UNIT.streams(parameters)))

    def elaborate(self, platform: Any) -> Module:
        p, m = self.parameters, Module()
        target = target_format(p.target)
        pipe, loads = loaded_pipeline(m, self.tensor, self.i, self.o, 1)
        tensor = Signal(32, name="tensor_scale", reset_less=True)
        with m.If(loads):
            m.d.sync += tensor.eq(self.tensor.payload.scale)
        beat = self.i.payload
        product = exact_product(m, exact_value(m, beat.scale, E4M3), exact_value(m, tensor, FP32))
        lanes = {"codes": Cat(beat.codes[n] for n in range(p.lanes)), "last": beat.last}
        stage = pipe.register(**product.named("product"), **lanes)
        once = _leading(m, product.held(stage, "product"))
        thrice = replace(once, significand=shared(m, once.significand * 3, "thrice"))
        # Rounding sees the result's places, two more and whether anything lies below: one bit for that.
        seen = {"once": _shortened(m, once, target.mantissa_bits + 3)}
        seen["thrice"] = _shortened(m, thrice, target.mantissa_bits + 4)
        registers: dict[str, Value] = {}
        for name, value in seen.items():
            registers |= value.named(name)
        stage = pipe.register(**registers, codes=stage["codes"], last=stage["last"])
        seen = {name: value.held(stage, name) for name, value in seen.items()}
        rounds: dict[str, Value] = {}
        for code, halves in enumerate(_MAGNITUDES, start=1):
            odd = seen["thrice" if halves % 3 == 0 else "once"]
            power = (halves // 3 if halves % 3 == 0 else halves).bit_length() - 2
            scaled = shared(m, odd.exponent + power, "scaled_exponent")
            value = replace(odd, sign=C(0, 1), exponent=scaled, lowest=odd.lowest + power)
            rounds[f"code{code}"] = rounded(m, value, target)[: target.bits - 1]
        product = seen["once"]
        # Zero times the scales: zero, unless these are no number.
        special = product.nan | product.infinite
        rounds["code0"] = wire(m, Mux(special, target.nan_code, 0), "code0", unsigned(target.bits - 1))
        flags = {"sign": product.sign, "nan": product.nan, "special": special}
        stage = pipe.register(**rounds, **flags, codes=stage["codes"], last=stage["last"])
        values = []
        for n in range(p.lanes):
            code = stage["codes"].word_select(n, 4)
            magnitude = Signal(target.bits - 1, name=f"magnitude{n}")
            with m.Switch(code[:3]):
                for index in range(8):
                    with m.Case(index):
                        m.d.comb += magnitude.eq(stage[f"code{index}"])
            nan = stage["nan"] | (stage["special"] & ~code[:3].any())
            values.append(Cat(magnitude, (stage["sign"] ^ code[3]) & ~nan))
        pipe.finish(values=Cat(values), last=stage["last"])
        return m


def _leading(m: Module, value: Exact) -> Exact:
    """The same number with its significand moved up until the highest bit is one."""
    width = len(value.significand)
    zeros = shared(m, leading_zeros(value.significand), "zeros")
    return replace(
        value,
        significand=wire(m, value.significand << zeros, "leading", unsigned(width)),
        exponent=shared(m, value.exponent - zeros, "leading_exponent"),
        lowest=value.lowest - width,
    )


def _shortened(m: Module, value: Exact, kept: int) -> Exact:
    """The same number for rounding: its ``kept`` highest bits, and one below that says whether any other is set."""
    cut = len(value.significand) - kept
    if cut <= 1:
        return value
    low = value.significand[:cut].any()
    return replace(
        value,
        significand=Cat(low, value.significand[cut:]),
        exponent=value.exponent + (cut - 1),
        lowest=value.lowest + cut - 1,
    )
