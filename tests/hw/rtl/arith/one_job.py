"""One freely flowing run of a unit over given inputs, for exhausting what is small enough."""

from __future__ import annotations

from typing import Any

import numpy as np

from hw.rtl.drive.campaign import packed, run_jobs_in_amaranth
from hw.rtl.drive.job import Job
from hw.rtl.ports import Beats
from hw.rtl.unit import Unit

__all__ = ["all_pairs", "differing_beats"]


def all_pairs(bits: int, lanes: int) -> Beats:
    """Every pair of codes, as fields a and b."""
    codes = np.arange(1 << 2 * bits)
    return {"a": (codes >> bits).reshape(-1, lanes), "b": (codes & ((1 << bits) - 1)).reshape(-1, lanes)}


def differing_beats(unit: Unit[Any], parameters: Any, beats: Beats) -> list[tuple[int, Beats, Beats]]:
    """Beats in which the RTL gives something else than the golden model: number, given, wanted."""
    always, inputs = np.ones(1, np.bool_), {"i": beats}
    expected = unit.golden(parameters, inputs)
    job = packed(unit, parameters, Job("all", inputs, {"i": always}, {"o": always}), expected)
    given = run_jobs_in_amaranth(unit, parameters, [job])[0].outputs["o"]
    port = unit.streams(parameters)[1]
    wanted = port.pack(expected["o"])
    assert len(given) == len(wanted)
    pairs = enumerate(zip(given, wanted, strict=True))
    return [(number, port.unpack([a]), port.unpack([b])) for number, (a, b) in pairs if a != b]
