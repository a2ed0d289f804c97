"""Integer exp in three stages: octaves by a reciprocal constant, rest, quadratic and shift."""

from __future__ import annotations

from typing import Any

from amaranth import Cat, Const, Module, Mux, Value
from amaranth.lib import wiring

from hw.rtl.arith.integer_exp_model import UNIT, IntegerExp
from hw.rtl.arith.stage_blocks import Stage, Values, named, pipelined_lanes, sized
from hw.rtl.stream.pipeline import Pipeline
from hw.rtl.stream.signature import unit_signature

__all__ = ["IntegerExpUnit", "integer_exp_stages"]


class IntegerExpUnit(wiring.Component):
    """See `hw.rtl.arith.integer_exp_model`."""

    def __init__(self, parameters: IntegerExp) -> None:
        self.parameters = parameters
        super().__init__(unit_signature(UNIT.streams(parameters)))

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        pipe = Pipeline(m, self.i, self.o)
        lanes = [self.i.payload.d[lane] for lane in range(self.parameters.lanes)]
        pipe.finish(y=Cat(pipelined_lanes(m, pipe, integer_exp_stages(self.parameters), lanes)))
        return m


def integer_exp_stages(p: IntegerExp) -> tuple[Stage, ...]:
    """From ``{"x": distance}`` to ``{"result": exp}``."""
    constants = p.constants
    cut = p.width + constants.octave.bit_length()
    inverse = -(-(1 << cut) // constants.octave)

    def halve(m: Module, values: Values) -> Values:
        distance = Value.cast(values["x"])
        return {"halvings": (distance * Const(inverse))[cut:], "distance": distance}

    def reduce(m: Module, values: Values) -> Values:
        below = values["halvings"] * Const(constants.octave)
        bits = (constants.octave - 1).bit_length() or 1
        return {"halvings": values["halvings"], "rest": (sized(values["distance"], bits) - sized(below, bits))[:bits]}

    def raise_(m: Module, values: Values) -> Values:
        bits = constants.offset.bit_length()
        root = named(m, "iexp_root", (sized(constants.offset, bits) - sized(values["rest"], bits))[:bits])
        whole = named(m, "iexp_whole", (root * root + sized(constants.constant, 2 * bits))[: p.result_width - p.extra])
        places = p.result_width.bit_length()
        halvings, enough = sized(values["halvings"], max(places, len(values["halvings"]))), p.result_width
        limit = sized(enough, len(halvings))
        down = named(m, "iexp_down", Mux(halvings > limit, limit, halvings)[:places])
        return {"result": named(m, "iexp_result", Cat(Const(0, p.extra), whole) >> down)}

    return halve, reduce, raise_
