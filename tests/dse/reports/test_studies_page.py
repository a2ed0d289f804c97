"""The page of studies: what is counted, what is said of misses."""

from __future__ import annotations

from dataclasses import replace

from dse.reports.studies_page import studies_page, study_section
from studies.frame.rows import Row, rows_of
from studies.frame.study import Miss
from tests.studies.frame.test_study import SMALL


def test_what_was_fitted_to_is_counted_nowhere() -> None:
    """One prediction, 20 % away, of stated and derived constants; one number that a constant was fitted to."""
    page = studies_page({"small": SMALL}, {"small": rows_of(SMALL)})
    assert "| [Small](#small) | 1 | 0 | 0 | 1 | 0 | 1 | 0 | 0 | 1 | 0 |" in page
    assert "| rate° | kind b | 8.00 B/s | 10.0 B/s | +25.0% | stated, fitted |" in page
    assert "| twice | size 4 | 10.0 | 8.00 | -20.0% | stated, derived |" in page


def test_a_miss_is_said_with_its_experiment() -> None:
    missing = replace(SMALL, misses=(Miss(("twice",), "It is not there.", lambda: "Without it 7 is 3."),))
    lines = study_section("small", missing, [Row("small", "twice", {"size": 4}, 10.0, 5.0, "stated")])
    assert "**Missed:** twice (1 of 1 beyond 25%). It is not there. Without it 7 is 3." in lines


def test_long_tables_are_folded() -> None:
    rows = [Row("small", "twice", {"size": 4}, 10.0, 10.0, "stated")] * 30
    assert "<summary>All 30 numbers</summary>" in study_section("small", SMALL, rows)
    assert "<summary>All 5 numbers</summary>" not in study_section("small", SMALL, rows[:5])
