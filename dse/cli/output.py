"""Writing to the user: JSON documents on standard output, files that appear whole or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workloads.errors import InputError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["check_figure", "check_file", "print_document", "write_bytes", "write_figure", "write_text"]


def print_document(document: Any) -> None:
    """Print one JSON document on standard output."""
    print(json.dumps(document, indent=2, allow_nan=False))  # noqa: T201


def check_file(path: Path) -> None:
    """Raise `InputError` where no file can be written at ``path``: best before the work whose result it is to hold."""
    if path.is_dir():
        raise InputError("is a folder", expected="a file name", file=str(path))
    if not path.parent.is_dir():
        raise InputError("its folder does not exist", expected="a file in an existing folder", file=str(path))


def check_figure(path: Path, option: str = "--figure") -> None:
    """As `check_file`, and by its name the file is a kind of figure that is written."""
    if path.suffix.lower() not in (".png", ".svg"):
        raise InputError(f"found {path.name!r}", "a file name that ends in .png or .svg", option)
    check_file(path)


def write_figure(figure: Figure, path: Path) -> None:
    """Write ``figure`` as its file name says, whole or not at all."""
    from dse.reports.figures.style import png_bytes, svg_bytes

    write_bytes(path, svg_bytes(figure) if path.suffix.lower() == ".svg" else png_bytes(figure))


def write_text(path: Path, text: str) -> None:
    """`write_bytes` of ``text`` in UTF-8."""
    write_bytes(path, text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` aside and rename it into place, so that nobody sees half a file.

    Links are followed. What is no regular file (a pipe, a terminal) is written to as it is. A file keeps its mode.
    """
    check_file(path)
    if path.exists() and not path.is_file():
        path.write_bytes(data)
        return
    path = path.resolve()
    try:
        handle, aside = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise InputError(
            f"cannot be written: {error.strerror}", "a file in a folder you may write", file=str(path)
        ) from None
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
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
