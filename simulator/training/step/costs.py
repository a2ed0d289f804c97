"""Seconds of a piece's passes on a device of a stage: kernels, exchanges among its devices, and what of these shows.

Kernels run one after another in program order, exchanges beside them in theirs; each begins when what it waits for is
done. An exchange hides behind kernels that do not wait for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from hw.spec.system import System
from mappers.mapped import MappedOp, MappedWorkload
from simulator.training.step.pieces import Piece, Pieces, makes_weights_gradient, split_head
from simulator.transport import collective_cost
from workloads.workload import Collective, Layer

__all__ = ["PassCost", "PieceCost", "piece_costs"]


@dataclass(frozen=True)
class PassCost:
    """``kernels_s`` and ``exchange_s`` on their own, ``span_s`` together from the first start to the last end;
    ``sent_bytes`` are those of the exchanges."""

    kernels_s: float
    exchange_s: float
    span_s: float
    sent_bytes: float = 0.0

    @property
    def exposed_s(self) -> float:
        """Seconds in which no kernel runs."""
        return self.span_s - self.kernels_s


@dataclass(frozen=True)
class PieceCost:
    """Passes of one micro-batch; ``backward`` is the whole one, ``inputs`` and ``weights`` its two parts apart;
    ``update_s`` of all the piece's parameters, once a step."""

    forward: PassCost
    backward: PassCost
    inputs: PassCost
    weights: PassCost
    update_s: float


def piece_costs(pieces: Pieces, mapped: MappedWorkload, system: System) -> dict[str, PieceCost]:
    """By piece what its passes cost, each distinct one once."""
    return {piece.name: _cost(piece, mapped, system) for piece in pieces.distinct()}


def _cost(piece: Piece, mapped: MappedWorkload, system: System) -> PieceCost:
    devices = mapped.workload.devices
    forward, backward = piece.forward, piece.backward
    ahead, behind = frozenset(s.name for s in forward.steps), frozenset(s.name for s in backward.steps)
    if piece.is_head:
        ahead, behind = split_head(forward)
    weights = frozenset(op.name for op in backward.ops if op.name in behind and makes_weights_gradient(backward, op))

    def cost(layer: Layer, names: Iterable[str]) -> PassCost:
        return _span(layer, frozenset(names), mapped.layers[layer.name].ops, system, devices)

    update = sum(op.time_s for op in mapped.layers[piece.update.name].ops.values())
    return PieceCost(
        cost(forward, ahead),
        cost(backward, behind),
        cost(backward, behind - weights),
        cost(backward, weights),
        piece.updates * update,
    )


def _span(layer: Layer, names: frozenset[str], ops: Mapping[str, MappedOp], system: System, devices: int) -> PassCost:
    ends: dict[str, float] = {}
    kernels_free = wire_free = kernels = exchanged = sent = 0.0
    for step in layer.steps:
        if step.name not in names:
            continue
        ready = max((ends[name] for name in step.after if name in ends), default=0.0)  # others were done before
        if isinstance(step, Collective):
            size, wire_s, latency_s = collective_cost(system, step, devices)
            wire_free = max(wire_free, ready) + wire_s
            ends[step.name] = wire_free + latency_s
            exchanged, sent = exchanged + wire_s + latency_s, sent + size
        else:
            kernels_free = max(kernels_free, ready) + ops[step.name].time_s
            ends[step.name] = kernels_free
            kernels += ops[step.name].time_s
    return PassCost(kernels, exchanged, max(ends.values(), default=0.0), sent)
