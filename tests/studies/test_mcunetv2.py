"""MCUNetV2 against published peaks, and in its limits."""

from __future__ import annotations

import pytest

from studies.frame.catalogue import load_study
from tests.studies.checks import check_honest, errors_of

NAME = "mcunetv2"


def at(**changes: object) -> dict[str, float]:
    study = load_study(NAME)
    return dict(study.simulate(study.config(changes)))


def test_it_is_honest() -> None:
    check_honest(NAME)


@pytest.mark.parametrize(
    ("metric", "tolerance"),
    [
        ("macs", 0.01),
        ("activations", 0.003),
        ("whole", 0.001),
        ("patched", 0.005),
        ("reduction", 0.001),
        ("patches", 0.0),
        ("overhead", 0.10),
    ],
)
def test_published_rows(metric: str, tolerance: float) -> None:
    """Liveness is exact but for figures printed in whole kB; halos are clipped at the border, and 10 % is recalled."""
    errors = errors_of(NAME, metric)
    assert errors
    assert max(map(abs, errors)) <= tolerance


def test_memory_measured_is_tensors_buffers_and_a_tenth() -> None:
    """The first table's SRAM, measured on the device: ours lacks what the firmware takes besides."""
    near = [error for error in errors_of(NAME, "sram") if error > -0.5]
    assert len(near) == 6
    assert all(-0.12 < error < 0 for error in near)


def test_one_patch_computes_nothing_twice() -> None:
    found = at(blocks=5, rows=1, columns=1)
    assert found["overhead"] == 0
    # The stage's output has its room from the first patch on: 28 x 28 x 32.
    assert found["patched"] == found["whole"] + 28**2 * 32


def test_finer_grids_hold_less_and_compute_more() -> None:
    found = [at(blocks=5, rows=side, columns=side) for side in (1, 2, 4, 7)]
    peaks, work = [one["patched"] for one in found], [one["overhead"] for one in found]
    assert peaks == sorted(peaks, reverse=True)
    assert work == sorted(work)


def test_with_room_enough_nothing_is_cut() -> None:
    assert at(capacity_kib=1372.0)["patches"] == 1
    assert at(capacity_kib=1371.0)["patches"] > 1


def test_memory_grows_with_the_square_of_the_side() -> None:
    assert at(resolution=448)["whole"] == 4 * at()["whole"]
