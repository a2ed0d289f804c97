"""The FuseMax-style array: a sequencer, rows of elements, and a 1D element at the end of each row."""

from __future__ import annotations

from enum import IntEnum
from typing import Any

from amaranth import Array, C, Module, Mux, Signal, Value
from amaranth.lib import wiring

from hw.rtl.arith.float_blocks import float_convert
from hw.rtl.attention.fusemax_array_golden import STEPS_OF_POWER, newton_steps
from hw.rtl.attention.fusemax_array_model import UNIT, FuseMaxArray
from hw.rtl.attention.fusemax_blocks import Action, Element, EndElement, Instruction, OwnAction
from hw.rtl.stream.signature import unit_signature
from workloads.formats.golden.floats import encode

__all__ = ["FuseMaxUnit"]


class _Phase(IntEnum):
    LOAD = 1
    QK = 2
    LM = 3
    SLN = 4
    SLD = 5
    SLNV = 6
    DRAIN = 7
    RECIPROCAL = 8
    AV = 9


class FuseMaxUnit(wiring.Component):
    """See `hw.rtl.attention.fusemax_array_model`."""

    def __init__(self, parameters: FuseMaxArray) -> None:
        self.parameters = parameters
        super().__init__(unit_signature(UNIT.streams(parameters)))

    def elaborate(self, platform: Any) -> Module:
        p, m = self.parameters, Module()
        fmt = p.working_format
        issued = Instruction("issued", p.head)
        own, own_index = OwnAction.signal(), Signal(range(p.head))
        at = Signal(range(max(p.head, STEPS_OF_POWER, p.columns + 1, 2 * newton_steps(fmt))))
        self._sequence(m, at, issued, own, own_index)
        chain = [issued]
        for n in range(p.columns):
            passed = Instruction(f"passed{n}", p.head)
            m.d.sync += passed.take(chain[-1])
            chain.append(passed)
        columns = self._operands(m)
        # What a reduction over the keys begins with.
        lowest = C(int(encode(float("-inf"), fmt)), fmt.bits)
        empty = Mux(issued.action == Action.MAXIMUM, lowest, 0)
        for row in range(p.rows):
            end = EndElement(p.head, fmt)
            m.submodules[f"end{row}"] = end
            q: Value = self._query(m, row, end, at, own, own_index)
            passing: Value = Mux(issued.action == Action.SUBTRACT, end.maximum, empty)
            for n, (operand, live) in enumerate(columns):
                element = Element(p.head, fmt)
                m.submodules[f"element{row}_{n}"] = element
                m.d.comb += [*element.instruction.take(chain[n]), element.q.eq(q), element.passing.eq(passing)]
                m.d.comb += [element.operand.eq(operand), element.live.eq(live)]
                q, passing = element.q_on, element.passing_on
            m.d.comb += [*end.instruction.take(chain[-1]), end.passing.eq(passing)]
            m.d.comb += [end.own.eq(own), end.own_index.eq(own_index), self.o.payload.values[row].eq(end.given)]
        return m

    def _operands(self, m: Module) -> list[tuple[Value, Signal]]:
        """Of each column the key's or value's element and whether the key is live, as late as its actions are."""
        p = self.parameters
        columns = []
        for n in range(p.columns):
            code: Value = Mux(self.k.ready, self.k.payload.values[n], self.v.payload.values[n])
            live: Value = self.k.payload.live[n]
            for step in range(n + 1):
                late = Signal(p.operand_format.bits, name=f"operand{n}_{step}", reset_less=True)
                late_live = Signal(name=f"live{n}_{step}", reset_less=True)
                m.d.sync += [late.eq(code), late_live.eq(live)]
                code, live = late, late_live
            columns.append((float_convert(m, code, p.operand_format, p.working_format), late_live))
        return columns

    def _query(self, m: Module, row: int, end: EndElement, at: Signal, own: Signal, own_index: Signal) -> Signal:
        """The scaled query's element for the first column; a beat taken in goes through the 1D element into a store."""
        p = self.parameters
        fmt = p.working_format
        loaded = Signal(p.operand_format.bits, name=f"loaded{row}", reset_less=True)
        store = Array(Signal(fmt.bits, name=f"query{row}_{e}", reset_less=True) for e in range(p.head))
        read = Signal(fmt.bits, name=f"read{row}", reset_less=True)
        m.d.sync += [loaded.eq(self.q.payload.values[row]), read.eq(store[at])]
        m.d.comb += end.query.eq(float_convert(m, loaded, p.operand_format, fmt))
        with m.If(own == OwnAction.SCALE):
            m.d.sync += store[own_index].eq(end.result)
        return read

    def _sequence(self, m: Module, at: Signal, issued: Instruction, own: Signal, own_index: Signal) -> None:
        """One action a cycle into ``issued``, or none; and what 1D elements do on their own, ``own``.

        ``at`` counts within a phase.
        """
        p = self.parameters
        phase = Signal(range(len(_Phase) + 1), init=_Phase.LOAD)
        first, unweighed, final, weighed = Signal(init=1), Signal(init=1), Signal(), Signal()
        until_maximum, given, room, loads = Signal(range(p.columns + 1)), Signal(), Signal(), Signal()
        index = Signal(range(p.head), reset_less=True)
        m.d.comb += [
            self.q.ready.eq(phase == _Phase.LOAD),
            self.k.ready.eq(phase == _Phase.QK),
            self.v.ready.eq(phase == _Phase.SLNV),
            self.o.valid.eq(given),
            room.eq(~given | self.o.ready),
            own_index.eq(Mux(loads, index, at)),
        ]
        m.d.sync += [issued.action.eq(Action.NONE), issued.index.eq(at)]
        m.d.sync += issued.first.eq(Mux(phase == _Phase.SLNV, unweighed, first))
        m.d.sync += [loads.eq(0), index.eq(at)]
        with m.If(loads):
            m.d.comb += own.eq(OwnAction.SCALE)
        with m.If(self.o.ready):
            m.d.sync += given.eq(0)
        with m.If(until_maximum.any()):
            m.d.sync += until_maximum.eq(until_maximum - 1)

        def count(cycles: int, then: _Phase | Value) -> None:
            m.d.sync += at.eq(at + 1)
            with m.If(at == cycles - 1):
                m.d.sync += [at.eq(0), phase.eq(then)]

        with m.Switch(phase):
            with m.Case(_Phase.LOAD), m.If(self.q.valid):
                m.d.sync += loads.eq(1)
                count(p.head, _Phase.QK)
            with m.Case(_Phase.QK), m.If(self.k.valid):
                m.d.sync += [issued.action.eq(Action.SCORE), final.eq(self.k.payload.last)]
                count(p.head, _Phase.LM)
            with m.Case(_Phase.LM):
                m.d.sync += [issued.action.eq(Action.MAXIMUM), until_maximum.eq(p.columns), weighed.eq(0)]
                m.d.sync += phase.eq(Mux(first, _Phase.SLN, _Phase.SLNV))
            with m.Case(_Phase.SLN), m.If(~until_maximum.any()):
                m.d.sync += issued.action.eq(Mux(~at.any(), Action.SUBTRACT, Action.POWER))
                count(STEPS_OF_POWER, _Phase.SLD)
            with m.Case(_Phase.SLD):
                m.d.sync += [issued.action.eq(Action.SUM), weighed.eq(1)]
                m.d.sync += [phase.eq(Mux(final, _Phase.SLNV, _Phase.QK)), first.eq(0)]
            with m.Case(_Phase.SLNV), m.If(self.v.valid):
                m.d.sync += issued.action.eq(Action.PRODUCT)
                with m.If(at == p.head - 1):
                    m.d.sync += unweighed.eq(0)
                count(p.head, Mux(weighed, _Phase.DRAIN, _Phase.SLN))
            with m.Case(_Phase.DRAIN):
                with m.If(at == p.columns):
                    m.d.comb += own.eq(OwnAction.GUESS)
                count(p.columns + 1, _Phase.RECIPROCAL)
            with m.Case(_Phase.RECIPROCAL):
                m.d.comb += own.eq(Mux(at[0], OwnAction.IMPROVE, OwnAction.REST))
                count(2 * newton_steps(p.working_format), _Phase.AV)
            with m.Case(_Phase.AV), m.If(room):
                m.d.comb += own.eq(OwnAction.GIVE)
                m.d.sync += [given.eq(1), first.eq(1), unweighed.eq(1)]
                count(p.head, _Phase.LOAD)
