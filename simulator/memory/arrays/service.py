"""Arrays as memories that compute: what systems ask (`simulator.memory.inside`) of a named array."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

from simulator.memory.arrays.crossbar_service import CrossbarService
from simulator.memory.arrays.devices import CrossbarDevice, load_array
from simulator.memory.arrays.logic_service import LogicService, WriteCost
from workloads.errors import InputError

__all__ = ["CrossbarService", "LogicService", "WriteCost", "array_service"]


def array_service(
    name: str | Path,
    chips: int | None = None,
    *,
    stored_bits: float = 16,
    resident_bytes: float | None = None,
    input_bits: int | None = None,
    float16: Literal["bf16", "fp16"] = "bf16",
) -> CrossbarService | LogicService:
    """``chips`` of the array ``name`` (bundled, or a file). An `simulator.memory.inside.InsideService`.

    ``chips`` None takes as many as hold ``resident_bytes`` of elements of ``stored_bits``, one where that is not given
    either. ``input_bits`` is for crossbars, ``float16`` for arrays of logic cells. Raises `InputError` for names,
    files, counts, formats, and for residents that the chips cannot hold.
    """
    device = load_array(name)
    for field, value in (("chips", chips), ("resident_bytes", resident_bytes), ("input_bits", input_bits)):
        if value is not None and not (math.isfinite(value) and value > 0):
            raise InputError(f"{field} is {value:g}", "more than 0", field)

    def service(count: int) -> CrossbarService | LogicService:
        if isinstance(device, CrossbarDevice):
            return CrossbarService(device, count, input_bits, resident_bytes)
        return LogicService(device, count, float16, resident_bytes)

    if resident_bytes is None:
        return service(chips or 1)
    one_bytes = service(1).capacity_bytes(stored_bits)
    if chips is None:
        return service(math.ceil(resident_bytes / one_bytes))
    if resident_bytes > chips * one_bytes:
        raise InputError(
            f"{resident_bytes / 1e9:,.3f} GB in {chips} x {device.name}",
            f"at most {chips * one_bytes / 1e9:,.3f} GB at {stored_bits:g} bits an element",
            "chips",
        )
    return service(chips)
