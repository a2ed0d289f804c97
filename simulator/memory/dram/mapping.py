"""Which bit of an address selects what: every mapping is a matrix over bits (0 or 1), rows are output bits.

An address is cut into bursts; bit j of the burst number is *source bit* j. Each bit of channel, rank, stack, bank
group, bank, column and row is the parity (XOR) of some source bits. Plain mappings use one source bit each; hashed ones
several. The row takes whatever is left above, without a limit: callers check addresses against the capacity.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from simulator.memory.dram.device import Device
from workloads.errors import InputError, nearest_name

__all__ = ["FIELDS", "MAPPINGS", "Mapping", "address_mapping"]

FIELDS = ("channel", "rank", "sid", "bankgroup", "bank", "column", "row")
_SHORT = {"ch": "channel", "ra": "rank", "pc": "rank", "si": "sid", "bg": "bankgroup", "ba": "bank", "co": "column"}
_SHORT["ro"] = "row"
_SOURCE_BITS = 48  # burst numbers up to 2^48: 2^54 bytes with bursts of 64 B


@dataclass(frozen=True)
class Mapping:
    """``bits[field][i]`` is the mask of source bits whose parity is bit i of ``field``; ``widths`` count them.

    ``translation_bits`` is the number t such that adding a multiple of 2^t to a burst number changes nothing but the
    row, and that by the same amount everywhere: the unit by which streams repeat.
    """

    name: str
    widths: tuple[int, ...]
    bits: tuple[tuple[int, ...], ...]

    @property
    def translation_bits(self) -> int:
        """See the class."""
        row = self.bits[FIELDS.index("row")]
        plain_from = next(i for i in range(len(row)) if all(m.bit_count() == 1 for m in row[i:]))
        low_row_bit = row[plain_from].bit_length() - 1
        used = [mask for field in self.bits[:-1] for mask in field] + list(row[:plain_from])
        return max([low_row_bit, *(mask.bit_length() for mask in used)])

    def row_step(self) -> int:
        """By how much the row grows when the burst number grows by 2^translation_bits."""
        unit = 1 << self.translation_bits
        row = self.bits[FIELDS.index("row")]
        return sum(1 << i for i, mask in enumerate(row) if mask == unit)

    def __str__(self) -> str:
        """From the most significant source bit down, what each bit selects; ``^`` joins what a bit is hashed into."""
        row_first = self.bits[-1][0].bit_length()
        top = max([row_first, *(m.bit_length() for field in self.bits[:-1] for m in field)])
        letters = dict(zip(FIELDS, ("ch", "ra", "si", "bg", "ba", "co", "ro"), strict=True))
        names: list[list[str]] = [[] for _ in range(top)]
        for field, masks in zip(FIELDS, self.bits, strict=True):
            for i, mask in enumerate(masks):
                for source in range(top):
                    if mask >> source & 1:
                        names[source].append(f"{letters[field]}{i}")
        return " ".join("^".join(name) for name in reversed(names))

    def terms(self) -> NDArray[np.int64]:
        """The matrix as shifts: rows (field, from bit, width, to bit), each a run of bits to XOR into its field."""
        out: list[tuple[int, int, int, int]] = []
        for number, masks in enumerate(self.bits):
            single = {
                (source, i) for i, mask in enumerate(masks) for source in range(_SOURCE_BITS) if mask >> source & 1
            }
            while single:
                source, target = min(single, key=lambda pair: (pair[0] - pair[1], pair[0]))
                width = 0
                while (source + width, target + width) in single:
                    single.remove((source + width, target + width))
                    width += 1
                out.append((number, source, width, target))
        return np.array(out, dtype=np.int64).reshape(-1, 4)


def _log2(value: int, what: str) -> int:
    if value < 1 or value & (value - 1):
        raise InputError(f"{what} is {value}", "a power of two: addresses are cut into bits")
    return value.bit_length() - 1


def _widths(device: Device, channels: int) -> dict[str, int]:
    ranks, stacks, groups, banks = device.shape
    counts = {"channel": channels, "rank": ranks, "sid": stacks, "bankgroup": groups, "bank": banks}
    counts["column"] = device.bursts_per_row
    return {name: _log2(count, f"the number of {name}s") for name, count in counts.items()}


def _in_order(name: str, device: Device, channels: int, order: tuple[str, ...]) -> Mapping:
    """Fields cut from the burst number one after the other, the least significant first; the row takes the rest."""
    widths, bits, at = _widths(device, channels), {}, 0
    for field in order:
        if field == "row":
            break
        bits[field] = tuple(1 << (at + i) for i in range(widths[field]))
        at += widths[field]
    row_bits = _log2(device.rows, "the number of rows") if order[-1] != "row" else _SOURCE_BITS - at
    bits["row"] = tuple(1 << (at + i) for i in range(row_bits))
    at += row_bits
    for field in order[order.index("row") + 1 :]:
        bits[field] = tuple(1 << (at + i) for i in range(widths[field]))
        at += widths[field]
    return _mapping(name, bits)


def _mapping(name: str, bits: dict[str, tuple[int, ...]]) -> Mapping:
    masks = tuple(bits.get(field, ()) for field in FIELDS)
    return Mapping(name, tuple(len(field) for field in masks), masks)


def _ro_ba_ra_co_ch(device: Device, channels: int) -> Mapping:
    """Ramulator 2's RoBaRaCoCh: channel lowest, then column, rank, stack, bank group, bank, row."""
    order = ("channel", "column", "rank", "sid", "bankgroup", "bank", "row")
    return _in_order("RoBaRaCoCh", device, channels, order)


def _ro_ra_ba_co_ch(device: Device, channels: int) -> Mapping:
    """Channel lowest, then column, bank group, bank, stack, rank, row: banks of a rank before the next rank."""
    order = ("channel", "column", "bankgroup", "bank", "sid", "rank", "row")
    return _in_order("RoRaBaCoCh", device, channels, order)


def _bank_group_low(device: Device, channels: int) -> Mapping:
    """Bank group (and pseudo-channel) in the lowest bits, then column, bank, stack, row: bursts alternate groups."""
    if device.rank_name == "pseudochannel":
        order = ("channel", "rank", "bankgroup", "column", "bank", "sid", "row")
    else:
        order = ("channel", "bankgroup", "column", "bank", "sid", "rank", "row")
    return _in_order("BankGroupLow", device, channels, order)


def _mop4clxor(device: Device, channels: int) -> Mapping:
    """Ramulator 2's MOP4CLXOR: 2 column bits lowest, then channel, rank to bank, the other columns, the row.

    Every level from rank to row is then XORed with the next slice of the column, as wide as the level; the row takes
    what is left (Ramulator 2.1, addr_mapper/impl/mop4clxor.cpp, read at c5b1c3a).
    """
    widths = _widths(device, channels)
    if widths["column"] < 2:
        raise InputError(f"a row of {device.name} holds {1 << widths['column']} bursts", "at least 4 for MOP4CLXOR")
    bits: dict[str, list[int]] = {"channel": [1 << i for i in range(widths["channel"])]}
    at = widths["channel"]
    column = [1 << at, 1 << (at + 1)]
    at += 2
    for field in ("rank", "sid", "bankgroup", "bank"):
        bits[field] = [1 << (at + i) for i in range(widths[field])]
        at += widths[field]
    column += [1 << (at + i) for i in range(widths["column"] - 2)]
    at += widths["column"] - 2
    bits["row"] = [1 << (at + i) for i in range(_SOURCE_BITS - at)]
    slice_at = 0
    for field in ("rank", "sid", "bankgroup", "bank", "row"):
        width = len(bits[field])
        for i, mask in enumerate(column[slice_at : slice_at + width]):
            bits[field][i] ^= mask
        slice_at += width
    return _mapping("MOP4CLXOR", {name: tuple(masks) for name, masks in {**bits, "column": column}.items()})


def _permutation(device: Device, channels: int) -> Mapping:
    """RoBaRaCoCh with bank and bank group XORed with the lowest row bits, so that rows that collide spread over banks.

    Permutation-based page interleaving (Zhang, Zhu, Zhang, MICRO 2000).
    """
    plain = _ro_ba_ra_co_ch(device, channels)
    bits = {field: list(masks) for field, masks in zip(FIELDS, plain.bits, strict=True)}
    row = iter(bits["row"])
    for field in ("bankgroup", "bank"):
        bits[field] = [mask ^ next(row) for mask in bits[field]]
    return _mapping("Permutation", {name: tuple(masks) for name, masks in bits.items()})


MAPPINGS: dict[str, Callable[[Device, int], Mapping]] = {
    "RoBaRaCoCh": _ro_ba_ra_co_ch,
    "RoRaBaCoCh": _ro_ra_ba_co_ch,
    "MOP4CLXOR": _mop4clxor,
    "BankGroupLow": _bank_group_low,
    "Permutation": _permutation,
}


def address_mapping(text: str, device: Device, channels: int = 1) -> Mapping:
    """The mapping that ``text`` names for ``channels`` channels of ``device``.

    ``text`` is one of `MAPPINGS`; or an order of two-letter fields, most significant first (``rorabacobgch``: row,
    rank, bank, column, bank group, channel; ``pc`` may stand for ``ra``); or a bit matrix,
    ``field<bit>=source[^source...]`` joined by commas, with source bits numbered from the lowest of the burst number
    (``co0=0,bg0=1^9,...``); row bits not given are the source bits above as many as were given in all.

    Raises `InputError` for text that is neither, and for a mapping that does not use every bit once.
    """
    folded = {name.casefold(): name for name in MAPPINGS}
    if text.casefold() in folded:
        return MAPPINGS[folded[text.casefold()]](device, channels)
    if "=" in text:
        return _bit_matrix(text, device, channels)
    parts = re.findall("..", text.casefold())
    if len(text) % 2 == 0 and parts and all(part in _SHORT for part in parts):
        return _ordered(text, parts, device, channels)
    expected = (
        f"one of {', '.join(MAPPINGS)}, an order of fields such as 'rorabacobgch', or a bit matrix 'co0=0,bg0=1^9,...'"
    )
    raise InputError(f"unknown mapping {text!r}", expected, "mapping", nearest=nearest_name(text, MAPPINGS))


def _ordered(text: str, parts: list[str], device: Device, channels: int) -> Mapping:
    fields = tuple(_SHORT[part] for part in reversed(parts))
    if len(set(fields)) != len(fields):
        raise InputError(f"{text!r} names a field twice", "each of ch ra si bg ba co ro once", "mapping")
    widths = _widths(device, channels)
    missing = [name for name in ("row", *widths) if name not in fields and widths.get(name, 1)]
    if missing:
        raise InputError(f"{text!r} leaves out {', '.join(missing)}", f"{device.name} has it", "mapping")
    return _in_order(text, device, channels, fields)


def _bit_matrix(text: str, device: Device, channels: int) -> Mapping:
    widths = _widths(device, channels)
    bits: dict[str, dict[int, int]] = {name: {} for name in FIELDS}
    for part in text.replace(" ", "").split(","):
        match = re.fullmatch(r"([a-z]{2})([0-9]{1,2})=([0-9]{1,2}(?:\^[0-9]{1,2})*)", part.casefold())
        if match is None or match[1] not in _SHORT:
            raise InputError(f"{part!r} in the bit matrix", "field, bit, '=' and source bits: 'bg0=1^9'", "mapping")
        field, bit = _SHORT[match[1]], int(match[2])
        if field != "row" and bit >= widths[field]:
            problem = f"{part!r}: {field} of {device.name} has {widths[field]} bits"
            raise InputError(problem, f"bits 0 to {widths[field] - 1}" if widths[field] else "no such field", "mapping")
        if bit in bits[field]:
            raise InputError(f"{match[1]}{bit} is given twice", "each output bit once", "mapping")
        mask = 0
        for source in match[3].split("^"):
            if int(source) >= _SOURCE_BITS:
                raise InputError(f"{part!r}: source bit {source}", f"source bits below {_SOURCE_BITS}", "mapping")
            mask ^= 1 << int(source)
        bits[field][bit] = mask
    for field, width in widths.items():
        for bit in range(width):
            if bit not in bits[field]:
                short = next(short for short, name in _SHORT.items() if name == field)
                raise InputError(f"the bit matrix leaves out {short}{bit}", "every bit of every field", "mapping")
    rows = bits["row"]
    if sorted(rows) != list(range(len(rows))):
        raise InputError("the row bits given have gaps", "ro0, ro1, ... without a gap", "mapping")
    above = sum(widths.values()) + len(rows)
    row = [rows[i] for i in range(len(rows))] + [1 << source for source in range(above, _SOURCE_BITS)]
    ordered = {field: tuple(bits[field][i] for i in range(width)) for field, width in widths.items()}
    if _rank([*(m for masks in ordered.values() for m in masks), *row]) != _SOURCE_BITS:
        raise InputError(
            "the bit matrix gives two addresses the same place", "rows that are independent over GF(2)", "mapping"
        )
    return _mapping("matrix", {**ordered, "row": tuple(row)})


def _rank(masks: list[int]) -> int:
    """Rank over GF(2)."""
    basis: list[int] = []
    for mask in masks:
        for vector in basis:
            mask = min(mask, mask ^ vector)
        if mask:
            basis.append(mask)
    return len(basis)
