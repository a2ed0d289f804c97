"""Measured data that is not part of the project: tests use it where it is there and skip loudly where it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

__all__ = ["reference_file"]

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data"


def reference_file(name: str) -> Path:
    """Path of a reference file; the test that asks for a missing one is skipped and says what was not tested."""
    path = FOLDER / name
    if not path.exists():
        pytest.skip(f"reference data {name} is not here: comparison with measurements NOT tested")
    return path
