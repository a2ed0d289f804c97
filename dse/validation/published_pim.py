"""Models behind the published figures of memories that compute."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import lru_cache

from dse.validation.published import Subject
from simulator.memory.pim.device import PimDevice
from simulator.memory.pim.gemv import pim_eltwise, pim_gemv
from simulator.memory.pim.host import host_eltwise, host_gemv
from simulator.memory.pim.presets import load_pim

__all__ = ["PIM"]

_SIZE, _ELEMENTS = 4096, 1 << 20
_STACKS = 5  # of Duplex's published totals


@lru_cache
def _device(name: str) -> PimDevice:
    return load_pim(name)


@lru_cache
def _cycles() -> dict[str, int]:
    pim = _device("hbm-pim")
    return {
        "gemv inside": pim_gemv(pim, _SIZE, _SIZE).cycles,
        "gemv host": host_gemv(pim, _SIZE, _SIZE).cycles,
        "add inside": pim_eltwise(pim, _ELEMENTS).cycles,
        "add host": host_eltwise(pim, _ELEMENTS).cycles,
    }


def _count(key: str) -> Callable[[], float]:
    return lambda: _cycles()[key]


def _gain(operation: str) -> Callable[[], float]:
    return lambda: _cycles()[f"{operation} host"] / _cycles()[f"{operation} inside"]


def _bandwidth(elements: int, phase: int) -> float:
    """GB/s over 16 channels of a phase of an addition: 0 reads 4 bytes an element, 1 writes 2."""
    run = host_eltwise(replace(_device("hbm-pim"), channels=16), elements).phases[phase]
    return run.bandwidth_bytes_per_s / 1e9


PIM = Subject(
    "Accuracy of memories that compute",
    """Samsung's two benchmarks on 64 pseudo-channels of HBM-PIM, in memory and by a host that reads and writes the same
memory, beside cycles we got by running Samsung's own PIMSimulator. Timing, units, registers and modes are stated by its
configuration and source (`simulator/memory/pim/devices/pim.yaml`); commands are issued one by one on the same bank
state, nothing is an efficiency, and no constant is fitted to a cycle count. Both are simulators, not silicon. Errors
are ours / theirs - 1.
""",
    {
        **{key: _count(key) for key in ("gemv inside", "gemv host", "add inside", "add host")},
        "gemv gain": _gain("gemv"),
        "add gain": _gain("add"),
        "read 16 channels": lambda: _bandwidth(1 << 21, 0),
        "write 16 channels": lambda: _bandwidth(1 << 23, 1),
        "duplex bandwidth": lambda: _STACKS * _device("duplex-logic-pim").inside_bytes_per_s / 1e12,
        "duplex rate": lambda: 2 * _device("duplex-logic-pim").multiply_adds_per_s / 1e12,
    },
)
