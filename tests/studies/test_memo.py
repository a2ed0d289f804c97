"""MEMO against its numbers, and in its limits."""

from __future__ import annotations

import pytest

from studies.frame.catalogue import load_study
from tests.studies.checks import check_honest, errors_of, rows
from workloads.errors import InputError

NAME = "memo"


def found(**config: object) -> dict[str, float]:
    study = load_study(NAME)
    return dict(study.simulate(study.config(config)))


def test_it_is_honest() -> None:
    check_honest(NAME)


@pytest.mark.parametrize(
    ("metric", "tolerance"),
    [
        ("attention_share", 1e-9),
        ("unused", 0.05),
        ("reserved", 0.05),
        ("allocated", 0.05),
        ("mfu", 0.20),
    ],
)
def test_published_rows(metric: str, tolerance: float) -> None:
    errors = errors_of(NAME, metric)
    assert errors
    assert max(map(abs, errors)) <= tolerance


def test_the_published_utilisation_lies_between_both_sets_of_kernels() -> None:
    errors = [row.error for row in rows(NAME) if row.metric == "mfu"]
    assert None not in errors
    assert min(e for e in errors if e is not None) < 0 < max(e for e in errors if e is not None) <= 0.10


def test_skeletal_bytes_by_hand() -> None:
    # Figure 4: eight tensors of b s h elements and two of four times as much, 2 bytes each, over 8 devices.
    tokens = 1 << 16
    assert found(context=tokens)["skeletal"] == 32 * 2 * 16 * tokens * 4096 / 8


def test_alpha_rises_with_context_until_the_host_is_full() -> None:
    # Computation grows with the square of the context, transfers with the context; then 30 layers fill 250 GB.
    shares = [found(context=1 << exponent)["alpha"] for exponent in range(13, 21)]
    top = shares.index(max(shares))
    assert shares[: top + 1] == sorted(shares[: top + 1])
    assert shares[top:] == sorted(shares[top:], reverse=True)
    assert max(shares) == 1
    assert found(host=100)["alpha"] == 1
    # By hand: 2 bytes x 16 elements x s x h / 8 a layer; an eighth of it always, of the other 14 of 16 the share alpha.
    layer = 2 * (1 << 20) * 4096 / 8
    assert found()["alpha"] == pytest.approx((250e9 / 30 - 2 * layer) / (14 * layer), rel=1e-6)


def test_swapping_beats_recomputing_where_it_hides() -> None:
    one = found(context=1 << 18)
    assert one["alpha"] == 1
    assert one["speed_up"] > 1
    assert found(context=1 << 18, policy="recompute")["speed_up"] == pytest.approx(1, rel=1e-6)
    # A thousandth of the link: nothing can leave in time.
    assert "mfu" not in found(context=1 << 14, link=1)


def test_devices_must_divide_the_context() -> None:
    with pytest.raises(InputError) as error:
        found(context=1025)
    assert "multiple of 8" in str(error.value)


def test_groups_share_states_and_what_does_not_fit_has_no_time() -> None:
    # 65 billion parameters take 18 bytes each over 8 devices; with 8 groups 6 + 12 / 8.
    alone, shared = (found(model="gpt-65b", context=1 << 15, groups=groups) for groups in (1, 8))
    assert alone["fits"] == 0
    assert "mfu" not in alone
    assert shared["fits"] == 1
    assert 0.4 < shared["mfu"] < 0.65
    small = [found(context=1 << 16, groups=groups)["planned"] for groups in (1, 4)]
    # 6.66 billion parameters, over 8 devices: three quarters of their 12 bytes are spared.
    parameters = 32 * (12 * 4096**2 + 13 * 4096) + 2 * 4096 + 50257 * 4096
    assert small[0] - small[1] == pytest.approx(0.75 * 12 * parameters / 8, rel=1e-3)
