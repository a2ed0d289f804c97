"""Attention, with its keys and values, somewhere else than the rest of a model.

On the processor of the host (FastDecode, arXiv 2403.11421; NEO, MLSys 2025, arXiv 2411.01142), in the memory (AttAcc,
ASPLOS 2024; NeuPIMs, ASPLOS 2024, arXiv 2403.00579), in the drive (InstInfer, HPCA 2025, arXiv 2409.04992) or on other
devices behind a network (Lamina, arXiv 2405.01814): engine and place of the cache change together, for an engine that
fetches its keys and values from elsewhere gains nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hw.spec.system import Engine, System
from mappers.assign import Assign, Assignment, fastest_in, on_engine
from simulator.policy import Policy
from workloads.errors import InputError, unknown_name
from workloads.transforms.edit import part_of
from workloads.workload import Op

__all__ = [
    "attention_in_drives",
    "attention_in_memory",
    "attention_on",
    "attention_on_host",
    "attention_remote",
    "main_home",
]


def attention_on(policy: Policy, system: System, engine: str) -> Policy:
    """Attention runs on ``engine``, and the cache lives at home there unless the policy has pinned it already.

    What other operations would leave to that engine beside theirs goes to another one with the same home, if any.
    Raises `InputError` for an engine that the system does not have.
    """
    if engine not in system.engines:
        raise unknown_name("engine", engine, system.engines, field="policy")
    there, elsewhere = on_engine(engine), policy.assign
    place = policy.place
    if "kv_cache" not in place.pinned:
        place = place.pin("kv_cache", system.engines[engine].home)
    return replace(policy, assign=_attention_by(engine, there, elsewhere), place=place)


def _attention_by(engine: str, there: Assign, elsewhere: Assign) -> Assign:
    def assign(op: Op, system: System) -> Assignment:
        if part_of(op, "attention"):
            return there(op, system)
        found = elsewhere(op, system)
        if found.other != engine or found.contraction == engine:
            return found
        home = system.engines[engine].home
        others = {
            name: max(beside.throughput_ops_per_s.values())
            for name, beside in system.engines.items()
            if name != engine and beside.home == home and beside.kind not in ("matrix", "in-memory")
        }
        return replace(found, other=max(others, key=lambda name: (others[name], name))) if others else found

    return assign


def attention_on_host(policy: Policy, system: System) -> Policy:
    """Attention on the fastest processor of the host."""
    return attention_on(policy, system, _fastest(system, "a cpu engine", lambda engine: engine.kind == "cpu"))


def attention_in_memory(policy: Policy, system: System) -> Policy:
    """Attention on the fastest engine inside or beside a memory."""
    found = _fastest(system, "a near-memory engine", lambda engine: engine.kind == "near-memory")
    return attention_on(policy, system, found)


def attention_in_drives(policy: Policy, system: System) -> Policy:
    """Attention on the fastest engine inside drives."""
    found = _fastest(system, "an in-storage engine", lambda engine: engine.kind == "in-storage")
    return attention_on(policy, system, found)


def attention_remote(policy: Policy, system: System) -> Policy:
    """Attention on the fastest matrix engine that is at home in another memory than the fastest of all."""
    home = main_home(system)
    found = _fastest(
        system, "a matrix engine with another home", lambda engine: engine.kind == "matrix" and engine.home != home
    )
    return attention_on(policy, system, found)


def main_home(system: System) -> str:
    """Where the fastest engine is at home, on which most of a model runs."""
    return system.engines[fastest_in("bf16", system).contraction].home


def _fastest(system: System, what: str, fits: Callable[[Engine], bool]) -> str:
    found = [name for name, engine in system.engines.items() if fits(engine)]
    if not found:
        raise InputError(f"{system.name} has none for attention", expected=what, field="policy")
    return max(found, key=lambda name: (system.engines[name].throughput("fp16"), name))
