"""Time of a training step's layers with everything in the memory of the device: operations one after another."""

from __future__ import annotations

from hw.spec.system import System
from mappers.map_workload import map_workload
from workloads.workload import Workload

__all__ = ["layer_times"]


def layer_times(workload: Workload, system: System, *, fidelity: str = "kernel") -> dict[str, float]:
    """Seconds of one execution of each distinct layer, by its name, mapped at ``fidelity`` roofline or kernel.

    Nothing overlaps and nothing is brought from elsewhere: what kernels of one layer take in a benchmark. Collectives
    are left out.
    """
    mapped = map_workload(workload, system, fidelity=fidelity)
    return {name: sum(op.time_s for op in layer.ops.values()) for name, layer in mapped.layers.items()}
