"""The online-softmax attention engine: scores, a queue of weights, sums in a common frame, division.

Two feedback loops close in one cycle each: the running maximum (compare, select) and the sums (shift, add).
"""

from __future__ import annotations

from typing import Any

from amaranth import Module, Signal
from amaranth.lib import wiring

from hw.rtl.attention.online_attention_contract import block_slots, position_slots
from hw.rtl.attention.online_attention_parameters import OnlineAttention
from hw.rtl.attention.online_attention_parts import Queue, block_layout, position_layout
from hw.rtl.attention.online_attention_scores import Scores
from hw.rtl.attention.online_attention_sums import Sums
from hw.rtl.stream.signature import unit_signature

__all__ = ["OnlineAttentionUnit"]


class OnlineAttentionUnit(wiring.Component):
    """See `hw.rtl.attention.online_attention_golden` and `hw.rtl.attention.online_attention_contract`."""

    def __init__(self, parameters: OnlineAttention) -> None:
        self.parameters = parameters
        super().__init__(unit_signature(parameters.streams))

    def elaborate(self, platform: Any) -> Module:
        m, p = Module(), self.parameters
        positions = Queue(m, position_layout(p), position_slots(p), "positions")
        blocks = Queue(m, block_layout(p), block_slots(p), "blocks")
        row_taken = Signal()
        Scores(m, p, positions, blocks, row_taken).build(self.q, self.k)
        Sums(m, p, positions, blocks, row_taken).build(self.v, self.o)
        return m
