"""Run folders of a small space, explored once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.dse.reports.exploration.runs import explored


@pytest.fixture(scope="session")
def whole_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 378 designs."""
    return explored(tmp_path_factory.mktemp("whole"))


@pytest.fixture(scope="session")
def random_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """200 designs at random."""
    return explored(tmp_path_factory.mktemp("random"), "--budget", "200")


@pytest.fixture(scope="session")
def local_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """80 designs of an engine that learns, and 80 random ones beside them."""
    return explored(tmp_path_factory.mktemp("local"), "--budget", "80", "--engine", "local", "--batch", "10")
