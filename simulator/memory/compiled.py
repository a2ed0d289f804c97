"""Compiled code kept on disk, and when it may be used.

Numba looks at the file of the function it has kept, not at the files of the functions called and the constants used.
But it does look at values a function encloses. So only the entries of a compiled part are kept, and each encloses a
stamp of all sources of that part: code of other sources is another function.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

__all__ = ["sources_stamp"]


def sources_stamp(files: Iterable[Path]) -> int:
    """A number from 0 that changes with the text of any of ``files``."""
    text = b"".join(file.read_bytes() for file in files)
    return int.from_bytes(hashlib.sha256(text).digest()[:7], "big")
