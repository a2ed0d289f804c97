"""Joules of a training step over all its devices, by what they are spent in.

Operations cost what the mapper says of them, on every device and for every micro-batch; their bytes are those of the
home tier. What devices send to each other is read from the home tier, crosses the fabric or the network, and is written
to the home tier, as `simulator.schedule` has it for one group of devices. Stragglers change times, not what is
switched: they cost idle power alone. Where experts are unevenly used all devices are counted as the fullest.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

import numpy as np

from hw.spec.system import System
from mappers.mapped import MappedOp, MappedWorkload
from simulator.interconnect.groups import Group, group_time, reach_of
from simulator.training.pipeline.schedules import Schedule
from simulator.training.step.exchange import sharing_groups
from simulator.training.step.pieces import Piece, Pieces
from simulator.training.step.setup import Setup
from simulator.transport import transfer_energy_j
from workloads.workload import Collective, Layer

__all__ = ["step_energy"]

_Joules = dict[str, float]


def step_energy(
    setup: Setup,
    system: System,
    pieces: Pieces,
    mapped: MappedWorkload,
    schedule: Schedule,
    *,
    boundary_bytes: float,
    latency_s: float,
) -> dict[str, float]:
    """Joules by engine, tier, link, ``fabric``, ``network`` and, for idle power over ``latency_s``, ``static``.

    ``boundary_bytes`` is what a device sends to the next stage's for one micro-batch.
    """
    parallel, count = setup.parallel, setup.micro_batches
    each: _Joules = {}  # of one device of every stage together
    for piece, many in Counter((pieces.embedding, *pieces.layers, pieces.head)).items():
        passes = _layer(piece.forward, mapped, system)
        if not piece.is_head:
            _add(passes, _layer(piece.backward, mapped, system), 1)
        _add(each, passes, many * count)
        _add(each, _shared_update(setup, system, piece, mapped), many)
        _add(each, _weights_and_gradients(setup, system, piece, mapped.home), many)
        _add(each, _away(setup, system, piece, mapped.home), many)
    total: _Joules = {}
    _add(total, each, parallel.stage_devices)
    for fraction in _hops(setup, system, schedule):
        sent = 2 * count * boundary_bytes * parallel.stage_devices  # hidden states on, their gradients back
        _add(total, _sent(system, mapped.home, sent, fraction), 1)
    found = {name: joules for name, joules in total.items() if joules}
    return {**found, "static": system.idle_power_w * latency_s}


def _add(total: _Joules, part: Mapping[str, float], times: float) -> None:
    for name, joules in part.items():
        total[name] = total.get(name, 0.0) + times * joules


def _layer(layer: Layer, mapped: MappedWorkload, system: System) -> _Joules:
    """One run of a layer on one device, with what it exchanges within its group."""
    found: _Joules = {}
    for op in mapped.layers[layer.name].ops.values():
        _add(found, _op(op, system), 1)
    for step in layer.steps:
        if isinstance(step, Collective):
            group = Group(step.devices or mapped.workload.devices, step.stride)
            _add(found, _exchanged(system, mapped.home, step.kind, step.bytes, group), 1)
    return found


def _op(op: MappedOp, system: System) -> _Joules:
    found: _Joules = {}
    for share in op.shares:
        _add(found, {share.engine: share.energy_j}, 1)
    tier = system.tiers[op.home]
    bits = op.read_bytes * tier.read_energy_j_per_bit + op.write_bytes * tier.write_energy_j_per_bit
    _add(found, {op.home: bits}, 8)
    return found


def _exchanged(system: System, home: str, kind: str, payload_bytes: float, group: Group) -> _Joules:
    """A device's part of a collective. Rings leave a node once for all its members; all-to-all sends to all alike."""
    call = group_time(system, kind, payload_bytes, group)
    if not call.sent_bytes:
        return {}
    reach = reach_of(system, group)[0]
    across = 0.0
    if reach.nodes > 1:
        away = (group.size - reach.in_node) / (group.size - 1)
        across = away if kind == "all_to_all" else 1 / reach.in_node
    return _sent(system, home, call.sent_bytes, across)


def _sent(system: System, home: str, sent_bytes: float, across: float) -> _Joules:
    """Bytes sent from home tier to home tier, the share ``across`` of them over the network."""
    tier = system.tiers[home]
    found: _Joules = {}
    _add(found, {home: tier.read_energy_j_per_bit + tier.write_energy_j_per_bit}, 8 * sent_bytes)
    if system.fabric is not None:
        _add(found, {"fabric": system.fabric.energy_j_per_bit}, 8 * sent_bytes * (1 - across))
    if system.network is not None:
        _add(found, {"network": system.network.energy_j_per_bit}, 8 * sent_bytes * across)
    return found


def _shares(setup: Setup, piece: Piece) -> Iterator[tuple[Group, float]]:
    """Groups that hold the same parameters of a piece, with the share of these in its parameters."""
    apart = piece.expert_parameters if setup.parallel.expert > 1 else 0.0
    for group, parameters in zip(sharing_groups(setup.parallel), (piece.parameters - apart, apart), strict=True):
        if parameters:
            yield group, parameters / piece.parameters


def _state_share(setup: Setup, piece: Piece) -> float:
    """The part of a piece's optimizer states that a device updates."""
    return sum(share / (group.size if setup.parallel.zero >= 1 else 1) for group, share in _shares(setup, piece))


def _shared_update(setup: Setup, system: System, piece: Piece, mapped: MappedWorkload) -> _Joules:
    found: _Joules = {}
    _add(found, _layer(piece.update, mapped, system), piece.updates * _state_share(setup, piece))
    return found


def _weights_and_gradients(setup: Setup, system: System, piece: Piece, home: str) -> _Joules:
    """Gathers, scatters and reductions of a step (`simulator.training.step.stage_passes` says when they happen)."""
    zero, each, count = setup.parallel.zero, setup.parallel.reshard, setup.micro_batches
    gathers = (2 * count if each else 1) if zero >= 3 else min(1, zero)
    leaves = count if zero >= 2 and each else 1
    found: _Joules = {}
    for group, share in _shares(setup, piece):
        if group.size == 1:
            continue
        _add(found, _exchanged(system, home, "all_gather", share * piece.weight_bytes, group), gathers)
        kind = "reduce_scatter" if zero else "all_reduce"
        _add(found, _exchanged(system, home, kind, share * piece.gradient_bytes, group), leaves)
    return found


def _away(setup: Setup, system: System, piece: Piece, home: str) -> _Joules:
    """What leaves the device for another tier and comes back: kept activations, optimizer states."""
    found: _Joules = {}
    moved = (
        (setup.activations, setup.micro_batches * piece.kept_bytes),
        (setup.optimizer, _state_share(setup, piece) * piece.state_bytes),
    )
    for tier, size in moved:
        if tier is not None and tier != home and size:
            _add(found, transfer_energy_j(system, home, tier, size), 1)
            _add(found, transfer_energy_j(system, tier, home, size), 1)
    return found


def _hops(setup: Setup, system: System, schedule: Schedule) -> Iterator[float]:
    """For each boundary between two stages the share of its devices whose partner stands in another node."""
    size = setup.parallel.stage_devices
    devices, per_node = np.arange(size), system.node_devices
    for position in range(1, schedule.positions):
        here, there = schedule.place(position - 1)[0], schedule.place(position)[0]
        if here != there:
            yield float(np.mean((here * size + devices) // per_node != (there * size + devices) // per_node))
