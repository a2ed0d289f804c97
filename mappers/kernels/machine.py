"""What a kernel's time depends on of the machine it runs on: units, clock, peak rates, memory and last cache."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from hw.spec.system import Engine, System, Tier
from workloads.errors import InputError

__all__ = ["KernelMachine", "kernel_machine"]


@dataclass(frozen=True)
class KernelMachine:
    """One device as its kernels see it.

    ``units`` take one tile of the output each at a time. ``peak_ops_per_s`` are dense rates of the contraction engine
    by format, ``vector_ops_per_s`` that of the general engine in fp32, of the whole device. ``cache_bytes`` is the last
    cache before the memory (0: none known).
    """

    name: str
    architecture: str
    units: int
    clock_hz: float
    peak_ops_per_s: Mapping[str, float]
    vector_ops_per_s: float
    read_bytes_per_s: float
    write_bytes_per_s: float
    cache_bytes: float
    cache_bytes_per_s: float

    def peak(self, format_name: str) -> float:
        """Dense operations per second in ``format_name``, a key of ``peak_ops_per_s``."""
        return self.peak_ops_per_s[format_name]


def kernel_machine(system: System, contraction: str, other: str) -> KernelMachine:
    """The machine behind two engines of ``system`` at one home.

    Raises `InputError` for an engine without ``units``, ``clock`` and ``architecture``: its kernels are not known.
    """
    engine = system.engines[contraction]
    if engine.units is None or engine.clock_hz is None or engine.architecture is None:
        missing = [name for name in ("units", "clock", "architecture") if _value(engine, name) is None]
        raise InputError(
            f"engine {contraction!r} states no {' and no '.join(missing)}, which kernels are cut for",
            expected="an engine that states units, clock and architecture, or another fidelity",
            field=f"engines.{contraction}.{missing[0]}",
        )
    home, cache = system.tiers[engine.home], _last_cache(system, engine)
    return KernelMachine(
        name=system.name,
        architecture=engine.architecture,
        units=engine.units,
        clock_hz=engine.clock_hz,
        peak_ops_per_s=dict(engine.throughput_ops_per_s),
        vector_ops_per_s=system.engines[other].throughput("fp32"),
        read_bytes_per_s=home.read_bandwidth_bytes_per_s,
        write_bytes_per_s=home.write_bandwidth_bytes_per_s,
        cache_bytes=cache.capacity_bytes if cache else 0.0,
        cache_bytes_per_s=cache.read_bandwidth_bytes_per_s if cache else 0.0,
    )


def _value(engine: Engine, name: str) -> object:
    return getattr(engine, {"clock": "clock_hz"}.get(name, name))


def _last_cache(system: System, engine: Engine) -> Tier | None:
    """The largest of the engine's buffers."""
    buffers = [system.tiers[name] for name in engine.buffers]
    return max(buffers, key=lambda tier: tier.capacity_bytes, default=None)
