"""What a mapper returns: for each operation its engines, bytes at its home tier, time, energy and bound.

A mapped operation assumes its operands in its home tier; moving them there is the schedule's work.
"""

from __future__ import annotations

from dataclasses import dataclass

from workloads.workload import Layer, Op, Workload

__all__ = ["EngineShare", "MappedLayer", "MappedOp", "MappedWorkload"]


@dataclass(frozen=True)
class EngineShare:
    """The part of an operation that one engine computes."""

    engine: str
    operations: float
    seconds: float
    energy_j: float


@dataclass(frozen=True)
class MappedOp:
    """One operation on its engines, which all compute on data in the tier ``home``.

    The engines work at the same time on parts of one fused cascade, and the home tier streams meanwhile, so the time
    is the longest of them plus the launch overhead. ``port_s`` is the home port's time for all bytes.
    ``inside_bytes`` are read by an engine inside the memory and do not cross the port. ``spread`` holds the factors on
    the time between which 80 % of measured kernels of its kind lie (1 and 1: not known).
    """

    op: Op
    home: str
    shares: tuple[EngineShare, ...]
    read_bytes: float
    write_bytes: float
    port_s: float
    overhead_s: float
    inside_bytes: float = 0.0
    spread: tuple[float, float] = (1.0, 1.0)

    @property
    def compute_s(self) -> float:
        """Time of the busiest engine."""
        return max((share.seconds for share in self.shares), default=0.0)

    @property
    def time_s(self) -> float:
        """Time of one execution with its operands in the home tier."""
        return max(self.compute_s, self.port_s) + self.overhead_s

    @property
    def interval_s(self) -> tuple[float, float]:
        """Low and high estimates of the time, by ``spread``."""
        return self.time_s * self.spread[0], self.time_s * self.spread[1]

    @property
    def bound(self) -> str:
        """What takes longest: an engine's name, the home tier's name, or ``overhead``."""
        times = {share.engine: share.seconds for share in self.shares}
        times[self.home] = self.port_s
        slowest = max(times, key=lambda name: times[name])
        return "overhead" if self.overhead_s > times[slowest] else slowest


@dataclass(frozen=True)
class MappedLayer:
    """A layer with its operations mapped, by name."""

    layer: Layer
    ops: dict[str, MappedOp]


@dataclass(frozen=True)
class MappedWorkload:
    """A workload with each distinct layer mapped once, at the stated fidelity.

    ``at_roofline`` lists the operations (``layer.op``) that stayed below that fidelity, by the reason; ``remarks`` are
    the mapper's own, such as whose constants it took.
    """

    workload: Workload
    fidelity: str
    home: str
    layers: dict[str, MappedLayer]
    at_roofline: tuple[tuple[str, tuple[str, ...]], ...] = ()
    remarks: tuple[str, ...] = ()

    def notes(self) -> list[str]:
        """What a reader of the result must know: the workload's own notes, and what stayed at the roofline and why."""
        return [
            *self.workload.notes,
            *self.remarks,
            *(
                f"{len(names)} operation{'s' if len(names) > 1 else ''} at roofline fidelity ({reason}): "
                f"{', '.join(names)}"
                for reason, names in self.at_roofline
            ),
        ]

    def __str__(self) -> str:
        lines = [f"{self.workload.model} mapped at {self.fidelity} fidelity, home tier {self.home}"]
        for name, layer in self.layers.items():
            for op in layer.ops.values():
                engines = "+".join(share.engine for share in op.shares)
                lines.append(f"{name:14} {op.op.name:16} {engines:16} {op.time_s * 1e6:10.2f} us, bound by {op.bound}")
        return "\n".join(lines)
