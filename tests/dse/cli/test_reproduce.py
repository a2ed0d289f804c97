"""``tiercade reproduce``: rows, other configurations, help of a study, the page."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dse.cli.entry import run


def test_rows_and_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = tmp_path / "studies.md"
    assert run(["reproduce", "bitmod", "--out", str(page), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    names = ("study", "metric", "config", "published", "simulated", "inputs", "calibrates", "error")
    assert {tuple(row) for row in rows} == {names}
    # Two headlines, and of 6 models, 5 designs and 2 tasks a count and an energy.
    assert len(rows) == 2 + 6 * 5 * 2 * 2
    headline = {row["config"]["over"]: row for row in rows if row["metric"] == "speed_up"}
    assert headline["ANT"]["published"] == 1.69
    assert abs(headline["ANT"]["error"]) < 0.01
    assert abs(headline["OliVe"]["error"]) < 0.01
    text = page.read_text()
    assert "patent" in text
    assert "published numbers" in text
    assert (tmp_path / "figures" / "study-bitmod.svg").exists()


def test_another_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    assert (
        run(["reproduce", "bitmod", "--config", "model=Phi-2,task=decode", "--config", "attention=whole", "--json"])
        == 0
    )
    rows = {row["metric"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows["cycles"]["config"]["attention"] == "whole"
    assert rows["cycles"]["published"] is None
    assert rows["cycles"]["error"] is None


def test_help_of_a_study_lists_its_keys(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["reproduce", "bitmod", "--help"]) == 0
    said = capsys.readouterr().out
    assert "attention=published" in said
    assert "(published, whole)" in said
    assert run(["reproduce", "--help"]) == 0
    assert "--config" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["bitmd"], "did you mean 'bitmod'"),
        ([], "--all"),
        (["bitmod", "--config", "modl=x"], "did you mean 'model'"),
        (["bitmod", "llm-in-a-flash", "--config", "model=x"], "2 studies are named"),
        (["bitmod", "--workers", "0"], "at least 1"),
    ],
)
def test_what_is_wrong_is_said(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["reproduce", *arguments]) == 2
    assert said in capsys.readouterr().err
