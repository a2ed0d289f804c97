"""Whole models as the pieces of a collection: one at a time runs, some lie in the fast tier, the others are fetched.

The composition of experts of SambaNova's SN40L (MICRO 2024, arXiv 2405.07518, section II): a router picks a model for
each prompt; a model that is not cached is brought in from its home tier before it runs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from hw.spec.system import System
from mappers.assign import fastest_in
from simulator.collections.contents import set_misses
from simulator.collections.replacement import Replacement
from simulator.engine import Demand, Execution, Segment, Task, TaskGraph, execute
from simulator.transport import resources_of, transfer_demands, transfer_latency_s
from workloads.errors import InputError

__all__ = ["ModelRun", "WholeModels", "run_models"]


@dataclass(frozen=True)
class WholeModels:
    """Models of ``bytes_each`` on each device that live in tier ``home``; ``slots`` of them are cached in ``cache``.

    ``replacement`` says which leaves. With ``ahead`` the next prompt's model is brought in while the one before runs,
    for which one slot more must be there than is in use.
    """

    bytes_each: float
    home: str
    cache: str
    slots: int
    replacement: Replacement = field(default_factory=lambda: Replacement("lru"))
    ahead: bool = False

    def __post_init__(self) -> None:
        least = 2 if self.ahead else 1
        if self.slots < least:
            raise InputError(f"room for {self.slots} models", f"at least {least}", "collections.slots")


@dataclass(frozen=True)
class ModelRun:
    """A sequence of prompts as it ran: ``switches`` says for each prompt whether its model had to be brought in."""

    latency_s: float
    switches: tuple[bool, ...]
    execution: Execution


def run_models(
    system: System, models: WholeModels, picks: Sequence[int], seconds: float, *, before_s: float = 0.0, warmup: int = 0
) -> ModelRun:
    """Run one prompt after another for ``seconds`` each on the models numbered in ``picks``.

    ``before_s`` passes first, as a router does that picks for all of them. The first ``warmup`` prompts fill the cache
    and are not timed.
    """
    if not 0 <= warmup < len(picks):
        raise InputError(f"{warmup} of {len(picks)} prompts", "fewer than there are", "collections.warmup")
    misses = set_misses([(pick,) for pick in picks], models.slots, models.replacement)
    switches = tuple(bool(missed) for missed in misses[warmup:])
    engine = fastest_in("bf16", system).contraction
    tasks = [Task("route", "compute", (Demand(engine, before_s, 0.0, "op"),), (engine,))]
    demands = transfer_demands(system, models.home, models.cache, models.bytes_each)
    begin_s = transfer_latency_s(system, models.home, models.cache)
    for at, switch in enumerate(switches):
        ready = "route" if at == 0 else f"run {at - 1}"
        waits = [ready]
        if switch:
            # Ahead, a model needs a slot that the one running does not use: that of the one before it.
            free = ready if not models.ahead else "route" if at < 2 else f"run {at - 2}"
            tasks.append(Task(f"switch {at}", "transfer", demands, (), begin_s, (free,)))
            waits.append(f"switch {at}")
        run = (Demand(engine, seconds, 0.0, "op"),)
        tasks.append(Task(f"run {at}", "compute", run, (engine,), 0.0, tuple(waits)))
    execution = execute(TaskGraph(resources_of(system), (Segment("models", tuple(tasks), 1),)))
    return ModelRun(execution.latency_s, switches, execution)
