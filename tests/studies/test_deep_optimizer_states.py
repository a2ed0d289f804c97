"""Deep Optimizer States against the authors' logs, and in its limits."""

from __future__ import annotations

from itertools import pairwise

import pytest

from studies.deep_optimizer_states import STUDY
from studies.frame.rows import Row
from tests.studies.checks import check_honest, errors_of, rows

NAME = "deep-optimizer-states"


def simulated(**changes: str | float) -> dict[str, float]:
    return dict(STUDY.simulate(STUDY.config(changes)))


def test_it_is_honest() -> None:
    check_honest(NAME)


@pytest.mark.parametrize(
    ("metric", "tolerance"),
    [("forward", 0.15), ("backward", 0.22), ("update_fitted", 0.16), ("iteration", 0.20), ("speed_up", 0.15)],
)
def test_published_rows(metric: str, tolerance: float) -> None:
    """The logs' last iterations that nothing was fitted to: five models, ratios of TwinFlow, strides, two machines."""
    errors = errors_of(NAME, metric)
    assert errors
    assert max(map(abs, errors)) <= tolerance


def test_the_loop_of_the_host_from_a_recalled_table() -> None:
    # ZeRO-Offload's share of the memory's rate, on hosts it never saw: nothing visits the device in these rows.
    def alone(row: Row) -> bool:
        return row.metric == "update" and row.config["system"] != "deep"

    errors = [row.error for row in rows(NAME) if alone(row) and row.error is not None]
    assert len(errors) == 10
    assert max(map(abs, errors)) <= 0.25


def test_the_whole_ratio_on_the_device_leaves_the_host_out() -> None:
    found = simulated(ratio=0.0, adam=1e-6, host=0.001)
    # 30 bytes a parameter at 3.35 TB/s, of 15,326,663,680 / 4.
    assert found["update_fitted"] == pytest.approx(3_831_665_920 * 30 / 3.35e12)
    assert found["backward"] == pytest.approx(simulated(ratio=0.0, system="deepspeed")["backward"])


def test_no_stride_is_the_host_alone() -> None:
    found = simulated(stride=0, gradients="exposed")
    loop = simulated(system="gradients")
    assert found["backward"] == pytest.approx(loop["backward"])
    # The loop waits for each way up, else only the last one counts: 2 bytes a parameter at 50 GB/s.
    assert 0 < loop["update_fitted"] - found["update_fitted"] <= 3_831_665_920 * 2 / 50e9
    assert simulated(stride=1000)["update_fitted"] == pytest.approx(found["update_fitted"])


def test_more_of_anything_is_not_slower() -> None:
    for key, values in (("link", (5.0, 10.0, 25.0, 60.0)), ("host", (100.0, 300.0, 900.0)), ("adam", (1.0, 4.0, 16.0))):
        found = [simulated(**{key: value})["update_fitted"] for value in values]
        # Where the host's memory is what counts, another order of queueing for it may cost a little.
        assert all(later <= 1.03 * earlier for earlier, later in pairwise(found)), key
        assert found[-1] < found[0]
    backward = [simulated(ratio=ratio, system="deepspeed")["backward"] for ratio in (0.0, 0.4, 0.8, 1.0)]
    assert backward == sorted(backward)


def test_when_the_device_is_worth_it() -> None:
    slow, fast = simulated(link=2.0, host=600.0), simulated(link=100.0, host=200.0)
    assert slow["best_stride"] == 0 or slow["best_stride"] > 10
    assert fast["best_stride"] == 1
    assert slow["best_gain"] < 1.05 < 1.5 < fast["best_gain"]
    # The update is once for all micro-batches: what it gains fades.
    gains = [simulated(accumulation=count)["speed_up_bare"] for count in (1, 4, 16, 64)]
    assert gains == sorted(gains, reverse=True)
    assert gains[-1] < 1.15


def test_gradients_that_hide() -> None:
    assert simulated(gradients="overlapped")["backward"] < simulated()["backward"]
