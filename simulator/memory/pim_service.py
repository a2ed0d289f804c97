"""Processing in memory for whole systems: products on the banks of a tier, from the commands that compute them.

A product of several matrices (heads, experts) is laid out in the better of two ways: every matrix over all channels,
one after the other, or a channel's matrices one after the other, all channels at once. Vectors beyond a few re-reads of
the matrix repeat what the first ones did, so time and energy then grow with their number.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import lru_cache

from simulator.memory.inside import Product, Served
from simulator.memory.pim.device import PimDevice
from simulator.memory.pim.gemv import PimResult, pim_gemv
from simulator.memory.pim.presets import load_pim
from workloads.errors import InputError

__all__ = ["PimService", "pim_service"]

_RE_READS = 4


@dataclass(frozen=True)
class PimService:
    """Products on ``pim``; ``channel`` is one channel of it."""

    pim: PimDevice
    channel: PimDevice

    def serve(self, product: Product) -> Served:
        """Time and energy of ``product``; what crosses the pins costs the tier, not the units.

        Raises `InputError` for formats the units do not have and matrices that do not fit.
        """
        vectors = min(product.vectors, _RE_READS * self.pim.vectors_per_read)
        result, turns = self._best(product, vectors)
        longer = product.vectors / vectors
        seconds = result.seconds * turns * longer
        inside = result.energy_j - self._pins_j(result)
        port_s = self._outside_s(result, turns) * longer if self.pim.two_row_buffers else seconds
        return Served(seconds, inside * product.copies * longer, port_s, result.why)

    def _best(self, product: Product, vectors: int) -> tuple[PimResult, float]:
        """One matrix in the layout that takes least time, and how many such times one after the other."""
        rows, columns, bits = product.rows, product.columns, round(product.stored_bits)
        spread = pim_gemv(self.pim, rows, columns, bits, vectors)
        if product.copies <= 1:
            return spread, product.copies
        try:
            alone = pim_gemv(self.channel, rows, columns, bits, vectors)
        except InputError:  # too large for one channel
            return spread, product.copies
        turns = math.ceil(product.copies / self.pim.channels)
        return min(((spread, product.copies), (alone, turns)), key=lambda layout: layout[0].seconds * layout[1])

    def _pins_j(self, result: PimResult) -> float:
        return result.bytes_outside / self.pim.dram.burst_bytes * self.pim.energy.pins_j

    def _outside_s(self, result: PimResult, turns: float) -> float:
        """The host has row buffers of its own: the units take its port only for what goes in and out."""
        return result.bytes_outside * turns / self.pim.outside_bytes_per_s

    def __str__(self) -> str:
        return f"{self.pim.channels} channels of {self.pim.name}, {self.pim.level} units"


@lru_cache(maxsize=32)
def pim_service(name: str, channels: int | None) -> PimService:
    """The service of ``channels`` channels of the bundled memory ``name``; as many as it has when None."""
    pim = load_pim(name)
    return PimService(replace(pim, channels=channels or pim.channels), replace(pim, channels=1))
