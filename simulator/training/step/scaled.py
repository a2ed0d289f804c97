"""A micro-batch's passes with other kernels: each takes so many times as long as the mapper says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from hw.spec.system import System
from mappers.mapped import MappedOp
from simulator.training.step.costs import piece_costs
from simulator.training.step.simulate import Prepared

__all__ = ["scaled"]


def scaled(prepared: Prepared, times: Callable[[MappedOp], float], system: System) -> Prepared:
    """``prepared`` with each operation ``times`` as long, which is what is added counted as overhead.

    A factor below 1 is taken off in the same way, so the operation's time alone has a meaning then.
    """
    layers = {
        name: replace(
            layer,
            ops={
                each: replace(op, overhead_s=op.overhead_s + (times(op) - 1) * op.time_s)
                for each, op in layer.ops.items()
            },
        )
        for name, layer in prepared.mapped.layers.items()
    }
    mapped = replace(prepared.mapped, layers=layers)
    return replace(prepared, mapped=mapped, costs=piece_costs(prepared.pieces, mapped, system))
