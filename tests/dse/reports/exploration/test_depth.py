"""Designs in depth: which are chosen, and that they are the designs of the store."""

from __future__ import annotations

import gzip
import json
from base64 import b64decode
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from dse.reports.chrome_trace import validate_trace
from dse.reports.exploration import depth_data
from dse.reports.exploration.depth import DesignInDepth, can_be_drawn, chosen_designs, in_depth, spread
from dse.reports.exploration.depth_figures import depth_figures
from dse.reports.exploration.run import ExploredRun, read_run
from dse.space.space import WorkloadSpec
from workloads.errors import InputError


@pytest.fixture(scope="module")
def run(whole_run: Path) -> ExploredRun:
    return read_run(whole_run)


@pytest.fixture(scope="module")
def designs(run: ExploredRun) -> tuple[DesignInDepth, ...]:
    return in_depth(run, chosen_designs(run, 4))[0]


def test_spread_takes_the_ends_then_the_middle() -> None:
    """On a straight line of logarithms: both ends, the middle of it, then the middle of a half."""
    line = np.array([[10.0**at, 10.0 ** (8 - at)] for at in range(9)])
    assert spread(line, 2).tolist() == [0, 8]
    assert spread(line, 3).tolist() == [0, 4, 8]
    assert spread(line, 5).tolist() == [0, 2, 4, 6, 8]
    assert spread(line, 9).tolist() == spread(line, 20).tolist() == list(range(9))


def test_spread_scales_each_objective() -> None:
    """A metre and a millimetre apart count the same where that is all there is; maximised objectives are negative."""
    rows = np.array([[1.0, -1000.0], [1.5, -500.0], [2.0, -1.0]])
    assert spread(rows, 2).tolist() == [0, 2] or spread(rows, 2).tolist() == [0, 1]
    assert 0 in spread(rows, 1)


@given(arrays(np.float64, st.tuples(st.integers(1, 30), st.integers(1, 4)), elements=st.floats(0.1, 1e6)))
def test_spread_is_distinct_rising_and_holds_the_best(found: NDArray[np.float64]) -> None:
    most = 6
    places = spread(found, most)
    assert (np.diff(places) > 0).all()
    assert len(places) == min(most, len(found))
    for column in found.T:
        assert column[places].min() == column.min()


def test_designs_are_those_of_the_store(run: ExploredRun, designs: tuple[DesignInDepth, ...]) -> None:
    front = {design["ordinal"]: design for design in run.summary["front"]}
    assert len(designs) == 4
    for each in designs:
        kept = front[each.ordinal]
        [result] = each.results.values()
        assert result.latency_s == pytest.approx(kept["metrics"]["latency_s"], rel=1e-9)
        assert result.total_energy_j == pytest.approx(kept["metrics"]["energy_j"], rel=1e-9)
        assert result.bottleneck == kept["bottleneck"]
        assert dict(each.design.values) == kept["parameters"]
        area = next(stack for stack in each.areas if stack.title == "area")
        assert sum(piece.area_mm2 for piece in area.pieces) == pytest.approx(kept["metrics"]["area_mm2"], rel=1e-9)
        assert [piece.name for piece in area.pieces] == ["macs", "bandwidth", "capacity"]


def test_picks_come_first_and_must_be_in_the_run(run: ExploredRun) -> None:
    front = [design["ordinal"] for design in run.summary["front"]]
    outcomes = run.stages[0].outcomes
    simulated = outcomes.ordinals[np.isfinite(outcomes.metrics["latency_s"])]
    beaten = int(np.setdiff1d(simulated, front)[0])
    chosen = chosen_designs(run, 3, [beaten])
    assert chosen[0] == beaten
    assert len(chosen) == 4
    assert chosen_designs(run, 0, [beaten]) == [beaten]
    with pytest.raises(InputError, match="design 100,000 was not simulated in this run at roofline"):
        chosen_designs(run, 3, [100_000])


def test_served_traces_are_not_drawn(run: ExploredRun) -> None:
    assert can_be_drawn(run.space)
    served = WorkloadSpec(model="llama-3.2-1b", phase="serve", requests="azure-code-like:20@2")
    assert not can_be_drawn(run.space.model_copy(update={"workloads": {"served": served}}))


def test_amounts_add_up(designs: tuple[DesignInDepth, ...]) -> None:
    document = depth_data.depth_data(designs, "roofline")
    assert json.loads(json.dumps(document)) == document
    known = {part["name"] for part in document["parts"]} | {"other"}
    for each, drawn in zip(designs, document["designs"], strict=True):
        [result] = each.results.values()
        [work] = drawn["works"]
        assert sum(seconds for _, seconds in work["time"]) == pytest.approx(result.latency_s)
        assert sum(joules for _, joules in work["energy"]) == pytest.approx(result.total_energy_j)
        assert {name for name, _ in work["time"] + work["energy"]} <= known
        for tier, capacity, roles in work["memory"]:
            assert sum(size for _, size in roles) == pytest.approx(result.peak_bytes[tier], rel=1e-5)
            assert capacity == each.design.system.tiers[tier].capacity_bytes
        assert work["bound"] <= work["latency"] * (1 + 1e-9)
        highest = max(rate for _, rate in work["peaks"])
        assert all(done <= seconds * highest * (1 + 1e-9) for _, _, _, seconds, done, _, _ in work["ops"])


def test_a_simulator_that_has_changed_is_told(designs: tuple[DesignInDepth, ...]) -> None:
    [work] = depth_data.depth_data(designs[:1], "roofline")["designs"][0]["works"]
    assert not any("has changed" in note for note in work["notes"])
    other = replace(designs[0], kept_s={"decode": 2.0})
    [work] = depth_data.depth_data([other], "roofline")["designs"][0]["works"]
    assert work["notes"][0] == "The run says 2.00 s: the simulator has changed since."


def test_designs_that_cannot_be_made_any_more_are_told(run: ExploredRun) -> None:
    ordinal = run.summary["front"][0]["ordinal"]
    gone = run.space.workloads["decode"].model_copy(update={"model": "no-such-model"})
    broken = replace(run, space=run.space.model_copy(update={"workloads": {"decode": gone}}))
    found, refused = in_depth(broken, [ordinal])
    assert found == ()
    assert "no-such-model" in refused[ordinal]


def test_timelines_are_valid_traces_and_only_as_many_as_fit(
    designs: tuple[DesignInDepth, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    document = depth_data.depth_data(designs, "roofline")
    texts = [work["trace"] for each in document["designs"] for work in each["works"]]
    for text in texts:
        trace = json.loads(gzip.decompress(b64decode(text)))
        validate_trace(trace)
    monkeypatch.setattr(depth_data, "MOST_TRACE_BYTES", min(map(len, texts)))
    few = [work["trace"] for each in depth_data.depth_data(designs, "roofline")["designs"] for work in each["works"]]
    assert sum(isinstance(trace, str) for trace in few) == 1
    assert all(isinstance(trace, str) or trace == len(b64decode(text)) for trace, text in zip(few, texts, strict=True))


def test_figures(run: ExploredRun, designs: tuple[DesignInDepth, ...]) -> None:
    picked = designs[0].ordinal
    names = {"designs-time-decode", "designs-energy-decode", "designs-area", "designs-costed-parts"}
    assert set(depth_figures(run, designs)) == names
    drawn = {f"design-{picked}-decode-{name}" for name in ("roofline", "layer-stack", "time-by-bound", "memory-map")}
    assert set(depth_figures(run, designs, [picked])) == names | drawn
    assert depth_figures(run, ()) == {}
