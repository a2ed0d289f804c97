"""The page: one file without a network, and alive in a browser where there is one."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from dse.reports.exploration.depth import chosen_designs, in_depth
from dse.reports.exploration.page import exploration_page
from dse.reports.exploration.run import read_run
from dse.reports.summary import tier_uses
from dse.reports.units_text import seconds_text

_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def test_one_file_without_a_network(random_run: Path) -> None:
    text = exploration_page(read_run(random_run))
    assert not re.search(r"https?://|<link|@import|url\(|\bsrc=", text)
    assert text.count("<script") == 2
    assert "small" in text
    assert "does not fit" in text
    assert "What decides latency" in text
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    assert len(json.loads(found[1])["parameters"]) == 4


def test_equal_runs_give_equal_pages(random_run: Path) -> None:
    assert exploration_page(read_run(random_run)) == exploration_page(read_run(random_run))


def test_names_from_outside_are_text(random_run: Path) -> None:
    run = read_run(random_run)
    space = run.space.model_copy(update={"description": "<script>alert(1)</script> & more"})
    text = exploration_page(type(run)(space, run.options, run.stages, run.random, run.summary))
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in text


def test_a_page_with_designs_in_depth(random_run: Path) -> None:
    run = read_run(random_run)
    chosen = chosen_designs(run, 3)
    text = exploration_page(run, in_depth(run, chosen)[0])
    assert not re.search(r"https?://|<link|@import|url\(|\bsrc=", text)
    assert "A design in depth" in text
    assert f"3 of the {len(run.summary['front'])} designs of the front" in text
    assert "Two designs side by side" in exploration_page(run)
    assert text == exploration_page(run, in_depth(run, chosen)[0])


def in_a_browser(page: Path, tmp_path: Path) -> dict[str, Any]:
    """What the page's test of itself finds, in a window of 1300 by 1000 pixels."""
    browser = next((found for name in _BROWSERS if (found := shutil.which(name))), None)
    if browser is None:
        pytest.skip(f"NO BROWSER: the page was not opened; install one of {', '.join(_BROWSERS)}")
    done = subprocess.run(
        [
            browser, "--headless", "--no-sandbox", "--disable-gpu", "--window-size=1300,1000",
            f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom",
            f"{page.as_uri()}#selftest",
        ],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    written = re.search(r'<pre id="selftest">(.*?)</pre>', done.stdout, re.DOTALL)
    assert written, "the script ended early"
    answer: dict[str, Any] = json.loads(html.unescape(written[1]))
    return answer


@pytest.mark.parametrize("name", ["whole_run", "local_run"])
def test_the_page_in_a_browser(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    run = read_run(request.getfixturevalue(name))
    page = tmp_path / "report.html"
    page.write_text(exploration_page(run), encoding="utf-8")
    found = in_a_browser(page, tmp_path)
    summary = run.summary
    assert found["front"] == found["rows"] == len(summary["front"])
    assert found["shown"] == summary["designs"] - sum(summary["infeasible"].values())
    # The first design of the front was pointed at, and left again.
    best = summary["front"][0]
    assert found["hovered"] == 0
    assert f"design {best['ordinal']:,}" in found["detail"]
    assert f"bottleneck {best['bottleneck']}" in found["detail"]
    assert f"macs {best['parameters']['macs']:,}" in found["detail"]
    assert found["left"] == -1
    # Filters leave what they say, and less than before; without them all are back.
    for kind in ("chip", "brush"):
        assert 0 < found[kind]["shown"] == found[kind]["expected"] < found["shown"]
    assert found["reset"] == found["shown"]
    assert found["sorted"] == [True, True]
    second = summary["front"][1]
    assert f"A: {best['ordinal']:,} B: {second['ordinal']:,} B / A" in found["side"]  # click, then shift-click
    assert found["overflow"] <= 0  # the page is no wider than its window


def test_a_design_in_depth_in_a_browser(whole_run: Path, tmp_path: Path) -> None:
    """The first design stands there; a click on another one shows that one, a choice beside it compares the two."""
    run = read_run(whole_run)
    beaten = int(run.stages[0].outcomes.take(run.stages[0].outcomes.metrics["latency_s"] > 0).ordinals[0])
    designs, _ = in_depth(run, chosen_designs(run, 4, [beaten]))
    page = tmp_path / "report.html"
    page.write_text(exploration_page(run, designs, [beaten]), encoding="utf-8")
    found = in_a_browser(page, tmp_path)["depth"]
    for shown, each in ((found["first"], designs[0]), (found["clicked"], designs[-1])):
        [result] = each.results.values()
        assert shown["chosen"] == str(each.ordinal)
        assert f"decode: {seconds_text(result.latency_s)} " in shown["text"]
        assert "Llama-3.2-1B, decode, batch 4, context 1,024" in shown["text"]
        # Time and energy fill their bars; memory fills as much of its bar as of its tier.
        time, memory, energy, area, _ = shown["bars"]
        assert [time, energy, area] == pytest.approx([100, 100, 100], abs=0.01)
        [use] = tier_uses(result)
        assert memory == pytest.approx(100 * use.share, rel=1e-3)
    assert all(link.startswith("data:application/gzip;base64,H4sI") for link in found["traces"])  # gzip's first bytes
    assert "bound by" in found["operation"]
    first, last = designs[0].ordinal, designs[-1].ordinal
    assert found["compared"]["with"] == str(first)
    assert f"A: {last:,} B: {first:,} B / A" in found["compared"]["text"]
    assert found["compared"]["roofs"] == 2
    assert found["overflow"] <= 0
    assert found["clipped"] == 0
    ordinal, said = found["undrawn"]
    assert ordinal not in {each.ordinal for each in designs}
    assert f"Design {ordinal:,} was not looked at in depth" in said
    assert f"--design {ordinal}" in said
    assert f"B: {ordinal:,}" in found["beside"]["table"]  # compared all the same, with only the first one drawn
    assert found["beside"]["roofs"] == 1
    assert found["alone"] == 0


@pytest.mark.slow
def test_ten_thousand_designs_open_in_two_seconds(tmp_path: Path) -> None:
    from dse.cli.entry import run

    assert run(["explore", "llama-8b-accelerator", "--budget", "10000", "--out", str(tmp_path), "--json"]) == 0
    page = tmp_path / "report.html"
    explored = read_run(next(tmp_path.glob("llama*")))
    page.write_text(exploration_page(explored, in_depth(explored, chosen_designs(explored))[0]), encoding="utf-8")
    assert page.stat().st_size < 3e6
    assert in_a_browser(page, tmp_path)["opened_ms"] < 2000
