"""The content of reports: what is said is what was simulated."""

from __future__ import annotations

import dataclasses

import pytest

from dse.reports.compare import comparison, result_labels
from dse.reports.names import charge_text, slug
from dse.reports.summary import WORKSPACE, bottleneck_sentence, charges, headline, operations, tier_uses
from hw.spec.system import System
from simulator.result import Result

Case = tuple[Result, System]


def test_charges_add_up_to_the_latency(server: Case, laptop: Case, experts: Case) -> None:
    for result, _ in (server, laptop, experts):
        rows = charges(result)
        assert sum(row.seconds for row in rows) == pytest.approx(result.latency_s, rel=1e-6)
        assert sum(row.share for row in rows) == pytest.approx(1, rel=1e-6)
        shown = [row.seconds for row in rows if row.name != "other"]
        assert shown == sorted(shown, reverse=True)


def test_operations_keep_work_bytes_and_time(server: Case, experts: Case) -> None:
    for result, _ in (server, experts):
        merged = operations(result)
        assert sum(op.seconds for op in merged) == pytest.approx(sum(row.total_s for row in result.ops))
        assert sum(op.operations for op in merged) == pytest.approx(sum(r.count * r.operations for r in result.ops))
        assert sum(op.bytes for op in merged) == pytest.approx(sum(r.count * r.bytes for r in result.ops))


def test_variants_of_a_layer_stand_together_per_step(server: Case) -> None:
    result = server[0]
    rows = [row for row in result.ops if row.op == "qkv"]
    variants = tuple(dataclasses.replace(row, layer=f"{row.layer} touching {n}") for n in (2, 3) for row in rows)
    merged = operations(dataclasses.replace(result, ops=variants, steps=2))
    assert [(op.layer, op.name, op.count) for op in merged] == [("layer", "qkv", 32)]
    assert merged[0].seconds == pytest.approx(rows[0].total_s)


def test_memory_by_role_adds_up_to_the_peak(server: Case, laptop: Case, experts: Case) -> None:
    for result, _ in (server, laptop, experts):
        uses = tier_uses(result)
        assert [use.tier for use in uses] == list(result.capacity_bytes)
        for use in uses:
            assert sum(size for _, size in use.by_role) == pytest.approx(use.peak_bytes, rel=1e-5)
            assert use.share <= 1
    assert dict(tier_uses(laptop[0])[0].by_role)[WORKSPACE] > 1e9


def test_the_bottleneck_is_one_sentence(server: Case, laptop: Case) -> None:
    result = server[0]
    half = {"hbm": result.latency_s * 0.4, "overhead": result.latency_s * 0.6}
    assert bottleneck_sentence(dataclasses.replace(result, time_by_bound_s={"hbm": result.latency_s})) == (
        "100 % of the time is bound by tier hbm"
    )
    assert bottleneck_sentence(dataclasses.replace(result, time_by_bound_s=half)) == (
        "60 % of the time is fixed overhead (launches, latencies)"
    )
    assert bottleneck_sentence(dataclasses.replace(result, time_by_bound_s={"idle": result.latency_s})) == (
        "100 % of the time nothing runs"
    )
    assert charge_text(laptop[0], "drive-pcie:nvme>ddr") == "link drive-pcie (nvme → ddr)"
    assert charge_text(laptop[0], "tensor") == "engine tensor"
    assert charge_text(laptop[0], "no such thing") == "no such thing"


def test_the_headline_uses_the_phase_s_terms(server: Case, server_prefill: Case) -> None:
    assert headline(server[0])[0][0] == "time per output token (TPOT)"
    assert headline(server_prefill[0])[0][0] == "time to first token (TTFT)"
    assert dict(headline(server_prefill[0]))["prompt tokens per second"]


def test_results_are_called_by_what_tells_them_apart(server: Case, laptop: Case, server_prefill: Case) -> None:
    assert result_labels([server[0]]) == ("h100-sxm",)
    assert result_labels([server[0], laptop[0]]) == ("h100-sxm", "laptop-nvme")
    assert result_labels([server[0], server_prefill[0]]) == ("decode", "prefill")
    assert result_labels([server_prefill[0], laptop[0]]) == ("h100-sxm, prefill", "laptop-nvme, decode")
    assert result_labels([server[0], dataclasses.replace(server[0], batch=2048)]) == ("batch 1", "batch 2,048")


def test_a_comparison_groups_parts_by_what_they_are(server: Case, laptop: Case) -> None:
    rows = {row.name: row for row in comparison(server[0], laptop[0])}
    assert rows["TPOT"].ratio.endswith("×")
    assert rows["links between tiers"].values[0] == "-"
    assert rows["links between tiers"].ratio == "-"
    assert rows["tensors elsewhere"].inset
    assert not rows["Memory"].values


def test_slugs_are_safe_file_names() -> None:
    assert slug("Llama-3.1-8B, batch 16") == "llama-3.1-8b-batch-16"
    assert slug("../../etc/passwd") == "etc-passwd"
    assert slug("A<b>&\"c'/../d") == "a-b-c-..-d"
