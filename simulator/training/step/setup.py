"""What a training step over many devices is: the layout, the batch, and what of it leaves the devices."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import isfinite
from typing import Literal, get_args

from hw.spec.system import System
from simulator.policy import Transform, unchanged
from simulator.training.pipeline.schedules import SCHEDULES, make_schedule
from simulator.training.step.layout import Parallel, check_layout, micro_batches, uneven_rounds
from workloads.errors import ImpossibleError, InfeasibleError, InputError, unknown_name
from workloads.formats import FormatChoice
from workloads.models.architecture import Model
from workloads.models.lower import lower
from workloads.models.lower_feed_forward import ExpertShare
from workloads.phases import Train
from workloads.transforms.training.context_parallel import context_parallel
from workloads.transforms.training.sequence_parallel import sequence_parallel
from workloads.workload import Workload

__all__ = ["CONTENTION", "ContextExchange", "Setup", "check_setup", "check_values", "lowered"]

_DIVIDED_OUTPUT = ("1f1b-vocab-1", "1f1b-vocab-2", "interlaced")
"""Schedules whose output layer stands on all stages, which no layout here says."""

_MOST_PASSES = 6_000_000
"""Of all stages in a step: as many take about 1 GB and seconds."""

CONTENTION = 1.0
"""Of the time that bytes exchanged beside kernels take over the fabric, what the kernels lose: the exchange takes
processors and memory ports from them, as long as the bytes take within a node whatever the network's rate. Fitted to
every third of 148 steps of MPT models on A100 and H100 (mosaicml/llm-foundry at 061f2c7,
studies/published/mosaic_fsdp.py) with factors of kernels beside it, between A100's 1.3 and H100's 0.5;
`benchmarks/training.py` fits it again and shows the error on the others."""

_MOST_DEVICES = 1 << 20
"""Groups of them are looked at device by device."""

ContextExchange = Literal["ring", "gather", "ulysses"]
"""How devices that share a sequence see its keys and values."""


@dataclass(frozen=True)
class Setup:
    """A training step on ``global_batch`` sequences, of which a replica takes ``phase.batch`` at a time.

    ``schedule`` is that of the pipeline (`simulator.training.pipeline.schedules`). ``activations`` and ``optimizer``
    name the tier where kept activations and the optimizer's states live, None for the device's own. ``prefetch``
    weights of so many layers are gathered ahead where they are divided (``zero`` 3), and ``from_master``: they are cast
    from the master copy when gathered, and 16-bit weights are not kept beside it (PyTorch FSDP2). ``imbalance`` is what
    the device with most tokens for its experts gets over the mean. ``stragglers`` are stages all of whose work takes so
    many times as long. ``contention`` is what kernels lose to exchanges beside them, as a share of the time that the
    bytes take over the fabric; None for `CONTENTION` at kernel fidelity and nothing at others. ``transform`` changes
    the workload of one micro-batch.
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
    stragglers: tuple[tuple[int, float], ...] = ()
    contention: float | None = None
    transform: Transform = unchanged

    @property
    def micro_batches(self) -> int:
        """Micro-batches of a step in each replica."""
        return micro_batches(self.parallel, self.global_batch, self.phase.batch)

    @property
    def schedule_name(self) -> str:
        """The schedule that runs: one forward, one backward is interleaved where stages are in chunks."""
        return "interleaved" if self.parallel.chunks > 1 and self.schedule == "1f1b" else self.schedule

    @property
    def tokens(self) -> int:
        """Tokens of a step."""
        return self.global_batch * self.phase.context


def check_setup(setup: Setup, system: System) -> None:
    """See that the step can be divided so over the system's devices.

    Raises `ImpossibleError` and `InfeasibleError` as `check_layout`, and for schedules with other chunks; `InputError`
    for unknown schedules, exchanges and tiers and for numbers that are none.
    """
    check_values(setup, system)
    devices = max(setup.parallel.devices, system.devices)
    if devices > _MOST_DEVICES:
        raise InfeasibleError("devices of a simulated step", devices, _MOST_DEVICES, "devices")
    check_layout(
        setup.parallel,
        setup.model,
        devices=system.devices,
        global_batch=setup.global_batch,
        micro_batch=setup.phase.batch,
        tokens=setup.phase.context,
    )
    _check_schedule(setup)


def check_values(setup: Setup, system: System) -> None:
    """See that names are known and numbers are some, whatever the layout. Raises `InputError`."""
    for name, tier in (("activations", setup.activations), ("optimizer", setup.optimizer)):
        stores = [each for each, found in system.tiers.items() if found.holds == "tensors"]
        if tier is not None and tier not in stores:
            raise unknown_name("tier", tier, stores, field=f"place.{name}")
    if setup.global_batch < 1:
        raise InputError(f"found {setup.global_batch}", "1 or more", "global_batch")
    known = [name for name in SCHEDULES if name not in _DIVIDED_OUTPUT]
    if setup.schedule not in known:
        raise unknown_name("schedule", setup.schedule, known, field="schedule")
    if setup.exchange not in get_args(ContextExchange):
        raise unknown_name("context exchange", setup.exchange, get_args(ContextExchange), field="exchange")
    if setup.prefetch < 0:
        raise InputError(f"found {setup.prefetch}", "0 or more layers", "prefetch")
    if setup.contention is not None and not (isfinite(setup.contention) and setup.contention >= 0):
        raise InputError(f"found {setup.contention:g}", "0 or more", "contention")
    if not (isfinite(setup.imbalance) and setup.imbalance >= 1):
        raise InputError(f"found {setup.imbalance:g}", "1 or more", "imbalance")
    stages = setup.parallel.pipeline
    for stage, factor in setup.stragglers:
        if not 0 <= stage < stages:
            raise InputError(f"no stage {stage}", f"0 to {stages - 1}" if stages > 1 else "0", "stragglers")
        if not (isfinite(factor) and factor > 0):
            raise InputError(f"found {factor:g} times as long", "more than 0", "stragglers")
    if len(dict(setup.stragglers)) < len(setup.stragglers):
        raise InputError("a stage is given twice", "each stage once", "stragglers")


def _check_schedule(setup: Setup) -> None:
    """Pieces of a stage are those of the schedule, layers divide into them, and its passes are not too many to run."""
    parallel, layers, name = setup.parallel, len(setup.model.order), setup.schedule_name
    chunks = 1
    if parallel.pipeline > 1:
        usual = make_schedule(name, 1, 1).chunks
        chunks = parallel.chunks if parallel.chunks > 1 else usual
        try:
            make_schedule(name, 1, 1, chunks)
        except InputError:
            raise ImpossibleError(
                f"chunks={chunks} in schedule {name!r}", f"chunks={usual}, or schedule 'interleaved'", "schedule"
            ) from None
        if layers % (parallel.pipeline * chunks) and layers % (parallel.pipeline * parallel.chunks) == 0:
            problem = f"{chunks} chunks of schedule {name!r} on each of {parallel.pipeline} stages for {layers} layers"
            fitting = [pp for pp in range(1, layers + 1) if layers % (pp * chunks) == 0]
            near = min(fitting, key=lambda pp: abs(pp - parallel.pipeline), default=None)
            other = "schedule '1f1b'"
            raise ImpossibleError(problem, other if near is None else f"{other}, or pp={near}", "schedule")
        if name == "interleaved" and setup.micro_batches % parallel.pipeline:
            raise uneven_rounds(parallel, setup.global_batch, setup.phase.batch)
    passes = 3 * parallel.pipeline * chunks * setup.micro_batches
    if passes > _MOST_PASSES:
        hint = f"{passes / _MOST_PASSES:,.1f} times larger micro-batches, or dp as much larger"
        raise InfeasibleError("passes of a simulated step", passes, _MOST_PASSES, "passes", hint)


def lowered(setup: Setup) -> Workload:
    """One micro-batch on one device of a stage that holds all layers: tensor, context and expert shares taken."""
    parallel, phase = setup.parallel, setup.phase
    if phase.context % parallel.context:
        raise ImpossibleError(f"{phase.context:,} tokens over {parallel.context} devices", "a multiple", "context")
    experts = None
    if parallel.expert > 1:
        experts = ExpertShare(parallel.expert * parallel.tensor, parallel.expert, setup.imbalance)
    share = Train(
        phase.batch, phase.context // parallel.context, phase.checkpoint, phase.loss, phase.every,
        phase.gradient_format, phase.state_format,
    )  # fmt: skip
    workload = lower(setup.model, share, setup.formats, devices=parallel.tensor, experts=experts)
    if parallel.sequence:
        workload = sequence_parallel(workload)
    if parallel.context > 1:
        workload = _in_context(workload, setup)
    return setup.transform(workload)


def _in_context(workload: Workload, setup: Setup) -> Workload:
    degree, stride = setup.parallel.context, setup.parallel.tensor
    try:
        return context_parallel(workload, devices=degree, stride=stride, exchange=setup.exchange)
    except InputError as error:
        if error.field != "devices":
            raise
        other = f"cp={error.nearest}, or " if error.nearest else ""
        raise ImpossibleError(error.problem, f"{other}exchange 'ring' or 'gather'", "parallel.cp") from None
