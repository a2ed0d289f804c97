"""Policies of ``tiercade serve --offload``: what they change in steps, and the room they leave for keys and values."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from hw.spec.system import System
from mappers.planner.placement import tier_capacity
from simulator.policies import named_policy
from simulator.policy import Policy
from simulator.road import simulate
from simulator.serving.kv.sizes import KvSizes
from simulator.serving.kv.transforms import (
    KeepShare,
    KvTransform,
    PruneChannels,
    Quantise,
    SelectPages,
    SinksAndWindow,
    StreamingHeads,
    transformed,
)
from workloads.errors import InfeasibleError, InputError
from workloads.formats import FormatChoice
from workloads.models.architecture import Model
from workloads.phases import Decode
from workloads.workload import Workload

__all__ = ["Offload", "kv_room", "offload"]

_TRANSFORMS: dict[str, Callable[[list[str]], KvTransform]] = {
    "window": lambda words: SinksAndWindow(int(words[0]), int(words[1])),
    "h2o": lambda words: KeepShare(float(words[0])),
    "duo": lambda words: StreamingHeads(float(words[0]), int(words[1]), int(words[2])),
    "quest": lambda words: SelectPages(int(words[0]), *(int(word) for word in words[1:])),
    "think": lambda words: PruneChannels(1 - float(words[0])),
    "kv-format": lambda words: Quantise(words[0], words[0]),
}
_NOT_SERVED = ("half-batches", "zig-zag", "relay")


@dataclass(frozen=True)
class Offload:
    """A policy, and how much smaller keys and values are under it."""

    policy: Policy
    transforms: tuple[KvTransform, ...]

    def sizes(self, plain: KvSizes) -> KvSizes:
        """What is kept of a sequence."""
        return transformed(plain, *self.transforms)


def offload(texts: Sequence[str], system: System) -> Offload:
    """The policy that ``texts`` name, one after another, as ``tiercade simulate --policy`` takes them.

    What shrinks the cache of decode steps leaves the computing of prompts as it is. Raises `InputError` for policies
    that need whole batches.
    """
    policy = Policy()
    transforms = []
    for text in texts:
        name, _, rest = text.partition(":")
        if name in _NOT_SERVED:
            raise InputError(f"{name} divides a batch that changes from step to step", "another policy", "offload")
        before = policy.transform
        try:
            policy = named_policy(policy, system, text)
        except InputError as error:
            raise replace(error, field="offload") if error.file is None else error from None
        if policy.transform is not before:
            policy = replace(policy, transform=_for_decodes(policy.transform, before))
        if name in _TRANSFORMS:
            try:
                transforms.append(_TRANSFORMS[name](rest.split(",")))
            except InputError as error:
                raise replace(error, field="offload") from None
    return Offload(policy, tuple(transforms))


def _for_decodes(
    changed: Callable[[Workload], Workload], before: Callable[[Workload], Workload]
) -> Callable[[Workload], Workload]:
    return lambda workload: (changed if isinstance(workload.phase, Decode) else before)(workload)


def kv_room(
    model: Model, system: System, formats: FormatChoice, policy: Policy, share: float, fidelity: str
) -> tuple[str, float]:
    """The tier in which ``policy`` puts keys and values, and the bytes left for them there over all devices.

    Of ``share`` of the tier; weights, room for what is streamed and activations of a step come first. Raises
    `InfeasibleError` when nothing is left.
    """
    depth = "roofline" if fidelity == "kernel" else fidelity
    result = simulate(model, Decode(1, 1), system, formats=formats, policy=policy, fidelity=depth)
    plan = result.plan
    placed = plan.bytes_by_role()["kv_cache"]
    tier = max(placed, key=placed.__getitem__)
    beside = plan.resident_bytes[tier] - placed[tier]
    if tier == plan.home:
        beside += plan.buffer_bytes + plan.cache_bytes + plan.workspace_bytes
    room = share * tier_capacity(system, tier) - beside
    if room <= 0:
        available = share * tier_capacity(system, tier)
        hint = "another tier for keys and values, or fewer weights there"
        raise InfeasibleError(f"tier {tier!r} has no room for keys and values", beside, available, "bytes", hint)
    return tier, room * system.devices
