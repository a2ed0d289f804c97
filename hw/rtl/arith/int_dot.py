"""Dot product of signed integers in three stages: multiply, add in a tree, accumulate."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal, signed
from amaranth.lib import wiring

from hw.rtl.arith.int_dot_model import UNIT, IntDot
from hw.rtl.stream.pipeline import Pipeline
from hw.rtl.stream.signature import unit_signature

__all__ = ["IntDotUnit"]


class IntDotUnit(wiring.Component):
    """See `hw.rtl.arith.int_dot_model`."""

    def __init__(self, parameters: IntDot) -> None:
        self.parameters = parameters
        super().__init__(unit_signature(UNIT.streams(parameters)))

    def elaborate(self, platform: Any) -> Module:
        p, m = self.parameters, Module()
        pipe = Pipeline(m, self.i, self.o)
        beat = self.i.payload
        products = {f"product{n}": beat.a[n] * beat.b[n] for n in range(p.lanes)}
        multiplied = pipe.register(last=beat.last, **products)
        terms = [multiplied[name] for name in products]
        while len(terms) > 1:
            terms = [sum(terms[n : n + 2][1:], terms[n]) for n in range(0, len(terms), 2)]
        added = pipe.register(last=multiplied["last"], tree=terms[0])
        held, total = Signal(signed(p.sum_width)), Signal(signed(p.sum_width))
        m.d.comb += total.eq(held + added["tree"])
        with m.If(pipe.moves & pipe.valid):
            m.d.sync += held.eq(Mux(added["last"], 0, total))
        pipe.keep(added["last"])
        pipe.finish(sum=total)
        return m
