"""Costs of serving steps under any policy: the road, at nodes, with straight lines between.

For what is streamed, computed away from the weights or run in half batches, no sum of operations tells a step's time:
each node is a whole simulation. The prompts of a step run as forward passes of their own beside that of its decodes,
equal ones together, as engines do that stream weights (FlexGen, arXiv 2303.06865); every pass streams again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from hw.spec.system import System
from simulator.policy import Policy
from simulator.road import simulate
from simulator.serving.cost_nodes import context_nodes, nodes
from simulator.serving.cost_ops import away_s
from simulator.serving.host import Host
from simulator.serving.step import StepBatch, StepTime
from workloads.formats import FormatChoice
from workloads.models.architecture import Model
from workloads.models.lower import lower
from workloads.phases import Decode, Phase, Prefill

__all__ = ["EXACT_SEQUENCES", "RoadStepCost"]

EXACT_SEQUENCES = 16
"""Up to so many sequences, none is interpolated between."""

_Cost = tuple[float, float]


class RoadStepCost:
    """Steps of ``model`` on the devices of ``system``, tensor parallel, under ``policy``.

    Seconds and joules of a phase are the road's for up to `EXACT_SEQUENCES` sequences at nodes in new tokens, past and
    context, of which 4 to 32 stand in each doubling.
    """

    def __init__(
        self,
        model: Model,
        system: System,
        formats: FormatChoice,
        policy: Policy,
        fidelity: str,
        host: Host,
        software: str | None = None,
    ) -> None:
        self.model, self.system, self.formats, self.policy = replace(model, max_positions=None), system, formats, policy
        self.fidelity, self.host = fidelity, host
        self._options: dict[str, Any] = {} if software is None else {"software": software}
        self._found: dict[Phase, _Cost] = {}
        token = lower(self.model, Decode(1, 1), formats, devices=system.devices)
        self._token_bytes = token.stored_bytes("kv_cache")
        self._launches = sum(count * len(layer.steps) for layer, count in token.layers())
        self._home = self._simulated(Decode(1, 1)) and self._plan_home

    def step(self, batch: StepBatch) -> StepTime:
        """One step."""
        return self._run(batch, 1)

    def decode_run(self, batch: StepBatch, steps: int) -> StepTime:
        """``steps`` steps of ``batch.decodes`` sequences, each a token longer every step, from ``batch`` on, summed."""
        if batch.chunks:
            raise ValueError("a run of decodes has no chunks")
        return self._run(batch, steps)

    def _run(self, batch: StepBatch, steps: int) -> StepTime:
        sequences = len(batch.chunks) + batch.decodes
        if not sequences:
            return StepTime(0.0, 0.0, {})
        prefill = decode = (0.0, 0.0)
        for (new, past), count in Counter(batch.chunks).items():
            prefill = _plus(prefill, self._prefill(count, new, past))
        if batch.decodes:
            decode = self._decode_sum(batch.decodes, batch.decode_context / batch.decodes, steps)
        passes = len(set(batch.chunks)) + (batch.decodes > 0)
        device_s, prompts = prefill[0] + decode[0], bool(batch.chunks)
        host_s = self.host.beside_s(device_s, steps, sequences, passes * self._launches, prompts=prompts)
        parts_s = {"prefill": prefill[0], "decode": decode[0], "host": host_s}
        if batch.context_away:
            away = steps * away_s(self.system, self._home, self._token_bytes, batch.context_away)
            parts_s["context_away"] = max(0.0, away - device_s)
        return StepTime(sum(parts_s.values()), prefill[1] + decode[1], parts_s)

    def _decode_sum(self, sequences: int, context: float, steps: int) -> _Cost:
        total, done = (0.0, 0.0), 0
        while done < steps:
            low, high, share, count = context_nodes(context + done, steps - done)
            total = _plus(total, self._between(sequences, lambda n, at: Decode(n, at), low, high, share), count)
            done += count
        return total

    def _prefill(self, sequences: int, new: int, past: int) -> _Cost:
        low, high, share = nodes(past, 16, coarser=2)
        first, last, rest = nodes(new, 64)

        def at(tokens: int) -> _Cost:
            return self._between(sequences, lambda n, before: Prefill(n, before + tokens, before), low, high, share)

        return at(first) if first == last else _line(at(first), at(last), rest)

    def _between(self, sequences: int, phase: Callable[[int, int], Phase], low: int, high: int, share: float) -> _Cost:
        fewer, more, rest = nodes(sequences, EXACT_SEQUENCES, coarser=1)

        def at(value: int) -> _Cost:
            first = self._simulated(phase(fewer, value))
            return first if fewer == more else _line(first, self._simulated(phase(more, value)), rest)

        return at(low) if low == high else _line(at(low), at(high), share)

    def _simulated(self, phase: Phase) -> _Cost:
        if phase not in self._found:
            result = simulate(
                self.model,
                phase,
                self.system,
                formats=self.formats,
                policy=self.policy,
                fidelity=self.fidelity,
                **self._options,
            )
            self._plan_home = result.plan.home
            self._found[phase] = (result.latency_s, sum(result.energy_j.values()))
        return self._found[phase]


def _plus(one: _Cost, other: _Cost, times: float = 1.0) -> _Cost:
    return one[0] + times * other[0], one[1] + times * other[1]


def _line(low: _Cost, high: _Cost, share: float) -> _Cost:
    return low[0] + share * (high[0] - low[0]), low[1] + share * (high[1] - low[1])
