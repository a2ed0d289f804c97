"""Kept code is tied to the text of all its sources."""

from __future__ import annotations

from pathlib import Path

from simulator.memory.compiled import sources_stamp


def test_the_stamp_changes_with_any_source(tmp_path: Path) -> None:
    files = [tmp_path / "a.py", tmp_path / "b.py"]
    for file in files:
        file.write_text("x = 1\n")
    before = sources_stamp(files)
    assert before >= 0
    assert sources_stamp(files) == before
    files[1].write_text("x = 2\n")
    assert sources_stamp(files) != before
