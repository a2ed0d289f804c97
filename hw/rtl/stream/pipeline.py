"""Register stages that move together: the flow control of most units, timed by `hw.rtl.contract.PipelineContract`.

The stages move whenever the last of them holds nothing or its beat is being taken; a gap between beats is kept. Valid
never waits for ready; ready of the source follows ready of the sink in the same cycle.
"""

from __future__ import annotations

from typing import Any

from amaranth import Module, Shape, Signal, Value

__all__ = ["Pipeline"]


class Pipeline:
    """Built front to back: ``register`` puts a stage behind what has been computed so far, ``finish`` ends it.

    ``moves`` is high in a cycle in which all stages move; state beside the pipeline (an accumulator) may only change
    where ``moves`` and ``valid`` are high. ``valid`` belongs to the values that the last ``register`` gave.
    """

    def __init__(self, m: Module, source: Any, sink: Any) -> None:
        self._m, self._sink = m, sink
        self.moves = Signal(name="pipeline_moves")
        self.valid: Value = source.valid
        m.d.comb += [self.moves.eq(sink.ready | ~sink.valid), source.ready.eq(self.moves)]

    def register(self, **values: Any) -> dict[str, Any]:
        """A stage of registers behind ``values``, each in its own shape; what stands in them, by the same names."""
        held = {}
        valid = Signal(name="stage_valid")
        with self._m.If(self.moves):
            self._m.d.sync += valid.eq(self.valid)
            for name, value in values.items():
                shape = value.shape() if hasattr(value, "shape") else Shape.cast(value)
                held[name] = Signal(shape, name=f"stage_{name}", reset_less=True)
                self._m.d.sync += held[name].eq(value)
        self.valid = valid
        return held

    def keep(self, condition: Value) -> None:
        """Only beats with ``condition`` go on: the others end here."""
        self.valid = self.valid & condition

    def finish(self, **payload: Any) -> None:
        """The last stage: registers that drive the sink."""
        held = self.register(**payload)
        self._m.d.comb += self._sink.valid.eq(self.valid)
        for name, value in held.items():
            self._m.d.comb += getattr(self._sink.payload, name).eq(value)
