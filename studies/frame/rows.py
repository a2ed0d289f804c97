"""Published numbers beside simulated ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from studies.frame.study import Study, Value

__all__ = ["STEPS", "Row", "counts_text", "rows_at", "rows_of", "within"]

STEPS = (0.05, 0.1, 0.25)
"""Errors by which rows are counted."""


@dataclass(frozen=True)
class Row:
    """One number: at ``config`` (keys left out are at their defaults), ``published`` where it is, and ours.

    ``inputs`` are the kinds of constants that ours rests on. ``calibrates``: the published number is one that a
    constant was fitted to.
    """

    study: str
    metric: str
    config: Mapping[str, Value]
    published: float | None
    simulated: float
    inputs: str
    calibrates: bool = False

    @property
    def error(self) -> float | None:
        """Ours over the published number, less one."""
        return None if not self.published else self.simulated / self.published - 1

    @property
    def free_of_fits(self) -> bool:
        """Whether it rests on stated and derived constants alone."""
        return set(self.inputs.split(", ")) <= {"stated", "derived"}


def rows_of(study: Study) -> list[Row]:
    """Every published number beside ours; a configuration is simulated once."""
    known: dict[tuple[Value, ...], Mapping[str, float]] = {}
    rows = []
    for row in study.published:
        config = study.config(row.config)
        key = tuple(config.values())
        if key not in known:
            known[key] = study.simulate(config)
        ours = known[key][row.metric]
        rows.append(Row(study.name, row.metric, row.config, row.value, ours, study.inputs(row.metric), row.calibrates))
    return rows


def rows_at(study: Study, some: Mapping[str, Value]) -> list[Row]:
    """Every metric at one configuration, with the published numbers that stand there."""
    config = study.config(some)
    there = {row.metric: row for row in study.published if study.config(row.config) == config}
    rows = []
    for metric, ours in study.simulate(config).items():
        row = there.get(metric)
        rows.append(
            Row(
                study.name,
                metric,
                config,
                row.value if row else None,
                ours,
                study.inputs(metric),
                bool(row and row.calibrates),
            )
        )
    return rows


def within(rows: Sequence[Row]) -> list[int]:
    """How many rows with an error are within each of `STEPS`, and how many beyond."""
    errors = [abs(row.error) for row in rows if row.error is not None]
    return [*(sum(error <= step for error in errors) for step in STEPS), sum(error > STEPS[-1] for error in errors)]


def counts_text(rows: Sequence[Row]) -> str:
    """`within` in words."""
    *close, beyond = within(rows)
    counted = sum(row.error is not None for row in rows)
    parts = ", ".join(f"{count:,} within {step:.0%}" for count, step in zip(close, STEPS, strict=True))
    return f"{counted:,} published numbers: {parts}, {beyond:,} beyond"
