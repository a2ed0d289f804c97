"""How long each stage's passes take, with what travels beside them: the times a pipeline is executed with.

The first micro-batch of a step gathers weights that stay whole for the step, the last one sends gradients that are
exchanged once; others do neither, or all do both (`simulator.training.step.layout.Parallel`, ``zero`` and ``reshard``).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from hw.spec.system import System
from mappers.planner.placement import path_bandwidth
from simulator.interconnect.groups import fabric_rate
from simulator.training.pipeline.execution import PipelineRun, StageTimes, stage_times
from simulator.training.pipeline.schedules import Schedule
from simulator.training.step.costs import PassCost, PieceCost
from simulator.training.step.exchange import PieceExchange, sharing_groups
from simulator.training.step.pass_graph import PassStep, run_pass
from simulator.training.step.pieces import Piece, Pieces
from simulator.training.step.setup import Setup

__all__ = ["StagePasses"]


@dataclass(frozen=True)
class _Span:
    """A pass of a micro-batch through a stage's pieces: its length, and of it kernels and exchanges that show."""

    span_s: float
    kernels_s: float
    inside_s: float

    @property
    def beside_s(self) -> float:
        """Seconds in which the stage waits for weights, gradients or activations on their way, or loses to them."""
        return self.span_s - self.kernels_s - self.inside_s


class StagePasses:
    """Times of all stages and chunks, each distinct sequence of pieces executed once."""

    def __init__(
        self,
        setup: Setup,
        system: System,
        home: str,
        contention: float,
        pieces: Pieces,
        costs: dict[str, PieceCost],
        exchanges: dict[str, PieceExchange],
        schedule: Schedule,
    ) -> None:
        self.setup, self.contention = setup, contention
        self.fabric_rate = fabric_rate(system) if system.fabric is not None else float("inf")
        self.costs, self.exchanges, self.schedule = costs, exchanges, schedule
        parallel = setup.parallel
        self.zero, self.each = parallel.zero, parallel.reshard
        self.slower = dict(setup.stragglers)
        self.factor = np.array([self.slower.get(stage, 1.0) for stage in range(schedule.stages)])
        self.held = [
            [
                pieces.of_stage(schedule.stages, schedule.chunks, schedule.position(stage, chunk))
                for chunk in range(schedule.chunks)
            ]
            for stage in range(schedule.stages)
        ]
        self.out_rate = self.in_rate = float("inf")
        if setup.activations is not None:
            self.out_rate, self.in_rate = _rates(system, home, setup.activations)
        self.states = None if setup.optimizer is None else _rates(system, home, setup.optimizer)
        self._span = lru_cache(maxsize=None)(self._executed)

    # Passes

    def forward(self, held: tuple[Piece, ...], first: bool) -> _Span:
        gathers = (self.zero >= 3 and self.each) or (first and self.zero >= 1)
        return self._span(held, "forward", gathers, "")

    def backward(self, held: tuple[Piece, ...], last: bool, kind: str = "backward") -> _Span:
        gathers = self.zero >= 3 and self.each
        leaves = ""
        if (self.zero >= 2 and self.each) or (last and self.zero >= 1):
            leaves = "scatter"
        elif last and self.zero == 0:
            leaves = "reduce"
        return self._span(held[::-1], kind, gathers, leaves)

    def _executed(self, held: tuple[Piece, ...], kind: str, gathers: bool, leaves: str) -> _Span:
        steps, kernels, inside, lost, sent = [], 0.0, 0.0, 0.0, 0.0
        for piece in held:
            cost: PassCost = getattr(self.costs[piece.name], kind)
            exchange = self.exchanges[piece.name]
            after = {"scatter": exchange.scatter_s, "reduce": exchange.reduce_s, "": 0.0}[leaves]
            away = piece.kept_bytes if self.setup.activations is not None else 0.0
            steps.append(
                PassStep(
                    piece.name,
                    cost.span_s,
                    exchange.gather_s if gathers else 0.0,
                    after,
                    away / self.out_rate if kind == "forward" else 0.0,
                    away / self.in_rate if kind in ("backward", "inputs") else 0.0,
                )
            )
            kernels += cost.kernels_s
            inside += cost.exposed_s
            lost += self._lost_s(cost.sent_bytes, cost.exchange_s, cost.exposed_s)
            sent += exchange.gather_bytes if gathers else 0.0
            sent += {"scatter": exchange.scatter_bytes, "reduce": exchange.reduce_bytes, "": 0.0}[leaves]
        run = run_pass(steps, self.setup.prefetch)
        shown = max(0.0, run.latency_s - sum(step.compute_s for step in steps))
        lost += self._lost_s(sent, sum(step.before_s + step.after_s for step in steps), shown)
        return _Span(run.latency_s + lost, kernels, inside)

    def _lost_s(self, sent_bytes: float, exchange_s: float, shown_s: float) -> float:
        """What kernels lose to exchanges that hide behind them: `Setup.contention`."""
        if not sent_bytes or not self.contention:
            return 0.0
        hidden = max(0.0, 1.0 - shown_s / exchange_s)
        return self.contention * hidden * sent_bytes / self.fabric_rate

    def times(self) -> StageTimes:
        """Of all micro-batches but the first and the last."""
        schedule = self.schedule
        forward = [[self.forward(held, False).span_s for held in row] for row in self.held]
        if schedule.split:
            inputs = [[self.backward(held, False, "inputs").span_s for held in row] for row in self.held]
            weights = [[sum(self.costs[p.name].weights.span_s for p in held) for held in row] for row in self.held]
            times = stage_times(
                schedule.stages, schedule.chunks, forward_s=forward, backward_s=inputs, weight_s=weights
            )
            return times.slowed(self.slower)
        backward = [[self.backward(held, False).span_s for held in row] for row in self.held]
        return stage_times(schedule.stages, schedule.chunks, forward_s=forward, backward_s=backward).slowed(self.slower)

    def before_first(self, run: PipelineRun) -> float:
        """How much later all begins since the first micro-batch's weights must come; later stages have more time."""
        late = 0.0
        for stage, row in enumerate(self.held):
            extra = sum(self.forward(held, True).span_s - self.forward(held, False).span_s for held in row)
            late = max(late, float(self.factor[stage]) * extra - float(run.begin_s[stage, 0]))
        return late

    def after_last(self) -> NDArray[np.float64]:
        """How much longer the last micro-batch takes since gradients leave, by stage."""
        later = [
            sum(self.backward(held, True).span_s - self.backward(held, False).span_s for held in row)
            for row in self.held
        ]
        return np.asarray(self.factor * np.array(later))

    def update_s(self) -> NDArray[np.float64]:
        """The optimizer's update of each stage's share, on the device; states that live elsewhere come and go."""
        shared = [group.size if self.zero >= 1 else 1 for group in sharing_groups(self.setup.parallel)]
        update = [sum(self._update_s(piece, *shared) for held in row for piece in held) for row in self.held]
        return np.asarray(self.factor * np.array(update))

    def _update_s(self, piece: Piece, shared: int, of_experts: int) -> float:
        if not piece.parameters:
            return 0.0
        apart = piece.expert_parameters / piece.parameters if self.setup.parallel.expert > 1 else 0.0
        share = (1 - apart) / shared + apart / of_experts
        seconds = self.costs[piece.name].update_s
        if self.states is not None:
            seconds = max(seconds, *(piece.state_bytes / rate for rate in self.states))
        return share * seconds

    def split(self, latency_s: float, update_s: float) -> dict[str, float]:
        """The step's seconds on the busiest stage by what they go to; they add up to ``latency_s``.

        ``exchange`` is within passes (tensor, context, expert), ``sharing`` that of weights and gradients, with
        activations on their way, as far as either shows; ``waiting`` is for other stages.
        """
        count = self.schedule.micro_batches
        rows = []
        for row, factor in zip(self.held, self.factor.tolist(), strict=True):
            passes = [self.forward(held, at == 0) for held in row for at in range(min(2, count))]
            passes += [self.backward(held, at == 0) for held in row for at in range(min(2, count))]
            weighted = [(1 if at % min(2, count) == 0 else count - 1, each) for at, each in enumerate(passes)]
            rows.append(
                tuple(
                    factor * sum(many * getattr(each, name) for many, each in weighted)
                    for name in ("kernels_s", "inside_s", "beside_s")
                )
            )
        kernels, inside, beside = max(rows, key=sum)
        waiting = latency_s - update_s - kernels - inside - beside
        if waiting < 1e-9 * latency_s:  # what rounding leaves
            waiting = 0.0
        return {
            "kernels": kernels,
            "exchange": inside,
            "sharing": max(0.0, beside),
            "waiting": waiting,
            "update": update_s,
        }

    def sent_bytes(self) -> dict[str, float]:
        """Bytes that a device of the stage that sends most sends in a step for weights and gradients."""
        count = self.schedule.micro_batches
        gathers = (2 * count if self.each else 1) if self.zero >= 3 else min(1, self.zero)
        leaves = count if self.zero >= 2 and self.each else 1
        found = {"weights": 0.0, "gradients": 0.0}
        for row in self.held:
            ways = [self.exchanges[piece.name] for held in row for piece in held]
            weights = gathers * sum(way.gather_bytes for way in ways)
            gradients = leaves * sum(way.scatter_bytes if self.zero else way.reduce_bytes for way in ways)
            if weights + gradients >= sum(found.values()):
                found = {"weights": weights, "gradients": gradients}
        return found


def _rates(system: System, home: str, tier: str) -> tuple[float, float]:
    return path_bandwidth(system, home, tier), path_bandwidth(system, tier, home)
