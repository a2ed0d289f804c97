"""How resources and what time is charged to are called in reports."""

from __future__ import annotations

import re

from simulator.result import Result

__all__ = ["case_text", "charge_kind", "charge_text", "short_charge_text", "slug"]


def charge_kind(result: Result, name: str) -> str:
    """What ``name`` in ``time_by_bound_s`` is: "engine", "tier", "link", "fabric", "overhead" or "idle"."""
    if name in ("overhead", "idle"):
        return name
    kinds = {resource.name: resource.kind for resource in result.execution.graph.resources}
    return kinds.get(name, "other")


def charge_text(result: Result, name: str) -> str:
    """A name in full: ``'link drive-pcie (nvme → ddr)'``, ``'engine tensor'``, ``'overhead (launches, latencies)'``."""
    kind = charge_kind(result, name)
    if kind == "overhead":
        return "overhead (launches, latencies)"
    if kind == "idle":
        return "idle"
    if kind == "fabric":
        return "fabric between devices"
    if kind == "link":
        link, _, direction = name.partition(":")
        return f"link {link} ({direction.replace('>', ' → ')})" if direction else f"link {link}"
    return f"{kind} {name}" if kind != "other" else name


def short_charge_text(name: str) -> str:
    """A name for a figure's legend: ``'drive-pcie (nvme→ddr)'``."""
    link, _, direction = name.partition(":")
    return f"{link} ({direction.replace('>', '→')})" if direction else name


def case_text(result: Result) -> str:
    """What was simulated, in one line: ``'llama-3.1-8b, decode, batch 1, context 2,048'``."""
    return f"{result.model}, {result.phase}, batch {result.batch:,}, context {result.context:,}"


def slug(text: str) -> str:
    """The text as part of a file name: lower case, everything but letters, digits and dots as single dashes.

    >>> slug("Llama-3.1-8B, batch 16")
    'llama-3.1-8b-batch-16'
    """
    return re.sub(r"[^a-z0-9.]+", "-", text.lower()).strip("-.")
