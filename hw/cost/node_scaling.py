"""Area, delay and energy of logic at one node as a factor of those at 180 nm.

Stillmaker and Baas, "Scaling equations for the accurate prediction of CMOS device performance from 180 nm to 7 nm"
(Integration 58, 2017, pages 74-81): areas from ITRS, delay and energy as polynomials of the supply, fitted to HSPICE
with predictive models (R2 above 0.95 by their abstract). The coefficients are as
wromaszkan/nodeScale (commit a912c60) has them, high-performance transistors from 45 nm down; the two energy
polynomials that the authors' page repeats in its correction (65 nm and 32 nm) are the same. Supplies are 1.8 V at
180 nm and the nominal ones of the predictive models elsewhere. Wires and memories scale otherwise. As published, delay
rises again from 32 nm (planar) to 20 nm (the first with fins).
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from hw.spec.source import Source
from workloads.errors import InputError

__all__ = ["NODE_SCALING_SOURCE", "NodeScale", "energy_factor", "node_scale"]

NODE_SCALING_SOURCE = Source(
    "stated", "Stillmaker and Baas, Integration 58 (2017) 74-81, from 180 nm, nominal supplies"
)


@dataclass(frozen=True)
class NodeScale:
    """Factors on area, delay and energy at 180 nm; ``between`` the two published nodes it was interpolated from."""

    area: float
    delay: float
    energy: float
    between: tuple[int, ...] = ()


@dataclass(frozen=True)
class _Node:
    """Area over that at 180 nm; coefficients of the delay (cubic) and the energy (square), highest power first."""

    area: float
    supply_v: float
    delay: tuple[float, float, float, float]
    energy: tuple[float, float, float]


_NODES: dict[int, _Node] = {
    180: _Node(1.0, 1.8, (0.0, 97.09, -356.7, 406.5), (0.0, 24.64, -17.98)),
    130: _Node(0.34, 1.3, (-76.65, 334.9, -493.4, 275.8), (7.171, -6.709, 2.904)),
    90: _Node(0.15, 1.2, (-60.34, 262.5, -384.2, 210.9), (4.762, -4.781, 2.092)),
    65: _Node(0.08, 1.1, (-53.3, 230.4, -333.9, 178.6), (3.755, -4.398, 1.975)),
    45: _Node(0.053, 1.0, (-501.6, 1567.0, -1619.0, 566.1), (1.018, -0.3107, 0.1539)),
    32: _Node(0.025, 0.9, (-1047.0, 2982.0, -2797.0, 873.5), (0.8367, -0.4341, 0.1701)),
    20: _Node(0.011, 0.9, (0.0, 34.63, -66.37, 41.15), (0.373, -0.1582, 0.04104)),
    16: _Node(0.01, 0.85, (0.0, 24.8, -47.52, 28.87), (0.2958, -0.1241, 0.03024)),
    14: _Node(0.0093, 0.8, (-40.66, 109.2, -100.6, 35.92), (0.2363, -0.09675, 0.02239)),
    10: _Node(0.0055, 0.75, (-34.95, 93.65, -85.99, 30.4), (0.2068, -0.09311, 0.02375)),
    7: _Node(0.0032, 0.7, (-28.58, 76.6, -70.26, 24.69), (0.1776, -0.09097, 0.02447)),
}


def node_scale(node_nm: float) -> NodeScale:
    """Factors from 180 nm to ``node_nm``, between published nodes on straight lines of the logarithms.

    Raises `InputError` outside 7 to 180 nm.
    """
    if node_nm in _NODES:
        return _published(int(node_nm))
    if not min(_NODES) < node_nm < max(_NODES):
        raise InputError(f"node_nm is {node_nm}", f"from {min(_NODES)} to {max(_NODES)}", "node_nm")
    above = min(node for node in _NODES if node > node_nm)
    below = max(node for node in _NODES if node < node_nm)
    share = math.log(node_nm / below) / math.log(above / below)
    fine, coarse = _published(below), _published(above)
    area, delay, energy = (
        math.exp(math.log(a) * (1 - share) + math.log(b) * share)
        for a, b in ((fine.area, coarse.area), (fine.delay, coarse.delay), (fine.energy, coarse.energy))
    )
    return NodeScale(area, delay, energy, (above, below))


def _published(node: int) -> NodeScale:
    here, first = _NODES[node], _NODES[180]
    return NodeScale(
        here.area,
        _at(here.delay, here.supply_v) / _at(first.delay, first.supply_v),
        energy_factor(node, here.supply_v) / energy_factor(180, first.supply_v),
    )


def energy_factor(node_nm: int, supply_v: float) -> float:
    """The published polynomial of energy at a published node; only ratios of two of them mean anything."""
    return _at(_NODES[node_nm].energy, supply_v)


def _at(coefficients: tuple[float, ...], supply_v: float) -> float:
    value = 0.0
    for coefficient in coefficients:
        value = value * supply_v + coefficient
    return value
