"""Occupancy of tiers over a pass: a panel for each, nothing above what the plan holds, equal bytes for equal plans."""

from __future__ import annotations

from typing import Any

import pytest

from dse.reports.figures.style import COLUMN_WIDTH_IN, DOUBLE_WIDTH_IN, png_bytes, svg_bytes
from dse.reports.figures.tier_plan import tier_plan_figure
from mappers.planner.tiers import Interval, Route, Tensor, Tier, TierPlan, TierProblem, best_stream


def planned() -> tuple[TierProblem, TierPlan]:
    """Four layers of 4 GB, of which two stay in 12 GB."""
    problem = TierProblem(
        "ring",
        "near",
        (Tier("near", 12e9), Tier("far", 1e12)),
        (Route("far", "near", (("link", 1e-9),)),),
        tuple(Interval(f"i{at}", 1.0) for at in range(4)),
        tuple(Tensor(f"t{at}", 4e9, (at,), group="attention") for at in range(4)),
    )
    found = best_stream(problem)
    assert found is not None
    return problem, found[0]


@pytest.mark.parametrize("width_in", [COLUMN_WIDTH_IN, DOUBLE_WIDTH_IN])
def test_one_panel_a_tier_with_the_plan_s_peak(width_in: float) -> None:
    problem, plan = planned()
    figure = tier_plan_figure(problem, plan, "a ring", width_in=width_in)
    panels: list[Any] = figure.axes
    assert [axes.get_ylabel() for axes in panels] == ["near (GB)", "far (GB)"]
    for axes, tier in zip(panels, ("near", "far"), strict=True):
        tops = [max(patch.get_data().values) for patch in axes.patches]
        assert max(tops) == pytest.approx(plan.peak_bytes(problem)[tier] / 1e9)
    assert panels[-1].get_xlim()[1] == pytest.approx(plan.latency_s(problem))
    assert png_bytes(figure)[:4] == b"\x89PNG"


def test_simulated_ends_are_the_axis_and_equal_plans_are_equal_bytes() -> None:
    problem, plan = planned()
    ends = (0.002, 0.004, 0.006, 0.009)
    first, second = (svg_bytes(tier_plan_figure(problem, plan, "a ring", ends)) for _ in range(2))
    assert first == second
    figure = tier_plan_figure(problem, plan, "a ring", ends)
    assert figure.axes[-1].get_xlabel() == "Time in one pass (ms)"
    assert figure.axes[-1].get_xlim()[1] == pytest.approx(9.0)
