"""Routes between tiers: which links data crosses on its way."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING

from workloads.errors import InputError, unknown_name

if TYPE_CHECKING:
    from hw.spec.system import System

__all__ = ["reachable_tiers", "route"]


def route(system: System, source_tier: str, target_tier: str) -> tuple[str, ...]:
    """The shortest way from one tier to another as alternating tier and link names, both ends included.

    Shortest is by number of links; among equals the links declared first win. From a tier to itself the route is that
    tier alone. `InputError` when a tier does not exist or no links join the two.
    """
    for name in (source_tier, target_tier):
        if name not in system.tiers:
            raise unknown_name("tier", name, system.tiers)
    arrived = _arrivals(system, (source_tier,))
    if target_tier not in arrived:
        expected = f"one of {', '.join(sorted(arrived))}, or a link that joins them"
        raise InputError(f"no links lead from tier {source_tier!r} to tier {target_tier!r}", expected)
    steps = [target_tier]
    while steps[-1] != source_tier:
        link, before = arrived[steps[-1]]
        steps += [link, before]
    return tuple(reversed(steps))


def reachable_tiers(system: System, start: Iterable[str]) -> frozenset[str]:
    """Every tier that links join, directly or through others, to one of ``start``; these included."""
    return frozenset(_arrivals(system, start))


def _arrivals(system: System, start: Iterable[str]) -> dict[str, tuple[str, str]]:
    """Breadth first: tier -> the link and the tier it was reached from."""
    arrived = dict.fromkeys(start, ("", ""))
    queue = deque(arrived)
    while queue:
        here = queue.popleft()
        for name, link in system.links.items():
            if here in link.between:
                there = link.between[1] if link.between[0] == here else link.between[0]
                if there not in arrived:
                    arrived[there] = (name, here)
                    queue.append(there)
    return arrived
