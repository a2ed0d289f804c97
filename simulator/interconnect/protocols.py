"""Links by one name, as a system's file gives them: ``pcie-4.0-x16``, ``cxl-5.0-x8``, ``nvlink-4``, an adapter's."""

from __future__ import annotations

import re
from dataclasses import replace

from simulator.interconnect.links import NICS, LinkType, cxl_mem, nic, nvlink, pcie
from workloads.errors import InputError, nearest_name

__all__ = ["EXAMPLES", "link_type"]

EXAMPLES = ("pcie-4.0-x16", "pcie-5.0-x4", "cxl-5.0-x8", "cxl-6.0-x16", "nvlink-3", "nvlink-4-x18", *NICS)

_LANES = re.compile(r"(pcie|cxl)-(\d)(?:\.0)?-x(\d{1,2})")
_NVLINK = re.compile(r"nvlink-(\d)(?:-x(\d{1,2}))?")
_WIDTHS = (1, 2, 4, 8, 16)
_SEVERAL = re.compile(r"(\d{1,3})\*(.+)")


def link_type(name: str) -> LinkType:
    """The link that ``name`` stands for; a network adapter's name may end in ``-ethernet``.

    ``8*pcie-4.0-x4`` are eight such links that share the traffic. PCI Express is read through: completions carry the
    data. Raises `InputError` for names, generations and widths that do not exist.

    >>> f"{link_type('pcie-4.0-x16').rate_bytes_per_s / 1e9:.2f} GB/s"
    '31.51 GB/s'
    """
    if found := _SEVERAL.fullmatch(name):
        count, one = int(found[1]), link_type(found[2])
        if count < 1:
            raise InputError(f"{name!r} is no link at all", "at least 1")
        return replace(one, name=name, rate_bytes_per_s=count * one.rate_bytes_per_s)
    if found := _LANES.fullmatch(name):
        kind, generation, lanes = found[1], int(found[2]), int(found[3])
        if lanes not in _WIDTHS:
            raise InputError(f"{name!r} has {lanes} lanes", f"one of {', '.join(f'x{width}' for width in _WIDTHS)}")
        return pcie(generation, lanes, transfer="read") if kind == "pcie" else cxl_mem(generation, lanes)
    if found := _NVLINK.fullmatch(name):
        return nvlink(int(found[1]), int(found[2]) if found[2] else None)
    adapter = name.removesuffix("-ethernet")
    if adapter in NICS:
        return nic(adapter, over="infiniband" if adapter == name else "ethernet")
    expected = f"a link such as {', '.join(EXAMPLES)}"
    raise InputError(f"unknown link {name!r}", expected, nearest=nearest_name(name, EXAMPLES))
