"""SSDTrain against what is published, its parts by hand, and in its limits."""

from __future__ import annotations

import pytest

from studies.frame.catalogue import load_study
from tests.studies.checks import check_honest, errors_of

NAME = "ssd-train"


def found(**config: object) -> dict[str, float]:
    study = load_study(NAME)
    return dict(study.simulate(study.config(config)))


def test_it_is_honest() -> None:
    check_honest(NAME)


def test_published_rows() -> None:
    errors = errors_of(NAME, "slowdown")
    assert len(errors) == 3
    assert max(map(abs, errors)) <= 0.01


def test_the_peak_falls_by_about_as_much_as_published() -> None:
    """28 to 40 % (up to 47 %) over three shapes: ours between are as wide, their mean within 5 points of the middle."""
    cuts = [found(hidden=h, layers=n)["peak_reduction"] for h, n in ((8192, 4), (12288, 3), (16384, 2))]
    assert sum(cuts) / 3 == pytest.approx(0.34, abs=0.05)
    assert cuts == sorted(cuts, reverse=True)


def test_what_is_written_by_hand() -> None:
    """All of a BERT layer's 8 + 24 / 2 bytes a token and channel and two masks, in four layers, less what the last down
    projection reads (8 / 2 of them) and what is small."""
    tokens, hidden = 16 * 1024, 8192
    by_hand = (4 * 22 - 4) * tokens * hidden
    assert found()["written"] == pytest.approx(by_hand, rel=0.002)
    assert found()["written"] >= by_hand


def test_limits() -> None:
    assert found(policy="keep")["peak_reduction"] == 0
    assert found(policy="keep")["written"] == 0
    assert "lifetime" not in found(policy="keep")
    assert found(policy="recompute")["peak_reduction"] == found()["recompute_reduction"]
    # A third of the work once more, and a step no shorter than with all kept.
    assert 1.25 < found()["recompute_slowdown"] < 4 / 3
    assert found(drives=1, tokens=256, batch=1)["slowdown"] == pytest.approx(1.0)


def test_more_drives_hide_more_and_wider_layers_need_less() -> None:
    written = [found(drives=count, clock=1410)["written"] for count in (1, 2, 4)]
    assert written == sorted(written)
    assert written[0] < written[-1]
    rates = [found(hidden=hidden)["write_rate"] for hidden in (4096, 8192, 16384)]
    assert rates == sorted(rates, reverse=True)
    # Loads asked for late hold less.
    assert found(ahead=2)["peak"] < found(ahead=8)["peak"] < found()["peak"]


def test_lifetime_by_hand() -> None:
    step = found()
    assert step["lifetime"] == pytest.approx(4 * 292e15 / step["written"] * step["step"])
    flash = found(drive="980-pro")
    assert flash["lifetime"] == pytest.approx(4 * 600e12 * 2.5 * 86 / flash["written"] * flash["step"])
