"""What an on-chip SRAM costs against its capacity: energy of an access, area, leakage and time."""

from __future__ import annotations

import math

from dse.reports.characteristics.sheet import Axis, Chart, Curve, Progress, Sheet
from hw.cost.sram import SramCost, sram

__all__ = ["sram_sheet"]

_LEAST_WORDS, _MOST_BYTES = 16, 64 << 20
_CAPACITY = Axis("capacity_bytes", "capacity", "B", "log2")


def sram_sheet(
    node_nm: float, word_bits: int, banks: int = 1, ports: int = 1, progress: Progress = lambda _: None
) -> Sheet:
    """The charts from 1 KiB, or sixteen words a bank, to 64 MiB in all.

    Raises `InputError` as `hw.cost.sram.sram` does, and where not even 64 MiB hold sixteen words a bank.
    """
    sram(_MOST_BYTES, word_bits=word_bits, banks=banks, ports=ports, node_nm=node_nm)  # for its errors
    least = max(1024, 1 << math.ceil(math.log2(_LEAST_WORDS * banks * word_bits / 8)))
    costs: dict[int, SramCost] = {}
    size = least
    while size <= _MOST_BYTES:
        progress(f"{size // 1024:,} KiB")
        costs[size] = sram(size, word_bits=word_bits, banks=banks, ports=ports, node_nm=node_nm)
        size *= 2
    charts = (
        _chart(
            "energy",
            "Energy of one word",
            ("energy_j", "energy", "J"),
            costs,
            read="read_energy_j",
            written="write_energy_j",
        ),
        _chart("area", "Area", ("area_mm2", "area", "mm²"), costs, **{"all banks": "area_mm2"}),
        _chart(
            "time",
            "Time",
            ("time_s", "time", "s"),
            costs,
            **{"address to data": "access_s", "between accesses": "cycle_s"},
        ),
        _chart("leakage", "Leakage", ("leakage_w", "power", "W"), costs, **{"all banks": "leakage_w"}),
    )
    counted = f"{banks} bank{'s' if banks > 1 else ''}, {ports} port{'s' if ports > 1 else ''}"
    headline = f"SRAM at {node_nm:g} nm, words of {word_bits} bits, {counted}"
    settings = {"node_nm": node_nm, "word_bits": word_bits, "banks": banks, "ports": ports}
    return Sheet("sram", "sram", headline, charts, settings)


def _chart(name: str, title: str, axis: tuple[str, str, str], costs: dict[int, SramCost], **fields: str) -> Chart:
    curves = tuple(
        Curve(label, tuple((size, float(getattr(cost, field))) for size, cost in costs.items()))
        for label, field in fields.items()
    )
    return Chart(name, title, _CAPACITY, Axis(*axis, "log10"), curves)
