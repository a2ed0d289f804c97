"""Elasticities: by how many percent latency and energy of a run move when one number of the machine moves by one.

d ln(metric) / d ln(parameter) is measured from simulations one percent below and one percent above, in logarithms, so
that their mean is the central difference. Latency is a sum of maxima: smooth between two changes of what a part of it
waits for, with a kink at each. The slopes on both sides are kept apart; where they differ by more than curvature can
explain, what bounds the run changes within that percent.

Most numbers of a machine do nothing to one run (formats that it does not compute in, drives that it does not touch).
They are found out together: a group is changed at once, and if not one bit of the results moves, upwards or downwards,
none of its members does anything. A group that moves something is halved until single ones are left.

Two sums must come out, whatever the machine, because numbers have units (Euler's theorem on homogeneous functions; a
change of units of time or energy changes no physics): elasticities of latency times the power of seconds in the unit of
the parameter sum to one, so those to rates less those to times give -1; and those of energy times the power of joules
sum to one. What misses is time or energy that stands in no number of the machine: timings of the devices behind it at
cycle fidelity, constants of kernels and of collective libraries.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from dse.sensitivity.parameters import Parameter

__all__ = ["KINK", "METRICS", "STEP", "Elasticities", "Elasticity", "Slope", "elasticities"]

STEP = 0.01
"""How far from its value a parameter is moved, as a share."""

KINK = 0.01
"""Slopes that differ by more have a kink between them. A metric A x^a + B, of a constant and a part that scales with
the parameter as a = 1 or -1, has slopes that differ by less than STEP / 4 between the middles of the two sides."""

METRICS = ("latency_s", "energy_j")

Metrics = Mapping[str, float]
Simulate = Callable[[Sequence[Parameter], float], Metrics | None]
"""Metrics of the run with some parameters times a factor; None where such a machine is refused or nothing fits."""


@dataclass(frozen=True)
class Slope:
    """d ln(metric) / d ln(parameter) ``below`` and ``above`` its value; None on a side that cannot be run."""

    below: float | None
    above: float | None

    @property
    def value(self) -> float | None:
        """The central difference; of one side alone where the other cannot be run."""
        known = [side for side in (self.below, self.above) if side is not None]
        return sum(known) / len(known) if known else None

    @property
    def kinked(self) -> bool:
        """Whether what bounds the run changes within a step."""
        return self.below is not None and self.above is not None and abs(self.above - self.below) > KINK


@dataclass(frozen=True)
class Elasticity:
    """What one parameter does to each metric, by `METRICS`."""

    parameter: Parameter
    slopes: Mapping[str, Slope]

    @property
    def size(self) -> float:
        """The largest of its slopes, whatever the sign."""
        return max(abs(slope.value or 0.0) for slope in self.slopes.values())


@dataclass(frozen=True)
class Elasticities:
    """``rows`` do something, the largest first; ``without_effect`` are the paths of all others. ``runs`` were made."""

    rows: tuple[Elasticity, ...]
    without_effect: tuple[str, ...]
    runs: int

    @property
    def latency_sum(self) -> float:
        """Elasticities of latency to rates, less those to times: -1 where all time stands in numbers of the machine."""
        return -sum(row.parameter.seconds * (row.slopes["latency_s"].value or 0.0) for row in self.rows)

    @property
    def energy_sum(self) -> float:
        """Elasticities of energy to energies and powers: 1 where all energy stands in numbers of the machine."""
        return sum(row.parameter.joules * (row.slopes["energy_j"].value or 0.0) for row in self.rows)


def elasticities(
    parameters: Sequence[Parameter],
    simulate: Simulate,
    base: Metrics,
    idle: Callable[[Parameter], bool] = lambda _: False,
    progress: Callable[[int, int], None] = lambda _done, _of: None,
) -> Elasticities:
    """Elasticities of ``base``, the metrics as ``simulate`` gives them with nothing changed, to each of ``parameters``.

    ``idle`` guesses which do nothing; a wrong guess costs time only. ``progress`` is told how many parameters are
    settled, of how many.
    """
    runs = settled = 0

    def run(group: Sequence[Parameter], factor: float) -> Metrics | None:
        nonlocal runs
        runs += 1
        return simulate(group, factor)

    def settle(count: int) -> None:
        nonlocal settled
        settled += count
        progress(settled, len(parameters))

    rows: list[Elasticity] = []
    groups = [[each for each in parameters if idle(each)], *([each] for each in parameters if not idle(each))]
    waiting = [group for group in groups if group]
    while waiting:
        group = waiting.pop()
        above = run(group, 1 + STEP)
        if len(group) > 1 and above != base:
            waiting += _halves(group)
            continue
        below = run(group, 1 / (1 + STEP))
        if above == base and below == base:
            settle(len(group))
        elif len(group) > 1:
            waiting += _halves(group)
        else:
            rows.append(Elasticity(group[0], {name: _slope(base, below, above, name) for name in METRICS}))
            settle(1)
    rows.sort(key=lambda row: (-row.size, row.parameter.path))
    acting = {row.parameter.path for row in rows}
    return Elasticities(tuple(rows), tuple(each.path for each in parameters if each.path not in acting), runs)


def _halves(group: list[Parameter]) -> Iterable[list[Parameter]]:
    return group[: len(group) // 2], group[len(group) // 2 :]


def _slope(base: Metrics, below: Metrics | None, above: Metrics | None, name: str) -> Slope:
    step = math.log1p(STEP)
    return Slope(
        None if below is None else math.log(base[name] / below[name]) / step,
        None if above is None else math.log(above[name] / base[name]) / step,
    )
