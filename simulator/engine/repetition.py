"""One repetition of a block as SimPy processes: one per task and one per reservation.

All clocks start at 0, so that a time carried in from an earlier repetition is a timeout of exactly that many seconds
and no time is ever rounded by the change of origin.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass

from simpy import Environment, Event

from simulator.engine.graph import Demand
from simulator.engine.wiring import Source, TaskWiring

__all__ = ["Arrivals", "simulate_repetition"]

_Steps = Generator[Event, None, None]


@dataclass(frozen=True, slots=True)
class Arrivals:
    """Absolute times, from before this repetition, of one task's sources: None where the source lies inside it.

    ``after``, ``held`` and ``served`` go in parallel with the task's wiring; ``entry`` adds finishes of the preceding
    segment's exit tasks, with their names.
    """

    after: tuple[float | None, ...]
    held: tuple[float | None, ...]
    served: tuple[float | None, ...]
    entry: tuple[tuple[str, float], ...] = ()


def simulate_repetition(tasks: Sequence[TaskWiring], arrivals: Sequence[Arrivals], nodes: int) -> list[float]:
    """Times in seconds of all ``nodes`` of one repetition, given when everything from before it arrives."""
    env = Environment(initial_time=0.0)
    times = [0.0] * nodes
    # The process that reaches a node; processes are created in program order, so every source is already there.
    reached: dict[int, Event] = {}
    for wiring, arrival in zip(tasks, arrivals, strict=True):
        latest = max((time for _, time in arrival.entry), default=0.0)
        waits = _waits(env, (*wiring.after, *wiring.held), (*arrival.after, *arrival.held), latest, reached)
        started = env.event()
        reservations = []
        for i, demand in enumerate(wiring.task.demands):
            turn = _waits(env, wiring.served[i : i + 1], arrival.served[i : i + 1], 0.0, reached)
            steps = _reserve(env, times, wiring.begins[i], demand, [started, *turn])
            reached[wiring.ends[i]] = reservation = env.process(steps)
            reservations.append(reservation)
        reached[wiring.finish] = env.process(_perform(env, times, wiring, waits, started, reservations))
    env.run()
    return times


def _waits(
    env: Environment,
    sources: Sequence[Source],
    arrived: Sequence[float | None],
    latest: float,
    reached: dict[int, Event],
) -> list[Event]:
    """Events to wait for: sources inside the repetition, and one timeout for the latest arrival from before it."""
    inside = []
    for source, time in zip(sources, arrived, strict=True):
        if time is None:
            inside.append(reached[source.node])
        elif time > latest:
            latest = time
    return [env.timeout(latest), *inside] if latest > 0 else inside


def _perform(
    env: Environment,
    times: list[float],
    wiring: TaskWiring,
    waits: Sequence[Event],
    started: Event,
    reservations: Sequence[Event],
) -> _Steps:
    yield from waits
    times[wiring.start] = env.now
    started.succeed()
    yield from reservations
    if wiring.task.overhead_s > 0:
        yield env.timeout(wiring.task.overhead_s)
    times[wiring.finish] = env.now


def _reserve(env: Environment, times: list[float], begin: int, demand: Demand, waits: Sequence[Event]) -> _Steps:
    yield from waits
    times[begin] = env.now
    yield env.timeout(demand.seconds)
    times[begin + 1] = env.now
