"""Transistors and wires of four nodes, and the RC primitives built from them.

The numbers are the low-standby-power (LSTP) column of the ITRS-derived technology files distributed with CACTI 7
(HewlettPackard/cacti, commit d246854, ``tech_params/65nm.dat`` to ``22nm.dat``), at 300 K, wires of the conservative
projection. Transistor widths of the cell and of the column circuits, in units of the half pitch F, are from the same
files and from ``parameter.cc``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

from hw.spec.source import Source

__all__ = ["NODES", "SLOPE_FACTOR", "TECHNOLOGY_SOURCE", "Technology", "Wire"]

TECHNOLOGY_SOURCE = Source("stated", "ITRS values in CACTI 7's tech_params (HewlettPackard/cacti d246854), LSTP, 300 K")

_EPS0_F_PER_UM = 8.854e-18
_VERTICAL_DIELECTRIC = 3.9
_MILLER = 1.5
_FRINGE_F_PER_UM = 1.15e-16
_COPPER_OHM_UM = 0.022
_JUNCTION_SIDEWALL_F_PER_UM = 2.5e-16
_OVERLAP_FRACTION = 0.2

SLOPE_FACTOR = (1 + math.sqrt(1 + 4 * math.log(2) ** 2)) / 2
"""Delay of a stage over its RC, in a chain of equal stages with their true input slopes.

Horowitz's gate delay (Stanford thesis, 1984), td = tf sqrt(ln(v)^2 + (ramp / tf) (1 - v)) at half swing (v = 1/2) and
ramp = td / (1 - v): with x = td / tf, x^2 = ln(2)^2 + x.
"""


@dataclass(frozen=True)
class Wire:
    """One metal layer: pitch in um, resistance in ohm and capacitance in F per um."""

    pitch_um: float
    r_ohm_per_um: float
    c_f_per_um: float


@dataclass(frozen=True)
class Technology:
    """One node: ``f_um`` is the half pitch; per-um values are per um of transistor width.

    ``c_gate_f_per_um`` is the ideal gate, ``resistance_factor`` the effective resistance over Vdd / I_on, ``p_to_n``
    the nMOS's drive over the pMOS's; the last four are of its wires.
    """

    f_um: float
    vdd_v: float
    vth_v: float
    i_on_a_per_um: float
    resistance_factor: float
    p_to_n: float
    c_gate_f_per_um: float
    c_fringe_f_per_um: float
    c_junction_f_per_um2: float
    gate_length_um: float
    i_off_a_per_um: float
    i_gate_a_per_um: float
    horizontal_dielectric: float
    ild_um: float
    scatter: float
    barrier_um: float

    @cached_property
    def r_n_ohm_um(self) -> float:
        """Effective resistance of one um of nMOS."""
        return self.resistance_factor * self.vdd_v / self.i_on_a_per_um

    @cached_property
    def c_in_f_per_um(self) -> float:
        """Gate capacitance of one um, with overlap and three fringes."""
        return self.c_gate_f_per_um * (1 + _OVERLAP_FRACTION) + 3 * self.c_fringe_f_per_um

    @cached_property
    def c_out_f_per_um(self) -> float:
        """Drain capacitance of one um of a gate's transistor: one nMOS finger of a cell row 50 F high."""
        finger_um = (50 - 2 * 2 - 5) / 3 * self.f_um
        return self.c_drain_f(finger_um) / finger_um

    @property
    def min_width_um(self) -> float:
        """The smallest nMOS: 1.5 F."""
        return 1.5 * self.f_um

    @property
    def finger_um(self) -> float:
        """Pitch of the fingers of a folded transistor: a gate, a contact and its two spacings."""
        return self.gate_length_um + 3 * self.f_um

    def c_drain_f(self, width_um: float, fold_um: float = math.inf) -> float:
        """Drain capacitance of a transistor of ``width_um``, folded into fingers of at most ``fold_um``."""
        fingers = max(1, math.ceil(width_um / fold_um))
        finger_um = width_um / fingers
        length_um = 3 * self.f_um
        shared = math.ceil(fingers / 2)
        area = self.c_junction_f_per_um2 * length_um * finger_um * shared
        side = _JUNCTION_SIDEWALL_F_PER_UM * (2 * length_um * shared + (finger_um if fingers % 2 else 0.0))
        edge = 2 * (self.c_fringe_f_per_um + _OVERLAP_FRACTION * self.c_gate_f_per_um) * width_um
        return area + side + edge

    def wire(self, pitch_f: float, aspect: float) -> Wire:
        """A layer of ``pitch_f`` half pitches and a thickness of ``aspect`` widths, spacing equal to width."""
        width = pitch_f * self.f_um / 2
        thickness = aspect * width
        area = (thickness - self.barrier_um) * (width - 2 * self.barrier_um)
        up = 2 * _EPS0_F_PER_UM * _VERTICAL_DIELECTRIC * width / self.ild_um
        side = 2 * _EPS0_F_PER_UM * _MILLER * self.horizontal_dielectric * aspect
        return Wire(pitch_f * self.f_um, self.scatter * _COPPER_OHM_UM / area, up + side + _FRINGE_F_PER_UM)

    @cached_property
    def local(self) -> Wire:
        """Word lines and bit lines: 2.5 F."""
        return self.wire(2.5, 2.0)

    @cached_property
    def semi_global(self) -> Wire:
        """Lines inside a mat and the H-tree: 4 F."""
        return self.wire(4.0, 2.0)


NODES: dict[int, Technology] = {
    65: Technology(
        f_um=0.065, vdd_v=1.2, vth_v=0.52354, i_on_a_per_um=5.192e-4, resistance_factor=1.96, p_to_n=2.23,
        c_gate_f_per_um=6.14e-16, c_fringe_f_per_um=8e-17, c_junction_f_per_um2=1e-15, gate_length_um=0.045,
        i_off_a_per_um=9.12e-12, i_gate_a_per_um=1.09e-10, horizontal_dielectric=2.734, ild_um=0.405, scatter=1.0,
        barrier_um=0.006,
    ),
    45: Technology(
        f_um=0.045, vdd_v=1.1, vth_v=0.50245, i_on_a_per_um=6.662e-4, resistance_factor=1.99, p_to_n=2.23,
        c_gate_f_per_um=5.18e-16, c_fringe_f_per_um=8e-17, c_junction_f_per_um2=1e-15, gate_length_um=0.028,
        i_off_a_per_um=1.01e-11, i_gate_a_per_um=9.47e-12, horizontal_dielectric=2.46, ild_um=0.315, scatter=1.0,
        barrier_um=0.004,
    ),
    32: Technology(
        f_um=0.032, vdd_v=1.0, vth_v=0.513, i_on_a_per_um=6.836e-4, resistance_factor=1.99, p_to_n=2.23,
        c_gate_f_per_um=4.58e-16, c_fringe_f_per_um=5.3e-17, c_junction_f_per_um2=1e-15, gate_length_um=0.020,
        i_off_a_per_um=2.06e-11, i_gate_a_per_um=3.73e-11, horizontal_dielectric=2.214, ild_um=0.21, scatter=1.0,
        barrier_um=0.003,
    ),
    22: Technology(
        f_um=0.022, vdd_v=0.8, vth_v=0.40126, i_on_a_per_um=7.276e-4, resistance_factor=1.99, p_to_n=2.0,
        c_gate_f_per_um=3.22e-16, c_fringe_f_per_um=8e-17, c_junction_f_per_um2=0.0, gate_length_um=0.014,
        i_off_a_per_um=2.43e-11, i_gate_a_per_um=4.51e-10, horizontal_dielectric=2.104, ild_um=0.15, scatter=1.05,
        barrier_um=0.003,
    ),
}  # fmt: skip
