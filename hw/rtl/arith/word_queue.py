"""A ring of words beside a pipeline, without flow control of its own."""

from __future__ import annotations

from typing import Any

from amaranth import Module, Mux, Signal
from amaranth.lib import wiring
from amaranth.lib.memory import Memory

__all__ = ["WordQueue"]


class WordQueue(wiring.Component):
    """A ring of words: the oldest is seen in ``word`` whenever ``level`` is not 0; putting and taking are the caller's
    to restrain."""

    def __init__(self, depth: int, width: int) -> None:
        self.depth = depth
        super().__init__(
            {
                "put": wiring.In(1),
                "put_word": wiring.In(width),
                "take": wiring.In(1),
                "word": wiring.Out(width),
                "level": wiring.Out(range(depth + 1)),
            }
        )

    def elaborate(self, platform: Any) -> Module:
        m = Module()
        m.submodules.words = words = Memory(shape=len(self.word), depth=self.depth, init=[])
        write, read = words.write_port(), words.read_port(domain="comb")
        first, free = Signal(range(self.depth)), Signal(range(self.depth))
        m.d.comb += [
            write.addr.eq(free),
            write.data.eq(self.put_word),
            write.en.eq(self.put),
            read.addr.eq(first),
            self.word.eq(read.data),
        ]
        with m.If(self.put):
            m.d.sync += free.eq(Mux(free == self.depth - 1, 0, free + 1))
        with m.If(self.take):
            m.d.sync += first.eq(Mux(first == self.depth - 1, 0, first + 1))
        with m.If(self.put & ~self.take):
            m.d.sync += self.level.eq(self.level + 1)
        with m.If(self.take & ~self.put):
            m.d.sync += self.level.eq(self.level - 1)
        return m
