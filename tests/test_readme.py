"""The README's tour and its Python example run as written."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from dse.cli.entry import run

README = (Path(__file__).resolve().parents[1] / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.MULTILINE | re.DOTALL)


TOUR = [line for block in blocks("tour") for line in block.splitlines() if line]


def test_there_is_a_tour() -> None:
    assert len(TOUR) >= 10


@pytest.mark.parametrize("line", TOUR)
def test_every_command_of_the_tour_runs(
    line: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    program, *arguments = shlex.split(line)
    assert program == "tiercade"
    assert run(arguments) == 0
    assert capsys.readouterr().out


def test_the_python_example_runs(capsys: pytest.CaptureFixture[str]) -> None:
    (example,) = blocks("python")
    exec(compile(example, "README.md", "exec"), {})
    assert re.fullmatch(r"\d+\.\d\d ms, bound by \w+\n", capsys.readouterr().out)


def test_files_the_readme_shows_exist() -> None:
    root = Path(__file__).resolve().parents[1]
    for target in re.findall(r"\]\((?!http)([^)]+)\)", README):
        assert (root / target).exists(), target
