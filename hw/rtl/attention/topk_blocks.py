"""The insertion network of the filters: cells in order, each of which keeps, takes the newcomer, or takes its
neighbour's.

All cells compare the newcomer at once, so one entry goes in each cycle. The better of two entries has the higher
score, at equal scores the lower id.
"""

from __future__ import annotations

from collections.abc import Sequence

from amaranth import Module, Mux, Shape, Signal, Value

__all__ = ["Cells"]


class Cells:
    """``count`` cells of entries with ``score``, ``id`` and further fields of the given ``shapes``.

    ``full`` says which cells hold an entry: always the first ones. What they would hold with the newcomer in is
    computed each cycle; it is taken where ``enters`` is high, into emptied cells where ``empties`` is high too.
    """

    def __init__(self, m: Module, name: str, count: int, shapes: dict[str, Shape], newcomer: dict[str, Value]) -> None:
        self.entries = [
            {field: Signal(shape, name=f"{name}{n}_{field}", reset_less=True) for field, shape in shapes.items()}
            for n in range(count)
        ]
        self.full = [Signal(name=f"{name}{n}_full") for n in range(count)]
        self.enters, self.empties = Signal(name=f"{name}_enters"), Signal(name=f"{name}_empties")
        keeps = [self._better(m, f"{name}{n}", full, entry, newcomer) for n, (full, entry) in enumerate(self._cells())]
        with m.If(self.empties):
            m.d.sync += [full.eq(0) for full in self.full]
        with m.If(self.enters):
            for n, entry in enumerate(self.entries):
                above = newcomer if n == 0 else _either(keeps[n - 1], newcomer, self.entries[n - 1])
                with m.If(~keeps[n]):
                    m.d.sync += [entry[field].eq(above[field]) for field in shapes]
                if n == 0:
                    m.d.sync += self.full[n].eq(1)
                else:
                    m.d.sync += self.full[n].eq(~self.empties & self.full[n - 1])

    def _cells(self) -> Sequence[tuple[Signal, dict[str, Signal]]]:
        return list(zip(self.full, self.entries, strict=True))

    def _better(
        self, m: Module, name: str, full: Signal, entry: dict[str, Signal], newcomer: dict[str, Value]
    ) -> Signal:
        keeps = Signal(name=f"{name}_keeps")
        equal = entry["score"] == newcomer["score"]
        ahead = (entry["score"] > newcomer["score"]) | (equal & (entry["id"] <= newcomer["id"]))
        m.d.comb += keeps.eq(full & ~self.empties & ahead)
        return keeps


def _either(keeps: Signal, newcomer: dict[str, Value], neighbour: dict[str, Signal]) -> dict[str, Value]:
    return {field: Mux(keeps, value, neighbour[field]) for field, value in newcomer.items()}
