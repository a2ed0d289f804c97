"""Area, energy, leakage and time of an on-chip SRAM from its capacity, word, banks, ports and node.

The mechanism is the classical one (Wilton and Jouppi 1996; Muralimanohar, Balasubramonian and Jouppi, CACTI 6.0,
MICRO 2007), written anew: a bank is a grid of mats (`hw.cost.sram_mat`) at the leaves of an H-tree of repeated wires;
one mat gives the whole word; every organisation is costed and the one of least read energy x access time^2 is taken.
No constant is fitted: node parameters are published ones (`hw.cost.technology`). CACTI 7's results, and their split
into parts, are what the model was checked against.

The nodes 65, 45, 32 and 22 nm are computed. Between two of them every quantity is interpolated geometrically in the
node. Below 22 nm the scaling used for CACTI by hwcomponents-cacti 1.0.40 (MIT), after the SRAM trends of IEDM 2022, is
applied to the 22 nm result: energy (n/22)^0.5, area and time n/22, leakage 0.79 (n/22)^0.5.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, fields
from functools import lru_cache

from hw.cost.htree import htree
from hw.cost.sram_mat import Mat, MatShape, sram_mat
from hw.cost.technology import NODES, Technology
from workloads.errors import InputError

__all__ = ["MAX_NODE_NM", "MIN_NODE_NM", "SramCost", "SramOrganisation", "sram", "sram_organisation"]

MIN_NODE_NM, MAX_NODE_NM = 5.0, 65.0
_LEAST_WORDS = _LEAST_ROWS = 16
_MOST_WORDS = 1 << 36
_MOST_ROWS, _MOST_COLUMNS = 1024, 2048
_MUXES = tuple(2**k for k in range(9))
_MATS = tuple(2**k for k in range(21))


@dataclass(frozen=True)
class SramCost:
    """Area in mm2; energies of one access of one word in J; leakage of all banks in W; times in s.

    ``access_s`` is from address in to data out; ``cycle_s`` from one access of a bank to the next.
    """

    area_mm2: float
    read_energy_j: float
    write_energy_j: float
    leakage_w: float
    access_s: float
    cycle_s: float


@dataclass(frozen=True)
class SramOrganisation:
    """A bank: mats side by side, mats one above the other, and the mat's shape."""

    across: int
    down: int
    shape: MatShape


def sram(capacity_bytes: int, *, word_bits: int, banks: int = 1, ports: int = 1, node_nm: float) -> SramCost:
    """Cost of ``capacity_bytes`` in all, in ``banks`` banks of ``ports`` read-write ports, accessed by words.

    A larger memory is never reported below a smaller one. Raises `InputError` when a number is not positive, the node
    is outside 5 to 65 nm, or a bank would hold less than 16 or more than 2^36 words.

    >>> small, large = (sram(kib * 1024, word_bits=64, node_nm=32) for kib in (64, 128))
    >>> small.read_energy_j < large.read_energy_j
    True
    """
    given = {"capacity_bytes": capacity_bytes, "word_bits": word_bits, "banks": banks, "ports": ports}
    for field, value in given.items():
        if value != int(value) or value < 1:
            raise InputError(f"{field} is {value}", "a whole number, at least 1", field)
    if not MIN_NODE_NM <= node_nm <= MAX_NODE_NM:
        raise InputError(f"node_nm is {node_nm:g}", f"between {MIN_NODE_NM:g} and {MAX_NODE_NM:g}", "node_nm")
    bank_words = math.ceil(capacity_bytes * 8 / word_bits / banks)
    if bank_words < _LEAST_WORDS:
        expected = f"at least {math.ceil(_LEAST_WORDS * banks * word_bits / 8)} bytes: 16 words a bank"
        raise InputError(f"capacity_bytes is {capacity_bytes}: {bank_words} words a bank", expected, "capacity_bytes")
    if bank_words > _MOST_WORDS:
        problem = f"capacity_bytes is {capacity_bytes}: {bank_words} words a bank"
        raise InputError(problem, f"at most 2^{_MOST_WORDS.bit_length() - 1}", "capacity_bytes")
    nodes = sorted(NODES)
    if node_nm < nodes[0]:
        return _below(_cost(bank_words, word_bits, banks, ports, nodes[0]), node_nm / nodes[0])
    low = max(node for node in nodes if node <= node_nm)
    high = min(node for node in nodes if node >= node_nm)
    first = _cost(bank_words, word_bits, banks, ports, low)
    if low == high:
        return first
    share = math.log(node_nm / low) / math.log(high / low)
    second = _cost(bank_words, word_bits, banks, ports, high)
    return SramCost(*(a ** (1 - share) * b**share for a, b in zip(_values(first), _values(second), strict=True)))


def _values(cost: SramCost) -> tuple[float, ...]:
    return tuple(getattr(cost, field.name) for field in fields(cost))


def _below(cost: SramCost, scale: float) -> SramCost:
    """``cost`` of the smallest computed node at ``scale`` times its half pitch."""
    root = math.sqrt(scale)
    return SramCost(
        area_mm2=cost.area_mm2 * scale,
        read_energy_j=cost.read_energy_j * root,
        write_energy_j=cost.write_energy_j * root,
        leakage_w=cost.leakage_w * 0.79 * root,
        access_s=cost.access_s * scale,
        cycle_s=cost.cycle_s * scale,
    )


def _grid(words: int) -> int:
    """The least of 4, 5, 6 and 7 times a power of two that is at least ``words``, 16 or more."""
    step = 1 << max(0, (words - 1).bit_length() - 3)
    return max(_LEAST_WORDS, -(-words // step) * step)


@lru_cache(maxsize=4096)
def _cost(bank_words: int, word_bits: int, banks: int, ports: int, node_nm: int) -> SramCost:
    """Cost at a computed node, at least that of the grid point of words below."""
    tech = NODES[node_nm]
    organisation = sram_organisation(bank_words, word_bits, ports, node_nm)
    mat = sram_mat(tech, organisation.shape, _address_bits(bank_words))
    cost = _bank_cost(tech, organisation, mat, bank_words, word_bits, banks)
    point = _grid(bank_words)
    if point == _LEAST_WORDS:
        return cost
    below = point - (1 << (point.bit_length() - 3)) if point.bit_count() > 1 else point // 8 * 7
    floor = _cost(max(below, _LEAST_WORDS), word_bits, banks, ports, node_nm)
    return SramCost(*(max(a, b) for a, b in zip(_values(cost), _values(floor), strict=True)))


def sram_organisation(bank_words: int, word_bits: int, ports: int, node_nm: int) -> SramOrganisation:
    """The organisation of a bank at a computed node, with as many rows as ``bank_words`` fill.

    It is that of least read energy x access time^2 for the next capacity of a grid of four to the octave, so that
    more words in the same organisation are more rows.
    """
    across, down, shape = _best(_grid(bank_words), word_bits, ports, node_nm)
    rows = math.ceil(bank_words / (across * down * shape.mux))
    return SramOrganisation(across, down, MatShape(rows, shape.columns, shape.mux, ports))


@lru_cache(maxsize=4096)
def _best(words: int, word_bits: int, ports: int, node_nm: int) -> tuple[int, int, MatShape]:
    """The best organisation that ``words``, a grid point, fill."""
    tech = NODES[node_nm]
    best: tuple[float, SramOrganisation] | None = None
    for mux, mats in itertools.product(_MUXES, _MATS):
        rows, rest = divmod(words, mux * mats)
        columns = math.ceil(word_bits * mux / 4)
        if rest or not _LEAST_ROWS <= rows <= _MOST_ROWS or columns > max(_MOST_COLUMNS, word_bits):
            continue
        shape = MatShape(rows, columns, mux, ports)
        mat = sram_mat(tech, shape, _address_bits(words))
        for across in (1 << k for k in range(mats.bit_length())):
            organisation = SramOrganisation(across, mats // across, shape)
            cost = _bank_cost(tech, organisation, mat, words, word_bits, 1)
            merit = cost.read_energy_j * cost.access_s**2
            if best is None or merit < best[0]:
                best = merit, organisation
    assert best is not None, "16 words or more always fit 16 rows or more of a mat"
    return best[1].across, best[1].down, best[1].shape


def _address_bits(words: int) -> int:
    return max(1, (words - 1).bit_length())


def _bank_cost(
    tech: Technology, organisation: SramOrganisation, mat: Mat, words: int, word_bits: int, banks: int
) -> SramCost:
    """Cost of ``banks`` banks of mats; a request and its data also cross a tree that joins the banks."""
    shape = organisation.shape
    address_bits = _address_bits(words)
    block = mat.width_um, mat.height_um
    bank = htree(tech, organisation.across, organisation.down, block, address_bits, word_bits, shape.ports)
    across = 2 ** math.ceil(math.log2(banks) / 2)
    down = 2 ** math.ceil(math.log2(banks / across))
    joined = htree(tech, across, down, (bank.width_um, bank.height_um), address_bits, word_bits, shape.ports)
    trees_j = bank.address_j + joined.address_j + bank.word_j + joined.word_j
    return SramCost(
        area_mm2=joined.width_um * joined.height_um * banks / (across * down) * 1e-6,
        read_energy_j=mat.read_j + trees_j,
        write_energy_j=mat.write_j + trees_j,
        leakage_w=banks * (mat.leakage_w * organisation.across * organisation.down + bank.leakage_w) + joined.leakage_w,
        access_s=bank.in_s + joined.in_s + _mat_s(mat) + bank.out_s + joined.out_s,
        cycle_s=mat.wordline_s + mat.bitline_s + mat.restore_s,
    )


def _mat_s(mat: Mat) -> float:
    return mat.predecode_s + mat.wordline_s + mat.bitline_s + mat.output_s
