"""``tiercade experts``, and the options for caches of experts of ``tiercade simulate``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from dse.cli.entry import run
from tests.reference_data import reference_file
from workloads.traces import synthetic_routing
from workloads.traces.routing_files import RoutingTrace, read_routing, write_routing

SMALL = ["experts", "--experts", "16", "--top-k", "2", "--layers", "2", "--samples", "2", "--tokens", "128"]


def document(arguments: list[str], capsys: pytest.CaptureFixture[str], code: int = 0) -> dict[str, Any]:
    assert run([*arguments, "--json"]) == code
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def test_a_uniform_router_hits_by_chance(capsys: pytest.CaptureFixture[str]) -> None:
    found = document([*SMALL, "--samples", "8", "--rho", "1,2,8"], capsys)
    assert found["uniform"] == [2 / 16, 4 / 16, 1.0]
    assert found["hit_rates"]["lru"] == pytest.approx([0.125, 0.25, 1.0], abs=0.05)
    assert set(found["hit_rates"]) == {"lru", "lfu", "belady", "sch-16", "sch-64"}
    assert found["hit_rates"]["belady"][1] > found["hit_rates"]["sch-16"][1] > found["hit_rates"]["lru"][1]


def test_a_requested_consistency_is_reported(capsys: pytest.CaptureFixture[str]) -> None:
    found = document([*SMALL, "--samples", "6", "--tokens", "400", "--srp", "0.5"], capsys)
    assert found["segments"][0]["tokens"] == 16
    assert found["segments"][0]["srp"] == pytest.approx(0.5, abs=0.01)
    assert found["router"]["drift"] > 0


def test_the_report_has_segments_and_curves(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    figure, out = tmp_path / "curves.svg", tmp_path / "routing.csv"
    options = ["--router", "mixtral-8x7b", "--layers", "2", "--samples", "2", "--tokens", "64", "--segments", "8"]
    assert run(["experts", *options, "--figure", str(figure), "--out", str(out)]) == 0
    text = capsys.readouterr().out
    for word in ("mixtral-8x7b: 2 samples of 64 tokens, 2 layers, 2 of 8 experts", "SRP", "sch-8", "belady", "uniform"):
        assert word in text
    assert figure.read_text().startswith("<?xml")
    stream = read_routing(out).stream
    assert (stream.steps, stream.layers, stream.experts) == (64, 2, 8)
    capsys.readouterr()
    again = document(["experts", "--routing", str(out), "--segments", "8"], capsys)
    assert again["routing"] == "routing.csv"
    assert again["router"] is None


@pytest.mark.slow
def test_fitted_routers_stand_beside_what_was_published(capsys: pytest.CaptureFixture[str]) -> None:
    path = reference_file("moe_cache_hit_rates.csv")
    assert run(["experts", "--published", str(path)]) == 0
    assert "Mixtral-8x7B" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (["experts"], "--routing"),
        ([*SMALL, "--router", "olmoe-1b-7b"], "together"),
        (["experts", "--experts", "8"], "--layers"),
        (["experts", "--router", "mixtral"], "did you mean 'mixtral-8x7b'"),
        (["experts", "--routing", "none.csv"], "none.csv"),
        (["experts", "--published", "none.csv"], "none.csv"),
        ([*SMALL, "--rules", "mru"], "--rules"),
        ([*SMALL, "--segments", "x"], "--segments"),
        ([*SMALL, "--segments", "0"], "--segments"),
        ([*SMALL, "--segments", "500"], "--segments"),
        ([*SMALL, "--rho", "-1"], "--rho"),
        ([*SMALL, "--rho", "0.01"], "--rho"),
        ([*SMALL, "--skew", "-1"], "--skew"),
        ([*SMALL, "--repeat", "nan"], "--repeat"),
        ([*SMALL, "--samples", "0"], "--samples"),
        ([*SMALL, "--tokens", "0"], "--tokens"),
        ([*SMALL, "--seed", "-1"], "--seed"),
        ([*SMALL, "--top-k", "17"], "--top-k"),
        ([*SMALL, "--srp", "2"], "--srp"),
        ([*SMALL, "--figure", "curve.txt"], "--figure"),
        ([*SMALL, "--out", "no/such/folder.csv"], "folder"),
        ([*SMALL, "--out", "routing.txt"], "routing.txt"),
    ],
)
def test_wrong_options_are_named(arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) in (2, 3)
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert word in captured.err


MIXTRAL = ["simulate", "--model", "mixtral-8x7b", "--system", "h100-xeon", "--context", "256"]
CACHED = [*MIXTRAL, "--expert-cache", "3", "--steps", "3", "--warmup", "8"]


def latency_s(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> float:
    return float(document(arguments, capsys)["latency_s"])


def test_ways_to_fetch(capsys: pytest.CaptureFixture[str]) -> None:
    on_demand = latency_s(CACHED, capsys)
    assert latency_s([*CACHED, "--fetch", "pre-gated"], capsys) < on_demand
    assert latency_s([*CACHED, "--fetch", "prefetch-all"], capsys) > on_demand
    assert latency_s([*CACHED, "--misses-on", "cpu"], capsys) < on_demand
    assert latency_s([*CACHED, "--cold-experts", "int4_g128"], capsys) < on_demand
    assert latency_s([*CACHED, "--replacement", "belady"], capsys) <= on_demand
    wrong = ["--fetch", "predicted", "--recall", "0.9", "--precision", "0.4"]
    assert latency_s([*CACHED, *wrong], capsys) > on_demand


def test_routing_from_a_file_and_from_a_fitted_router(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "routing.npz"
    stream = synthetic_routing(steps=11, layers=32, batch=1, experts=8, top_k=2)
    write_routing(RoutingTrace(stream), path)
    # The default stream has the same seed and no skew.
    assert latency_s([*CACHED, "--routing", str(path)], capsys) == latency_s(CACHED, capsys)
    found = document([*CACHED, "--router", "mixtral-8x7b"], capsys)
    assert any("3 of 8 pieces cached per layer by lru" in note for note in found["notes"])


def test_streamed_experts_serve_all_parts_of_a_batch(capsys: pytest.CaptureFixture[str]) -> None:
    streamed = [*MIXTRAL, "--place", "experts=ddr"]
    small = latency_s([*streamed, "--batch", "16"], capsys)
    gathered = latency_s([*streamed, "--batch", "64", "--attention-parts", "4"], capsys)
    # The experts' way from memory decides, and all are taken by 16 tokens already.
    assert gathered == pytest.approx(small, rel=0.1)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ([*MIXTRAL, "--batch", "6", "--attention-parts", "4"], "--attention-parts: a batch of 6 in 4 parts"),
        ([*MIXTRAL, "--attention-parts", "0"], "--attention-parts"),
        (
            [
                "simulate",
                "--model",
                "gpt-2",
                "--system",
                "h100-sxm",
                "--context",
                "64",
                "--batch",
                "2",
                "--attention-parts",
                "2",
            ],
            "--attention-parts: GPT-2 has no experts",
        ),
        ([*MIXTRAL, "--router", "mixtral-8x7b"], "--router: no cache of experts"),
        ([*MIXTRAL, "--misses-on", "cpu"], "--misses-on: no cache of experts"),
        ([*CACHED, "--fetch", "prefetch"], "--fetch"),
        ([*CACHED, "--fetch", "pre-gated", "--fetch-ahead", "0"], "--fetch-ahead"),
        ([*CACHED, "--recall", "2"], "--recall"),
        ([*CACHED, "--precision", "0"], "--precision"),
        ([*CACHED, "--replacement", "fifo"], "--replacement"),
        ([*CACHED, "--misses-on", "gpu"], "--misses-on"),
        ([*CACHED, "--misses-on", "vector"], "'vector' is at home in 'hbm'"),
        ([*CACHED, "--misses-on", "cpu", "--fetch", "decoupled"], "--misses-on"),
        ([*CACHED, "--cold-experts", "int5"], "int5"),
        ([*CACHED, "--cold-experts", "int4_g128:2"], "--cold-experts"),
        ([*CACHED, "--router", "olmoe-1b-7b"], "--router: 64 experts; expected 8"),
        ([*CACHED, "--router", "mixtral-8x7b", "--routing", "x.csv"], "one of the two"),
        ([*CACHED, "--routing", "no.csv"], "no.csv"),
    ],
)
def test_wrong_cache_options_are_named(arguments: list[str], word: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert word in captured.err


def test_routing_of_another_batch_or_length_is_refused(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "routing.csv"
    write_routing(RoutingTrace(synthetic_routing(steps=4, layers=32, batch=2, experts=8, top_k=2)), path)
    assert run([*CACHED, "--routing", str(path)]) == 2
    assert "--steps: 4 steps, 8 of warm-up and 3 timed are 11" in capsys.readouterr().err
    assert run([*CACHED, "--routing", str(path), "--warmup", "1"]) == 2
    assert "--routing: 2 sequences; expected 1" in capsys.readouterr().err
