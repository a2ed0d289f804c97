"""Writing to the user: JSON documents on standard output, files that appear whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import Any

from workloads.errors import InputError

__all__ = ["print_document", "write_text"]


def print_document(document: Any) -> None:
    """Print one JSON document on standard output."""
    print(json.dumps(document, indent=2, allow_nan=False))  # noqa: T201


def write_text(path: Path, text: str) -> None:
    """Write ``text`` aside and rename it into place, so that nobody sees half a file.

    Links are followed. What is no regular file (a pipe, a terminal) is written to as it is. A file keeps its mode.
    """
    path = path.resolve()
    if path.is_dir():
        raise InputError("is a folder", expected="a file name", file=str(path))
    if not path.parent.is_dir():
        raise InputError("its folder does not exist", expected="a file in an existing folder", file=str(path))
    if path.exists() and not path.is_file():
        path.write_text(text, encoding="utf-8")
        return
    try:
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise InputError(
            f"cannot be written: {error.strerror}", "a file in a folder you may write", file=str(path)
        ) from None
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(aside, path.stat().st_mode & 0o777 if path.exists() else 0o666 & ~_umask())
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise


def _umask() -> int:
    """The process's mask; it can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
