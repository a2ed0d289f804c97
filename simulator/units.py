"""Engines of hardware units at cycle fidelity: operations in the cycles that the units' own contract promises.

Dot products are dealt out to the copies as evenly as whole ones can be; each copy computes its own one after another,
a beat at a time. A unit that computes attention takes rows of grouped queries instead, each against the whole context:
masked keys go through it too. Operands are taken to be there when a unit wants them: the tier they come from is a bound
of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hw.rtl.unit import AttentionWork
from hw.spec.rtl_engine import RtlUnits
from simulator.memory.inside import Product, products
from workloads.errors import InputError
from workloads.workload import Op

__all__ = ["UnitService"]

_ROWS_IN_FULL = 8
"""Rows whose cycles are asked of the contract one by one; from there on each more row of the same length adds the same
(`hw.rtl.attention.online_attention_contract`)."""


@dataclass(frozen=True)
class UnitService:
    """``units`` as one engine. ``str()`` says what it is built of."""

    units: RtlUnits

    def __str__(self) -> str:
        settings = " ".join(f"{name}={value}" for name, value in self.units.settings.items())
        built = f"{self.units.unit} ({settings})" if settings else self.units.unit
        return f"{self.units.copies:,} x {built} at {self.units.rate_hz / 1e6:,.4g} MHz"

    def seconds(self, op: Op) -> float:
        """From the first operands accepted to the last result given by the busiest copy.

        Raises `InputError` where a unit for attention is asked for something else, or has another head dimension.
        """
        work = self.units.work
        if isinstance(work, AttentionWork):
            return self._attention_s(op, work)
        return sum(self.product_s(product) for product in products(op))

    def product_s(self, product: Product) -> float:
        """Of one product of matrices."""
        work = self.units.work
        assert not isinstance(work, AttentionWork)
        dots = math.ceil(product.rows * product.vectors * product.copies / self.units.copies)
        return self.units.contract.cycles(**work.shape(dots, product.columns)) / self.units.rate_hz

    def _attention_s(self, op: Op, work: AttentionWork) -> float:
        sizes = dict(op.sizes)
        if op.kind != "attention":
            raise InputError(f"{self.units.unit} computes attention only, not {op.name}", "--assign attention=ENGINE")
        if (sizes["e"], sizes["f"]) != (work.head, work.head):
            problem = f"heads of {sizes['e']} and {sizes['f']} elements"
            raise InputError(problem, f"the {work.head} of the unit, or another setting head", "rtl.settings.head")
        rows = math.ceil(sizes["b"] * sizes["h"] * sizes["p"] * math.ceil(sizes["g"] / work.group) / self.units.copies)
        return self.attention_cycles(rows, sizes["m"]) / self.units.rate_hz

    def attention_cycles(self, rows: int, length: int) -> int:
        """Cycles of ``rows`` groups of queries, one after another, against ``length`` positions each."""
        work, contract = self.units.work, self.units.contract
        assert isinstance(work, AttentionWork)
        some = min(rows, _ROWS_IN_FULL)
        cycles = contract.cycles(**work.shape(some, length))
        if rows > some:
            cycles += (rows - some) * (cycles - contract.cycles(**work.shape(some - 1, length)))
        return cycles
