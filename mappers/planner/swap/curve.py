"""Policies over context lengths: one plan for each, so that where one overtakes another can be seen."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from mappers.planner.swap.machine import Machine
from mappers.planner.swap.plan import plan_step
from mappers.planner.swap.setting import setting_of
from workloads.models.architecture import Model

__all__ = ["CurvePoint", "contexts_to", "step_curve"]

_SHORTEST = 1 << 14


@dataclass(frozen=True)
class CurvePoint:
    """One plan in short; ``alpha`` is None but for MEMO's policy."""

    context: int
    policy: str
    fits: bool
    mfu: float
    step_s: float
    alpha: float | None


def contexts_to(context: int) -> list[int]:
    """16 Ki tokens and their doublings up to ``context``, which comes last; shorter contexts begin at a sixteenth."""
    first = _SHORTEST if context > _SHORTEST else max(1, context // 16)
    found = []
    while first < context:
        found.append(first)
        first *= 2
    return [*found, context]


def step_curve(
    model: Model, machine: Machine, contexts: Sequence[int], policies: Sequence[str], *, time_limit_s: float = 60.0
) -> Iterator[CurvePoint]:
    """A point for each context and policy; contexts that the devices do not divide are left out."""
    for context in contexts:
        if context % machine.devices:
            continue
        setting = setting_of(model, machine, context)
        for policy in policies:
            plan = plan_step(setting, policy, time_limit_s=time_limit_s, allocate_by="search")
            alpha = plan.alpha.alpha if plan.alpha else None
            yield CurvePoint(context, policy, plan.fits, plan.mfu, plan.times.step_s, alpha)
