"""A machine whose engines run at another clock than their data sheet's, as they do under a power limit."""

from __future__ import annotations

from hw.spec.system import Engine, System
from workloads.errors import InputError

__all__ = ["at_clock"]


def at_clock(system: System, share: float) -> System:
    """``system`` with all engines at ``share`` of their clocks and rates; memories, links and fabric are as before.

    Raises `InputError` for a share that is not above 0.
    """
    if not 0 < share < float("inf"):
        raise InputError(f"a clock of {share:g} times the stated one", "more than 0", "clock")

    def slowed(engine: Engine) -> Engine:
        rates = {name: rate * share for name, rate in engine.throughput_ops_per_s.items()}
        clock = None if engine.clock_hz is None else engine.clock_hz * share
        return engine.model_copy(update={"throughput_ops_per_s": rates, "clock_hz": clock})

    return system.model_copy(update={"engines": {name: slowed(engine) for name, engine in system.engines.items()}})
