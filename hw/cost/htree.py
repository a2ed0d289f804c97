"""The H-tree that joins equal blocks: its size with the blocks, its delay, energy and leakage.

Requests enter in the middle of one side, data leave there. Every level halves the area; a level's branch carries the
address and the word in and out of every port. Wires are repeated, a branch shorter than a repeater's reach by a
repeater as much smaller. A request passes a NAND at each level, a word a tri-state gate whose output stage is the
branch's first repeater; the gates before it are a fan-out of four smaller.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hw.cost.circuits import RepeatedWire, repeated_wire, stage_delay_s
from hw.cost.technology import Technology

__all__ = ["HTree", "htree"]

_TRISTATE_FANOUT = 4.0


@dataclass(frozen=True)
class HTree:
    """Outer size in um; delay of a request and of a word in s; energy of one address and one word in J."""

    width_um: float
    height_um: float
    in_s: float
    out_s: float
    address_j: float
    word_j: float
    leakage_w: float


def htree(
    tech: Technology,
    across: int,
    down: int,
    block_um: tuple[float, float],
    address_bits: int,
    word_bits: int,
    ports: int,
) -> HTree:
    """The tree over ``across`` by ``down`` blocks (powers of two) of ``block_um`` width and height."""
    levels_x, levels_y = round(math.log2(across)), round(math.log2(down))
    pitch = tech.semi_global.pitch_um
    channel_um = (address_bits + 2 * word_bits) * ports * pitch
    # Common levels add a full channel each; further levels along the longer side halve it each time.
    common, excess = min(levels_x, levels_y), abs(levels_x - levels_y)
    tail = 2 * (1 - 2.0**-excess)
    width = across * block_um[0] + channel_um * (common + (tail if levels_y > levels_x else 0.0))
    height = down * block_um[1] + channel_um * (common + (tail if levels_x > levels_y else 0.0))
    wire = repeated_wire(tech, tech.semi_global)
    path_um = width * (1 - 2.0**-levels_x) + height / 2 * (1 - 2.0**-levels_y)
    levels = levels_x + levels_y
    p = tech.p_to_n
    nand_s = stage_delay_s(tech, 2.0, (2 + p) / (1 + p))
    tristate_s = 2 * stage_delay_s(tech, _TRISTATE_FANOUT, (1 + 2 * p) / (1 + p))
    repeaters_j_per_um = wire.energy_j_per_um - tech.semi_global.c_f_per_um * tech.vdd_v**2
    line_j = path_um * (wire.energy_j_per_um + repeaters_j_per_um / _TRISTATE_FANOUT)
    return HTree(
        width_um=width,
        height_um=height,
        in_s=path_um * wire.delay_s_per_um + levels * nand_s,
        out_s=path_um * wire.delay_s_per_um + levels * tristate_s,
        address_j=address_bits * line_j,
        word_j=word_bits * line_j,
        leakage_w=_leakage_w(tech, wire, width, height, levels_x, levels_y, (address_bits + 2 * word_bits) * ports),
    )


def _leakage_w(
    tech: Technology, wire: RepeatedWire, width_um: float, height_um: float, levels_x: int, levels_y: int, lines: int
) -> float:
    """Leakage of every repeater: a level has twice the branches of the one above, each half as long."""
    total_um = lines * (levels_x * width_um + levels_y * height_um / 2)
    off_um = total_um / wire.spacing_um * wire.width_um * (1 + tech.p_to_n) / 2
    return tech.vdd_v * off_um * (tech.i_off_a_per_um + tech.i_gate_a_per_um / (1 + tech.p_to_n))
