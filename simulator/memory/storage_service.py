"""Computational storage for whole systems: products inside drives, as fast as their pages reach the engine.

Keys and values lie in pages of one head (`simulator.memory.storage.layout`), weights in order. Pages are read by the
drive's own simulation; they pass the filters and go to the units as they come, so a product takes the longest of flash,
filters and units, the values of an attention after the latency of its softmax. Several drives share the matrices.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from simulator.memory.drive_service import DriveService
from simulator.memory.inside import Product, Served
from simulator.memory.storage.attention import csd_attention
from simulator.memory.storage.engines import StorageEngine
from simulator.memory.storage.reading import inside_read_rate
from simulator.memory.traffic import SEQUENTIAL_BYTES

__all__ = ["StorageService"]

_MOST_HEADS = 64


@dataclass(frozen=True)
class StorageService:
    """An ``engine`` inside each drive of ``drives``, which reads its flash at ``read_j_per_bit``.

    Drives have whole heads each, and equal parts of the weights; the busiest one sets the time.
    """

    drives: DriveService
    engine: StorageEngine
    read_j_per_bit: float

    def serve(self, product: Product) -> Served:
        """Time and energy of ``product``. Raises `InputError` for shapes that pages cannot hold."""
        count = self.drives.drives
        each = math.ceil(product.copies / count) if product.grows else product.copies / count
        matrix_bytes = product.rows * product.columns * product.stored_bits / 8
        stored = matrix_bytes * product.copies
        flops = 2.0 * product.rows * product.columns * product.vectors
        parts = {
            "flash": matrix_bytes * each / self._rate(replace(product, copies=each)),
            "units": self.engine.compute_s(flops * each),
        }
        if self.engine.filter_GBps is not None:
            channels = self.drives.drive.geometry.channels
            parts["filters"] = matrix_bytes * each / (channels * self.engine.filter_GBps * 1e9)
        longest = max(parts, key=lambda name: parts[name])
        softmax_s = self.engine.softmax_us * 1e-6 if product.new_columns else 0.0
        seconds = softmax_s + parts[longest]
        internal = count * self.drives.drive.internal_bytes_per_s
        why = f"{longest} {parts[longest] / seconds:.0%}"
        why += f", softmax {softmax_s / seconds:.0%}" if softmax_s else ""
        why += f"; channels at {stored / seconds / internal:.0%} of their rate"
        energy_j = flops * product.copies * (self.engine.flop_pJ or 0.0) * 1e-12 + 8 * stored * self.read_j_per_bit
        return Served(seconds, energy_j, seconds, why)

    def _rate(self, product: Product) -> float:
        """Bytes per second that one drive's engine is fed."""
        drive = self.drives.drive
        if not product.grows:
            streams = max(1, self.engine.pages_outstanding * drive.geometry.page_bytes // SEQUENTIAL_BYTES)
            return inside_read_rate(drive, SEQUENTIAL_BYTES, streams=streams)
        head_size, tokens = sorted((product.rows, product.columns))
        heads = min(_MOST_HEADS, math.ceil(product.copies))
        done = csd_attention(
            drive, self.engine, heads, heads, head_size, tokens, 1, element_bytes=math.ceil(product.stored_bits / 8)
        )
        stored, flash_s = done.bytes_by_stage["flash"] + done.bytes_by_stage["waiting"], done.seconds_by_part["flash"]
        return stored / flash_s if flash_s else drive.internal_bytes_per_s

    def __str__(self) -> str:
        return f"{self.drives.drives} x {self.drives.drive.name} with an engine of {self.engine.gemv_GFLOPs:g} GFLOP/s"
