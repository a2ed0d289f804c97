"""Mixture-of-Channels against its tables, bytes by hand, and in its limits."""

from __future__ import annotations

import pytest

from studies.frame.catalogue import load_study
from tests.studies.checks import check_honest, errors_of

NAME = "mixture-of-channels"


def found(**config: object) -> dict[str, float]:
    study = load_study(NAME)
    return dict(study.simulate(study.config(config)))


def test_it_is_honest() -> None:
    check_honest(NAME)


@pytest.mark.parametrize(
    ("metric", "tolerance"),
    [("ffn_units", 0.005), ("peak", 0.05), ("saved", 0.05), ("ffn_ratio", 0.05), ("rate_ratio", 0.08)],
)
def test_published_rows(metric: str, tolerance: float) -> None:
    errors = errors_of(NAME, metric)
    assert errors
    assert max(map(abs, errors)) <= tolerance


def test_what_is_saved_by_hand() -> None:
    """In 1b a token keeps 5,461 channels four times in 16 bits; 1,024 four times and places, or twice and places."""
    tokens, layers = 64 * 256, 24
    dense, moc, gcp = (found(method=method)["peak"] for method in ("dense", "moc", "moc-gcp"))
    assert dense - moc == layers * tokens * 2 * (4 * 5461 - 5 * 1024)
    assert moc - gcp == layers * tokens * 2 * 2 * 1024


def test_all_channels_save_nothing() -> None:
    """They even cost the places."""
    assert found(channels=5461)["saved"] < 0
    saved = [found(channels=channels)["saved"] for channels in (256, 512, 1024, 2048, 4096)]
    assert saved == sorted(saved, reverse=True)
    assert found(method="dense")["saved"] == 0


@pytest.mark.parametrize("method", ["dense", "moc"])
def test_more_tokens_are_never_less(method: str) -> None:
    peaks = [found(method=method, batch=batch)["peak"] for batch in (8, 64, 512)]
    assert peaks == sorted(peaks)


def test_products_stay_whole() -> None:
    """Time is that of the dense step but for the picking: within a tenth, and never less."""
    for name in ("350m", "1b", "Llama-3-8B"):
        assert 0.9 < found(model=name)["rate_ratio"] <= 1.001
