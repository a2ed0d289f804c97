"""What a correct unit does in every cycle of a campaign, written down beforehand from golden model and contract.

Up to the first difference a faulty unit is driven by its neighbours as a correct one would be: its inputs need no
simulation of the neighbours, and the first difference is what a campaign would find.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hw.rtl.drive.campaign import draw_jobs, packed
from hw.rtl.drive.job import Job, Neighbours, Packed, play_contract
from hw.rtl.ports import Stream, Streams, inputs_of, outputs_of
from hw.rtl.unit import Unit

__all__ = ["Port", "Vectors", "campaign_vectors", "flowing_job", "flowing_vectors"]


@dataclass(frozen=True)
class Port:
    """A port in the packed cycle: its bits begin at ``at``; ``under`` is the bit that says whether it is compared."""

    name: str
    width: int
    at: int
    driven: bool
    under: int | None = None


@dataclass(frozen=True)
class Vectors:
    """``cycles`` packed integers of ``width`` bits: bit 0 is reset, bit 1 whether outputs are compared, then ports."""

    ports: tuple[Port, ...]
    width: int
    cycles: tuple[int, ...]


def _ports(streams: tuple[Stream, ...]) -> tuple[tuple[Port, ...], int]:
    found: list[Port] = []
    at = 2
    for stream in streams:
        comes = stream.direction == "in"
        valid = at
        for part, width in (("valid", 1), ("ready", 1), ("payload", stream.bits)):
            under = None if comes and part != "ready" else valid if part == "payload" else 1
            found.append(Port(f"{stream.name}__{part}", width, at, comes == (part != "ready"), under))
            at += width
    return tuple(found), at


def campaign_vectors(unit: Unit[Any], p: Any, *, seed: int = 1, beats: int = 600) -> Vectors:
    """The cycles of the campaign that `hw.rtl.drive.campaign.draw_jobs` draws, a cycle of reset before each job."""
    return _vectors(unit, p, draw_jobs(unit, p, seed, beats))


def flowing_vectors(unit: Unit[Any], p: Any, *, seed: int = 1, beats: int = 200) -> Vectors:
    """The cycles of `flowing_job`, after a cycle of reset."""
    return _vectors(unit, p, [flowing_job(unit, p, seed=seed, beats=beats)])


def flowing_job(unit: Unit[Any], p: Any, *, seed: int, beats: int) -> Job:
    """About ``beats`` random beats, all neighbours always valid and ready."""
    inputs = unit.stimulus(p, np.random.default_rng(seed), beats)
    streams, always = unit.streams(p), np.ones(1, np.bool_)
    offers, takes = ({s.name: always for s in side(streams)} for side in (inputs_of, outputs_of))
    return Job("flowing", inputs, offers, takes)


def _vectors(unit: Unit[Any], p: Any, jobs: Sequence[Job]) -> Vectors:
    ports, width = _ports(unit.streams(p))
    places = {port.name: port.at for port in ports}
    cycles: list[int] = []
    for job in jobs:
        words = packed(unit, p, job, unit.golden(p, job.inputs))
        cycles.append(1)
        cycles += _play(unit, p, job.inputs, words, _outputs(unit, p, job.inputs, words), places)
    return Vectors(ports, width, tuple(cycles))


def _outputs(unit: Unit[Any], p: Any, inputs: Streams, job: Packed) -> list[dict[str, list[int]]]:
    """The words of each output, before a reset and after it."""
    if unit.in_order is None:
        runs = [unit.golden(p, inputs)] * 2
    else:
        promised = play_contract(unit.contract(p), inputs, job)
        first = promised.accepted if job.reset_at is None else promised.accepted_before_reset
        runs = [unit.in_order(p, inputs, accepted) for accepted in (first, promised.accepted)]
    return [{s.name: s.pack(run[s.name]) for s in outputs_of(unit.streams(p))} for run in runs]


def _play(
    unit: Unit[Any], p: Any, inputs: Streams, job: Packed, runs: list[dict[str, list[int]]], places: dict[str, int]
) -> list[int]:
    contract = unit.contract(p)
    around, automaton = Neighbours(job), contract.automaton(inputs)
    idle = {s.name: (1 << s.bits) - 1 for s in inputs_of(unit.streams(p))}  # what lies at a source that offers nothing
    cycles, words = [], runs[0]
    while not around.done:
        resets = around.resets
        given = {name: len(beats) for name, beats in around.trace.outputs.items()}
        offered, willing = around.offered(), around.willing()
        handshake = automaton.step(offered, willing)
        cycle = int(resets) | 2
        for name, number in offered.items():
            word = idle[name] if number is None else job.words[name][number]
            cycle |= (number is not None) << places[f"{name}__valid"] | word << places[f"{name}__payload"]
            cycle |= handshake.ready[name] << places[f"{name}__ready"]
        for name, takes in willing.items():
            cycle |= takes << places[f"{name}__ready"]
            if handshake.valid[name]:
                cycle |= 1 << places[f"{name}__valid"] | words[name][given[name]] << places[f"{name}__payload"]
        cycles.append(cycle)
        if resets:
            automaton, words = contract.automaton(inputs), runs[1]
        around.seen(willing, handshake.ready, handshake.valid)
    return cycles
