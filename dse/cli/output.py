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
    """Write ``text`` aside and rename it into place, so that nobody sees half a file."""
    if path.is_dir():
        raise InputError("is a folder", expected="a file name", file=str(path))
    if not path.parent.is_dir():
        raise InputError("its folder does not exist", expected="a file in an existing folder", file=str(path))
    handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(aside, 0o644)
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
