"""Chains of gates and repeated wires: delay, energy and transistor width from loads.

Gates are sized by logical effort (Sutherland, Sproull and Harris, "Logical Effort", 1999), wires are cut by repeaters.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from hw.cost.technology import SLOPE_FACTOR, Technology, Wire

__all__ = ["Chain", "RepeatedWire", "gate_chain", "repeated_wire", "stage_delay_s"]

_STAGE_EFFORT = 4.0
_DELAY_ALLOWED = 1.3


@dataclass(frozen=True)
class Chain:
    """Delay, energy of one full charge, and nMOS plus pMOS width of a chain of gates."""

    delay_s: float
    energy_j: float
    width_um: float


def stage_delay_s(tech: Technology, fanout: float, effort: float = 1.0) -> float:
    """Delay of one gate of logical ``effort`` that drives ``fanout`` times its own input capacitance."""
    tau = tech.r_n_ohm_um * (1 + tech.p_to_n)
    return SLOPE_FACTOR * tau * (effort * fanout * tech.c_in_f_per_um + effort * tech.c_out_f_per_um)


def gate_chain(tech: Technology, inputs: int, load_f: float, wire_ohm: float = 0.0, gap_f: float = 0.0) -> Chain:
    """A NAND of ``inputs`` of the smallest size, then inverters, up to a load through a line of ``wire_ohm``.

    ``gap_f`` is wire capacitance inside ``load_f``'s line that the resistance also charges; half of it counts.
    """
    p = tech.p_to_n
    effort = (inputs + p) / (1 + p) if inputs > 1 else 1.0
    first_f = (inputs + p) * tech.min_width_um * tech.c_in_f_per_um
    path = max(effort * load_f / first_f, 1.0)
    stages = max(2, 2 * math.ceil(math.floor(math.log(path) / math.log(_STAGE_EFFORT)) / 2))
    fanout = path ** (1 / stages)
    delay = stages * stage_delay_s(tech, fanout)
    delay += SLOPE_FACTOR * wire_ohm * (load_f - gap_f / 2)
    internal_f = sum(load_f / fanout**k for k in range(1, stages + 1))
    parasitic = 1 + tech.c_out_f_per_um / tech.c_in_f_per_um
    energy = (load_f + internal_f * parasitic) * tech.vdd_v**2
    return Chain(delay, energy, internal_f / tech.c_in_f_per_um)


@dataclass(frozen=True)
class RepeatedWire:
    """Per um of wire: delay, energy of one charge, transistor width; ``spacing_um`` between repeaters of ``width_um``.

    ``width_um`` is the nMOS of one repeater.
    """

    delay_s_per_um: float
    energy_j_per_um: float
    spacing_um: float
    width_um: float


@lru_cache(maxsize=64)
def repeated_wire(tech: Technology, wire: Wire) -> RepeatedWire:
    """The repeaters of least energy that are at most 30 % slower than the fastest."""
    c_in, c_out = (c * (1 + tech.p_to_n) for c in (tech.c_in_f_per_um, tech.c_out_f_per_um))

    def at(width_um: float, spacing_um: float) -> RepeatedWire:
        r = tech.r_n_ohm_um / width_um
        wire_f, wire_ohm = wire.c_f_per_um * spacing_um, wire.r_ohm_per_um * spacing_um
        rc = r * (width_um * (c_in + c_out) + wire_f) + wire_ohm * (wire_f / 2 + width_um * c_in)
        energy = (wire.c_f_per_um + width_um * (c_in + c_out) / spacing_um) * tech.vdd_v**2
        return RepeatedWire(SLOPE_FACTOR * rc / spacing_um, energy, spacing_um, width_um)

    best_width = math.sqrt(tech.r_n_ohm_um * wire.c_f_per_um / (wire.r_ohm_per_um * c_in))
    best_spacing = math.sqrt(2 * tech.r_n_ohm_um * (c_in + c_out) / (wire.r_ohm_per_um * wire.c_f_per_um))
    steps = [1.1**k for k in range(-30, 12)]
    designs = [at(best_width * w, best_spacing * s) for w in steps for s in steps]
    fastest = min(design.delay_s_per_um for design in designs)
    allowed = [design for design in designs if design.delay_s_per_um <= _DELAY_ALLOWED * fastest]
    return min(allowed, key=lambda design: design.energy_j_per_um)
