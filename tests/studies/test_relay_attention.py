"""RelayAttention's operator against its authors' measurements, and in its limits."""

from __future__ import annotations

import math
import statistics

import pytest

from studies.frame.catalogue import load_study
from studies.published.relay_attention import A40_US
from studies.relay_attention import CONSTANTS, _call_s, _machine, _ops
from tests.studies.checks import check_honest, errors_of, rows

NAME = "relay-attention"


def ask(**config: object) -> dict[str, float]:
    study = load_study(NAME)
    return dict(study.simulate(study.config(config)))


def test_it_is_honest() -> None:
    check_honest(NAME)


def test_the_grid_is_whole() -> None:
    """7 batches, 4 or 5 prompts each; the call that does not fit has neither paged time."""
    assert len(A40_US) == 32
    assert [row[:2] for row in A40_US if None in row] == [(128, 16384)]


@pytest.mark.parametrize(
    ("metric", "median", "mean"),
    [
        # Stated rates alone: what a launch costs is missing.
        ("time_bound", 0.10, 0.15),
        ("speed_up_bound", 0.10, 0.15),
        # The device's launch overhead, from products that have nothing to do with this.
        ("time", 0.05, 0.07),
        ("speed_up", 0.05, 0.06),
        # Two constants fitted to the other half of the grid.
        ("time_calibrated", 0.03, 0.05),
    ],
)
def test_published_rows(metric: str, median: float, mean: float) -> None:
    errors = [abs(error) for error in errors_of(NAME, metric)]
    assert statistics.median(errors) <= median
    assert statistics.mean(errors) <= mean


def test_the_bound_rests_on_no_fit_and_is_a_bound() -> None:
    """With more than one request, whose times are steady, no published call is faster than the stated rates."""
    found = [row for row in rows(NAME) if row.metric == "time_bound"]
    assert all(row.free_of_fits for row in found)
    assert all(row.published and row.simulated <= row.published for row in found if row.config["batch"] != 1)


def test_what_was_fitted_is_the_best_of_its_half_of_the_grid() -> None:
    """A neighbour in either of the two numbers has a larger mean square of the logarithm of the error."""

    def loss(launch_s: float, share: float) -> float:
        system = _machine("a40", launch_s, share)
        errors = [
            math.log(_call_s(system, _ops(kernel, batch, prompt, 256, 52, 128)) * 1e6 / us)
            for batch, prompt, _, _, paged_us, relay_us in A40_US
            for kernel, us in (("paged", paged_us), ("relay", relay_us))
            if us is not None
        ]
        return statistics.mean(error**2 for error in errors)

    launch_s, share = CONSTANTS["launch_here"].value, CONSTANTS["share_here"].value
    best = loss(launch_s, share)
    for other in (
        (launch_s - 5e-7, share),
        (launch_s + 5e-7, share),
        (launch_s, share - 0.01),
        (launch_s, share + 0.01),
    ):
        assert best < loss(*other)


def test_access_ratio_is_the_published_formula() -> None:
    """The formula counts the merge as five reads or writes of a result, we count what each operation moves: 2 %."""
    assert max(map(abs, errors_of(NAME, "access_ratio"))) <= 0.02


def test_the_speed_up_grows_with_what_is_shared_and_by_how_many() -> None:
    for key, values in (("prompt", (128, 1024, 8192)), ("batch", (2, 16, 128))):
        found = [ask(**{key: value})["speed_up_bound"] for value in values]
        assert found == sorted(found)
    # Never more than the requests that share.
    assert ask(batch=4, prompt=131072)["speed_up_bound"] < 4


def test_a_lone_request_gains_nothing() -> None:
    assert ask(batch=1)["speed_up"] < 1


def test_twice_the_heads_move_twice_the_bytes() -> None:
    one, two = ask(heads=16), ask(heads=32)
    assert two["time_bound"] == pytest.approx(2 * one["time_bound"], rel=1e-6)


def test_other_devices_read_at_their_own_rate() -> None:
    """A large paged call is bound by memory: 1,555 against 696 GB/s."""
    call = {"batch": 32, "prompt": 16384, "kernel": "paged"}
    a40, a100 = (ask(device=device, **call) for device in ("a40", "a100-40gb-pcie"))
    assert a40["time_bound"] / a100["time_bound"] == pytest.approx(1555 / 696, rel=0.01)
    assert "time_calibrated" not in a100
