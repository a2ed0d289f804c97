"""Small problems whose best shares can be found by trying all."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from mappers.planner.swap.machine import HostTier
from mappers.planner.swap.shares import RecomputeStep, Share, SwapProblem, TensorClass, cost_of

__all__ = ["all_shares", "best_of_all", "small_problem"]


def small_problem(
    *,
    layers: int = 6,
    sizes: tuple[int, ...] = (4, 4, 8),
    seconds: tuple[float, ...] = (0.5, 0.1),
    link: float = 10.0,
    tiers: tuple[HostTier, ...] = (HostTier("host", 1e9, 100.0, 100.0),),
    free: float = 40.0,
    forward: float = 1.0,
    backward: float = 2.0,
) -> SwapProblem:
    """Tensors a, b, c, ... of ``sizes``; all but the first can be made again, each by a step of its own."""
    names = "abcdefg"[: len(sizes)]
    steps = [RecomputeStep(f"make_{name}", time, (name,)) for name, time in zip(names[1:], seconds, strict=True)]
    classes = tuple(TensorClass(name, size) for name, size in zip(names, sizes, strict=True))
    return SwapProblem(layers, classes, tuple(steps), forward, backward, 1.0, link, tiers, free)


def all_shares(problem: SwapProblem, parts: int) -> Iterator[dict[str, Share]]:
    """Every choice in multiples of 1 / ``parts``."""
    names = [tier.name for tier in problem.tiers]
    each = []
    for tensor in problem.classes:
        options = []
        for cut in itertools.product(range(parts + 1), repeat=1 + len(names)):
            again = parts - sum(cut)
            if again < 0 or (again and not problem.recomputable(tensor.name)):
                continue
            swap = {name: part / parts for name, part in zip(names, cut[1:], strict=True) if part}
            options.append(Share(cut[0] / parts, swap, again / parts))
        each.append(options)
    for choice in itertools.product(*each):
        yield {tensor.name: share for tensor, share in zip(problem.classes, choice, strict=True)}


def best_of_all(problem: SwapProblem, parts: int) -> float | None:
    """The shortest step of all choices that fit; None where none does."""
    times = []
    for shares in all_shares(problem, parts):
        cost = cost_of(problem, shares)
        worn = any(
            tier.wear_bytes_per_s is not None and cost.worn_bytes_per_s[tier.name] > tier.wear_bytes_per_s * (1 + 1e-9)
            for tier in problem.tiers
        )
        if not cost.missing(problem) and not worn:
            times.append(cost.times.step_s)
    return min(times, default=None)
