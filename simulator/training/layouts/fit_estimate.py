"""A quick estimate of a training step, without executing it: for comparing setups, not for predicting their time.

A pass takes what its operations take at the roofline and its exchanges that show, one after the other, or what weights,
gradients or activations on their way beside it take, where that is longer. Stages wait for each other for one
micro-batch's passes through the others' first chunks (arXiv 2104.04473, section 2.2: the bubble of all schedules but
those that fill it). The update comes last.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from hw.spec.system import System
from mappers.map_workload import map_workload
from mappers.planner.placement import path_bandwidth
from simulator.training.step.costs import PieceCost, piece_costs
from simulator.training.step.exchange import PieceExchange, piece_exchanges, sharing_groups
from simulator.training.step.inventory import step_schedule
from simulator.training.step.pieces import Piece, pieces_of
from simulator.training.step.setup import Setup
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

    def paths(self, tier: str | None) -> tuple[float, float]:
        """Bytes per second to a tier and back; nothing moves where there is none."""
        if tier is None:
            return float("inf"), float("inf")
        return path_bandwidth(self.system, self.home, tier), path_bandwidth(self.system, tier, self.home)


def estimate_step(setup: Setup, system: System, workload: Workload) -> StepEstimate:
    """The step of ``setup``, lowered to ``workload``."""
    pieces = pieces_of(workload)
    mapped = map_workload(workload, system, fidelity="roofline")
    costs = piece_costs(pieces, mapped, system)
    exchanges = piece_exchanges(pieces, setup.parallel, system)
    machine = _Machine(system, mapped.home, workload.devices, costs, exchanges)
    schedule = step_schedule(setup)
    found = []
    for stage in range(schedule.stages):
        at = [schedule.position(stage, chunk) for chunk in range(schedule.chunks)]
        held = [piece for each in at for piece in pieces.of_stage(schedule.stages, schedule.chunks, each)]
        slower = dict(setup.stragglers).get(stage, 1.0)
        found.append(_stage(setup, machine, held, slower))
    slowest, own_s = max(found, key=lambda each: each[0].time_s)
    others_s = sum(span_s for _, span_s in found) - own_s
    return replace(slowest, time_s=slowest.time_s + others_s / schedule.chunks)


def _stage(setup: Setup, machine: _Machine, held: Sequence[Piece], slower: float) -> tuple[StepEstimate, float]:
    """The step of a stage that never waits, and of that one micro-batch's passes."""
    parallel, count = setup.parallel, setup.micro_batches
    costs = [machine.costs[piece.name] for piece in held]
    ways = [machine.exchanges[piece.name] for piece in held]
    gather_s = sum(way.gather_s for way in ways)
    leave_s = sum(way.scatter_s if parallel.zero else way.reduce_s for way in ways)
    kept = 0.0 if setup.activations is None else sum(piece.kept_bytes for piece in held)
    out_s, in_s = (kept / rate for rate in machine.paths(setup.activations))
    ahead, behind = sum(cost.forward.span_s for cost in costs), sum(cost.backward.span_s for cost in costs)
    gathers, scatters = (parallel.zero >= level and parallel.reshard for level in (3, 2))
    forward_s = max(slower * ahead, out_s, gathers * gather_s)
    backward_s = max(slower * behind, in_s, gathers * gather_s + scatters * leave_s)
    first_s = max(forward_s, (parallel.zero >= 1) * gather_s)
    last_s = max(backward_s, gathers * gather_s + leave_s)
    update_s = states = 0.0
    rate = min(machine.paths(setup.optimizer))
    for piece, cost in zip(held, costs, strict=True):
        share = _share(setup, piece)
        update_s += share * max(slower * cost.update_s, piece.state_bytes / rate)
        states += 0.0 if setup.optimizer is None else share * piece.state_bytes
    gathered = (2 * count if parallel.reshard else 1) if parallel.zero >= 3 else min(1, parallel.zero)
    sent = gathered * sum(way.gather_bytes for way in ways)
    sent += (count if scatters else 1) * sum(w.scatter_bytes if parallel.zero else w.reduce_bytes for w in ways)
    inside = {piece.name: _inside(piece, machine) for piece in held}
    estimate = StepEstimate(
        (count - 1) * (forward_s + backward_s) + first_s + last_s + update_s,
        count * sum(inside[piece.name][0] for piece in held),
        sent + count * sum(inside[piece.name][1] for piece in held),
        2 * count * kept + 2 * states,
    )
    return estimate, forward_s + backward_s


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
