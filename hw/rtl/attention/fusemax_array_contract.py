"""Times of the FuseMax-style array: phases of a sequencer that issues one action a cycle.

A tile of queries takes, with E = F the head, N the columns and B the blocks of keys:

    load and scale Q                               E
    each block: QK, LM, then SLN and SLD           E + 1 + 7 + 1
    between LM and SLN of a block: RM comes back   N after the first; later SLNV of the block before it, N if longer
    SLNV of the last block, its way to the end     F + N + 1
    reciprocal of RD, then AV                      2 Newton steps + F

An action passes one column a cycle and ends in the row's 1D element, so a maximum is there N cycles after it began;
meanwhile the columns work on SLNV of the block before: FuseMax's interleaving (its section on binding). That covers
the way back where N <= F. FuseMax's 256 columns at heads of 64 need other tiles of queries in between as well, which
FuseMax has and this array has not.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw.rtl.attention.fusemax_array_golden import STEPS_OF_POWER
from hw.rtl.contract import Automaton, Handshake
from hw.rtl.ports import Streams

__all__ = ["FuseMaxContract"]


@dataclass(frozen=True)
class FuseMaxContract:
    """Of ``columns`` elements in a row, heads of ``head`` elements, ``newton`` operations of a reciprocal."""

    columns: int
    head: int
    newton: int

    @property
    def latency_cycles(self) -> int:
        """From the last beat of values to the first result."""
        return self.columns + 3 + self.newton

    @property
    def interval_cycles(self) -> int:
        """Beats of keys, or of values, follow each other in consecutive cycles of their phase."""
        return 1

    @property
    def actions_per_block(self) -> int:
        """Of one element of the array: QK, LM, SLN, SLD, SLNV."""
        return 2 * self.head + STEPS_OF_POWER + 2

    @property
    def block_cycles(self) -> int:
        """From one block of keys to the next, once going: `actions_per_block`, more where N exceeds the head."""
        return self.actions_per_block + max(0, self.columns - self.head)

    def tile_cycles(self, blocks: int) -> int:
        """From the first beat of queries to the last result put into its register."""
        first = self.actions_per_block + self.columns
        ends = self.columns + 1 + self.newton + self.head
        return self.head + first + (blocks - 1) * self.block_cycles + ends

    def utilisation(self, blocks: int) -> float:
        """Share of a tile's cycles in which an element of the array acts."""
        return blocks * self.actions_per_block / self.tile_cycles(blocks)

    def shape(self, inputs: Streams) -> dict[str, Any]:
        ends = np.flatnonzero(inputs["k"]["last"][self.head - 1 :: self.head])
        return {"blocks": tuple(np.diff(ends, prepend=-1).tolist())}

    def cycles(self, *, blocks: Sequence[int]) -> int:
        """Tiles of queries, one after another, each against so many blocks of keys."""
        return sum(map(self.tile_cycles, blocks)) + 1

    def automaton(self, inputs: Streams) -> Automaton:
        return _Sequencer(self, inputs["k"]["last"])


class _Sequencer:
    """``at`` counts within the phase; ``until_maximum`` cycles until RM of the present block can be read."""

    def __init__(self, contract: FuseMaxContract, last: NDArray[np.int64]) -> None:
        self.times, self.last = contract, last
        self.phase, self.at = "load", 0
        self.first, self.final, self.weighed, self.until_maximum, self.given = True, False, False, 0, False

    def step(self, offered: Mapping[str, int | None], willing: Mapping[str, bool]) -> Handshake:
        ready = {"q": self.phase == "load", "k": self.phase == "QK", "v": self.phase == "SLNV"}
        valid = self.given
        self._move(offered, ready, not valid or willing["o"])
        if valid and willing["o"] and not self._gives:
            self.given = False
        return Handshake(ready=ready, valid={"o": valid})

    def _move(self, offered: Mapping[str, int | None], ready: Mapping[str, bool], room: bool) -> None:
        head, columns = self.times.head, self.times.columns
        accepted = {name: beat for name, beat in offered.items() if beat is not None and ready[name]}
        waited, self.until_maximum = self.until_maximum == 0, max(0, self.until_maximum - 1)
        self._gives = self.phase == "AV" and room
        if self.phase == "load" and "q" in accepted:
            self._count(head, "QK")
        elif self.phase == "QK" and "k" in accepted:
            self.final = bool(self.last[accepted["k"]])
            self._count(head, "LM")
        elif self.phase == "LM":
            self.until_maximum, self.weighed = columns, False
            self.phase = "SLN" if self.first else "SLNV"
        elif self.phase == "SLN" and waited:
            self._count(STEPS_OF_POWER, "SLD")
        elif self.phase == "SLD":
            self.first, self.weighed = False, True
            self.phase = "SLNV" if self.final else "QK"
        elif self.phase == "SLNV" and "v" in accepted:
            self._count(head, "drain" if self.weighed else "SLN")
        elif self.phase == "drain":
            self._count(columns + 1, "reciprocal")
        elif self.phase == "reciprocal":
            self._count(self.times.newton, "AV")
        elif self._gives:
            self.given = True
            self._count(head, "load")
            self.first = self.first or self.phase == "load"

    def _count(self, cycles: int, then: str) -> None:
        self.at += 1
        if self.at == cycles:
            self.phase, self.at = then, 0
