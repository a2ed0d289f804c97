"""What the page is given: columns, fronts, curves, within limits of size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from dse.reports.exploration import data
from dse.reports.exploration.data import bottlenecks, compact_json, page_data, search_curves, sensitivities
from dse.reports.exploration.labels import metric_label, metric_unit, parameter_unit
from dse.reports.exploration.run import read_run
from dse.space.parameter import Parameter


def test_columns_say_what_the_store_says(random_run: Path) -> None:
    run = read_run(random_run)
    found = page_data(run)
    stage = found["stages"][0]
    outcomes = run.stages[0].outcomes
    names = [metric["name"] for metric in found["metrics"]]
    assert names[:3] == ["latency_s", "area_mm2", "weights_error"]  # objectives first
    assert "decode.latency_s" not in names  # the same, of the only workload
    assert [metric["sense"] for metric in found["metrics"][:4]] == [1, 1, 1, 0]
    place = {ordinal: at for at, ordinal in enumerate(outcomes.ordinals.tolist())}
    latencies = stage["metrics"][0]
    for at, ordinal in enumerate(stage["ordinals"]):
        assert latencies[at] == outcomes.metrics["latency_s"][place[ordinal]]
        choices = run.space.codec.decode(np.array([ordinal]))[0]
        assert [column[at] for column in stage["choices"]] == choices.tolist()
    assert len(stage["ordinals"]) == stage["simulated"] == 200 - run.summary["infeasible"]["does not fit"]
    front = [design["ordinal"] for design in run.summary["front"]]
    assert stage["ordinals"][: stage["front"]] == front


def test_of_too_many_designs_the_front_stays(whole_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(data, "MOST_SHOWN", 60)
    run = read_run(whole_run)
    stage = page_data(run)["stages"][0]
    assert len(stage["ordinals"]) == len(set(stage["ordinals"])) == 60
    assert stage["ordinals"][: stage["front"]] == [design["ordinal"] for design in run.summary["front"]]
    assert stage["simulated"] == 378 - 126


def test_compact_json_reads_back_to_five_digits() -> None:
    found = json.loads(compact_json({"a": [0.00012345678, -12345678.0, 3, float("inf")], "b": [True, None, "<é"]}))
    assert found == {"a": [0.00012346, -12346000, 3, None], "b": [True, None, "<é"]}


def test_curves_end_where_the_summary_does(random_run: Path, local_run: Path, whole_run: Path) -> None:
    for folder in (random_run, local_run):
        run = read_run(folder)
        found = search_curves(run)
        assert found["counts"][-1] == len(run.stages[0].outcomes)
        assert found["run"][-1] == pytest.approx(run.summary["hypervolume"])
        assert all(a <= b + 1e-12 for a, b in zip(found["run"], found["run"][1:], strict=False))
    assert search_curves(read_run(random_run))["random"] is None
    local = read_run(local_run)
    assert search_curves(local)["random"][-1] == pytest.approx(local.summary["random_hypervolume"])
    whole = read_run(whole_run)
    found = search_curves(whole)
    assert found["run"] is None  # in the order of their numbers: no search
    assert found["random"][-1] == pytest.approx(whole.summary["hypervolume"])


def test_what_decides_the_small_space(whole_run: Path) -> None:
    found = {each.metric: each for each in sensitivities(read_run(whole_run))}
    assert list(found) == ["latency_s", "area_mm2", "weights_error"]
    # The error of weights is that of their format and of nothing else.
    assert found["weights_error"].effects[0].parameter == "weights"
    assert found["weights_error"].effects[0].share == pytest.approx(1)
    # Area is macs / 100 + bandwidth / 1e10 + capacity / 1e9: 2.56 to 164, 2.5 to 40, 1 to 8.
    assert [effect.parameter for effect in found["area_mm2"].effects[:3]] == ["macs", "bandwidth", "capacity"]
    assert found["latency_s"].designs == 252  # those that fit
    # Weights are read once a step: 16 times the bandwidth is at most 16 times as fast.
    bandwidth = next(effect for effect in found["latency_s"].effects if effect.parameter == "bandwidth")
    assert 4 < bandwidth.span <= 16


def test_bottlenecks_are_shares(whole_run: Path) -> None:
    found = bottlenecks(read_run(whole_run))
    assert set(found) <= {"array", "lanes", "lpddr", "overhead"}
    assert [sum(shares) for shares in zip(*found.values(), strict=True)] == [pytest.approx(1), pytest.approx(1)]


def test_labels() -> None:
    assert (metric_label("prefill.peak_bytes"), metric_unit("prefill.peak_bytes")) == ("prefill: peak", "B")
    assert (metric_label("score"), metric_unit("score")) == ("score", "")
    assert parameter_unit(Parameter(log=["50 GB/s", "1600 GB/s", 11])) == "B/s"
    assert parameter_unit(Parameter(choices=["0.7 GHz", "1 GHz"])) == "Hz"
    assert parameter_unit(Parameter(choices=["bf16", "mxfp4"])) == ""
    assert parameter_unit(Parameter(range=[1, 9, 2])) == ""
