"""Files that appear whole: links are followed, modes kept, and what is no file is not replaced by one."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest

from dse.cli.output import write_text
from workloads.errors import InputError


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    real, link = tmp_path / "real.csv", tmp_path / "link.csv"
    real.write_text("old")
    link.symlink_to(real)
    write_text(link, "new")
    assert link.is_symlink()
    assert real.read_text() == "new"


def test_a_file_keeps_its_mode_and_a_new_one_follows_the_mask(tmp_path: Path) -> None:
    kept, new = tmp_path / "kept", tmp_path / "new"
    kept.write_text("old")
    kept.chmod(0o600)
    mask = os.umask(0o027)
    try:
        write_text(kept, "text")
        write_text(new, "text")
    finally:
        os.umask(mask)
    assert kept.stat().st_mode & 0o777 == 0o600
    assert new.stat().st_mode & 0o777 == 0o640


def test_a_pipe_is_written_to(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    read: list[str] = []
    reader = threading.Thread(target=lambda: read.append(pipe.read_text()))
    reader.start()
    write_text(pipe, "text")
    reader.join(timeout=10)
    assert read == ["text"]
    assert pipe.is_fifo()


def test_a_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is a folder"):
        write_text(tmp_path, "text")
    with pytest.raises(InputError, match="its folder does not exist"):
        write_text(tmp_path / "no" / "file", "text")
