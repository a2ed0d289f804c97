"""What devices that hold the same piece of a model exchange: weights that are divided over them, and gradients.

Data- and context-parallel devices hold the same piece and see different tokens. Weights in the format they are
computed in are gathered, gradients in the format they are kept in are scattered, or reduced to all where they are
not divided (ZeRO, arXiv 1910.02054, sections 5 and 7). Experts are the same on fewer devices: those of other groups.
"""

from __future__ import annotations

from dataclasses import dataclass

from hw.spec.system import System
from simulator.interconnect.groups import Group, group_time
from simulator.training.step.layout import Parallel
from simulator.training.step.pieces import Piece, Pieces

__all__ = ["PieceExchange", "piece_exchanges", "sharing_groups"]


@dataclass(frozen=True)
class PieceExchange:
    """Seconds to gather a piece's weights on all devices that share them, to scatter its gradients, and to reduce them
    to all; and the bytes a device sends for each."""

    gather_s: float = 0.0
    scatter_s: float = 0.0
    reduce_s: float = 0.0
    gather_bytes: float = 0.0
    scatter_bytes: float = 0.0
    reduce_bytes: float = 0.0


def sharing_groups(parallel: Parallel) -> tuple[Group, Group]:
    """Devices that share weights, and those that share an expert: tensor-parallel devices are neighbours, those with
    other tokens come next, stages are farthest apart."""
    holders = parallel.context * parallel.data
    spread = parallel.tensor * parallel.expert
    return Group(holders, parallel.tensor), Group(holders // parallel.expert, spread)


def piece_exchanges(pieces: Pieces, parallel: Parallel, system: System) -> dict[str, PieceExchange]:
    """By piece what its exchanges take."""
    return {piece.name: _exchange(piece, parallel, system) for piece in pieces.distinct()}


def _exchange(piece: Piece, parallel: Parallel, system: System) -> PieceExchange:
    seconds, sent = dict.fromkeys(_KINDS, 0.0), dict.fromkeys(_KINDS, 0.0)
    experts = piece.expert_parameters if parallel.expert > 1 else 0.0
    for group, parameters in zip(sharing_groups(parallel), (piece.parameters - experts, experts), strict=True):
        if group.size == 1 or not parameters:
            continue
        share = parameters / piece.parameters
        for kind, whole in zip(_KINDS, (piece.weight_bytes, piece.gradient_bytes, piece.gradient_bytes), strict=True):
            call = group_time(system, kind, share * whole, group)
            seconds[kind] += call.time_s
            sent[kind] += call.sent_bytes
    return PieceExchange(*seconds.values(), *sent.values())


_KINDS = ("all_gather", "reduce_scatter", "all_reduce")
