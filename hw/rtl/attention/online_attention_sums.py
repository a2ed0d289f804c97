"""Second half of the online-softmax attention engine: weighted values summed in a common frame, divided, given."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from amaranth import C, Cat, Module, Mux, Signal, signed, unsigned

from hw.rtl.arith.float_parts import float_round, signed_range
from hw.rtl.attention.online_attention_contract import division_cycles
from hw.rtl.attention.online_attention_parameters import OnlineAttention
from hw.rtl.attention.online_attention_parts import (
    Queue,
    counter,
    divide_step,
    highest,
    limited,
    named,
    ring,
    selected,
    split_code,
    top_bits,
    turn,
)
from hw.rtl.stream.pipeline import Pipeline

__all__ = ["Sums"]


class Sums:
    """Takes what `hw.rtl.attention.online_attention_scores.Scores` put into the queues, with the values."""

    def __init__(self, m: Module, p: OnlineAttention, positions: Queue, blocks: Queue, row_taken: Signal) -> None:
        self.m, self.p, self.positions, self.blocks, self.row_taken = m, p, positions, blocks, row_taken
        self.busy = Signal(name="sums_busy")
        self.weight_sums = [Signal(p.weight_sum_width, name=f"weight_sum{h}", reset_less=True) for h in range(p.group)]
        self.broken = Signal(p.group, name="row_broken", reset_less=True)
        sums = signed(p.value_sum_width)
        self.value_sums = [[ring(sums, p.parts, f"value_sum{h}_{n}") for n in range(p.lanes)] for h in range(p.group)]
        # The frame that a part has in the stage before its sums, and that of what its sums hold: the next row may
        # stand in that stage while these are given out.
        self.next_tops = ring(p.cache_format.exponent_bits, p.parts, "next_top")
        self.tops = ring(p.cache_format.exponent_bits, p.parts, "top")
        self.broken_values = ring(p.lanes, p.parts, "value_broken")

    def build(self, v: Any, o: Any) -> None:
        m = self.m
        source = SimpleNamespace(valid=v.valid & (self.blocks.level != 0), ready=Signal(name="values_move"))
        sink = SimpleNamespace(valid=Signal(name="term_valid"), ready=Signal(name="term_ready"))
        m.d.comb += [v.ready.eq(source.ready & (self.blocks.level != 0)), sink.ready.eq(~self.busy)]
        pipe = Pipeline(m, source, sink)
        now = pipe.register(**self.weigh(v.payload, v.valid & v.ready))
        now = pipe.register(**self.align(now, pipe.moves & pipe.valid))
        m.d.comb += sink.valid.eq(pipe.valid)
        self.accumulate(now, pipe.moves & pipe.valid)
        self.divide(now["ends"] & pipe.moves & pipe.valid, o)

    def weigh(self, beat: Any, taken: Any) -> dict[str, Any]:
        """Products of weights and values; by how much weights lie below the maximum."""
        m, p, word, block = self.m, self.p, self.positions.head, self.blocks.head
        begins, done = counter(m, p.parts, taken, "value_part")
        starts_block = Signal(init=1, name="starts_block")
        m.d.comb += [
            self.positions.pop.eq(taken & done),
            self.blocks.pop.eq(taken & done & word.ends_block),
            self.row_taken.eq(taken & done & word.ends_row),
        ]
        with m.If(taken & done):
            m.d.sync += starts_block.eq(word.ends_block)
        values = [split_code(m, beat.data[n], p.cache_format) for n in range(p.lanes)]
        # What is no number must not raise the frame of the others; its own element becomes NaN.
        fields = [named(m, Mux(value.broken, 1, value.field), "value_field", value.field.shape()) for value in values]
        after: dict[str, Any] = {
            "counts": word.counts,
            "first": word.first,
            "begins": begins,
            "ends": done & word.ends_row,
            "highest": highest(m, fields),
            "broken": word.broken & Cat([word.counts] * p.group),
            "broken_value": Cat(value.broken for value in values) & Cat([word.counts] * p.lanes),
        }
        for n, (value, field) in enumerate(zip(values, fields, strict=True)):
            after |= {f"negative{n}": value.sign, f"field{n}": field}
        for h in range(p.group):
            below = named(m, block.peak[h] - word.whole[h], "below", unsigned(p.range_bits))
            rise = Mux(starts_block, block.rise[h], 0)
            after[f"weight{h}"] = word.weight[h]
            after[f"below{h}"] = limited(m, below, p.fraction + 2)
            after[f"rise{h}"] = limited(m, rise, p.value_sum_width)
            for n, value in enumerate(values):
                after[f"product{h}_{n}"] = word.weight[h] * value.significand
        return after

    def align(self, now: dict[str, Any], moves: Any) -> dict[str, Any]:
        """Terms in the frame of the maximum and of the highest value so far."""
        m, p = self.m, self.p
        before = named(m, Mux(now["first"], now["highest"], self.next_tops[0]), "top_before", self.tops[0].shape())
        higher = highest(m, [before, now["highest"]])
        top = named(m, Mux(now["counts"], higher, before), "top_after", self.tops[0].shape())
        climb = named(m, top - before, "climb", unsigned(len(top)))
        with m.If(moves):
            turn(m, self.next_tops, top)
        after: dict[str, Any] = {name: now[name] for name in ("first", "begins", "ends", "broken", "broken_value")}
        after["top"] = top
        for n in range(p.lanes):
            lower = named(m, top - now[f"field{n}"], f"lower{n}", unsigned(len(top)))
            for h in range(p.group):
                fall = limited(m, now[f"below{h}"] + lower, p.fraction + 2)
                raised = Cat(C(0, p.fraction - p.precision - p.cache_format.mantissa_bits), now[f"product{h}_{n}"])
                size = named(m, raised >> fall, "term", unsigned(p.fraction + 2))
                size = named(m, Mux(now["counts"], size, 0), "counting", unsigned(p.fraction + 2))
                after[f"term{h}_{n}"] = Mux(now[f"negative{n}"], -size, size)
        for h in range(p.group):
            raised = Cat(C(0, p.fraction - p.precision), now[f"weight{h}"])
            size = named(m, raised >> now[f"below{h}"], "weight_term", unsigned(p.fraction + 1))
            after[f"weight_term{h}"] = Mux(now["counts"], size, 0)
            after[f"rise{h}"] = now[f"rise{h}"]
            after[f"drop{h}"] = limited(m, now[f"rise{h}"] + climb, p.value_sum_width)
        return after

    def accumulate(self, now: dict[str, Any], moves: Any) -> None:
        """The loop: what the sums hold goes down by as much as the frame rose, and the terms are added."""
        m, p, first = self.m, self.p, now["first"]
        with m.If(moves):
            turn(m, self.tops, now["top"])
            turn(m, self.broken_values, Mux(first, 0, self.broken_values[0]) | now["broken_value"])
            for h, lanes in enumerate(self.value_sums):
                for n, registers in enumerate(lanes):
                    held = named(m, registers[0] >> now[f"drop{h}"], "lowered", signed(p.value_sum_width))
                    turn(m, registers, Mux(first, 0, held) + now[f"term{h}_{n}"])
            with m.If(now["begins"]):
                m.d.sync += self.broken.eq(Mux(first, 0, self.broken) | now["broken"])
                for h, total in enumerate(self.weight_sums):
                    lowered = named(m, total >> now[f"rise{h}"], "weights_lowered", unsigned(p.weight_sum_width))
                    m.d.sync += total.eq(Mux(first, 0, lowered) + now[f"weight_term{h}"])

    def divide(self, starts: Any, o: Any) -> None:
        """Reciprocals of all sums of weights bit by bit, then a part of a row each cycle."""
        m, p, bits = self.m, self.p, self.p.quotient_bits
        steps = division_cycles(p)
        left = Signal(range(steps + 1), name="division_left")
        loads = named(m, left == steps, "division_loads")
        with m.If(starts):
            m.d.sync += [self.busy.eq(1), left.eq(steps)]
        with m.Elif(left.any()):
            m.d.sync += left.eq(left - 1)
        each = []
        for h, total in enumerate(self.weight_sums):
            divisor, rest = Signal(bits, name=f"divisor{h}"), Signal(bits + 1, name=f"rest{h}")
            quotient = Signal(bits + 1, name=f"quotient{h}")
            high, length = top_bits(m, total, bits)
            held = Signal(length.shape(), name=f"weight_bits{h}")
            fits, following = divide_step(m, rest, divisor)
            with m.If(loads):
                m.d.sync += [divisor.eq(high), held.eq(length), rest.eq(1 << (bits - 1)), quotient.eq(0)]
            with m.Elif(left.any()):
                m.d.sync += [quotient.eq(Cat(fits, quotient)), rest.eq(following)]
            each.append((quotient, held))
        self.give(each, self.busy & ~left.any(), o)

    def give(self, reciprocals: list[tuple[Signal, Signal]], gives: Any, o: Any) -> None:
        """Sums times reciprocals, normalised and rounded, query by query."""
        m, p, bits = self.m, self.p, self.p.quotient_bits
        source = SimpleNamespace(valid=gives, ready=Signal(name="output_moves"))
        pipe = Pipeline(m, source, o)
        turns = named(m, gives & source.ready, "row_turns")
        _, part_ends = counter(m, p.parts, turns, "output_part")
        head = Signal(range(max(2, p.group)), name="output_head")
        with m.If(turns):
            for registers in (self.tops, self.broken_values, *(one for lanes in self.value_sums for one in lanes)):
                turn(m, registers, registers[0])
            with m.If(part_ends):
                ends = head == p.group - 1
                m.d.sync += [head.eq(Mux(ends, 0, head + 1)), self.busy.eq(~ends)]

        now = pipe.register(
            quotient=selected(head, [quotient for quotient, _ in reciprocals]),
            weight_bits=selected(head, [held for _, held in reciprocals]),
            top=self.tops[0],
            broken=self.broken_values[0] | selected(head, list(self.broken)).replicate(p.lanes),
            **{f"sum{n}": selected(head, [lanes[n][0] for lanes in self.value_sums]) for n in range(p.lanes)},
        )
        normal: dict[str, Any] = {name: now[name] for name in ("quotient", "broken")}
        bias = p.cache_format.bias
        assert bias is not None
        offset = 1 - 2 * bits - bias
        low = offset - p.weight_sum_width
        high = offset + p.value_sum_width + (1 << p.cache_format.exponent_bits)
        base = named(m, now["top"] - now["weight_bits"] + offset, "base", signed_range(low, high))
        for n in range(p.lanes):
            total = now[f"sum{n}"]
            size = named(m, Mux(total[-1], -total, total), "size", unsigned(p.value_sum_width))
            top, length = top_bits(m, size, bits)
            exponent = named(m, length + base, "exponent", signed_range(low, high))
            normal |= {f"negative{n}": total[-1], f"size{n}": top, f"exponent{n}": exponent}
        now = pipe.register(**normal)
        products: dict[str, Any] = {name: value for name, value in now.items() if not name.startswith("size")}
        for n in range(p.lanes):
            # Without any weight the quotient is no reciprocal, but then the sum is 0 as well.
            products[f"product{n}"] = named(m, now[f"size{n}"] * now["quotient"], "product", unsigned(2 * bits))
        del products["quotient"]
        now = pipe.register(**products)
        rounded = [
            float_round(
                m,
                now[f"negative{n}"],
                now[f"exponent{n}"],
                now[f"product{n}"],
                C(0, 1),
                p.result_format,
                nan=now["broken"][n],
                lowest=low,
            )
            for n in range(p.lanes)
        ]
        pipe.finish(data=Cat(rounded))
