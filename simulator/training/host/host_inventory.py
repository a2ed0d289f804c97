"""What a training step that offloads to drives holds in host memory, part by part, and at its peak.

ZeRO-Infinity keeps parameters and optimizer states on drives. Host memory holds a pool of buffers that parameters pass
through, parameters that stay beside it, one flat buffer of fp32 gradients, buffers for the states of one subgroup, and
the activations that each layer's backward pass begins with. All of it is pinned, by PyTorch's caching allocator or in
pages, and stays so. After the backward pass the gradients are searched for infinities, in memory that is not pinned.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from mappers.planner.allocation.pinned import (
    Rounding,
    SwapPool,
    class_pool,
    overflow_check_bytes,
    replay_pinned,
    uniform_pool,
)
from mappers.planner.allocation.requests import Request
from simulator.training.host.state_tensors import parameter_tensors, zero_subgroups
from workloads.errors import InputError
from workloads.models.architecture import Model

__all__ = ["HostInventory", "HostRules", "HostStep", "host_inventory", "pinned_requests", "swap_pool"]

_HALF, _WIDE = 2, 4


@dataclass(frozen=True)
class HostRules:
    """How host memory is taken. ``classes``: the pool has buffers of each shape's size instead of the largest's.
    ``rounding`` is that of pinned requests. ``fused_check``: infinities are found without temporaries."""

    classes: bool = False
    rounding: Rounding = "power-of-two"
    fused_check: bool = False


@dataclass(frozen=True)
class HostStep:
    """One step: ``batch`` sequences of ``context`` tokens on each of ``devices``, which share the host.

    ``blocks`` are in flight at once beside embedding and head; ``subgroup`` parameters are updated at a time through
    ``state_buffers`` buffers; ``resident`` parameters of each device stay in host memory. Tensors below ``small``
    elements never leave the device. ``micro_batches`` follow one another.
    """

    batch: int
    context: int
    devices: int = 1
    blocks: int = 1
    subgroup: int = 1_000_000_000
    state_buffers: int = 4
    resident: int = 1_000_000_000
    small: int = 100_000
    micro_batches: int = 1
    gradient_bytes: int = _WIDE

    def __post_init__(self) -> None:
        for field in ("batch", "context", "devices", "blocks", "subgroup", "micro_batches"):
            if getattr(self, field) < 1:
                raise InputError(f"found {getattr(self, field)}", "1 or more", field)


@dataclass(frozen=True)
class HostInventory:
    """Bytes of all devices' parts: pinned ``pool``, ``parameters``, ``gradients``, ``states`` and ``activations``, and
    the ``check``'s temporaries. ``asked_bytes`` is what was asked for of the pinned ones."""

    parts: dict[str, int]
    asked_bytes: int
    pool: SwapPool

    @property
    def pinned_bytes(self) -> int:
        return sum(size for name, size in self.parts.items() if name != "check")

    @property
    def peak_bytes(self) -> int:
        """All that is pinned, and the check beside it: freed blocks stay pinned for the next step."""
        return sum(self.parts.values())


def swap_pool(model: Model, step: HostStep, *, classes: bool) -> SwapPool:
    """The pool of one device: its part of every tensor in flight has a buffer."""
    moved = [t for t in parameter_tensors(model) if t.elements >= step.small]
    flying = [t for t in moved if t.layer is None or t.layer < step.blocks]
    sizes = [_HALF * -(-tensor.elements // step.devices) for tensor in flying]
    return class_pool(sizes) if classes else uniform_pool(sizes)


def pinned_requests(model: Model, step: HostStep, *, classes: bool) -> Iterator[tuple[str, Request]]:
    """What one device asks of the pinned allocator in its first step, with the part that each request belongs to."""
    tensors = parameter_tensors(model)
    own = sum(-(-tensor.elements // step.devices) for tensor in tensors)
    for number, size in enumerate(swap_pool(model, step, classes=classes).requests):
        yield "pool", Request(True, f"pool.{number}", size)
    yield "parameters", Request(True, "parameters", _HALF * min(step.resident, own))
    yield "gradients", Request(True, "gradients", step.gradient_bytes * own)
    largest = max(zero_subgroups(tensors, step.devices, step.subgroup))
    for number in range(step.state_buffers):
        yield "states", Request(True, f"states.{number}", _WIDE * largest)
    kept = _HALF * step.batch * step.context * model.hidden
    layers = range(len(model.order))
    for _ in range(step.micro_batches):
        for layer in layers:
            yield "activations", Request(True, f"activations.{layer}", kept)
        for layer in reversed(layers):
            yield "activations", Request(False, f"activations.{layer}", kept)


def host_inventory(model: Model, step: HostStep, rules: HostRules) -> HostInventory:
    """What ``model`` needs of the host's memory. Raises `InputError` where it is no dense decoder."""
    requests = list(pinned_requests(model, step, classes=rules.classes))
    parts, asked = {}, 0
    for name in ("pool", "parameters", "gradients", "states", "activations"):
        found = replay_pinned([request for part, request in requests if part == name], rules.rounding)
        parts[name] = step.devices * found.reserved_bytes
        asked += step.devices * found.allocated_bytes
    own = sum(-(-tensor.elements // step.devices) for tensor in parameter_tensors(model))
    parts["check"] = 0 if rules.fused_check else step.devices * overflow_check_bytes(own, step.gradient_bytes)
    return HostInventory(parts, asked, swap_pool(model, step, classes=rules.classes))
