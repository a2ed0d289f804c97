"""Units that work with values loaded beforehand: a tensor's scale, a table of codes.

Such a unit takes ``loads`` beats of the stream that loads it, then beats of its source up to one that says last, and
is loaded anew. Loading waits for that beat only, not for what the pipeline still holds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from hw.rtl.contract import Automaton, Handshake
from hw.rtl.ports import Streams, beat_count

__all__ = ["LoadedContract", "drawn_packets", "packet_of_beat"]


@dataclass(frozen=True)
class LoadedContract:
    """A pipeline of ``latency_cycles`` stages that move together, behind ``loads`` beats of the stream ``loader``
    for each packet of ``source`` (``last`` ends one)."""

    latency_cycles: int
    loads: int
    loader: str
    source: str = "i"
    sink: str = "o"

    @property
    def interval_cycles(self) -> int:
        return 1

    def shape(self, inputs: Streams) -> dict[str, int]:
        source = inputs[self.source]
        return {"beats": beat_count(source), "packets": int(np.asarray(source["last"]).sum())}

    def cycles(self, *, beats: int, packets: int) -> int:
        """Loads and beats take turns at one a cycle; the last beat passes the pipeline."""
        return packets * self.loads + beats + self.latency_cycles

    def automaton(self, inputs: Streams) -> Automaton:
        return _Loaded(self, inputs[self.source]["last"])


class _Loaded:
    def __init__(self, contract: LoadedContract, last: NDArray[Any]) -> None:
        self.contract, self.last = contract, last
        self.full = [False] * contract.latency_cycles
        self.loaded = 0

    def step(self, offered: Mapping[str, int | None], willing: Mapping[str, bool]) -> Handshake:
        c = self.contract
        valid, complete = self.full[-1], self.loaded == c.loads
        moves = willing[c.sink] or not valid
        beat = offered[c.source]
        if moves:
            self.full = [complete and beat is not None, *self.full[:-1]]
        if complete and moves and beat is not None and self.last[beat]:
            self.loaded = 0
        elif not complete and offered[c.loader] is not None:
            self.loaded += 1
        return Handshake(ready={c.loader: not complete, c.source: complete and moves}, valid={c.sink: valid})


def packet_of_beat(last: NDArray[Any]) -> NDArray[np.int64]:
    """For each beat the number of the packet it belongs to."""
    packets: NDArray[np.int64] = np.cumsum(last) - last
    return packets


def drawn_packets(rng: np.random.Generator, beats: int) -> NDArray[np.int64]:
    """``last`` of packets of 1 to about 20 beats, the final one whole."""
    last: NDArray[np.int64] = (rng.random(beats) < rng.choice([0.05, 0.2, 0.6])).astype(np.int64)
    last[-1] = 1
    return last
