"""What is proved of a unit, as a circuit around it: free neighbours that keep the stream rules, and what must hold.

Each source offers a new beat whenever an input of the harness says so and then holds it until it is taken; consumers
are ready as inputs of the harness say. Nothing else is assumed, so the solver chooses among all neighbours there are.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from amaranth import ClockDomain, Const, Elaboratable, Module, Signal, Value

from hw.rtl.contract import PipelineContract
from hw.rtl.ports import Stream, inputs_of, outputs_of

__all__ = ["Harness"]


class Harness(Elaboratable):
    """``checks`` has a one-bit output for each property: high while it holds; ``inputs`` are the solver's choices.

    Properties: NAME_waits (an output not taken stays valid), NAME_holds (and its payload stays), NAME_follows (it is
    not valid before any beat has been offered since reset) and, for a `PipelineContract`, on_time (ready and valid are
    those of a shift register of that many stages). NAME_silent (never valid) must not hold: else the others say little.
    """

    def __init__(self, component: Any, streams: Sequence[Stream], contract: Any = None) -> None:
        self.component, self.streams, self.contract = component, streams, contract
        self.choices: dict[str, Signal] = {}
        for stream in inputs_of(streams):
            self.choices[f"{stream.name}_offers"] = Signal(name=f"{stream.name}_offers")
            self.choices[f"{stream.name}_word"] = Signal(stream.bits, name=f"{stream.name}_word")
        for stream in outputs_of(streams):
            self.choices[f"{stream.name}_takes"] = Signal(name=f"{stream.name}_takes")
        self.domain = ClockDomain("sync")
        self.started = Signal(name="started", reset_less=True)
        names = [f"{stream.name}_{rule}" for stream in outputs_of(streams) for rule in ("waits", "holds", "follows")]
        names += [f"{stream.name}_silent" for stream in outputs_of(streams)]
        if isinstance(contract, PipelineContract):
            names.append("on_time")
        self.checks = {name: Signal(name=name) for name in names}

    @property
    def ports(self) -> dict[str, tuple[Signal, Any]]:
        """Inputs and outputs, as `amaranth.back.rtlil.convert` wants them."""
        from amaranth.hdl._ir import PortDirection

        ports = {name: (signal, PortDirection.Input) for name, signal in self.choices.items()}
        ports["clk"] = (self.domain.clk, PortDirection.Input)
        return ports | {name: (signal, PortDirection.Output) for name, signal in self.checks.items()}

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.unit = self.component
        m.domains.sync = self.domain
        m.d.comb += self.domain.rst.eq(~self.started)
        m.d.sync += self.started.eq(1)
        begun = Signal(name="begun")
        offered: Value = Const(0, 1)
        for stream in inputs_of(self.streams):
            offered = offered | self._source(m, stream)
        with m.If(offered):
            m.d.sync += begun.eq(1)
        for stream in outputs_of(self.streams):
            self._consumer(m, stream, begun | offered)
        if isinstance(self.contract, PipelineContract):
            self._shift_register(m, self.contract)
        return m

    def _source(self, m: Module, stream: Stream) -> Value:
        port = getattr(self.component, stream.name)
        waits, held = Signal(name=f"{stream.name}_waits"), Signal(stream.bits, name=f"{stream.name}_held")
        word = port.payload.as_value() if hasattr(port.payload, "as_value") else port.payload
        m.d.comb += port.valid.eq(waits | self.choices[f"{stream.name}_offers"])
        with m.If(waits):
            m.d.comb += word.eq(held)
        with m.Else():
            m.d.comb += word.eq(self.choices[f"{stream.name}_word"])
        m.d.sync += [waits.eq(port.valid & ~port.ready), held.eq(word)]
        valid: Value = port.valid
        return valid

    def _consumer(self, m: Module, stream: Stream, begun: Value) -> None:
        port = getattr(self.component, stream.name)
        word = port.payload.as_value() if hasattr(port.payload, "as_value") else port.payload
        waited, before = Signal(name=f"{stream.name}_waited"), Signal(stream.bits, name=f"{stream.name}_before")
        m.d.comb += port.ready.eq(self.choices[f"{stream.name}_takes"])
        m.d.sync += [waited.eq(port.valid & ~port.ready), before.eq(word)]
        m.d.comb += [
            self.checks[f"{stream.name}_silent"].eq(~self.started | ~port.valid),
            self.checks[f"{stream.name}_waits"].eq(~self.started | ~waited | port.valid),
            self.checks[f"{stream.name}_holds"].eq(~self.started | ~(waited & port.valid) | (before == word)),
            self.checks[f"{stream.name}_follows"].eq(~self.started | ~port.valid | begun),
        ]

    def _shift_register(self, m: Module, contract: PipelineContract) -> None:
        source, sink = getattr(self.component, contract.source), getattr(self.component, contract.sink)
        gives = Const(1, 1) if contract.closes is None else getattr(source.payload, contract.closes)
        full = Signal(contract.latency_cycles, name="full")
        moves = Signal(name="moves")
        m.d.comb += moves.eq(sink.ready | ~full[-1])
        with m.If(moves):
            m.d.sync += full.eq((full << 1) | (source.valid & gives))
        agrees = (source.ready == moves) & (sink.valid == full[-1])
        m.d.comb += self.checks["on_time"].eq(~self.started | agrees)
