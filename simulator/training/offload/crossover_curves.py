"""Three crossovers of a model on a machine, with their curves: host memory, drives, and who updates the optimizer.

    found = crossovers(Question(model("llama-2-7b"), override(load_system("a100-80gb-sxm"), ("devices=8",))))

The devices divide each layer by heads and columns, and what lies between by tokens (arXiv 2205.05198); host memory and
drives are divided evenly among the devices of a node. Rates at which moving hides are those of
`simulator.training.offload.crossovers`: what goes to host memory must leave during one forward pass ("forward"), what
goes to drives must leave and come back during both passes ("step").
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from math import lcm

from hw.spec.system import System
from mappers.planner.swap.machine import KERNELS, HostTier, Machine, machine_of
from simulator.memory.flash.drives import tier_endurance_bytes
from simulator.policy import Transform
from simulator.training.offload.crossovers import HidePoint, HideRule, from_which_on, hide_point
from simulator.training.offload.model_widths import at_width
from simulator.training.offload.update_crossovers import (
    HOST_ADAM_SHARE,
    UpdateTimes,
    host_where_it_beats_streaming,
    link_where_streaming_wins,
    sequences_for_share,
    update_rates,
    update_times,
    updates_over_host,
    updates_over_link,
)
from workloads.errors import InputError
from workloads.models.architecture import Model
from workloads.models.counts import parameters as count_parameters
from workloads.models.lower import lower
from workloads.models.stored_formats import phase_formats
from workloads.phases import Checkpoint, Train
from workloads.transforms.training.sequence_parallel import sequence_parallel
from workloads.workload import Workload

__all__ = ["CONTEXT_STEP", "Answers", "DriveAnswer", "HostAnswer", "Question", "UpdateAnswer", "Way", "crossovers"]

_YEAR_S = 365.25 * 86400
CONTEXT_STEP = 64
"""Contexts are found to so many tokens."""

_LINKS = tuple(2e9 * 2.0 ** (half / 2) for half in range(15))
"""Rates of links drawn: 2 GB/s (PCI Express 3.0 x2) to 256 GB/s (7.0 x16) in each direction."""

_MEMORIES = tuple(1e9 * 2.0**power for power in range(3, 11))
"""Rates of a device's part of the host's memory: an eighth of eight slow channels to all of 24 fast ones."""

_WIDTHS = (0.25, 0.5, 1.0, 2.0, 4.0)


@dataclass(frozen=True)
class Way:
    """How layers run: what is computed again, and at which fidelity kernels take their time."""

    checkpoint: Checkpoint
    fidelity: str

    @property
    def words(self) -> str:
        """As a curve is called."""
        what = "all kept" if self.checkpoint == "none" else "inputs kept"
        return f"{what}, {self.fidelity}"


@dataclass(frozen=True)
class Question:
    """``context_range`` is looked through for host memory, ``context`` is that of the other two questions. ``batches``
    are sequences at once; the first is host memory's. ``share`` of a step is what an update may take."""

    model: Model
    system: System
    context_range: tuple[int, int] = (1 << 10, 1 << 20)
    context: int = 8192
    batches: tuple[int, ...] = (1, 4, 16)
    fidelity: str = "roofline"
    adam_share: float = HOST_ADAM_SHARE
    share: float = 0.05
    drive_writes_bytes: float | None = None

    def __post_init__(self) -> None:
        low, high = self.context_range
        if not 1 <= low <= high:
            raise InputError(f"found {low:,} to {high:,}", "a range that rises, from 1 token on", "context_range")
        if not self.batches or min(self.batches) < 1:
            raise InputError(f"found {self.batches}", "one batch or more, of 1 sequence or more", "batches")
        if self.context < 1:
            raise InputError(f"found {self.context}", "1 token or more", "context")
        if not 0 < self.share < 1:
            raise InputError(f"found {self.share:g}", "a share above 0 and below 1", "share")


@dataclass(frozen=True)
class HostAnswer:
    """``hides_from`` is the context from which all that a way keeps leaves for nothing over this machine's link,
    ``by_link`` the same over others; ``full_from`` the first in the range whose activations the host cannot hold.
    ``by_batch`` is at the question's context."""

    name: str
    link_bytes_per_s: float
    capacity_bytes: float
    curves: dict[Way, tuple[HidePoint, ...]]
    hides_from: dict[Way, int | None]
    by_link: dict[Way, tuple[tuple[float, int | None], ...]]
    full_from: dict[Way, int | None]
    by_batch: dict[Way, tuple[HidePoint, ...]]


@dataclass(frozen=True)
class DriveAnswer:
    """A device's part of the drives. ``by_batch`` and ``by_width`` (for each batch) are at the question's context,
    ``by_context`` at the first batch. ``rated_bytes`` may be written to all drives of a node, None where unknown."""

    name: str
    write_bytes_per_s: float
    node_devices: int
    rated_bytes: float | None
    by_batch: tuple[HidePoint, ...]
    by_width: dict[int, tuple[HidePoint, ...]]
    by_context: tuple[HidePoint, ...]
    hides_from: int | None

    def years(self, point: HidePoint) -> float | None:
        """What the drives last when all that hides is written in step after step."""
        if self.rated_bytes is None:
            return None
        seconds = point.forward_s + point.backward_s
        rate = min(point.kept_bytes / seconds, self.write_bytes_per_s / 2) * self.node_devices
        return self.rated_bytes / rate / _YEAR_S


@dataclass(frozen=True)
class UpdateAnswer:
    """``parameters`` of one device. ``pass_s``: forward and backward passes of the layers for one sequence.

    ``streaming_wins_from`` (of the link) and ``host_wins_from`` (of a device's part of the host's memory) are bytes per
    second; ``sequences`` of a step from which each way takes no more than the question's share of it.
    """

    parameters: float
    pass_s: float
    times: UpdateTimes
    by_link: tuple[UpdateTimes, ...]
    by_host: tuple[UpdateTimes, ...]
    streaming_wins_from: float | None
    host_wins_from: float | None
    sequences: dict[str, int]


@dataclass(frozen=True)
class Answers:
    """``drive`` is None where the machine has no drives behind host memory."""

    question: Question
    machine: Machine
    host: HostAnswer
    drive: DriveAnswer | None
    update: UpdateAnswer


def crossovers(question: Question) -> Answers:
    """All three. Raises `InputError` for models that do not train here, systems that do not divide them or have no
    host memory, and as `Question`."""
    machine = machine_of(question.system, KERNELS["attained"])
    rates = update_rates(machine, question.adam_share)
    points = _Points(question.model, question.system)
    host = _host(question, points, machine.tiers[0], machine.link_bytes_per_s)
    drive = _drive(question, points, machine, machine.tiers[1]) if len(machine.tiers) > 1 else None
    parameters = count_parameters(question.model).total / question.system.devices
    one = points.at(Way("none", question.fidelity), question.context)
    pass_s = one.forward_s + one.backward_s
    times = update_times(parameters, rates)
    ways = {"streamed": times.streamed_s, "host": times.host_s, "interleaved": times.interleaved_s}
    update = UpdateAnswer(
        parameters,
        pass_s,
        times,
        updates_over_link(parameters, rates, _LINKS),
        updates_over_host(parameters, rates, _MEMORIES),
        link_where_streaming_wins(parameters, rates),
        host_where_it_beats_streaming(parameters, rates),
        {name: sequences_for_share(seconds, pass_s, question.share) for name, seconds in ways.items()},
    )
    return Answers(question, machine, host, drive, update)


def _host(question: Question, points: _Points, tier: HostTier, link: float) -> HostAnswer:
    ways = [Way("none", question.fidelity), Way("full", question.fidelity)]
    ways += [Way("none", "roofline")] if question.fidelity != "roofline" else []
    rate = min(link, tier.write_bytes_per_s, tier.read_bytes_per_s)
    batch = question.batches[0]
    curves = {way: tuple(points.at(way, c, batch) for c in _contexts(question)) for way in ways}
    by_link = {
        way: tuple((link, _hides_from(question, points, way, link, "forward")) for link in _LINKS)
        for way in ways
        if way.fidelity == question.fidelity
    }
    return HostAnswer(
        tier.name,
        rate,
        tier.capacity_bytes,
        curves,
        {way: _hides_from(question, points, way, rate, "forward") for way in ways},
        by_link,
        {way: _full_from(curve[-1], tier.capacity_bytes, question.context_range) for way, curve in curves.items()},
        {way: _by_batch(question, points, way) for way in ways},
    )


def _full_from(point: HidePoint, capacity: float, within: tuple[int, int]) -> int | None:
    """What is kept grows with the context alone."""
    first = int(capacity * point.context / point.kept_bytes) + 1
    return max(first, within[0]) if first <= within[1] else None


def _by_batch(question: Question, points: _Points, way: Way) -> tuple[HidePoint, ...]:
    return tuple(points.at(way, question.context, batch) for batch in question.batches)


def _drive(question: Question, points: _Points, machine: Machine, tier: HostTier) -> DriveAnswer:
    way, model = Way("none", question.fidelity), question.model
    writes = min(tier.write_bytes_per_s, machine.link_bytes_per_s)
    widths = [_Points(at_width(model, width), question.system) for width in _wider(question)]
    return DriveAnswer(
        tier.name,
        writes,
        question.system.node_devices,
        question.drive_writes_bytes or tier_endurance_bytes(question.system.tiers[tier.name]),
        _by_batch(question, points, way),
        {batch: tuple(wide.at(way, question.context, batch) for wide in widths) for batch in question.batches},
        tuple(points.at(way, context, question.batches[0]) for context in _contexts(question)),
        _hides_from(question, points, way, writes, "step"),
    )


def _contexts(question: Question) -> tuple[int, ...]:
    """Doublings from the range's begin to its end, which comes last; all divide among the devices."""
    low, high = question.context_range
    step = question.system.devices
    found = []
    while low < high:
        found.append(-(-low // step) * step)
        low *= 2
    return tuple(dict.fromkeys([*found, max(step, high // step * step)]))


def _wider(question: Question) -> Iterator[int]:
    """Widths for which the model's heads are whole, and that the devices divide."""
    for factor in _WIDTHS:
        width = round(factor * question.model.hidden)
        try:
            lower(at_width(question.model, width), Train(1, question.context), devices=question.system.devices)
        except InputError:
            continue
        yield width


def _hides_from(question: Question, points: _Points, way: Way, rate: float, rule: HideRule) -> int | None:
    low, high = question.context_range
    step = lcm(CONTEXT_STEP if high >= CONTEXT_STEP else 1, question.system.devices)
    if -(-low // step) > high // step:
        step = question.system.devices
    batch = question.batches[0]
    return from_which_on(lambda context: points.at(way, context, batch).margin(rate, rule), low, high, step)


class _Points:
    """Points of a question's model on its system, each found once: searches for several links ask at the same."""

    def __init__(self, model: Model, system: System) -> None:
        self.model, self.system = model, system
        self.at = lru_cache(maxsize=None)(self._at)

    def _at(self, way: Way, context: int, batch: int = 1) -> HidePoint:
        transform = _divided(self.model, self.system, way, context, batch)
        return hide_point(self.model, self.system, context, batch=batch, fidelity=way.fidelity, transform=transform)


def _divided(model: Model, system: System, way: Way, context: int, batch: int) -> Transform:
    """The step with what is computed again, divided by tokens between tensor-parallel parts."""

    def transform(workload: Workload) -> Workload:
        if way.checkpoint != "none":
            phase = Train(batch, context, way.checkpoint)
            workload = lower(model, phase, phase_formats(model, phase), devices=system.devices)
        return sequence_parallel(workload) if system.devices > 1 else workload

    return transform
