"""A policy is five answers, each replaceable alone, and the collections it keeps caches for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from mappers.assign import Assign, fastest_engines
from mappers.planner.placement import Place
from simulator.collections import CachedCollection
from simulator.moves import Move
from workloads.transforms.lanes import Lanes
from workloads.workload import Workload

__all__ = ["Policy", "Transform", "unchanged"]

Transform = Callable[[Workload], Workload]
"""What changes in the workload before it is mapped."""


def unchanged(workload: Workload) -> Workload:
    """The transform that changes nothing."""
    return workload


@dataclass(frozen=True)
class Policy:
    """How a workload is run on a machine.

    ``transform``: what changes in the workload. ``lanes``: in how many parts the batch runs. ``assign``: which engines
    run an operation. ``place``: where tensors live. ``move``: when they travel. ``collections``: families of like
    pieces (experts) that live in one tier and are cached in a faster one.
    """

    transform: Transform = unchanged
    lanes: Lanes = field(default_factory=Lanes)
    assign: Assign = fastest_engines
    place: Place = field(default_factory=Place)
    move: Move = field(default_factory=Move)
    collections: tuple[CachedCollection, ...] = ()
