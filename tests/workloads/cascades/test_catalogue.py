"""The catalogue: names, errors, and that no cascade goes without a numerical check."""

from __future__ import annotations

from pathlib import Path

import pytest

from workloads.cascades import cascade_names, load_cascade
from workloads.errors import InputError


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(InputError) as caught:
        load_cascade("attention-1pas")
    assert caught.value.nearest == "attention-1pass"
    assert "unknown cascade 'attention-1pas'" in str(caught.value)


def test_cascades_are_read_once() -> None:
    assert load_cascade("gemm") is load_cascade("gemm")


def test_every_cascade_is_checked_against_numpy() -> None:
    """Each name occurs in a test of numbers beside this file."""
    texts = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*_numbers.py"))
    assert [name for name in cascade_names() if f'"{name}"' not in texts] == []
