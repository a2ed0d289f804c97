"""Reductions of keys and values: published ratios, closed forms, and limits."""

from __future__ import annotations

import pytest

from studies.frame.catalogue import load_study
from tests.studies.checks import check_honest, rows

NAME = "kv-reductions"


def at(**changes: object) -> dict[str, float]:
    study = load_study(NAME)
    return dict(study.simulate(study.config(changes)))


def test_it_is_honest() -> None:
    check_honest(NAME)


@pytest.mark.parametrize(
    ("method", "metric", "tolerance"),
    [
        ("duo", "memory_ratio", 0.05),
        ("duo", "decode_speedup", 0.15),
        ("duo", "longest", 0.30),
        ("keyformer", "throughput_gain", 0.25),
        ("think", "cache_saved", 0.01),
        ("lazy", "cache_saved", 0.01),
        ("locret", "cache_ratio", 0.10),
    ],
)
def test_published_rows(method: str, metric: str, tolerance: float) -> None:
    """Abstracts of the papers. DuoAttention's two ratios are those of the longest context that fits whole: weights and
    a full memory against weights and a quarter (a half) of the cache. A step's gain is a roofline's, without the
    overhead of splitting heads; the longest context leaves out what computes the prompt. Locret prints 20 for 21.8."""
    errors = [r.error for r in rows(NAME) if (r.metric, r.config["method"]) == (metric, method) and r.error is not None]
    assert errors
    assert max(map(abs, errors)) <= tolerance


def test_all_heads_kept_is_the_whole_cache() -> None:
    found = at(share=1.0, context=65536)
    assert found["cache_ratio"] == pytest.approx(1)
    assert found["decode_speedup"] == pytest.approx(1, rel=0.02)


def test_fewer_heads_keep_less_and_step_faster() -> None:
    found = [at(share=share, context=131072) for share in (0.75, 0.5, 0.25, 0.125)]
    for metric in ("cache_ratio", "decode_speedup", "memory_ratio", "longest"):
        values = [one[metric] for one in found]
        assert values == sorted(values), metric
    # One over the share of heads, but for sinks and recent tokens of the others.
    assert found[-1]["cache_ratio"] == pytest.approx(8, rel=0.05)


def test_half_of_the_channels_of_keys_is_a_quarter_of_the_cache() -> None:
    assert at(method="think", share=0.5, context=4096)["cache_saved"] == pytest.approx(0.25)


def test_a_budget_keeps_what_it_says() -> None:
    assert at(method="locret", budget=4096, context=65536)["cache_ratio"] == pytest.approx(16)
    assert at(method="locret", budget=65536, context=4096)["cache_ratio"] == pytest.approx(1)
