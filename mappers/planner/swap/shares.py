"""The share of each skeletal tensor that stays, leaves to a tier, or is computed again: what a choice costs.

A choice holds for every layer but the last ones, which stay whole. What stays lies in a region of its own; what leaves
or is computed again passes through rounding buffers, each as large as one layer's part of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from mappers.planner.swap.machine import HostTier
from mappers.planner.swap.timeline import StepTimes

__all__ = ["Cost", "RecomputeStep", "Share", "SwapProblem", "TensorClass", "cost_of", "transfer_s"]


@dataclass(frozen=True)
class TensorClass:
    """One skeletal tensor of a layer: its bytes on one device."""

    name: str
    bytes: int


@dataclass(frozen=True)
class RecomputeStep:
    """One forward operation that may run again: seconds for all tokens, the classes it writes, and the steps before it
    whose transient results it reads."""

    name: str
    seconds: float
    writes: tuple[str, ...]
    needs: tuple[str, ...] = ()


@dataclass(frozen=True)
class SwapProblem:
    """One device's step. ``free_bytes`` of its memory are left beside parameters, their states and transients.

    Two rounding buffers where tensors may leave, one where they may not (``tiers`` empty), and as many last layers that
    stay in them; with ``keeps_last`` false none stays, nothing may leave, and while the head runs the buffer is free:
    ``head_free_bytes`` are left then.
    """

    layers: int
    classes: tuple[TensorClass, ...]
    steps: tuple[RecomputeStep, ...]
    forward_s: float
    backward_s: float
    rest_s: float
    link_bytes_per_s: float
    tiers: tuple[HostTier, ...]
    free_bytes: float
    keeps_last: bool = True
    head_free_bytes: float = float("inf")

    @property
    def buffers(self) -> int:
        return min(2 if self.tiers else 1, self.layers)

    @property
    def moved_layers(self) -> int:
        return self.layers - (self.buffers if self.keeps_last else 0)

    def recomputable(self, name: str) -> bool:
        return any(name in step.writes for step in self.steps)


@dataclass(frozen=True)
class Share:
    """Parts of one tensor's tokens: in device memory, in each tier, computed again; together 1."""

    keep: float = 0.0
    swap: Mapping[str, float] = field(default_factory=dict)
    recompute: float = 0.0


@dataclass(frozen=True)
class Cost:
    """What shares cost. Bytes by tier are those held at most; ``moved_bytes`` cross links in one step, out
    and back, each link for itself.

    ``worn_bytes_per_s`` is how fast tiers are written on average over the step.
    """

    times: StepTimes
    device_bytes: float
    tier_bytes: dict[str, float]
    moved_bytes: float
    steps: dict[str, float]
    worn_bytes_per_s: dict[str, float]

    def missing(self, problem: SwapProblem) -> dict[str, float]:
        """Bytes that lack by tier, the device as "device"; empty when all fits. Wear is not capacity."""
        lacking = {"device": self.device_bytes - problem.free_bytes}
        lacking |= {tier.name: self.tier_bytes[tier.name] - tier.capacity_bytes for tier in problem.tiers}
        return {name: lack for name, lack in lacking.items() if lack > 1e-6 * max(1.0, problem.free_bytes)}


def cost_of(problem: SwapProblem, shares: Mapping[str, Share]) -> Cost:
    """Times and bytes of ``shares``, one for each class by name."""
    moved = problem.moved_layers
    swapped = {tier.name: 0.0 for tier in problem.tiers}
    kept = through = 0.0
    for tensor in problem.classes:
        share = shares[tensor.name]
        kept += share.keep * tensor.bytes
        through += (1 - share.keep) * tensor.bytes
        for tier, part in share.swap.items():
            swapped[tier] += part * tensor.bytes
    steps = _steps(problem, shares)
    offload, fetch = transfer_s(problem, swapped)
    times = StepTimes(
        problem.layers,
        problem.forward_s,
        problem.backward_s,
        sum(step.seconds * steps[step.name] for step in problem.steps),
        offload,
        fetch,
        problem.rest_s,
        problem.layers - moved,
    )
    return Cost(
        times,
        problem.layers * kept + problem.buffers * through,
        {name: moved * size for name, size in swapped.items()},
        2.0 * moved * sum(tier.links * swapped[tier.name] for tier in problem.tiers),
        steps,
        {name: moved * size / times.step_s for name, size in swapped.items()},
    )


def transfer_s(problem: SwapProblem, sent: Mapping[str, float]) -> tuple[float, float]:
    """Seconds to offload and to fetch one layer's ``sent`` bytes by tier: all pass the link, each part its tier."""
    if not any(sent.values()):
        return 0.0, 0.0
    link = sum(sent.values()) / problem.link_bytes_per_s
    return (
        max(link, *(sent[tier.name] / tier.write_bytes_per_s for tier in problem.tiers)),
        max(link, *(sent[tier.name] / tier.read_bytes_per_s for tier in problem.tiers)),
    )


def _steps(problem: SwapProblem, shares: Mapping[str, Share]) -> dict[str, float]:
    """The share of the tokens that each operation runs again for: the most any of its results is needed for."""
    steps: dict[str, float] = {}
    for step in reversed(problem.steps):
        own = max((shares[name].recompute for name in step.writes), default=0.0)
        later = max((steps[other.name] for other in problem.steps if step.name in other.needs), default=0.0)
        steps[step.name] = max(own, later)
    return {step.name: steps[step.name] for step in problem.steps}
