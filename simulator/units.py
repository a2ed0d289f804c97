"""Engines of hardware units at cycle fidelity: products in the cycles that the units' own contract promises.

Dot products are dealt out to the copies as evenly as whole ones can be; each copy computes its own one after another,
a beat at a time. Operands are taken to be there when a unit wants them: the tier they come from is a bound of its own.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hw.spec.rtl_engine import RtlUnits
from simulator.memory.inside import Product

__all__ = ["UnitService"]


@dataclass(frozen=True)
class UnitService:
    """``units`` as one engine. ``str()`` says what it is built of."""

    units: RtlUnits

    def __str__(self) -> str:
        settings = " ".join(f"{name}={value}" for name, value in self.units.settings.items())
        built = f"{self.units.unit} ({settings})" if settings else self.units.unit
        return f"{self.units.copies:,} x {built} at {self.units.rate_hz / 1e6:,.4g} MHz"

    def seconds(self, product: Product) -> float:
        """From the first operands accepted to the last result given by the busiest copy."""
        dots = math.ceil(product.rows * product.vectors * product.copies / self.units.copies)
        cycles = self.units.contract.cycles(**self.units.work.shape(dots, product.columns))
        return cycles / self.units.rate_hz
