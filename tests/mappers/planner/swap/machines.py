"""The machine MEMO was run on, as far as it is stated: 8 A800, which are A100 with 400 GB/s of NVLink."""

from __future__ import annotations

from hw.spec.load import load_system, override
from mappers.planner.swap import KERNELS, Machine, machine_of

__all__ = ["a800"]


def a800(kernels: str = "attained", *changes: str, drives: bool = True) -> Machine:
    """Eight of them with 2 TB of host memory; 200 GB/s in each direction of NVLink."""
    changed = ("devices=8", "fabric.bandwidth=200 GB/s", *changes)
    return machine_of(override(load_system("a100-80gb-sxm"), changed), KERNELS[kernels], drives=drives)
