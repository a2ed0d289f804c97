"""SRAM tiers described by what they are built of: banks, ports, word and node give bandwidth, latency and energies.

A tier with a ``macro`` may leave out its bandwidths, latency, energies and static power: those left out are worked out
by `hw.cost.sram.sram`, and say so in their sources. A field given in the file stands as it is given.
"""

from __future__ import annotations

from typing import Any

from pydantic import PositiveFloat, PositiveInt, TypeAdapter, ValidationError

from hw.spec.component import Component
from hw.spec.quantity import Bytes
from workloads.errors import InputError
from workloads.validation import field_error

__all__ = ["DERIVED", "SramMacro", "with_derived_fields"]

DERIVED = "derived: banks, ports, word and node of the macro, by the SRAM model of hw/cost/sram.py"
"""Source of every field that was worked out."""


class SramMacro(Component):
    """``copies`` equal memories share the tier's capacity, each of ``banks`` banks of ``ports`` read-write ports.

    Every bank and port moves one word of ``word_bits`` a cycle at ``node_nm`` nanometres.
    """

    banks: PositiveInt = 1
    ports: PositiveInt = 1
    copies: PositiveInt = 1
    word_bits: PositiveInt
    node_nm: PositiveFloat


def with_derived_fields(tier: Any) -> Any:
    """``tier`` as in a file, with what its macro implies filled in where it was left out or was worked out before.

    Raises the field's error where the model cannot build such a memory.
    """
    if not isinstance(tier, dict) or not isinstance(tier.get("macro"), dict):
        return tier
    try:
        macro = SramMacro.model_validate(tier["macro"])
        capacity = tier.get("capacity", tier.get("capacity_bytes"))
        capacity_bytes = TypeAdapter(Bytes).validate_python(capacity)
    except ValidationError:
        # Macro or capacity will be refused for themselves: what they would have given is not missing beside that.
        return {**dict.fromkeys(("read_bandwidth", "write_bandwidth"), "1 B/s"), **tier}
    from hw.cost.sram import sram  # the model takes time to load: most tiers have no macro

    try:
        cost = sram(
            max(1, round(capacity_bytes / macro.copies)),
            word_bits=macro.word_bits,
            banks=macro.banks,
            ports=macro.ports,
            node_nm=macro.node_nm,
        )
    except InputError as error:
        field = "capacity" if error.field == "capacity_bytes" else f"macro.{error.field}"
        raise field_error(InputError(error.problem, error.expected, field)) from None
    rate = macro.copies * macro.banks * macro.ports * macro.word_bits / 8 / cost.cycle_s
    found = {
        "read_bandwidth": f"{rate:.6g} B/s",
        "write_bandwidth": f"{rate:.6g} B/s",
        "latency": f"{cost.access_s:.6g} s",
        "read_energy": f"{cost.read_energy_j / macro.word_bits:.6g} J/bit",
        "write_energy": f"{cost.write_energy_j / macro.word_bits:.6g} J/bit",
        "static_power": f"{macro.copies * cost.leakage_w:.6g} W",
    }
    sources = dict(tier.get("sources") or {})
    filled = {name: text for name, text in found.items() if name not in tier or str(sources.get(name, "")) == DERIVED}
    return {**tier, **filled, "sources": {**sources, **dict.fromkeys(filled, DERIVED)}}
