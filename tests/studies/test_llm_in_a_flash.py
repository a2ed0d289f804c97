"""LLM in a flash against its table, and in its limits."""

from __future__ import annotations

import pytest

from studies.frame.catalogue import load_study
from tests.studies.checks import check_honest, errors_of

NAME = "llm-in-a-flash"


def test_it_is_honest() -> None:
    check_honest(NAME)


@pytest.mark.parametrize(
    ("metric", "tolerance"), [("io", 0.10), ("io_drive", 0.10), ("read", 0.05), ("read_rate", 0.05)]
)
def test_published_rows(metric: str, tolerance: float) -> None:
    """Table 2. Bytes follow from the shares stated (0.859 GB are printed as 0.9); the embedding table stays in memory,
    3 % of what the naive row reads."""
    errors = errors_of(NAME, metric)
    assert errors
    assert max(map(abs, errors)) <= tolerance


def test_longer_windows_hold_more_and_read_less() -> None:
    found = [load_study(NAME).simulate({"stage": "bundled", "active": 0.1, "window": w}) for w in (1, 3, 5, 8)]
    held, read = [one["held"] for one in found], [one["read"] for one in found]
    assert held == sorted(held)
    assert read == sorted(read, reverse=True)
    # One token's window holds what is active, and no token reads more than is active.
    assert held[0] == pytest.approx(0.1, rel=0.01)
    assert read[0] < 0.1 * 32 * 16384 * 4096 * 4


def test_stated_shares_of_the_window_come_back() -> None:
    found = load_study(NAME).simulate({"stage": "bundled", "active": 0.1, "window": 5})
    assert found["held"] == pytest.approx(0.24, rel=0.02)
    assert found["loaded"] == pytest.approx(0.024, rel=0.06)
