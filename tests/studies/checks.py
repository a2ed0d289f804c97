"""What holds of every study, its rows simulated once, and its section of the page."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path

from dse.reports.studies_page import study_section
from studies.frame.catalogue import load_study
from studies.frame.rows import Row, rows_of

__all__ = ["check_honest", "errors_of", "rows"]

PAGE = Path(__file__).resolve().parents[2] / "reports" / "studies.md"


@cache
def rows(name: str) -> list[Row]:
    """Every published number of a study beside ours."""
    return rows_of(load_study(name))


def errors_of(name: str, metric: str) -> list[float]:
    """Errors of a metric's predictions, without those a constant was fitted to."""
    return [row.error for row in rows(name) if row.metric == metric and not row.calibrates and row.error is not None]


def check_honest(name: str) -> None:
    """Numbers are numbers; what misses by more than a quarter says why, with an experiment, and nothing else does; and
    reports/studies.md says all of it as it is now."""
    study, found = load_study(name), rows(name)
    assert found
    assert all(math.isfinite(row.simulated) for row in found)
    assert {row.metric for row in found} <= set(study.metrics)
    far = {row.metric for row in found if row.error is not None and abs(row.error) > 0.25}
    explained = {metric for miss in study.misses for metric in miss.metrics}
    assert far == explained
    for miss in study.misses:
        assert any(character.isdigit() for character in miss.experiment()), "an experiment has numbers"
    for metric in study.metrics.values():
        assert metric.constants, "a metric rests on constants"
    section = "\n".join(study_section(name, study, found))
    assert section in PAGE.read_text(), f"reports/studies.md is of another time: tiercade reproduce --all --out {PAGE}"
