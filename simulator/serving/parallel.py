"""How one replica of a model is divided over devices, and how many replicas there are."""

from __future__ import annotations

from dataclasses import dataclass, fields

from workloads.errors import InputError
from workloads.models.architecture import MixtureOfExperts, Model
from workloads.models.lower_feed_forward import ExpertShare

__all__ = ["Parallel", "stages"]


@dataclass(frozen=True)
class Parallel:
    """Degrees of parallelism of a serving engine.

    ``tensor``: heads and feed-forward columns over so many devices (Megatron-LM, arXiv 1909.08053). ``pipeline``:
    layers in so many stages of equal length. ``expert``: experts divided over so many devices; where these are more
    than ``tensor``, the batch is divided over groups of ``tensor`` devices, whose tokens travel to the experts.
    ``data``: replicas, each with its own batch. ``imbalance`` is what the device with most tokens for its experts
    gets over the mean.
    """

    tensor: int = 1
    pipeline: int = 1
    expert: int = 1
    data: int = 1
    imbalance: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "imbalance":
                if not value >= 1:
                    raise InputError(f"{value!r} is no ratio of most to mean", "at least 1", field.name)
            elif isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise InputError(f"{value!r} is no count", "a whole number of at least 1", field.name)
        if max(self.tensor, self.expert) % min(self.tensor, self.expert):
            raise InputError(
                f"{self.expert} devices of experts beside {self.tensor} of attention",
                expected="one a multiple of the other",
                field="expert",
            )

    @property
    def groups(self) -> int:
        """Groups of devices in one replica that attend each to their own part of the batch."""
        return max(1, self.expert // self.tensor)

    @property
    def stage_devices(self) -> int:
        """Devices that hold one stage of one replica."""
        return max(self.tensor, self.expert)

    @property
    def replica_devices(self) -> int:
        """Devices of one replica."""
        return self.stage_devices * self.pipeline

    @property
    def devices(self) -> int:
        """All devices."""
        return self.replica_devices * self.data

    def expert_share(self, model: Model) -> ExpertShare | None:
        """How lowering divides the experts; None where each is cut over all devices of attention."""
        if self.expert == 1:
            return None
        if not any(isinstance(block.feed_forward, MixtureOfExperts) for block in model.blocks):
            raise InputError(f"{model.name} has no experts", expected="1", field="expert")
        return ExpertShare(self.expert, self.groups, self.imbalance)


def stages(model: Model, pipeline: int) -> tuple[dict[int, int], ...]:
    """Per stage, how often each of the model's blocks stands in it; lengths differ by one layer at most.

    Raises `InputError` for more stages than layers.
    """
    layers = len(model.order)
    if pipeline > layers:
        raise InputError(f"{pipeline} stages for {layers} layers", f"at most {layers}", "pipeline")
    found = []
    for stage in range(pipeline):
        counts: dict[int, int] = {}
        for block in model.order[stage * layers // pipeline : (stage + 1) * layers // pipeline]:
            counts[block] = counts.get(block, 0) + 1
        found.append(counts)
    return tuple(found)
