"""Where activations begin to leave for nothing: against context, width, batch, and the rate of what they leave over.

A layer's work grows with the square of the context once attention counts, what it keeps grows with the context alone:
from some context on moving it hides behind computation, whatever the link. Its work grows with the square of the width
as well, what it keeps with the width. Two rules say what must fit behind what:

- "forward": what a layer keeps leaves during one layer's forward pass (MEMO, arXiv 2407.12117, its first constraint;
  each direction of the link for itself, and backward passes are longer);
- "step": it leaves and comes back during both passes, on a link whose directions take turns (k of PipeOffload, arXiv
  2503.01328; the write bandwidth of SSDTrain, arXiv 2408.10013, section III-D, is the same number).

All functions return data: curves as tuples of points, crossings as numbers, None where there is none in the range.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal, get_args

from hw.spec.system import System
from mappers.map_workload import map_workload
from simulator.policy import Transform, unchanged
from simulator.transport import collective_cost
from workloads.errors import InputError, unknown_name
from workloads.models.architecture import Model
from workloads.models.lower import lower
from workloads.models.stored_formats import phase_formats
from workloads.phases import Train
from workloads.workload import Layer, Op, Workload

__all__ = [
    "HidePoint",
    "HideRule",
    "batch_curve",
    "context_curve",
    "context_where_offload_hides",
    "from_which_on",
    "hide_point",
    "width_curve",
    "width_where_offload_hides",
]

HideRule = Literal["forward", "step"]


@dataclass(frozen=True)
class HidePoint:
    """The layers of a model on one device: seconds of their forward and backward passes, bytes they keep in between.

    Embedding and head are left out: they keep nothing that could leave.
    """

    model: str
    hidden: int
    context: int
    batch: int
    forward_s: float
    backward_s: float
    kept_bytes: float

    def needed_bytes_per_s(self, rule: HideRule = "step") -> float:
        """The rate of a link at which all that is kept just hides. Raises `InputError` for an unknown rule."""
        if rule not in get_args(HideRule):
            raise unknown_name("rule", rule, get_args(HideRule), field="rule")
        if rule == "forward":
            return self.kept_bytes / self.forward_s
        return 2 * self.kept_bytes / (self.forward_s + self.backward_s)

    def ratio(self, link_bytes_per_s: float, rule: HideRule = "step") -> float:
        """k: seconds that moving takes over those it may take. At 1 or less all hides, above only the part 1 / k."""
        if not link_bytes_per_s > 0:
            raise InputError(f"found {link_bytes_per_s:g} bytes per second", "a rate above 0", "link")
        return self.needed_bytes_per_s(rule) / link_bytes_per_s

    def margin(self, link_bytes_per_s: float, rule: HideRule = "step") -> float:
        """1 - k: the share of the time that is left, below 0 where moving takes longer."""
        return 1 - self.ratio(link_bytes_per_s, rule)

    def drives(self, write_bytes_per_s: float, rule: HideRule = "step") -> int:
        """How many drives of this write bandwidth a device needs so that all hides."""
        return max(1, -int(-self.ratio(write_bytes_per_s, rule) // 1))


def hide_point(
    model: Model,
    system: System,
    context: int,
    *,
    batch: int = 1,
    fidelity: str = "roofline",
    transform: Transform = unchanged,
) -> HidePoint:
    """A training step of ``batch`` sequences of ``context`` tokens, tensor parallel over the system's devices;
    ``transform`` changes it first, as sequence parallelism does (`workloads.transforms`).

    Raises `InputError` for a model or split without gradients here, and for an unknown fidelity.
    """
    phase = Train(batch, context)
    workload = transform(lower(model, phase, phase_formats(model, phase), devices=system.devices))
    mapped = map_workload(workload, system, fidelity=fidelity)
    forward = backward = kept = 0.0
    for layer, count in _keeping(workload):
        seconds = 0.0
        for step in layer.steps:
            if isinstance(step, Op):
                seconds += mapped.layers[layer.name].ops[step.name].time_s
            else:
                _, wire_s, beside_s = collective_cost(system, step, workload.devices)
                seconds += wire_s + beside_s
        own = sum(tensor.bytes for tensor in layer.stored if tensor.role == "activations")
        kept += count * own
        forward, backward = (forward + count * seconds, backward) if own else (forward, backward + count * seconds)
    return HidePoint(model.name, model.hidden, context, batch, forward, backward, kept)


def _keeping(workload: Workload) -> Iterator[tuple[Layer, int]]:
    """Layers that keep activations, or read kept ones, with how often each stands in the step."""
    for run in workload.runs:
        for layer in run.pattern:
            if any(tensor.role == "activations" for tensor in layer.stored):
                yield layer, run.count


def context_curve(
    model: Model,
    system: System,
    contexts: Iterable[int],
    *,
    batch: int = 1,
    fidelity: str = "roofline",
    transform: Transform = unchanged,
) -> tuple[HidePoint, ...]:
    """Points by context."""
    return tuple(
        hide_point(model, system, context, batch=batch, fidelity=fidelity, transform=transform) for context in contexts
    )


def batch_curve(
    model: Model,
    system: System,
    batches: Iterable[int],
    *,
    context: int,
    fidelity: str = "roofline",
    transform: Transform = unchanged,
) -> tuple[HidePoint, ...]:
    """Points by batch."""
    return tuple(
        hide_point(model, system, context, batch=batch, fidelity=fidelity, transform=transform) for batch in batches
    )


def width_curve(
    make: Callable[[int], Model],
    system: System,
    widths: Iterable[int],
    *,
    context: int,
    batch: int = 1,
    fidelity: str = "roofline",
    transform: Transform = unchanged,
) -> tuple[HidePoint, ...]:
    """Points by width; ``make`` gives the model of a width."""
    return tuple(
        hide_point(make(width), system, context, batch=batch, fidelity=fidelity, transform=transform)
        for width in widths
    )


def from_which_on(margin: Callable[[int], float], low: int, high: int, step: int = 1) -> int | None:
    """The smallest multiple of ``step`` in [low, high] from which on ``margin`` is 0 or more, None where it is below 0
    at ``high``.

    Halves are tried from ``high`` down; below the first that fails nothing is asked, so that where little work hides
    for other reasons (weights that are read for a few tokens) no crossing is found. Between a half that fails and its
    double ``margin`` must rise. Raises `InputError` for an empty range.
    """
    first, last = -(-low // step), high // step
    if step < 1 or first > last or first < 1:
        raise InputError(f"no multiple of {step} in {low} to {high}", "a range with one", "low")
    if margin(last * step) < 0:
        return None
    good = last
    while good > first:
        half = max(first, good // 2)
        if margin(half * step) < 0:
            bad = half
            while good - bad > 1:
                middle = (bad + good) // 2
                bad, good = (middle, good) if margin(middle * step) < 0 else (bad, middle)
            return good * step
        good = half
    return good * step


def context_where_offload_hides(
    model: Model,
    system: System,
    link_bytes_per_s: float,
    *,
    batch: int = 1,
    rule: HideRule = "step",
    low: int = 1024,
    high: int = 1 << 20,
    step: int = 64,
    fidelity: str = "roofline",
    transform: Transform = unchanged,
) -> int | None:
    """The context from which on all that the layers keep leaves for nothing over a link of this rate."""

    def margin(context: int) -> float:
        point = hide_point(model, system, context, batch=batch, fidelity=fidelity, transform=transform)
        return point.margin(link_bytes_per_s, rule)

    return from_which_on(margin, low, high, step)


def width_where_offload_hides(
    make: Callable[[int], Model],
    system: System,
    link_bytes_per_s: float,
    *,
    context: int,
    batch: int = 1,
    rule: HideRule = "step",
    low: int = 1024,
    high: int = 32768,
    step: int = 1024,
    fidelity: str = "roofline",
    transform: Transform = unchanged,
) -> int | None:
    """The width from which on all that the layers keep leaves for nothing; ``make`` gives the model of a width."""

    def margin(width: int) -> float:
        point = hide_point(make(width), system, context, batch=batch, fidelity=fidelity, transform=transform)
        return point.margin(link_bytes_per_s, rule)

    return from_which_on(margin, low, high, step)
