"""A machine without what lies behind its devices' memory, so that what does not fit there does not fit."""

from __future__ import annotations

from hw.spec.system import System

__all__ = ["memory_only"]


def memory_only(system: System) -> System:
    """``system`` with the tier that its first engine is at home in, all engines at home there, their buffers, and
    nothing behind it.

    The interconnect of several devices stays.
    """
    home = next(iter(system.engines.values())).home
    engines = {name: engine for name, engine in system.engines.items() if engine.home == home}
    kept = {home, *(name for engine in engines.values() for name in engine.buffers)}
    tiers = {name: tier for name, tier in system.tiers.items() if name in kept}
    links = {name: link for name, link in system.links.items() if set(link.between) <= kept}
    return system.model_copy(update={"tiers": tiers, "engines": engines, "links": links})
