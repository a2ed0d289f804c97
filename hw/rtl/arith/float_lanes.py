"""Lanes of floating-point circuits: each piece of a lane in a module of its own, registers between pieces.

Small modules keep the emitted Verilog readable, and spare a simulator what has not changed.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from amaranth import Module

from hw.rtl.arith.float_parts import Parts
from hw.rtl.stream.pipeline import Pipeline

__all__ = ["each_lane", "held_lanes"]

T = TypeVar("T")
P = TypeVar("P", bound=Parts)


def each_lane(m: Module, name: str, lanes: int, build: Callable[[Module, int], T]) -> list[T]:
    """What ``build`` puts into the module of each lane, called ``name`` and the lane's number."""
    made = []
    for lane in range(lanes):
        part = Module()
        m.submodules[f"{name}_{lane}"] = part
        made.append(build(part, lane))
    return made


def held_lanes(pipe: Pipeline, parts: Sequence[P]) -> list[P]:
    """The ``parts`` of all lanes behind a stage of registers."""
    each = [part.named(f"lane{lane}") for lane, part in enumerate(parts)]
    registers = pipe.register(**{name: value for values in each for name, value in values.items()})
    return [part.held(registers, f"lane{lane}") for lane, part in enumerate(parts)]
