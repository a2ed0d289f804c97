"""A simulated step's pipeline as an execution that can be drawn: passes on stages, hidden states on links."""

from __future__ import annotations

from dataclasses import replace

from hw.spec.system import System
from simulator.engine import Execution
from simulator.training.pipeline.execution import PipelineRun, StageTimes
from simulator.training.pipeline.graph import execute_pipeline
from simulator.training.step.inventory import step_schedule
from simulator.training.step.setup import Setup
from simulator.training.step.simulate import step_links

__all__ = ["MOST_PASSES", "trace_pipeline"]

MOST_PASSES = 4000
"""A trace has at most about as many: more take the event engine long and viewers cannot show them."""


def trace_pipeline(
    setup: Setup, system: System, run: PipelineRun, most_passes: int = MOST_PASSES
) -> tuple[Execution, int]:
    """The step's first micro-batches executed with the times of ``run``, and how many they are.

    All of them where passes are at most ``most_passes``, else as many as that allows, in whole rounds of the stages;
    the last of them then end as the step's last ones do.
    """
    schedule = run.schedule
    each = schedule.kind.size // schedule.micro_batches
    shown = schedule.micro_batches
    if schedule.kind.size > most_passes:
        rounds = max(1, most_passes // (each * schedule.stages))
        shown = min(shown, rounds * schedule.stages)
    part = replace(setup, global_batch=shown * setup.parallel.data * setup.phase.batch)
    forward, backward, weight, first, second = run.seconds
    # Where backwards are whole, their seconds have the weights' part in them already.
    times = StageTimes(forward, backward, weight if schedule.split else 0.0 * weight, first[:, 0], second[:, 0])
    shorter = step_schedule(part)
    return execute_pipeline(shorter, times, step_links(part, system, shorter)), shown
