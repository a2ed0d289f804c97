"""What a device of each stage holds: weights, gradients, optimizer states, activations, and what passes work in.

Everything but activations stands for the whole step. Micro-batches whose activations stand at once are counted in the
schedule's order, which times cannot change; with a tier for activations (``activations`` of the setup) only what is in
transit stays. Transients are the largest of any pass. Peaks that come one after the other are added, so the sum is an
upper bound: by how much, `simulator.training.step.memory_trace` shows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from itertools import pairwise

import numpy as np

from simulator.training.pipeline.schedules import Pass, Schedule, make_schedule
from simulator.training.step.exchange import sharing_groups
from simulator.training.step.pass_graph import BUFFERS
from simulator.training.step.pieces import Piece, Pieces
from simulator.training.step.setup import Setup

__all__ = ["StageMemory", "lacking", "stage_memories", "stage_memory", "step_schedule"]


@dataclass(frozen=True)
class StageMemory:
    """Bytes of one device of a stage. ``gathered`` are weights that are divided over devices, whole while they are
    used, and their gradients until they are scattered. ``elsewhere`` counts by tier what has left the device."""

    weights: float
    gradients: float
    optimizer: float
    gathered: float
    activations: float
    transient: float
    elsewhere: tuple[tuple[str, float], ...] = ()

    @property
    def total(self) -> float:
        """Bytes on the device."""
        return sum(self.parts().values())

    def parts(self) -> dict[str, float]:
        """Bytes on the device by what they are."""
        return {field.name: getattr(self, field.name) for field in fields(self) if field.name != "elsewhere"}


def step_schedule(setup: Setup) -> Schedule:
    """The pipeline's schedule, in its usual number of chunks unless the layout names more; one stage does a micro-batch
    after the other."""
    parallel = setup.parallel
    if parallel.pipeline == 1:
        return make_schedule("1f1b", 1, setup.micro_batches)
    chunks = parallel.chunks if parallel.chunks > 1 else None
    return make_schedule(setup.schedule_name, parallel.pipeline, setup.micro_batches, chunks)


def stage_memories(setup: Setup, pieces: Pieces) -> tuple[StageMemory, ...]:
    """By stage what one of its devices holds."""
    schedule = step_schedule(setup)
    return tuple(stage_memory(setup, pieces, schedule, stage) for stage in range(schedule.stages))


def lacking(
    memories: Sequence[StageMemory], home: str, capacity_bytes: Callable[[str], float]
) -> tuple[str, float, float] | None:
    """Tier, bytes needed and bytes there of the first tier that is too small for a device; None where all fits."""
    needs = [(home, max(memory.total for memory in memories))]
    needs += [each for memory in memories for each in memory.elsewhere]
    return next(((tier, size, capacity_bytes(tier)) for tier, size in needs if size > capacity_bytes(tier)), None)


def stage_memory(setup: Setup, pieces: Pieces, schedule: Schedule, stage: int) -> StageMemory:
    """What one device of ``stage`` holds."""
    parallel = setup.parallel
    chunks = [
        pieces.of_stage(schedule.stages, schedule.chunks, schedule.position(stage, chunk))
        for chunk in range(schedule.chunks)
    ]
    held = [piece for chunk in chunks for piece in chunk]
    weights = gradients = states = 0.0
    shared, of_experts = (group.size for group in sharing_groups(parallel))
    for piece in held:
        apart = piece.expert_parameters if parallel.expert > 1 else 0.0
        for parameters, share in ((piece.parameters - apart, shared), (apart, of_experts)):
            of = parameters / piece.parameters if parameters else 0.0
            weights += of * piece.weight_bytes / (share if parallel.zero >= 3 else 1)
            gradients += of * piece.gradient_bytes / (share if _scatters_each(setup) else 1)
            states += of * piece.state_bytes / (share if parallel.zero >= 1 else 1)
        if piece.is_head and parallel.pipeline > 1 and pieces.embedding not in held:
            # A head that shares the embedding's table has a copy of its own on another stage.
            copy = piece.borrowed_parameters / max(1.0, pieces.embedding.parameters)
            weights += copy * pieces.embedding.weight_bytes / (shared if parallel.zero >= 3 else 1)
            gradients += copy * pieces.embedding.gradient_bytes / (shared if parallel.zero >= 2 else 1)
    if setup.from_master and parallel.zero >= 3:
        weights = 0.0
    gathered = _gathered(setup, held, shared)
    kept = [sum(piece.kept_bytes for piece in chunk) for chunk in chunks]
    activations = _most_held(schedule, stage, kept)
    transient = max(max(p.forward_transient_bytes, p.backward_transient_bytes) for p in held)
    elsewhere: dict[str, float] = {}
    if setup.activations is not None:
        moved = activations
        activations = BUFFERS * max(piece.kept_bytes for piece in held)
        elsewhere[setup.activations] = max(0.0, moved - activations)
    if setup.optimizer is not None:
        elsewhere[setup.optimizer] = elsewhere.get(setup.optimizer, 0.0) + states
        states = 0.0
    return StageMemory(weights, gradients, states, gathered, activations, transient, tuple(elsewhere.items()))


def _scatters_each(setup: Setup) -> bool:
    """Whether gradients leave after every micro-batch, and not once a step."""
    return setup.parallel.zero >= 2 and setup.parallel.reshard


def _gathered(setup: Setup, held: Sequence[Piece], shared: int) -> float:
    """Whole weights of the pieces in use and ahead, and whole gradients of the last ones."""
    zero = setup.parallel.zero
    if shared == 1 or zero < 2:
        return 0.0
    sizes = [piece.weight_bytes for piece in held]
    grown = [piece.gradient_bytes for piece in held]
    if not setup.parallel.reshard:
        return sum(sizes) if zero >= 3 else 0.0
    # Gradients of two pieces: the one that is being computed and the one that leaves.
    gradients = max((a + b for a, b in pairwise(grown)), default=grown[0])
    if zero < 3:
        return gradients
    ahead = 1 + setup.prefetch
    windows = [sum(sizes[at : at + ahead]) for at in range(max(1, len(sizes) - ahead + 1))]
    return max(windows) + gradients


def _most_held(schedule: Schedule, stage: int, kept: Sequence[float]) -> float:
    """The most bytes of activations at once, from each forward's start to its backward's end."""
    size = np.asarray(kept)[schedule.chunk[stage]]
    kind = schedule.kind[stage]
    ends = Pass.W if schedule.split else Pass.B
    change = np.where(kind == Pass.F, size, 0.0) - np.where(kind == ends, size, 0.0)
    before = np.concatenate([[0.0], np.cumsum(change)[:-1]])
    return float((before + np.where(kind == Pass.F, size, 0.0)).max())
