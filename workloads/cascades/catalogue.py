"""Finding and reading the library's cascades."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

from workloads.einsum import Cascade, parse_cascade
from workloads.errors import unknown_name

__all__ = ["cascade_names", "load_cascade"]

_LIBRARY = Path(__file__).parent / "library"


@lru_cache(maxsize=1)
def cascade_names() -> tuple[str, ...]:
    """The names of all library cascades, sorted."""
    return tuple(sorted(path.stem for path in _LIBRARY.glob("*.edge")))


@lru_cache(maxsize=256)
def load_cascade(name: str) -> Cascade:
    """The library cascade of that name. Raises InputError, with the nearest name, if there is none."""
    if name not in cascade_names():
        raise unknown_name("cascade", name, cascade_names(), field="cascade")
    return parse_cascade((_LIBRARY / f"{name}.edge").read_text(encoding="utf-8"), file=f"{name}.edge")
