"""Run folders for tests of reports."""

from __future__ import annotations

from pathlib import Path

from dse.cli.entry import run
from tests.dse.explore.spaces import small_space

__all__ = ["explored"]


def explored(folder: Path, *arguments: str) -> Path:
    """The run folder of an exploration of the small space, below ``folder``."""
    small_space(folder)
    file, out = str(folder / "small-space.yaml"), folder / "runs"
    assert run(["explore", file, "--out", str(out), *arguments, "--json"]) == 0
    return next(out.iterdir())
