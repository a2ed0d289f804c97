"""FuseMax against its artifact's stored results and its headlines, and in its limits."""

from __future__ import annotations

import pytest

from studies.frame.catalogue import load_study
from tests.studies.checks import check_honest, errors_of

NAME = "fusemax"
K = 1024


def ask(**config: object) -> dict[str, float]:
    study = load_study(NAME)
    return dict(study.simulate(study.config(config)))


def test_it_is_honest() -> None:
    check_honest(NAME)


@pytest.mark.parametrize(
    ("metric", "tolerance"),
    [
        # Our latency has the pipeline's filling, which the artifact leaves out.
        ("latency", 3e-4), ("use_2d", 3e-4), ("use_1d", 3e-4), ("traffic", 0.0),
        ("speed_up", 0.03), ("end_to_end_speed_up", 0.04),
        # Buffers costed as SRAM of their size.
        ("energy_ratio", 0.07), ("end_to_end_energy_ratio", 0.05), ("energy", 0.30),
        # Buffers as stored: too little for FLAT and unfused.
        ("energy_stored", 0.21), ("energy_ratio_stored", 0.25),
    ],
)  # fmt: skip
def test_published_rows(metric: str, tolerance: float) -> None:
    errors = errors_of(NAME, metric)
    assert errors
    assert max(map(abs, errors)) <= tolerance


def test_headlines_rest_on_no_fit() -> None:
    study = load_study(NAME)
    for metric in ("speed_up", "energy_ratio", "end_to_end_speed_up", "end_to_end_energy_ratio"):
        assert set(study.inputs(metric).split(", ")) <= {"stated", "derived"}


def test_a_model_with_more_heads_takes_as_much_longer() -> None:
    # TrXL has 16 heads of the width of BERT's 12; filling the pipeline is the same for both.
    for system in ("fusemax", "flat"):
        bert, trxl = (ask(system=system, model=model, length=4 * K) for model in ("BERT", "TrXL"))
        assert trxl["latency"] / bert["latency"] == pytest.approx(16 / 12, rel=1e-3)
        assert trxl["traffic"] / bert["traffic"] == pytest.approx(16 / 12)


def test_half_the_sequences_take_half_the_time() -> None:
    whole, half = ask(), ask(batch=32)
    assert half["latency"] == pytest.approx(whole["latency"] / 2, rel=1e-3)
    assert half["energy"] == pytest.approx(whole["energy"] / 2)


def test_the_2d_array_fills_as_sequences_grow() -> None:
    # 137 of 139 cycles are useful where division, once for each query, no longer shows.
    use = [ask(length=tokens * K)["use_2d"] for tokens in (1, 2, 8, 64)]
    assert use == sorted(use)
    assert use[-1] < 1


@pytest.mark.parametrize("length", [700, 3000])
def test_lengths_that_are_no_multiple_of_the_arrays(length: int) -> None:
    # Between the times of the multiples of 256 around them.
    below, at, above = (ask(length=n)["latency"] for n in (length // 256 * 256, length, -(-length // 256) * 256))
    assert below < at <= above


def test_against_itself_nothing_is_gained() -> None:
    found = ask(over="fusemax")
    assert found["speed_up"] == found["energy_ratio"] == found["end_to_end_speed_up"] == 1
