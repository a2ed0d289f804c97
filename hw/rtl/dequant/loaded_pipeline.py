"""The flow control of `hw.rtl.dequant.loaded`, as a circuit, and the product of two floats of unlike formats."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from amaranth import Module, Signal, Value

from hw.rtl.arith.float_parts import Exact, shared
from hw.rtl.stream.pipeline import Pipeline

__all__ = ["exact_product", "loaded_pipeline"]


@dataclass(frozen=True)
class _Gate:
    valid: Signal
    ready: Signal


def loaded_pipeline(m: Module, loader: Any, source: Any, sink: Any, loads: int) -> tuple[Pipeline, Value]:
    """A pipeline from ``source`` to ``sink`` that runs once ``loads`` beats came from ``loader``, until a beat of
    ``source`` says last; and whether ``loader`` gives a beat in this cycle."""
    gate = _Gate(Signal(name="gate_valid"), Signal(name="gate_ready"))
    count = Signal(range(loads + 1), name="loaded")
    complete = shared(m, count == loads, "load_complete")
    takes = shared(m, loader.valid & ~complete, "takes_load")
    m.d.comb += [
        loader.ready.eq(~complete),
        gate.valid.eq(source.valid & complete),
        source.ready.eq(gate.ready & complete),
    ]
    with m.If(takes):
        m.d.sync += count.eq(count + 1)
    with m.Elif(source.valid & source.ready & source.payload.last):
        m.d.sync += count.eq(0)
    return Pipeline(m, gate, sink), takes


def exact_product(m: Module, a: Exact, b: Exact) -> Exact:
    """a * b, of whatever formats; infinity times zero is NaN."""
    zero_a, zero_b = (shared(m, ~(x.significand.any() | x.nan | x.infinite), "is_zero") for x in (a, b))
    return Exact(
        sign=a.sign ^ b.sign,
        exponent=a.exponent + b.exponent,
        significand=a.significand * b.significand,
        nan=a.nan | b.nan | (a.infinite & zero_b) | (zero_a & b.infinite),
        infinite=a.infinite | b.infinite,
        lowest=a.lowest + b.lowest,
    )
