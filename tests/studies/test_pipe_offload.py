"""PipeOffload against what is published, its criterion by hand, and in its limits."""

from __future__ import annotations

import pytest

from studies.frame.catalogue import load_study
from studies.pipe_offload import SHAPES
from tests.studies.checks import check_honest, errors_of
from workloads.errors import InputError

NAME = "pipe-offload"


def found(**config: object) -> dict[str, float]:
    study = load_study(NAME)
    return dict(study.simulate(study.config(config)))


def test_it_is_honest() -> None:
    check_honest(NAME)


@pytest.mark.parametrize(
    ("metric", "count", "tolerance"),
    [
        ("activation_peak", 1, 0.05),
        ("held_layers", 2, 0.25),
        ("peak_over_interleaved", 1, 0.05),
        ("offload_reduction", 2, 0.25),
        ("k_kernels", 3, 0.20),
        ("speedup", 2, 0.20),
    ],
)
def test_published_rows(metric: str, count: int, tolerance: float) -> None:
    errors = errors_of(NAME, metric)
    assert len(errors) == count
    assert max(map(abs, errors)) <= tolerance


def test_the_models_have_their_parameters() -> None:
    """Layers of 8 h^2 in the feed-forward, 2 h^2 and 8 groups of keys and values in attention, one vocabulary."""
    for name, (hidden, layers) in SHAPES.items():
        count = layers * (10 * hidden**2 + 2 * hidden * 1024) + 32000 * hidden
        assert count / 1e9 == pytest.approx(float(name[:-1]), rel=0.006)


def test_criterion_by_hand() -> None:
    """k = 10 / (3 (6 h + s)) x 220 TFLOP/s / 15 GB/s, halved by twice the link."""
    k = 10 / (3 * (6 * 6144 + 8192)) * 220e12 / 15e9
    assert found(model="18.1B", tokens=8192)["k"] == pytest.approx(k)
    assert found(model="18.1B", tokens=8192, link=30.0)["k"] == pytest.approx(k / 2)


def test_what_leaves_below_one_costs_nothing() -> None:
    assert found()["k"] < 1
    assert found()["offload_slowdown"] <= 1.02
    assert found(link=5.0)["offload_slowdown"] > 1.2
    assert found(link=5.0, offload="selective")["offload_slowdown"] < found(link=5.0)["offload_slowdown"]


def test_stages_and_memory() -> None:
    """Without offload a device's activations do not fall with more stages, with it they do."""
    few, many = (found(devices=devices, offload="none", schedule="1f1b") for devices in (16, 32))
    assert few["activation_peak"] == pytest.approx(many["activation_peak"], rel=0.05)
    few, many = (found(devices=devices) for devices in (8, 32))
    assert many["activation_peak"] <= few["activation_peak"]
    peaks = [found(offload=how)["activation_peak"] for how in ("none", "half", "full")]
    assert peaks == sorted(peaks, reverse=True)
    assert found(offload="none")["offload_reduction"] == 0
    assert found(offload="none")["offload_slowdown"] == 1


def test_more_micro_batches_fill_the_pipeline() -> None:
    bubbles = [found(micro_batches=count)["bubble"] for count in (1, 2, 8)]
    assert bubbles == sorted(bubbles, reverse=True)
    speedups = [found(micro_batches=count)["speedup"] for count in (2, 4)]
    assert speedups == sorted(speedups)


def test_divided_layers_and_layers_run_again() -> None:
    """Interleaved over stages of eight is what it is compared with. A layer that runs again keeps 2 of its 20 bytes and
    takes a third more time."""
    base = found(schedule="interleaved", offload="none", tensor=8)
    assert base["speedup"] == pytest.approx(1)
    assert base["peak_over_tensor"] == pytest.approx(1)
    plain, again = (found(schedule="interleaved", offload="none", recompute=each) for each in ("norms", "full"))
    by_hand = plain["activation_peak"] / 10 + 20 * 4096 * 10240
    assert again["activation_peak"] == pytest.approx(by_hand)
    assert again["mfu"] / plain["mfu"] == pytest.approx(3 / 4, rel=0.02)
    with pytest.raises(InputError, match="divisor of 7 heads"):
        found(hidden=1000, tensor=2)


def test_tensor_parallelism_needs_as_many_devices() -> None:
    assert "speedup" not in found(devices=12, model="10.5B")


def test_keys_are_checked() -> None:
    with pytest.raises(InputError, match="9B"):
        load_study(NAME).config({"model": "9B"})
