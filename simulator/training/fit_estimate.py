"""A quick estimate of a training step, without executing it: for comparing setups, not for predicting their time.

A stage's passes take what its operations take at the roofline and its exchanges that show, one micro-batch after the
other. Weights and gradients that are divided, and activations on their way to another tier, hide behind that until they
take longer. Stages wait for each other for one micro-batch's passes through the others' first chunks (arXiv 2104.04473,
section 2.2: the bubble of all schedules but those that fill it). The update comes last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from hw.spec.system import System
from mappers.map_workload import map_workload
from mappers.planner.placement import path_bandwidth
from simulator.training.costs import PieceCost, piece_costs
from simulator.training.exchange import PieceExchange, piece_exchanges, sharing_groups
from simulator.training.inventory import step_schedule
from simulator.training.pieces import Piece, pieces_of
from simulator.training.setup import Setup
from simulator.transport import collective_cost
from workloads.workload import Collective, Workload

__all__ = ["StepEstimate", "estimate_step"]


@dataclass(frozen=True)
class StepEstimate:
    """Of a device of the stage that takes longest: seconds, operations, bytes sent to other devices, and bytes moved to
    and from other tiers."""

    time_s: float
    operations: float
    sent_bytes: float
    moved_bytes: float


@dataclass(frozen=True)
class _Machine:
    system: System
    home: str
    devices: int
    costs: Mapping[str, PieceCost]
    exchanges: Mapping[str, PieceExchange]

    def paths(self, tier: str) -> tuple[float, float]:
        return path_bandwidth(self.system, self.home, tier), path_bandwidth(self.system, tier, self.home)


def estimate_step(setup: Setup, system: System, workload: Workload) -> StepEstimate:
    """The step of ``setup``, lowered to ``workload``."""
    pieces = pieces_of(workload)
    mapped = map_workload(workload, system, fidelity="roofline")
    costs = piece_costs(pieces, mapped, system, setup.slowdown)
    exchanges = piece_exchanges(pieces, setup.parallel, system)
    machine = _Machine(system, mapped.home, workload.devices, costs, exchanges)
    schedule = step_schedule(setup)
    found = []
    for stage in range(schedule.stages):
        at = [schedule.position(stage, chunk) for chunk in range(schedule.chunks)]
        held = [piece for each in at for piece in pieces.of_stage(schedule.stages, schedule.chunks, each)]
        slower = dict(setup.stragglers).get(stage, 1.0)
        found.append(_stage(setup, machine, held, slower, (schedule.stages - 1) / schedule.chunks))
    return max(found, key=lambda each: each.time_s)


def _stage(setup: Setup, machine: _Machine, held: Sequence[Piece], slower: float, waits: float) -> StepEstimate:
    parallel, count = setup.parallel, setup.micro_batches
    passes = [machine.costs[piece.name] for piece in held]
    span_s = slower * sum(cost.forward.span_s + cost.backward.span_s for cost in passes)
    each = parallel.reshard
    gathers = (2 * count if each else 1) if parallel.zero >= 3 else min(1, parallel.zero)
    leaves = count if parallel.zero >= 2 and each else 1
    ways = [machine.exchanges[piece.name] for piece in held]
    sharing_s = sum(gathers * w.gather_s + leaves * (w.scatter_s if parallel.zero else w.reduce_s) for w in ways)
    sent = sum(gathers * w.gather_bytes + leaves * (w.scatter_bytes if parallel.zero else w.reduce_bytes) for w in ways)
    inside = {piece.name: _inside(piece, machine) for piece in held}
    moving_s = moved = 0.0
    if setup.activations is not None:
        kept = count * sum(piece.kept_bytes for piece in held)
        moving_s, moved = kept / min(machine.paths(setup.activations)), 2 * kept
    update_s = 0.0
    rates = None if setup.optimizer is None else machine.paths(setup.optimizer)
    for piece, cost in zip(held, passes, strict=True):
        share = _share(setup, piece)
        update_s += share * max(slower * cost.update_s, 0.0 if rates is None else piece.state_bytes / min(rates))
        moved += 0.0 if rates is None else 2 * share * piece.state_bytes
    return StepEstimate(
        max(count * span_s, sharing_s, moving_s) + waits * span_s + update_s,
        count * sum(inside[piece.name][0] for piece in held),
        sent + count * sum(inside[piece.name][1] for piece in held),
        moved,
    )


def _inside(piece: Piece, machine: _Machine) -> tuple[float, float]:
    """Operations of a micro-batch's passes, and bytes that exchanges within them send."""
    operations = sent = 0.0
    for layer in (piece.forward,) if piece.is_head else (piece.forward, piece.backward):
        operations += sum(op.work.total for op in layer.ops)
        steps = (step for step in layer.steps if isinstance(step, Collective))
        sent += sum(collective_cost(machine.system, step, machine.devices)[0] for step in steps)
    return operations, sent


def _share(setup: Setup, piece: Piece) -> float:
    """Of a piece's optimizer states, what one device updates."""
    if setup.parallel.zero == 0 or not piece.parameters:
        return 1.0
    shared, of_experts = (group.size for group in sharing_groups(setup.parallel))
    apart = piece.expert_parameters / piece.parameters if setup.parallel.expert > 1 else 0.0
    return (1 - apart) / shared + apart / of_experts
