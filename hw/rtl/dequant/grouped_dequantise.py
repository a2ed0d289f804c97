"""Group-wise integers to floats in three stages: subtract, multiply, round."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from amaranth import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring

from hw.rtl.arith.float_blocks import exact_integer, exact_value
from hw.rtl.arith.float_parts import rounded
from hw.rtl.dequant.grouped_dequantise_model import UNIT, GroupedDequantise
from hw.rtl.dequant.loaded_pipeline import exact_product
from hw.rtl.stream.pipeline import Pipeline
from hw.rtl.stream.signature import unit_signature
from workloads.formats.golden.floats import FP16

__all__ = ["GroupedDequantiseUnit"]


class GroupedDequantiseUnit(wiring.Component):
    """See `hw.rtl.dequant.grouped_dequantise_model`."""

    def __init__(self, parameters: GroupedDequantise) -> None:
        self.parameters = parameters
        super().__init__(unit_signature(UNIT.streams(parameters)))

    def elaborate(self, platform: Any) -> Module:
        p, m = self.parameters, Module()
        group = self._group(m)
        pipe = Pipeline(m, group, self.o)
        words = self.w.payload.words.as_value()
        differences: dict[str, Value] = {}
        for lane in range(p.lanes):
            at, zero, _ = p.place(lane)
            code = words.word_select(at, p.bits)
            differences[f"step{lane}"] = step = Signal(signed(p.bits + 1), name=f"difference{lane}")
            if p.packing == "signed":
                m.d.comb += step.eq(code.as_signed())
            else:
                m.d.comb += step.eq(code - (group.payload.zeros[zero] + int(p.packing == "gptq")))
        subtracted = pipe.register(**differences, scales=group.payload.scales)
        scales = [exact_value(m, scale, FP16) for scale in subtracted["scales"]]
        products = []
        for lane in range(p.lanes):
            step = exact_integer(m, subtracted[f"step{lane}"])
            products.append(exact_product(m, step, scales[p.place(lane)[2]]))
        named: dict[str, Value] = {}
        for lane, product in enumerate(products):
            named |= product.named(f"product{lane}")
        multiplied = pipe.register(**named)
        codes = [rounded(m, product.held(multiplied, f"product{n}"), p.into) for n, product in enumerate(products)]
        pipe.finish(weights=Cat(codes))
        return m

    def _group(self, m: Module) -> SimpleNamespace:
        """The words as a source that is valid while their group is held, with the group as its payload."""
        p = self.parameters
        held, number = Signal(name="group_held"), Signal(range(max(2, p.beats)))
        payload = Signal(self.g.payload.shape(), reset_less=True, name="group")
        source = SimpleNamespace(payload=payload, valid=held & self.w.valid, ready=Signal(name="words_move"))
        takes, ends = Signal(name="takes_words"), Signal(name="ends_group")
        m.d.comb += [
            takes.eq(source.valid & source.ready),
            ends.eq(takes & (number == p.beats - 1)),
            self.w.ready.eq(source.ready & held),
            self.g.ready.eq(~held | ends),
        ]
        with m.If(takes):
            m.d.sync += number.eq(Mux(ends, 0, number + 1))
        with m.If(self.g.ready):
            m.d.sync += [held.eq(self.g.valid), payload.eq(self.g.payload)]
        return source
