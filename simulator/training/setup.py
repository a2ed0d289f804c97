"""What a training step over many devices is: the layout, the batch, and what of it leaves the devices."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from hw.spec.system import System
from simulator.policy import Transform, unchanged
from simulator.training.layout import Parallel, check_layout, micro_batches
from simulator.training.schedules import SCHEDULES
from workloads.errors import InputError, unknown_name
from workloads.formats import FormatChoice
from workloads.models.architecture import Model
from workloads.models.lower import lower
from workloads.models.lower_feed_forward import ExpertShare
from workloads.phases import Train
from workloads.transforms.context_parallel import context_parallel
from workloads.transforms.sequence_parallel import sequence_parallel
from workloads.workload import Workload

__all__ = ["ContextExchange", "Setup", "check_setup", "lowered"]

_DIVIDED_OUTPUT = ("1f1b-vocab-1", "1f1b-vocab-2", "interlaced")
"""Schedules whose output layer stands on all stages, which no layout here says."""

ContextExchange = Literal["ring", "gather", "ulysses"]
"""How devices that share a sequence see its keys and values."""


@dataclass(frozen=True)
class Setup:
    """A training step on ``global_batch`` sequences, of which a replica takes ``phase.batch`` at a time.

    ``schedule`` is that of the pipeline (`simulator.training.schedules`). ``activations`` and ``optimizer`` name the
    tier where kept activations and the optimizer's states live, None for the device's own. ``prefetch`` weights of so
    many layers are gathered ahead where they are divided (``zero`` 3), and ``from_master``: they are cast from the
    master copy when gathered, and 16-bit weights are not kept beside it (PyTorch FSDP2). ``imbalance`` is what the
    device with most tokens for its experts gets over the mean. ``transform`` changes the workload of one micro-batch.
    """

    model: Model
    phase: Train
    global_batch: int
    parallel: Parallel = field(default_factory=Parallel)
    schedule: str = "1f1b"
    exchange: ContextExchange = "ring"
    formats: FormatChoice | None = None
    activations: str | None = None
    optimizer: str | None = None
    prefetch: int = 1
    from_master: bool = False
    imbalance: float = 1.0
    transform: Transform = unchanged

    @property
    def micro_batches(self) -> int:
        """Micro-batches of a step in each replica."""
        return micro_batches(self.parallel, self.global_batch, self.phase.batch)

    @property
    def tokens(self) -> int:
        """Tokens of a step."""
        return self.global_batch * self.phase.context


def check_setup(setup: Setup, system: System) -> None:
    """See that the step can be divided so over the system's devices.

    Raises `InputError` and `InfeasibleError` as `check_layout`, and `InputError` for unknown schedules and tiers.
    """
    known = [name for name in SCHEDULES if name not in _DIVIDED_OUTPUT]
    if setup.schedule not in known:
        raise unknown_name("schedule", setup.schedule, known, field="schedule")
    check_layout(
        setup.parallel,
        setup.model,
        devices=system.devices,
        global_batch=setup.global_batch,
        micro_batch=setup.phase.batch,
        tokens=setup.phase.context,
    )
    for name, tier in (("activations", setup.activations), ("optimizer", setup.optimizer)):
        stores = [each for each, found in system.tiers.items() if found.holds == "tensors"]
        if tier is not None and tier not in stores:
            raise unknown_name("tier", tier, stores, field=f"place.{name}")


def lowered(setup: Setup) -> Workload:
    """One micro-batch on one device of a stage that holds all layers: tensor, context and expert shares taken."""
    parallel, phase = setup.parallel, setup.phase
    if phase.context % parallel.context:
        raise InputError(f"{phase.context:,} tokens over {parallel.context} devices", "a multiple", "context")
    experts = None
    if parallel.expert > 1:
        groups = max(1, parallel.expert // parallel.tensor) if parallel.tensor > 1 else parallel.expert
        experts = ExpertShare(parallel.expert, groups, setup.imbalance)
    share = Train(
        phase.batch, phase.context // parallel.context, phase.checkpoint, phase.loss, phase.every,
        phase.gradient_format, phase.state_format,
    )  # fmt: skip
    workload = lower(setup.model, share, setup.formats, devices=parallel.tensor, experts=experts)
    if parallel.sequence:
        workload = sequence_parallel(workload)
    if parallel.context > 1:
        workload = context_parallel(workload, devices=parallel.context, stride=parallel.tensor, exchange=setup.exchange)
    return setup.transform(workload)
