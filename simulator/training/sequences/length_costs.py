"""What sequences of any length cost a rank: a token and a pair of tokens, taken off one lowered micro-batch.

A rank is the devices that divide a model by tensors. Everything but attention grows with the tokens, attention with
the pairs of them under the causal mask; both are what one sequence of ``tokens`` takes at the given fidelity, forward
and backward, divided by how many it has.
"""

from __future__ import annotations

from dataclasses import replace

from hw.spec.system import System
from mappers.assign import fastest_engines
from mappers.map_workload import map_workload
from mappers.planner.placement import path_bandwidth
from simulator.interconnect.groups import send_time
from simulator.training.sequences.length_balance import LengthCosts
from simulator.training.step.costs import piece_costs
from simulator.training.step.layout import Parallel
from simulator.training.step.pieces import pieces_of
from simulator.training.step.setup import Setup, lowered
from workloads.models.architecture import Model
from workloads.phases import Train
from workloads.workload import Collective, Layer

__all__ = ["length_costs", "passed_bytes"]

_RANKS = 2
"""Ranks of the sequence whose exchanges are counted: the fewest that have any."""


def length_costs(
    model: Model, tokens: int, system: System, *, tensor: int = 1, host: str = "ddr", fidelity: str = "kernel"
) -> LengthCosts:
    """Costs of ``model`` on ranks of ``tensor`` devices of ``system``, from a sequence of ``tokens`` on one rank.

    Keys and values pass to the next rank at the rate of the slowest such way. What is kept goes to the tier ``host``.
    Raises what lowering raises, and `InputError` for a system without a way to others or to the host.
    """
    setup = Setup(model, Train(1, tokens), 1, Parallel(tensor=tensor, sequence=tensor > 1))
    workload = lowered(setup)
    mapped = map_workload(workload, system, fastest_engines, fidelity)
    pieces = pieces_of(workload)
    costs = piece_costs(pieces, mapped, system)
    attention_s = whole_s = 0.0
    for piece in (pieces.embedding, *pieces.layers, pieces.head):
        passes = costs[piece.name]
        whole_s += passes.forward.span_s + passes.backward.span_s
        for layer in {piece.forward.name: piece.forward, piece.backward.name: piece.backward}.values():
            times = mapped.layers[layer.name].ops
            attention_s += sum(times[op.name].time_s for op in layer.ops if op.kind == "attention")
    kept = sum(piece.kept_bytes for piece in pieces.layers)
    share = tokens // _RANKS
    passed = passed_bytes(setup, share)
    return LengthCosts(
        token_s=(whole_s - attention_s) / tokens,
        pair_s=attention_s / (tokens * (tokens + 1) / 2),
        passed_s=send_time(system, passed, tensor) / share,
        kept_bytes=kept / tokens,
        host_rate=path_bandwidth(system, mapped.home, host),
        layers=len(pieces.layers),
    )


def passed_bytes(setup: Setup, share: int) -> float:
    """Bytes that a device sends to the next rank, over all layers, for ``share`` tokens of its own."""
    phase = replace(setup.phase, context=share * _RANKS)
    pieces = pieces_of(lowered(replace(setup, phase=phase, parallel=replace(setup.parallel, context=_RANKS))))
    return sum(_ring_bytes(layer) for piece in pieces.layers for layer in (piece.forward, piece.backward))


def _ring_bytes(layer: Layer) -> float:
    """Bytes of the whole of what passes round, by ranks."""
    between = (step for step in layer.steps if isinstance(step, Collective) and step.devices == _RANKS)
    return sum(step.bytes for step in between if "keys_values" in step.name) / _RANKS
