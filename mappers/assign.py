"""Which engines run an operation. A policy is a function from operation and system to an `Assignment`."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from hw.spec.system import Engine, System
from workloads.errors import InputError, unknown_name
from workloads.workload import Op

__all__ = ["Assign", "Assignment", "assign_roles", "engines_with", "fastest_engines", "fastest_in", "on_engine"]


@dataclass(frozen=True)
class Assignment:
    """Engines of one operation: one for its contractions, one for everything else, both at home in one tier."""

    contraction: str
    other: str


Assign = Callable[[Op, System], Assignment]


def fastest_engines(op: Op, system: System) -> Assignment:
    """The fastest engine for the operation's contractions, and the fastest general engine beside it."""
    return fastest_in(op.compute_format, system)


def fastest_in(compute_format: str, system: System) -> Assignment:
    """The fastest engine for contractions in ``compute_format``, and the fastest general engine beside it."""
    best = max(system.engines, key=lambda name: (system.engines[name].throughput(compute_format), name))
    return engines_with(best, system)


def on_engine(name: str) -> Assign:
    """The policy that runs contractions on engine ``name``, the rest there or on the fastest general engine beside."""

    def assign(op: Op, system: System) -> Assignment:  # noqa: ARG001 - the choice is the same for every operation
        return engines_with(name, system)

    return assign


def engines_with(name: str, system: System) -> Assignment:
    """Engine ``name`` for contractions; for the rest itself or the fastest general engine at its home.

    Raises `InputError` when the system has no such engine, or none at its home for the rest.
    """
    if name not in system.engines:
        raise unknown_name("engine", name, system.engines)
    home = system.engines[name].home
    general = {other: engine for other, engine in system.engines.items() if engine.home == home and _is_general(engine)}
    if not general:
        raise InputError(
            f"no engine at {home!r} can run what is not a contraction",
            expected="a vector, cpu, near-memory or in-storage engine with the same home",
            field=f"engines.{name}.home",
        )
    if name in general:
        return Assignment(name, name)
    other = max(general, key=lambda candidate: (max(general[candidate].throughput_ops_per_s.values()), candidate))
    return Assignment(name, other)


def assign_roles(by_kind: dict[str, str]) -> Assign:
    """The policy that runs operations of the given kinds ("attention", "grouped_gemm", ...) on the named engines.

    Kinds not named go to the fastest engines.
    """

    def assign(op: Op, system: System) -> Assignment:
        if op.kind in by_kind:
            return on_engine(by_kind[op.kind])(op, system)
        return fastest_engines(op, system)

    return assign


def _is_general(engine: Engine) -> bool:
    return engine.kind not in ("matrix", "in-memory")
