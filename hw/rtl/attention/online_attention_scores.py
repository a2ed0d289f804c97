"""First half of the online-softmax attention engine: queries and keys in, weights and maxima into the queues.

Registers of a vector's parts stand in rings that turn with every beat, so that no part has to be selected.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from amaranth import C, Cat, Module, Mux, Signal, Value, signed, unsigned

from hw.rtl.attention.online_attention_contract import position_slots
from hw.rtl.attention.online_attention_parameters import SCALE_BITS, OnlineAttention
from hw.rtl.attention.online_attention_parts import (
    Queue,
    Split,
    counter,
    highest,
    joined,
    limited,
    logarithm,
    named,
    power,
    ring,
    split_code,
    tree_sum,
    turn,
)
from hw.rtl.stream.pipeline import Pipeline

__all__ = ["Scores"]

_OF_POSITION = ("counts", "first", "ends_row")
_OF_BEAT = ("broken", "begins", "done", *_OF_POSITION)
"""What goes with a beat: for each query, whether it or the key holds no number; whether it begins or completes a
position; whether that counts, is the row's first, its last."""


class Scores:
    """``row_taken`` is high when the last value beat of a row is accepted: the next row may begin."""

    def __init__(self, m: Module, p: OnlineAttention, positions: Queue, blocks: Queue, row_taken: Signal) -> None:
        self.m, self.p, self.positions, self.blocks, self.row_taken = m, p, positions, blocks, row_taken
        self.open = Signal(name="row_open")
        self.limit = Signal(p.positions.bit_length(), name="row_limit", reset_less=True)

    def build(self, q: Any, k: Any) -> None:
        m, p = self.m, self.p
        taken = k.valid & k.ready
        source = SimpleNamespace(valid=k.valid & self.open, ready=Signal(name="scores_move"))
        logarithms = {f"t{h}": Signal(signed(p.range_bits + p.precision), name=f"t{h}") for h in range(p.group)}
        flags = {name: Signal(name=f"{name}_at_end") for name in _OF_POSITION}
        payload = SimpleNamespace(broken=Signal(p.group, name="broken_at_end"), **flags, **logarithms)
        sink = SimpleNamespace(valid=Signal(name="weight_valid"), ready=Signal(name="weight_ready"), payload=payload)
        pipe = Pipeline(m, source, sink)
        m.d.comb += k.ready.eq(source.ready & self.open)

        queries = self.load(q, taken)
        now = pipe.register(**self.multiply(queries, k.payload, taken))
        now = pipe.register(**self.align(now))
        now = pipe.register(**self.add(now))
        joint = self.join(now, pipe.moves & pipe.valid)
        pipe.keep(now["done"])
        now = pipe.register(**joint)
        now = pipe.register(**self.scale(now))
        pipe.finish(**self.place(now))
        self.queue(sink)

    def load(self, q: Any, k_taken: Value) -> list[list[Split]]:
        """Queries into their rings; the front of each is what the present key beat meets."""
        m, p = self.m, self.p
        loads = p.group * p.parts
        loaded = Signal(range(loads + 1), name="loaded")
        taken = q.valid & q.ready
        m.d.comb += q.ready.eq(loaded != loads)
        with m.If(taken):
            m.d.sync += [loaded.eq(loaded + 1), self.limit.eq(q.payload.length)]
            if p.causal:
                with m.If(q.payload.position < q.payload.length):
                    m.d.sync += self.limit.eq(q.payload.position + 1)
        with m.If(self.row_taken):
            m.d.sync += loaded.eq(0)
        closed = Signal(name="row_closed")
        self.begins, self.done = counter(m, p.parts, k_taken, "key_part")
        m.d.comb += self.open.eq((loaded == loads) & ~closed)
        fronts = []
        for h in range(p.group):
            below = loaded < (h + 1) * p.parts
            loading = taken & (below & (loaded >= h * p.parts) if h else below)
            lanes = [ring(p.query_format.bits, p.parts, f"query{h}_{n}") for n in range(p.lanes)]
            for n, registers in enumerate(lanes):
                with m.If(loading):
                    turn(m, registers, q.payload.data[n])
                with m.Elif(k_taken):
                    turn(m, registers, registers[0])
            fronts.append([split_code(m, registers[0], p.query_format) for registers in lanes])
        self.closed = closed
        return fronts

    def multiply(self, queries: list[list[Split]], beat: Any, taken: Value) -> dict[str, Any]:
        m, p = self.m, self.p
        number = Signal(p.positions.bit_length(), name="key_position")
        with m.If(taken & self.done):
            m.d.sync += [number.eq(Mux(beat.last, 0, number + 1)), self.closed.eq(beat.last)]
        with m.If(self.row_taken):
            m.d.sync += self.closed.eq(0)
        keys = [split_code(m, beat.data[n], p.cache_format) for n in range(p.lanes)]
        broken_key = named(m, Cat(key.broken for key in keys).any(), "broken_key")
        after: dict[str, Any] = {}
        for h, query in enumerate(queries):
            for n, (a, b) in enumerate(zip(query, keys, strict=True)):
                after[f"product{h}_{n}"] = a.significand * b.significand
                after[f"exponent{h}_{n}"] = a.field + b.field
                after[f"negative{h}_{n}"] = a.sign ^ b.sign
        return after | {
            "broken": Cat(Cat(part.broken for part in query).any() | broken_key for query in queries),
            "begins": self.begins,
            "done": self.done,
            "counts": number < self.limit,
            "first": ~number.any(),
            "ends_row": beat.last,
        }

    def align(self, now: dict[str, Any]) -> dict[str, Any]:
        m, p = self.m, self.p
        after: dict[str, Any] = {name: now[name] for name in _OF_BEAT}
        for h in range(p.group):
            frame = highest(m, [now[f"exponent{h}_{n}"] for n in range(p.lanes)])
            after[f"frame{h}"] = frame
            for n in range(p.lanes):
                raised = Cat(C(0, p.product_shift), now[f"product{h}_{n}"])
                drop = named(m, frame - now[f"exponent{h}_{n}"], "drop", unsigned(len(frame)))
                size = named(m, raised >> limited(m, drop, len(raised)), "aligned", unsigned(len(raised)))
                after[f"term{h}_{n}"] = Mux(now[f"negative{h}_{n}"], -size, size)
        return after

    def add(self, now: dict[str, Any]) -> dict[str, Any]:
        after: dict[str, Any] = {name: now[name] for name in _OF_BEAT}
        for h in range(self.p.group):
            total = tree_sum([now[f"term{h}_{n}"] for n in range(self.p.lanes)])
            after[f"total{h}"] = named(self.m, total, "beat_total", signed(self.p.score_width))
            after[f"frame{h}"] = now[f"frame{h}"]
        return after

    def join(self, now: dict[str, Any], moves: Value) -> dict[str, Any]:
        """The beats of one position in one sum; the sum so far is held beside the pipeline."""
        m, p = self.m, self.p
        after: dict[str, Any] = {name: now[name] for name in (*_OF_POSITION, "broken")}
        for h in range(p.group):
            total, frame = now[f"total{h}"], now[f"frame{h}"]
            if p.parts > 1:
                held = Signal(signed(p.score_width), name=f"score_held{h}", reset_less=True)
                held_frame = Signal(frame.shape(), name=f"score_frame{h}", reset_less=True)
                # An empty sum is 0, whatever the frame.
                before = named(m, Mux(now["begins"], 0, held), "score_before", signed(p.score_width))
                before_frame = named(m, Mux(now["begins"], 0, held_frame), "frame_before", frame.shape())
                total, frame = joined(m, before, before_frame, total, frame, p.score_width)
                with m.If(moves):
                    m.d.sync += [held.eq(total), held_frame.eq(frame)]
            after |= {f"total{h}": total, f"frame{h}": frame}
        if p.parts > 1:
            broken = Signal(p.group, name="broken_held", reset_less=True)
            after["broken"] = named(m, now["broken"] | Mux(now["begins"], 0, broken), "broken_so_far")
            with m.If(moves):
                m.d.sync += broken.eq(after["broken"])
        return after

    def scale(self, now: dict[str, Any]) -> dict[str, Any]:
        after = {name: value for name, value in now.items() if not name.startswith("total")}
        for h in range(self.p.group):
            after[f"scaled{h}"] = now[f"total{h}"] * C(self.p.scale[0], SCALE_BITS)
        return after

    def place(self, now: dict[str, Any]) -> dict[str, Any]:
        """Scores onto the grid of 2^-precision."""
        after = {name: now[name] for name in (*_OF_POSITION, "broken")}
        for h in range(self.p.group):
            after[f"t{h}"] = logarithm(self.m, now[f"scaled{h}"], now[f"frame{h}"], self.p)
        return after

    def queue(self, score: Any) -> None:
        """Weights into the queue; at the end of a block, its maximum and by how much it rose."""
        m, p, at = self.m, self.p, score.payload
        m.d.comb += score.ready.eq(self.positions.level != position_slots(p))
        written = score.valid & score.ready
        word, block = self.positions.word, self.blocks.word
        ends_block: Value = C(1, 1)
        if p.block > 1:
            filled = Signal(range(p.block), name="block_filled")
            ends_block = named(m, (filled == p.block - 1) | at.ends_row, "ends_block")
            with m.If(written):
                m.d.sync += filled.eq(Mux(ends_block, 0, filled + 1))
        m.d.comb += [self.positions.push.eq(written), self.blocks.push.eq(written & ends_block)]
        m.d.comb += [word.ends_block.eq(ends_block), word.broken.eq(at.broken)]
        m.d.comb += [word[name].eq(getattr(at, name)) for name in _OF_POSITION]
        for h in range(p.group):
            t = getattr(at, f"t{h}")
            whole = named(m, t[p.precision :].as_signed(), f"whole{h}", signed(p.range_bits))
            running = Signal(signed(p.range_bits), name=f"running{h}", reset_less=True)
            base = Signal(signed(p.range_bits), name=f"base{h}", reset_less=True)
            raises = at.first | (at.counts & (whole > running))
            peak = named(m, Mux(raises, whole, running), f"peak{h}", signed(p.range_bits))
            m.d.comb += [
                word.weight[h].eq(power(m, t[: p.precision], p)),
                word.whole[h].eq(whole),
                block.peak[h].eq(peak),
                block.rise[h].eq(peak - base),
            ]
            with m.If(written):
                m.d.sync += running.eq(peak)
                with m.If(ends_block):
                    m.d.sync += base.eq(peak)
