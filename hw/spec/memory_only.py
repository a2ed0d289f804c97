"""A machine without what lies behind its devices' memory, so that what does not fit there does not fit."""

from __future__ import annotations

from hw.spec.system import System

__all__ = ["memory_only"]


def memory_only(system: System) -> System:
    """``system`` with the tier that its first engine is at home in, all engines at home there, and nothing behind it.

    The interconnect of several devices stays.
    """
    home = next(iter(system.engines.values())).home
    engines = {name: engine for name, engine in system.engines.items() if engine.home == home}
    links = {name: link for name, link in system.links.items() if set(link.between) <= {home}}
    return system.model_copy(update={"tiers": {home: system.tiers[home]}, "engines": engines, "links": links})
