"""Every notebook runs as a script, says what to expect before it computes, and draws figures that say what they show.

Warnings are errors here, as in all tests. What the numbers must be, the notebooks assert themselves.
"""

from __future__ import annotations

import io
import re
import runpy
from collections.abc import Iterator
from pathlib import Path

import matplotlib.pyplot as plt
import pytest
from matplotlib.figure import Figure

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "notebooks").glob("*.py"))
STORIES = [path for path in NOTEBOOKS if path.name[0].isdigit()]
HEADER = """\
# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#       format_version: '1.3'
# ---
"""


def cells(path: Path) -> list[tuple[bool, str]]:
    """Whether each cell is text, and what it holds, comment signs of text removed."""
    parts = re.split(r"^# %%( \[markdown\])?\n", path.read_text(), flags=re.MULTILINE)
    found = []
    for mark, body in zip(parts[1::2], parts[2::2], strict=True):
        text = mark is not None
        found.append((text, re.sub(r"^# ?", "", body, flags=re.MULTILINE).strip() if text else body.strip()))
    return found


@pytest.fixture
def figures(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Figure]]:
    """The figures that a test makes, by pyplot or without it; none opens a window, all are closed at its end."""
    made: list[Figure] = []
    build = Figure.__init__

    def note(self: Figure, *args: object, **kwargs: object) -> None:
        build(self, *args, **kwargs)  # type: ignore[arg-type]
        made.append(self)

    monkeypatch.setattr(Figure, "__init__", note)
    plt.switch_backend("agg")
    yield made
    plt.close("all")


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_and_prints_little(
    path: Path, capsys: pytest.CaptureFixture[str], figures: list[Figure]
) -> None:
    runpy.run_path(str(path))
    assert 0 < len(capsys.readouterr().out) < 20_000
    if path in STORIES:
        assert 2 <= len(figures) <= 4
    for figure in figures:
        figure.savefig(io.BytesIO(), format="png", dpi=50)
        assert any(axes.get_xlabel() for axes in figure.axes)
        assert any(axes.get_ylabel() or axes.get_yticklabels() for axes in figure.axes)


def test_there_are_seven_stories() -> None:
    assert [path.name[:2] for path in STORIES] == ["1_", "2_", "3_", "4_", "5_", "6_", "7_"]


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_a_story_asks_expects_and_answers(path: Path) -> None:
    found = cells(path)
    texts = [body for text, body in found if text]
    assert texts[0].startswith(f"# {path.name[0]} ")
    assert "**Question.**" in texts[0]
    assert texts[0].count("?") >= 1
    expected = next(
        at for at, (text, body) in enumerate(found) if text and "**What the answer should be near.**" in body
    )
    assert sum(not text for text, _ in found[:expected]) == 1, "nothing but imports before what is expected"
    assert found[-2][0]
    assert found[-2][1].startswith("**The answer")
    assert "print(" in found[-1][1], "numbers of the answer are printed, not typed"
    assert sum("assert " in body for text, body in found if not text) >= 3


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_a_story_is_a_notebook_to_jupytext(path: Path) -> None:
    text = path.read_text()
    assert text.startswith(HEADER + "\n# %% [markdown]\n")
    assert all(body for _, body in cells(path)), "no empty cell"
    # Without it pyplot takes its backend inside a style's context, at whose end Jupyter's is half undone.
    assert cells(path)[1][1].startswith("# %matplotlib inline\n")
    jupytext = pytest.importorskip("jupytext", reason="jupytext reads them where it is installed")
    notebook = jupytext.reads(text, fmt="py:percent")
    kinds = [cell.cell_type == "markdown" for cell in notebook.cells]
    assert kinds == [text for text, _ in cells(path)]
