"""Why room of a KV memory is taken and holds no keys and values of running sequences."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Waste"]


@dataclass(frozen=True)
class Waste:
    """Bytes by kind. ``used_bytes`` = ``held_bytes`` + ``reserved`` + ``internal`` + ``kept``.

    ``reserved_bytes`` are set aside for tokens that may come; ``internal_bytes`` the ends of blocks and pages;
    ``kept_bytes`` hold prefixes of sequences that ended, or pages left mapped, and can be had back at once.
    ``external_bytes`` are free, but outside the largest hole: a sequence that needs one piece cannot have them.
    """

    reserved_bytes: float = 0.0
    internal_bytes: float = 0.0
    kept_bytes: float = 0.0
    external_bytes: float = 0.0
