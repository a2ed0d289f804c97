"""Seconds of a piece's passes on a device of a stage: kernels, exchanges among its devices, and what of these shows.

Kernels run one after another in program order, exchanges beside them in theirs; each begins when what it waits for is
done. An exchange hides behind kernels that do not wait for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from hw.spec.system import System
from mappers.mapped import MappedOp, MappedWorkload
from simulator.training.pieces import Piece, Pieces, makes_weights_gradient, split_head
from simulator.transport import collective_cost
from workloads.workload import Collective, Layer, Step

__all__ = ["NOTHING", "PassCost", "PieceCost", "piece_costs"]


@dataclass(frozen=True)
class PassCost:
    """``kernels_s`` and ``exchange_s`` on their own, ``span_s`` together from the first start to the last end."""

    kernels_s: float
    exchange_s: float
    span_s: float

    @property
    def exposed_s(self) -> float:
        """Seconds in which no kernel runs."""
        return self.span_s - self.kernels_s

    def __add__(self, other: PassCost) -> PassCost:
        return PassCost(
            self.kernels_s + other.kernels_s, self.exchange_s + other.exchange_s, self.span_s + other.span_s
        )


NOTHING = PassCost(0.0, 0.0, 0.0)


@dataclass(frozen=True)
class PieceCost:
    """Passes of one micro-batch; ``backward`` is the whole one, ``inputs`` and ``weights`` its two parts apart;
    ``update_s`` of all the piece's parameters, once a step."""

    forward: PassCost
    backward: PassCost
    inputs: PassCost
    weights: PassCost
    update_s: float


def piece_costs(pieces: Pieces, mapped: MappedWorkload, system: System, slowdown: float = 1.0) -> dict[str, PieceCost]:
    """By piece what its passes cost, each distinct one once; kernels take ``slowdown`` times what they take alone."""
    return {piece.name: _cost(piece, mapped, system, slowdown) for piece in pieces.distinct()}


def _cost(piece: Piece, mapped: MappedWorkload, system: System, slowdown: float) -> PieceCost:
    devices = mapped.workload.devices
    forward, backward = piece.forward, piece.backward
    ahead, behind = frozenset(s.name for s in forward.steps), frozenset(s.name for s in backward.steps)
    if piece.is_head:
        ahead, behind = split_head(forward)
    weights = frozenset(op.name for op in backward.ops if op.name in behind and makes_weights_gradient(backward, op))

    def cost(layer: Layer, names: Iterable[str]) -> PassCost:
        return _span(layer, frozenset(names), mapped.layers[layer.name].ops, _exchanges(system, devices), slowdown)

    update = slowdown * sum(op.time_s for op in mapped.layers[piece.update.name].ops.values())
    return PieceCost(
        cost(forward, ahead),
        cost(backward, behind),
        cost(backward, behind - weights),
        cost(backward, weights),
        piece.updates * update,
    )


def _exchanges(system: System, devices: int) -> Callable[[Collective], tuple[float, float]]:
    def seconds(step: Collective) -> tuple[float, float]:
        _, wire_s, latency_s = collective_cost(system, step, devices)
        return wire_s, latency_s

    return seconds


def _span(
    layer: Layer,
    names: frozenset[str],
    ops: Mapping[str, MappedOp],
    exchange: Callable[[Collective], tuple[float, float]],
    slowdown: float,
) -> PassCost:
    ends: dict[str, float] = {}
    free = {True: 0.0, False: 0.0}
    busy = {True: 0.0, False: 0.0}
    for step in layer.steps:
        if step.name not in names:
            continue
        on_wire = isinstance(step, Collective)
        holds, after = exchange(step) if isinstance(step, Collective) else (slowdown * ops[step.name].time_s, 0.0)
        start = max(free[on_wire], _ready(step, ends))
        free[on_wire] = start + holds
        ends[step.name] = start + holds + after
        busy[on_wire] += holds + after
    return PassCost(busy[False], busy[True], max(ends.values(), default=0.0))


def _ready(step: Step, ends: Mapping[str, float]) -> float:
    """When all is done that the step waits for here: what is not among the steps was done before."""
    return max((ends[name] for name in step.after if name in ends), default=0.0)
