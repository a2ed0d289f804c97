"""``tiercade reproduce``: rows, counts, the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dse.cli.entry import run


def test_rows_and_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "studies.md"
    assert run(["reproduce", "bitmod", "--out", str(page), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert {tuple(row) for row in rows} == {
        ("study", "metric", "config", "published", "simulated", "inputs", "error")
    }  # every row has them
    # Two headlines, and of 6 models, 5 designs and 2 tasks a count and an energy.
    assert len(rows) == 2 + 6 * 5 * 2 * 2
    headline = {row["config"]["over"]: row for row in rows if row["metric"] == "speed-up"}
    assert headline["ANT"]["published"] == 1.69
    assert abs(headline["ANT"]["error"]) < 0.01
    assert abs(headline["OliVe"]["error"]) < 0.01
    text = page.read_text()
    assert "patent" in text
    assert "published numbers" in text
    assert (tmp_path / "figures" / "study-bitmod.svg").exists()


@pytest.mark.parametrize(("arguments", "said"), [(["bitmd"], "did you mean 'bitmod'"), ([], "--all")])
def test_what_is_wrong_is_said(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["reproduce", *arguments]) == 2
    assert said in capsys.readouterr().err
