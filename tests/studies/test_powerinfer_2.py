"""PowerInfer-2 against its publication, and in its limits."""

from __future__ import annotations

import pytest

from studies.frame.catalogue import load_study
from tests.studies.checks import check_honest, errors_of, rows

NAME = "powerinfer-2"
NEURONS, LAYERS = 14336, 32


def ask(metric: str, **keys: str | int | float) -> float:
    """One metric where the other keys are at their defaults."""
    study = load_study(NAME)
    return study.simulate(study.config(keys))[metric]


def test_it_is_honest() -> None:
    check_honest(NAME)


def test_where_reading_is_all_there_is_it_is_predicted() -> None:
    """First two stages of the ablation, and the 47B model with 1.8 % of its feed-forward in memory."""
    for row in rows(NAME):
        if row.metric == "tokens" and (row.config["stage"] in ("base", "bundle") or row.config.get("memory") == 7.0):
            assert abs(row.error or 0.0) < 0.22
    assert errors_of(NAME, "resident") == pytest.approx([0.0], abs=0.02)


def test_the_larger_model_where_computing_is_all_there_is() -> None:
    """19 GB, the processor's pace taken from the time computing is said to take where half is in memory."""
    found = [row for row in rows(NAME) if row.metric == "tokens_paced" and row.config.get("memory") in (7.0, 19.0)]
    errors = [row.error for row in found if row.config["stage"] == "xpu"]
    assert len(errors) == 2
    assert max(abs(error or 0.0) for error in errors) < 0.05


def test_reads_are_counted_as_on_paper() -> None:
    # Without a predictor: three reads of 4 KB for each neuron that is not there, at 1.008 GB/s.
    reads = LAYERS * NEURONS / 2 * 3
    assert ask("io", stage="base") == pytest.approx(reads * 4096 / 1.008e9, rel=0.01)
    # The gate's half of all, and the other half of 15 %.
    assert ask("io", stage="bundle") == pytest.approx(reads / 3 * 1.15 * 4096 / 1.008e9, rel=0.01)
    # 3.5 % of the active 15 %: one read, and a second for 80 %.
    few = LAYERS * NEURONS * 0.15 * 0.035
    assert ask("io", stage="cache") == pytest.approx(few * 1.8 * 4096 / 1.008e9, rel=0.1)


def test_stages_are_no_slower_one_after_another() -> None:
    found = [ask("tokens", stage=stage) for stage in ("base", "bundle", "cache", "pipeline", "xpu")]
    assert found == sorted(found)


def test_more_memory_is_faster_up_to_all_of_it() -> None:
    found = [ask("tokens", model="mixtral-47b", memory=memory) for memory in (7.0, 10.0, 16.0, 40.0)]
    assert found == sorted(found)
    assert ask("read", model="mixtral-47b", memory=40.0) == 0.0
    assert ask("io_share", offloaded=0.0) == 0.0


def test_reading_takes_as_much_longer_as_the_core_is_slower() -> None:
    big, little = (ask("io", stage="bundle", core=core) for core in ("big", "little"))
    assert little / big == pytest.approx(1076.1 / 761.9, rel=0.01)


def test_more_misses_take_longer() -> None:
    found = [ask("latency", missed=missed) for missed in (0.035, 0.1, 0.4)]
    assert found == sorted(found)


def test_memory_beyond_all_weights_is_all_of_them() -> None:
    # 7.24 billion parameters at 4.5 bits, predictors and what runs them are below 6 GB.
    assert ask("resident", memory=6.0) == 1.0
    assert 0.0 < ask("resident", memory=3.0) < 1.0
    assert ask("resident", memory=0.5) == 0.0


def test_the_drive_is_asked_as_it_was_measured() -> None:
    assert ask("drive_rate", read_kb=512, order="sequential") == pytest.approx(4.0e9, rel=0.02)
    near, far = (ask("drive_rate", range_mb=size) for size in (128, 512))
    assert far < near == pytest.approx(1.0e9, rel=0.08)
