"""What memory a step of training takes: in its engine's order, with offsets, and in any order."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

from mappers.planner.allocation.greedy import first_fit, greedy_orders, overlaps
from mappers.planner.order.bounds import least_peak_bytes
from mappers.planner.order.lifetimes import allocation_problem
from mappers.planner.order.lowering import Counting, Patches
from mappers.planner.order.networks import ConvNet
from mappers.planner.order.patches import PatchPlan, price_patches, whole_plan
from mappers.planner.order.plan import plan_order
from mappers.planner.order.steps import Step, profile
from mappers.planner.order.training import Engine, TrainingGraph, first_with_gradient
from mappers.planner.order.training_networks import convolutions
from mappers.planner.order.update import Update, updated_channels, weight_count
from workloads.errors import InputError

__all__ = ["StepPlan", "StepWork", "best_step", "forward_patches", "held_bytes", "plan_step", "step_work"]


@dataclass(frozen=True)
class StepPlan:
    """``held_bytes`` at once at most, ``placed_bytes`` with offsets, and what no order goes below.

    Offsets are by first fit, of largest or longest-lived first, whichever is better.

    ``at``: the operation that holds the most.
    """

    order: tuple[str, ...]
    held_bytes: int
    placed_bytes: int
    lower_bound_bytes: int
    at: str


@dataclass(frozen=True)
class StepWork:
    """Multiply-accumulates of the forward pass, of gradients of activations, and of gradients of weights."""

    forward: int
    activations: int
    weights: int

    @property
    def total(self) -> int:
        return self.forward + self.activations + self.weights


def plan_step(step: TrainingGraph) -> StepPlan:
    """The step in its engine's order."""
    return _planned(step, step.order)


def best_step(step: TrainingGraph, patience: int = 2000) -> StepPlan:
    """The step in the best order found: `plan_order`, which looks up from its search ``patience`` times at most."""
    looks = count()
    found = plan_order(step.graph, time_limit_s=None, should_stop=lambda: next(looks) > patience)
    best = _planned(step, found.order)
    own = plan_step(step)
    bound = max(found.lower_bound_bytes, best.lower_bound_bytes)
    if own.held_bytes <= best.held_bytes:
        best = own
    return StepPlan(best.order, best.held_bytes, best.placed_bytes, bound, best.at)


def held_bytes(step: TrainingGraph) -> int:
    """The most bytes held at once in the engine's order."""
    return _top(step, step.order).during_bytes


def _top(step: TrainingGraph, order: tuple[str, ...]) -> Step:
    """The step that holds the most."""
    position = {op.name: i for i, op in enumerate(step.graph.ops)}
    return max(profile(step.graph, [position[name] for name in order]), key=lambda one: one.during_bytes)


def _planned(step: TrainingGraph, order: tuple[str, ...]) -> StepPlan:
    top = _top(step, order)
    problem, _ = allocation_problem(step.graph, order)
    conflicts = overlaps(problem)
    orders = greedy_orders(problem, conflicts)
    placed = [
        problem.peak_bytes(offsets)
        for rule in ("size", "lifetime")
        if (offsets := first_fit(problem, conflicts, orders[rule])) is not None
    ]
    bound, _ = least_peak_bytes(step.graph)
    return StepPlan(order, top.during_bytes, min(placed), bound, step.graph.ops[top.op].name)


def forward_patches(net: ConvNet, update: Update, side: int, counting: Counting, *, pruned: bool = True) -> PatchPlan:
    """The first blocks in ``side`` x ``side`` patches, as many of those that no gradient reaches as bring the peak of
    the forward pass lowest; map by map where that is no lower."""
    reached = first_with_gradient(net, update, pruned)
    best, layers = whole_plan(net, counting), 0
    for blocks, block in enumerate(net.blocks[:-2], 1):
        layers += len(block.layers)
        if layers > reached:
            break
        try:
            plan = price_patches(net, Patches(blocks, side, side), counting)
        except InputError:  # a map with fewer pixels than patches
            break
        if (plan.peak_bytes, plan.macs) < (best.peak_bytes, best.macs):
            best = plan
    return best


def step_work(net: ConvNet, update: Update, engine: Engine, forward_macs: int) -> StepWork:
    """Work of a step on one batch, ``forward_macs`` of each image's forward pass.

    A gradient of a layer's input takes as many multiply-accumulates as the layer, one of its weights the share of its
    input channels.
    """
    layers, dense = convolutions(net), net.blocks[-1].layers[-1]
    first = first_with_gradient(net, update, engine.pruned)
    activations = dense.macs if first < len(layers) else 0
    weights = dense.macs
    for index, layer in enumerate(layers):
        if index < first:
            continue
        activations += layer.macs if index > first else 0
        share = updated_channels(layer, update.weights.get(index, 0.0)) if engine.pruned else layer.channels_in
        weights += weight_count(layer, share) * layer.side_out**2
    return StepWork(engine.batch * forward_macs, engine.batch * activations, engine.batch * weights)
