"""Published hit rates of expert caches: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from dse.validation.expert_caches import RouterRow, published_rates, validate_expert_caches
from tests.reference_data import reference_file
from workloads.errors import InputError

HEADER = "figure,model,curve,rho1,rho2,rho3,method\n"


def test_published_rates_are_read() -> None:
    found = published_rates(reference_file("moe_cache_hit_rates.csv"))
    assert len(found) == 20
    assert found["Mixtral-8x7B"]["LRU"] == (0.364, 0.614, 0.831)
    for curves in found.values():
        # What the publication says of all models, and must hold for any trace.
        for rule in ("LRU", "LFU", "seg16", "seg64", "seg256"):
            assert all(rate <= best for rate, best in zip(curves[rule], curves["Belady"], strict=True))


def test_misses_are_in_points() -> None:
    row = RouterRow("m", {"LRU": (0.5, 0.6, 0.7)}, {"LRU": (0.51, 0.58, 0.7)})
    assert row.misses("LRU") == pytest.approx((1.0, -2.0, 0.0))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model,rate\n", "rates.csv:1: other columns"),
        (HEADER + "mchr,m,LRU,0.1,0.2,x,polyline\n", "rates.csv:2: rho1, rho2, rho3: no rate"),
        (HEADER + "mchr,m,LRU,0.1,0.2,1.3,polyline\n", "no rate; expected three numbers from 0 to 1"),
        (HEADER + "mchr,m,LRU,0.1\n", "no rate"),
    ],
)
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "rates.csv"
    path.write_text(text)
    with pytest.raises(InputError) as caught:
        published_rates(path)
    assert message in str(caught.value)


@pytest.mark.slow
def test_the_report_has_rates_and_consistency() -> None:
    found = validate_expert_caches(reference_file("moe_cache_hit_rates.csv"))
    assert len(found.rows) == 20
    assert found.document["largest_error_at_2x"]["LRU"] < 0.05
    (part,) = found.report().parts
    assert part.startswith("# Accuracy of expert caches\n")
    for text in ("| Mixtral-8x7B |", "| Qwen3 |", "## SRP over 16 tokens", "| Jamba-Mini | 38.1% |"):
        assert text in part
